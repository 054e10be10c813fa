//! Sends what is due: one task in each server, which claims, starts attempts and writes down what came of them.
//!
//! It looks for what is due when something was owed by this process, when an attempt has ended, and otherwise every
//! [`Settings::poll`], which finds what other servers left and whose wait is over.
//!
//! With very many origins it looks at some at a time, one after the other, with a pause in between, so that whoever
//! names many addresses cannot keep the database busy with that.
//!
//! **Bounds.** [`Settings::places`] attempts at the same time, [`Settings::places_of_origin`] of them to one origin, so that
//! a slow receiver holds up only itself. What could not be written down keeps its place until it is.
//!
//! Stopping lets attempts end for [`Settings::stop_max`]; what is under way then is due again when its lease ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attempt::attempt;
use super::queue::{Claim, Claimed, Queue, Room, Told};
use super::{LOG_KEPT, Webhooks, World};

/// How often what is over for long enough is forgotten, and how many of those at once.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
const FORGET_BATCH: i64 = 1_000;

/// How long to pause between the origins that were looked at and the next ones.
const WALK_PAUSE: Duration = Duration::from_millis(100);

/// Knows what receivers are told.
#[async_trait]
pub trait Messages: Send + Sync + 'static {
    /// The body of the message about the end of a task, as JSON; `None` when it cannot be made now.
    async fn message(&self, world: World, task_id: Uuid) -> Option<Bytes>;
}

/// How much is sent at once and how long is waited. The defaults suit a server; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Attempts at the same time.
    pub places: usize,
    /// Of these to one origin.
    pub places_of_origin: usize,
    /// How often it is looked whether anything is due.
    pub poll: Duration,
    /// The wait after the first attempt.
    pub wait_min: Duration,
    /// How long whoever claimed a delivery counts as alive. Longer than any attempt.
    pub lease: Duration,
    /// How long attempts may still take when the server stops.
    pub stop_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            places: 64,
            places_of_origin: 8,
            poll: Duration::from_secs(5),
            wait_min: Duration::from_secs(5),
            lease: Duration::from_secs(60),
            stop_max: Duration::from_secs(5),
        }
    }
}

/// The task that sends. Dropping it stops it as a crash would; [`Deliverer::stop`] does it in order.
pub struct Deliverer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Deliverer {
    /// Begins to send what `webhooks` owe. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(webhooks: Webhooks, messages: Arc<dyn Messages>, settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let deliveries = Deliveries {
            queue: Queue {
                store: webhooks.store.clone(),
            },
            owed: Arc::clone(&webhooks.owed),
            webhooks,
            messages,
            settings,
            under_way: JoinSet::new(),
            origins: HashMap::new(),
            told: Vec::new(),
            after: String::new(),
        };
        let task = tokio::spawn(deliveries.run(stop.clone()));
        Self { stop, task }
    }

    /// Lets attempts end, for a while, and stops.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if (&mut self.task).await.is_err() {
            tracing::error!("the deliverer of webhooks ended in a panic");
        }
    }
}

impl Drop for Deliverer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task works with.
struct Deliveries {
    queue: Queue,
    owed: Arc<Notify>,
    webhooks: Webhooks,
    messages: Arc<dyn Messages>,
    settings: Settings,
    under_way: JoinSet<Told>,
    /// Where each attempt goes.
    origins: HashMap<Id, String>,
    /// What came of attempts and is still to be written down.
    told: Vec<Told>,
    /// The last origin that was looked at; empty: begin with the first.
    after: String,
}

impl Deliveries {
    async fn run(mut self, stop: CancellationToken) {
        let mut forgotten_at: Option<Instant> = None;
        while !stop.is_cancelled() {
            self.settle().await;
            self.begin().await;
            if forgotten_at.is_none_or(|at| at.elapsed() >= FORGET_EVERY) && self.forget().await {
                forgotten_at = Some(Instant::now());
            }
            let whole = self.after.is_empty();
            let pause = if whole {
                self.settings.poll
            } else {
                WALK_PAUSE
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.owed.notified(), if whole => {}
                Some(ended) = self.under_way.join_next_with_id(), if whole => self.collect(ended),
                () = sleep(pause) => {}
            }
            while let Some(ended) = self.under_way.try_join_next_with_id() {
                self.collect(ended);
            }
        }
        let stop_max = self.settings.stop_max;
        let rest = async {
            while let Some(ended) = self.under_way.join_next_with_id().await {
                self.collect(ended);
            }
        };
        // What takes longer is due again when its lease ends.
        let _ = timeout(stop_max, rest).await;
        self.settle().await;
    }

    /// Claims what is due and starts attempts.
    async fn begin(&mut self) {
        let Some(room) = self.room() else { return };
        let claim = self.queue.claim(&room, self.settings.lease, &self.after);
        match claim.await {
            Ok(Claim {
                claimed,
                stopped_at,
            }) => {
                self.after = stopped_at.unwrap_or_default();
                claimed.into_iter().for_each(|claimed| self.spawn(claimed));
            }
            Err(error) => tracing::warn!(?error, "deliveries could not be claimed"),
        }
    }

    /// How much may be claimed now.
    fn room(&self) -> Option<Room> {
        let taken = self.under_way.len() + self.told.len();
        let free = self.settings.places.saturating_sub(taken);
        let mut of_busy: HashMap<String, usize> = HashMap::new();
        for origin in self.origins.values() {
            let room = of_busy
                .entry(origin.clone())
                .or_insert(self.settings.places_of_origin);
            *room = room.saturating_sub(1);
        }
        (free > 0).then_some(Room {
            free,
            of_origin: self.settings.places_of_origin,
            of_busy,
        })
    }

    fn spawn(&mut self, claimed: Claimed) {
        let (webhooks, messages) = (self.webhooks.clone(), Arc::clone(&self.messages));
        let (origin, wait_min) = (claimed.origin.clone(), self.settings.wait_min);
        let attempt = async move { attempt(&webhooks, &*messages, claimed, wait_min).await };
        let handle = self.under_way.spawn(attempt);
        self.origins.insert(handle.id(), origin);
    }

    fn collect(&mut self, ended: Result<(Id, Told), JoinError>) {
        let id = match ended {
            Ok((id, told)) => {
                self.told.push(told);
                id
            }
            Err(error) => {
                tracing::error!(%error, "an attempt to deliver ended in a panic");
                error.id()
            }
        };
        self.origins.remove(&id);
    }

    /// Writes down what came of attempts; when that cannot be done now, the next time.
    async fn settle(&mut self) {
        if self.told.is_empty() {
            return;
        }
        match self.queue.settle(&self.told).await {
            Ok(()) => self.told.clear(),
            Err(error) => tracing::warn!(?error, "deliveries could not be written down"),
        }
    }

    /// Removes some of what is over for long enough; says whether that was all.
    async fn forget(&self) -> bool {
        match self.queue.forget(LOG_KEPT, FORGET_BATCH).await {
            Ok(forgotten) => forgotten < FORGET_BATCH.unsigned_abs(),
            Err(error) => {
                tracing::warn!(?error, "old deliveries could not be forgotten");
                true
            }
        }
    }
}
