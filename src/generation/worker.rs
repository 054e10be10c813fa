//! The worker of this process: runs the tasks that are its own and, every third of a lease, sees to
//! the order among nodes.
//!
//! | every third of a lease | |
//! |---|---|
//! | heartbeat | renews the lease; hears which tasks are still its own, and which are to be canceled |
//! | take-over | open tasks of nodes whose lease is over, in batches; also its own that it does not know of |
//! | sweep | ends every open task, whoever's, whose deadline has passed |
//!
//! Tasks come from memory, in the order of submission; nothing is looked for in the database but
//! what a dead node left. All that this module spawns ends with the [`Worker`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::try_join_all;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Core;
use super::board::Live;
use super::changes::Ending;
use super::records::Claimed;
use super::request::Work;
use super::status::Status;
use crate::providers::{Failure, FailureReason};
use crate::store::StoreError;

mod deliver;
mod patience;
mod run;

/// How many tasks are taken over, or swept, in one statement.
const BATCH: usize = 100;

/// A task to run.
pub(super) struct Assignment {
    pub live: Arc<Live>,
    pub work: Arc<Work>,
    pub standing: Standing,
    pub deadline_at: SystemTime,
}

/// What is known of a task's dealings with upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// No upstream has it. So many attempts were refused.
    Unasked { attempts: u32 },
    /// The attempt of this number may have reached its upstream, or not.
    Unknown { attempt: u32 },
    /// The attempt of this number is known to its upstream by this id.
    Asked { attempt: u32, upstream_id: String },
}

impl Standing {
    /// As the row tells it. An attempt that was refused looks like one that got lost: the safe
    /// reading.
    fn of(attempt: u32, upstream_id: Option<String>) -> Self {
        match (attempt, upstream_id) {
            (0, _) => Self::Unasked { attempts: 0 },
            (attempt, None) => Self::Unknown { attempt },
            (attempt, Some(upstream_id)) => Self::Asked {
                attempt,
                upstream_id,
            },
        }
    }
}

/// The failure of a task that took too long.
fn too_late() -> Failure {
    Failure::new(
        FailureReason::DeadlineExceeded,
        "the task was not done in time",
    )
}

/// The running worker.
pub(super) struct Worker {
    stopping: CancellationToken,
    stopped: CancellationToken,
    _supervisor: AbortOnDropHandle<()>,
}

impl Worker {
    /// Takes over what there is to take over, then goes on by itself.
    pub async fn start(
        core: Arc<Core>,
        assignments: UnboundedReceiver<Assignment>,
    ) -> Result<Self, StoreError> {
        core.records.forget_nodes().await?;
        core.see_to_order().await?;
        let (stopping, stopped) = (CancellationToken::new(), CancellationToken::new());
        let supervisor = tokio::spawn(supervise(
            core,
            assignments,
            stopping.clone(),
            stopped.clone(),
        ));
        Ok(Self {
            stopping,
            stopped,
            _supervisor: AbortOnDropHandle::new(supervisor),
        })
    }

    /// Lets go of every task, and returns when that is known to other nodes.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.stopped.cancelled().await;
    }
}

/// Runs assignments until it is told to stop; then nobody runs any, and the lease is given back.
async fn supervise(
    core: Arc<Core>,
    mut assignments: UnboundedReceiver<Assignment>,
    stopping: CancellationToken,
    stopped: CancellationToken,
) {
    // However this ends, whoever waits for it is let go.
    let _stopped = stopped.drop_guard();
    let tender = AbortOnDropHandle::new(tokio::spawn(tend(Arc::clone(&core))));
    let mut runs = JoinSet::new();
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            Some(assignment) = assignments.recv() => {
                runs.spawn(run::run(Arc::clone(&core), assignment));
            }
            Some(_) = runs.join_next() => {}
        }
    }
    runs.shutdown().await;
    tender.abort();
    let _ = tender.await;
    core.let_go().await;
}

/// Sees to order and progress, again and again. A failure is told and tried again at the next turn.
async fn tend(core: Arc<Core>) {
    let mut order = interval(core.settings.lease / 3);
    let mut progress = interval(core.settings.progress_interval);
    order.set_missed_tick_behavior(MissedTickBehavior::Delay);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (what, done) = tokio::select! {
            _ = order.tick() => ("renew the lease", core.see_to_order().await),
            _ = progress.tick() => ("write progress", core.write_progress().await),
        };
        if let Err(error) = done {
            tracing::warn!(error = &error as &dyn std::error::Error, "could not {what}");
        }
    }
}

impl Core {
    /// Hands a task to the worker. A worker that has stopped leaves it to the next node.
    pub(super) fn assign(&self, assignment: Assignment) {
        if let Err(refused) = self.queue.send(assignment) {
            self.board.remove(&refused.0.live);
        }
    }

    async fn see_to_order(&self) -> Result<(), StoreError> {
        self.heartbeat().await?;
        self.take_over().await?;
        self.sweep().await
    }

    async fn heartbeat(&self) -> Result<(), StoreError> {
        // What is on the board now was committed before the heartbeat looks, so a task that it
        // misses is not ours any more.
        let known = self.board.all();
        let owned = self
            .records
            .heartbeat(self.node, self.settings.lease)
            .await?;
        let owned: HashMap<_, _> = owned
            .iter()
            .map(|owned| (owned.id, owned.cancel_requested))
            .collect();
        for live in known {
            match owned.get(&live.id) {
                None => self.lost(&live).await,
                Some(true) => live.canceled.cancel(),
                Some(false) => {}
            }
        }
        Ok(())
    }

    /// A task that is not ours any more: whoever watches it here is told if it has ended, and its
    /// run stops.
    async fn lost(&self, live: &Live) {
        let task = live.task();
        if let Ok(row) = self.stored(task.account_id, task.test, task.id).await
            && row.status.is_final()
        {
            live.change(|task| *task = row);
        }
        self.board.remove(live);
    }

    async fn take_over(&self) -> Result<(), StoreError> {
        loop {
            let limit = BATCH.min(self.places.available_permits());
            if limit == 0 {
                return Ok(());
            }
            let known: Vec<_> = self.board.all().iter().map(|live| live.id).collect();
            let claimed = self.records.claim(self.node, &known, limit).await?;
            let last = claimed.len() < limit;
            for task in claimed {
                tracing::info!(task = %task.task.id, attempt = task.attempt, "taken over");
                self.adopt(task);
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Goes on with a task. Without a free place it waits on, in its row, for the next turn.
    fn adopt(
        &self,
        Claimed {
            task,
            work,
            attempt,
            upstream_id,
            deadline_at,
            cancel_requested,
        }: Claimed,
    ) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
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

    async fn write_progress(&self) -> Result<(), StoreError> {
        let tasks = self.board.all().into_iter().map(|live| live.task());
        let batch: Vec<_> = tasks
            .filter(|task| task.progress > 0)
            .map(|task| (task.account_id, task.id, task.progress))
            .collect();
        if batch.is_empty() {
            return Ok(());
        }
        self.records.progress(self.node, &batch).await
    }

    /// Writes down how far everything is and ends the lease.
    async fn let_go(&self) {
        let written = self.write_progress().await;
        for live in self.board.all() {
            self.board.remove(&live);
        }
        if let Err(error) = self.records.release_node(self.node).await.and(written) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not give the lease back; it ends by itself"
            );
        }
    }
}
