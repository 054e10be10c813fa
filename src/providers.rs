//! The upstreams that do the work: one trait, one file for each dialect, and the registry of those
//! that this server can reach.
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
//! | [`hear`](Provider::hear) | when somebody calls in the upstream's name |
//! | [`probe`](Provider::probe) | when the operator wants to know what works |
//!
//! No upstream is trusted to be idempotent, so a submission is either known to have arrived, known
//! not to have, or unknown ([`SubmitFailure::definite`]); only the second is ever tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

mod comfyui;
mod content;
mod failure;
mod fal;
mod gemini;
mod http;
mod inputs;
mod job;
mod kie;
mod openai;
mod replicate;
mod sandbox;
mod spill;
mod standard_webhooks;

pub use comfyui::{Comfyui, ComfyuiError};
pub use content::{ByteStream, Content, FetchError, Rendered};
pub use failure::{Cause, Failure, FailureReason, SubmitFailure};
pub use fal::Fal;
pub use gemini::Gemini;
pub use http::Connection;
pub use inputs::{InputMistake, Inputs};
pub use job::{Job, Operation};
pub use kie::Kie;
pub use openai::OpenAi;
pub use replicate::Replicate;
pub use sandbox::Sandbox;

/// The name of the embedded provider.
pub const SANDBOX: &str = "sandbox";
/// How old, or how far ahead, the signature of a webhook may be.
const SIGNATURE_AGE_MAX: Duration = Duration::from_secs(300);

/// What comes of a submission that arrived.
#[derive(Debug)]
pub enum Submitted {
    /// The upstream works on it; this is its id for the job.
    Taken(String),
    /// The upstream answered with the files themselves, perhaps fewer than were asked for.
    Done(Vec<Rendered>),
}

/// How a job stands, by the upstream's word.
#[derive(Debug)]
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
    /// Stopped, because it was asked to.
    Canceled,
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

/// A call that says it comes from the upstream.
pub struct Hook<'a> {
    /// A header by its lower-case name.
    pub header: &'a (dyn Fn(&str) -> Option<&'a str> + Send + Sync),
    /// As it came.
    pub body: &'a [u8],
    /// When it came.
    pub now: SystemTime,
}

impl Hook<'_> {
    /// Whether it was signed lately, by the seconds since 1970 that a header of it has.
    fn is_fresh(&self, seconds: &str) -> bool {
        let now = self.now.duration_since(UNIX_EPOCH).unwrap_or_default();
        seconds
            .parse()
            .is_ok_and(|seconds| now.abs_diff(Duration::from_secs(seconds)) <= SIGNATURE_AGE_MAX)
    }
}

/// Why a call is not taken for the upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// This upstream does not call.
    #[error("this upstream sends no webhooks")]
    NotOffered,
    /// The signature is missing, wrong, or too old.
    #[error("the webhook's signature is missing, wrong or too old")]
    Signature,
    /// The keys to check the signature with cannot be had at the moment.
    #[error("the webhook cannot be checked at the moment")]
    Unchecked,
}

/// What is known of a way to an upstream's model without spending anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The upstream answers, takes the key and knows the model.
    Ready,
    /// The upstream answers and takes the key; whether it has the model cannot be asked.
    Answers,
    /// The upstream refuses the key.
    KeyRefused,
    /// The upstream no longer has the model.
    ModelGone,
    /// The upstream does not answer as it should; why.
    Down(String),
}

/// An upstream. Every answer must come in bounded time; the worker may drop a call at any point.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name, as in the routes of the catalogue.
    fn name(&self) -> &str;

    /// Whether the job could be taken, as far as can be told without asking the upstream.
    ///
    /// # Errors
    /// A failure that would certainly be the job's end.
    fn check(&self, _job: &Job) -> Result<(), Failure> {
        Ok(())
    }

    /// Hands the job to the upstream and answers with the upstream's id for it, or with its files.
    /// Never tries twice by itself.
    ///
    /// # Errors
    /// [`SubmitFailure`], definite or not.
    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure>;

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

    /// Whether it can tell of a job's end by calling [`Job::webhook_url`].
    fn calls_back(&self) -> bool {
        false
    }

    /// Checks that a call comes from the upstream. What it says is not believed: whoever is sure of
    /// the caller polls.
    ///
    /// # Errors
    /// [`HookError`] when it does not, or nobody can tell.
    async fn hear(&self, _hook: &Hook<'_>) -> Result<(), HookError> {
        Err(HookError::NotOffered)
    }

    /// Whether [`probe`](Self::probe) can tell of a model whether the upstream has it. Otherwise it finds the
    /// same whichever it is asked for.
    fn knows_models(&self) -> bool {
        true
    }

    /// Asks whether the upstream answers, takes the key and has a model, without spending anything.
    async fn probe(&self, upstream_model: &str) -> Probe;
}

/// How long an answer to [`Provider::probe`] is worth waiting for.
pub const PROBE_MAX: Duration = Duration::from_secs(15);

/// Makes the provider of an upstream with another key than the operator's; `None` when the text can be no key.
pub type MakeWithKey = Arc<dyn Fn(&str) -> Option<Arc<dyn Provider>> + Send + Sync>;

/// How many jobs an upstream may have at once that has no bound of its own.
const PLACES_MAX: usize = 100_000;

/// The providers that this server can reach, and those that a setting would add.
#[derive(Clone)]
pub struct Providers {
    sandbox: Arc<dyn Provider>,
    configured: BTreeMap<String, Arc<dyn Provider>>,
    /// From the name of a provider to how many jobs it may have at once; the others have no bound.
    places: BTreeMap<String, usize>,
    /// From the name of a provider to the setting that it lacks.
    unconfigured: BTreeMap<String, String>,
    /// From the name of a provider to how it is made with a caller's own key.
    with_keys: BTreeMap<String, MakeWithKey>,
}

impl Providers {
    /// The sandbox alone.
    #[must_use]
    pub fn new(sandbox: Arc<dyn Provider>) -> Self {
        Self {
            sandbox,
            configured: BTreeMap::new(),
            places: BTreeMap::new(),
            unconfigured: BTreeMap::new(),
            with_keys: BTreeMap::new(),
        }
    }

    /// With an upstream that has what it needs.
    #[must_use]
    pub fn with(mut self, provider: Arc<dyn Provider>) -> Self {
        self.configured.insert(provider.name().to_owned(), provider);
        self
    }

    /// With at most so many jobs of this process at an upstream at once.
    #[must_use]
    pub fn limited(mut self, name: &str, places: usize) -> Self {
        self.places.insert(name.to_owned(), places);
        self
    }

    /// With an upstream that could be reached if `setting` were set.
    #[must_use]
    pub fn without(mut self, name: &str, setting: &str) -> Self {
        self.unconfigured
            .insert(name.to_owned(), setting.to_owned());
        self
    }

    /// With an upstream that callers may bring keys of their own for, whether the operator has one or not.
    #[must_use]
    pub fn taking_keys(mut self, name: &str, make: MakeWithKey) -> Self {
        self.with_keys.insert(name.to_owned(), make);
        self
    }

    /// The provider of that name with a caller's own key; `None` when it takes none, or not this one.
    #[must_use]
    pub fn with_key(&self, name: &str, key: &str) -> Option<Arc<dyn Provider>> {
        self.with_keys.get(name)?(key)
    }

    /// The names of the providers that callers may bring keys for, in order.
    #[must_use]
    pub fn that_take_keys(&self) -> Vec<&str> {
        self.with_keys.keys().map(String::as_str).collect()
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

    /// The providers that can be reached, without the embedded one.
    pub fn configured(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.configured.values()
    }

    /// The providers that can be reached, each with how many jobs it may have at once.
    pub fn places(&self) -> impl Iterator<Item = (&str, usize)> {
        let names = self.configured.keys().map(String::as_str);
        names.chain([SANDBOX]).map(|name| {
            let places = self.places.get(name).copied();
            (name, places.unwrap_or(PLACES_MAX))
        })
    }

    /// The bounds that were set: from the name of a provider to how many jobs it may have at once.
    pub fn bounds(&self) -> impl Iterator<Item = (&str, usize)> {
        let places = self.places.iter();
        places.map(|(name, places)| (name.as_str(), *places))
    }

    /// The setting that would make the provider of that name reachable.
    #[must_use]
    pub fn missing_setting(&self, name: &str) -> Option<&str> {
        self.unconfigured.get(name).map(String::as_str)
    }

    /// The names of all providers that this server knows, reachable or not, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .configured
            .keys()
            .chain(self.unconfigured.keys())
            .chain(self.with_keys.keys())
            .map(String::as_str)
            .chain([SANDBOX])
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
