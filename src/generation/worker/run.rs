//! The run of one task: from wherever it stands to its end.
//!
//! ```text
//! Unasked ─ begin (the intent, written first) ─ submit ─┬─ an id ──────────▶ Asked ─ poll … ─▶ stored ─▶ ended
//!    ▲                                                  ├─ refused ─▶ Unasked, next route
//!    └── not submitted ── lookup ◀──────── Unknown ◀────┴─ no answer
//!                       or operator
//! ```
//!
//! Money is at stake in two places. A submission goes out only after its attempt is in the row, and
//! only from Unasked; so after a crash the attempt is Unknown, and nothing but the upstream's own
//! word, or the operator's ([`lost`](super::super::lost)), leads back to Unasked. And the end of a task goes through
//! [`Records::finish`](super::super::records::Records::finish) alone, which lets the first one win.
//!
//! A run that is no longer needed is dropped at its next wait; that is why it holds nothing that
//! the row does not.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::super::Core;
use super::super::board::Live;
use super::super::changes::{Begun, Ending};
use super::super::own_keys::{OwnUpstream, key_gone, key_refused};
use super::super::request::Work;
use super::super::routes::{Route, Wish, routes};
use super::super::status::Event;
use super::super::task::{Credits, Output, Task, share};
use super::deliver::{Undelivered, deliver};
use super::patience::{insist, insist_on_asset};
use super::straggle::{Straggler, straggle};
use super::{Assignment, Standing, too_late};
use crate::catalog::{Catalog, Model};
use crate::providers::{
    Cancel, Cause, Failure, FailureReason, Job, Poll, PollError, Provider, Rendered, SANDBOX,
    Submitted,
};

mod find_out;

/// How often each route is asked before a task is given up. Only refusals count that leave no
/// doubt.
const ATTEMPTS_PER_ROUTE: usize = 2;
/// How often a result is fetched that cannot be had.
const FETCHES_MAX: u32 = 5;
/// The part of a model's typical time after which its upstream is asked for the first time.
const FIRST_POLL_PART: u32 = 8;
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

/// Why a run goes no further.
enum Stop {
    /// The task ends.
    Ends(End),
    /// It is somebody else's to go on, or nobody's.
    LetGo,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Ends(End::Failed(failure))
    }
}

/// An attempt that an upstream knows.
pub(super) struct Reached {
    provider: Arc<dyn Provider>,
    job: Job,
    upstream_id: String,
    /// Whether it was asked to stop when the time was up.
    broken_off: bool,
}

struct Run<'a> {
    core: &'a Core,
    /// As it was when the run began: what changes meanwhile is for the tasks to come.
    catalog: &'a Catalog,
    live: &'a Live,
    work: &'a Work,
    /// How many tasks of the account may be begun at once.
    turns: Option<u32>,
    /// Its place at the upstream.
    place: Option<OwnedSemaphorePermit>,
    /// Who still works on it, when the time is up.
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
        turns,
    }: Assignment,
) {
    let catalog = core.catalog.get();
    let mut run = Run {
        core: &core,
        catalog: &catalog,
        live: &live,
        work: &work,
        turns,
        place: None,
        reached: None,
    };
    tokio::select! {
        () = live.over.cancelled() => {}
        () = run.conclude(standing, deadline_at) => {}
    }
    core.board.remove(&live);
    let reached = run.reached.take().filter(|_| ran_out_of_time(&live.task()));
    let (account_id, id) = (live.account_id, live.id);
    // Its place is free for another.
    drop(live);
    if let Some(reached) = reached {
        let straggler = Straggler {
            account_id,
            id,
            work,
            reached,
        };
        straggle(&core, straggler).await;
    }
}

/// Whether a task was ended by its deadline, whoever did it.
fn ran_out_of_time(task: &Task) -> bool {
    let failure = task.failure.as_ref();
    failure.is_some_and(|failure| failure.reason == FailureReason::DeadlineExceeded)
}

impl<'a> Run<'a> {
    /// Takes the task to its end, which comes at the deadline at the latest, or with a panic.
    async fn conclude(&mut self, standing: Standing, deadline_at: SystemTime) {
        let left = deadline_at
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        let driven = AssertUnwindSafe(self.drive(standing)).catch_unwind();
        let end = match timeout_at(Instant::now() + left, driven).await {
            Ok(Ok(end)) => {
                self.reached = None;
                let Some(end) = end else { return };
                end
            }
            Ok(Err(_panic)) => {
                tracing::error!(task = %self.live.id, "the run of the task panicked");
                self.break_off().await;
                self.reached = None;
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
        let unasked = matches!(standing, Standing::Unasked { .. });
        let _turn = tokio::select! {
            biased;
            () = self.live.canceled.cancelled(), if unasked => return Some(End::Canceled),
            turn = turn(self.core, self.live, self.turns) => turn,
        };
        loop {
            let next = match standing {
                Standing::Unasked { attempts, refusals } => self.ask(attempts, refusals).await,
                Standing::Unknown { attempt, refusals } => self.find_out(attempt, refusals).await,
                Standing::Asked {
                    attempt,
                    upstream_id,
                } => Err(Stop::Ends(self.follow(attempt, upstream_id).await)),
            };
            standing = match next {
                Ok(standing) => standing,
                Err(Stop::Ends(end)) => return Some(end),
                Err(Stop::LetGo) => return None,
            };
        }
    }

    /// Asks the next upstream, once, with the intent written down before.
    async fn ask(&mut self, attempts: u32, refusals: u32) -> Result<Standing, Stop> {
        let Some((model, routes)) = self.routes().await else {
            return Err(match self.work.own_keys.keys().next() {
                Some(upstream) => key_gone(upstream).into(),
                None => no_upstream("no upstream for the model is set up any more"),
            });
        };
        let refused = refusals as usize;
        if refused >= ATTEMPTS_PER_ROUTE * routes.len() {
            return Err(no_upstream("no upstream took the task"));
        }
        if refused > 0 && refused.is_multiple_of(routes.len()) {
            // Every route has refused: give them time.
            self.pause(self.core.settings.poll_wait_max).await;
        }
        if self.live.canceled.is_cancelled() {
            return Err(Stop::Ends(End::Canceled));
        }
        let attempt = attempts + 1;
        let Some((route, place)) = self.choose(&routes, refused).await else {
            return Err(Stop::Ends(End::Canceled));
        };
        self.place = place;
        let job = self.job(model, route, attempt).await?;
        self.begin(attempt, route.provider.name()).await?;
        if self.core.lease_until.is_over() {
            // Another node may have found by now that nothing was submitted, and submit it itself.
            self.core.doubt.raise();
            return Err(Stop::LetGo);
        }
        let submitted = self.submit(route, &job, refusals).await;
        if let Ok(Standing::Unasked { .. }) = &submitted {
            self.place = None;
        }
        submitted
    }

    /// The next way that is worth asking and has a place free, from the one after so many refusals;
    /// `None` when the caller wants the task stopped before there is one.
    async fn choose<'r>(
        &self,
        routes: &'r [Route],
        refused: usize,
    ) -> Option<(&'r Route, Option<OwnedSemaphorePermit>)> {
        let has_trouble = |route: &Route| route.trouble(self.core);
        while !self.live.canceled.is_cancelled() {
            // Where nothing is left that is well, whoever is asked says so.
            let any_sound = routes.iter().any(|route| has_trouble(route).is_none());
            let mut crowded = None;
            let mut rest = self.core.settings.poll_wait_max;
            for route in routes
                .iter()
                .cycle()
                .skip(refused % routes.len())
                .take(routes.len())
                .filter(|route| !any_sound || has_trouble(route).is_none())
            {
                let (name, health) = (route.provider.name(), route.health(self.core));
                let left = health.rest(name, std::time::Instant::now());
                if !left.is_zero() {
                    rest = rest.min(left);
                } else if let Some(place) = health.place(name) {
                    return Some((route, Some(place)));
                } else {
                    crowded = crowded.or(Some(route));
                }
            }
            match crowded {
                Some(route) => tokio::select! {
                    place = route.health(self.core).wait_for_place(route.provider.name()) => {
                        return Some((route, place));
                    }
                    () = self.live.canceled.cancelled() => {}
                },
                None => self.pause(rest).await,
            }
        }
        None
    }

    /// Writes down the intent, without which nothing may be asked.
    async fn begin(&self, attempt: u32, provider: &str) -> Result<(), Stop> {
        let (core, live) = (self.core, self.live);
        let begin = || {
            core.changes
                .begin(live.account_id, live.id, attempt, provider)
        };
        let started_at = loop {
            match insist(self.core, self.live.id, begin).await {
                Begun::At(started_at) => break started_at,
                // Other nodes have all of the account's turns.
                Begun::NotNow => self.pause(core.settings.progress_interval).await,
                Begun::Never => {
                    // Should it still be ours, to be canceled, it is found again.
                    core.doubt.raise();
                    return Err(Stop::LetGo);
                }
            }
        };
        live.change(|task| {
            if let Some(status) = task.status.after(Event::Start) {
                task.status = status;
                task.started_at = Some(started_at);
                provider.clone_into(&mut task.provider);
            }
        });
        Ok(())
    }

    async fn submit(&self, route: &Route, job: &Job, refusals: u32) -> Result<Standing, Stop> {
        let (provider, health) = (route.provider.as_ref(), route.health(self.core));
        let attempt = job.attempt;
        let refused = match provider.submit(job).await {
            Ok(submitted) => {
                health.worked(provider.name());
                return match submitted {
                    Submitted::Taken(upstream_id) => Ok(self.arrived(attempt, upstream_id).await),
                    Submitted::Done(files) => Err(Stop::Ends(self.take_home(files).await)),
                };
            }
            Err(refused) => refused,
        };
        let (cause, retry_after) = (refused.cause, refused.retry_after);
        let now = std::time::Instant::now();
        health.failed(
            provider.name(),
            &job.upstream_model,
            cause,
            retry_after,
            now,
        );
        tracing::warn!(
            task = %self.live.id,
            attempt,
            provider = provider.name(),
            definite = refused.definite,
            message = refused.failure.message,
            "not submitted"
        );
        if !refused.definite {
            return Ok(Standing::Unknown { attempt, refusals });
        }
        let refusals = refusals + 1;
        if self.is_last(cause, refusals).await {
            let is_about_key = matches!(cause, Cause::Key | Cause::Credit);
            return Err(match route.own {
                Some(_) if is_about_key => key_refused(provider.name()),
                _ => refused.failure,
            }
            .into());
        }
        Ok(Standing::Unasked {
            attempts: attempt,
            refusals,
        })
    }

    /// Whether the last of so many refusals is the end of it. What one upstream will not make none is
    /// asked for; what has a chance elsewhere is tried there; only what may pass is tried again.
    async fn is_last(&self, cause: Cause, refusals: u32) -> bool {
        let attempts_per_route = match cause {
            Cause::Policy => return true,
            Cause::Input | Cause::Key | Cause::Credit | Cause::Retired => 1,
            Cause::Busy | Cause::Broken | Cause::Unreachable => ATTEMPTS_PER_ROUTE,
        };
        self.routes()
            .await
            .is_none_or(|(_, routes)| refusals as usize >= attempts_per_route * routes.len())
    }

    async fn arrived(&self, attempt: u32, upstream_id: String) -> Standing {
        let (core, live, id) = (self.core, self.live, upstream_id.as_str());
        let submitted = || core.changes.arrive(live.account_id, live.id, attempt, id);
        insist(self.core, self.live.id, submitted).await;
        Standing::Asked {
            attempt,
            upstream_id,
        }
    }

    /// Polls an upstream that has the task until it ends there.
    async fn follow(&mut self, attempt: u32, upstream_id: String) -> End {
        let (route, job) = match self.attempted(attempt).await {
            Ok(attempted) => attempted,
            Err(failure) => return End::Failed(failure),
        };
        let (core, live, work) = (self.core, self.live, self.work);
        if self.place.is_none() {
            // It is there already, place or not.
            self.place = route.health(core).place(route.provider.name());
        }
        let mut wait = self.first_wait(route.provider.name());
        let mut fetches = 0;
        let reached = self.reached.insert(Reached {
            provider: route.provider,
            job,
            upstream_id,
            broken_off: false,
        });
        // The caller's wish to stop is passed on until the upstream has answered it, either way.
        let mut wish_answered = false;
        loop {
            let wished = tokio::select! {
                biased;
                () = live.canceled.cancelled(), if !wish_answered => true,
                () = live.nudged.notified() => false,
                () = sleep(wait) => false,
            };
            if let Some(gone) = lost_key(core, live, route.own.as_deref()).await {
                return End::Failed(gone);
            }
            if wished {
                match reached.cancel().await {
                    Ok(Cancel::Stopped) => return End::Canceled,
                    Ok(Cancel::GoesOn) => wish_answered = true,
                    Err(_) => sleep(wait).await,
                }
            }
            wait = core.settings.longer(wait);
            match reached.poll().await {
                Ok(Poll::Running { progress }) => {
                    reached.job.references.clear();
                    let progress = progress.unwrap_or_default().min(99);
                    live.change(|task| task.progress = task.progress.max(progress));
                }
                Ok(Poll::Done(files)) => {
                    fetches += 1;
                    let last = fetches >= FETCHES_MAX;
                    match deliver(core, (live.account_id, live.id), work, files, last).await {
                        Ok(outputs) => {
                            return delivered(outputs, live.task().credits.quoted, work.count);
                        }
                        // Asked again, the upstream gives fresh links.
                        Err(Undelivered::NotFetched) => {}
                        Err(Undelivered::Unusable(failure)) => return End::Failed(failure),
                    }
                }
                Ok(Poll::Failed(failure)) => return End::Failed(failure),
                Ok(Poll::Canceled) if live.canceled.is_cancelled() => return End::Canceled,
                Ok(Poll::Canceled) => {
                    let message = "the job was canceled at the upstream";
                    return End::failed(FailureReason::ProviderError, message);
                }
                Err(error) => {
                    tracing::warn!(task = %live.id, %error, "not polled");
                    wait = error.retry_after.map_or(wait, |wanted| wanted.max(wait));
                }
            }
        }
    }

    /// How long an upstream is left to work before it is asked for the first time.
    fn first_wait(&self, provider: &str) -> Duration {
        let settings = &self.core.settings;
        let model = self.live.task().model;
        let typical = match self.catalog.get(&model) {
            Ok(model) if provider != SANDBOX => model.typical_seconds.0,
            _ => 0,
        };
        (Duration::from_secs(typical.into()) / FIRST_POLL_PART)
            .clamp(settings.poll_wait_min, settings.poll_wait_max)
    }

    /// Stores files that came with the answer to the submission.
    async fn take_home(&self, files: Vec<Rendered>) -> End {
        let (core, live, work) = (self.core, self.live, self.work);
        let mut wait = core.settings.poll_wait_min;
        for fetch in 1.. {
            let last = fetch >= FETCHES_MAX;
            let files = files.clone();
            match deliver(core, (live.account_id, live.id), work, files, last).await {
                Ok(outputs) => return delivered(outputs, live.task().credits.quoted, work.count),
                Err(Undelivered::NotFetched) => sleep(wait).await,
                Err(Undelivered::Unusable(failure)) => return End::Failed(failure),
            }
            wait = core.settings.longer(wait);
        }
        unreachable!("the last fetch has an end")
    }

    /// The route and the job of an attempt that was made, here or elsewhere. A provider that
    /// this server can no longer reach is waited for until the deadline: the hold stays until there
    /// is a verdict. A key of the account's own that is gone stays so.
    async fn attempted(&self, attempt: u32) -> Result<(Route, Job), Failure> {
        let name = self.live.task().provider;
        let route = self.routes().await.and_then(|(model, routes)| {
            let route = routes
                .into_iter()
                .find(|route| route.provider.name() == name)?;
            Some((model, route))
        });
        let Some((model, route)) = route else {
            if self.work.own_keys.contains_key(&name) {
                return Err(key_gone(&name));
            }
            tracing::warn!(task = %self.live.id, provider = name, "its provider is not set up");
            return std::future::pending().await;
        };
        let job = self.job(model, &route, attempt).await?;
        Ok((route, job))
    }

    /// The model and the ways to run the task; none when the catalogue, the settings or the account's own keys
    /// no longer allow any.
    async fn routes(&self) -> Option<(&'a Model, Vec<Route>)> {
        let (core, own_keys) = (self.core, &self.work.own_keys);
        let task = self.live.task();
        let keys = || core.own_upstreams_of(task.account_id, own_keys);
        let own = insist(core, task.id, keys).await;
        let wish = Wish {
            test: task.test,
            provider: self.work.provider.as_deref(),
            operation: self.work.operation,
            resolution: &self.work.resolution,
            own_alone: !own_keys.is_empty(),
        };
        let model = self.catalog.get(&task.model).ok()?;
        // Whether a live key may use the sandbox was decided when the task was accepted.
        Some((
            model,
            routes(&core.providers, &own, true, model, &wish).ok()?,
        ))
    }

    /// The task as an attempt, with the bytes of its reference pictures.
    async fn job(&self, model: &Model, route: &Route, attempt: u32) -> Result<Job, Failure> {
        let mut job = self.work.job(self.live.id, attempt, model, route);
        // What upstreams sign for others' accounts cannot be checked here.
        if route.own.is_none() {
            job.webhook_url = self.core.hook_url(route.provider.as_ref(), self.live.id);
        }
        for path in &self.work.references {
            let read = || self.core.assets.read_all(path);
            let read = insist_on_asset(self.core, self.live.id, read).await;
            job.references.push(read.map_err(|error| {
                tracing::error!(task = %self.live.id, %error, "a reference picture is gone");
                let message = "a reference image could not be read any more";
                Failure::new(FailureReason::Internal, message)
            })?);
        }
        Ok(job)
    }

    /// Asks the upstream to stop a job whose time is up; forgets it if it does.
    async fn break_off(&mut self) {
        if let Some(reached) = &mut self.reached
            && reached.break_off().await
        {
            self.reached = None;
        }
    }

    /// Ends the task, unless somebody did already, and tells everyone who watches how it ended.
    async fn finish(&self, end: End) {
        let task = self.live.task();
        let Some(status) = task.status.after(end.event()) else {
            return;
        };
        let mut ending = Ending::empty(status);
        ending.of = Some((task.credits.quoted, task.test));
        match end {
            End::Delivered { outputs, charge } => {
                (ending.outputs, ending.charge) = (outputs, charge)
            }
            End::Failed(failure) => ending.failure = Some(failure),
            End::Canceled => {}
        }
        let ask = || {
            self.core
                .changes
                .finish(task.account_id, task.id, ending.clone())
        };
        match insist(self.core, self.live.id, ask).await {
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
                let stored = self.core.stored(task.account_id, task.test, task.id).await;
                if let Ok(ended) = stored {
                    self.live.change(|task| *task = ended);
                }
            }
        }
    }

    /// Waits, unless the caller wants the task stopped.
    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            () = self.live.canceled.cancelled() => {}
        }
    }
}

impl Reached {
    /// Asks the upstream to stop; whether it did. Its word changes nothing for the task any more, so
    /// it is asked once and not for long.
    pub(super) async fn break_off(&mut self) -> bool {
        if std::mem::replace(&mut self.broken_off, true) {
            return false;
        }
        let stop = AssertUnwindSafe(self.cancel()).catch_unwind();
        let answer = timeout(LAST_CALL_MAX, stop).await;
        matches!(answer, Ok(Ok(Ok(Cancel::Stopped))))
    }

    pub(super) async fn poll(&self) -> Result<Poll, PollError> {
        self.provider.poll(&self.job, &self.upstream_id).await
    }

    async fn cancel(&self) -> Result<Cancel, PollError> {
        self.provider.cancel(&self.job, &self.upstream_id).await
    }
}

/// The end of a task whose account has deleted the key that its upstream is asked with.
async fn lost_key(core: &Core, live: &Live, own: Option<&OwnUpstream>) -> Option<Failure> {
    let own = own?;
    let holds = || core.holds_key(live.account_id, own.key_id);
    let is_there = insist(core, live.id, holds).await;
    (!is_there).then(|| key_gone(own.provider.name()))
}

fn delivered(outputs: Vec<Output>, quoted: i64, asked: u32) -> End {
    let count = u32::try_from(outputs.len()).expect("no more than were asked for");
    let charge = share(quoted, count, asked);
    End::Delivered { outputs, charge }
}

/// Waits for the account's turn, if its tasks take turns, and for a place among those that run.
async fn turn<'a>(
    core: &'a Core,
    live: &Live,
    turns: Option<u32>,
) -> (Option<OwnedSemaphorePermit>, SemaphorePermit<'a>) {
    let task = live.task();
    let turn = match turns {
        Some(turns) => Some(core.turns.wait(task.account_id, task.test, turns).await),
        None => None,
    };
    let running = core.running.acquire().await;
    (turn, running.expect("nobody closes the semaphore"))
}

fn no_upstream(message: &str) -> Stop {
    Stop::Ends(End::failed(FailureReason::ProviderError, message))
}
