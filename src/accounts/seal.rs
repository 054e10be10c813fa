//! Sealing what the database is to keep and must not know.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits: random nonces are good for 2³² texts under one
//! secret, and an account's keys are far fewer. What a text belongs to is authenticated with it, so no sealed
//! text can be put in another's place.
//!
//! Beside each text stands which secret sealed it. So a secret can be replaced: the new one seals from then on,
//! and the old one still opens as long as it is given.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

/// How long a secret is, in bytes.
pub const SECRET_BYTES: usize = 32;

/// A secret's name: the beginning of a hash of it.
type Name = [u8; 8];

/// The secrets of a server: the first seals, all of them open. `Debug` tells none.
#[derive(Clone)]
pub struct SealingSecrets(Vec<[u8; SECRET_BYTES]>);

impl SealingSecrets {
    /// Those secrets, the newest first; `None` when there are none.
    #[must_use]
    pub fn new(secrets: Vec<[u8; SECRET_BYTES]>) -> Option<Self> {
        (!secrets.is_empty()).then_some(Self(secrets))
    }
}

impl fmt::Debug for SealingSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secrets]")
    }
}

/// Why a text stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The secret that sealed it is not among those that are given.
    #[error("it is sealed with a secret that this server does not have")]
    OtherSecret,
    /// It is not what was sealed, or belongs to something else.
    #[error("it is not what was sealed")]
    Damaged,
}

/// Seals and opens.
pub(super) struct Seal(Vec<(Name, LessSafeKey)>);

impl Seal {
    pub fn new(secrets: &SealingSecrets) -> Self {
        let key = |secret: &[u8; SECRET_BYTES]| {
            let key = UnboundKey::new(&AES_256_GCM, secret).expect("a secret has the key's length");
            (name(secret), LessSafeKey::new(key))
        };
        Self(secrets.0.iter().map(key).collect())
    }

    /// The name of the secret that sealed, and the text as only that opens it again.
    pub fn close(
        &self,
        text: &str,
        belongs_to: &[u8],
    ) -> Result<(Name, Vec<u8>), getrandom::Error> {
        let (name, key) = self.0.first().expect("there is a secret");
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce)?;
        let mut sealed = text.as_bytes().to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(belongs_to),
            &mut sealed,
        )
        .expect("a key is far shorter than what can be sealed");
        sealed.splice(..0, nonce);
        Ok((*name, sealed))
    }

    pub fn open(&self, name: &[u8], sealed: &[u8], belongs_to: &[u8]) -> Result<String, SealError> {
        let known = self.0.iter().find(|(known, _)| known == name);
        let (_, key) = known.ok_or(SealError::OtherSecret)?;
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Damaged)?;
        let mut text = sealed.to_vec();
        let opened = key.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(belongs_to),
            &mut text,
        );
        let length = opened.map_err(|_| SealError::Damaged)?.len();
        text.truncate(length);
        String::from_utf8(text).map_err(|_| SealError::Damaged)
    }
}

fn name(secret: &[u8; SECRET_BYTES]) -> Name {
    let hash = Sha256::new()
        .chain_update(b"piooy sealing secret")
        .chain_update(secret)
        .finalize();
    *hash.first_chunk().expect("a hash is longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(secrets: &[u8]) -> Seal {
        let secrets = secrets.iter().map(|byte| [*byte; SECRET_BYTES]).collect();
        Seal::new(&SealingSecrets::new(secrets).expect("there are some"))
    }

    #[test]
    fn what_is_sealed_opens_for_what_it_belongs_to() {
        let (name, sealed) = seal(&[1]).close("a key", b"acme/fal").expect("sealed");
        assert_eq!(
            seal(&[1]).open(&name, &sealed, b"acme/fal"),
            Ok("a key".to_owned())
        );
        let elsewhere = seal(&[1]).open(&name, &sealed, b"evil/fal");
        assert_eq!(elsewhere, Err(SealError::Damaged));
        assert!(!sealed.windows(5).any(|part| part == b"a key"));
        let (_, again) = seal(&[1]).close("a key", b"acme/fal").expect("sealed");
        assert_ne!(again, sealed, "no two are alike");
    }

    #[test]
    fn every_byte_counts() {
        let (name, sealed) = seal(&[1]).close("a key", b"acme/fal").expect("sealed");
        for at in 0..sealed.len() {
            let mut touched = sealed.clone();
            touched[at] ^= 1;
            let opened = seal(&[1]).open(&name, &touched, b"acme/fal");
            assert_eq!(opened, Err(SealError::Damaged), "at {at}");
            let opened = seal(&[1]).open(&name, &sealed[..at], b"acme/fal");
            assert_eq!(opened, Err(SealError::Damaged), "up to {at}");
        }
    }

    #[test]
    fn an_old_secret_opens_and_a_new_one_seals() {
        let (old, sealed) = seal(&[1]).close("a key", b"x").expect("sealed");
        let both = seal(&[2, 1]);
        assert_eq!(both.open(&old, &sealed, b"x"), Ok("a key".to_owned()));
        let (new, resealed) = both.close("a key", b"x").expect("sealed");
        assert_ne!(new, old);
        assert_eq!(
            seal(&[2]).open(&new, &resealed, b"x"),
            Ok("a key".to_owned())
        );
        assert_eq!(
            seal(&[2]).open(&old, &sealed, b"x"),
            Err(SealError::OtherSecret)
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = SealingSecrets::new(vec![[7; SECRET_BYTES]]).expect("there is one");
        assert_eq!(format!("{secrets:?}"), "[secrets]");
        assert!(SealingSecrets::new(Vec::new()).is_none());
    }
}
