//! An upstream that does as a test says and counts what it is asked.

use std::collections::{HashMap, VecDeque};
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use piooy::providers::{
    Cancel, Cause, Content, Failure, FailureReason, Job, Lookup, Poll, PollError, Probe, Provider,
    Providers, Rendered, SubmitFailure, Submitted,
};
use uuid::Uuid;

use super::fixture::sandbox;

/// What comes of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Accept,
    /// For certain not taken.
    Refuse(FailureReason),
    /// For certain not taken, whatever is asked with that key.
    RefuseKey,
    /// Taken, but the answer is lost.
    AcceptAndLose,
    /// Not taken, but nobody can know.
    Lose,
    /// Taken, and no answer ever comes.
    AcceptAndHang,
}

/// What it says when asked for a submission whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Perfect,
    None,
}

/// How jobs stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Running,
    Deliver(usize),
    Fail(FailureReason),
    /// Can't be asked.
    Unreachable,
    /// Something that is neither a picture nor a video.
    DeliverNoise,
}

#[derive(Debug)]
struct State {
    replies: VecDeque<Reply>,
    memory: Memory,
    verdict: Verdict,
    stops: bool,
    asked: Vec<Job>,
    jobs: HashMap<Uuid, String>,
    polled: Vec<String>,
    canceled: Vec<String>,
    /// What the next questions find.
    probes: VecDeque<Probe>,
    /// What all after them find.
    condition: Probe,
    probed: usize,
}

pub struct Upstream {
    name: &'static str,
    state: Mutex<State>,
}

impl Upstream {
    /// One that takes everything and delivers one picture at the first poll.
    pub fn new(name: &'static str) -> Arc<Self> {
        let state = State {
            replies: VecDeque::new(),
            memory: Memory::None,
            verdict: Verdict::Deliver(1),
            stops: true,
            asked: Vec::new(),
            jobs: HashMap::new(),
            polled: Vec::new(),
            canceled: Vec::new(),
            probes: VecDeque::new(),
            condition: Probe::Ready,
            probed: 0,
        };
        Arc::new(Self {
            name,
            state: Mutex::new(state),
        })
    }

    pub fn replies(self: Arc<Self>, replies: &[Reply]) -> Arc<Self> {
        self.state.lock().unwrap().replies.extend(replies);
        self
    }

    pub fn remembers(self: Arc<Self>, memory: Memory) -> Arc<Self> {
        self.state.lock().unwrap().memory = memory;
        self
    }

    pub fn decides(self: Arc<Self>, verdict: Verdict) -> Arc<Self> {
        self.decide(verdict);
        self
    }

    pub fn never_stops(self: Arc<Self>) -> Arc<Self> {
        self.state.lock().unwrap().stops = false;
        self
    }

    pub fn decide(&self, verdict: Verdict) {
        self.state.lock().unwrap().verdict = verdict;
    }

    /// Whoever asks how it is finds this from now on.
    pub fn is(&self, condition: Probe) {
        self.state.lock().unwrap().condition = condition;
    }

    /// Whoever asks next how it is finds this, once.
    pub fn is_once(&self, condition: Probe) {
        self.state.lock().unwrap().probes.push_back(condition);
    }

    /// How often it was asked how it is.
    pub fn probed(&self) -> usize {
        self.state.lock().unwrap().probed
    }

    /// How often it was asked to do something.
    pub fn submissions(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// What it was asked to do, in order.
    pub fn asked(&self) -> Vec<Job> {
        self.state.lock().unwrap().asked.clone()
    }

    /// The ids it was polled for, in order.
    pub fn polled(&self) -> Vec<String> {
        self.state.lock().unwrap().polled.clone()
    }

    /// The ids it was asked to stop.
    pub fn canceled(&self) -> Vec<String> {
        self.state.lock().unwrap().canceled.clone()
    }
}

/// The sandbox and these.
pub fn providers(upstreams: &[&Arc<Upstream>]) -> Providers {
    upstreams.iter().fold(sandbox(), |providers, upstream| {
        let upstream: Arc<Upstream> = Arc::clone(upstream);
        providers.with(upstream)
    })
}

pub(crate) fn png() -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::new(96, 96)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner().into()
}

/// Why an upstream refuses, that callers are told such a reason.
pub fn cause(reason: FailureReason) -> Cause {
    let causes = [Cause::Policy, Cause::Input, Cause::Busy, Cause::Broken];
    let found = causes.into_iter().find(|cause| cause.reason() == reason);
    found.expect("an upstream refuses so")
}

fn said(reason: FailureReason) -> Failure {
    Failure::new(reason, format!("the upstream said {}", reason.as_str()))
}

#[async_trait]
impl Provider for Upstream {
    fn name(&self) -> &str {
        self.name
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        let (reply, id) = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(job.clone());
            let reply = state.replies.pop_front().unwrap_or(Reply::Accept);
            let id = format!("{}-{}-{}", self.name, job.task_id, job.attempt);
            if !matches!(reply, Reply::Refuse(_) | Reply::RefuseKey | Reply::Lose) {
                state.jobs.insert(job.task_id, id.clone());
            }
            (reply, id)
        };
        match reply {
            Reply::Accept => Ok(Submitted::Taken(id)),
            Reply::Refuse(reason) => {
                Err(SubmitFailure::refused(cause(reason), said(reason).message))
            }
            Reply::RefuseKey => Err(SubmitFailure::refused(Cause::Key, "who are you?")),
            Reply::AcceptAndLose | Reply::Lose => Err(SubmitFailure::unknown("no answer")),
            Reply::AcceptAndHang => std::future::pending().await,
        }
    }

    async fn poll(&self, _job: &Job, upstream_id: &str) -> Result<Poll, PollError> {
        let verdict = {
            let mut state = self.state.lock().unwrap();
            state.polled.push(upstream_id.to_owned());
            state.verdict
        };
        let file = |bytes| Rendered::new(Content::Bytes(bytes));
        match verdict {
            Verdict::Running => Ok(Poll::Running { progress: Some(50) }),
            Verdict::Deliver(count) => Ok(Poll::Done(vec![file(png()); count])),
            Verdict::DeliverNoise => Ok(Poll::Done(vec![file(Bytes::from_static(
                b"<html>oops</html>",
            ))])),
            Verdict::Fail(reason) => Ok(Poll::Failed(said(reason))),
            Verdict::Unreachable => Err(PollError {
                message: "no route".to_owned(),
                retry_after: None,
            }),
        }
    }

    async fn cancel(&self, _job: &Job, upstream_id: &str) -> Result<Cancel, PollError> {
        let mut state = self.state.lock().unwrap();
        state.canceled.push(upstream_id.to_owned());
        Ok(if state.stops {
            Cancel::Stopped
        } else {
            Cancel::GoesOn
        })
    }

    async fn probe(&self, _upstream_model: &str) -> Probe {
        let mut state = self.state.lock().unwrap();
        state.probed += 1;
        let next = state.probes.pop_front();
        next.unwrap_or_else(|| state.condition.clone())
    }

    async fn lookup(&self, job: &Job) -> Lookup {
        let state = self.state.lock().unwrap();
        match (state.memory, state.jobs.get(&job.task_id)) {
            (Memory::None, _) => Lookup::CannotTell,
            (Memory::Perfect, Some(id)) => Lookup::Found(id.clone()),
            (Memory::Perfect, None) => Lookup::NotSubmitted,
        }
    }
}
