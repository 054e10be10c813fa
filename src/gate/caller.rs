//! The permit every use case asks for.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::Refusal;
use crate::accounts::{Account, ApiKey, NewKey, Plan, Scope, Scopes, SpendingCaps};
use crate::people::{Role, Session};

/// Who calls, as the gate found out. Only [`Gate::authenticate`](super::Gate::authenticate) and
/// [`Gate::authenticate_session`](super::Gate::authenticate_session) make one, so code that takes a `Caller` can't be
/// reached by someone who was not checked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) account: Arc<Account>,
    pub(super) plan: Arc<Plan>,
    pub(super) key_id: Option<Uuid>,
    pub(super) test: bool,
    pub(super) scopes: Scopes,
    pub(super) caps: SpendingCaps,
    pub(super) valid_until: Option<SystemTime>,
    pub(super) session: Option<Arc<Session>>,
}

impl Caller {
    /// The account that is called for.
    pub fn account_id(&self) -> Uuid {
        self.account.id
    }

    /// Its name.
    pub fn account_name(&self) -> &str {
        &self.account.name
    }

    /// The key that was shown; none when it was a token or a session.
    pub fn key_id(&self) -> Option<Uuid> {
        self.key_id
    }

    /// True for a test key: only the sandbox runs and no credits move.
    pub fn is_test(&self) -> bool {
        self.test
    }

    /// What the key or token may do.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// What the key may spend at most; a token is not capped.
    pub fn spending_caps(&self) -> SpendingCaps {
        self.caps
    }

    /// When the key or token stops being good; none: never. For those who hold on to a caller.
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.valid_until
    }

    /// The plan of the account.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether the account has webhooks. As all that is known of a caller, it may be a second old.
    pub fn has_webhooks(&self) -> bool {
        self.account.has_webhooks
    }

    /// Whether the account has keys of its own for upstreams; as old.
    pub fn has_upstream_keys(&self) -> bool {
        self.account.has_upstream_keys
    }

    /// Checks that this caller may say with which keys the account's live tasks run.
    pub fn may_set_upstream_keys(&self) -> Result<(), Refusal> {
        if self.test || !self.caps.is_none() {
            return Err(Refusal::AccountsOwnKeyNeeded);
        }
        Ok(())
    }

    /// The session, when a person is signed in.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }

    /// Checks that this caller may say who else may sign in to the account, as its owners may.
    pub fn may_appoint(&self) -> Result<(), Refusal> {
        let may = match &self.session {
            Some(session) => session.role == Role::Owner,
            None => {
                let needed = [Scope::Generate, Scope::Read, Scope::Keys];
                let has_all = needed.iter().all(|scope| self.scopes.contains(*scope));
                has_all && !self.test && self.caps.is_none()
            }
        };
        may.then_some(()).ok_or(Refusal::OwnerNeeded)
    }

    /// Checks that `new` may do nothing that this caller may not, and spend nothing beside its caps.
    pub fn may_issue(&self, new: &NewKey) -> Result<(), Refusal> {
        if self.test && !new.test {
            return Err(Refusal::LiveKeyNeeded);
        }
        // Whatever caps the new key had, they would be its own: two keys spend twice as much as one.
        if !self.caps.is_none() && !new.test {
            return Err(Refusal::UncappedKeyNeeded);
        }
        let mut asked = new.scopes.iter();
        match asked.find(|scope| !self.scopes.contains(*scope)) {
            Some(needed) => Err(Refusal::InsufficientScope { needed }),
            None => Ok(()),
        }
    }

    /// Checks that `key`, one of the account's, is one that this caller could have made.
    pub fn may_revoke(&self, key: &ApiKey) -> Result<(), Refusal> {
        if self.test && !key.test {
            return Err(Refusal::LiveKeyNeeded);
        }
        Ok(())
    }
}
