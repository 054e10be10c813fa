//! The credits that a plan gives each month, as far as they concern accounts: who is due, and who had theirs.
//!
//! An account has its credits once a month, whatever its plan was before and becomes later in that month. The row
//! in `monthly_grants` says so; it is written in the transaction that grants the credits, so that of any number of
//! replicas that try, one grants.
//!
//! Months are those of UTC.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::{Accounts, AccountsError};

/// The credits of one account for one month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthlyCredits {
    /// The account.
    pub account_id: Uuid,
    /// How many, 1 or more.
    pub credits: i64,
    /// The month, as `2026-11`.
    pub month: String,
    /// When the month is over.
    pub expires_at: SystemTime,
}

impl Accounts {
    /// At most `limit` accounts, by id and those after `after`, that have not had their credits for the month in
    /// which `now` lies.
    pub async fn monthly_credits_due(
        &self,
        now: SystemTime,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<MonthlyCredits>, AccountsError> {
        let after = after.unwrap_or(Uuid::nil());
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/monthly_credits_due.sql"))
            .await?;
        let rows = client
            .query(&statement, &[&now, &after, &i64::from(limit)])
            .await?;
        let due = rows.iter().map(|row| MonthlyCredits {
            account_id: row.get("account_id"),
            credits: row.get("credits"),
            month: row.get("month"),
            expires_at: row.get("expires_at"),
        });
        Ok(due.collect())
    }

    /// Writes down, in the transaction that grants them, that the account has had these credits. False when it
    /// had them already: the transaction must then be undone.
    pub async fn take_monthly_credits(
        transaction: &Transaction<'_>,
        due: &MonthlyCredits,
    ) -> Result<bool, AccountsError> {
        let statement = transaction
            .prepare_cached(include_str!("sql/take_monthly_credits.sql"))
            .await?;
        let written = transaction
            .execute(&statement, &[&due.account_id, &due.month])
            .await?;
        Ok(written == 1)
    }
}
