//! What a batch comes to: pure, under locks that others took.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use uuid::Uuid;

use super::spending::Spending;
use super::{Answer, Begun, Change, Finished, Outcome, Submission, What};
use crate::generation::key::{Hash, Key};
use crate::ledger::{Chains, MovementError};
use crate::store::StoreError;

/// What the first round trip found and did.
pub(super) struct Found {
    pub chains: Chains,
    /// The tasks that keys led to before, by the hash of the key.
    pub keys: HashMap<Hash, (Key, Uuid)>,
    /// Where those were found, and others that share a place with them.
    pub taken: HashSet<i64>,
    /// Open tasks in the world of test keys, by account.
    pub open_tests: HashMap<Uuid, u32>,
    /// What capped keys have spent.
    pub spending: HashMap<Uuid, Spending>,
    /// The attempts that could begin.
    pub begun: HashMap<Uuid, Begun>,
    /// The tasks that were open, and are not any more.
    pub ended: HashMap<Uuid, Ended>,
}

/// A task that this batch ended.
pub(super) struct Ended {
    pub test: bool,
    pub quoted: i64,
    pub charged: i64,
    pub key_id: Option<Uuid>,
    pub created_at: SystemTime,
    pub finished_at: SystemTime,
    /// Somebody is to be told.
    pub owes: bool,
}

/// Credits that a task gave back of whose key the batch does not know what it has spent.
pub(super) struct GivenBack {
    pub key_id: Uuid,
    pub credits: i64,
    pub spent_at: SystemTime,
}

/// What the second round trip writes, and the answers to be given after it.
#[derive(Default)]
pub(super) struct Decided {
    pub chains: Chains,
    /// The tasks that were accepted.
    pub accepted: HashSet<Uuid>,
    /// What keys have spent, by key, with their accounts.
    pub spent: HashMap<Uuid, (Uuid, Spending)>,
    pub given_back: Vec<GivenBack>,
    /// As found.
    pub taken: HashSet<i64>,
    /// Somebody is to be told of an end.
    pub owes: bool,
    /// In the order of the changes.
    pub answers: Vec<Answer>,
}

/// Works a batch out, change by change in its order.
pub(super) fn decide(found: Found, jobs: &[Change]) -> Result<Decided, StoreError> {
    let mut batch = Deciding {
        keys: found.keys,
        open_tests: found.open_tests,
        spending: found.spending,
        ended: found.ended,
        decided: Decided {
            chains: found.chains,
            accepted: HashSet::new(),
            spent: HashMap::new(),
            given_back: Vec::new(),
            taken: found.taken,
            owes: false,
            answers: Vec::with_capacity(jobs.len()),
        },
    };
    for job in jobs {
        let answer = match &job.what {
            What::Submit(submission) => Answer::Submitted(batch.submit(job, submission)?),
            What::Begin { .. } => {
                Answer::Begun(found.begun.get(&job.id).copied().unwrap_or(Begun::Never))
            }
            What::Arrive { .. } => Answer::Arrived,
            What::Finish(_) => Answer::Finished(batch.finish(job)?),
        };
        batch.decided.answers.push(answer);
    }
    Ok(batch.decided)
}

struct Deciding {
    keys: HashMap<Hash, (Key, Uuid)>,
    open_tests: HashMap<Uuid, u32>,
    spending: HashMap<Uuid, Spending>,
    ended: HashMap<Uuid, Ended>,
    decided: Decided,
}

impl Deciding {
    fn submit(&mut self, job: &Change, submission: &Submission) -> Result<Outcome, StoreError> {
        if let Some(key) = &submission.key
            && let Some((known, task_id)) = self.keys.get(&key.hash)
        {
            return Ok(if known.request == key.request {
                Outcome::Replayed(*task_id)
            } else {
                Outcome::KeyReused
            });
        }
        let open = if submission.test {
            self.open_tests.get(&job.account_id).copied().unwrap_or(0)
        } else {
            self.decided.chains.open(job.account_id).map_err(unsound)?
        };
        if open >= submission.limit {
            return Ok(Outcome::TooMany);
        }
        if let Err(refused) = self.pay(job, submission)? {
            return Ok(refused);
        }
        if submission.test {
            *self.open_tests.entry(job.account_id).or_default() += 1;
        }
        if let Some(key) = submission.key {
            self.keys.insert(key.hash, (key, job.id));
        }
        self.decided.accepted.insert(job.id);
        Ok(submission.accepted(self.decided.chains.at()))
    }

    /// Holds the price, within what the key may spend. A test task moves nothing.
    fn pay(
        &mut self,
        job: &Change,
        submission: &Submission,
    ) -> Result<Result<(), Outcome>, StoreError> {
        if submission.test {
            return Ok(Ok(()));
        }
        let chains = &mut self.decided.chains;
        let spending = submission.capped_key().map(|key_id| {
            let so_far = self.spending.get(&key_id).copied();
            let spending = so_far.unwrap_or_default().at(chains.at());
            (key_id, spending.spend(submission.quoted, submission.caps))
        });
        if let Some((_, Err(reached))) = spending {
            return Ok(Err(Outcome::CapReached(reached)));
        }
        match chains.hold(job.account_id, job.id, submission.quoted) {
            Ok(()) => {}
            Err(MovementError::Insufficient { available }) => {
                return Ok(Err(Outcome::Insufficient { available }));
            }
            Err(error) => return Err(unsound(error)),
        }
        if let Some((key_id, Ok(spending))) = spending {
            self.spending.insert(key_id, spending);
            self.decided
                .spent
                .insert(key_id, (job.account_id, spending));
        }
        Ok(Ok(()))
    }

    fn finish(&mut self, job: &Change) -> Result<Option<Finished>, StoreError> {
        let Some(ended) = self.ended.remove(&job.id) else {
            return Ok(None);
        };
        let Ended {
            quoted, charged, ..
        } = ended;
        self.decided.owes |= ended.owes;
        if !ended.test {
            self.decided
                .chains
                .settle(job.account_id, job.id, quoted, charged)
                .map_err(unsound)?;
            if let Some(key_id) = ended.key_id.filter(|_| charged < quoted) {
                self.give_back(job, key_id, quoted - charged, ended.created_at);
            }
        }
        Ok(Some(Finished {
            charged,
            finished_at: ended.finished_at,
        }))
    }

    /// A key may spend again what its task gives back, and that within this batch.
    fn give_back(&mut self, job: &Change, key_id: Uuid, credits: i64, spent_at: SystemTime) {
        if let Some(spending) = self.spending.get_mut(&key_id) {
            *spending = spending.give_back(credits, spent_at);
            let spent = (job.account_id, *spending);
            self.decided.spent.insert(key_id, spent);
        } else {
            self.decided.given_back.push(GivenBack {
                key_id,
                credits,
                spent_at,
            });
        }
    }
}

fn unsound(error: MovementError) -> StoreError {
    StoreError::Inconsistent(error.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::accounts::SpendingCaps;
    use crate::catalog::MediaType;
    use crate::generation::changes::CapReached;
    use crate::generation::request::Work;

    const ACCOUNT: Uuid = Uuid::nil();
    const KEY: Uuid = Uuid::from_u128(5);

    fn work() -> Arc<Work> {
        let text = r#"{"prompt":"","resolution":"","aspect_ratio":"","width":1,"height":1,"count":1,"operation":"text"}"#;
        Arc::new(serde_json::from_str(text).expect("is a work"))
    }

    /// A submission: test, key and what it stands for, price, limit.
    fn submission(
        id: u128,
        (test, key, quoted, limit): (bool, Option<(&str, u8)>, i64, u32),
    ) -> Change {
        let submission = Submission {
            test,
            key_id: Some(KEY),
            caps: SpendingCaps::NONE,
            model: String::new(),
            media: MediaType::Image,
            provider: "sandbox".to_owned(),
            work: work(),
            quoted,
            limit,
            lifetime: Duration::from_secs(60),
            key: key.map(|(key, asked)| Key::new(ACCOUNT, test, key, &[asked; 32])),
            to_webhooks: false,
            webhook_url: None,
        };
        Change {
            account_id: ACCOUNT,
            id: Uuid::from_u128(id),
            what: What::Submit(submission),
        }
    }

    /// What is found of an account that has 1,000 credits and nothing else.
    fn found() -> Found {
        Found {
            chains: Chains::of(ACCOUNT, 1_000),
            keys: HashMap::new(),
            taken: HashSet::new(),
            open_tests: HashMap::new(),
            spending: HashMap::new(),
            begun: HashMap::new(),
            ended: HashMap::new(),
        }
    }

    fn answers(found: Found, jobs: &[Change]) -> Vec<String> {
        let decided = decide(found, jobs).expect("the account is sound");
        let answer = |answer: &Answer| match answer {
            Answer::Submitted(outcome) => match outcome {
                Outcome::Accepted { .. } => "ACCEPTED".to_owned(),
                Outcome::Replayed(of) => format!("REPLAYED {}", of.as_u128()),
                Outcome::KeyReused => "KEY_REUSED".to_owned(),
                Outcome::TooMany => "TOO_MANY".to_owned(),
                Outcome::CapReached(CapReached { window, .. }) => format!("CAP {window}"),
                Outcome::Insufficient { available } => format!("INSUFFICIENT {available}"),
            },
            other => format!("{other:?}"),
        };
        decided.answers.iter().map(answer).collect()
    }

    #[test]
    fn each_submission_is_decided_on_its_own() {
        const MANY: u32 = 100;
        // What is asked, what is answered.
        let table = [
            ((false, Some(("a", 1)), 400, MANY), "ACCEPTED"),
            ((false, Some(("a", 1)), 400, MANY), "REPLAYED 0"),
            ((false, Some(("a", 2)), 400, MANY), "KEY_REUSED"),
            // Each of the first two is too much, so the key is still free for the third.
            ((false, Some(("b", 1)), 700, MANY), "INSUFFICIENT 600"),
            ((false, Some(("b", 2)), 601, MANY), "INSUFFICIENT 600"),
            ((false, Some(("b", 3)), 1, MANY), "ACCEPTED"),
            ((false, None, 600, MANY), "INSUFFICIENT 599"),
            ((false, None, 599, MANY), "ACCEPTED"),
            // A test task moves nothing and has keys of its own.
            ((true, Some(("a", 9)), 5_000, MANY), "ACCEPTED"),
            ((false, None, 0, MANY), "ACCEPTED"),
            ((false, Some(("c", 1)), 1, MANY), "INSUFFICIENT 0"),
        ];
        let (jobs, expected): (Vec<_>, Vec<_>) = (0..)
            .zip(table)
            .map(|(id, (asked, answer))| (submission(id, asked), answer))
            .unzip();
        assert_eq!(answers(found(), &jobs), expected);
    }

    #[test]
    fn the_limit_is_exact_and_a_refused_one_takes_no_place() {
        let table = [
            ((false, None, 5_000, 2), "INSUFFICIENT 1000"),
            ((false, Some(("k", 1)), 1, 2), "ACCEPTED"),
            ((false, Some(("k", 1)), 1, 2), "REPLAYED 1"),
            ((false, None, 1, 2), "ACCEPTED"),
            ((false, None, 1, 2), "TOO_MANY"),
            // The world of test keys counts for itself.
            ((true, None, 1, 2), "ACCEPTED"),
            ((true, None, 1, 2), "TOO_MANY"),
        ];
        let (jobs, expected): (Vec<_>, Vec<_>) = (0..)
            .zip(table)
            .map(|(id, (asked, answer))| (submission(id, asked), answer))
            .unzip();
        let found = Found {
            open_tests: HashMap::from([(ACCOUNT, 1)]),
            ..found()
        };
        assert_eq!(answers(found, &jobs), expected);
    }

    #[test]
    fn a_remembered_key_is_answered_by_what_it_stood_for() {
        let key = |asked| Key::new(ACCOUNT, false, "k", &[asked; 32]);
        let found = Found {
            keys: HashMap::from([(key(1).hash, (key(1), Uuid::from_u128(77)))]),
            ..found()
        };
        let jobs = [
            submission(0, (false, Some(("k", 1)), 5_000, 0)),
            submission(1, (false, Some(("k", 2)), 1, 9)),
        ];
        assert_eq!(answers(found, &jobs), ["REPLAYED 77", "KEY_REUSED"]);
    }

    #[test]
    fn a_key_spends_no_more_than_its_cap_and_a_refusal_spends_nothing() {
        let capped = |id, quoted| {
            let mut change = submission(id, (false, None, quoted, 9));
            if let What::Submit(submission) = &mut change.what {
                submission.caps.per_day = Some(1_500);
            }
            change
        };
        let jobs = [
            capped(0, 700),
            // More than the account has.
            capped(1, 800),
            // More than the cap.
            capped(2, 801),
            capped(3, 300),
        ];
        let expected = ["ACCEPTED", "INSUFFICIENT 300", "CAP day", "ACCEPTED"];
        assert_eq!(answers(found(), &jobs), expected);
        let decided = decide(found(), &jobs).expect("the account is sound");
        assert_eq!(decided.spent[&KEY].1.in_day, 1_000);
    }

    #[test]
    fn what_a_task_gives_back_is_there_for_the_next_in_its_batch() {
        let asks = |id| {
            let mut change = submission(id, (false, None, 60, 9));
            if let What::Submit(submission) = &mut change.what {
                submission.caps.total = Some(100);
            }
            change
        };
        let finish = Change {
            account_id: ACCOUNT,
            id: Uuid::from_u128(0),
            what: What::Finish(crate::generation::changes::Ending::empty(
                crate::generation::Status::Failed,
            )),
        };
        let task = Uuid::from_u128(0);
        let mut chains = Chains::of(ACCOUNT, 1_000);
        chains.hold(ACCOUNT, task, 80).expect("there is enough");
        let spent = Spending::default().spend(80, SpendingCaps::NONE);
        let ended = Ended {
            test: false,
            quoted: 80,
            charged: 0,
            key_id: Some(KEY),
            created_at: SystemTime::UNIX_EPOCH,
            finished_at: SystemTime::UNIX_EPOCH,
            owes: false,
        };
        let found = Found {
            chains,
            spending: HashMap::from([(KEY, spent.expect("nothing is capped"))]),
            ended: HashMap::from([(task, ended)]),
            ..found()
        };
        let jobs = [asks(1), finish, asks(2), asks(3)];
        let decided = decide(found, &jobs).expect("the account is sound");
        let [
            Answer::Submitted(Outcome::CapReached(before)),
            Answer::Finished(Some(_)),
            Answer::Submitted(Outcome::Accepted { .. }),
            Answer::Submitted(Outcome::CapReached(after)),
        ] = decided.answers[..]
        else {
            panic!("{:?}", decided.answers);
        };
        assert_eq!((before.spent, after.spent), (80, 60));
        assert_eq!(decided.spent[&KEY].1.in_all, 60);
        assert!(decided.given_back.is_empty(), "it is written already");
    }

    #[test]
    fn of_all_who_end_a_task_one_does() {
        let finish = || Change {
            account_id: ACCOUNT,
            id: Uuid::from_u128(0),
            what: What::Finish(crate::generation::changes::Ending::empty(
                crate::generation::Status::Failed,
            )),
        };
        let mut chains = Chains::of(ACCOUNT, 1_000);
        chains
            .hold(ACCOUNT, Uuid::from_u128(0), 40)
            .expect("there is enough");
        let ended = Ended {
            test: false,
            quoted: 40,
            charged: 0,
            key_id: Some(KEY),
            created_at: SystemTime::UNIX_EPOCH,
            finished_at: SystemTime::UNIX_EPOCH,
            owes: false,
        };
        let found = Found {
            chains,
            ended: HashMap::from([(Uuid::from_u128(0), ended)]),
            ..found()
        };
        let decided = decide(found, &[finish(), finish()]).expect("the account is sound");
        let [Answer::Finished(Some(first)), Answer::Finished(None)] = decided.answers[..] else {
            panic!("{:?}", decided.answers);
        };
        assert_eq!(first.charged, 0);
        let balance = decided.chains.balance(ACCOUNT).expect("is locked");
        assert_eq!((balance.available, balance.held), (1_000, 0));
        assert_eq!(decided.given_back[0].credits, 40);
    }
}
