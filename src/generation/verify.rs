//! The audit of tasks against the ledger, and of the ledger itself, in one snapshot.

use tokio_postgres::IsolationLevel;

use crate::ledger::{DIFFERENCES_MAX, Difference, Ledger, LedgerError, Verification};
use crate::store::Store;

/// Audits the ledger, and every task against it: an open task has its hold and nothing else, a
/// final one has none left, what it was charged is what was captured, a test task has no movements,
/// and no movement lacks its task. Reads everything.
///
/// # Errors
/// When the store cannot be reached.
pub async fn verify(store: &Store) -> Result<Verification, LedgerError> {
    let mut client = store.client().await?;
    let snapshot = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let mut verification = Ledger::verify_within(&snapshot).await?;
    let rows = snapshot
        .query(include_str!("sql/verify.sql"), &[&DIFFERENCES_MAX])
        .await?;
    verification
        .differences
        .extend(rows.iter().map(Difference::from_row));
    Ok(verification)
}
