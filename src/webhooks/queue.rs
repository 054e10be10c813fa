//! The queue of deliveries, for those who send them: claim, settle, forget. Rows in, values out; nothing is decided
//! here.
//!
//! A claim is a lease: until it ends, nobody else takes the delivery, and then it is due again. So a server that dies
//! while it sends delays a delivery by that much, and the receiver may get it twice.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::secret::SigningSecret;
use super::{DeliveryStatus, World};
use crate::store::{Store, StoreError};

/// How many origins one claim looks at, at most: each costs about as much as a look-up by key.
const ORIGINS_MAX: i64 = 1_000;

/// A delivery that this server is to send now.
pub(super) struct Claimed {
    pub world: World,
    pub id: Uuid,
    pub task_id: Uuid,
    /// None: the request named the address.
    pub webhook_id: Option<Uuid>,
    pub url: String,
    /// The address as far as the path.
    pub origin: String,
    /// Until when it is this server's. No two claims have the same end, so it names the claim.
    pub leased_until: SystemTime,
    /// How many times it was claimed since somebody last asked for it, this time included.
    pub round: u32,
    /// What signs it: the webhook's secret, none when that is gone; or the account's, none when there is none yet.
    pub secret: Option<SigningSecret>,
    /// The account's secret before, as long as it signs, too.
    pub secret_before: Option<SigningSecret>,
}

/// What came of sending one.
#[derive(Debug)]
pub(super) struct Told {
    pub account_id: Uuid,
    pub id: Uuid,
    pub leased_until: SystemTime,
    pub status: DeliveryStatus,
    /// Until the next attempt, of one that is pending.
    pub wait: Option<Duration>,
    pub answer_status: Option<u16>,
    pub answer: Option<String>,
    pub error: Option<String>,
    /// The webhook, when its receiver says that it is gone.
    pub gone: Option<Uuid>,
}

/// How many deliveries may be claimed.
pub(super) struct Room {
    /// In all.
    pub free: usize,
    /// Of one origin that nothing is under way to.
    pub of_origin: usize,
    /// Of the others.
    pub of_busy: HashMap<String, usize>,
}

/// What was claimed.
pub(super) struct Claim {
    pub claimed: Vec<Claimed>,
    /// The last origin that was looked at, when there may be more after it.
    pub stopped_at: Option<String>,
}

/// The queue.
pub(super) struct Queue {
    pub store: Store,
}

impl Queue {
    /// Takes what is due, as much as there is room for, at the next [`ORIGINS_MAX`] origins after `after`.
    pub async fn claim(
        &self,
        room: &Room,
        lease: Duration,
        after: &str,
    ) -> Result<Claim, StoreError> {
        let (origins, rooms): (Vec<&str>, Vec<i64>) = room
            .of_busy
            .iter()
            .map(|(origin, room)| (origin.as_str(), count(*room)))
            .unzip();
        let values: [&(dyn ToSql + Sync); 7] = [
            &milliseconds(lease),
            &origins,
            &rooms,
            &count(room.of_origin),
            &count(room.free),
            &after,
            &ORIGINS_MAX,
        ];
        let rows = self.query(include_str!("sql/claim.sql"), &values).await?;
        let mut claim = Claim {
            claimed: Vec::with_capacity(rows.len()),
            stopped_at: None,
        };
        for row in &rows {
            claim.stopped_at = row.try_get("stopped_at")?;
            if row.try_get::<_, Option<Uuid>>("id")?.is_some() {
                claim.claimed.push(claimed(row)?);
            }
        }
        Ok(claim)
    }

    /// Writes down what came of it.
    pub async fn settle(&self, told: &[Told]) -> Result<(), StoreError> {
        let values: [&(dyn ToSql + Sync); 9] = [
            &column(told, |told| told.account_id),
            &column(told, |told| told.id),
            &column(told, |told| told.leased_until),
            &column(told, |told| told.status.name()),
            &column(told, |told| told.wait.map(milliseconds)),
            &column(told, |told| told.answer_status.map(i32::from)),
            &column(told, |told| told.answer.as_deref()),
            &column(told, |told| told.error.as_deref()),
            &column(told, |told| told.gone),
        ];
        let settled = self.query(include_str!("sql/settle.sql"), &values);
        settled.await.map(drop)
    }

    /// Removes at most `limit` of those that were over so long ago; answers how many.
    pub async fn forget(&self, age: Duration, limit: i64) -> Result<u64, StoreError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/forget.sql"))
            .await?;
        let values: [&(dyn ToSql + Sync); 2] = [&age.as_secs_f64(), &limit];
        Ok(client.execute(&statement, &values).await?)
    }

    async fn query(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.store.client().await?;
        let statement = client.prepare_cached(statement).await?;
        Ok(client.query(&statement, values).await?)
    }
}

fn claimed(row: &Row) -> Result<Claimed, StoreError> {
    let secret = |name| -> Result<_, StoreError> {
        let bytes: Option<&[u8]> = row.try_get(name)?;
        Ok(bytes.and_then(SigningSecret::from_bytes))
    };
    let round: i32 = row.try_get("round")?;
    Ok(Claimed {
        world: World {
            account_id: row.try_get("account_id")?,
            test: row.try_get("test")?,
        },
        id: row.try_get("id")?,
        task_id: row.try_get("task_id")?,
        webhook_id: row.try_get("webhook_id")?,
        url: row.try_get("url")?,
        origin: row.try_get("origin")?,
        leased_until: row.try_get("due_at")?,
        round: u32::try_from(round).unwrap_or_default(),
        secret: secret("secret")?,
        secret_before: secret("before")?,
    })
}

/// One value of every element: PostgreSQL takes a batch as columns.
fn column<'a, T, V>(batch: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    batch.iter().map(value).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
