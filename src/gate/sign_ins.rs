//! Tries to sign in, by the network they come from and by the e-mail address they are for, so that neither many
//! passwords for one person nor one password for many people can be tried.
//!
//! Good tries count as well: whether a password was right must not show in when the next answer is refused.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use governor::clock::Clock;
use sha2::{Digest, Sha256};

use super::budgets::Buckets;
use super::failures::Network;
use super::refusal::Refusal;

/// Tries at once from one network, and how often another one is let through after those.
const FROM: (NonZeroU32, Duration) = (
    NonZeroU32::new(20).expect("not zero"),
    Duration::from_secs(3),
);
/// Tries at once for one address, and how often another one is let through after those.
const FOR: (NonZeroU32, Duration) = (
    NonZeroU32::new(5).expect("not zero"),
    Duration::from_secs(15),
);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Try {
    From(Network),
    /// SHA-256 of the address in lower case: as long for any address.
    For([u8; 32]),
}

pub(super) struct SignIns<C: Clock>(Buckets<Try, C>);

impl<C: Clock + Clone> SignIns<C> {
    pub(super) fn new(clock: C) -> Self {
        SignIns(Buckets::new(clock))
    }

    pub(super) fn spend(&self, from: IpAddr, email: &str) -> Result<(), Refusal> {
        let email = Sha256::digest(email.trim().to_lowercase()).into();
        let tries = [(Try::From(Network::of(from)), FROM), (Try::For(email), FOR)];
        for (key, (burst, refill)) in tries {
            let quota = Quota::with_period(refill)
                .expect("neither period is zero")
                .allow_burst(burst);
            let spent = self.0.spend(&key, quota);
            spent.map_err(|spent| Refusal::TooManySignIns {
                retry_after: spent.retry_after,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn tries_end_for_one_address_and_from_one_network() {
        let clock = FakeRelativeClock::default();
        let tries = SignIns::new(clock.clone());
        let from = |last| IpAddr::from([192, 0, 2, last]);
        for at in 0..5 {
            assert!(tries.spend(from(at), "Ann@example.org").is_ok());
        }
        let refused = tries.spend(from(9), " ann@EXAMPLE.org");
        assert!(
            matches!(refused, Err(Refusal::TooManySignIns { retry_after }) if retry_after == FOR.1)
        );
        clock.advance(FOR.1);
        assert!(tries.spend(from(9), "ann@example.org").is_ok());

        for at in 0..20 {
            assert!(tries.spend(from(99), &format!("{at}@example.org")).is_ok());
        }
        assert!(tries.spend(from(99), "another@example.org").is_err());
        assert!(tries.spend(from(98), "another@example.org").is_ok());
    }
}
