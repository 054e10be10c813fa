//! How time passes: credits expire, keys may spend again, quotes hold no more.

use std::time::{Duration, SystemTime};

use piooy::ledger::{EntryFilter, Kind as Movement, Ledger};
use tokio::time::sleep;

use super::asking::Ask;
use super::{History, Judged};
use crate::generation::fixture::{QUOTE_SECRET, aged};
use crate::model::prediction::{Quoted, start};
use crate::model::purse::Passed;
use crate::model::world::{DAY, HOUR, Span};

impl History {
    /// An hour passes, of the same day; nothing does when that has no more of them.
    pub async fn hour_passes(&mut self) -> Judged {
        self.observe().await?;
        let today = start(SystemTime::now(), DAY);
        let mut accepted = self.prediction.entries.iter().filter_map(|entry| entry.at);
        if accepted.any(|at| at >= today && at - HOUR < today) {
            return Ok(());
        }
        self.pass(Span::Hour).await.map(drop)
    }

    /// Days pass, and what is due is taken while other things are asked.
    pub async fn days_pass(&mut self) -> Judged {
        self.let_days_pass().await?;
        let mut asks = match self.random.u8(..3) {
            0 => self.asks_together(),
            1 => vec![self.submission()],
            _ => Vec::new(),
        };
        for _ in 0..self.random.u8(1..=2) {
            asks.insert(self.random.usize(..=asks.len()), Ask::Sweep);
        }
        self.ask_at_once(asks).await
    }

    /// Days pass, and nobody has taken what is due yet.
    pub async fn let_days_pass(&mut self) -> Judged {
        let days = self.random.u32(1..=3);
        let after = self.pass(Span::Days(days)).await?;
        self.passed.push(Passed { after, days });
        Ok(())
    }

    async fn pass(&mut self, span: Span) -> Result<i64, String> {
        let last = self.world.pass(self.account(), span).await;
        self.tell(format!("{span:?} passes after entry {last}"));
        self.age_quotes(span.duration());
        // When tasks were accepted is another time now.
        self.observe().await?;
        Ok(last)
    }

    /// Quotes become so much older.
    pub fn age_quotes(&mut self, by: Duration) {
        let kept = self
            .keys
            .iter_mut()
            .filter_map(|keyed| keyed.quote.as_mut());
        for quote in kept.chain(self.quotes.iter_mut().map(|(_, quote)| quote)) {
            *quote = Quoted {
                id: aged(&quote.id, &QUOTE_SECRET, by),
                price: quote.price,
                expires_at: quote.expires_at - by,
            };
        }
    }

    /// How many credits of the account have expired since this was last asked, once all are taken that
    /// are due.
    pub async fn swept(&mut self) -> Result<i64, String> {
        let ledger = Ledger::new(self.world.store().clone());
        while ledger.expire_due().await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
        let expiries = EntryFilter {
            kinds: vec![Movement::Expire],
            ..EntryFilter::default()
        };
        let page = ledger.entries(self.account(), &expiries, None, usize::MAX);
        let entries = page.await.map_err(|error| error.to_string())?.entries;
        let expired: i64 = entries.iter().map(|entry| entry.amount).sum();
        let since = expired - self.expired;
        self.expired = expired;
        Ok(since)
    }
}
