//! Accounts' own keys for upstreams: sealed on the way into the database, opened by whoever runs a task with one.
//!
//! An account has at most one key for each upstream. Another one takes its place for what is asked from then on;
//! what was accepted with the one before still runs with that, which is kept as long as a task can last. A key
//! that is deleted is gone at once, with those that it replaced.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::Row;
use uuid::Uuid;

use super::AccountsError;
use super::seal::{Seal, SealError, SealingSecrets};
use crate::store::Store;

/// How many of a key's last characters are kept for people, of a key that is long enough to spare them.
const TAIL_CHARACTERS: usize = 4;
const TAILED_CHARACTERS_MIN: usize = 16;

/// A key that was opened. `Debug` does not tell it.
pub struct UpstreamSecret(String);

impl UpstreamSecret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The key, for the one place that shows it to its upstream.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UpstreamSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A key as the database keeps it. `Debug` tells nothing that opens it.
#[derive(Clone)]
pub struct UpstreamKey {
    /// A UUIDv7: another key for the same upstream has another id.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The name of the upstream.
    pub upstream: String,
    /// Its last characters; empty of one that is short.
    pub tail: String,
    /// When it was set.
    pub created_at: SystemTime,
    sealed_with: Vec<u8>,
    sealed: Vec<u8>,
}

impl fmt::Debug for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamKey")
            .field("id", &self.id)
            .field("account_id", &self.account_id)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl UpstreamKey {
    fn from_row(account_id: Uuid, row: &Row) -> Self {
        Self {
            account_id,
            id: row.get("id"),
            upstream: row.get("upstream"),
            tail: row.get("tail"),
            created_at: row.get("created_at"),
            sealed_with: row.get("sealed_with"),
            sealed: row.get("sealed"),
        }
    }
}

/// The keys of all accounts. Cheap to clone.
#[derive(Clone)]
pub struct UpstreamKeys {
    store: Store,
    seal: Arc<Seal>,
}

impl UpstreamKeys {
    /// Kept in `store`, sealed with the first of `secrets`.
    #[must_use]
    pub fn new(store: Store, secrets: &SealingSecrets) -> Self {
        Self {
            store,
            seal: Arc::new(Seal::new(secrets)),
        }
    }

    /// Makes `secret` the account's key for an upstream.
    ///
    /// # Errors
    /// When there are no random numbers, or the store cannot be reached.
    pub async fn set(
        &self,
        account_id: Uuid,
        upstream: &str,
        secret: &UpstreamSecret,
    ) -> Result<UpstreamKey, AccountsError> {
        let id = Uuid::now_v7();
        let (sealed_with, sealed) = self
            .seal
            .close(secret.expose(), &belongs_to(account_id, id, upstream))
            .map_err(AccountsError::Randomness)?;
        let tail = tail(secret.expose());
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        transaction
            .execute(include_str!("sql/lock_upstream_keys.sql"), &[&account_id])
            .await?;
        transaction
            .execute(
                include_str!("sql/replace_upstream_key.sql"),
                &[&account_id, &upstream],
            )
            .await?;
        let row = transaction
            .query_one(
                include_str!("sql/insert_upstream_key.sql"),
                &[
                    &account_id,
                    &id,
                    &upstream,
                    &&sealed_with[..],
                    &sealed,
                    &tail,
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(UpstreamKey::from_row(account_id, &row))
    }

    /// The keys that an account has now, by the names of their upstreams.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn current(&self, account_id: Uuid) -> Result<Vec<UpstreamKey>, AccountsError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/current_upstream_keys.sql"))
            .await?;
        let rows = client.query(&statement, &[&account_id]).await?;
        Ok(keys(account_id, &rows))
    }

    /// Those of these keys of an account that are there still, replaced or not.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn by_id(
        &self,
        account_id: Uuid,
        ids: &[Uuid],
    ) -> Result<Vec<UpstreamKey>, AccountsError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/upstream_keys_by_id.sql"))
            .await?;
        let rows = client.query(&statement, &[&account_id, &ids]).await?;
        Ok(keys(account_id, &rows))
    }

    /// Removes the account's key for an upstream; `None` when there is none.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn delete(
        &self,
        account_id: Uuid,
        upstream: &str,
    ) -> Result<Option<UpstreamKey>, AccountsError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/delete_upstream_key.sql"))
            .await?;
        let rows = client.query(&statement, &[&account_id, &upstream]).await?;
        let is_current = |row: &&Row| row.get::<_, Option<SystemTime>>("replaced_at").is_none();
        let current = rows.iter().find(is_current);
        Ok(current.map(|row| UpstreamKey::from_row(account_id, row)))
    }

    /// Opens a key.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, key: &UpstreamKey) -> Result<UpstreamSecret, SealError> {
        let belongs_to = belongs_to(key.account_id, key.id, &key.upstream);
        let opened = self.seal.open(&key.sealed_with, &key.sealed, &belongs_to);
        opened.map(UpstreamSecret)
    }
}

fn keys(account_id: Uuid, rows: &[Row]) -> Vec<UpstreamKey> {
    rows.iter()
        .map(|row| UpstreamKey::from_row(account_id, row))
        .collect()
}

/// What a key is good for, as it is authenticated with it: two ids of 16 bytes, then a name.
fn belongs_to(account_id: Uuid, id: Uuid, upstream: &str) -> Vec<u8> {
    [account_id.as_bytes(), id.as_bytes(), upstream.as_bytes()].concat()
}

fn tail(key: &str) -> String {
    let characters = key.chars().count();
    let shown = match characters {
        ..TAILED_CHARACTERS_MIN => 0,
        _ => TAIL_CHARACTERS,
    };
    key.chars().skip(characters - shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_keys_show_their_ends() {
        assert_eq!(tail("0123456789abcdef"), "cdef");
        assert_eq!(tail("0123456789abcde"), "");
        assert_eq!(tail(""), "");
    }

    #[test]
    fn keys_are_not_shown() {
        let secret = UpstreamSecret::new("fal-secret".to_owned());
        assert_eq!(format!("{secret:?}"), "[secret]");
        let key = UpstreamKey {
            id: Uuid::nil(),
            account_id: Uuid::nil(),
            upstream: "fal".to_owned(),
            tail: "tail".to_owned(),
            created_at: SystemTime::UNIX_EPOCH,
            sealed_with: b"sealed with".to_vec(),
            sealed: b"sealed".to_vec(),
        };
        let shown = format!("{key:?}");
        assert!(
            !shown.contains("seal") && !shown.contains("tail"),
            "{shown}"
        );
    }
}
