//! The text of an API key: making one, reading one, and the hash that is kept of it.
//!
//! ```text
//! piooy_live_ 7Qm4…32 random base62 digits…xW 0aB9zK
//! piooy_test_            190 bits             CRC-32 of all before it, 6 base62 digits
//! ```
//!
//! The fixed beginning and the tail let a person's typo and a scanner for leaked keys be told from a wrong key
//! without asking the database. The tail is no secret and adds no strength: the 190 bits do that, and they are
//! why a plain SHA-256 is enough to keep (nobody can try them all).

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;

const LIVE: &str = "piooy_live_";
const TEST: &str = "piooy_test_";
const RANDOM_DIGITS: usize = 32;
const CHECK_DIGITS: usize = 6;
const SHOWN_DIGITS: usize = 4;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An API key, or any text that claims to be one. `Debug` does not tell it; [`Secret::expose`] does.
pub struct Secret(String);

/// SHA-256 of a key's whole text: what the database keeps of it and looks it up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

/// Why a text can't be an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyFault {
    /// There is no text.
    #[error("the key is empty")]
    Empty,
    /// It does not begin like a key.
    #[error("this is not a Piooy key; those begin with piooy_live_ or piooy_test_")]
    Foreign,
    /// It is too short or too long.
    #[error(
        "a Piooy key has {expected} characters, this one has {found}; was it cut or pasted twice?"
    )]
    Length {
        /// How long a key is.
        expected: usize,
        /// How long this one is.
        found: usize,
    },
    /// Something other than letters and digits follows the beginning.
    #[error("a Piooy key has only letters and digits after piooy_live_ or piooy_test_")]
    Characters,
    /// The tail does not match.
    #[error("the key's last characters don't match the rest; is there a typo?")]
    Checksum,
}

impl Secret {
    /// A new key from the operating system's random numbers.
    pub fn generate(test: bool) -> Result<Secret, getrandom::Error> {
        let mut text = String::with_capacity(key_length());
        text.push_str(if test { TEST } else { LIVE });
        push_random_digits(&mut text)?;
        push_check_digits(&mut text);
        Ok(Secret(text))
    }

    /// The key itself, to be shown to its owner and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash to keep.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// The beginning that may be shown for ever. What stays hidden is 166 bits.
    pub fn shown_prefix(&self) -> &str {
        &self.0[..LIVE.len() + SHOWN_DIGITS]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl KeyHash {
    /// The hash to look a presented key up by. A text that can't be a key is refused here, so that it costs
    /// nothing but this.
    pub fn parse(text: &str) -> Result<KeyHash, KeyFault> {
        check(text)?;
        Ok(Self::of(text))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(text: &str) -> KeyHash {
        KeyHash(Sha256::digest(text).into())
    }
}

const fn key_length() -> usize {
    LIVE.len() + RANDOM_DIGITS + CHECK_DIGITS
}

fn check(text: &str) -> Result<(), KeyFault> {
    if text.is_empty() {
        return Err(KeyFault::Empty);
    }
    let digits = text
        .strip_prefix(LIVE)
        .or_else(|| text.strip_prefix(TEST))
        .ok_or(KeyFault::Foreign)?;
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(KeyFault::Characters);
    }
    if text.len() != key_length() {
        return Err(KeyFault::Length {
            expected: key_length(),
            found: text.len(),
        });
    }
    // All ASCII by now, so this cuts between characters.
    let (body, tail) = text.split_at(text.len() - CHECK_DIGITS);
    if tail.as_bytes() != check_digits(body) {
        return Err(KeyFault::Checksum);
    }
    Ok(())
}

fn push_random_digits(text: &mut String) -> Result<(), getrandom::Error> {
    // 248 = 4 × 62: bytes from there on are thrown away, or the first eight digits would be likelier.
    let fair = |byte: &u8| *byte < 248;
    let mut missing = RANDOM_DIGITS;
    while missing > 0 {
        let mut bytes = [0u8; RANDOM_DIGITS];
        getrandom::fill(&mut bytes)?;
        for byte in bytes.into_iter().filter(fair).take(missing) {
            text.push(char::from(BASE62[usize::from(byte % 62)]));
            missing -= 1;
        }
    }
    Ok(())
}

fn push_check_digits(text: &mut String) {
    let digits = check_digits(text);
    text.extend(digits.map(char::from));
}

/// The CRC-32 of `body` in base 62. Six digits hold it: 62⁶ > 2³².
fn check_digits(body: &str) -> [u8; CHECK_DIGITS] {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [b'0'; CHECK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_tail(body: &str) -> String {
        let mut text = body.to_owned();
        push_check_digits(&mut text);
        text
    }

    #[test]
    fn a_new_key_is_one() {
        for test in [false, true] {
            let secret = Secret::generate(test).expect("random numbers");
            let text = secret.expose();
            assert_eq!(text.len(), 49);
            assert_eq!(text.starts_with("piooy_test_"), test);
            assert_eq!(KeyHash::parse(text), Ok(secret.hash()));
            assert_eq!(secret.shown_prefix(), &text[..15]);
        }
    }

    #[test]
    fn two_keys_differ() {
        let one = Secret::generate(false).expect("random numbers");
        let other = Secret::generate(false).expect("random numbers");
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn debug_does_not_tell_the_key() {
        let secret = Secret::generate(false).expect("random numbers");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    /// The tail is part of what people and scanners rely on, so it must never change.
    #[test]
    fn the_tail_is_fixed() {
        assert_eq!(
            with_tail("piooy_live_00000000000000000000000000000000"),
            "piooy_live_000000000000000000000000000000002kyXm2"
        );
    }

    #[test]
    fn every_single_typo_is_seen() {
        let good = with_tail("piooy_test_0aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0k");
        for position in "piooy_test_".len()..good.len() {
            for digit in BASE62 {
                let mut bytes = good.clone().into_bytes();
                if bytes[position] == *digit {
                    continue;
                }
                bytes[position] = *digit;
                let typo = String::from_utf8(bytes).expect("ASCII");
                assert_eq!(KeyHash::parse(&typo), Err(KeyFault::Checksum), "{typo}");
            }
        }
    }

    #[test]
    fn swapping_neighbours_is_seen() {
        let good = with_tail("piooy_test_0aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0k");
        for position in "piooy_test_".len()..good.len() - 1 {
            let mut bytes = good.clone().into_bytes();
            if bytes[position] == bytes[position + 1] {
                continue;
            }
            bytes.swap(position, position + 1);
            let swapped = String::from_utf8(bytes).expect("ASCII");
            assert_eq!(KeyHash::parse(&swapped), Err(KeyFault::Checksum));
        }
    }

    #[test]
    fn a_test_key_does_not_become_a_live_key() {
        let test = with_tail("piooy_test_0aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0k");
        let live = test.replace("_test_", "_live_");
        assert_eq!(KeyHash::parse(&live), Err(KeyFault::Checksum));
    }

    #[test]
    fn every_cut_is_seen() {
        let good = with_tail("piooy_live_0aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0k");
        for length in 0..good.len() {
            let fault = KeyHash::parse(&good[..length]).expect_err("cut");
            let expected = match length {
                0 => KeyFault::Empty,
                1..=10 => KeyFault::Foreign,
                found => KeyFault::Length {
                    expected: 49,
                    found,
                },
            };
            assert_eq!(fault, expected, "{length}");
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let good = with_tail("piooy_live_0aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0k");
        let length = |found| KeyFault::Length {
            expected: 49,
            found,
        };
        let table = [
            ("sk-proj-0123456789", KeyFault::Foreign),
            ("Piooy_live_", KeyFault::Foreign),
            ("piooy_prod_0aZ9", KeyFault::Foreign),
            (" piooy_live_0aZ9", KeyFault::Foreign),
            (&format!("{good} "), KeyFault::Characters),
            (&format!("\"{good}\""), KeyFault::Foreign),
            (&good.replace("0k", "0é"), KeyFault::Characters),
            (&format!("{good}0"), length(50)),
            (&good.repeat(2), KeyFault::Characters),
        ];
        for (text, fault) in table {
            assert_eq!(KeyHash::parse(text), Err(fault), "{text}");
        }
    }
}
