//! What may be the case with an account, from nothing but what was asked and what was answered.
//!
//! Mostly one thing may: then the balance is known to the credit and every answer with it. Where
//! something goes on by itself, or a caller heard no answer, the prediction holds all possibilities at
//! once, each a [`State`], until an answer or a look at the tasks decides. An answer that fits none of them
//! is an error. Which credits have expired by then it is told, and [`super::purse`] sees to that.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use piooy::accounts::SpendingCaps;
use piooy::generation::Status;
use uuid::Uuid;

use super::world::{DAY, HOUR};
use asked::{Existence, Share};

mod asked;

pub use asked::{Answer, Body, CANCELED, End, Entry, Quoted, Submission, start};

/// A row of the table of tasks.
#[derive(Debug)]
pub struct Row {
    pub id: Uuid,
    pub prompt: String,
    pub status: Status,
    pub quoted: i64,
    pub charged: i64,
    pub created_at: SystemTime,
}

/// Credits that were given, perhaps.
#[derive(Debug, Clone)]
pub struct Grant {
    pub note: String,
    pub credits: i64,
    /// How many days they are good for.
    pub days: Option<u32>,
    pub certain: bool,
}

/// What an account may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub available: i64,
    pub held: i64,
    /// Tasks.
    pub open: usize,
    /// What the capped key has spent in the hour, on the day, ever.
    pub by_key: [i64; 3],
}

impl State {
    fn with(self, share: &Share) -> Self {
        let mut by_key = self.by_key;
        for (spent, more) in by_key.iter_mut().zip(share.by_key) {
            *spent += more;
        }
        Self {
            available: self.available - share.taken,
            held: self.held + share.held,
            open: self.open + share.open,
            by_key,
        }
    }

    /// The first cap that keeps the capped key from spending so much: how much it may spend in which
    /// window, and how much it has.
    fn cap_for(&self, caps: SpendingCaps, price: i64) -> Option<(i64, &'static str, i64)> {
        let windows = [
            (caps.per_hour, "hour"),
            (caps.per_day, "day"),
            (caps.total, "total"),
        ];
        let reached = windows.into_iter().zip(self.by_key);
        reached
            .filter_map(|((cap, window), spent)| Some((cap?, window, spent)))
            .find(|(cap, _, spent)| spent + price > *cap)
    }
}

#[derive(Debug, Clone)]
pub struct Prediction {
    /// The most open tasks that the plan allows.
    pub limit: usize,
    /// Of the capped key.
    pub caps: SpendingCaps,
    pub entries: Vec<Entry>,
    pub grants: Vec<Grant>,
    /// How many credits have expired.
    pub expired: i64,
}

impl Prediction {
    pub fn new(limit: usize, caps: SpendingCaps) -> Self {
        Self {
            limit,
            caps,
            entries: Vec::new(),
            grants: Vec::new(),
            expired: 0,
        }
    }

    /// Everything that may be the case, within what must be.
    pub fn states(&self, now: SystemTime) -> BTreeSet<State> {
        let grants = self.grants.iter().map(|grant| {
            let given = Share {
                taken: -grant.credits,
                ..Share::default()
            };
            if grant.certain {
                vec![given]
            } else {
                vec![given, Share::default()]
            }
        });
        let shares = grants.chain(self.entries.iter().map(|entry| entry.shares(now)));
        let nothing = State {
            available: -self.expired,
            ..State::default()
        };
        let mut states = BTreeSet::from([nothing]);
        for shares in shares {
            let and = |state: &State| {
                shares
                    .iter()
                    .map(|share| state.with(share))
                    .collect::<Vec<_>>()
            };
            states = states.iter().flat_map(and).collect();
        }
        states.retain(|state| state.available >= 0 && state.open <= self.limit);
        states
    }

    /// Whether something may be the case at one of these moments.
    fn some_state_at(
        &self,
        moments: &[SystemTime],
        what: &str,
        fits: impl Fn(&State, SystemTime) -> bool,
    ) -> Result<(), String> {
        let mut hours: Vec<_> = moments.iter().map(|moment| start(*moment, HOUR)).collect();
        hours.dedup();
        let mut all = Vec::new();
        for hour in hours {
            let states = self.states(hour);
            if states.iter().any(|state| fits(state, hour)) {
                return Ok(());
            }
            all.push(states);
        }
        let (limit, caps) = (self.limit, self.caps);
        Err(format!(
            "{what}, but of {limit} tasks and {caps:?} it is {all:?}"
        ))
    }

    fn some_state(&self, what: &str, fits: impl Fn(&State) -> bool) -> Result<(), String> {
        self.some_state_at(&[SystemTime::now()], what, |state, _| fits(state))
    }

    /// A submission and what was answered, if anything was.
    pub fn submit(&mut self, asked: &Submission, answer: Option<Answer>) -> Result<(), String> {
        let Submission { body, key, .. } = asked;
        let price = asked.price();
        let over = asked.is_quoted_too_long_ago();
        let (same, others) = self.of_key(body, key.as_deref());
        let is_certain = |at: &usize| self.entries[*at].is_certain();
        let known_same = same.as_ref().is_some_and(is_certain);
        let known_other = others.iter().any(is_certain);
        let prompt = &body.prompt;
        let caps = if body.capped {
            self.caps
        } else {
            SpendingCaps::NONE
        };
        match answer {
            None if known_same || known_other || over => Ok(()),
            None => {
                match same {
                    Some(at) => self.entries[at].may_cost(price),
                    None => self.enter(asked, Existence::Possible),
                }
                Ok(())
            }
            Some(Answer::Task {
                id,
                price: agreed,
                created_at,
            }) => {
                if known_other {
                    return Err(format!(
                        "{prompt} was taken with a key that stands for another"
                    ));
                }
                match same {
                    // Taken now or earlier: either way it is this one task.
                    Some(at) => {
                        if !known_same && !over {
                            self.entries[at].may_cost(price);
                        }
                        self.identify(at, id, agreed)?;
                    }
                    None if over || agreed != price => {
                        return Err(format!(
                            "{prompt} costs {price} and was taken for {agreed} at {created_at:?}"
                        ));
                    }
                    None => {
                        let said = format!("{prompt} was taken for {price}");
                        self.some_state_at(&asked.between, &said, |state, now| {
                            self.refusal(state, caps, price, now).is_none()
                        })?;
                        self.enter(asked, Existence::Certain);
                        let entry = self.entries.last_mut().expect("was entered");
                        (entry.id, entry.at) = (Some(id), Some(created_at));
                    }
                }
                for other in others {
                    self.entries[other].existence = Existence::Refuted;
                }
                Ok(())
            }
            Some(refusal) if known_same => Err(format!(
                "{prompt} has a key with its task, and was refused: {refusal:?}"
            )),
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
            Some(refusal) if known_other => Err(format!(
                "{prompt} has a key with a task, and was refused: {refusal:?}"
            )),
            Some(Answer::QuoteExpired) if over => Ok(()),
            Some(answer) if over || answer == Answer::QuoteExpired => Err(format!(
                "{prompt} has {:?} and was refused: {answer:?}",
                asked.quote
            )),
            Some(refusal) => {
                let said = format!("{prompt} for {price} was refused: {refusal:?}");
                self.some_state_at(&asked.between, &said, |state, now| {
                    self.refusal(state, caps, price, now) == Some(refusal)
                })
            }
        }
    }

    /// With what something new is refused, if it is.
    fn refusal(
        &self,
        state: &State,
        caps: SpendingCaps,
        price: i64,
        now: SystemTime,
    ) -> Option<Answer> {
        if state.open >= self.limit {
            return Some(Answer::TooMany);
        }
        if let Some((cap, window, spent)) = state.cap_for(caps, price) {
            let resets_at = match window {
                "hour" => Some(start(now, HOUR) + HOUR),
                "day" => Some(start(now, DAY) + DAY),
                _ => None,
            };
            return Some(Answer::CapReached {
                cap,
                window,
                spent,
                resets_at,
            });
        }
        let available = state.available;
        (available < price).then_some(Answer::Insufficient { available })
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

    fn enter(&mut self, asked: &Submission, existence: Existence) {
        self.entries.push(Entry {
            body: Arc::clone(&asked.body),
            key: asked.key.clone(),
            id: None,
            prices: vec![asked.price()],
            at: None,
            fates: asked.body.ends_by_itself(),
            ended: None,
            existence,
        });
    }

    /// The task at `at` exists and has this id and price, now and for ever.
    fn identify(&mut self, at: usize, id: Uuid, price: i64) -> Result<(), String> {
        let entry = &mut self.entries[at];
        if entry.id.is_some_and(|known| known != id) {
            return Err(format!(
                "{} is two tasks: {:?} and {id}",
                entry.body.prompt, entry.id
            ));
        }
        if !entry.prices.contains(&price) {
            return Err(format!(
                "{} costs {:?}, not {price}",
                entry.body.prompt, entry.prices
            ));
        }
        (entry.id, entry.prices) = (Some(id), vec![price]);
        entry.existence = Existence::Certain;
        Ok(())
    }

    /// A grant and the balance (available, held) after it, if that was heard.
    pub fn grant(
        &mut self,
        note: &str,
        credits: i64,
        days: Option<u32>,
        answer: Option<(i64, i64)>,
    ) -> Result<(), String> {
        self.grants.push(Grant {
            note: note.to_owned(),
            credits,
            days,
            certain: answer.is_some(),
        });
        answer.map_or(Ok(()), |balance| self.balance(balance))
    }

    /// Credits that are given once, however often they are asked for.
    pub fn grant_once(&mut self, note: &str, credits: i64, days: u32) -> Result<(), String> {
        if self.grants.iter().any(|grant| grant.note == note) {
            return Ok(());
        }
        self.grants.push(Grant {
            note: note.to_owned(),
            credits,
            days: Some(days),
            certain: true,
        });
        Ok(())
    }

    /// A balance (available, held) that was read.
    pub fn balance(&self, balance: (i64, i64)) -> Result<(), String> {
        self.some_state(&format!("the balance is {balance:?}"), |state| {
            (state.available, state.held) == balance
        })
    }

    /// What is said to be available.
    pub fn available(&self, available: i64) -> Result<(), String> {
        let said = format!("{available} are available");
        self.some_state(&said, |state| state.available == available)
    }

    /// So many credits have expired.
    pub fn expire(&mut self, credits: i64) -> Result<(), String> {
        self.expired += credits;
        self.some_state(&format!("{credits} expired"), |_| true)
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
            self.identify(at, row.id, row.quoted)?;
            let entry = &mut self.entries[at];
            entry.at = Some(row.created_at);
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
            let (end, price) = (entry.ended?, entry.price());
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
    use std::time::Duration;

    use super::asked::FAILED;
    use super::*;
    use crate::generation::fixture::routed;
    use crate::model::script::{Arrival, Script, Verdict};
    use crate::model::world::Kind;

    const NOON: Duration = Duration::from_secs(1_800_014_400);

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + NOON
    }

    fn body(price: i64) -> Arc<Body> {
        Arc::new(Body {
            prompt: format!("for {price}"),
            request: routed(""),
            prices: [price, price + 1],
            count: 1,
            script: Script {
                arrival: Arrival::Taken,
                verdict: Verdict::Deliver(1),
                stops: true,
                trap: None,
            },
            capped: true,
            kind: Kind::Normal,
        })
    }

    fn asked(body: &Arc<Body>, key: Option<&str>) -> Submission {
        Submission {
            body: Arc::clone(body),
            key: key.map(str::to_owned),
            quote: None,
            listed: body.prices[0],
            between: [noon(); 2],
        }
    }

    fn account() -> Prediction {
        let mut account = Prediction::new(2, SpendingCaps::NONE);
        account.grant("", 100, None, Some((100, 0))).unwrap();
        account
    }

    fn task(number: u128, price: i64) -> Option<Answer> {
        Some(Answer::Task {
            id: Uuid::from_u128(number),
            price,
            created_at: noon(),
        })
    }

    #[test]
    fn every_wrong_answer_is_seen() {
        let mut account = account();
        account
            .submit(&asked(&body(60), Some("a")), task(1, 60))
            .unwrap();
        let wrong: [(i64, Option<&str>, Option<Answer>); 10] = [
            (50, None, task(2, 50)),
            (40, None, task(2, 41)),
            (60, Some("a"), task(2, 60)),
            (60, Some("a"), task(1, 61)),
            (10, Some("a"), task(2, 10)),
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
            let judged = account.clone().submit(&asked(&body, key), answer);
            assert!(judged.is_err(), "{price} {key:?} {answer:?}");
        }
        let right = [
            (
                &body(50),
                None,
                Some(Answer::Insufficient { available: 40 }),
            ),
            (&first, Some("a"), task(1, 60)),
            (&body(10), Some("a"), Some(Answer::KeyReused)),
            (&body(40), None, task(3, 40)),
            (&body(0), None, Some(Answer::TooMany)),
        ];
        for (body, key, answer) in right {
            account.submit(&asked(body, key), answer).unwrap();
        }
        assert!(account.submit(&asked(&body(0), None), task(4, 0)).is_err());
        assert!(account.balance((0, 99)).is_err());
        account.balance((0, 100)).unwrap();
        account.expire(0).unwrap();
        assert!(account.expire(1).is_err());
    }

    #[test]
    fn what_nobody_heard_may_be_or_not_until_somebody_does() {
        let mut account = account();
        let (unheard, other) = (asked(&body(60), Some("a")), asked(&body(50), Some("a")));
        account.submit(&unheard, None).unwrap();
        for balance in [(100, 0), (40, 60)] {
            account.balance(balance).unwrap();
        }
        assert!(account.balance((50, 50)).is_err());
        let mut taken = account.clone();
        taken.submit(&other, Some(Answer::KeyReused)).unwrap();
        assert!(taken.balance((100, 0)).is_err());
        // Again, from a node with other prices: it costs one or the other.
        let dearer = Submission {
            listed: 61,
            ..unheard
        };
        for (price, balance) in [(60, (40, 60)), (61, (39, 61))] {
            let mut taken = account.clone();
            taken.submit(&dearer, task(1, price)).unwrap();
            taken.balance(balance).unwrap();
        }
        assert!(account.clone().submit(&dearer, task(1, 62)).is_err());
        account.submit(&other, task(2, 50)).unwrap();
        account.balance((50, 50)).unwrap();
        assert!(account.balance((40, 60)).is_err());
    }

    #[test]
    fn a_task_ends_once_and_as_it_may() {
        let mut account = account();
        account
            .submit(&asked(&body(60), None), task(1, 60))
            .unwrap();
        let success = End {
            status: Status::Success,
            charged: 60,
        };
        assert!(account.entries[0].clone().end(success).is_err());
        let verdict = account.entries[0].body.verdict();
        account.entries[0].may_end(verdict);
        for balance in [(40, 60), (40, 0)] {
            account.balance(balance).unwrap();
        }
        account.entries[0].end(success).unwrap();
        assert!(account.balance((40, 60)).is_err());
        account.entries[0].may_end(FAILED);
        let failure = End {
            status: Status::Failed,
            charged: 0,
        };
        assert!(account.entries[0].end(failure).is_err());
        assert_eq!(
            account.movements()[&Uuid::from_u128(1)],
            ["HOLD 60", "CAPTURE 60"]
        );
    }

    #[test]
    fn a_quote_holds_until_it_is_over() {
        let account = account();
        let quoted = |until: SystemTime, answer| {
            let quote = Quoted {
                id: String::new(),
                price: 30,
                expires_at: until,
            };
            let asked = Submission {
                quote: Some(quote),
                ..asked(&body(60), Some("a"))
            };
            account.clone().submit(&asked, answer)
        };
        let (later, now) = (noon() + HOUR, noon());
        quoted(later, task(1, 30)).unwrap();
        quoted(now, Some(Answer::QuoteExpired)).unwrap();
        for (until, answer) in [
            (later, task(1, 60)),
            (later, Some(Answer::QuoteExpired)),
            (now, task(1, 30)),
            (now, task(1, 60)),
        ] {
            assert!(quoted(until, answer).is_err(), "{until:?} {answer:?}");
        }
    }

    #[test]
    fn the_capped_key_spends_what_its_caps_allow() {
        let caps = SpendingCaps {
            per_hour: Some(30),
            per_day: Some(50),
            total: None,
        };
        let mut account = Prediction::new(9, caps);
        account.grant("", 100, None, Some((100, 0))).unwrap();
        let at = |hours: u32, price| Submission {
            between: [noon() + HOUR * hours; 2],
            ..asked(&body(price), None)
        };
        let reached = |cap, window, spent, hours| {
            Some(Answer::CapReached {
                cap,
                window,
                spent,
                resets_at: Some(noon() + HOUR * hours),
            })
        };
        account.submit(&at(0, 30), task(1, 30)).unwrap();
        assert!(account.clone().submit(&at(0, 1), task(2, 1)).is_err());
        account
            .submit(&at(0, 1), reached(30, "hour", 30, 1))
            .unwrap();
        assert!(
            account
                .submit(&at(0, 1), reached(30, "hour", 29, 1))
                .is_err()
        );
        assert!(
            account
                .submit(&at(0, 1), reached(30, "hour", 30, 2))
                .is_err()
        );
        account
            .submit(&at(1, 21), reached(50, "day", 30, 12))
            .unwrap();
        account.clone().submit(&at(1, 20), task(2, 20)).unwrap();
        account.clone().submit(&at(12, 30), task(2, 30)).unwrap();
        // What it gives back may be spent again.
        account.entries[0].may_end(FAILED);
        account.clone().submit(&at(0, 1), task(2, 1)).unwrap();
        account
            .submit(&at(0, 1), reached(30, "hour", 30, 1))
            .unwrap();
    }
}
