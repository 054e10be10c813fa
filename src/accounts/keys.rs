//! An account's keys: making, listing, revoking and finding them. The key itself passes through once, on its way
//! to its owner; only its hash is kept.

use std::time::SystemTime;

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use super::caps::SpendingCaps;
use super::key_text::{KeyHash, Secret};
use super::records::{Account, ApiKey, Plan};
use super::scopes::{Scope, Scopes};
use super::{Accounts, AccountsError};
use crate::store::StoreError;

/// Keys of one account that are not revoked, at most. Requests that race may pass it by a few.
pub const KEYS_MAX: u32 = 200;

/// Keys in a list, at most: the newest.
pub const KEYS_LISTED_MAX: u32 = 1000;

/// The key to make.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// A name to know it by: 1 to 100 characters.
    pub name: String,
    /// A test key runs only the sandbox and moves no credits.
    pub test: bool,
    /// What it may do; not empty, and without admin for a test key.
    pub scopes: Scopes,
    /// When it stops working, in the future; none: never.
    pub expires_at: Option<SystemTime>,
    /// What it may spend at most.
    pub caps: SpendingCaps,
}

impl NewKey {
    fn check(&self) -> Result<(), AccountsError> {
        let length = self.name.chars().count();
        if !(1..=100).contains(&length) || self.name.chars().any(char::is_control) {
            return Err(AccountsError::KeyName);
        }
        if self.scopes.is_empty() {
            return Err(AccountsError::KeyScopes);
        }
        if self.test && self.scopes.contains(Scope::Admin) {
            return Err(AccountsError::KeyTestAdmin);
        }
        if !self.caps.are_possible() {
            return Err(AccountsError::KeyCaps);
        }
        Ok(())
    }
}

impl Accounts {
    /// Makes a key. The secret is returned here and can't be had again.
    pub async fn create_key(
        &self,
        account_id: Uuid,
        new: NewKey,
    ) -> Result<(Secret, ApiKey), AccountsError> {
        let client = self.store.client().await?;
        Self::create_key_within(&client, account_id, &new).await
    }

    /// The same by a connection, or within a transaction, of the caller's.
    pub async fn create_key_within(
        client: &impl GenericClient,
        account_id: Uuid,
        new: &NewKey,
    ) -> Result<(Secret, ApiKey), AccountsError> {
        new.check()?;
        let secret = Secret::generate(new.test).map_err(AccountsError::Randomness)?;
        let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.name()).collect();
        let statement = client
            .prepare_cached(include_str!("sql/insert_key.sql"))
            .await?;
        let inserted = client
            .query_opt(
                &statement,
                &[
                    &Uuid::now_v7(),
                    &account_id,
                    &new.name,
                    &secret.shown_prefix(),
                    &secret.hash().as_bytes().as_slice(),
                    &new.test,
                    &scopes,
                    &new.expires_at,
                    &i64::from(KEYS_MAX),
                    &new.caps.per_hour,
                    &new.caps.per_day,
                    &new.caps.total,
                ],
            )
            .await
            .map_err(StoreError::from);
        match inserted {
            Ok(Some(row)) => Ok((secret, ApiKey::from_row(&row))),
            Ok(None) => Err(AccountsError::KeysTooMany),
            Err(error) => Err(match error.constraint() {
                Some("api_keys_account_known") => AccountsError::AccountUnknown {
                    account: account_id.to_string(),
                },
                Some("api_keys_expiry_ahead") => AccountsError::KeyExpiry,
                _ => error.into(),
            }),
        }
    }

    /// The account's keys, newest first, revoked ones included; at most [`KEYS_LISTED_MAX`].
    pub async fn list_keys(&self, account_id: Uuid) -> Result<Vec<ApiKey>, AccountsError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/list_keys.sql"))
            .await?;
        let limit = i64::from(KEYS_LISTED_MAX);
        let rows = client.query(&statement, &[&account_id, &limit]).await?;
        Ok(rows.iter().map(ApiKey::from_row).collect())
    }

    /// What is known of one of the account's keys, revoked and expired ones included.
    pub async fn key(&self, account_id: Uuid, key_id: Uuid) -> Result<ApiKey, AccountsError> {
        Self::key_within(&self.store.client().await?, account_id, key_id).await
    }

    /// The same by a connection, or within a transaction, of the caller's.
    pub async fn key_within(
        client: &impl GenericClient,
        account_id: Uuid,
        key_id: Uuid,
    ) -> Result<ApiKey, AccountsError> {
        one_key(
            client,
            include_str!("sql/key_by_id.sql"),
            account_id,
            key_id,
        )
        .await
    }

    /// Makes a key useless, for good. Doing it again changes nothing.
    pub async fn revoke_key(
        &self,
        account_id: Uuid,
        key_id: Uuid,
    ) -> Result<ApiKey, AccountsError> {
        let client = self.store.client().await?;
        Self::revoke_key_within(&client, account_id, key_id).await
    }

    /// The same by a connection, or within a transaction, of the caller's.
    pub async fn revoke_key_within(
        client: &impl GenericClient,
        account_id: Uuid,
        key_id: Uuid,
    ) -> Result<ApiKey, AccountsError> {
        one_key(
            client,
            include_str!("sql/revoke_key.sql"),
            account_id,
            key_id,
        )
        .await
    }

    /// Which of these keys were revoked.
    pub async fn revoked_keys(&self, keys: &[Uuid]) -> Result<Vec<Uuid>, AccountsError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/revoked_keys.sql"))
            .await?;
        let rows = client.query(&statement, &[&keys]).await?;
        Ok(rows.iter().map(|row| row.get("id")).collect())
    }

    /// Keeps that a key was used, and when.
    pub async fn note_use(&self, key_id: Uuid, used_at: SystemTime) -> Result<(), AccountsError> {
        let client = self.store.client().await?;
        client
            .execute(include_str!("sql/note_use.sql"), &[&key_id, &used_at])
            .await?;
        Ok(())
    }

    /// The key with this hash, revoked and expired ones included, with the account it belongs to.
    pub async fn find_key(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<(ApiKey, Account, Plan)>, AccountsError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/find_key.sql"))
            .await?;
        let row = client
            .query_opt(&statement, &[&hash.as_bytes().as_slice()])
            .await?;
        Ok(row.map(|row| {
            (
                ApiKey::from_row(&row),
                Account::from_row(&row),
                Plan::from_row(&row),
            )
        }))
    }
}

/// What a statement about one of the account's keys answers.
async fn one_key(
    client: &impl GenericClient,
    statement: &str,
    account_id: Uuid,
    key_id: Uuid,
) -> Result<ApiKey, AccountsError> {
    let statement = client.prepare_cached(statement).await?;
    let row = client
        .query_opt(&statement, &[&account_id, &key_id])
        .await?;
    row.map(|row| ApiKey::from_row(&row))
        .ok_or(AccountsError::KeyUnknown)
}
