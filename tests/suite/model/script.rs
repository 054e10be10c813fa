//! What the upstreams do with each request, as a script says that goes with its prompt.
//!
//! The two upstreams live through all crashes of nodes, as real ones do, and remember what arrived. A
//! job that was taken runs until the history opens its gate, so that nothing ends before its time.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use piooy::providers::{
    Cancel, Cause, Content, Failure, FailureReason, Job, Lookup, Poll, PollError, Probe, Provider,
    Providers, Rendered, SubmitFailure, Submitted,
};
use tokio::time::sleep;

use crate::generation::fixture::sandbox;

/// The course of one request.
#[derive(Debug, Clone)]
pub struct Script {
    pub arrival: Arrival,
    pub verdict: Verdict,
    /// Whether the upstream stops when it is asked to.
    pub stops: bool,
    /// Where its node is to be killed.
    pub trap: Option<Trap>,
}

/// What comes of handing it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Taken,
    /// Taken, but the answer comes only when the gate opens.
    TakenLate,
    /// Busy at first, taken by whoever is asked next.
    RefusedOnce,
    /// Refused by all, always.
    Refused(FailureReason),
    /// Taken, the answer lost, found when it is looked up.
    Found,
    /// Lost on the way, and known to be.
    NotFound,
    /// Taken, the answer lost, and nobody can tell.
    Unknowable,
}

/// What the upstream says once the gate is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Deliver(u32),
    DeliverNoise,
    Fail,
    /// Nothing, ever.
    Never,
}

/// A place where a node stands still, once, until it is killed or let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// The intent is written, nothing was sent.
    BeforeArrival,
    /// The upstream has the job, its id was not heard.
    AfterArrival,
    /// The id is written.
    Poll,
}

impl Script {
    /// Whether it ends by its deadline alone.
    pub fn is_doomed(&self) -> bool {
        self.arrival == Arrival::Unknowable || self.verdict == Verdict::Never
    }
}

/// How far a request is.
struct Course {
    script: Script,
    asked: u32,
    arrived: Vec<String>,
    gate_open: bool,
    trap: TrapState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrapState {
    Set,
    Sprung,
    Released,
}

/// All requests' courses, by prompt. Clones share them.
#[derive(Clone, Default)]
pub struct Scripts {
    courses: Arc<Mutex<HashMap<String, Course>>>,
}

impl Scripts {
    fn courses(&self) -> MutexGuard<'_, HashMap<String, Course>> {
        self.courses
            .lock()
            .expect("nothing panics while it is locked")
    }

    fn with<T>(&self, prompt: &str, look: impl FnOnce(&mut Course) -> T) -> T {
        look(
            self.courses()
                .get_mut(prompt)
                .expect("every request has a script"),
        )
    }

    pub fn write(&self, prompt: &str, script: Script) {
        let course = Course {
            script,
            asked: 0,
            arrived: Vec::new(),
            gate_open: false,
            trap: TrapState::Set,
        };
        self.courses().insert(prompt.to_owned(), course);
    }

    /// Has the upstream come to its verdict.
    pub fn open_gate(&self, prompt: &str) {
        self.with(prompt, |course| course.gate_open = true);
    }

    /// How many upstreams took it: each wants to be paid.
    pub fn times_taken(&self, prompt: &str) -> usize {
        self.with(prompt, |course| course.arrived.len())
    }

    pub fn is_trap_sprung(&self, prompt: &str) -> bool {
        self.with(prompt, |course| course.trap != TrapState::Set)
    }

    pub fn release_trap(&self, prompt: &str) {
        self.with(prompt, |course| course.trap = TrapState::Released);
    }

    /// Stands still if the request has such a trap. True: it did, and its node lives on.
    async fn tread(&self, prompt: &str, trap: Trap) -> bool {
        let sprung = self.with(prompt, |course| {
            let sprung = course.script.trap == Some(trap) && course.trap == TrapState::Set;
            if sprung {
                course.trap = TrapState::Sprung;
            }
            sprung
        });
        while sprung && self.with(prompt, |course| course.trap == TrapState::Sprung) {
            sleep(Duration::from_millis(5)).await;
        }
        sprung
    }

    /// The sandbox and the upstreams of the scripts.
    pub fn providers(&self) -> Providers {
        ["fal", "kie"]
            .into_iter()
            .fold(sandbox(), |providers, name| {
                providers.with(Arc::new(Upstream {
                    name,
                    scripts: self.clone(),
                }))
            })
    }
}

struct Upstream {
    name: &'static str,
    scripts: Scripts,
}

fn lost() -> SubmitFailure {
    SubmitFailure::unknown("no answer")
}

fn refused(reason: FailureReason) -> SubmitFailure {
    let cause = match reason {
        FailureReason::ContentPolicy => Cause::Policy,
        FailureReason::ProviderRateLimited => Cause::Busy,
        _ => Cause::Broken,
    };
    SubmitFailure::refused(cause, "refused")
}

#[async_trait]
impl Provider for Upstream {
    fn name(&self) -> &str {
        self.name
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        let (prompt, scripts) = (job.prompt.as_str(), &self.scripts);
        if scripts.tread(prompt, Trap::BeforeArrival).await {
            return Err(lost());
        }
        let id = format!("{}-{}-{}", self.name, job.task_id, job.attempt);
        let (arrival, first) = scripts.with(prompt, |course| {
            course.asked += 1;
            let (arrival, first) = (course.script.arrival, course.asked == 1);
            match arrival {
                Arrival::Refused(_) => {}
                Arrival::RefusedOnce | Arrival::NotFound if first => {}
                _ => course.arrived.push(id.clone()),
            }
            (arrival, first)
        });
        if scripts.tread(prompt, Trap::AfterArrival).await {
            return Err(lost());
        }
        match arrival {
            Arrival::Refused(reason) => Err(refused(reason)),
            Arrival::RefusedOnce if first => Err(refused(FailureReason::ProviderRateLimited)),
            Arrival::Unknowable => Err(lost()),
            Arrival::Found | Arrival::NotFound if first => Err(lost()),
            Arrival::TakenLate => {
                while !scripts.with(prompt, |course| course.gate_open) {
                    sleep(Duration::from_millis(5)).await;
                }
                Ok(Submitted::Taken(id))
            }
            Arrival::Taken | Arrival::RefusedOnce | Arrival::Found | Arrival::NotFound => {
                Ok(Submitted::Taken(id))
            }
        }
    }

    async fn probe(&self, _upstream_model: &str) -> Probe {
        Probe::Ready
    }

    async fn lookup(&self, job: &Job) -> Lookup {
        self.scripts
            .with(&job.prompt, |course| match course.arrived.last() {
                _ if course.script.arrival == Arrival::Unknowable => Lookup::CannotTell,
                Some(id) => Lookup::Found(id.clone()),
                None => Lookup::NotSubmitted,
            })
    }

    async fn poll(&self, job: &Job, upstream_id: &str) -> Result<Poll, PollError> {
        let (prompt, scripts) = (job.prompt.as_str(), &self.scripts);
        if scripts.tread(prompt, Trap::Poll).await {
            return Err(PollError {
                message: "no answer".to_owned(),
                retry_after: None,
            });
        }
        let verdict = scripts.with(prompt, |course| {
            assert!(
                course.arrived.iter().any(|id| id == upstream_id),
                "{upstream_id} is unknown"
            );
            course.gate_open.then_some(course.script.verdict)
        });
        let files = |bytes: &Bytes, count: u32| {
            let file = Rendered::new(Content::Bytes(bytes.clone()));
            Poll::Done(vec![file; count as usize])
        };
        Ok(match verdict {
            None | Some(Verdict::Never) => Poll::Running { progress: Some(50) },
            Some(Verdict::Deliver(count)) => files(&PICTURE, count),
            Some(Verdict::DeliverNoise) => files(&Bytes::from_static(b"<html>oops</html>"), 1),
            Some(Verdict::Fail) => {
                Poll::Failed(Failure::new(FailureReason::ContentPolicy, "refused"))
            }
        })
    }

    async fn cancel(&self, job: &Job, _upstream_id: &str) -> Result<Cancel, PollError> {
        self.scripts.with(&job.prompt, |course| {
            Ok(if course.script.stops {
                Cancel::Stopped
            } else {
                Cancel::GoesOn
            })
        })
    }
}

/// A small picture.
static PICTURE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::new(8, 8)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("eight by eight pixels fit");
    bytes.into_inner().into()
});
