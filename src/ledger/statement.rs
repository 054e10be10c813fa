//! An account's entries, page by page, newest first.
//!
//! **Bounds.** A page has at most [`ENTRIES_MAX`] entries and looks at no more than [`EXAMINED_MAX`], so one that
//! filters may come back short, or empty, and still name where to go on. Times cost no walk: entries of a chain are
//! in the order of their times, so a time is found by halving.

use std::ops::RangeInclusive;
use std::time::SystemTime;

use uuid::Uuid;

use super::{Entry, Kind, Ledger, LedgerError};
use crate::store::Client;

/// Entries in one page at most.
pub const ENTRIES_MAX: usize = 1000;
/// Entries that one page looks at, at most.
pub const EXAMINED_MAX: i64 = 10_000;

const ENTRIES: &str = include_str!("sql/entries.sql");
const LAST: &str = include_str!("sql/last_entry.sql");
const FIRST_AT: &str = include_str!("sql/first_entry_at.sql");

/// Which entries to read. What is empty lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Those of these kinds.
    pub kinds: Vec<Kind>,
    /// Those of this task.
    pub task_id: Option<Uuid>,
    /// Those of this time and later.
    pub from: Option<SystemTime>,
    /// Those before this time.
    pub to: Option<SystemTime>,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPage {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Pass it as `before` to get the next page; none when this is the last.
    pub next: Option<i64>,
}

impl Ledger {
    /// The entries of `account` that pass `filter`, newest first: those before the entry numbered `before` if that
    /// is given, at most `limit` and never more than [`ENTRIES_MAX`].
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn entries(
        &self,
        account: Uuid,
        filter: &EntryFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<EntryPage, LedgerError> {
        let limit = limit.clamp(1, ENTRIES_MAX);
        let client = self.store.client().await?;
        let (oldest, newest) = between(&client, account, filter.from, filter.to).await?;
        let newest = newest.min(before.map_or(i64::MAX, |before| before.saturating_sub(1)));
        let examined = oldest.max(newest.saturating_sub(EXAMINED_MAX - 1));
        let kinds: Vec<&str> = filter.kinds.iter().map(|kind| kind.name()).collect();
        let rows = i64::try_from(limit).expect("the bound is small");
        let statement = client.prepare_cached(ENTRIES).await?;
        let rows = client
            .query(
                &statement,
                &[&account, &newest, &examined, &kinds, &filter.task_id, &rows],
            )
            .await?;
        let entries: Vec<Entry> = rows.iter().map(Entry::from_row).collect();
        let reached = match entries.last() {
            Some(last) if entries.len() == limit => last.sequence,
            _ => examined,
        };
        Ok(EntryPage {
            entries,
            next: Some(reached).filter(|reached| *reached > oldest),
        })
    }

    /// The numbers of the entries of `account` from `from` on and before `to`.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn numbers_between(
        &self,
        account: Uuid,
        from: SystemTime,
        to: SystemTime,
    ) -> Result<RangeInclusive<i64>, LedgerError> {
        let client = self.store.client().await?;
        let (oldest, newest) = between(&client, account, Some(from), Some(to)).await?;
        Ok(oldest..=newest)
    }
}

/// The numbers of the first entry from `from` on and of the last one before `to`; the first is the larger where there
/// is no entry between.
async fn between(
    client: &Client,
    account: Uuid,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
) -> Result<(i64, i64), LedgerError> {
    let mut newest = last(client, account).await?;
    if let Some(to) = to {
        newest = first_at(client, account, to, newest).await? - 1;
    }
    let oldest = match from {
        Some(from) => first_at(client, account, from, newest).await?,
        None => 1,
    };
    Ok((oldest, newest))
}

/// The number of the last entry; 0 if there is none.
async fn last(client: &Client, account: Uuid) -> Result<i64, LedgerError> {
    let statement = client.prepare_cached(LAST).await?;
    Ok(client.query_one(&statement, &[&account]).await?.get(0))
}

/// The number of the first entry at `time` or later, of those up to `last`; the one after it if all are earlier.
async fn first_at(
    client: &Client,
    account: Uuid,
    time: SystemTime,
    last: i64,
) -> Result<i64, LedgerError> {
    let statement = client.prepare_cached(FIRST_AT).await?;
    let row = client
        .query_one(&statement, &[&account, &time, &last])
        .await?;
    Ok(row.get(0))
}
