//! Following a task. A stream moves between two sources as the task does: one that this process works
//! on tells its changes from memory; one that another node works on is told of when there is news of
//! it (`worker/hear.rs`). While nothing happens neither costs anything but its memory.

use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::watch::Receiver;
use uuid::Uuid;

use super::Core;
use super::board::Following;
use super::errors::TaskError;
use super::status::Status;
use super::task::Task;

struct Watch {
    core: Arc<Core>,
    account_id: Uuid,
    test: bool,
    id: Uuid,
    source: Option<Source>,
    /// What the caller knows, or is about to be told.
    newest: Option<Task>,
    /// Whether the caller knows it.
    told: bool,
}

enum Source {
    /// This process works on it.
    Here(Receiver<Task>),
    /// Another does.
    Elsewhere(Elsewhere),
}

/// A place among those who follow a task of another node; given back on drop.
struct Elsewhere {
    core: Arc<Core>,
    account_id: Uuid,
    id: Uuid,
    changes: Option<Receiver<Option<Task>>>,
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.changes = None;
        self.core.board.unfollow(self.account_id, self.id);
    }
}

/// See [`Generation::watch`](super::Generation::watch).
pub(super) async fn watch(
    core: Arc<Core>,
    account_id: Uuid,
    test: bool,
    id: Uuid,
) -> Result<impl Stream<Item = Result<Task, TaskError>> + Send + 'static, TaskError> {
    let mut watch = Watch {
        core,
        account_id,
        test,
        id,
        source: None,
        newest: None,
        told: false,
    };
    watch.advance().await?;
    Ok(stream::unfold(watch, |mut watch| async move {
        watch.next().await.map(|answer| (answer, watch))
    }))
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Task, TaskError>> {
        while self.told {
            if self.newest.as_ref()?.status.is_final() {
                return None;
            }
            if let Err(error) = self.advance().await {
                self.newest = None;
                return Some(Err(error));
            }
        }
        self.told = true;
        self.newest.clone().map(Ok)
    }

    /// Waits until the task may stand otherwise, and takes it up if it does.
    async fn advance(&mut self) -> Result<(), TaskError> {
        let task = match &mut self.source {
            Some(Source::Here(changes)) => match changes.changed().await {
                Ok(()) => Some(changes.borrow_and_update().clone()),
                Err(_) => self.settle().await?,
            },
            Some(Source::Elsewhere(Elsewhere {
                changes: Some(changes),
                ..
            })) => match changes.changed().await {
                Ok(()) => changes.borrow_and_update().clone(),
                Err(_) => self.settle().await?,
            },
            _ => self.settle().await?,
        };
        if let Some(task) = task
            && self.newest.as_ref().is_none_or(|known| leads(known, &task))
        {
            self.newest = Some(task);
            self.told = false;
        }
        Ok(())
    }

    /// Finds out where the task is worked on, and how it stands. In this order: what changes in
    /// between is told.
    async fn settle(&mut self) -> Result<Option<Task>, TaskError> {
        match self.core.board.follow(self.account_id, self.test, self.id) {
            Following::Here(mut changes) => {
                let task = changes.borrow_and_update().clone();
                self.source = Some(Source::Here(changes));
                Ok(Some(task))
            }
            Following::Elsewhere(changes) => {
                self.source = Some(Source::Elsewhere(Elsewhere {
                    core: Arc::clone(&self.core),
                    account_id: self.account_id,
                    id: self.id,
                    changes: Some(changes),
                }));
                // In a box, so that those who only wait need no room for it.
                let stored = Box::pin(self.core.stored(self.account_id, self.test, self.id));
                stored.await.map(Some)
            }
        }
    }
}

/// Whether `next` is worth telling to someone who knows `known`: rows lag behind the memory of the
/// node that works on the task, and reads may overtake each other, but nobody wants to see a task go
/// backwards.
fn leads(known: &Task, next: &Task) -> bool {
    let backwards = match (known.status, next.status) {
        (Status::Processing, Status::Pending) => true,
        (Status::Processing, Status::Processing) => next.progress < known.progress,
        _ => false,
    };
    !backwards && known != next
}
