//! Accounts, their plans and their keys: who may call, and within which limits.
//!
//! - [`Accounts`] is the service; its statements are in `accounts/sql`, its tables in the migrations `V1__accounts`
//!   and `V5__plans_and_caps`.
//! - `key_text` makes and reads the text of a key, `scopes` and `caps` say what a key may do and spend: all pure.
//! - [`secrets`] keeps what all replicas must share but nobody outside may know.
//! - [`UpstreamKeys`] keeps what accounts show to upstreams in their own name, sealed (`V11__upstream_keys`).
//!
//! The tables' constraints are the last word on what may exist. What a person can get wrong is said here in a
//! sentence; what only a race can get wrong (a name taken in between) is read off the constraint that refused.
//!
//! **Bounds.** Pages hold at most [`PAGE_MAX`] accounts, an account has at most [`KEYS_MAX`] keys that are not
//! revoked, and a list of keys ends after the newest [`KEYS_LISTED_MAX`].

use deadpool_postgres::{GenericClient, Transaction};
use thiserror::Error;
use uuid::Uuid;

use crate::store::{Store, StoreError};

mod caps;
mod first_start;
mod key_text;
mod keys;
mod monthly;
mod plans;
mod records;
mod scopes;
mod seal;
pub mod secrets;
mod upstream_keys;

pub use caps::SpendingCaps;
pub use first_start::FirstKeys;
pub use key_text::{KeyFault, KeyHash, Secret};
pub use keys::{KEYS_LISTED_MAX, KEYS_MAX, NewKey};
pub use monthly::MonthlyCredits;
pub use plans::{MONTHLY_CREDITS_MAX, PLAN_NUMBER_MAX};
pub use records::{Account, ApiKey, Plan};
pub use scopes::{Scope, ScopeUnknown, Scopes};
pub use seal::{SECRET_BYTES, SealError, SealingSecrets};
pub use upstream_keys::{UpstreamKey, UpstreamKeys, UpstreamSecret};

/// Accounts in one page, at most.
pub const PAGE_MAX: u32 = 500;

/// Why accounts or keys could not be read or changed.
#[derive(Debug, Error)]
pub enum AccountsError {
    /// A name that no account can have.
    #[error("an account's name is 1 to 64 of a-z, 0-9, dot, hyphen and underscore")]
    AccountName,
    /// The name is taken.
    #[error("there is an account {account:?} already")]
    AccountExists {
        /// The name.
        account: String,
    },
    /// No account has this name or id.
    #[error("there is no account {account:?}")]
    AccountUnknown {
        /// The name or id.
        account: String,
    },
    /// No plan has this name.
    #[error("there is no plan {plan:?}; the plans are {}", known.join(", "))]
    PlanUnknown {
        /// The name.
        plan: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A name that no plan can have.
    #[error("a plan's name is 1 to 64 of a-z, 0-9, dot, hyphen and underscore")]
    PlanName,
    /// A number that no plan can have.
    #[error(
        "a plan has calls per minute and concurrent tasks from 1 to {PLAN_NUMBER_MAX}, queued tasks from 0 to \
         {PLAN_NUMBER_MAX} and monthly credits from 0 to {MONTHLY_CREDITS_MAX}"
    )]
    PlanNumbers,
    /// A name that no key can have.
    #[error("a key's name is 1 to 100 characters on one line")]
    KeyName,
    /// A key that could do nothing.
    #[error("a key needs at least one scope: generate, read, keys or admin")]
    KeyScopes,
    /// A test key that could administer the server, which is always for real.
    #[error("a test key can't have the scope admin")]
    KeyTestAdmin,
    /// An end that is past.
    #[error("a key's expiry must lie in the future")]
    KeyExpiry,
    /// A cap below zero.
    #[error("a key's spending caps are 0 credits or more")]
    KeyCaps,
    /// The account has all the keys it may have.
    #[error("an account has at most {KEYS_MAX} keys; revoke one first")]
    KeysTooMany,
    /// The account has no key with this id.
    #[error("the account has no key with this id")]
    KeyUnknown,
    /// The operating system failed to give random numbers.
    #[error("no random numbers could be had: {0}")]
    Randomness(getrandom::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<tokio_postgres::Error> for AccountsError {
    fn from(error: tokio_postgres::Error) -> Self {
        AccountsError::Store(error.into())
    }
}

/// The accounts of this server. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
}

impl Accounts {
    /// The accounts kept in `store`.
    pub fn new(store: Store) -> Accounts {
        Accounts { store }
    }

    /// Makes an account on a plan.
    pub async fn create(&self, name: &str, plan: &str) -> Result<Account, AccountsError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let account = Self::create_within(&transaction, name, plan).await?;
        transaction.commit().await?;
        Ok(account)
    }

    /// The same within a transaction of the caller's.
    pub async fn create_within(
        transaction: &Transaction<'_>,
        name: &str,
        plan: &str,
    ) -> Result<Account, AccountsError> {
        if !is_name(name) {
            return Err(AccountsError::AccountName);
        }
        plans::check_known(transaction, plan).await?;
        let statement = transaction
            .prepare_cached(include_str!("accounts/sql/insert_account.sql"))
            .await?;
        let inserted = transaction
            .query_one(&statement, &[&Uuid::now_v7(), &name, &plan, &false])
            .await
            .map_err(StoreError::from);
        match inserted {
            Ok(row) => Ok(Account::from_row(&row)),
            Err(error) if error.constraint() == Some("accounts_name_unique") => {
                Err(AccountsError::AccountExists {
                    account: name.to_owned(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The account with this name.
    pub async fn by_name(&self, name: &str) -> Result<Account, AccountsError> {
        Self::by_name_within(&self.store.client().await?, name).await
    }

    /// The same by a connection, or within a transaction, of the caller's.
    pub async fn by_name_within(
        client: &impl GenericClient,
        name: &str,
    ) -> Result<Account, AccountsError> {
        if !is_name(name) {
            return Err(unknown(name));
        }
        let statement = client
            .prepare_cached(include_str!("accounts/sql/account_by_name.sql"))
            .await?;
        let row = client.query_opt(&statement, &[&name]).await?;
        row.map(|row| Account::from_row(&row))
            .ok_or_else(|| unknown(name))
    }

    /// The account with this name and its plan, if there is one.
    pub async fn account_with_plan(
        &self,
        name: &str,
    ) -> Result<Option<(Account, Plan)>, AccountsError> {
        if !is_name(name) {
            return Ok(None);
        }
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("accounts/sql/account_with_plan.sql"))
            .await?;
        let row = client.query_opt(&statement, &[&name]).await?;
        Ok(row.map(|row| (Account::from_row(&row), Plan::from_row(&row))))
    }

    /// Up to `limit` (at most [`PAGE_MAX`]) accounts by name, those after the name `after`.
    pub async fn list(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Account>, AccountsError> {
        self.search("", after, limit).await
    }

    /// The same of those accounts whose name has `part` in it.
    pub async fn search(
        &self,
        part: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Account>, AccountsError> {
        if !part.is_empty() && !is_name(part) {
            return Ok(Vec::new());
        }
        // A page token comes from outside; PostgreSQL's text has no NUL, and nothing sorts before the empty name.
        let after = after.filter(|name| is_name(name)).unwrap_or("");
        let limit = i64::from(limit.min(PAGE_MAX));
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("accounts/sql/list_accounts.sql"))
            .await?;
        let rows = client.query(&statement, &[&after, &limit, &part]).await?;
        Ok(rows.iter().map(Account::from_row).collect())
    }

    /// Puts the account on another plan. Every replica follows within a second.
    pub async fn set_plan(&self, name: &str, plan: &str) -> Result<Account, AccountsError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let (account, _) = Self::set_plan_within(&transaction, name, plan).await?;
        transaction.commit().await?;
        Ok(account)
    }

    /// The same within a transaction of the caller's; also answers the plan before.
    pub async fn set_plan_within(
        transaction: &Transaction<'_>,
        name: &str,
        plan: &str,
    ) -> Result<(Account, String), AccountsError> {
        plans::check_known(transaction, plan).await?;
        if !is_name(name) {
            return Err(unknown(name));
        }
        let statement = transaction
            .prepare_cached(include_str!("accounts/sql/set_plan.sql"))
            .await?;
        let row = transaction.query_opt(&statement, &[&name, &plan]).await?;
        row.map(|row| (Account::from_row(&row), row.get("plan_before")))
            .ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> AccountsError {
    AccountsError::AccountUnknown {
        account: name.to_owned(),
    }
}

/// The rule for the names of accounts and plans, as the tables have it.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "dev", "acme.eu-1_x", &"a".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "Dev", "a b", "ä", "a\0", "a/b", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
