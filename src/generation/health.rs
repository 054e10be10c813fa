//! Which upstreams are worth asking at the moment, and how much each is given at once.
//!
//! An upstream that fails [`FAILURES_MAX`] times in a row, or says that it will not serve this server at
//! all, is left alone for a while, each time twice as long as before; then one task tries it, and the
//! others follow when that went well. A request that an upstream refuses because of what was asked says
//! nothing about the upstream.
//!
//! This is what one process has seen. Others find out for themselves: a refusal costs nobody anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;
use crate::providers::{Cause, Providers};

/// Failures in a row after which an upstream is left alone.
const FAILURES_MAX: u32 = 3;
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
}

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    /// Rests in a row.
    rests: u32,
    /// When it may be asked again; none: at any time.
    resting_until: Option<Instant>,
}

impl Health {
    /// All of them well.
    pub fn new(providers: &Providers, settings: &Settings) -> Self {
        let upstream = |(name, places): (&str, usize)| {
            let upstream = Upstream {
                state: Mutex::default(),
                places: Arc::new(Semaphore::new(places)),
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

    /// The upstream took a job, or refused it for good reasons.
    pub fn worked(&self, name: &str) {
        if let Some(mut state) = self.state(name) {
            *state = State::default();
        }
    }

    /// The upstream failed, and perhaps said when to come back.
    pub fn failed(&self, name: &str, cause: Cause, retry_after: Option<Duration>, now: Instant) {
        if !cause.is_upstream() {
            return self.worked(name);
        }
        let Some(mut state) = self.state(name) else {
            return;
        };
        state.failures += 1;
        let rest = match (cause, retry_after) {
            // One model is gone, not the upstream.
            (Cause::Retired, _) => return,
            (_, Some(wanted)) => wanted,
            // An operator must act.
            (Cause::Key | Cause::Credit, None) => self.rests.1,
            _ if state.failures >= FAILURES_MAX => self.rest_after(state.rests),
            _ => return,
        };
        state.rests += 1;
        state.resting_until = Some(now + rest);
        tracing::warn!(upstream = name, ?cause, ?rest, "an upstream is left alone");
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

    fn rest_after(&self, rests: u32) -> Duration {
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
            health.failed(SANDBOX, Cause::Broken, None, now);
            assert!(health.rest(SANDBOX, now).is_zero());
        }
        health.failed(SANDBOX, Cause::Broken, None, now);
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
            health.failed(SANDBOX, Cause::Policy, None, now);
            health.failed(SANDBOX, Cause::Input, None, now);
            health.failed(SANDBOX, Cause::Retired, None, now);
        }
        assert!(health.rest(SANDBOX, now).is_zero());
        health.failed(SANDBOX, Cause::Key, None, now);
        assert_eq!(health.rest(SANDBOX, now), Duration::from_secs(60));
        health.failed(SANDBOX, Cause::Busy, Some(Duration::from_secs(7)), now);
        assert_eq!(health.rest(SANDBOX, now), Duration::from_secs(7));
    }

    #[test]
    fn rests_double_up_to_their_bound() {
        let rests = [0, 1, 2, 5, 6, 100].map(|rests| health().rest_after(rests).as_secs());
        assert_eq!(rests, [1, 2, 4, 32, 60, 60]);
    }
}
