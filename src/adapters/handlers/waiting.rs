//! `wait_seconds`: an answer that waits until a task has ended, or for so long.
//!
//! Waiting follows the task as `WatchTask` does and asks the database nothing. It only ever makes an
//! answer later and better: whatever goes wrong meanwhile, the answer is the task as it was last known,
//! which goes on whether anyone waits or not. The longest wait is a limit in the spec, well inside the
//! time-outs of clients; many give a call a minute.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};
use tonic::Request;

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

    /// The task as it stands when it has ended, or when the wait is over.
    pub async fn for_end(self, generation: &Generation, caller: &Caller, task: Task) -> Task {
        if self.seconds.is_zero() || task.status.is_final() {
            return task;
        }
        let until = Instant::now() + self.seconds;
        let Ok(Ok(changes)) = timeout_at(until, generation.watch(caller, task.id)).await else {
            return task;
        };
        let (mut changes, mut newest) = (Box::pin(changes), task);
        self.report(&newest);
        while let Ok(Some(Ok(change))) = timeout_at(until, changes.next()).await {
            newest = change;
            self.report(&newest);
        }
        newest
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
