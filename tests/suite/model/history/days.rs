//! How time passes: credits expire, keys may spend again, quotes hold no more.

use std::time::{Duration, SystemTime};

use piooy::cli::grant_monthly_credits;
use piooy::ledger::{Entry, EntryFilter, Kind as Movement, Ledger};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::asking::{Ask, Month};
use super::{History, Judged, PATIENCE};
use crate::generation::fixture::{QUOTE_SECRET, aged};
use crate::model::prediction::{Quoted, start};
use crate::model::purse::Passed;
use crate::model::world::{DAY, HOUR, Span};

/// What the notes of monthly credits begin with.
pub const MONTHLY: &str = "monthly credits";

impl History {
    /// An hour passes, of the same day; nothing does when that has no more of them.
    pub async fn hour_passes(&mut self) -> Judged {
        self.observe().await?;
        let now = SystemTime::now();
        let today = start(now, DAY);
        // What nobody has seen yet may be accepted this moment.
        let entries = self.prediction.entries.iter();
        let mut accepted = entries.map(|entry| entry.at.unwrap_or(now));
        if accepted.any(|at| at >= today && at - HOUR < today) {
            return Ok(());
        }
        self.pass(Span::Hour).await.map(drop)
    }

    /// Several nodes see to it that the account has the credits of its plan for the month.
    pub async fn month_begins(&mut self) -> Judged {
        let Some(month) = self.month().await else {
            return Ok(());
        };
        let mut asks = vec![self.submission()];
        for _ in 0..self.random.u8(1..=3) {
            asks.insert(self.random.usize(..=asks.len()), month.clone());
        }
        self.ask_at_once(asks).await
    }

    /// The one month of a history, from the first time that this is called on. In the last hour of a day
    /// there is none, lest it end by itself.
    pub async fn month(&mut self) -> Option<Ask> {
        let now = SystemTime::now();
        if self.month.is_none() && start(now + HOUR, DAY) <= now {
            let credits = self.random.i64(1..80);
            let plan = self.callers.free.account_name();
            let (name, end) = self.world.include_monthly_credits(plan, credits).await;
            let left = end.duration_since(now).unwrap_or_default();
            self.month = Some(Month {
                note: format!("{MONTHLY} {name}"),
                credits,
                days: u32::try_from(left.as_secs().div_ceil(DAY.as_secs())).expect("is a month"),
            });
        }
        self.month.clone().map(Ask::Month)
    }

    /// Sees to it that the account has its credits for the month.
    pub async fn given(&mut self) -> Judged {
        let (store, ledger) = (self.world.store(), Ledger::new(self.world.store().clone()));
        let given = async {
            loop {
                // What could not be done for one account was not done, and is no error.
                grant_monthly_credits(store, SystemTime::now()).await.ok();
                let entries = entries_of(&ledger, self.account(), Movement::Grant).await?;
                if entries.iter().any(|entry| entry.note.starts_with(MONTHLY)) {
                    return Ok(());
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let given = timeout(PATIENCE, given).await;
        given.unwrap_or_else(|_| Err("waited in vain for the credits of the month".to_owned()))
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
        let entries = entries_of(&ledger, self.account(), Movement::Expire).await?;
        let expired: i64 = entries.iter().map(|entry| entry.amount).sum();
        let since = expired - self.expired;
        self.expired = expired;
        Ok(since)
    }
}

async fn entries_of(ledger: &Ledger, account: Uuid, kind: Movement) -> Result<Vec<Entry>, String> {
    let of_kind = EntryFilter {
        kinds: vec![kind],
        ..EntryFilter::default()
    };
    let page = ledger.entries(account, &of_kind, None, usize::MAX).await;
    page.map(|page| page.entries)
        .map_err(|error| error.to_string())
}
