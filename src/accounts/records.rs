//! What is known of plans, accounts and keys, as the database keeps it.

use std::num::NonZeroU32;
use std::time::SystemTime;

use uuid::Uuid;

use super::scopes::Scopes;

/// What an account on a plan may do. Plans are data; the server starts with `free`, `pro` and `unlimited`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Calls per minute that start work or change something.
    pub submits_per_minute: NonZeroU32,
    /// Calls per minute that only read.
    pub reads_per_minute: NonZeroU32,
    /// Tasks that may run at once.
    pub concurrent_tasks: NonZeroU32,
    /// True when models of the free tier cost nothing.
    pub free_tier_included: bool,
}

/// An account: whose credits are spent and whose limits hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// Its name, unique on the server: 1 to 64 of `a-z 0-9 . _ -`.
    pub name: String,
    /// The name of its plan.
    pub plan: String,
    /// When it was made, by the database's clock.
    pub created_at: SystemTime,
}

/// What is known of an API key: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// The account it belongs to.
    pub account_id: Uuid,
    /// A name to know it by: 1 to 100 characters.
    pub name: String,
    /// The first characters of the key, to tell keys apart.
    pub prefix: String,
    /// A test key runs only the sandbox and moves no credits.
    pub test: bool,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made, by the database's clock.
    pub created_at: SystemTime,
    /// When it stops working; none: never.
    pub expires_at: Option<SystemTime>,
    /// When it was revoked; none: it was not.
    pub revoked_at: Option<SystemTime>,
}
