//! The order among nodes, seen to every third of a lease and whenever a node comes or goes.
//!
//! | | |
//! |---|---|
//! | renewal | one small write, however many tasks the node has; answers which are to be canceled |
//! | comparison | rows of this node against the board, in pages: only after the lease was lost, or in [`Doubt`](super::Doubt) |
//! | take-over | open tasks of nodes that were declared dead, in batches, as long as there is room |
//! | sweep | ends every open task, whoever's, whose deadline has passed |
//!
//! A renewal that succeeds proves that nobody took anything: tasks are taken only from a node whose
//! lease was declared over, with its row locked against coming back, and a renewal finds the
//! declaration. What another node does to a single task of ours (it may cancel one that waits, or
//! sweep it) is told as news. When that gets lost, the run's next write to the row finds it, or the
//! look around ([`super::hear`], [`PAGE`] entries of the board each time), or at the latest the deadline.
//!
//! Locks: a row of `nodes` before those of its tasks. Rows of tasks that are locked are passed over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use futures_util::future::try_join_all;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::super::Core;
use super::super::board::Live;
use super::super::changes::Ending;
use super::super::records::Claimed;
use super::super::status::Status;
use super::{Assignment, Standing, too_late};
use crate::store::StoreError;

/// How many tasks are taken over, or swept, in one statement.
const BATCH: usize = 100;
/// How many rows are looked at in one statement.
pub(super) const PAGE: usize = 500;

/// Until when a node's lease surely lasts, by this process's clock.
#[derive(Debug)]
pub(in crate::generation) struct LeaseEnd(Mutex<Instant>);

impl Default for LeaseEnd {
    /// Over already.
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl LeaseEnd {
    fn store(&self, end: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    /// Whether it is over: others may have taken this node's tasks by now.
    pub fn is_over(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now()
    }
}

impl Core {
    /// Renews the lease, and finds out what it covers if that is in doubt.
    pub(super) async fn keep_lease(&self) -> Result<(), StoreError> {
        self.renew().await?;
        if self.doubt.take(Instant::now()) {
            self.compare().await.inspect_err(|_| self.doubt.raise())?;
        }
        Ok(())
    }

    /// Takes over what dead nodes left, and ends what is overdue.
    pub(super) async fn clear_up(&self) -> Result<(), StoreError> {
        self.take_over().await?;
        self.sweep().await
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let asked_at = Instant::now();
        let renewed = self.records.renew(self.node, self.settings.lease).await?;
        self.news.learn(renewed.company);
        if !renewed.valid {
            self.doubt.raise();
            self.records
                .register(self.node, self.settings.lease)
                .await?;
        }
        self.lease_until.store(asked_at + self.settings.lease);
        for id in renewed.canceling {
            if let Some(live) = self.board.get(id) {
                live.canceled.cancel();
            }
        }
        Ok(())
    }

    /// Compares the board with the rows that name this node: goes on with those that it lacks, and
    /// looks closer at entries without one.
    async fn compare(&self) -> Result<(), StoreError> {
        // What is on the board now was committed before the rows are read, so an entry that has none
        // is not ours any more.
        let mut known: HashMap<_, _> = self
            .board
            .all()
            .into_iter()
            .map(|live| (live.id, live))
            .collect();
        let mut unknown = Vec::new();
        let mut last = (SystemTime::UNIX_EPOCH, Uuid::nil());
        loop {
            let page = self.records.owned(self.node, last, PAGE).await?;
            for owned in &page {
                match known.remove(&owned.id) {
                    Some(live) if owned.cancel_requested => live.canceled.cancel(),
                    Some(_) => {}
                    None if self.board.get(owned.id).is_some() => {}
                    None => unknown.push((owned.account_id, owned.id)),
                }
            }
            match page.last() {
                Some(owned) if page.len() == PAGE => last = (owned.deadline_at, owned.id),
                _ => break,
            }
        }
        let gone: Vec<_> = known.into_values().collect();
        self.look(gone, Vec::new()).await?;
        for chunk in unknown.chunks(BATCH) {
            let Some(mut places) = self.places_up_to(chunk.len()) else {
                // There are more than we have room for: later.
                self.doubt.raise();
                break;
            };
            let (now, later) = chunk.split_at(places.num_permits());
            if !later.is_empty() {
                self.doubt.raise();
            }
            for task in self.records.adopt(self.node, now).await? {
                tracing::info!(task = %task.task.id, "found again");
                self.go_on(task, &mut places);
            }
        }
        Ok(())
    }

    async fn take_over(&self) -> Result<(), StoreError> {
        for dead in self.records.lapsed().await? {
            let mut from = SystemTime::UNIX_EPOCH;
            loop {
                let Some(mut places) = self.places_up_to(BATCH) else {
                    return Ok(());
                };
                let room = places.num_permits();
                let taken = self.records.claim(self.node, dead, from, room).await?;
                for task in taken.tasks {
                    tracing::debug!(task = %task.task.id, attempt = task.attempt, "taken over");
                    self.go_on(task, &mut places);
                }
                if taken.count > 0 {
                    tracing::info!(node = %dead, tasks = taken.count, "taken over from a dead node");
                }
                match taken.until {
                    Some(until) if taken.count == room => from = until,
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// As many free places as there are, up to `count`; `None` when there are none.
    fn places_up_to(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        let count = count.min(self.places.available_permits());
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        // A submission may have been faster; then there is hardly any room.
        Arc::clone(&self.places).try_acquire_many_owned(count).ok()
    }

    /// Goes on with a task that is this node's, in one of `places`.
    fn go_on(
        &self,
        Claimed {
            task,
            work,
            attempt,
            upstream_id,
            deadline_at,
            cancel_requested,
        }: Claimed,
        places: &mut OwnedSemaphorePermit,
    ) {
        let Some(place) = places.split(1) else {
            self.doubt.raise();
            return;
        };
        let Some(live) = self.board.put(Live::new(task, place)) else {
            return;
        };
        if cancel_requested {
            live.canceled.cancel();
        }
        self.assign(Assignment {
            live,
            work: Arc::new(work),
            standing: Standing::of(attempt, upstream_id),
            deadline_at,
            turns: None,
        });
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        loop {
            let overdue = self.records.overdue(BATCH as i64).await?;
            let ending = Ending {
                failure: Some(too_late()),
                ..Ending::empty(Status::Failed)
            };
            let end = |(account_id, id)| self.changes.finish(account_id, id, ending.clone());
            let ended = try_join_all(overdue.into_iter().map(end)).await?;
            if ended.len() < BATCH {
                return Ok(());
            }
        }
    }
}
