//! Credits that come and go with time: those that plans include each month are given, and what was not spent in
//! time is taken. At the start, and then every minute, on every replica; whoever comes first does it, and the others
//! find it done.
//!
//! **Bounds and locks.** Accounts are read in batches of [`BATCH`]. Each is granted in a transaction of its own,
//! which takes the lock of the account's chain first, as all do.

use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::accounts::{Accounts, MonthlyCredits};
use crate::ledger::Ledger;
use crate::store::Store;

/// How often it is looked whether anything is due.
const EVERY: Duration = Duration::from_secs(60);

/// How many accounts are read at once.
const BATCH: u32 = 500;

/// Gives and takes what is due until told to stop.
pub async fn run(store: Store, stop: CancellationToken) {
    let mut times = tokio::time::interval(EVERY);
    times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = times.tick() => {}
            () = stop.cancelled() => return,
        }
        // Between two accounts is as good a place to stop as any: what is not granted stays due.
        let granted = tokio::select! {
            granted = grant_monthly_credits(&store, SystemTime::now()) => granted,
            () = stop.cancelled() => return,
        };
        match granted {
            Ok(0) => {}
            Ok(accounts) => tracing::info!(accounts, "monthly credits were granted"),
            Err(error) => tracing::warn!(?error, "monthly credits could not be granted"),
        }
        match Ledger::new(store.clone()).expire_due().await {
            Ok(0) => {}
            Ok(credits) => tracing::info!(credits, "credits were not spent in time"),
            Err(error) => tracing::warn!(?error, "credits could not be expired"),
        }
    }
}

/// Gives every account what it has not had of the month in which `now` lies; answers how many accounts got
/// something. An account whose credits cannot be granted is passed over, and tried again the next time.
///
/// # Errors
/// When the accounts cannot be read.
pub async fn grant_monthly_credits(store: &Store, now: SystemTime) -> Result<u64, Failure> {
    let accounts = Accounts::new(store.clone());
    let (mut granted, mut after) = (0, None);
    loop {
        let due = accounts.monthly_credits_due(now, after, BATCH).await?;
        let Some(last) = due.last() else {
            return Ok(granted);
        };
        after = Some(last.account_id);
        for due in &due {
            match grant(store, due).await {
                Ok(first) => granted += u64::from(first),
                Err(error) => {
                    let account = due.account_id;
                    tracing::warn!(%account, ?error, "monthly credits could not be granted");
                }
            }
        }
    }
}

/// Grants the credits unless someone else did; says whether it was us.
async fn grant(store: &Store, due: &MonthlyCredits) -> Result<bool, Failure> {
    let mut client = store.client().await?;
    let transaction = client.transaction().await?;
    let note = format!("monthly credits {}", due.month);
    let end = Some(due.expires_at);
    Ledger::grant_within(&transaction, due.account_id, due.credits, &note, end).await?;
    let first = Accounts::take_monthly_credits(&transaction, due).await?;
    if first {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(first)
}
