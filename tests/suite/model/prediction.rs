//! What may be the case with an account, from nothing but what was asked and what was answered.
//!
//! Mostly one thing may: then the balance is known to the credit and every answer with it. Where
//! something goes on by itself, or a caller heard no answer, the prediction holds all possibilities at
//! once, as [`States`], until an answer or a look at the tasks decides. An answer that fits none of them
//! is an error.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use piooy::generation::{Request, Status};
use uuid::Uuid;

use super::script::{Arrival, Script, Verdict};
use super::world::Kind;

/// A request, what it costs and what the upstream does with it. Each has a prompt of its own.
#[derive(Debug)]
pub struct Body {
    pub prompt: String,
    pub request: Request,
    pub price: i64,
    pub count: u32,
    pub script: Script,
    /// What sort of node takes it.
    pub kind: Kind,
}

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub status: Status,
    pub charged: i64,
}

pub const CANCELED: End = End {
    status: Status::Canceled,
    charged: 0,
};
pub const FAILED: End = End {
    status: Status::Failed,
    charged: 0,
};

impl Body {
    /// How it ends when the upstream has its say.
    pub fn verdict(&self) -> End {
        match (self.script.arrival, self.script.verdict) {
            (Arrival::Refused(_) | Arrival::Unknowable, _)
            | (_, Verdict::Deliver(0) | Verdict::DeliverNoise | Verdict::Fail | Verdict::Never) => {
                FAILED
            }
            (_, Verdict::Deliver(delivered)) => End {
                status: Status::Success,
                charged: self.price * i64::from(delivered.min(self.count)) / i64::from(self.count),
            },
        }
    }

    /// How it may end without anybody's doing.
    fn ends_by_itself(&self) -> Vec<End> {
        let refused = matches!(self.script.arrival, Arrival::Refused(_));
        if refused || self.script.is_doomed() {
            vec![FAILED]
        } else {
            Vec::new()
        }
    }
}

/// An answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Task(Uuid),
    KeyReused,
    TooMany,
    Insufficient { available: i64 },
}

/// Something that was asked and not refused.
#[derive(Debug, Clone)]
pub struct Entry {
    pub body: Arc<Body>,
    pub key: Option<String>,
    pub id: Option<Uuid>,
    /// How it may have ended by now. None: if it exists, it is open.
    pub ends: Vec<End>,
    pub ended: Option<End>,
    existence: Existence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existence {
    Certain,
    /// Nobody heard the answer.
    Possible,
    Refuted,
}

impl Entry {
    pub fn is_certain(&self) -> bool {
        self.existence == Existence::Certain
    }

    /// From now on it may end, or have ended, like this.
    pub fn may_end(&mut self, end: End) {
        if !self.ends.contains(&end) {
            self.ends.push(end);
        }
    }

    /// It has ended, as it may.
    pub fn end(&mut self, end: End) -> Result<(), String> {
        if self.ended.is_some_and(|ended| ended != end) {
            return Err(format!(
                "{} ended twice: {:?}, {end:?}",
                self.body.prompt, self.ended
            ));
        }
        if self.ended.is_none() && !self.ends.contains(&end) {
            return Err(format!(
                "{} may end as {:?}, not {end:?}",
                self.body.prompt, self.ends
            ));
        }
        self.ended = Some(end);
        Ok(())
    }

    /// What it may hold, have cost and occupy.
    fn shares(&self) -> Vec<Share> {
        let (open, absent) = (Share::open(self.body.price), Share::default());
        let ended = |end: &End| Share {
            spent: end.charged,
            ..absent
        };
        let mut shares = match self.existence {
            Existence::Refuted => return vec![absent],
            Existence::Possible => vec![absent],
            Existence::Certain => Vec::new(),
        };
        match &self.ended {
            Some(end) => shares.push(ended(end)),
            None => {
                shares.push(open);
                shares.extend(self.ends.iter().map(ended));
            }
        }
        shares
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    granted: i64,
    held: i64,
    spent: i64,
    open: usize,
}

impl Share {
    fn open(price: i64) -> Self {
        Self {
            held: price,
            open: 1,
            ..Self::default()
        }
    }
}

/// A row of the table of tasks.
#[derive(Debug)]
pub struct Row {
    pub id: Uuid,
    pub prompt: String,
    pub status: Status,
    pub quoted: i64,
    pub charged: i64,
}

/// Credits that were given, perhaps.
#[derive(Debug, Clone)]
pub struct Grant {
    pub note: String,
    pub credits: i64,
    pub certain: bool,
}

/// What an account may have: (available, held, open tasks).
type States = BTreeSet<(i64, i64, usize)>;

#[derive(Debug, Clone)]
pub struct Prediction {
    /// The most open tasks that the plan allows.
    pub limit: usize,
    pub entries: Vec<Entry>,
    pub grants: Vec<Grant>,
}

impl Prediction {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// Everything that may be the case, within what must be.
    pub fn states(&self) -> States {
        let grants = self.grants.iter().map(|grant| {
            let given = Share {
                granted: grant.credits,
                ..Share::default()
            };
            if grant.certain {
                vec![given]
            } else {
                vec![given, Share::default()]
            }
        });
        let shares = grants.chain(self.entries.iter().map(Entry::shares));
        let mut states = States::from([(0, 0, 0)]);
        for shares in shares {
            let and = |&(available, held, open): &(i64, i64, usize)| {
                shares
                    .iter()
                    .map(move |share| {
                        (
                            available + share.granted - share.held - share.spent,
                            held + share.held,
                            open + share.open,
                        )
                    })
                    .collect::<Vec<_>>()
            };
            states = states.iter().flat_map(and).collect();
        }
        states.retain(|&(available, _, open)| available >= 0 && open <= self.limit);
        states
    }

    fn some_state(&self, what: &str, fits: impl Fn(i64, i64, usize) -> bool) -> Result<(), String> {
        let states = self.states();
        if states
            .iter()
            .any(|&(available, held, open)| fits(available, held, open))
        {
            return Ok(());
        }
        Err(format!(
            "{what}, but (available, held, open) of at most {} is one of {states:?}",
            self.limit
        ))
    }

    /// A submission and what was answered, if anything was.
    pub fn submit(
        &mut self,
        body: &Arc<Body>,
        key: Option<&str>,
        answer: Option<Answer>,
    ) -> Result<(), String> {
        let (same, others) = self.of_key(body, key);
        let known = others
            .iter()
            .chain(&same)
            .any(|&at| self.entries[at].is_certain());
        let prompt = &body.prompt;
        match answer {
            None if same.is_some() || known => Ok(()),
            None => {
                self.enter(body, key, None, Existence::Possible);
                Ok(())
            }
            Some(Answer::Task(id)) => {
                if others.iter().any(|&at| self.entries[at].is_certain()) {
                    return Err(format!(
                        "{prompt} was taken with a key that stands for another"
                    ));
                }
                match same {
                    // Taken now or earlier: either way it is this one task.
                    Some(at) => self.identify(at, id)?,
                    None => {
                        self.some_state(&format!("{prompt} was taken"), |available, _, open| {
                            available >= body.price && open < self.limit
                        })?;
                        self.enter(body, key, Some(id), Existence::Certain);
                    }
                }
                for other in others {
                    self.entries[other].existence = Existence::Refuted;
                }
                Ok(())
            }
            Some(Answer::KeyReused) => match others.as_slice() {
                [] => Err(format!("the key of {prompt} stands for nothing else")),
                [other] => {
                    self.entries[*other].existence = Existence::Certain;
                    if let Some(same) = same {
                        self.entries[same].existence = Existence::Refuted;
                    }
                    Ok(())
                }
                _ => Ok(()),
            },
            Some(refusal) if known => Err(format!(
                "{prompt} has a key with a task, and was refused: {refusal:?}"
            )),
            Some(Answer::TooMany) => {
                let limit = self.limit;
                let said = format!("{prompt} was one too many");
                self.some_state(&said, |_, _, open| open >= limit)
            }
            Some(Answer::Insufficient { available: told }) => {
                let said = format!("{prompt} costs {}, {told} were there", body.price);
                self.some_state(&said, |available, _, open| {
                    told < body.price && available == told && open < self.limit
                })
            }
        }
    }

    /// Where the key stands, or may stand, for this request, and where for others.
    fn of_key(&self, body: &Arc<Body>, key: Option<&str>) -> (Option<usize>, Vec<usize>) {
        let (mut same, mut others) = (None, Vec::new());
        for (at, entry) in self.entries.iter().enumerate() {
            let stands = key.is_some()
                && entry.key.as_deref() == key
                && entry.existence != Existence::Refuted;
            match stands {
                true if Arc::ptr_eq(&entry.body, body) => same = Some(at),
                true => others.push(at),
                false => {}
            }
        }
        (same, others)
    }

    fn enter(
        &mut self,
        body: &Arc<Body>,
        key: Option<&str>,
        id: Option<Uuid>,
        existence: Existence,
    ) {
        self.entries.push(Entry {
            body: Arc::clone(body),
            key: key.map(str::to_owned),
            id,
            ends: body.ends_by_itself(),
            ended: None,
            existence,
        });
    }

    /// The task at `at` exists and has this id, now and for ever.
    fn identify(&mut self, at: usize, id: Uuid) -> Result<(), String> {
        let entry = &mut self.entries[at];
        if entry.id.is_some_and(|known| known != id) {
            return Err(format!(
                "{} is two tasks: {:?} and {id}",
                entry.body.prompt, entry.id
            ));
        }
        entry.id = Some(id);
        entry.existence = Existence::Certain;
        Ok(())
    }

    /// A grant and the balance (available, held) after it, if that was heard.
    pub fn grant(
        &mut self,
        note: &str,
        credits: i64,
        answer: Option<(i64, i64)>,
    ) -> Result<(), String> {
        self.grants.push(Grant {
            note: note.to_owned(),
            credits,
            certain: answer.is_some(),
        });
        answer.map_or(Ok(()), |balance| self.balance(balance))
    }

    /// A balance (available, held) that was read.
    pub fn balance(&self, balance: (i64, i64)) -> Result<(), String> {
        self.some_state(
            &format!("the balance is {balance:?}"),
            |available, held, _| (available, held) == balance,
        )
    }

    /// What the table of tasks says. Every row has to be a task that was asked for, and each that is
    /// known to be has to have its one row.
    pub fn observe(&mut self, rows: Vec<Row>) -> Result<(), String> {
        let mut seen = HashMap::new();
        for row in rows {
            if let Some(other) = seen.insert(row.prompt.clone(), row.id) {
                return Err(format!(
                    "{} is two tasks: {other} and {}",
                    row.prompt, row.id
                ));
            }
            let found = self.entries.iter().position(|entry| {
                entry.body.prompt == row.prompt && entry.existence != Existence::Refuted
            });
            let at = found.ok_or_else(|| format!("nobody asked for {row:?}"))?;
            self.identify(at, row.id)?;
            let entry = &mut self.entries[at];
            if row.quoted != entry.body.price {
                return Err(format!(
                    "{} costs {}: {row:?}",
                    row.prompt, entry.body.price
                ));
            }
            if row.status.is_final() {
                let (status, charged) = (row.status, row.charged);
                entry.end(End { status, charged })?;
            } else if entry.ended.is_some() {
                return Err(format!("{} had ended as {:?}", row.prompt, entry.ended));
            }
        }
        let missing = self
            .entries
            .iter()
            .find(|entry| entry.is_certain() && !seen.contains_key(&entry.body.prompt));
        missing.map_or(Ok(()), |entry| {
            Err(format!("{} is gone", entry.body.prompt))
        })
    }

    /// Nothing is under way any more: what was not seen by now does not exist.
    pub fn rest(&mut self) {
        for entry in &mut self.entries {
            if entry.existence == Existence::Possible {
                entry.existence = Existence::Refuted;
            }
        }
        self.grants.retain(|grant| grant.certain);
    }

    /// The movements of each task, at rest.
    pub fn movements(&self) -> HashMap<Uuid, Vec<String>> {
        let of = |entry: &Entry| {
            let (end, price) = (entry.ended?, entry.body.price);
            let mut movements = vec![format!("HOLD {price}")];
            if end.charged > 0 || price == 0 {
                movements.push(format!("CAPTURE {}", end.charged));
            }
            if end.charged < price {
                movements.push(format!("RELEASE {}", price - end.charged));
            }
            Some((entry.id?, movements))
        };
        self.entries
            .iter()
            .filter(|entry| entry.is_certain())
            .filter_map(of)
            .collect()
    }
}

/// A prediction that allows everything proves nothing.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::fixture::routed;

    fn body(price: i64) -> Arc<Body> {
        Arc::new(Body {
            prompt: format!("for {price}"),
            request: routed(""),
            price,
            count: 1,
            script: Script {
                arrival: Arrival::Taken,
                verdict: Verdict::Deliver(1),
                stops: true,
                trap: None,
            },
            kind: Kind::Normal,
        })
    }

    fn account() -> Prediction {
        let mut account = Prediction::new(2);
        account.grant("", 100, Some((100, 0))).unwrap();
        account
    }

    fn task(number: u128) -> Option<Answer> {
        Some(Answer::Task(Uuid::from_u128(number)))
    }

    #[test]
    fn every_wrong_answer_is_seen() {
        let mut account = account();
        account.submit(&body(60), Some("a"), task(1)).unwrap();
        let wrong: [(i64, Option<&str>, Option<Answer>); 8] = [
            (50, None, task(2)),
            (60, Some("a"), task(2)),
            (10, Some("a"), task(2)),
            (50, None, Some(Answer::Insufficient { available: 30 })),
            (40, None, Some(Answer::Insufficient { available: 40 })),
            (50, None, Some(Answer::TooMany)),
            (50, Some("b"), Some(Answer::KeyReused)),
            (10, Some("a"), Some(Answer::TooMany)),
        ];
        let first = Arc::clone(&account.entries[0].body);
        for (price, key, answer) in wrong {
            let body = if price == 60 {
                Arc::clone(&first)
            } else {
                body(price)
            };
            let judged = account.clone().submit(&body, key, answer);
            assert!(judged.is_err(), "{price} {key:?} {answer:?}");
        }
        let right = Some(Answer::Insufficient { available: 40 });
        account.submit(&body(50), None, right).unwrap();
        account.submit(&first, Some("a"), task(1)).unwrap();
        account
            .submit(&body(10), Some("a"), Some(Answer::KeyReused))
            .unwrap();
        account.submit(&body(40), None, task(3)).unwrap();
        account
            .submit(&body(0), None, Some(Answer::TooMany))
            .unwrap();
        assert!(account.submit(&body(0), None, task(4)).is_err());
        assert!(account.balance((0, 99)).is_err());
        account.balance((0, 100)).unwrap();
    }

    #[test]
    fn what_nobody_heard_may_be_or_not_until_somebody_does() {
        let mut account = account();
        let (unheard, other) = (body(60), body(50));
        account.submit(&unheard, Some("a"), None).unwrap();
        for balance in [(100, 0), (40, 60)] {
            account.balance(balance).unwrap();
        }
        assert!(account.balance((50, 50)).is_err());
        let mut taken = account.clone();
        taken
            .submit(&other, Some("a"), Some(Answer::KeyReused))
            .unwrap();
        assert!(taken.balance((100, 0)).is_err());
        account.submit(&other, Some("a"), task(2)).unwrap();
        account.balance((50, 50)).unwrap();
        assert!(account.balance((40, 60)).is_err());
    }

    #[test]
    fn a_task_ends_once_and_as_it_may() {
        let mut account = account();
        account.submit(&body(60), None, task(1)).unwrap();
        let success = account.entries[0].body.verdict();
        assert!(account.entries[0].clone().end(success).is_err());
        account.entries[0].may_end(success);
        for balance in [(40, 60), (40, 0)] {
            account.balance(balance).unwrap();
        }
        account.entries[0].end(success).unwrap();
        assert!(account.balance((40, 60)).is_err());
        account.entries[0].may_end(FAILED);
        assert!(account.entries[0].end(FAILED).is_err());
        assert_eq!(
            account.movements()[&Uuid::from_u128(1)],
            ["HOLD 60", "CAPTURE 60"]
        );
    }
}
