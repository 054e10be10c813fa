//! Following a task. One that this process works on tells its changes from memory; one that another
//! node works on is looked at every now and then. A stream moves between the two as the task does.

use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::watch::Receiver;
use uuid::Uuid;

use super::Core;
use super::errors::TaskError;
use super::task::Task;

struct Watch {
    core: Arc<Core>,
    account_id: Uuid,
    test: bool,
    id: Uuid,
    /// What was told last.
    told: Option<Task>,
    /// The changes, as long as this process works on it.
    changes: Option<Receiver<Task>>,
    ended: bool,
}

/// See [`Generation::watch`](super::Generation::watch); the caller's right to the task was checked.
pub(super) fn watch(
    core: Arc<Core>,
    account_id: Uuid,
    test: bool,
    id: Uuid,
) -> impl Stream<Item = Result<Task, TaskError>> + Send + 'static {
    let watch = Watch {
        core,
        account_id,
        test,
        id,
        told: None,
        changes: None,
        ended: false,
    };
    stream::unfold(watch, |mut watch| async move {
        watch.next().await.map(|answer| (answer, watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Task, TaskError>> {
        if self.ended {
            return None;
        }
        let answer = loop {
            match self.newest().await {
                Ok(task) if self.told.as_ref() == Some(&task) => {}
                answer => break answer,
            }
        };
        self.ended = answer.as_ref().map_or(true, |task| task.status.is_final());
        self.told = answer.as_ref().ok().cloned();
        Some(answer)
    }

    /// Waits for news, or for the time to look again; what it answers may be what was told already.
    async fn newest(&mut self) -> Result<Task, TaskError> {
        if let Some(changes) = &mut self.changes {
            if changes.changed().await.is_ok() {
                return Ok(changes.borrow_and_update().clone());
            }
            self.changes = None;
        } else if let Some(mut changes) = self.core.board.watch(self.id) {
            let task = changes.borrow_and_update().clone();
            self.changes = Some(changes);
            return Ok(task);
        } else if self.told.is_some() {
            tokio::time::sleep(self.core.settings.progress_interval).await;
        }
        self.core.stored(self.account_id, self.test, self.id).await
    }
}
