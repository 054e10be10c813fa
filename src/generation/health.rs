//! Which upstreams are worth asking at the moment, and how much each is given at once.
//!
//! An upstream that fails [`FAILURES_MAX`] times in a row, or says that it will not serve this server at
//! all, is left alone for a while, each time twice as long as before; then one task tries it, and the
//! others follow when that went well. A request that an upstream refuses because of what was asked says
//! nothing about the upstream.
//!
//! Beside that stands what questions found that nobody pays for ([`prober`](super::prober)): an upstream that is
//! in trouble by them is asked for nothing as long as another is well, and a request that has no other is
//! refused at once. What was learned while working is never enough for that: it passes, and tasks wait for it.
//!
//! This is what one process has seen. Others find out for themselves: a refusal costs nobody anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::Settings;
use super::overview::Standing;
use crate::providers::{Cause, Providers};

/// Failures in a row after which an upstream is left alone.
const FAILURES_MAX: u32 = 3;

/// How a way to an upstream's model stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It can be asked.
    Ready,
    /// It failed, and is left alone for a moment.
    Resting,
    /// It refuses this server: its key, or its account there.
    Refused,
    /// It does not answer as it should.
    Down,
    /// It no longer has the model.
    ModelGone,
}

impl Condition {
    /// A word for it, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Resting => "RESTING",
            Self::Refused => "REFUSED",
            Self::Down => "DOWN",
            Self::ModelGone => "MODEL_GONE",
        }
    }

    /// The rest of a sentence that begins with the upstream's name, for callers.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Ready => "is ready",
            Self::Resting => "failed lately and is left alone for a moment",
            Self::Refused => "refuses this server's account",
            Self::Down => "does not answer",
            Self::ModelGone => "no longer has the model",
        }
    }
}

/// What questions that nobody pays for found of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// What is wrong with all of it.
    pub trouble: Option<Condition>,
    /// Its ids of models that it no longer has.
    pub gone: BTreeSet<String>,
}

/// What is known of all upstreams.
pub(super) struct Health {
    upstreams: HashMap<String, Upstream>,
    /// How long an upstream is left alone the first time, and at most.
    rests: (Duration, Duration),
}

struct Upstream {
    state: Mutex<State>,
    /// One for each job that may be there at once.
    places: Arc<Semaphore>,
    /// It failed: somebody should ask what is wrong.
    doubted: Notify,
}

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    /// Rests in a row.
    rests: u32,
    /// When it may be asked again; none: at any time.
    resting_until: Option<Instant>,
    /// It rests because it refused this server.
    refused: bool,
    found: Findings,
    /// What it last failed by, and when.
    last_failure: Option<(&'static str, SystemTime)>,
    /// Models that it said it has not when it was to make something, each until when that counts.
    missing: BTreeMap<String, Instant>,
}

impl Health {
    /// All of them well.
    pub fn new(providers: &Providers, settings: &Settings) -> Self {
        let upstream = |(name, places): (&str, usize)| {
            let upstream = Upstream {
                state: Mutex::default(),
                places: Arc::new(Semaphore::new(places)),
                doubted: Notify::new(),
            };
            (name.to_owned(), upstream)
        };
        Self {
            upstreams: providers.places().map(upstream).collect(),
            rests: (settings.rest_min, settings.rest_max),
        }
    }

    /// How long the upstream of that name is to be left alone yet; zero when it may be asked. Whoever
    /// asks after a rest is the one who tries, and the others go on waiting meanwhile.
    pub fn rest(&self, name: &str, now: Instant) -> Duration {
        let Some(mut state) = self.state(name) else {
            return Duration::ZERO;
        };
        let Some(until) = state.resting_until else {
            return Duration::ZERO;
        };
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            state.resting_until = Some(now + self.rest_after(state.rests));
        }
        left
    }

    /// What questions found wrong with the way to a model.
    pub fn trouble(&self, name: &str, upstream_model: &str) -> Option<Condition> {
        let state = self.state(name)?;
        let gone = || state.found.gone.contains(upstream_model);
        state
            .found
            .trouble
            .or_else(|| gone().then_some(Condition::ModelGone))
    }

    /// How the way to a model stands, by all that is known.
    pub fn condition(&self, name: &str, upstream_model: &str, now: Instant) -> Condition {
        if let Some(trouble) = self.trouble(name, upstream_model) {
            return trouble;
        }
        let Some(state) = self.state(name) else {
            return Condition::Ready;
        };
        let lasts = |until: &Instant| *until > now;
        if state.resting_until.as_ref().is_some_and(lasts) {
            return match state.refused {
                true => Condition::Refused,
                false => Condition::Resting,
            };
        }
        match state.missing.get(upstream_model).is_some_and(lasts) {
            true => Condition::ModelGone,
            false => Condition::Ready,
        }
    }

    /// How all of it stands, by all that is known.
    pub fn standing(&self, name: &str, now: Instant) -> Option<Standing> {
        // Of no model: what is wrong with one of them is not asked here.
        let condition = self.condition(name, "", now);
        let state = self.state(name)?;
        let rest = state.resting_until;
        let rest = rest.map(|until| until.saturating_duration_since(now));
        let missing = state.missing.iter().filter(|(_, until)| **until > now);
        let missing = missing.map(|(model, _)| model);
        let gone: BTreeSet<&String> = state.found.gone.iter().chain(missing).collect();
        Some(Standing {
            condition,
            rest: rest.filter(|rest| !rest.is_zero()),
            failures: state.failures,
            last_failure: state.last_failure,
            gone: gone.into_iter().cloned().collect(),
        })
    }

    /// A place for a job, if one is free.
    pub fn place(&self, name: &str) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.upstreams.get(name)?.places);
        places.try_acquire_owned().ok()
    }

    /// A place for a job, when one is free.
    pub async fn wait_for_place(&self, name: &str) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.upstreams.get(name)?.places);
        places.acquire_owned().await.ok()
    }

    /// The upstream took a job, or refused it for good reasons: whatever was wrong with it is not any more.
    pub fn worked(&self, name: &str) {
        if let Some(mut state) = self.state(name) {
            (state.failures, state.rests) = (0, 0);
            (state.resting_until, state.refused) = (None, false);
            state.found.trouble = None;
        }
    }

    /// The upstream failed to take a job for one of its models, and perhaps said when to come back.
    pub fn failed(
        &self,
        name: &str,
        upstream_model: &str,
        cause: Cause,
        retry_after: Option<Duration>,
        now: Instant,
    ) {
        if !cause.is_upstream() {
            return self.worked(name);
        }
        let Some(mut state) = self.state(name) else {
            return;
        };
        self.doubt(name);
        state.failures += 1;
        state.last_failure = Some((cause.words(), SystemTime::now()));
        let rest = match (cause, retry_after) {
            // One model is gone, not the upstream.
            (Cause::Retired, _) => {
                state.missing.retain(|_, until| *until > now);
                let until = now + self.rests.1;
                state.missing.insert(upstream_model.to_owned(), until);
                return;
            }
            (_, Some(wanted)) => wanted,
            // An operator must act.
            (Cause::Key | Cause::Credit, None) => self.rests.1,
            _ if state.failures >= FAILURES_MAX => self.rest_after(state.rests),
            _ => return,
        };
        state.rests += 1;
        state.resting_until = Some(now + rest);
        state.refused = matches!(cause, Cause::Key | Cause::Credit);
        tracing::warn!(upstream = name, ?cause, ?rest, "an upstream is left alone");
    }

    /// Questions found this of the upstream.
    pub fn found(&self, name: &str, findings: Findings) {
        let Some(mut state) = self.state(name) else {
            return;
        };
        if state.found == findings {
            return;
        }
        match findings.trouble {
            Some(trouble) => tracing::warn!(upstream = name, "an upstream {}", trouble.words()),
            None if state.found.trouble.is_some() => {
                tracing::info!(upstream = name, "an upstream is well again");
            }
            None => {}
        }
        for model in findings.gone.difference(&state.found.gone) {
            tracing::warn!(upstream = name, model, "an upstream no longer has a model");
        }
        state.found = findings;
    }

    /// Returns when somebody should ask what is wrong with the upstream.
    pub async fn doubted(&self, name: &str) {
        match self.upstreams.get(name) {
            Some(upstream) => upstream.doubted.notified().await,
            None => std::future::pending().await,
        }
    }

    fn doubt(&self, name: &str) {
        if let Some(upstream) = self.upstreams.get(name) {
            upstream.doubted.notify_one();
        }
    }

    fn state(&self, name: &str) -> Option<MutexGuard<'_, State>> {
        let upstream = self.upstreams.get(name)?;
        Some(
            upstream
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// How long the rest after so many is.
    pub fn rest_after(&self, rests: u32) -> Duration {
        let (min, max) = self.rests;
        min.saturating_mul(1 << rests.min(10)).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::{SANDBOX, Sandbox};

    fn health() -> Health {
        let providers = Providers::new(Arc::new(Sandbox::default()));
        Health::new(&providers, &Settings::default())
    }

    #[test]
    fn an_upstream_that_keeps_failing_rests_and_one_task_tries_it_then() {
        let (health, now) = (health(), Instant::now());
        for _ in 1..FAILURES_MAX {
            health.failed(SANDBOX, "model", Cause::Broken, None, now);
            assert!(health.rest(SANDBOX, now).is_zero());
        }
        health.failed(SANDBOX, "model", Cause::Broken, None, now);
        assert_eq!(health.rest(SANDBOX, now), Duration::from_secs(1));
        let later = now + Duration::from_secs(1);
        assert!(health.rest(SANDBOX, later).is_zero(), "one tries");
        assert!(!health.rest(SANDBOX, later).is_zero(), "the others wait");
        health.worked(SANDBOX);
        assert!(health.rest(SANDBOX, later).is_zero());
    }

    #[test]
    fn what_was_asked_wrongly_says_nothing_and_a_refused_key_says_all() {
        let (health, now) = (health(), Instant::now());
        for _ in 0..10 {
            health.failed(SANDBOX, "model", Cause::Policy, None, now);
            health.failed(SANDBOX, "model", Cause::Input, None, now);
            health.failed(SANDBOX, "model", Cause::Retired, None, now);
        }
        assert!(health.rest(SANDBOX, now).is_zero());
        health.failed(SANDBOX, "model", Cause::Key, None, now);
        assert_eq!(health.rest(SANDBOX, now), Duration::from_secs(60));
        health.failed(
            SANDBOX,
            "model",
            Cause::Busy,
            Some(Duration::from_secs(7)),
            now,
        );
        assert_eq!(health.rest(SANDBOX, now), Duration::from_secs(7));
    }

    #[test]
    fn what_is_said_in_work_passes_and_what_questions_find_stays_until_they_find_otherwise() {
        let (health, now) = (health(), Instant::now());
        let stands = |model: &str, now| health.condition(SANDBOX, model, now);
        health.failed(SANDBOX, "model", Cause::Retired, None, now);
        assert_eq!(stands("model", now), Condition::ModelGone);
        assert_eq!(stands("another", now), Condition::Ready);
        assert_eq!(health.trouble(SANDBOX, "model"), None);
        let later = now + Duration::from_secs(61);
        assert_eq!(stands("model", later), Condition::Ready);
        health.failed(SANDBOX, "model", Cause::Credit, None, now);
        assert_eq!(stands("model", now), Condition::Refused);
        health.worked(SANDBOX);
        health.found(
            SANDBOX,
            Findings {
                trouble: None,
                gone: BTreeSet::from(["model".to_owned()]),
            },
        );
        assert_eq!(stands("model", later), Condition::ModelGone);
        assert_eq!(stands("another", later), Condition::Ready);
        let standing = health.standing(SANDBOX, later).expect("it is known");
        assert_eq!(
            (standing.condition, standing.rest),
            (Condition::Ready, None)
        );
        assert_eq!(standing.gone, ["model"]);
        let last = standing.last_failure.map(|(words, _)| words);
        assert_eq!(last, Some(Cause::Credit.words()));
        let down = Findings {
            trouble: Some(Condition::Down),
            gone: BTreeSet::new(),
        };
        health.found(SANDBOX, down);
        assert_eq!(health.trouble(SANDBOX, "another"), Some(Condition::Down));
        health.worked(SANDBOX);
        assert_eq!(stands("model", later), Condition::Ready);
    }

    #[test]
    fn rests_double_up_to_their_bound() {
        let rests = [0, 1, 2, 5, 6, 100].map(|rests| health().rest_after(rests).as_secs());
        assert_eq!(rests, [1, 2, 4, 32, 60, 60]);
    }
}
