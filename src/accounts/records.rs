//! What is known of plans, accounts and keys, as the database keeps it.
//!
//! The readers go by column name, and statements that join name the columns of a key `key_…` where an account has
//! one of the same name; one row can then be read as all three.

use std::num::NonZeroU32;
use std::time::SystemTime;

use tokio_postgres::Row;
use uuid::Uuid;

use super::caps::SpendingCaps;
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
    /// Tasks that may wait beyond those; none wait at 0, they are refused.
    pub queued_tasks: u32,
    /// Credits given at the start of each month (UTC), which expire with its end.
    pub monthly_credits: i64,
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
    /// Whether anyone is to be told of its tasks.
    pub has_webhooks: bool,
    /// Whether it has keys of its own for upstreams.
    pub has_upstream_keys: bool,
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
    /// What it may spend at most.
    pub caps: SpendingCaps,
    /// When it was made, by the database's clock.
    pub created_at: SystemTime,
    /// When it stops working; none: never.
    pub expires_at: Option<SystemTime>,
    /// When it was revoked; none: it was not.
    pub revoked_at: Option<SystemTime>,
    /// When it was last used, to the minute; none: never.
    pub last_used_at: Option<SystemTime>,
}

impl Plan {
    pub(super) fn from_row(row: &Row) -> Plan {
        Plan {
            name: row.get("plan"),
            submits_per_minute: positive(row.get("submits_per_minute")),
            reads_per_minute: positive(row.get("reads_per_minute")),
            concurrent_tasks: positive(row.get("concurrent_tasks")),
            queued_tasks: u32::try_from(row.get::<_, i32>("queued_tasks")).unwrap_or(0),
            monthly_credits: row.get("monthly_credits"),
            free_tier_included: row.get("free_tier_included"),
        }
    }
}

impl Account {
    pub(super) fn from_row(row: &Row) -> Account {
        Account {
            id: row.get("id"),
            name: row.get("name"),
            plan: row.get("plan"),
            created_at: row.get("created_at"),
            has_webhooks: row.get("has_webhooks"),
            has_upstream_keys: row.get("has_upstream_keys"),
        }
    }
}

impl ApiKey {
    pub(super) fn from_row(row: &Row) -> ApiKey {
        // A word this version does not know allows nothing.
        let scopes: Vec<&str> = row.get("scopes");
        ApiKey {
            id: row.get("key_id"),
            account_id: row.get("account_id"),
            name: row.get("key_name"),
            prefix: row.get("prefix"),
            test: row.get("test"),
            scopes: scopes.iter().filter_map(|name| name.parse().ok()).collect(),
            caps: SpendingCaps {
                per_hour: row.get("cap_per_hour"),
                per_day: row.get("cap_per_day"),
                total: row.get("cap_total"),
            },
            created_at: row.get("key_created_at"),
            expires_at: row.get("expires_at"),
            revoked_at: row.get("revoked_at"),
            last_used_at: row.get("last_used_at"),
        }
    }
}

/// The tables refuse numbers below one; should one ever be found, it counts as one.
fn positive(number: i32) -> NonZeroU32 {
    u32::try_from(number)
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}
