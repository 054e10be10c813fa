//! What an account's tasks cost, by day and by model: the captures of the ledger, with the models of their tasks.
//!
//! Nothing is kept for it in the database, so that writing costs nothing more: it is read from the journal, in which
//! the entries of a day lie together, and each leads to its task by primary key. A day that is over never changes, so
//! its figures are remembered and only what is new is read again.
//!
//! **Bounds.** A statement looks at [`ENTRIES_MAX`] entries at most, some hundredths of a second's work; a million
//! take a few seconds once. [`DAYS_REMEMBERED`] days are remembered, of all accounts together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;
use tokio_postgres::Row;
use uuid::Uuid;

use super::day::Day;
use crate::ledger::{Ledger, LedgerError};
use crate::store::Store;

/// Entries that one statement looks at.
const ENTRIES_MAX: i64 = 20_000;
/// Days remembered at most, each of one account.
const DAYS_REMEMBERED: usize = 50_000;
/// How long after its end a day counts as over: no transaction is open for so long, and clocks differ by less.
const SURELY_OVER: Duration = Duration::from_secs(10 * 60);

const STATEMENT: &str = include_str!("sql/captured.sql");

/// What the tasks of one model cost on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailySpending {
    /// The day on which they delivered.
    pub day: Day,
    /// The slug of the model.
    pub model: String,
    /// Credits captured.
    pub credits: i64,
    /// Tasks that delivered, for credits or for nothing.
    pub tasks: i64,
}

/// A day's spending, by model.
type Figures = Arc<[DailySpending]>;

/// Reads what tasks cost.
pub(super) struct Spending {
    store: Store,
    ledger: Ledger,
    over: Cache<(Uuid, Day), Figures>,
}

impl Spending {
    pub fn new(store: Store, ledger: Ledger) -> Self {
        Self {
            store,
            ledger,
            over: Cache::new(DAYS_REMEMBERED),
        }
    }

    /// By day and by model, from `first` to `last`.
    pub async fn of(
        &self,
        account: Uuid,
        first: Day,
        last: Day,
        now: SystemTime,
    ) -> Result<Vec<DailySpending>, LedgerError> {
        let mut days: Vec<Figures> = first
            .through(last)
            .map_while(|day| self.over.get(&(account, day)))
            .collect();
        let unknown: Vec<Day> = first.through(last).skip(days.len()).collect();
        if let Some(from) = unknown.first() {
            let mut read = self.read(account, *from, last).await?;
            for day in unknown {
                let figures: Figures = read.remove(&day).unwrap_or_default().into();
                if now >= day.next().begin() + SURELY_OVER {
                    self.over.insert((account, day), Arc::clone(&figures));
                }
                days.push(figures);
            }
        }
        Ok(days.iter().flat_map(|day| day.iter().cloned()).collect())
    }

    async fn read(
        &self,
        account: Uuid,
        first: Day,
        last: Day,
    ) -> Result<BTreeMap<Day, Vec<DailySpending>>, LedgerError> {
        let numbers = self
            .ledger
            .numbers_between(account, first.begin(), last.next().begin())
            .await?;
        let mut sums: BTreeMap<(Day, String), (i64, i64)> = BTreeMap::new();
        let (mut begin, end) = numbers.into_inner();
        while begin <= end {
            let until = end.min(begin + ENTRIES_MAX - 1);
            // Each is planned for itself: what is best depends on how much there is by now.
            let client = self.store.client().await?;
            for row in client.query(STATEMENT, &[&account, &begin, &until]).await? {
                let spending = spending(&row)?;
                let (credits, tasks) = sums.entry((spending.day, spending.model)).or_default();
                *credits = credits.saturating_add(spending.credits);
                *tasks = tasks.saturating_add(spending.tasks);
            }
            begin = until + 1;
        }
        let mut days: BTreeMap<Day, Vec<DailySpending>> = BTreeMap::new();
        for ((day, model), (credits, tasks)) in sums {
            let spending = DailySpending {
                day,
                model,
                credits,
                tasks,
            };
            days.entry(day).or_default().push(spending);
        }
        Ok(days)
    }
}

fn spending(row: &Row) -> Result<DailySpending, LedgerError> {
    let number: i32 = row.try_get("day")?;
    Ok(DailySpending {
        day: Day::of_number(u32::try_from(number).unwrap_or_default()),
        model: row.try_get("model")?,
        credits: row.try_get("credits")?,
        tasks: row.try_get("tasks")?,
    })
}
