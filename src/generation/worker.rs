//! The worker of this process: runs the tasks that are its own, sees every third of a lease to the
//! order among nodes ([`order`]), writes progress down, and hears what other nodes tell ([`hear`]).
//!
//! Tasks come from memory, in the order of submission; nothing is looked for in the database but
//! what a dead node left, or what this one lost sight of. All that this module spawns ends with the
//! [`Worker`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Core;
use super::board::Live;
use super::request::Work;
use crate::providers::{Failure, FailureReason};
use crate::store::StoreError;

mod deliver;
mod doubt;
mod hear;
mod order;
mod patience;
mod run;
mod straggle;
mod turns;

pub(super) use doubt::Doubt;
pub(super) use order::LeaseEnd;
pub(super) use turns::Turns;

/// The most tasks whose progress is written in one statement; their ids still fit one notification.
const PROGRESS_MAX: usize = 300;

/// A task to run.
pub(super) struct Assignment {
    pub live: Arc<Live>,
    pub work: Arc<Work>,
    pub standing: Standing,
    pub deadline_at: SystemTime,
    /// How many tasks of the account may be begun at once, when its plan lets others wait. Not known
    /// of a task that was taken over.
    pub turns: Option<u32>,
}

/// What is known of a task's dealings with upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// No upstream has it. So many attempts were made, of which so many were refused: others never
    /// arrived, which is nobody's refusal.
    Unasked { attempts: u32, refusals: u32 },
    /// The attempt of this number may have reached its upstream, or not; so many were refused before it.
    Unknown { attempt: u32, refusals: u32 },
    /// The attempt of this number is known to its upstream by this id.
    Asked { attempt: u32, upstream_id: String },
}

impl Standing {
    /// As the row tells it. An attempt that was refused looks like one that got lost: the safe
    /// reading.
    fn of(attempt: u32, upstream_id: Option<String>) -> Self {
        match (attempt, upstream_id) {
            (0, _) => Self::Unasked {
                attempts: 0,
                refusals: 0,
            },
            (attempt, None) => Self::Unknown {
                attempt,
                refusals: 0,
            },
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
    /// Hears on after a stop, for those who still watch.
    _ear: AbortOnDropHandle<()>,
}

impl Worker {
    /// Registers the node, then goes on by itself, with what there is to take over first.
    pub async fn start(
        core: Arc<Core>,
        assignments: UnboundedReceiver<Assignment>,
    ) -> Result<Self, StoreError> {
        core.records.forget_nodes().await?;
        core.records.forget_lost().await?;
        core.keep_lease().await?;
        core.records.announce().await;
        let ear = tokio::spawn(hear::hear(Arc::clone(&core)));
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
            _ear: AbortOnDropHandle::new(ear),
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

/// Keeps the lease, the order among nodes and the written progress, each in its own time: however
/// much there is to take over, the lease is renewed meanwhile. A failure is told, and made up for at
/// the next turn.
async fn tend(core: Arc<Core>) {
    let lease_kept = Notify::new();
    let keep_lease = async {
        let mut turn = turns(core.settings.lease / 3);
        loop {
            tokio::select! {
                _ = turn.tick() => {}
                () = core.nodes_changed.notified() => {}
            }
            tell("keep the lease", core.keep_lease().await);
            lease_kept.notify_one();
        }
    };
    let clear_up = async {
        loop {
            lease_kept.notified().await;
            tell("clear up after other nodes", core.clear_up().await);
        }
    };
    let write_progress = async {
        let mut turn = turns(core.settings.progress_interval);
        loop {
            turn.tick().await;
            tell("write progress", core.write_progress().await);
        }
    };
    tokio::join!(keep_lease, clear_up, write_progress);
}

fn turns(every: Duration) -> Interval {
    let mut turns = interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

fn tell(what: &str, done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(error = &error as &dyn std::error::Error, "could not {what}");
    }
}

impl Core {
    /// Hands a task to the worker. A worker that has stopped leaves it to the next node.
    pub(super) fn assign(&self, assignment: Assignment) {
        if let Err(refused) = self.queue.send(assignment) {
            self.board.remove(&refused.0.live);
        }
    }

    /// Writes down the progress that the rows do not show yet.
    async fn write_progress(&self) -> Result<(), StoreError> {
        let moved = |live: Arc<Live>| Some((live.unwritten()?, live));
        let moved: Vec<_> = self.board.all().into_iter().filter_map(moved).collect();
        for chunk in moved.chunks(PROGRESS_MAX) {
            let batch: Vec<_> = chunk
                .iter()
                .map(|(progress, live)| (live.account_id, live.id, *progress))
                .collect();
            let written = self.records.progress(self.node, &batch).await?;
            let written: HashSet<_> = written.into_iter().collect();
            for (progress, live) in chunk.iter().filter(|(_, live)| written.contains(&live.id)) {
                live.wrote(*progress);
            }
        }
        Ok(())
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
