//! What was asked, what may come of it, and what each possibility does to an account.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use piooy::generation::{Request, Status};
use uuid::Uuid;

use crate::model::script::{Arrival, Script, Verdict};
use crate::model::world::{DAY, HOUR, Kind};

/// A request, what it costs and what the upstream does with it. Each has a prompt of its own.
#[derive(Debug)]
pub struct Body {
    pub prompt: String,
    pub request: Request,
    /// By each of the price lists.
    pub prices: [i64; 2],
    pub count: u32,
    pub script: Script,
    /// Whether the capped key asks for it.
    pub capped: bool,
    /// What sort of node takes it.
    pub kind: Kind,
}

/// A price that was quoted, and the text by which it holds until then.
#[derive(Debug, Clone)]
pub struct Quoted {
    pub id: String,
    pub price: i64,
    pub expires_at: SystemTime,
}

/// Something that was asked to be made.
#[derive(Debug, Clone)]
pub struct Submission {
    pub body: Arc<Body>,
    /// The idempotency key.
    pub key: Option<String>,
    pub quote: Option<Quoted>,
    /// What the node that was asked wants for it when there is no quote.
    pub listed: i64,
    /// When it was asked and when it was answered, if it was.
    pub between: [SystemTime; 2],
}

impl Submission {
    pub fn price(&self) -> i64 {
        self.quote.as_ref().map_or(self.listed, |quote| quote.price)
    }

    pub fn is_quoted_too_long_ago(&self) -> bool {
        let quote = self.quote.as_ref();
        quote.is_some_and(|quote| quote.expires_at <= self.between[1])
    }
}

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub status: Status,
    pub charged: i64,
}

/// How a task ends, whatever its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    status: Status,
    /// How many of the files that were asked for there are.
    delivered: u32,
}

pub const CANCELED: Fate = Fate {
    status: Status::Canceled,
    delivered: 0,
};
pub const FAILED: Fate = Fate {
    status: Status::Failed,
    delivered: 0,
};

impl Body {
    /// How it ends when the upstream has its say.
    pub fn verdict(&self) -> Fate {
        match (self.script.arrival, self.script.verdict) {
            (Arrival::Refused(_) | Arrival::Unknowable, _)
            | (_, Verdict::Deliver(0) | Verdict::DeliverNoise | Verdict::Fail | Verdict::Never) => {
                FAILED
            }
            (_, Verdict::Deliver(delivered)) => Fate {
                status: Status::Success,
                delivered: delivered.min(self.count),
            },
        }
    }

    /// How it may end without anybody's doing.
    pub fn ends_by_itself(&self) -> Vec<Fate> {
        let refused = matches!(self.script.arrival, Arrival::Refused(_));
        if refused || self.script.is_doomed() {
            vec![FAILED]
        } else {
            Vec::new()
        }
    }

    fn end(&self, price: i64, fate: Fate) -> End {
        End {
            status: fate.status,
            charged: price * i64::from(fate.delivered) / i64::from(self.count),
        }
    }
}

/// An answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Task {
        id: Uuid,
        price: i64,
        created_at: SystemTime,
    },
    KeyReused,
    QuoteExpired,
    TooMany,
    CapReached {
        cap: i64,
        window: &'static str,
        spent: i64,
        resets_at: Option<SystemTime>,
    },
    Insufficient {
        available: i64,
    },
}

/// Something that was asked and not refused.
#[derive(Debug, Clone)]
pub struct Entry {
    pub body: Arc<Body>,
    pub key: Option<String>,
    pub id: Option<Uuid>,
    /// What it may cost. One, once it was seen.
    pub prices: Vec<i64>,
    /// When it was accepted, once that is known.
    pub at: Option<SystemTime>,
    /// How it may have ended by now. None: if it exists, it is open.
    pub fates: Vec<Fate>,
    pub ended: Option<End>,
    pub existence: Existence,
}

/// Whether it is there at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    Certain,
    /// Nobody heard the answer.
    Possible,
    Refuted,
}

impl Entry {
    pub fn is_certain(&self) -> bool {
        self.existence == Existence::Certain
    }

    /// What it costs. It was seen.
    pub fn price(&self) -> i64 {
        self.prices[0]
    }

    /// From now on it may end, or have ended, like this.
    pub fn may_end(&mut self, fate: Fate) {
        if !self.fates.contains(&fate) {
            self.fates.push(fate);
        }
    }

    pub fn may_cost(&mut self, price: i64) {
        if !self.prices.contains(&price) {
            self.prices.push(price);
        }
    }

    fn possible_ends(&self, price: i64) -> impl Iterator<Item = End> {
        self.fates
            .iter()
            .map(move |fate| self.body.end(price, *fate))
    }

    /// It has ended, as it may.
    pub fn end(&mut self, end: End) -> Result<(), String> {
        if self.ended.is_some_and(|ended| ended != end) {
            return Err(format!(
                "{} ended twice: {:?}, {end:?}",
                self.body.prompt, self.ended
            ));
        }
        let may = self.possible_ends(self.price()).any(|may| may == end);
        if self.ended.is_none() && !may {
            return Err(format!(
                "{} for {} may end as {:?}, not {end:?}",
                self.body.prompt,
                self.price(),
                self.fates
            ));
        }
        self.ended = Some(end);
        Ok(())
    }

    /// What it may hold, have cost and occupy.
    pub fn shares(&self, now: SystemTime) -> Vec<Share> {
        let absent = Share::default();
        let mut shares = match self.existence {
            Existence::Refuted => return vec![absent],
            Existence::Possible => vec![absent],
            Existence::Certain => Vec::new(),
        };
        let counts = if self.body.capped {
            windows(self.at, now)
        } else {
            [0; 3]
        };
        let ended = |end: End| Share {
            taken: end.charged,
            by_key: counts.map(|counts| counts * end.charged),
            ..absent
        };
        for price in &self.prices {
            if let Some(end) = self.ended {
                shares.push(ended(end));
                continue;
            }
            shares.push(Share {
                taken: *price,
                held: *price,
                open: 1,
                by_key: counts.map(|counts| counts * price),
            });
            shares.extend(self.possible_ends(*price).map(ended));
        }
        shares
    }
}

/// Whether what was spent then counts for the hour, the day and for good: 1 or 0. What nobody has seen
/// yet is new.
fn windows(at: Option<SystemTime>, now: SystemTime) -> [i64; 3] {
    let within = |window| at.is_none_or(|at| at >= start(now, window));
    [i64::from(within(HOUR)), i64::from(within(DAY)), 1]
}

/// When the hour or the day began in which a moment lies.
pub fn start(moment: SystemTime, window: Duration) -> SystemTime {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    let windows = since.expect("is later").as_secs() / window.as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(windows * window.as_secs())
}

/// What something does to what an account has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Share {
    /// Not available any more.
    pub taken: i64,
    pub held: i64,
    pub open: usize,
    pub by_key: [i64; 3],
}
