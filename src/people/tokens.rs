//! The texts that stand for sessions and links. Pure but for the random numbers.
//!
//! | text | what it is | what is kept |
//! |---|---|---|
//! | access token | a JWT (HS256) that says session, person, account and role, for [`ACCESS_LIFE`] | nothing |
//! | refresh token | the session's id and 256 random bits | SHA-256 of the bits |
//! | link | 256 random bits | SHA-256 |
//! | promise | a JWT (HS256) that somebody keeps who signs in at an OpenID provider, for [`DEPARTURE_LIFE`] | nothing |
//! | form token | an HMAC of the session's id | nothing |
//!
//! An access token only names a session. What it may do is read anew, so a role that changed, or a session that
//! ended, holds long before the token expires.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::issuer::Promise;
use super::{DEPARTURE_LIFE, PeopleError, Role};

/// For how long an access token is good.
pub const ACCESS_LIFE: Duration = Duration::from_secs(10 * 60);

/// Who issues access tokens, for whom.
const ISSUER: &str = "piooy-session";
/// Who issues promises: neither passes for the other.
const PROMISER: &str = "piooy-promise";

/// The longest token that is looked at. A promise holds a path of 512 bytes.
const TOKEN_LENGTH_MAX: usize = 2_048;

/// What a browser is given to show.
pub struct SessionTokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl fmt::Debug for SessionTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionTokens(…)")
    }
}

/// What an access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) session_id: Uuid,
    pub(super) person_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) role: Role,
}

/// What every signed token says.
#[derive(Serialize, Deserialize)]
struct Claims<T> {
    iss: String,
    /// Seconds since 1970.
    exp: u64,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize, Deserialize)]
struct AccessClaims {
    /// The session.
    sid: Uuid,
    /// The person.
    sub: Uuid,
    account: Uuid,
    role: String,
}

/// What signs and checks.
pub(super) struct Keys {
    signing: EncodingKey,
    checking: DecodingKey,
    forms: Vec<u8>,
}

impl Keys {
    pub(super) fn new(secret: &[u8]) -> Keys {
        Keys {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            forms: secret.to_vec(),
        }
    }

    pub(super) fn sign(&self, access: Access, now: SystemTime) -> Result<String, PeopleError> {
        let claims = AccessClaims {
            sid: access.session_id,
            sub: access.person_id,
            account: access.account_id,
            role: access.role.name().to_owned(),
        };
        self.encode(ISSUER, now + ACCESS_LIFE, claims)
    }

    /// What a token says and until when; none: it is not ours, was changed, or has expired.
    pub(super) fn read(&self, token: &str, now: SystemTime) -> Option<(Access, SystemTime)> {
        let (claims, until) = self.decode::<AccessClaims>(ISSUER, token, now)?;
        let access = Access {
            session_id: claims.sid,
            person_id: claims.sub,
            account_id: claims.account,
            role: claims.role.parse().ok()?,
        };
        Some((access, until))
    }

    pub(super) fn sign_promise(
        &self,
        promise: &Promise,
        now: SystemTime,
    ) -> Result<String, PeopleError> {
        self.encode(PROMISER, now + DEPARTURE_LIFE, promise)
    }

    pub(super) fn read_promise(&self, token: &str, now: SystemTime) -> Option<Promise> {
        let (promise, _) = self.decode(PROMISER, token, now)?;
        Some(promise)
    }

    fn encode(
        &self,
        issuer: &str,
        until: SystemTime,
        rest: impl Serialize,
    ) -> Result<String, PeopleError> {
        let claims = Claims {
            iss: issuer.to_owned(),
            exp: seconds(until),
            rest,
        };
        let header = Header::new(Algorithm::HS256);
        Ok(jsonwebtoken::encode(&header, &claims, &self.signing)?)
    }

    fn decode<T: DeserializeOwned>(
        &self,
        issuer: &str,
        token: &str,
        now: SystemTime,
    ) -> Option<(T, SystemTime)> {
        if token.len() > TOKEN_LENGTH_MAX {
            return None;
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["iss"]);
        validation.set_issuer(&[issuer]);
        // Checked against the caller's `now`.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims<T>>(token, &self.checking, &validation)
            .ok()?
            .claims;
        let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp))?;
        (now < until).then_some((claims.rest, until))
    }

    pub(super) fn form_token(&self, session_id: Uuid) -> String {
        URL_SAFE_NO_PAD.encode(self.form_mac(session_id).finalize().into_bytes())
    }

    pub(super) fn is_form_token(&self, session_id: Uuid, token: &str) -> bool {
        URL_SAFE_NO_PAD
            .decode(token)
            .is_ok_and(|shown| self.form_mac(session_id).verify_slice(&shown).is_ok())
    }

    fn form_mac(&self, session_id: Uuid) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.forms).expect("HMAC takes keys of any length");
        mac.update(b"form ");
        mac.update(session_id.as_bytes());
        mac
    }
}

/// 256 random bits as text.
pub(super) fn random() -> Result<String, PeopleError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(PeopleError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a token.
pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The refresh token of a session.
pub(super) fn join(session_id: Uuid, bits: &str) -> String {
    format!("{}.{bits}", session_id.simple())
}

/// The session that a refresh token names, and the hash of its bits.
pub(super) fn split(refresh: &str) -> Option<(Uuid, [u8; 32])> {
    if refresh.len() > TOKEN_LENGTH_MAX {
        return None;
    }
    let (session, bits) = refresh.split_once('.')?;
    Some((Uuid::try_parse(session).ok()?, hash(bits)))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn access() -> Access {
        Access {
            session_id: Uuid::from_u128(1),
            person_id: Uuid::from_u128(2),
            account_id: Uuid::from_u128(3),
            role: Role::Member,
        }
    }

    #[test]
    fn an_access_token_is_good_for_its_life_and_with_its_key() {
        let (keys, others) = (Keys::new(&[1; 32]), Keys::new(&[2; 32]));
        let token = keys.sign(access(), NOW).expect("can be signed");
        let end = NOW + ACCESS_LIFE;
        assert_eq!(keys.read(&token, NOW), Some((access(), end)));
        assert_eq!(keys.read(&token, end), None, "it has expired");
        assert_eq!(others.read(&token, NOW), None, "another's signature");
        let (said, signature) = token.rsplit_once('.').expect("three parts");
        let unsigned = format!(
            "eyJhbGciOiJub25lIn0.{}.",
            &said[said.find('.').map_or(0, |at| at + 1)..]
        );
        assert_eq!(keys.read(&unsigned, NOW), None, "not signed");
        assert_eq!(keys.read(&format!("{said}x.{signature}"), NOW), None);
        assert_eq!(keys.read("", NOW), None);
    }

    #[test]
    fn a_form_token_is_of_one_session() {
        let keys = Keys::new(&[1; 32]);
        let token = keys.form_token(Uuid::from_u128(1));
        assert!(keys.is_form_token(Uuid::from_u128(1), &token));
        assert!(!keys.is_form_token(Uuid::from_u128(2), &token));
        assert!(!keys.is_form_token(Uuid::from_u128(1), ""));
        assert!(!keys.is_form_token(Uuid::from_u128(1), "!"));
    }

    #[test]
    fn a_refresh_token_names_its_session() {
        let bits = random().expect("random numbers");
        assert_eq!(
            split(&join(Uuid::from_u128(7), &bits)),
            Some((Uuid::from_u128(7), hash(&bits)))
        );
        assert_eq!(split("x.y"), None);
        assert_eq!(split(""), None);
    }
}
