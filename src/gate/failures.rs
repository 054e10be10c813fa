//! Wrong keys by the network they came from, so that guessing ends soon and never loads the database.
//!
//! A network is one IPv4 address or the /64 of an IPv6 address, the smallest that one customer gets (RFC 6177 §2).
//! Each may be wrong [`BURST`] times at once, then once every [`REFILL`]. Meanwhile it is *closed*: what it shows
//! is answered without asking the database, unless this process has seen the same key to be good before.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use governor::clock::{Clock, Reference};
use quick_cache::sync::Cache;

use super::budgets::Buckets;

/// Wrong keys from one network that are answered one by one.
const BURST: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// How often another one is, after those.
const REFILL: Duration = Duration::from_secs(3);
/// Closed networks remembered, at most.
const CLOSED_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Network::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

pub(super) struct Failures<C: Clock> {
    counts: Buckets<Network, C>,
    /// Until when each is closed. Kept beside the counts because a bucket can't be looked at without spending.
    closed: Cache<Network, C::Instant>,
    clock: C,
}

impl<C: Clock + Clone> Failures<C> {
    pub(super) fn new(clock: C) -> Self {
        Failures {
            counts: Buckets::new(clock.clone()),
            closed: Cache::new(CLOSED_MAX),
            clock,
        }
    }

    /// How long `from` stays closed; none when it is open.
    pub(super) fn closed_for(&self, from: IpAddr) -> Option<Duration> {
        let until = self.closed.get(&Network::of(from))?;
        let left: Duration = until.duration_since(self.clock.now()).into();
        (!left.is_zero()).then_some(left)
    }

    /// Counts one wrong key. Err: one too many; how long `from` is closed now.
    pub(super) fn count(&self, from: IpAddr) -> Result<(), Duration> {
        let network = Network::of(from);
        let quota = Quota::with_period(REFILL)
            .expect("REFILL is not zero")
            .allow_burst(BURST);
        let Err(spent) = self.counts.spend(&network, quota) else {
            return Ok(());
        };
        let until = self.clock.now() + spent.retry_after.into();
        self.closed.insert(network, until);
        Err(spent.retry_after)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().expect("an address"))
    }

    #[test]
    fn one_ipv6_customer_is_one_network() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
    }

    #[test]
    fn a_network_closes_after_its_burst_and_opens_again() {
        let clock = FakeRelativeClock::default();
        let failures = Failures::new(clock.clone());
        let from: IpAddr = "192.0.2.1".parse().expect("an address");
        for _ in 0..BURST.get() {
            assert_eq!(failures.count(from), Ok(()));
            assert_eq!(failures.closed_for(from), None);
        }
        assert_eq!(failures.count(from), Err(REFILL));
        assert_eq!(failures.closed_for(from), Some(REFILL));
        assert_eq!(
            failures.closed_for("192.0.2.2".parse().expect("an address")),
            None
        );
        clock.advance(REFILL);
        assert_eq!(failures.closed_for(from), None);
        assert_eq!(failures.count(from), Ok(()));
        assert_eq!(failures.count(from), Err(REFILL));
    }
}
