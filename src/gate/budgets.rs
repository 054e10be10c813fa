//! Budgets of calls: one bucket (GCRA, by `governor`) for each key, in a bounded cache.
//!
//! A bucket that was evicted starts full again. The cache evicts what was not used for long, and what was not
//! used for a minute is full anyway.

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use quick_cache::sync::Cache;

/// Buckets kept, at most.
const BUCKETS_MAX: usize = 100_000;

/// What is left of a budget, for the caller to see (the headers `RateLimit-*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Calls per minute.
    pub limit: u32,
    /// Calls that would pass right now.
    pub remaining: u32,
    /// Seconds until all of them would pass, rounded up.
    pub reset_seconds: u64,
}

/// A budget that is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) allowance: Allowance,
    pub(super) retry_after: Duration,
}

type Bucket<C> = RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>;

/// Buckets by key. What a bucket holds must follow from its key, since it is made once.
pub(super) struct Buckets<K, C: Clock> {
    buckets: Cache<K, Arc<Bucket<C>>>,
    clock: C,
}

impl<K: Eq + Hash + Clone, C: Clock + Clone> Buckets<K, C> {
    pub(super) fn new(clock: C) -> Self {
        Buckets {
            buckets: Cache::new(BUCKETS_MAX),
            clock,
        }
    }

    /// Takes one call out of the bucket of `key`.
    pub(super) fn spend(&self, key: &K, quota: Quota) -> Result<Allowance, Spent> {
        let make = || {
            let bucket = RateLimiter::direct_with_clock(quota, self.clock.clone());
            Ok::<_, Infallible>(Arc::new(
                bucket.with_middleware::<StateInformationMiddleware>(),
            ))
        };
        let Ok(bucket) = self.buckets.get_or_insert_with(key, make);
        match bucket.check() {
            Ok(state) => Ok(left(&state)),
            Err(until) => Err(self.spent(quota, &until)),
        }
    }

    fn spent(&self, quota: Quota, until: &NotUntil<C::Instant>) -> Spent {
        Spent {
            allowance: allowance(quota, 0),
            retry_after: until.wait_time_from(self.clock.now()),
        }
    }
}

fn left(state: &StateSnapshot) -> Allowance {
    allowance(state.quota(), state.remaining_burst_capacity())
}

fn allowance(quota: Quota, remaining: u32) -> Allowance {
    let limit = quota.burst_size().get();
    let until_full = quota.replenish_interval() * limit.saturating_sub(remaining);
    Allowance {
        limit,
        remaining,
        reset_seconds: whole_seconds(until_full),
    }
}

/// Rounded up, so that whoever waits that long is not early.
pub(super) fn whole_seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn per_minute(calls: u32) -> Quota {
        Quota::per_minute(NonZeroU32::new(calls).expect("not zero"))
    }

    #[test]
    fn a_bucket_empties_says_so_and_fills_again() {
        let clock = FakeRelativeClock::default();
        let buckets = Buckets::new(clock.clone());
        let state = |remaining, reset_seconds| Allowance {
            limit: 3,
            remaining,
            reset_seconds,
        };
        assert_eq!(buckets.spend(&1, per_minute(3)), Ok(state(2, 20)));
        assert_eq!(buckets.spend(&1, per_minute(3)), Ok(state(1, 40)));
        assert_eq!(buckets.spend(&1, per_minute(3)), Ok(state(0, 60)));
        let spent = Spent {
            allowance: state(0, 60),
            retry_after: Duration::from_secs(20),
        };
        assert_eq!(buckets.spend(&1, per_minute(3)), Err(spent));
        assert_eq!(buckets.spend(&2, per_minute(3)), Ok(state(2, 20)));
        clock.advance(spent.retry_after);
        assert_eq!(buckets.spend(&1, per_minute(3)), Ok(state(0, 60)));
    }
}
