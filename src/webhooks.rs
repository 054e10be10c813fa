//! Webhooks: addresses of callers that are told when a task has ended.
//!
//! ```text
//! task ends ─▶ deliveries owed ─▶ claimed ─▶ signed, sent ─▶ DELIVERED
//! (one transaction, a trigger)       ▲             │ no 2xx
//!                                    └──── later ──┴─▶ FAILED after a day
//! ```
//!
//! - What is owed is written by the database in the transaction that ends the task (migration `V7__webhooks`),
//!   for tasks that were accepted while their account had webhooks or that name an address themselves; all others
//!   pay nothing.
//! - A [`Deliverer`] in each server sends what is due. Each delivery is sent at least once; the receiver tells
//!   repetitions by their id.
//! - Test keys and live ones are separate worlds here, too: webhooks, deliveries and signing secrets are of one.
//! - Addresses are callers' words: [`Egress`] decides which may be reached, when they are given and again when
//!   they are used.
//!
//! **Bounds.** [`WEBHOOKS_MAX`] webhooks in each world of an account, [`PAGE_MAX`] deliveries in a page; what is over
//! is forgotten after [`LOG_KEPT`]. Secrets lie in the database as they are, since they must sign.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::Notify;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use url::Url;
use uuid::Uuid;

use crate::egress::{Egress, EgressError};
use crate::store::{Store, StoreError};

mod attempt;
mod deliverer;
mod queue;
mod secret;

pub use deliverer::{Deliverer, Messages, Settings};
pub use secret::SigningSecret;

/// Webhooks that an account may have for its live tasks, and as many for those of test keys.
pub const WEBHOOKS_MAX: u32 = 10;
/// Deliveries in one page, at most.
pub const PAGE_MAX: u32 = 500;
/// How long a delivery is remembered after it was over.
pub const LOG_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// An address that is told of every task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// A UUIDv7.
    pub id: Uuid,
    /// Where its messages go.
    pub url: String,
    /// Whether it hears of test tasks; otherwise of live ones.
    pub test: bool,
    /// When it was made.
    pub created_at: SystemTime,
    /// When its receiver said that it is gone.
    pub disabled_at: Option<SystemTime>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Still to be sent, or to be sent again.
    Pending,
    /// Taken by the receiver.
    Delivered,
    /// Given up.
    Failed,
    /// Its webhook is gone.
    Canceled,
}

impl DeliveryStatus {
    const NAMED: [(&'static str, Self); 4] = [
        ("PENDING", Self::Pending),
        ("DELIVERED", Self::Delivered),
        ("FAILED", Self::Failed),
        ("CANCELED", Self::Canceled),
    ];

    fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, status)| *status == self);
        named.map_or("", |(name, _)| name)
    }

    fn parse(name: &str) -> Option<Self> {
        let named = Self::NAMED.iter().find(|(known, _)| *known == name);
        named.map(|(_, status)| *status)
    }
}

/// The message about the end of one task to one address, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// A UUIDv7; the `webhook-id` of the message.
    pub id: Uuid,
    /// The task that ended.
    pub task_id: Uuid,
    /// None: the request named the address.
    pub webhook_id: Option<Uuid>,
    /// The address.
    pub url: String,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many times it was sent.
    pub attempts: u32,
    /// The HTTP status of the last answer.
    pub answer_status: Option<u16>,
    /// The beginning of the last answer.
    pub answer: Option<String>,
    /// Why there was no answer the last time.
    pub error: Option<String>,
    /// When the task ended.
    pub created_at: SystemTime,
    /// When it was last sent.
    pub attempted_at: Option<SystemTime>,
    /// When it is sent next, or, while it is being sent, when it would be sent by somebody else.
    pub due_at: Option<SystemTime>,
    /// When it was over.
    pub ended_at: Option<SystemTime>,
}

/// Which deliveries to list. What is none lets all pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryFilter {
    /// Those to this webhook.
    pub webhook_id: Option<Uuid>,
    /// Those about this task.
    pub task_id: Option<Uuid>,
    /// Those that stand so.
    pub status: Option<DeliveryStatus>,
}

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// Pass it as `before` to get the next page; none when this is the last.
    pub next: Option<Uuid>,
}

/// The account and the kind of its keys that something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// The account.
    pub account_id: Uuid,
    /// Whether it is about test tasks.
    pub test: bool,
}

/// Why something about webhooks could not be done.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The address is none.
    #[error("must be a URL, such as https://example.com/piooy")]
    Url,
    /// Nobody may be told at this address.
    #[error(transparent)]
    Address(EgressError),
    /// The account has all the webhooks it may have.
    #[error("an account has at most {WEBHOOKS_MAX} webhooks; delete one first")]
    TooMany,
    /// The account has no webhook with this id.
    #[error("the account has no webhook with this id")]
    Unknown,
    /// The account has no delivery with this id.
    #[error("the account has no delivery with this id")]
    DeliveryUnknown,
    /// The webhook of the delivery was removed or disabled.
    #[error("the webhook of this delivery was deleted or is disabled")]
    Gone,
    /// The operating system failed to give random numbers.
    #[error("no random numbers could be had: {0}")]
    Randomness(getrandom::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<tokio_postgres::Error> for WebhookError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The webhooks of every account, and what they are owed. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    store: Store,
    egress: Egress,
    owed: Arc<Notify>,
}

impl Webhooks {
    /// Those kept in `store`, with addresses that `egress` may reach. `owed` wakes the deliverer of this process.
    #[must_use]
    pub fn new(store: Store, egress: Egress, owed: Arc<Notify>) -> Self {
        Self {
            store,
            egress,
            owed,
        }
    }

    /// The address in the one form it is kept in.
    ///
    /// # Errors
    /// [`WebhookError::Url`], or [`WebhookError::Address`] when nobody may be told there.
    pub fn address(&self, text: &str) -> Result<Url, WebhookError> {
        let url = Url::parse(text.trim()).map_err(|_| WebhookError::Url)?;
        self.egress.check_url(&url).map_err(WebhookError::Address)?;
        Ok(url)
    }

    /// Makes a webhook. Its secret is not to be had again.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn create(
        &self,
        world: World,
        url: &str,
    ) -> Result<(SigningSecret, Webhook), WebhookError> {
        let url = self.address(url)?;
        let secret = SigningSecret::generate().map_err(WebhookError::Randomness)?;
        let values: [&(dyn ToSql + Sync); 6] = [
            &world.account_id,
            &Uuid::now_v7(),
            &world.test,
            &url.as_str(),
            &secret.as_bytes(),
            &i64::from(WEBHOOKS_MAX),
        ];
        let row = self.row(include_str!("webhooks/sql/create.sql"), &values);
        let row = row.await?.ok_or(WebhookError::TooMany)?;
        Ok((secret, webhook(&row)?))
    }

    /// The webhooks of a world, newest first.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn list(&self, world: World) -> Result<Vec<Webhook>, WebhookError> {
        let values: [&(dyn ToSql + Sync); 2] = [&world.account_id, &world.test];
        let rows = self.rows(include_str!("webhooks/sql/list.sql"), &values);
        rows.await?.iter().map(webhook).collect()
    }

    /// Removes a webhook. What it is owed is canceled when its turn comes.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`], or when the store cannot be reached.
    pub async fn delete(&self, world: World, id: Uuid) -> Result<Webhook, WebhookError> {
        let values: [&(dyn ToSql + Sync); 3] = [&world.account_id, &world.test, &id];
        let row = self.row(include_str!("webhooks/sql/delete.sql"), &values);
        webhook(&row.await?.ok_or(WebhookError::Unknown)?)
    }

    /// The deliveries of a world that pass `filter`, newest first: those before `before` if that is given, at most
    /// `limit` and never more than [`PAGE_MAX`].
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn deliveries(
        &self,
        world: World,
        filter: DeliveryFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<DeliveryPage, WebhookError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let status = filter.status.map(DeliveryStatus::name);
        let one_more = i64::from(limit) + 1;
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![
            &world.account_id,
            &world.test,
            &before,
            &filter.webhook_id,
            &status,
            &one_more,
        ];
        let statement = match &filter.task_id {
            Some(task_id) => {
                values.push(task_id);
                include_str!("webhooks/sql/deliveries_of_task.sql")
            }
            None => include_str!("webhooks/sql/deliveries.sql"),
        };
        let rows = self.rows(statement, &values).await?;
        let deliveries = rows.iter().take(limit as usize).map(delivery);
        let deliveries: Vec<_> = deliveries.collect::<Result<_, _>>()?;
        let more = rows.len() > deliveries.len();
        let next = deliveries.last().filter(|_| more).map(|last| last.id);
        Ok(DeliveryPage { deliveries, next })
    }

    /// Has a delivery sent again at once, and answers how it stands.
    ///
    /// # Errors
    /// [`WebhookError::DeliveryUnknown`], [`WebhookError::Gone`], or when the store cannot be reached.
    pub async fn redeliver(&self, world: World, id: Uuid) -> Result<Delivery, WebhookError> {
        let values: [&(dyn ToSql + Sync); 3] = [&world.account_id, &world.test, &id];
        let row = self.row(include_str!("webhooks/sql/redeliver.sql"), &values);
        if let Some(row) = row.await? {
            self.owed.notify_one();
            return delivery(&row);
        }
        let is_there = self.row(include_str!("webhooks/sql/is_delivery.sql"), &values);
        match is_there.await? {
            Some(row) if row.try_get(0)? => Err(WebhookError::Gone),
            _ => Err(WebhookError::DeliveryUnknown),
        }
    }

    /// What messages of a world are signed with that go to the address a request names, and when it was made; made
    /// now when there is none yet.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn signing_secret(
        &self,
        world: World,
    ) -> Result<(SigningSecret, SystemTime), WebhookError> {
        self.secret(include_str!("webhooks/sql/signing_secret.sql"), world)
            .await
    }

    /// Makes a new one. For a day messages are signed with the old one, too.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn rotate_signing_secret(
        &self,
        world: World,
    ) -> Result<(SigningSecret, SystemTime), WebhookError> {
        let statement = include_str!("webhooks/sql/rotate_signing_secret.sql");
        self.secret(statement, world).await
    }

    /// What a statement answers that is given a new secret.
    async fn secret(
        &self,
        statement: &str,
        world: World,
    ) -> Result<(SigningSecret, SystemTime), WebhookError> {
        let new = SigningSecret::generate().map_err(WebhookError::Randomness)?;
        let values: [&(dyn ToSql + Sync); 3] = [&world.account_id, &world.test, &new.as_bytes()];
        let row = match self.row(statement, &values).await? {
            Some(row) => row,
            // Somebody else made one meanwhile, which only another look can see.
            None => self
                .row(statement, &values)
                .await?
                .ok_or_else(|| damaged("no signing secret"))?,
        };
        let secret = SigningSecret::from_bytes(row.try_get(0)?);
        Ok((
            secret.ok_or_else(|| damaged("not a signing secret"))?,
            row.try_get(1)?,
        ))
    }

    async fn rows(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, WebhookError> {
        let client = self.store.client().await?;
        let statement = client.prepare_cached(statement).await?;
        Ok(client.query(&statement, values).await?)
    }

    async fn row(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, WebhookError> {
        Ok(self.rows(statement, values).await?.into_iter().next())
    }
}

fn damaged(what: &'static str) -> WebhookError {
    WebhookError::Store(StoreError::Inconsistent(what.into()))
}

fn webhook(row: &Row) -> Result<Webhook, WebhookError> {
    Ok(Webhook {
        id: row.try_get("id")?,
        url: row.try_get("url")?,
        test: row.try_get("test")?,
        created_at: row.try_get("created_at")?,
        disabled_at: row.try_get("disabled_at")?,
    })
}

fn delivery(row: &Row) -> Result<Delivery, WebhookError> {
    let status = DeliveryStatus::parse(row.try_get("status")?);
    let attempts: i32 = row.try_get("attempts")?;
    let answer_status: Option<i32> = row.try_get("answer_status")?;
    Ok(Delivery {
        id: row.try_get("id")?,
        task_id: row.try_get("task_id")?,
        webhook_id: row.try_get("webhook_id")?,
        url: row.try_get("url")?,
        status: status.ok_or_else(|| damaged("not the status of a delivery"))?,
        attempts: u32::try_from(attempts).unwrap_or_default(),
        answer_status: answer_status.and_then(|status| status.try_into().ok()),
        answer: row.try_get("answer")?,
        error: row.try_get("error")?,
        created_at: row.try_get("created_at")?,
        attempted_at: row.try_get("attempted_at")?,
        due_at: row.try_get("due_at")?,
        ended_at: row.try_get("ended_at")?,
    })
}
