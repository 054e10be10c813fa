//! What a server that knows no account starts with: the account `dev`, one test key and one live key.
//!
//! **Order and locks.** Everything happens in one transaction that keeps others from adding accounts, so that of
//! replicas starting together exactly one makes it. The keys are shown *before* the commit. Whoever dies in
//! between has shown keys that never came to life, and the next start shows two others; the other way round the
//! keys would be in the database and known to nobody.

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use super::{Account, Accounts, AccountsError, NewKey, Scope, Scopes, Secret, SpendingCaps};

const NAME: &str = "dev";
const PLAN: &str = "pro";

/// The two keys of the first start.
pub struct FirstKeys {
    /// Runs only the sandbox and moves no credits.
    pub test: Secret,
    /// Spends the account's credits.
    pub live: Secret,
}

impl Accounts {
    /// Makes the account `dev` with two keys if there is no account at all, and hands the keys to `show`, which
    /// must not take long: the transaction is open.
    ///
    /// Returns the account that a first start made, be it now or in the past, so that what follows a first start
    /// (a grant of credits) can be done each time by something that happens only once. None: this server's
    /// accounts were made by its operator.
    pub async fn first_start(
        &self,
        show: impl FnOnce(&FirstKeys),
    ) -> Result<Option<Account>, AccountsError> {
        if let Some(founding) = self.founding().await? {
            return Ok(Some(founding));
        }
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(include_str!("sql/lock_accounts.sql"))
            .await?;
        let any = transaction
            .query_one(include_str!("sql/any_account.sql"), &[])
            .await?;
        if any.get(0) {
            // Perhaps made by another replica while this one waited for the lock.
            let founding = transaction
                .query_opt(include_str!("sql/founding_account.sql"), &[])
                .await?;
            return Ok(founding.map(|row| Account::from_row(&row)));
        }
        let row = transaction
            .query_one(
                include_str!("sql/insert_account.sql"),
                &[&Uuid::now_v7(), &NAME, &PLAN, &true],
            )
            .await?;
        let account = Account::from_row(&row);
        let (test, _) = Self::create_key_within(&transaction, account.id, &first_key(true)).await?;
        let (live, _) =
            Self::create_key_within(&transaction, account.id, &first_key(false)).await?;
        show(&FirstKeys { test, live });
        transaction.commit().await?;
        Ok(Some(account))
    }

    /// The account that a first start made, if one did.
    pub async fn founding(&self) -> Result<Option<Account>, AccountsError> {
        Self::founding_within(&self.store.client().await?).await
    }

    /// The same by a connection, or within a transaction, of the caller's.
    pub async fn founding_within(
        client: &impl GenericClient,
    ) -> Result<Option<Account>, AccountsError> {
        let founding = client
            .query_opt(include_str!("sql/founding_account.sql"), &[])
            .await?;
        Ok(founding.map(|row| Account::from_row(&row)))
    }
}

fn first_key(test: bool) -> NewKey {
    NewKey {
        name: "first start".to_owned(),
        test,
        scopes: Scopes::DEFAULT.with(Scope::Keys),
        expires_at: None,
        caps: SpendingCaps::NONE,
    }
}
