//! The run of one task: from wherever it stands to its end.
//!
//! ```text
//! Unasked ─ begin (the intent, written first) ─ submit ─┬─ an id ──────────▶ Asked ─ poll … ─▶ stored ─▶ ended
//!    ▲                                                  ├─ refused ─▶ Unasked, next route
//!    └── not submitted ── lookup ◀──────── Unknown ◀────┴─ no answer
//! ```
//!
//! Money is at stake in two places. A submission goes out only after its attempt is in the row, and only from Unasked; so after a crash
//! the attempt is Unknown, and nothing but the upstream's own word leads back to Unasked. And the end of a task goes through
//! [`Records::finish`](super::super::records::Records::finish) alone, which lets the first one win.
//!
//! A run that is no longer needed is dropped at its next wait; that is why it holds nothing that the row does not.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::super::Core;
use super::super::board::Live;
use super::super::records::Ending;
use super::super::request::Work;
use super::super::routes::{Route, Wish, routes};
use super::super::status::Event;
use super::super::task::{Credits, Output, share};
use super::{Assignment, Standing, too_late};
use crate::assets::{AssetError, StoredAsset};
use crate::catalog::Model;
use crate::providers::{Cancel, Failure, FailureReason, Job, Lookup, Poll, Provider, Rendered};
use crate::store::StoreError;

/// How often each route is asked before a task is given up. Only refusals count that leave no doubt.
const ATTEMPTS_PER_ROUTE: usize = 2;
/// How long an upstream may take to stop a job whose time is up.
const LAST_CALL_MAX: Duration = Duration::from_secs(10);

/// How a run ends.
enum End {
    Delivered { outputs: Vec<Output>, charge: i64 },
    Failed(Failure),
    Canceled,
}

impl End {
    fn failed(reason: FailureReason, message: &str) -> Self {
        Self::Failed(Failure::new(reason, message))
    }

    fn event(&self) -> Event {
        match self {
            Self::Delivered { .. } => Event::Deliver,
            Self::Failed(_) => Event::Fail,
            Self::Canceled => Event::Cancel,
        }
    }
}

/// What a step leads to.
enum Next {
    /// Go on from here.
    Stands(Standing),
    Ends(End),
    /// It is somebody else's to go on, or nobody's.
    LetGo,
}

/// An attempt that an upstream knows.
struct Reached {
    provider: Arc<dyn Provider>,
    job: Job,
    upstream_id: String,
}

struct Run<'a> {
    core: &'a Core,
    live: &'a Live,
    work: &'a Work,
    /// To stop the upstream when the run breaks off.
    reached: Option<Reached>,
}

/// Runs a task to its end, or until it is over for this node.
pub(super) async fn run(
    core: Arc<Core>,
    Assignment {
        live,
        work,
        standing,
        deadline_at,
    }: Assignment,
) {
    let mut run = Run {
        core: &core,
        live: &live,
        work: &work,
        reached: None,
    };
    tokio::select! {
        () = live.over.cancelled() => {}
        () = run.conclude(standing, deadline_at) => {}
    }
    core.board.remove(&live);
}

impl Run<'_> {
    /// Takes the task to its end, which comes at the deadline at the latest, or with a panic.
    async fn conclude(&mut self, standing: Standing, deadline_at: SystemTime) {
        let left = deadline_at
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        let driven = AssertUnwindSafe(self.drive(standing)).catch_unwind();
        let end = match timeout_at(Instant::now() + left, driven).await {
            Ok(Ok(Some(end))) => end,
            Ok(Ok(None)) => return,
            Ok(Err(_panic)) => {
                tracing::error!(task = %self.live.id, "the run of the task panicked");
                self.break_off().await;
                End::failed(
                    FailureReason::Internal,
                    "the server made a mistake while working on the task",
                )
            }
            Err(_elapsed) => {
                self.break_off().await;
                End::Failed(too_late())
            }
        };
        self.finish(end).await;
    }

    /// Steps from standing to standing; `None` when the task was let go.
    async fn drive(&mut self, mut standing: Standing) -> Option<End> {
        let _turn = tokio::select! {
            biased;
            () = self.live.canceled.cancelled(), if matches!(standing, Standing::Unasked { .. }) => return Some(End::Canceled),
            turn = self.core.running.acquire() => turn.expect("nobody closes the semaphore"),
        };
        loop {
            let next = match standing {
                Standing::Unasked { attempts } => self.ask(attempts).await,
                Standing::Unknown { attempt } => self.find_out(attempt).await,
                Standing::Asked {
                    attempt,
                    upstream_id,
                } => Next::Ends(self.follow(attempt, upstream_id).await),
            };
            standing = match next {
                Next::Stands(standing) => standing,
                Next::Ends(end) => return Some(end),
                Next::LetGo => return None,
            };
        }
    }

    /// Asks the next upstream, once.
    async fn ask(&mut self, attempts: u32) -> Next {
        let Some((model, routes)) = self.routes() else {
            return Next::Ends(End::failed(
                FailureReason::ProviderError,
                "no upstream for the model can be reached any more",
            ));
        };
        let round = attempts as usize / routes.len();
        if round >= ATTEMPTS_PER_ROUTE {
            return Next::Ends(End::failed(
                FailureReason::ProviderError,
                "every upstream refused the task",
            ));
        }
        if round > 0
            && attempts as usize % routes.len() == 0
            && !self.pause(self.core.settings.poll_wait_max).await
        {
            return Next::Ends(End::Canceled);
        }
        let attempt = attempts + 1;
        let route = &routes[attempts as usize % routes.len()];
        let job = match self.job(model, route, attempt).await {
            Ok(job) => job,
            Err(failure) => return Next::Ends(End::Failed(failure)),
        };
        let name = route.provider.name();
        let begun = self.insist(|| {
            self.core.records.begin(
                self.core.node,
                self.live.account_id,
                self.live.id,
                attempt,
                name,
            )
        });
        let Some(started_at) = begun.await else {
            return Next::LetGo;
        };
        self.live.change(|task| {
            if let Some(status) = task.status.after(Event::Start) {
                task.status = status;
                task.started_at = Some(started_at);
                name.clone_into(&mut task.provider);
            }
        });
        match route.provider.submit(&job).await {
            Ok(upstream_id) => self.arrived(attempt, upstream_id).await,
            Err(refused) if !refused.definite => {
                tracing::warn!(task = %self.live.id, attempt, provider = name, message = refused.failure.message, "no answer");
                Next::Stands(Standing::Unknown { attempt })
            }
            Err(refused)
                if refused.failure.reason.is_retryable() && !is_last(attempt, routes.len()) =>
            {
                tracing::info!(task = %self.live.id, attempt, provider = name, message = refused.failure.message, "refused");
                Next::Stands(Standing::Unasked { attempts: attempt })
            }
            Err(refused) => Next::Ends(End::Failed(refused.failure)),
        }
    }

    /// Asks the upstream whether an attempt arrived, until it can tell.
    async fn find_out(&mut self, attempt: u32) -> Next {
        let (provider, job) = match self.attempted(attempt).await {
            Ok(attempted) => attempted,
            Err(failure) => return Next::Ends(End::Failed(failure)),
        };
        let mut wait = self.core.settings.poll_wait_min;
        loop {
            match provider.lookup(&job).await {
                Lookup::Found(upstream_id) => return self.arrived(attempt, upstream_id).await,
                Lookup::NotSubmitted => {
                    return Next::Stands(Standing::Unasked { attempts: attempt });
                }
                Lookup::CannotTell => {}
            }
            sleep(wait).await;
            wait = self.core.settings.longer(wait);
        }
    }

    async fn arrived(&self, attempt: u32, upstream_id: String) -> Next {
        let id = upstream_id.as_str();
        self.insist(|| {
            self.core
                .records
                .submitted(self.live.account_id, self.live.id, attempt, id)
        })
        .await;
        Next::Stands(Standing::Asked {
            attempt,
            upstream_id,
        })
    }

    /// Polls an upstream that has the task until it ends there.
    async fn follow(&mut self, attempt: u32, upstream_id: String) -> End {
        let (provider, job) = match self.attempted(attempt).await {
            Ok(attempted) => attempted,
            Err(failure) => return End::Failed(failure),
        };
        let Reached {
            provider,
            job,
            upstream_id,
        } = self.reached.insert(Reached {
            provider,
            job,
            upstream_id,
        });
        let (core, live, work) = (self.core, self.live, self.work);
        let mut wait = core.settings.poll_wait_min;
        // The caller's wish to stop is passed on until the upstream has answered it, whichever way.
        let mut wish_answered = false;
        loop {
            let wished = tokio::select! {
                biased;
                () = live.canceled.cancelled(), if !wish_answered => true,
                () = sleep(wait) => false,
            };
            if wished {
                match provider.cancel(job, upstream_id).await {
                    Ok(Cancel::Stopped) => return End::Canceled,
                    Ok(Cancel::GoesOn) => wish_answered = true,
                    Err(_) => sleep(wait).await,
                }
            }
            wait = core.settings.longer(wait);
            match provider.poll(job, upstream_id).await {
                Ok(Poll::Running { progress }) => {
                    job.references.clear();
                    let progress = progress.unwrap_or_default().min(99);
                    live.change(|task| task.progress = task.progress.max(progress));
                }
                Ok(Poll::Done(files)) => return deliver(core, live, work, files).await,
                Ok(Poll::Failed(failure)) => return End::Failed(failure),
                Err(error) => {
                    tracing::warn!(task = %live.id, %error, "not polled");
                    wait = error.retry_after.map_or(wait, |wanted| wanted.max(wait));
                }
            }
        }
    }

    /// The provider and the job of an attempt that was made, here or elsewhere. A provider that this server can no longer reach is
    /// waited for until the deadline: the hold stays until there is a verdict.
    async fn attempted(&self, attempt: u32) -> Result<(Arc<dyn Provider>, Job), Failure> {
        let name = self.live.task().provider;
        let route = self.routes().and_then(|(model, routes)| {
            let route = routes
                .into_iter()
                .find(|route| route.provider.name() == name)?;
            Some((model, route))
        });
        let Some((model, route)) = route else {
            tracing::warn!(task = %self.live.id, provider = name, "the provider that has the task is not set up");
            return std::future::pending().await;
        };
        let job = self.job(model, &route, attempt).await?;
        Ok((route.provider, job))
    }

    /// The model and the ways to run the task; none when the catalogue or the settings no longer allow any.
    fn routes(&self) -> Option<(&Model, Vec<Route>)> {
        let task = self.live.task();
        let wish = Wish {
            test: task.test,
            provider: self.work.provider.as_deref(),
            operation: self.work.operation,
            resolution: &self.work.resolution,
        };
        let model = self.core.catalog.get(&task.model).ok()?;
        // Whether a live key may use the sandbox was decided when the task was accepted.
        Some((
            model,
            routes(&self.core.providers, true, model, &wish).ok()?,
        ))
    }

    /// The task as an attempt, with the bytes of its reference pictures.
    async fn job(&self, model: &Model, route: &Route, attempt: u32) -> Result<Job, Failure> {
        let mut job = self.work.job(self.live.id, attempt, model, route);
        for path in &self.work.references {
            let read =
                insist_on_asset(self.core, self.live, || self.core.assets.read_all(path)).await;
            job.references.push(read.map_err(|error| {
                tracing::error!(task = %self.live.id, %error, "a reference picture is gone");
                Failure::new(
                    FailureReason::Internal,
                    "a reference image could not be read any more",
                )
            })?);
        }
        Ok(job)
    }

    /// Asks the upstream to stop a job that nobody will fetch. Its word changes nothing any more, so it is asked once and not for long.
    async fn break_off(&mut self) {
        if let Some(Reached {
            provider,
            job,
            upstream_id,
        }) = self.reached.take()
        {
            let stop = AssertUnwindSafe(provider.cancel(&job, &upstream_id)).catch_unwind();
            let _ = timeout(LAST_CALL_MAX, stop).await;
        }
    }

    /// Ends the task, unless somebody did already, and tells everyone who watches how it ended.
    async fn finish(&self, end: End) {
        let task = self.live.task();
        let Some(status) = task.status.after(end.event()) else {
            return;
        };
        let mut ending = Ending::empty(status);
        match end {
            End::Delivered { outputs, charge } => {
                (ending.outputs, ending.charge) = (outputs, charge)
            }
            End::Failed(failure) => ending.failure = Some(failure),
            End::Canceled => {}
        }
        let batch = [(task.account_id, task.id, ending)];
        let finished = self.insist(|| self.core.records.finish(&batch)).await;
        let [(.., ending)] = batch;
        match finished.into_iter().next().flatten() {
            Some(finished) => self.live.change(|task| {
                task.status = ending.status;
                task.progress = if ending.outputs.is_empty() {
                    task.progress
                } else {
                    100
                };
                task.outputs = ending.outputs;
                task.failure = ending.failure;
                task.credits = Credits::settled(task.credits.quoted, finished.charged);
                task.finished_at = Some(finished.finished_at);
            }),
            None => {
                if let Ok(ended) = self.core.stored(task.account_id, task.test, task.id).await {
                    self.live.change(|task| *task = ended);
                }
            }
        }
    }

    /// Waits; false when the caller wants the task stopped.
    async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = sleep(wait) => true,
            () = self.live.canceled.cancelled() => false,
        }
    }

    /// Tries until the database has answered.
    async fn insist<T, F: Future<Output = Result<T, StoreError>>>(&self, ask: impl Fn() -> F) -> T {
        let mut wait = self.core.settings.poll_wait_min;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    tracing::warn!(task = %self.live.id, error = &error as &dyn std::error::Error, "trying again");
                }
            }
            sleep(wait).await;
            wait = self.core.settings.longer(wait);
        }
    }
}

/// Stores what the upstream delivered. What is not a picture or a video was not delivered; beyond what was asked, nothing is handed out.
async fn deliver(core: &Core, live: &Live, work: &Work, files: Vec<Rendered>) -> End {
    let mut outputs = Vec::new();
    for (index, file) in (0..work.count).zip(files) {
        let put = || {
            core.assets.put_output(
                live.account_id,
                live.id,
                index,
                file.bytes.clone(),
                file.poster.clone(),
            )
        };
        match insist_on_asset(core, live, put).await {
            Ok(stored) => outputs.push(output(stored, work)),
            Err(error) => {
                tracing::error!(task = %live.id, index, %error, "the upstream delivered something unusable")
            }
        }
    }
    let delivered = u32::try_from(outputs.len()).expect("no more than were asked for");
    if delivered == 0 {
        return End::failed(
            FailureReason::ProviderError,
            "the upstream delivered nothing usable",
        );
    }
    let charge = share(live.task().credits.quoted, delivered, work.count);
    End::Delivered { outputs, charge }
}

/// A stored file; what its bytes do not tell is as it was asked for.
fn output(stored: StoredAsset, work: &Work) -> Output {
    Output {
        path: stored.path,
        mime_type: stored.mime_type.to_owned(),
        width: stored.width.unwrap_or(work.width),
        height: stored.height.unwrap_or(work.height),
        duration_seconds: stored
            .duration_seconds
            .or(work.duration_seconds.map(f64::from)),
        size_bytes: stored.size_bytes,
        thumbnail_path: stored.thumbnail_path,
    }
}

/// Tries until the store of assets has answered. An error that it answers with is about the file.
async fn insist_on_asset<T, F: Future<Output = Result<T, AssetError>>>(
    core: &Core,
    live: &Live,
    ask: impl Fn() -> F,
) -> Result<T, AssetError> {
    let mut wait = core.settings.poll_wait_min;
    loop {
        match ask().await {
            Err(error @ (AssetError::Storage(_) | AssetError::Interrupted(_))) => {
                tracing::warn!(task = %live.id, error = &error as &dyn std::error::Error, "trying again");
            }
            answer => return answer,
        }
        sleep(wait).await;
        wait = core.settings.longer(wait);
    }
}

fn is_last(attempt: u32, routes: usize) -> bool {
    attempt as usize >= ATTEMPTS_PER_ROUTE * routes
}
