//! Tasks that run with the account's own keys for upstreams, and what they cost.
//!
//! **Whose key.** A request goes to the first of its routes that can take it, in the catalogue's order; on
//! that route the account's own key is used where it has one, and the operator's otherwise. This also decides
//! for the routes after it: a task runs with own keys alone or with the operator's alone, so it has one price.
//! Naming an upstream as `provider` chooses among them.
//!
//! **The price.** With own keys a task costs a part of its price
//! ([`own_key_percent`](super::Settings::own_key_percent)), rounded up to whole credits; it is quoted, held and
//! charged like any other.
//!
//! **Which key.** The ids of the keys are written down with the task when it is accepted, and no other key is
//! ever used for it: a key that was replaced is still there for such tasks, and when it was deleted they fail.
//!
//! **Health.** Each key has its own, apart from the operator's: an upstream that refuses somebody's key goes on
//! serving all others. It is kept with the provider in a cache of at most [`PROVIDERS_MAX`] keys, and what it
//! forgets begins anew. Whether a key is still there is asked of the database each time before it is used.

use std::collections::BTreeMap;
use std::sync::Arc;

use quick_cache::sync::Cache;
use uuid::Uuid;

use super::health::Health;
use super::{Core, Generation, Settings};
use crate::accounts::{AccountsError, UpstreamKey, UpstreamKeys, UpstreamSecret};
use crate::gate::Caller;
use crate::providers::{Failure, FailureReason, Provider, Providers};
use crate::store::{Store, StoreError};

/// Keys whose providers are kept.
const PROVIDERS_MAX: usize = 1_000;

/// An upstream, asked with an account's own key.
pub(super) struct OwnUpstream {
    pub key_id: Uuid,
    pub provider: Arc<dyn Provider>,
    pub health: Health,
}

/// The upstreams that an account has keys for, by name.
pub(super) type OwnUpstreams = BTreeMap<String, Arc<OwnUpstream>>;

/// Accounts' own keys, if this server takes any.
pub(super) struct OwnKeys {
    keys: Option<UpstreamKeys>,
    known: Cache<Uuid, Arc<OwnUpstream>>,
}

/// Why a key was not set or deleted.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// The operator has not set what keys are sealed with.
    #[error(
        "this server takes no keys for upstreams; its operator would have to set PIOOY_UPSTREAM_KEYS_SECRET"
    )]
    NotOffered,
    /// No such upstream takes keys.
    #[error("must be an upstream that takes keys: {}", known.join(", "))]
    Upstream {
        /// The names of those that there are.
        known: Vec<String>,
    },
    /// The upstream's keys do not look like this.
    #[error("must be a key as the upstream gave it: visible characters of ASCII, without spaces")]
    Key,
    /// There is none.
    #[error("the account has no key for this upstream")]
    Unknown,
    /// The keys could not be read or written.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
}

/// What a task costs that runs with the account's own key: so many percent of the price, rounded up.
pub(super) fn service_price(price: i64, percent: u8) -> i64 {
    let hundredths = i128::from(price) * i128::from(percent);
    let credits = hundredths.div_euclid(100) + i128::from(hundredths.rem_euclid(100) > 0);
    i64::try_from(credits).expect("a part is no more than the whole")
}

/// The failure of a task whose key was deleted.
pub(super) fn key_gone(upstream: &str) -> Failure {
    Failure::new(
        FailureReason::UpstreamKey,
        format!(
            "the account's own key for {upstream}, which the task was accepted with, is not there any more"
        ),
    )
}

/// The failure of a task whose key does not serve.
pub(super) fn key_refused(upstream: &str) -> Failure {
    Failure::new(
        FailureReason::UpstreamKey,
        format!(
            "{upstream} refuses the account's own key, or the key's account there has no credit"
        ),
    )
}

impl OwnKeys {
    /// Kept in `store`, if the settings say what they are sealed with.
    pub fn new(store: Store, settings: &Settings) -> Self {
        let secrets = settings.upstream_keys_secrets.as_ref();
        Self {
            keys: secrets.map(|secrets| UpstreamKeys::new(store, secrets)),
            known: Cache::new(PROVIDERS_MAX),
        }
    }

    fn keys(&self) -> Result<&UpstreamKeys, OwnKeyError> {
        self.keys.as_ref().ok_or(OwnKeyError::NotOffered)
    }
}

impl Core {
    /// The upstreams that a caller's tasks would be sent to with own keys.
    pub(super) async fn own_upstreams(&self, caller: &Caller) -> Result<OwnUpstreams, StoreError> {
        match &self.own_keys.keys {
            Some(keys) if !caller.is_test() && caller.has_upstream_keys() => {
                let current = keys.current(caller.account_id()).await;
                Ok(self.opened(keys, current.map_err(store_error)?))
            }
            _ => Ok(OwnUpstreams::new()),
        }
    }

    /// The upstreams of keys that a task was accepted with, as far as the keys are still there.
    pub(super) async fn own_upstreams_of(
        &self,
        account_id: Uuid,
        own_keys: &BTreeMap<String, Uuid>,
    ) -> Result<OwnUpstreams, StoreError> {
        match &self.own_keys.keys {
            Some(keys) if !own_keys.is_empty() => {
                let ids: Vec<_> = own_keys.values().copied().collect();
                let there = keys.by_id(account_id, &ids).await;
                Ok(self.opened(keys, there.map_err(store_error)?))
            }
            _ => Ok(OwnUpstreams::new()),
        }
    }

    /// Whether a key is still there.
    pub(super) async fn holds_key(&self, account_id: Uuid, id: Uuid) -> Result<bool, StoreError> {
        let Some(keys) = &self.own_keys.keys else {
            return Ok(false);
        };
        let there = keys.by_id(account_id, &[id]).await;
        Ok(!there.map_err(store_error)?.is_empty())
    }

    /// Their upstreams; what cannot be opened, or no longer takes keys, is left out.
    fn opened(&self, keys: &UpstreamKeys, there: Vec<UpstreamKey>) -> OwnUpstreams {
        let open = |key: UpstreamKey| {
            let own = match self.own_keys.known.get(&key.id) {
                Some(own) => own,
                None => {
                    let own = Arc::new(self.open(keys, &key)?);
                    self.own_keys.known.insert(key.id, Arc::clone(&own));
                    own
                }
            };
            Some((key.upstream, own))
        };
        there.into_iter().filter_map(open).collect()
    }

    fn open(&self, keys: &UpstreamKeys, key: &UpstreamKey) -> Option<OwnUpstream> {
        let secret = keys.open(key);
        let secret = secret.inspect_err(|error| {
            tracing::error!(account = %key.account_id, upstream = key.upstream, %error, "a key stays closed");
        });
        let provider = self
            .providers
            .with_key(&key.upstream, secret.ok()?.expose())?;
        let alone =
            Providers::new(Arc::clone(self.providers.sandbox())).with(Arc::clone(&provider));
        Some(OwnUpstream {
            key_id: key.id,
            provider,
            health: Health::new(&alone, &self.settings),
        })
    }
}

impl Generation {
    /// Makes `secret` the account's key for an upstream, in place of the one it had.
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub async fn set_upstream_key(
        &self,
        account_id: Uuid,
        upstream: &str,
        secret: UpstreamSecret,
    ) -> Result<UpstreamKey, OwnKeyError> {
        let keys = self.core.own_keys.keys()?;
        let known = self.core.providers.that_take_keys();
        if !known.contains(&upstream) {
            return Err(OwnKeyError::Upstream {
                known: known.into_iter().map(str::to_owned).collect(),
            });
        }
        let is_visible = secret.expose().bytes().all(|byte| byte.is_ascii_graphic());
        let provider = self.core.providers.with_key(upstream, secret.expose());
        if !is_visible || provider.is_none() {
            return Err(OwnKeyError::Key);
        }
        Ok(keys.set(account_id, upstream, &secret).await?)
    }

    /// What is known of an account's keys for upstreams, by upstream.
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub async fn upstream_keys(&self, account_id: Uuid) -> Result<Vec<UpstreamKey>, OwnKeyError> {
        Ok(self.core.own_keys.keys()?.current(account_id).await?)
    }

    /// Deletes the account's key for an upstream. Tasks that were accepted with it and have not ended fail.
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub async fn delete_upstream_key(
        &self,
        account_id: Uuid,
        upstream: &str,
    ) -> Result<UpstreamKey, OwnKeyError> {
        let keys = self.core.own_keys.keys()?;
        let deleted = keys.delete(account_id, upstream).await?;
        deleted.ok_or(OwnKeyError::Unknown)
    }
}

/// Reading keys fails with the store or not at all.
fn store_error(error: AccountsError) -> StoreError {
    match error {
        AccountsError::Store(error) => error,
        other => StoreError::Inconsistent(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_price_is_rounded_up() {
        let table = [
            (0, 10, 0),
            (1, 10, 1),
            (10, 10, 1),
            (11, 10, 2),
            (16, 25, 4),
            (17, 25, 5),
            (100, 0, 0),
            (7, 100, 7),
            (i64::MAX, 100, i64::MAX),
        ];
        for (price, percent, expected) in table {
            assert_eq!(
                service_price(price, percent),
                expected,
                "{price} at {percent} %"
            );
        }
    }
}
