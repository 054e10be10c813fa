//! The gate: who calls, may they, and how fast. Every face sends every call through one [`Gate`], so they all
//! spend the same budgets.
//!
//! 1. [`credential_from`] finds the key or token among a request's headers.
//! 2. [`Gate::authenticate`] makes a [`Caller`] of it. A key costs at most one look-up by primary key a second;
//!    a text that can't be a key costs none; a token costs one signature check.
//!    [`Gate::authenticate_session`] does the same for people who are signed in, whose role says what they may.
//! 3. [`Gate::admit`] checks the scope a method needs and spends one call of the account's budget.
//!
//! Nothing here waits but for the database or the token issuer, and all that is remembered is bounded. The clock is
//! a parameter for the sake of tests.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use governor::Quota;
use governor::clock::{Clock, DefaultClock};
use thiserror::Error;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::accounts::{
    Account, Accounts, AccountsError, ApiKey, KeyHash, Plan, Scope, Scopes, SpendingCaps,
};
use crate::people::{People, Role, Session};
use crate::spec::method::Budget;

mod budgets;
mod caller;
mod credential;
mod failures;
mod fresh;
mod key_set;
mod refusal;
mod sign_ins;
mod tokens;

pub use budgets::Allowance;
pub use caller::Caller;
pub use credential::credential_from;
pub use key_set::{KeySetError, KeySetOrigin, KeySetOriginInvalid};
pub use refusal::{CredentialFault, Refusal, TokenFault};
pub use tokens::JwtSettings;

use budgets::Buckets;
use failures::Failures;
use fresh::Fresh;
use sign_ins::SignIns;
use tokens::{Tokens, looks_like_token};

/// How exactly it is kept when a key was last used.
const USES_NOTED_EVERY: Duration = Duration::from_secs(60);

/// The gate could not be built.
#[derive(Debug, Error)]
#[error("the client that fetches the keys of tokens could not be prepared")]
pub struct GateError(#[from] reqwest::Error);

/// The one way in.
pub struct Gate<C: Clock = DefaultClock> {
    accounts: Accounts,
    keys: Fresh<KeyHash, KeyOfAccount, C>,
    tenants: Fresh<String, Tenant, C>,
    tokens: Option<Tokens<C>>,
    /// None: nobody signs in.
    people: Option<People>,
    sessions: Fresh<Uuid, Session, C>,
    sign_ins: SignIns<C>,
    failures: Failures<C>,
    /// The numbers are part of the key, so another plan, or other numbers in it, make another bucket.
    budgets: Buckets<(Uuid, Budget, NonZeroU32), C>,
    forgotten: Notify,
}

struct KeyOfAccount {
    key: ApiKey,
    tenant: Tenant,
}

struct Tenant {
    account: Arc<Account>,
    plan: Arc<Plan>,
}

impl Tenant {
    fn new(account: Account, plan: Plan) -> Tenant {
        Tenant {
            account: Arc::new(account),
            plan: Arc::new(plan),
        }
    }
}

impl Gate {
    /// A gate to `accounts`. Without `tokens` only API keys are taken. If the token keys are at an address, rustls
    /// must have a process-wide crypto provider.
    pub fn new(accounts: Accounts, tokens: Option<JwtSettings>) -> Result<Gate, GateError> {
        Gate::with_clock(accounts, tokens, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Gate<C> {
    /// A gate that goes by `clock`.
    pub fn with_clock(
        accounts: Accounts,
        tokens: Option<JwtSettings>,
        clock: C,
    ) -> Result<Gate<C>, GateError> {
        let tokens = tokens
            .map(|settings| Tokens::new(settings, clock.clone()))
            .transpose()?;
        Ok(Gate {
            accounts,
            keys: Fresh::new(clock.clone()),
            tenants: Fresh::new(clock.clone()),
            tokens,
            people: None,
            sessions: Fresh::new(clock.clone()),
            sign_ins: SignIns::new(clock.clone()),
            failures: Failures::new(clock.clone()),
            budgets: Buckets::new(clock),
            forgotten: Notify::new(),
        })
    }

    /// The same gate, through which `people` come in too.
    #[must_use]
    pub fn with_people(mut self, people: People) -> Self {
        self.people = Some(people);
        self
    }

    /// Finds out who shows `credential` (an API key or a token) from the address `from`.
    pub async fn authenticate(
        &self,
        credential: Option<&str>,
        from: IpAddr,
        now: SystemTime,
    ) -> Result<Caller, Refusal> {
        let credential = credential.ok_or(Refusal::KeyMissing)?;
        let caller = if looks_like_token(credential) {
            self.bearer_of_token(credential, now).await
        } else {
            self.holder_of_key(credential, from, now).await
        };
        caller.map_err(|refusal| self.count_guess(refusal, from))
    }

    /// Finds out who is signed in and shows this access token. Costs at most one look-up by primary key a second.
    ///
    /// # Errors
    /// The session has ended, or the token's time is over: what goes on with a session is another token.
    pub async fn authenticate_session(
        &self,
        access: &str,
        now: SystemTime,
    ) -> Result<Caller, Refusal> {
        let people = self.people.as_ref().ok_or(Refusal::SessionEnded)?;
        let (id, token_until) = people
            .session_named(access, now)
            .ok_or(Refusal::SessionEnded)?;
        let read = |_| read_session(people, id);
        let session = self.sessions.get(&id, read).await?;
        let session = session
            .filter(|session| now < session.expires_at)
            .ok_or(Refusal::SessionEnded)?;
        let read = |_| self.read_tenant(&session.account);
        let tenant = self.tenants.get(&session.account, read).await?;
        let tenant = tenant.ok_or(Refusal::SessionEnded)?;
        Ok(Caller {
            account: Arc::clone(&tenant.account),
            plan: Arc::clone(&tenant.plan),
            key_id: None,
            test: false,
            scopes: scopes_of(&session),
            caps: SpendingCaps::NONE,
            valid_until: Some(token_until.min(session.expires_at)),
            session: Some(session),
        })
    }

    /// Lets somebody at `from` try once to sign in as `email`.
    ///
    /// # Errors
    /// Too many tries came from there, or for that address.
    pub fn admit_sign_in(&self, from: IpAddr, email: &str) -> Result<(), Refusal> {
        self.sign_ins.spend(from, email)
    }

    /// Lets `caller` do one thing that needs the scope `needed`, out of `budget`.
    pub fn admit(
        &self,
        caller: &Caller,
        needed: Scope,
        budget: Budget,
    ) -> Result<Allowance, Refusal> {
        if !caller.scopes().contains(needed) {
            return Err(Refusal::InsufficientScope { needed });
        }
        let per_minute = match budget {
            Budget::Read => caller.plan().reads_per_minute,
            Budget::Submit => caller.plan().submits_per_minute,
        };
        let bucket = (caller.account_id(), budget, per_minute);
        self.budgets
            .spend(&bucket, Quota::per_minute(per_minute))
            .map_err(|spent| Refusal::RateLimited {
                allowance: spent.allowance,
                retry_after: spent.retry_after,
            })
    }

    /// Makes what was just changed about keys, accounts or plans hold in this process at once; other replicas
    /// follow within a second. Costs one look-up for each key in use.
    pub fn forget(&self) {
        self.keys.forget();
        self.tenants.forget();
        self.sessions.forget();
        self.forgotten.notify_waiters();
    }

    /// Comes true at the next [`Gate::forget`].
    pub async fn forgotten(&self) {
        self.forgotten.notified().await;
    }

    /// Which of these keys were revoked by now, by whichever replica. For those who hold on to callers.
    pub async fn revoked(&self, keys: &[Uuid]) -> Result<Vec<Uuid>, AccountsError> {
        self.accounts.revoked_keys(keys).await
    }

    async fn holder_of_key(
        &self,
        credential: &str,
        from: IpAddr,
        now: SystemTime,
    ) -> Result<Caller, Refusal> {
        let hash = KeyHash::parse(credential)?;
        let read = |known| self.read_key(hash, known, from, now);
        let found = self.keys.get(&hash, read).await?;
        let KeyOfAccount { key, tenant } = &*found.ok_or(Refusal::KeyUnknown)?;
        if key.revoked_at.is_some() {
            return Err(Refusal::KeyRevoked);
        }
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(Refusal::KeyExpired);
        }
        Ok(Caller {
            account: Arc::clone(&tenant.account),
            plan: Arc::clone(&tenant.plan),
            key_id: Some(key.id),
            test: key.test,
            scopes: key.scopes,
            caps: key.caps,
            valid_until: key.expires_at,
            session: None,
        })
    }

    /// Asks the database, unless a key never seen before comes from where too many wrong ones came from.
    async fn read_key(
        &self,
        hash: KeyHash,
        known: bool,
        from: IpAddr,
        now: SystemTime,
    ) -> Result<Option<KeyOfAccount>, Refusal> {
        if let Some(retry_after) = self.failures.closed_for(from)
            && !known
        {
            return Err(Refusal::TooManyFailures { retry_after });
        }
        let found = self.accounts.find_key(&hash).await;
        let found = found.map_err(|error| Refusal::Unavailable(error.into()))?;
        Ok(found.map(|(key, account, plan)| {
            self.note_use(&key, now);
            KeyOfAccount {
                key,
                tenant: Tenant::new(account, plan),
            }
        }))
    }

    /// Keeps that a key is used, now and then and without anybody waiting for it.
    fn note_use(&self, key: &ApiKey, now: SystemTime) {
        let is_good = key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end);
        let is_noted = key
            .last_used_at
            .is_some_and(|noted| now < noted + USES_NOTED_EVERY);
        if !is_good || is_noted {
            return;
        }
        let (accounts, id) = (self.accounts.clone(), key.id);
        tokio::spawn(async move {
            if let Err(error) = accounts.note_use(id, now).await {
                tracing::debug!(%error, "the use of a key was not noted");
            }
        });
    }

    async fn bearer_of_token(&self, token: &str, now: SystemTime) -> Result<Caller, Refusal> {
        let tokens = self.tokens.as_ref().ok_or(TokenFault::NotAccepted)?;
        let bearer = tokens.verify(token, now).await?;
        let read = |_| self.read_tenant(&bearer.account);
        let found = self.tenants.get(&bearer.account, read).await?;
        let tenant = found.ok_or(TokenFault::AccountUnknown)?;
        Ok(Caller {
            account: Arc::clone(&tenant.account),
            plan: Arc::clone(&tenant.plan),
            key_id: None,
            test: false,
            scopes: bearer.scopes,
            caps: SpendingCaps::NONE,
            valid_until: bearer.valid_until,
            session: None,
        })
    }

    async fn read_tenant(&self, name: &str) -> Result<Option<Tenant>, Refusal> {
        let found = self.accounts.account_with_plan(name).await;
        let found = found.map_err(|error| Refusal::Unavailable(error.into()))?;
        Ok(found.map(|(account, plan)| Tenant::new(account, plan)))
    }

    fn count_guess(&self, refusal: Refusal, from: IpAddr) -> Refusal {
        if !refusal.may_be_a_guess() {
            return refusal;
        }
        match self.failures.count(from) {
            Ok(()) => refusal,
            Err(retry_after) => Refusal::TooManyFailures { retry_after },
        }
    }
}

async fn read_session(people: &People, id: Uuid) -> Result<Option<Session>, Refusal> {
    let found = people.session(id).await;
    found.map_err(|error| Refusal::Unavailable(error.into()))
}

/// What a person may do in an account.
fn scopes_of(session: &Session) -> Scopes {
    let reads = Scopes::NONE.with(Scope::Read);
    let scopes = match session.role {
        Role::Viewer => reads,
        Role::Member => reads.with(Scope::Generate),
        Role::Owner => reads.with(Scope::Generate).with(Scope::Keys),
    };
    if session.operator {
        scopes.with(Scope::Admin)
    } else {
        scopes
    }
}
