//! `wait_seconds`: an answer that waits until a task has ended, or for so long.
//!
//! Waiting follows the task as `WatchTask` does and asks the database nothing. It only ever makes an
//! answer later and better: whatever goes wrong meanwhile, the answer is the task as it was last known,
//! which goes on whether anyone waits or not. A server that stops answers those who wait before it
//! closes their connections, since a caller without an answer might ask, and pay, again. The longest wait
//! is a limit in the spec, well inside the time-outs of clients; many give a call a minute.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;
use tonic::Request;

use super::Api;
use crate::adapters::progress::{Progress, ProgressSink};
use crate::gate::Caller;
use crate::generation::{Generation, Status, Task};

/// How long a call waits, and who hears of its progress meanwhile.
pub struct Wait {
    seconds: Duration,
    sink: Option<ProgressSink>,
}

impl Wait {
    /// Takes the wait out of a request.
    pub fn of<M>(mut request: Request<M>, seconds: impl FnOnce(&M) -> i32) -> (Self, M) {
        let sink = request.extensions_mut().remove::<ProgressSink>();
        let asked = request.into_inner();
        let seconds = u64::try_from(seconds(&asked)).unwrap_or_default();
        let seconds = Duration::from_secs(seconds);
        (Self { seconds, sink }, asked)
    }

    /// The task as it stands when it has ended, when the wait is over, or when the server stops.
    pub async fn for_end(self, api: &Api, caller: &Caller, mut task: Task) -> Task {
        if self.seconds.is_zero() || task.status.is_final() {
            return task;
        }
        tokio::select! {
            () = self.follow(&api.generation, caller, &mut task) => {}
            () = sleep(self.seconds) => {}
            () = api.stop.cancelled() => {}
        }
        task
    }

    /// Keeps what is known of the task new until it has ended.
    async fn follow(&self, generation: &Generation, caller: &Caller, task: &mut Task) {
        let Ok(changes) = generation.watch(caller, task.id).await else {
            return;
        };
        let mut changes = Box::pin(changes);
        self.report(task);
        while let Some(Ok(change)) = changes.next().await {
            *task = change;
            self.report(task);
        }
    }

    fn report(&self, task: &Task) {
        if let Some(sink) = &self.sink {
            let progress = Progress {
                percent: task.progress.into(),
                message: doing(task.status).to_owned(),
            };
            sink.send_if_modified(|told| {
                let news = *told != progress;
                *told = progress;
                news
            });
        }
    }
}

/// What is going on with a task, for a person.
fn doing(status: Status) -> &'static str {
    match status {
        Status::Pending => "Waiting for its turn",
        Status::Processing => "Being made",
        Status::Success => "Done",
        Status::Failed => "Failed",
        Status::Canceled => "Canceled",
    }
}
