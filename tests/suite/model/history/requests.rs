//! What is asked for: requests that were never made before, those that were, and credits.

use std::sync::Arc;
use std::time::Duration;

use piooy::catalog::MediaType;
use piooy::generation::{Request, SubmitError};
use piooy::providers::FailureReason;

use super::asking::Ask;
use super::{History, Judged};
use crate::model::prediction::{Body, Quoted};
use crate::model::script::{Arrival, Script, Trap, Verdict};
use crate::model::world::{DAY, Kind};

/// A request that was made with an idempotency key.
#[derive(Clone)]
pub struct Keyed {
    pub key: String,
    pub body: Arc<Body>,
    pub quote: Option<Quoted>,
}

impl From<Keyed> for Ask {
    fn from(Keyed { key, body, quote }: Keyed) -> Self {
        Self::Submit {
            body,
            key: Some(key),
            quote,
        }
    }
}

impl History {
    /// A request that was never made before.
    fn body(&mut self, kind: Kind, trap: Option<Trap>) -> Arc<Body> {
        self.bodies += 1;
        let prompt = format!("{}: {}", self.callers.free.account_name(), self.bodies);
        let mut request = Request {
            prompt: prompt.clone(),
            ..Request::default()
        };
        let (mut count, prices) = match self.random.u8(..10) {
            0..6 => {
                "tiny".clone_into(&mut request.model);
                request.count = Some(self.random.u32(1..=4));
                let large = self.random.u8(..4) == 0;
                request.resolution = large.then(|| "0.2K".to_owned());
                (request.count, if large { [20, 25] } else { [10, 12] })
            }
            6..9 => {
                "tiny-free".clone_into(&mut request.model);
                (
                    None,
                    if self.free_tier_included {
                        [0; 2]
                    } else {
                        [3, 5]
                    },
                )
            }
            _ => {
                "tiny-clip".clone_into(&mut request.model);
                request.expects = Some(MediaType::Video);
                request.duration = Some("2".to_owned());
                (None, [40, 30])
            }
        };
        let count = *count.get_or_insert(1);
        let script = self.script(kind, count, trap);
        self.world.scripts.write(&prompt, script.clone());
        Arc::new(Body {
            prompt,
            request,
            prices: prices.map(|price| price * i64::from(count)),
            count,
            script,
            capped: self.random.bool(),
            kind,
        })
    }

    fn script(&mut self, kind: Kind, count: u32, trap: Option<Trap>) -> Script {
        let random = &mut self.random;
        let mut script = Script {
            arrival: match random.u8(..20) {
                _ if trap.is_some() => Arrival::Taken,
                0 => Arrival::TakenLate,
                1 => Arrival::RefusedOnce,
                2 => Arrival::Refused(FailureReason::ContentPolicy),
                3 => Arrival::Refused(FailureReason::ProviderError),
                4 | 5 => Arrival::Found,
                6 | 7 => Arrival::NotFound,
                _ => Arrival::Taken,
            },
            verdict: match random.u8(..10) {
                0 | 1 => Verdict::Deliver(random.u32(0..=count)),
                2 => Verdict::Deliver(count + 1),
                3 => Verdict::DeliverNoise,
                4 => Verdict::Fail,
                _ => Verdict::Deliver(count),
            },
            stops: random.bool(),
            trap,
        };
        match kind {
            Kind::Normal => {}
            // Whoever's time is soon up waits for it.
            Kind::Hasty if random.bool() => script.arrival = Arrival::Unknowable,
            Kind::Hasty => script.verdict = Verdict::Never,
            // No upstream ever hears of it.
            Kind::Idle => script.arrival = Arrival::Taken,
        }
        script
    }

    fn some_kind(&mut self) -> Kind {
        let kinds: Vec<_> = self.nodes.iter().map(|node| node.kind).collect();
        match self.random.u8(..6) {
            0 if kinds.contains(&Kind::Hasty) => Kind::Hasty,
            1 if kinds.contains(&Kind::Idle) => Kind::Idle,
            _ => Kind::Normal,
        }
    }

    /// Something new, or what was quoted.
    pub fn submission(&mut self) -> Ask {
        if !self.quotes.is_empty() && self.random.u8(..3) > 0 {
            let quoted = self.random.usize(..self.quotes.len());
            let (body, quote) = self.quotes.swap_remove(quoted);
            return self.with_some_key(body, Some(quote));
        }
        let kind = self.some_kind();
        self.submission_to(kind, None)
    }

    pub fn submission_to(&mut self, kind: Kind, trap: Option<Trap>) -> Ask {
        let body = self.body(kind, trap);
        self.with_some_key(body, None)
    }

    fn with_some_key(&mut self, body: Arc<Body>, quote: Option<Quoted>) -> Ask {
        let key = format!("key {}", self.keys.len());
        if self.random.bool() {
            self.with_key(body, key, quote)
        } else {
            Ask::Submit {
                body,
                key: None,
                quote,
            }
        }
    }

    fn with_key(&mut self, body: Arc<Body>, key: String, quote: Option<Quoted>) -> Ask {
        let keyed = Keyed { body, key, quote };
        self.keys.push(keyed.clone());
        keyed.into()
    }

    /// A key again, mostly with the request that it was used for, and mostly at the price of then.
    pub fn repetition(&mut self) -> Option<Ask> {
        let mut keyed = self.random.choice(&self.keys)?.clone();
        if self.random.u8(..4) > 0 {
            keyed.quote = keyed.quote.filter(|_| self.random.u8(..4) > 0);
            return Some(keyed.into());
        }
        let other = self.body(keyed.body.kind, None);
        Some(self.with_key(other, keyed.key, None))
    }

    /// Has a node say what something costs that may be asked for later.
    pub async fn have_quoted(&mut self) -> Judged {
        let kind = self.some_kind();
        let (body, node) = (self.body(kind, None), self.any_node());
        let (generation, caller) = (Arc::clone(&node.generation), self.caller(&body).clone());
        let request = body.request.clone();
        let quoted = async move { generation.quote(&caller, &request).await };
        let quote = match node.spawn(quoted).await {
            Ok(Ok(quote)) => quote,
            // A busy database says so, and a lost connection too.
            Ok(Err(SubmitError::Store(_) | SubmitError::Ledger(_))) => return Ok(()),
            other => return Err(format!("{} got {other:?}", body.prompt)),
        };
        let price = quote.credits;
        self.tell(format!("{} is quoted ▶ {price}", body.prompt));
        self.prediction.available(quote.available)?;
        if price != body.prices[node.price_list] {
            return Err(format!(
                "{} costs {:?}: {quote:?}",
                body.prompt, body.prices
            ));
        }
        let quoted = Quoted {
            id: quote.id,
            price,
            expires_at: quote.expires_at,
        };
        self.quotes.push((body, quoted));
        Ok(())
    }

    /// Credits for good, or for some days. No two grants end at the same moment.
    pub fn grant(&mut self) -> Ask {
        let number = u32::try_from(self.steps.len()).expect("steps are few");
        let days = (self.random.u8(..3) > 0).then(|| self.random.u32(1..=4));
        let end = |days| self.began + DAY * days + Duration::from_millis(number.into());
        Ask::Grant {
            note: format!("grant {number}"),
            credits: self.random.i64(1..80),
            days,
            until: days.map(end),
        }
    }

    /// Two to four things to ask at the same time, some of them the same.
    pub fn asks_together(&mut self) -> Vec<Ask> {
        let mut asks = vec![self.submission()];
        let mut grants = 0;
        for _ in 0..self.random.u8(1..4) {
            let ask = match self.random.u8(..10) {
                0..5 => self.submission(),
                5..8 => asks[0].clone(),
                8 => self.repetition().unwrap_or_else(|| self.submission()),
                _ if grants == 0 => {
                    grants += 1;
                    self.grant()
                }
                _ => self.submission(),
            };
            let unkeyed = |ask: &Ask| matches!(ask, Ask::Submit { key: None, .. });
            // The same request twice without a key would be two tasks of one prompt.
            if asks
                .iter()
                .any(|known| unkeyed(known) && known.is_same_as(&ask))
            {
                continue;
            }
            asks.push(ask);
        }
        asks
    }
}
