//! The log itself: writing a row in the transaction of a change, and reading rows, newest first.
//!
//! **Bounds.** A page has at most [`AUDIT_PAGE_MAX`] rows. A filter walks the log from its newest row; operators
//! change little, so the whole of it is short.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{ActorKind, Operator};
use crate::accounts::Account;
use crate::store::{Store, StoreError};

/// Rows in one page at most.
pub const AUDIT_PAGE_MAX: u32 = 1_000;

/// Every method that is written down.
pub const AUDIT_METHODS: [&str; 9] = [
    "CreateAccount",
    "CreateApiKey",
    "CreateSignInLink",
    "GrantCredits",
    "RevokeApiKey",
    "SavePlan",
    "SetOperator",
    "SetPlan",
    "SettleSubmission",
];

/// A change that is made, as it will be written down.
pub(super) struct Act<'a> {
    by: &'a Operator,
    method: &'static str,
    account: Option<(Uuid, &'a str)>,
    change: Value,
    idempotency_key: Option<&'a str>,
}

impl<'a> Act<'a> {
    /// About no account.
    pub fn new(by: &'a Operator, method: &'static str, change: Value) -> Self {
        debug_assert!(
            AUDIT_METHODS.contains(&method),
            "{method} can be looked for"
        );
        Self {
            by,
            method,
            account: None,
            change,
            idempotency_key: None,
        }
    }

    /// About an account, by id and name.
    pub fn about(
        by: &'a Operator,
        method: &'static str,
        account: (Uuid, &'a str),
        change: Value,
    ) -> Self {
        Self {
            account: Some(account),
            ..Self::new(by, method, change)
        }
    }

    /// About an account.
    pub fn on(by: &'a Operator, method: &'static str, account: &'a Account, change: Value) -> Self {
        Self::about(by, method, (account.id, &account.name), change)
    }

    /// At most once with that key.
    pub fn once(self, idempotency_key: Option<&'a str>) -> Self {
        Self {
            idempotency_key,
            ..self
        }
    }

    /// Writes it down. False: the key has made a change of this account before.
    pub async fn record(&self, transaction: &Transaction<'_>) -> Result<bool, StoreError> {
        let (account_id, account) = self.account.unzip();
        let row = transaction
            .query_opt(
                include_str!("sql/record.sql"),
                &[
                    &self.by.kind.name(),
                    &self.by.id,
                    &self.by.name,
                    &self.method,
                    &account_id,
                    &account,
                    &self.change,
                    &self.by.request_id,
                    &self.idempotency_key,
                ],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Whether what the key made before is this very change.
    pub async fn is_as_before(&self, transaction: &Transaction<'_>) -> Result<bool, StoreError> {
        let account_id = self.account.map(|(id, _)| id);
        let row = transaction
            .query_opt(
                include_str!("sql/recorded.sql"),
                &[&account_id, &self.method, &self.idempotency_key],
            )
            .await?;
        Ok(row.is_some_and(|row| row.get::<_, Value>("change") == self.change))
    }
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Rows of later changes have higher numbers.
    pub number: i64,
    /// When the change was made, by the database's clock.
    pub at: SystemTime,
    /// Who made it.
    pub by: Operator,
    /// The method of the API, or the command that has none.
    pub method: String,
    /// The name of the account that it is about.
    pub account: Option<String>,
    /// What was asked, and what stood before: an object.
    pub change: Value,
}

/// Which rows to read. What is not given lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Those about the account of this name.
    pub account: Option<String>,
    /// Those of this method.
    pub method: Option<String>,
    /// Those of this time and later.
    pub from: Option<SystemTime>,
    /// Those before this time.
    pub to: Option<SystemTime>,
}

/// A page of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPage {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// Pass it as `before` to get the next page; none when this is the last.
    pub next: Option<i64>,
}

/// Reads the log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    store: Store,
}

impl AuditLog {
    /// The log in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The rows that pass `filter`, newest first: those with a number below `before`, at most `limit` and never more
    /// than [`AUDIT_PAGE_MAX`].
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn list(
        &self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<AuditPage, StoreError> {
        let limit = limit.clamp(1, AUDIT_PAGE_MAX);
        let client = self.store.client().await?;
        let statement = client.prepare_cached(include_str!("sql/list.sql")).await?;
        let rows = client
            .query(
                &statement,
                &[
                    &before.unwrap_or(i64::MAX),
                    &filter.account.as_deref().map(plain),
                    &filter.method.as_deref().map(plain),
                    &filter.from,
                    &filter.to,
                    &(i64::from(limit) + 1),
                ],
            )
            .await?;
        let more = rows.len() > limit as usize;
        let mut entries: Vec<AuditEntry> = rows.iter().map(entry).collect();
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more).map(|entry| entry.number);
        Ok(AuditPage { entries, next })
    }
}

/// PostgreSQL's text has no NUL; nothing is called like what is left of it.
fn plain(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default()
}

fn entry(row: &Row) -> AuditEntry {
    let kind: &str = row.get("actor_kind");
    AuditEntry {
        number: row.get("number"),
        at: row.get("at"),
        by: Operator {
            kind: ActorKind::from_name(kind).expect("the table has these kinds alone"),
            id: row.get("actor_id"),
            name: row.get("actor"),
            request_id: row.get("request_id"),
        },
        method: row.get("method"),
        account: row.get("account"),
        change: row.get("change"),
    }
}
