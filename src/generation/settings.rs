//! Every bound of the room, in one place.

use std::time::Duration;

use crate::accounts::SealingSecrets;

/// What the room may use and how long it waits. The defaults suit a server; tests shorten the
/// times.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether a live key may ask for the sandbox.
    pub sandbox_for_live: bool,
    /// What accounts' own keys for upstreams are sealed with; none: there are no such keys.
    pub upstream_keys_secrets: Option<SealingSecrets>,
    /// What a task costs that runs with the account's own key, in percent of its price; at most 100.
    pub own_key_percent: u8,
    /// Where upstreams reach this server to tell of changes; none: they cannot.
    pub hooks_url: Option<String>,
    /// Open tasks that this process keeps in memory at most; more submissions are told to come
    /// back.
    pub open_tasks_max: usize,
    /// Tasks of this process that are with an upstream at the same time; the others wait their
    /// turn.
    pub running_tasks_max: usize,
    /// How long a node's word counts after it was last heard. It is renewed, and dead nodes are
    /// looked for, every third of it.
    pub lease: Duration,
    /// How long a task may take, as a multiple of what its model usually takes at worst …
    pub lifetime_factor: u32,
    /// … but at least this …
    pub lifetime_min: Duration,
    /// … and at most this.
    pub lifetime_max: Duration,
    /// The first wait between two polls of an upstream; each is half as long again as the one
    /// before …
    pub poll_wait_min: Duration,
    /// … up to this. Failed attempts back off likewise.
    pub poll_wait_max: Duration,
    /// How often an upstream that is well is asked whether it still is, more or less.
    pub probe_interval: Duration,
    /// How long an upstream that keeps failing is left alone the first time …
    pub rest_min: Duration,
    /// … and at most; each time is twice as long as the one before.
    pub rest_max: Duration,
    /// How long an idempotency key is remembered. Longer than a week would need the index of keys to
    /// be looked at in more places.
    pub key_lifetime: Duration,
    /// How often progress is written down, and told to the other nodes.
    pub progress_interval: Duration,
    /// How often the tasks of other nodes that somebody here follows are looked at without any news
    /// of them, in case news got lost.
    pub look_interval: Duration,
    /// How long files are waited for that an upstream may still deliver after the task has failed …
    pub grace_max: Duration,
    /// … and for how many tasks at the same time.
    pub stragglers_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sandbox_for_live: false,
            upstream_keys_secrets: None,
            own_key_percent: 10,
            hooks_url: None,
            open_tasks_max: 10_000,
            running_tasks_max: 1_000,
            lease: Duration::from_secs(30),
            lifetime_factor: 10,
            lifetime_min: Duration::from_secs(10 * 60),
            lifetime_max: Duration::from_secs(2 * 60 * 60),
            poll_wait_min: Duration::from_millis(250),
            poll_wait_max: Duration::from_secs(10),
            probe_interval: Duration::from_secs(5 * 60),
            rest_min: Duration::from_secs(1),
            rest_max: Duration::from_secs(60),
            key_lifetime: Duration::from_secs(24 * 60 * 60),
            progress_interval: Duration::from_secs(2),
            look_interval: Duration::from_secs(15),
            grace_max: Duration::from_secs(30 * 60),
            stragglers_max: 1_000,
        }
    }
}

impl Settings {
    /// How long a task of a model may take.
    pub(super) fn lifetime(&self, typical_seconds_worst: u32) -> Duration {
        let usual = Duration::from_secs(typical_seconds_worst.into());
        usual
            .saturating_mul(self.lifetime_factor)
            .max(self.lifetime_min)
            .min(self.lifetime_max)
    }

    /// The wait after one of `wait`.
    pub(super) fn longer(&self, wait: Duration) -> Duration {
        (wait + wait / 2).min(self.poll_wait_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_a_floor_and_a_ceiling() {
        let settings = Settings::default();
        let minutes = |seconds| settings.lifetime(seconds).as_secs() / 60;
        assert_eq!(
            [0, 40, 120, 720, 3600, u32::MAX].map(minutes),
            [10, 10, 20, 120, 120, 120]
        );
    }
}
