//! Passwords: hashing and checking, with argon2id at the crate's parameters, which are OWASP's (19 MiB, two passes,
//! Password Storage Cheat Sheet).
//!
//! Whoever asks cannot tell from the time it takes whether there is a password to compare with: where there is none,
//! a stand-in is compared with and refused.
//!
//! **Bounds.** Both take a core for some hundredths of a second, so they run beside the runtime, a few at once;
//! whoever waits longer than [`WAIT_MAX`] for a turn is told to come back.

use std::ops::RangeInclusive;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};

use super::{People, PeopleError};

/// Characters that a password has.
pub const LENGTH: RangeInclusive<usize> = 10..=200;

/// The longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The hash of no known password, at the same parameters as all others.
const STAND_IN: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$\
    ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

impl People {
    /// The hash to keep of a password.
    pub(super) async fn hash(&self, password: String) -> Result<String, PeopleError> {
        if !LENGTH.contains(&password.chars().count()) {
            return Err(PeopleError::Password);
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(PeopleError::Randomness)?;
        self.apart(move || {
            let hash: PasswordHash =
                Argon2::default().hash_password_with_salt(password.as_bytes(), &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether `password` has this hash; without one it is wrong, which takes as long.
    pub(super) async fn is_right(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, PeopleError> {
        // Nothing longer is anybody's password, and cost must not grow with what is sent.
        let is_possible = password.chars().count() <= *LENGTH.end() && hash.is_some();
        let hash = hash.unwrap_or_else(|| STAND_IN.to_owned());
        self.apart(move || {
            let shown: String = password.chars().take(*LENGTH.end()).collect();
            let hash = PasswordHash::new(&hash)?;
            match Argon2::default().verify_password(shown.as_bytes(), &hash) {
                Ok(()) => Ok(is_possible),
                Err(Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, PeopleError> {
        let turn = tokio::time::timeout(WAIT_MAX, self.hashing.clone().acquire_owned());
        let Ok(Ok(turn)) = turn.await else {
            return Err(PeopleError::Busy);
        };
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        match done.await {
            Ok(done) => done.map_err(PeopleError::Hash),
            Err(_) => Err(PeopleError::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_costs_what_all_others_cost() {
        let hash: PasswordHash = Argon2::default()
            .hash_password_with_salt(b"a password", b"sixteen bytes ..")
            .expect("a password can be hashed");
        let stand_in = PasswordHash::new(STAND_IN).expect("is in the right format");
        assert_eq!(stand_in.algorithm, hash.algorithm);
        assert_eq!(stand_in.params, hash.params);
        let wrong = Argon2::default().verify_password(b"a password", &stand_in);
        assert!(matches!(wrong, Err(Error::PasswordInvalid)), "{wrong:?}");
    }
}
