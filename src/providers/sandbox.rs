//! The embedded upstream: paints pictures and renders clips in this process, for free, the same for
//! the same request.
//!
//! It behaves as a remote upstream does. `submit` answers at once with an id, `poll` tells the
//! progress, `cancel` stops a render between two frames. Because a render is free and repeatable,
//! what a restart lost is simply started again: an unknown id is no error. `[sandbox:…]` directives
//! in the prompt rehearse other outcomes ([`directives`]).
//!
//! Bounds: renders run on blocking threads, as many at once as there are processor cores; the
//! others queue. A result that nobody fetches is dropped after [`RESULT_KEPT`]; a render that
//! nobody polls goes on to its end, which the painter's own limits bound.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Cancel, Cause, Content, Failure, FailureReason, Job, Lookup, Poll, PollError, Probe, Provider,
    Rendered, SANDBOX, SubmitFailure, Submitted,
};
use directives::{Directives, FailWith};
use scene::{RenderError, Scene};

mod caption;
mod clip;
mod directives;
mod landscape;
mod mp4;
mod paint;
mod palette;
mod planar;
mod random;
mod scene;
mod shape;
mod text;

/// How long a result waits to be fetched.
const RESULT_KEPT: Duration = Duration::from_secs(300);

/// How long a render that was told to hang does.
const HANG_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// The embedded provider.
pub struct Sandbox {
    renders: Arc<Renders>,
}

/// The renders of this process, by task.
struct Renders {
    by_task: Mutex<HashMap<Uuid, Arc<Render>>>,
    /// One place for each core.
    cores: Arc<Semaphore>,
}

/// One render.
struct Render {
    /// In percent.
    progress: AtomicU8,
    canceled: CancellationToken,
    result: Mutex<Option<Outcome>>,
}

type Outcome = Result<Vec<Rendered>, Failure>;

/// What a prompt asks for, taken apart.
struct Rehearsal {
    directives: Directives,
    prompt: String,
}

impl Rehearsal {
    fn of(job: &Job) -> Result<Self, Failure> {
        match directives::parse(&job.prompt) {
            Ok((directives, prompt)) => Ok(Self { directives, prompt }),
            Err(error) => Err(Failure::new(FailureReason::InvalidInput, error.to_string())),
        }
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            renders: Arc::new(Renders {
                by_task: Mutex::default(),
                cores: Arc::new(Semaphore::new(cores)),
            }),
        }
    }
}

impl Sandbox {
    /// The render of a job; one that is not under way is started.
    fn render(&self, job: &Job) -> Result<Arc<Render>, Failure> {
        let rehearsal = Rehearsal::of(job)?;
        let mut by_task = self.renders.lock();
        if let Some(render) = by_task.get(&job.task_id) {
            return Ok(Arc::clone(render));
        }
        let render = Arc::new(Render {
            progress: AtomicU8::new(0),
            canceled: CancellationToken::new(),
            result: Mutex::default(),
        });
        by_task.insert(job.task_id, Arc::clone(&render));
        drop(by_task);
        tokio::spawn(Arc::clone(&self.renders).run(job.clone(), rehearsal, Arc::clone(&render)));
        Ok(render)
    }
}

impl Renders {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Render>>> {
        self.by_task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renders a job and keeps the result for a while. A canceled job leaves nothing.
    async fn run(self: Arc<Self>, job: Job, rehearsal: Rehearsal, render: Arc<Render>) {
        let task_id = job.task_id;
        let outcome = tokio::select! {
            outcome = self.outcome(job, rehearsal, &render) => outcome,
            () = render.canceled.cancelled() => None,
        };
        if let Some(outcome) = outcome {
            *render.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            tokio::select! {
                () = tokio::time::sleep(RESULT_KEPT) => {}
                () = render.canceled.cancelled() => {}
            }
        }
        self.forget(task_id, &render);
    }

    /// Ends the render of a task and forgets it.
    fn stop(&self, task_id: Uuid) {
        if let Some(render) = self.lock().remove(&task_id) {
            render.canceled.cancel();
        }
    }

    /// Removes this render of a task, and no later one.
    fn forget(&self, task_id: Uuid, render: &Arc<Render>) {
        let mut by_task = self.lock();
        if by_task
            .get(&task_id)
            .is_some_and(|known| Arc::ptr_eq(known, render))
        {
            by_task.remove(&task_id);
        }
    }

    async fn outcome(
        &self,
        job: Job,
        Rehearsal { directives, prompt }: Rehearsal,
        render: &Arc<Render>,
    ) -> Option<Outcome> {
        tokio::time::sleep(directives.delay).await;
        if directives.hang {
            tokio::time::sleep(HANG_MAX).await;
        }
        if let Some(failure) = directives.fail.and_then(rehearsed_failure) {
            return Some(Err(failure));
        }
        let count = directives
            .partial
            .map_or(job.count, |some| some.min(job.count));
        let core = Arc::clone(&self.cores)
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore");
        let shared = Arc::clone(render);
        let painted = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, even when nobody waits for it any more.
            let _core = core;
            paint_all(&job, &prompt, count, &shared)
        });
        let painted = painted.await;
        match painted {
            Ok(Ok(files)) => Some(Ok(files)),
            Ok(Err(RenderError::Cancelled)) => None,
            Ok(Err(error)) => Some(Err(refusal(error))),
            Err(error) => {
                tracing::error!(%error, "the sandbox broke while rendering");
                Some(Err(Failure::new(
                    FailureReason::Internal,
                    "the sandbox broke while rendering",
                )))
            }
        }
    }
}

/// What was asked for and cannot be painted, told apart from a fault of ours.
fn refusal(error: RenderError) -> Failure {
    match error {
        RenderError::Internal { .. } | RenderError::Cancelled => {
            tracing::error!(%error, "the sandbox could not render");
            Failure::new(FailureReason::Internal, "the sandbox could not render this")
        }
        RenderError::PictureSize { .. }
        | RenderError::ClipSize { .. }
        | RenderError::ClipDuration { .. }
        | RenderError::References { .. } => {
            Failure::new(FailureReason::InvalidInput, error.to_string())
        }
    }
}

/// Failures that come after the job was taken. The refusal for too many calls comes before, when it
/// is submitted.
fn rehearsed_failure(fail: FailWith) -> Option<Failure> {
    let (reason, message) = match fail {
        FailWith::ContentPolicy => (
            FailureReason::ContentPolicy,
            "the sandbox refused the prompt, as its directive asked",
        ),
        FailWith::ProviderError => (
            FailureReason::ProviderError,
            "the sandbox broke, as the directive in the prompt asked",
        ),
        FailWith::Timeout => (
            FailureReason::DeadlineExceeded,
            "the sandbox ran out of time, as the directive in the prompt asked",
        ),
        FailWith::InvalidInput => (
            FailureReason::InvalidInput,
            "the sandbox could not take the input, as the directive in the prompt asked",
        ),
        FailWith::RateLimited => return None,
    };
    Some(Failure::new(reason, message))
}

fn paint_all(
    job: &Job,
    prompt: &str,
    count: u32,
    render: &Render,
) -> Result<Vec<Rendered>, RenderError> {
    (0..count)
        .map(|index| {
            if render.canceled.is_cancelled() {
                return Err(RenderError::Cancelled);
            }
            let scene = scene(job, prompt, index);
            // The last percent is for storing.
            let tell = |part: f32| {
                let whole = (index as f32 + part) / count as f32;
                render
                    .progress
                    .store((whole * 99.0) as u8, Ordering::Relaxed);
            };
            paint_one(job, &scene, tell, || render.canceled.is_cancelled())
        })
        .collect()
}

fn paint_one(
    job: &Job,
    scene: &Scene,
    tell: impl Fn(f32),
    canceled: impl Fn() -> bool,
) -> Result<Rendered, RenderError> {
    let (bytes, poster) = match job.duration_seconds {
        Some(seconds) => {
            let poster = paint::poster(scene)?;
            (
                clip::video(scene, seconds, &tell, canceled)?,
                Some(poster.into()),
            )
        }
        None => (paint::picture(scene)?, None),
    };
    tell(1.0);
    Ok(Rendered {
        content: Content::Bytes(bytes.into()),
        poster,
    })
}

fn scene(job: &Job, prompt: &str, index: u32) -> Scene {
    Scene {
        prompt: prompt.to_owned(),
        model_title: job.model_title.clone(),
        model_slug: job.model.clone(),
        width: job.width,
        height: job.height,
        resolution: job.resolution.clone(),
        aspect_ratio: job.aspect_ratio.clone(),
        seed: job.seed.unwrap_or_else(|| seed_of(prompt)).into(),
        index,
        references: job.references.iter().map(|bytes| bytes.to_vec()).collect(),
    }
}

/// A seed that a prompt always gives; one that a caller can ask for, since the picture shows it.
fn seed_of(prompt: &str) -> u32 {
    let digest: [u8; 32] = Sha256::digest(prompt).into();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

fn id_of(job: &Job) -> String {
    format!("sandbox-{}", job.task_id)
}

#[async_trait]
impl Provider for Sandbox {
    fn name(&self) -> &str {
        SANDBOX
    }

    fn check(&self, job: &Job) -> Result<(), Failure> {
        Rehearsal::of(job).map(drop)
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        if Rehearsal::of(job)?.directives.fail == Some(FailWith::RateLimited) {
            let message = "the sandbox wants fewer calls, as the directive in the prompt asked";
            return Err(SubmitFailure::refused(Cause::Busy, message));
        }
        self.render(job)?;
        Ok(Submitted::Taken(id_of(job)))
    }

    async fn poll(&self, job: &Job, _upstream_id: &str) -> Result<Poll, PollError> {
        let render = match self.render(job) {
            Ok(render) => render,
            Err(failure) => return Ok(Poll::Failed(failure)),
        };
        if Rehearsal::of(job).is_ok_and(|rehearsal| rehearsal.directives.crash) {
            self.renders.stop(job.task_id);
            panic!("the sandbox crashes, as the directive in the prompt asked");
        }
        let result = render
            .result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(outcome) = result else {
            return Ok(Poll::Running {
                progress: Some(render.progress.load(Ordering::Relaxed)),
            });
        };
        self.renders.stop(job.task_id);
        Ok(outcome.map_or_else(Poll::Failed, Poll::Done))
    }

    async fn cancel(&self, job: &Job, _upstream_id: &str) -> Result<Cancel, PollError> {
        self.renders.stop(job.task_id);
        Ok(Cancel::Stopped)
    }

    async fn lookup(&self, job: &Job) -> Lookup {
        match self.render(job) {
            Ok(_) => Lookup::Found(id_of(job)),
            Err(_) => Lookup::NotSubmitted,
        }
    }

    async fn probe(&self, _upstream_model: &str) -> Probe {
        Probe::Ready
    }
}
