//! The upstreams that do the work: one trait, one file for each, and the registry of those that
//! this server can reach.
//!
//! A provider speaks its upstream's language and nothing else: it knows no accounts, no credits and
//! no database, and keeps no state that a restart would miss. The worker asks it in this order, any
//! number of times, possibly from another process after a crash:
//!
//! | question | asked |
//! |---|---|
//! | [`check`](Provider::check) | before anything is held: can you take this at all? |
//! | [`submit`](Provider::submit) | once for each attempt, after the attempt was written down |
//! | [`lookup`](Provider::lookup) | when nobody knows whether an attempt arrived |
//! | [`poll`](Provider::poll) | until it ends |
//! | [`cancel`](Provider::cancel) | when the caller wants it stopped, or its time is up |
//!
//! No upstream is trusted to be idempotent, so a submission is either known to have arrived, known
//! not to have, or unknown ([`SubmitFailure::definite`]); only the second is ever tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

mod sandbox;

pub use sandbox::Sandbox;

/// The name of the embedded provider.
pub const SANDBOX: &str = "sandbox";

/// What is asked of an upstream, as far as upstreams tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// From the prompt alone.
    Text,
    /// Pictures from a prompt and reference pictures.
    Edit,
    /// A video that starts with the one reference picture.
    ImageToVideo,
    /// A video from the first reference picture to the second.
    FirstLastFrame,
    /// A video that shows what is on the reference pictures.
    ReferenceToVideo,
}

/// One attempt at a task, in the terms of the provider that is asked.
#[derive(Debug, Clone)]
pub struct Job {
    /// The task; with [`attempt`](Self::attempt), a name for the submission that no other has.
    pub task_id: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The model's slug in the catalogue.
    pub model: String,
    /// The model's name for people.
    pub model_title: String,
    /// The upstream's id for the model and the operation.
    pub upstream_model: String,
    /// Upstream inputs that never vary, because the price rests on them.
    pub fixed: BTreeMap<String, String>,
    /// What kind of work it is.
    pub operation: Operation,
    /// What to make, in words.
    pub prompt: String,
    /// As the model lists it, for example `2K`.
    pub resolution: String,
    /// As the model lists it, for example `16:9`.
    pub aspect_ratio: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The length of a video; none: pictures are asked for.
    pub duration_seconds: Option<u32>,
    /// How many files to make; at least 1.
    pub count: u32,
    /// Whether a video has sound.
    pub audio: bool,
    /// A number that makes the result repeatable, where the upstream supports that.
    pub seed: Option<u32>,
    /// What must not be seen, in words; none where the model does not take it.
    pub negative_prompt: Option<String>,
    /// The reference pictures. Present when [`Provider::submit`] and [`Provider::lookup`] are
    /// called and at the first [`Provider::poll`] of a process; let go afterwards, since a job may
    /// be polled for an hour.
    pub references: Vec<Bytes>,
}

/// One finished file. What it is and how large is read from its bytes when it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The file.
    pub bytes: Bytes,
    /// Videos: a picture of the first frame, where the upstream gives one.
    pub poster: Option<Bytes>,
}

/// The class of a failure; a stable word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureReason {
    /// The upstream refuses to make this.
    ContentPolicy,
    /// The upstream cannot take a value that the model's facts allow.
    InvalidInput,
    /// The upstream broke or answered nonsense.
    ProviderError,
    /// The upstream wants fewer calls.
    ProviderRateLimited,
    /// It took too long.
    DeadlineExceeded,
    /// This server broke.
    Internal,
}

impl FailureReason {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentPolicy => "CONTENT_POLICY",
            Self::InvalidInput => "INVALID_INPUT",
            Self::ProviderError => "PROVIDER_ERROR",
            Self::ProviderRateLimited => "PROVIDER_RATE_LIMITED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether the same request may succeed if sent again.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::ContentPolicy | Self::InvalidInput => false,
            Self::ProviderError
            | Self::ProviderRateLimited
            | Self::DeadlineExceeded
            | Self::Internal => true,
        }
    }
}

/// Why something failed, in words that a caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub reason: FailureReason,
    /// A sentence for people; names no secret and no inside of the server.
    pub message: String,
}

impl Failure {
    /// A failure of this class.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// A submission that gave no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitFailure {
    /// True: the upstream has certainly not taken the job. False: it may have, for all we know.
    pub definite: bool,
    /// Why.
    pub failure: Failure,
}

/// How a job stands, by the upstream's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// Still at it; the progress in percent, where the upstream tells.
    Running {
        /// From 0 to 100.
        progress: Option<u8>,
    },
    /// Ended with these files, perhaps fewer than were asked for.
    Done(Vec<Rendered>),
    /// Ended without any.
    Failed(Failure),
}

/// The upstream could not be asked this time; this says nothing about the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the upstream could not be asked: {message}")]
pub struct PollError {
    /// For the log.
    pub message: String,
    /// How long the upstream wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// The upstream's word on a request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It stopped, and delivers and charges nothing.
    Stopped,
    /// It goes on, or ended meanwhile; polling tells.
    GoesOn,
}

/// What an upstream knows of a submission that nobody saw arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It arrived; this is its id.
    Found(String),
    /// It certainly did not arrive and never will.
    NotSubmitted,
    /// The upstream can't be asked, or not now.
    CannotTell,
}

/// An upstream. Every answer must come in bounded time; the worker may drop a call at any point.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name, as in the routes of the catalogue.
    fn name(&self) -> &'static str;

    /// Whether the job could be taken, as far as can be told without asking the upstream.
    ///
    /// # Errors
    /// A failure that would certainly be the job's end.
    fn check(&self, _job: &Job) -> Result<(), Failure> {
        Ok(())
    }

    /// Hands the job to the upstream and answers with the upstream's id for it. Never tries twice
    /// by itself.
    ///
    /// # Errors
    /// [`SubmitFailure`], definite or not.
    async fn submit(&self, job: &Job) -> Result<String, SubmitFailure>;

    /// Asks how the job stands.
    ///
    /// # Errors
    /// [`PollError`] when the upstream could not be asked. A job that the upstream no longer knows
    /// is [`Poll::Failed`].
    async fn poll(&self, job: &Job, upstream_id: &str) -> Result<Poll, PollError>;

    /// Asks the upstream to stop.
    ///
    /// # Errors
    /// [`PollError`] when the upstream could not be asked.
    async fn cancel(&self, _job: &Job, _upstream_id: &str) -> Result<Cancel, PollError> {
        Ok(Cancel::GoesOn)
    }

    /// Asks for a submission whose answer was lost.
    async fn lookup(&self, _job: &Job) -> Lookup {
        Lookup::CannotTell
    }
}

/// The providers that this server can reach, and those that a setting would add.
#[derive(Clone)]
pub struct Providers {
    sandbox: Arc<dyn Provider>,
    configured: BTreeMap<&'static str, Arc<dyn Provider>>,
    /// From the name of a provider to the setting that it lacks.
    unconfigured: BTreeMap<&'static str, &'static str>,
}

impl Providers {
    /// The sandbox alone.
    #[must_use]
    pub fn new(sandbox: Arc<dyn Provider>) -> Self {
        Self {
            sandbox,
            configured: BTreeMap::new(),
            unconfigured: BTreeMap::new(),
        }
    }

    /// With an upstream that has what it needs.
    #[must_use]
    pub fn with(mut self, provider: Arc<dyn Provider>) -> Self {
        self.configured.insert(provider.name(), provider);
        self
    }

    /// With an upstream that could be reached if `setting` were set.
    #[must_use]
    pub fn without(mut self, name: &'static str, setting: &'static str) -> Self {
        self.unconfigured.insert(name, setting);
        self
    }

    /// The embedded provider.
    #[must_use]
    pub fn sandbox(&self) -> &Arc<dyn Provider> {
        &self.sandbox
    }

    /// The provider of that name, if it can be reached.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        if name == SANDBOX {
            Some(&self.sandbox)
        } else {
            self.configured.get(name)
        }
    }

    /// The setting that would make the provider of that name reachable.
    #[must_use]
    pub fn missing_setting(&self, name: &str) -> Option<&'static str> {
        self.unconfigured.get(name).copied()
    }

    /// The names of all providers that this server knows, reachable or not, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self
            .configured
            .keys()
            .chain(self.unconfigured.keys())
            .copied()
            .chain([SANDBOX])
            .collect();
        names.sort_unstable();
        names
    }
}
