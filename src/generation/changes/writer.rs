//! The one or two round trips of a batch.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::decide::{Decided, Ended, Found, decide};
use super::spending::Spending;
use super::{Answer, Begun, Change, Ending, Outcome, Submission, What};
use crate::generation::batcher::Batch;
use crate::generation::key::{Hash, Key};
use crate::generation::news::News;
use crate::ledger::{Chains, Ends};
use crate::store::{Client, Line, Store, StoreError};

const BY_KEYS: &str = include_str!("../sql/by_keys.sql");
const OPEN_TESTS: &str = include_str!("../sql/open_tests.sql");
const SPENDING: &str = include_str!("../sql/spending.sql");
const BEGIN: &str = include_str!("../sql/begin.sql");
const ARRIVE: &str = include_str!("../sql/arrive.sql");
const EXPECT_NO_KEYS: &str = include_str!("../sql/expect_no_keys.sql");
const FINISH: &str = include_str!("../sql/finish.sql");
const INSERT: &str = include_str!("../sql/insert.sql");
const SPEND: &str = include_str!("../sql/spend.sql");
const GIVE_BACK: &str = include_str!("../sql/give_back.sql");
const TELL: &str = include_str!("../sql/tell.sql");
/// All of them: a statement that had to be prepared on the way would lose its place in the pipeline.
const STATEMENTS: [&str; 11] = [
    BY_KEYS,
    EXPECT_NO_KEYS,
    OPEN_TESTS,
    SPENDING,
    BEGIN,
    ARRIVE,
    FINISH,
    INSERT,
    SPEND,
    GIVE_BACK,
    TELL,
];

/// Writes batches of changes to the tasks of a node, for one shard of the accounts.
pub(super) struct Writer {
    store: Store,
    node: Uuid,
    news: News,
    /// How long an idempotency key is remembered.
    key_lifetime: Duration,
    /// Where the chains of accounts end when what this writer has sent is committed.
    ends: Ends,
    /// Where batches that are worked out beforehand follow each other, while there are any.
    line: Mutex<Weak<Line>>,
}

impl Batch for Writer {
    type Job = Change;
    type Answer = Answer;

    async fn run(&self, jobs: &[Change]) -> Result<Vec<Answer>, StoreError> {
        let accounts = || jobs.iter().map(|job| job.account_id);
        if let Some(found) = self.remember(jobs) {
            let answers = self.run_remembered(found, jobs).await;
            if answers.is_err() {
                self.ends.forget(accounts());
            }
            match answers {
                // Nothing was written: what was remembered did not hold, or could not even be gone on from.
                Err(error) if error.is_outdated() => {}
                Err(StoreError::Inconsistent(_)) => {}
                answers => return answers,
            }
        }
        self.run_anew(jobs)
            .await
            .inspect_err(|_| self.ends.forget(accounts()))
    }
}

impl Writer {
    /// For the tasks of a node, whose idempotency keys live so long.
    pub fn new(store: Store, node: Uuid, news: News, key_lifetime: Duration) -> Self {
        Self {
            store,
            node,
            news,
            key_lifetime,
            ends: Ends::default(),
            line: Mutex::default(),
        }
    }

    /// A connection of its own.
    async fn line(&self) -> Result<Line, StoreError> {
        let line = self.store.line().await?;
        Chains::prepare(&*line).await?;
        for statement in STATEMENTS {
            line.prepare_cached(statement).await?;
        }
        Ok(line)
    }

    /// The connection that the last batch went out on, if that is still under way.
    async fn shared_line(&self) -> Result<Arc<Line>, StoreError> {
        let shared = || self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let used = shared().upgrade();
        if let Some(line) = used.filter(|line| line.is_sound()) {
            return Ok(line);
        }
        let line = Arc::new(self.line().await?);
        *shared() = Arc::downgrade(&line);
        Ok(line)
    }

    /// What a batch will most likely find; `None` when that cannot be said.
    fn remember(&self, jobs: &[Change]) -> Option<Found> {
        let mut ended = HashMap::new();
        for job in jobs {
            match &job.what {
                // Open test tasks and what capped keys have spent are not remembered.
                What::Submit(submission) => {
                    if submission.test || submission.capped_key().is_some() {
                        return None;
                    }
                }
                What::Begin { .. } | What::Arrive { .. } => {}
                What::Finish(ending) => {
                    let (quoted, test) = ending.of?;
                    // A key gets credits back, and only the row knows which key.
                    if !test && ending.charge < quoted {
                        return None;
                    }
                    let charged = if test { 0 } else { quoted };
                    ended.entry(job.id).or_insert(Ended {
                        test,
                        quoted,
                        charged,
                        key_id: None,
                        created_at: SystemTime::UNIX_EPOCH,
                        finished_at: SystemTime::UNIX_EPOCH,
                    });
                }
            }
        }
        Some(Found {
            chains: self.ends.recall(jobs.iter().map(|job| job.account_id))?,
            keys: HashMap::new(),
            open_tests: HashMap::new(),
            spending: HashMap::new(),
            begun: HashMap::new(),
            ended,
        })
    }

    /// Works the batch out first and does everything in one round trip, which may begin before that of
    /// the last batch is over: if that one fails, this one does not find what it expects and fails too.
    ///
    /// # Errors
    /// [`StoreError::is_outdated`] when something is not as it was remembered; nothing was written then.
    async fn run_remembered(
        &self,
        found: Found,
        jobs: &[Change],
    ) -> Result<Vec<Answer>, StoreError> {
        let mut decided = decide(found, jobs)?;
        let week = week(SystemTime::now());
        let line = self.shared_line().await?;
        self.ends.remember(&decided.chains);
        let done = line.transaction(async |client: &Client| {
            futures_util::try_join!(
                decided.chains.resume(client),
                expect_no_keys(client, jobs, self.key_lifetime, week),
                begin(client, jobs, self.node),
                arrive(client, jobs),
                finish(client, jobs, true),
                insert(client, self.node, jobs, &decided, week),
                async { decided.chains.append(client).await },
                self.tell(client, jobs),
            )
        });
        let (at, (), begun, (), ended, ..) = done.await?;
        for (job, answer) in jobs.iter().zip(&mut decided.answers) {
            match (answer, &job.what) {
                (Answer::Submitted(outcome @ Outcome::Accepted { .. }), What::Submit(asked)) => {
                    *outcome = asked.accepted(at);
                }
                (Answer::Begun(whether), _) => {
                    *whether = begun.get(&job.id).copied().unwrap_or(Begun::Never);
                }
                (Answer::Finished(Some(finished)), _) => {
                    if let Some(ended) = ended.get(&job.id) {
                        finished.finished_at = ended.finished_at;
                    }
                }
                _ => {}
            }
        }
        Ok(decided.answers)
    }

    /// Looks first, then decides, then writes.
    async fn run_anew(&self, jobs: &[Change]) -> Result<Vec<Answer>, StoreError> {
        let write = async |client: &Client, found: Found| {
            let decided = decide(found, jobs)?;
            let week = week(decided.chains.at());
            futures_util::try_join!(
                insert(client, self.node, jobs, &decided, week),
                async { decided.chains.append(client).await },
                spend(client, &decided),
                give_back(client, &decided),
                self.tell(client, jobs),
            )?;
            Ok(decided)
        };
        let line = self.line().await?;
        let done =
            line.transaction_in_two(async |client: &Client| self.look(client, jobs).await, write);
        let decided = done.await?;
        self.ends.remember(&decided.chains);
        Ok(decided.answers)
    }

    /// The first round trip: locks, then reads, and writes what needs no decision.
    async fn look(&self, client: &Client, jobs: &[Change]) -> Result<Found, StoreError> {
        let accounts: Vec<_> = jobs.iter().map(|job| job.account_id).collect();
        let (chains, keys, open_tests, spending, begun, (), ended) = futures_util::try_join!(
            Chains::lock(client, &accounts),
            keys(client, jobs, self.key_lifetime),
            open_tests(client, jobs),
            spending(client, jobs),
            begin(client, jobs, self.node),
            arrive(client, jobs),
            finish(client, jobs, false),
        )?;
        Ok(Found {
            chains,
            keys,
            open_tests,
            spending,
            begun,
            ended,
        })
    }

    /// Tells the other nodes which tasks begin or end.
    async fn tell(&self, client: &Client, jobs: &[Change]) -> Result<(), StoreError> {
        let moved = |job: &Change| match job.what {
            What::Begin { .. } | What::Finish(_) => Some(job.id),
            What::Submit(_) | What::Arrive { .. } => None,
        };
        match self.news.payload(jobs.iter().filter_map(moved)) {
            Some(payload) => query(client, TELL, &[&payload]).await.map(drop),
            None => Ok(()),
        }
    }
}

/// The submissions among the changes.
fn submissions(jobs: &[Change]) -> impl Iterator<Item = (&Change, &Submission)> {
    jobs.iter().filter_map(|job| match &job.what {
        What::Submit(submission) => Some((job, submission)),
        _ => None,
    })
}

async fn query(
    client: &Client,
    statement: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, StoreError> {
    let statement = client.prepare_cached(statement).await?;
    Ok(client.query(&statement, values).await?)
}

/// The tasks that the batch's idempotency keys led to before, by key, with what was asked then.
async fn keys(
    client: &Client,
    jobs: &[Change],
    lifetime: Duration,
) -> Result<HashMap<Hash, (Key, Uuid)>, StoreError> {
    let bits: Vec<_> = submissions(jobs)
        .filter_map(|(_, submission)| submission.key.as_ref().map(Key::bits))
        .collect();
    if bits.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = query(client, BY_KEYS, &[&bits, &lifetime.as_secs_f64()]).await?;
    let mut keys = HashMap::with_capacity(rows.len());
    for row in rows {
        if let Some(key) = Key::from_bytes(row.try_get(1)?) {
            keys.insert(key.hash, (key, row.try_get(0)?));
        }
    }
    Ok(keys)
}

/// Ends the transaction when one of the batch's idempotency keys led to a task before, or when it is
/// another week by the database's clock.
async fn expect_no_keys(
    client: &Client,
    jobs: &[Change],
    lifetime: Duration,
    week: i64,
) -> Result<(), StoreError> {
    let bits: Vec<_> = submissions(jobs)
        .filter_map(|(_, submission)| submission.key.as_ref().map(Key::bits))
        .collect();
    if bits.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 3] = [&bits, &lifetime.as_secs_f64(), &week];
    query(client, EXPECT_NO_KEYS, &values).await.map(drop)
}

/// How many tasks each account has open in the world of test keys.
async fn open_tests(client: &Client, jobs: &[Change]) -> Result<HashMap<Uuid, u32>, StoreError> {
    let accounts: Vec<_> = submissions(jobs)
        .filter(|(_, submission)| submission.test)
        .map(|(job, _)| job.account_id)
        .collect();
    if accounts.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = query(client, OPEN_TESTS, &[&accounts]).await?;
    let count = |row: &Row| {
        let open: i64 = row.try_get(1)?;
        Ok((row.try_get(0)?, u32::try_from(open).unwrap_or(u32::MAX)))
    };
    rows.iter().map(count).collect()
}

/// What the capped keys of the batch have spent.
async fn spending(client: &Client, jobs: &[Change]) -> Result<HashMap<Uuid, Spending>, StoreError> {
    let keys: Vec<_> = submissions(jobs)
        .filter_map(|(_, submission)| submission.capped_key())
        .collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = query(client, SPENDING, &[&keys]).await?;
    let read = |row: &Row| {
        let spending = Spending {
            hour: row.try_get(1)?,
            in_hour: row.try_get(2)?,
            day: row.try_get(3)?,
            in_day: row.try_get(4)?,
            in_all: row.try_get(5)?,
        };
        Ok((row.try_get(0)?, spending))
    };
    rows.iter().map(read).collect()
}

/// Begins attempts, where that may be; nothing is said of the others.
async fn begin(
    client: &Client,
    jobs: &[Change],
    node: Uuid,
) -> Result<HashMap<Uuid, Begun>, StoreError> {
    let begins = |job| match job {
        &Change {
            account_id,
            id,
            what: What::Begin {
                attempt,
                ref provider,
            },
        } => Some((account_id, id, attempt, provider)),
        _ => None,
    };
    let begins: Vec<_> = jobs.iter().filter_map(begins).collect();
    if begins.is_empty() {
        return Ok(HashMap::new());
    }
    let values: [&(dyn ToSql + Sync); 5] = [
        &node,
        &column(&begins, |(account_id, ..)| *account_id),
        &column(&begins, |(_, id, ..)| *id),
        &column(&begins, |(_, _, attempt, _)| number(*attempt)),
        &column(&begins, |(.., provider)| provider.as_str()),
    ];
    let rows = query(client, BEGIN, &values).await?;
    let begun = |row: &Row| {
        let started_at: Option<SystemTime> = row.try_get(1)?;
        Ok((row.try_get(0)?, started_at.map_or(Begun::NotNow, Begun::At)))
    };
    rows.iter().map(begun).collect()
}

/// Notes the upstreams' ids of attempts.
async fn arrive(client: &Client, jobs: &[Change]) -> Result<(), StoreError> {
    let arrivals = |job| match job {
        &Change {
            account_id,
            id,
            what:
                What::Arrive {
                    attempt,
                    ref upstream_id,
                },
        } => Some((account_id, id, attempt, upstream_id)),
        _ => None,
    };
    let arrivals: Vec<_> = jobs.iter().filter_map(arrivals).collect();
    if arrivals.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 4] = [
        &column(&arrivals, |(account_id, ..)| *account_id),
        &column(&arrivals, |(_, id, ..)| *id),
        &column(&arrivals, |(_, _, attempt, _)| number(*attempt)),
        &column(&arrivals, |(.., upstream_id)| upstream_id.as_str()),
    ];
    query(client, ARRIVE, &values).await.map(drop)
}

/// Ends tasks that are open, or all or none of them; of several endings of one task in the batch, the
/// first counts.
async fn finish(
    client: &Client,
    jobs: &[Change],
    expect_all: bool,
) -> Result<HashMap<Uuid, Ended>, StoreError> {
    let mut seen = HashSet::new();
    let endings = |job| match job {
        &Change {
            account_id,
            id,
            what: What::Finish(ref ending),
        } if seen.insert(id) => Some((account_id, id, ending)),
        _ => None,
    };
    let endings: Vec<(_, _, &Ending)> = jobs.iter().filter_map(endings).collect();
    if endings.is_empty() {
        return Ok(HashMap::new());
    }
    let outputs = |ending: &Ending| (!ending.outputs.is_empty()).then(|| json(&ending.outputs));
    let values: [&(dyn ToSql + Sync); 7] = [
        &column(&endings, |(account_id, ..)| *account_id),
        &column(&endings, |(_, id, _)| *id),
        &column(&endings, |(.., ending)| ending.status.as_str()),
        &column(&endings, |(.., ending)| ending.charge),
        &column(&endings, |(.., ending)| outputs(ending)),
        &column(&endings, |(.., ending)| ending.failure.as_ref().map(json)),
        &expect_all,
    ];
    let rows = query(client, FINISH, &values).await?;
    let ended = |row: &Row| {
        let ended = Ended {
            test: row.try_get(1)?,
            quoted: row.try_get(2)?,
            charged: row.try_get(3)?,
            key_id: row.try_get(4)?,
            created_at: row.try_get(5)?,
            finished_at: row.try_get(6)?,
        };
        Ok((row.try_get(0)?, ended))
    };
    rows.iter().map(ended).collect()
}

/// Inserts the tasks of the submissions that were accepted.
async fn insert(
    client: &Client,
    node: Uuid,
    jobs: &[Change],
    decided: &Decided,
    week: i64,
) -> Result<(), StoreError> {
    let accepted = |(job, _): &(&Change, _)| decided.accepted.contains(&job.id);
    let rows: Vec<(&Change, &Submission)> = submissions(jobs).filter(accepted).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 13] = [
        &node,
        &column(&rows, |(job, _)| job.account_id),
        &column(&rows, |(job, _)| job.id),
        &column(&rows, |(.., s)| milliseconds(s.lifetime)),
        &column(&rows, |(.., s)| s.quoted),
        &column(&rows, |(.., s)| s.key.map(|key| key.code(week))),
        &column(&rows, |(.., s)| s.key.map(Key::to_bytes)),
        &column(&rows, |(.., s)| s.test),
        &column(&rows, |(.., s)| s.key_id),
        &column(&rows, |(.., s)| s.media.as_str()),
        &column(&rows, |(.., s)| s.model.as_str()),
        &column(&rows, |(.., s)| s.provider.as_str()),
        &column(&rows, |(.., s)| json(&*s.work)),
    ];
    query(client, INSERT, &values).await.map(drop)
}

/// Writes what capped keys have spent by now.
async fn spend(client: &Client, decided: &Decided) -> Result<(), StoreError> {
    let spent: Vec<_> = decided.spent.iter().collect();
    if spent.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 7] = [
        &column(&spent, |(key_id, _)| **key_id),
        &column(&spent, |(_, (account_id, _))| *account_id),
        &column(&spent, |(_, (_, spending))| spending.hour),
        &column(&spent, |(_, (_, spending))| spending.in_hour),
        &column(&spent, |(_, (_, spending))| spending.day),
        &column(&spent, |(_, (_, spending))| spending.in_day),
        &column(&spent, |(_, (_, spending))| spending.in_all),
    ];
    query(client, SPEND, &values).await.map(drop)
}

/// Takes what ended tasks gave back off what their keys have spent.
async fn give_back(client: &Client, decided: &Decided) -> Result<(), StoreError> {
    let given = &decided.given_back;
    if given.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 3] = [
        &column(given, |given| given.key_id),
        &column(given, |given| given.credits),
        &column(given, |given| given.spent_at),
    ];
    query(client, GIVE_BACK, &values).await.map(drop)
}

/// One value of every element: PostgreSQL takes a batch as columns.
fn column<'a, T, V>(batch: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    batch.iter().map(value).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn number(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values with text keys always serialize")
}

/// The week of a moment, counted as `tasks_by_keys` does.
fn week(moment: SystemTime) -> i64 {
    const SECONDS: u64 = 7 * 24 * 60 * 60;
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| (since.as_secs() / SECONDS).cast_signed())
}
