//! Tokens of internal callers: signed JWTs (RFC 7519) from one trusted issuer.
//!
//! Only signatures with a public key are taken. Which algorithm a key is good for is a property of the key
//! (`key_set`), so neither `none` nor an HMAC made with a public key gets anywhere.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use governor::clock::Clock;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::key_set::{KeySet, KeySetOrigin, NoKey, VerifyingKey};
use super::refusal::{Refusal, TokenFault};
use crate::accounts::Scopes;

/// By how much the clocks of issuer and server may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// Whose tokens to trust.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// Where the issuer publishes its public keys.
    pub jwks: KeySetOrigin,
    /// What a token's `iss` must be.
    pub issuer: String,
    /// What a token's `aud` must be or contain.
    pub audience: String,
}

/// What a good token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) account: String,
    pub(super) scopes: Scopes,
    /// None: beyond what a clock can tell.
    pub(super) valid_until: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    /// Seconds since 1970, perhaps with a fraction (RFC 7519 §2).
    exp: Option<f64>,
    nbf: Option<f64>,
    account: Option<String>,
    #[serde(default)]
    scope: String,
}

pub(super) struct Tokens<C: Clock> {
    keys: KeySet<C>,
    issuer: String,
    audience: String,
}

/// True for what can only be meant as a JWT: three parts, the first a JSON object in base64.
pub(super) fn looks_like_token(credential: &str) -> bool {
    credential.starts_with("eyJ") && credential.matches('.').count() == 2
}

impl<C: Clock> Tokens<C> {
    pub(super) fn new(settings: JwtSettings, clock: C) -> Result<Self, reqwest::Error> {
        Ok(Tokens {
            keys: KeySet::new(settings.jwks, clock)?,
            issuer: settings.issuer,
            audience: settings.audience,
        })
    }

    /// Checks signature, issuer, audience and times.
    pub(super) async fn verify(&self, token: &str, now: SystemTime) -> Result<Bearer, Refusal> {
        let header = header(token)?;
        let algorithm = asymmetric(&header.alg)?;
        let key = self.keys.find(header.kid.as_deref(), algorithm).await;
        let claims = self.claims(token, &*key?)?;
        let seconds = check_times(&claims, now)?;
        let valid_for = Duration::try_from_secs_f64(seconds).ok();
        Ok(Bearer {
            valid_until: valid_for.and_then(|valid_for| now.checked_add(valid_for)),
            account: claims.account.ok_or(TokenFault::AccountMissing)?,
            // An issuer's tokens carry scopes of others too (openid, profile).
            scopes: claims
                .scope
                .split_ascii_whitespace()
                .filter_map(|name| name.parse().ok())
                .collect(),
        })
    }

    fn claims(&self, token: &str, key: &VerifyingKey) -> Result<Claims, TokenFault> {
        let mut validation = Validation::default();
        validation.algorithms.clone_from(&key.algorithms);
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // The times are checked against the caller's `now`.
        validation.validate_exp = false;
        jsonwebtoken::decode(token, &key.key, &validation)
            .map(|data| data.claims)
            .map_err(|error| fault(error.kind()))
    }
}

fn header(token: &str) -> Result<Header, TokenFault> {
    let part = token.split('.').next().unwrap_or_default();
    let json = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenFault::Unreadable)?;
    let header: Header = serde_json::from_slice(&json).map_err(|_| TokenFault::Unreadable)?;
    // Extensions that must be understood (RFC 7515 §4.1.11); none is.
    match header.crit {
        Some(_) => Err(TokenFault::Unreadable),
        None => Ok(header),
    }
}

fn asymmetric(name: &str) -> Result<Algorithm, TokenFault> {
    match name.parse() {
        Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) | Err(_) => {
            Err(TokenFault::Algorithm)
        }
        Ok(algorithm) => Ok(algorithm),
    }
}

/// For how many seconds it is still good.
fn check_times(claims: &Claims, now: SystemTime) -> Result<f64, TokenFault> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    let expires = claims.exp.ok_or(TokenFault::ExpiryMissing)?;
    if now >= expires + leeway {
        return Err(TokenFault::Expired);
    }
    if claims.nbf.is_some_and(|begins| now + leeway < begins) {
        return Err(TokenFault::NotYetValid);
    }
    Ok(expires + leeway - now)
}

fn fault(kind: &ErrorKind) -> TokenFault {
    match kind {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidAlgorithm => TokenFault::Algorithm,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenFault::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenFault::Audience,
        _ => TokenFault::Unreadable,
    }
}

impl From<NoKey> for Refusal {
    fn from(none: NoKey) -> Self {
        match none {
            NoKey::Unknown => TokenFault::KeyUnknown.into(),
            NoKey::Unfit => TokenFault::Algorithm.into(),
            NoKey::Ambiguous => TokenFault::KeyAmbiguous.into(),
            NoKey::Failed(error) => Refusal::Unavailable(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_looks_like_one() {
        assert!(looks_like_token("eyJhbGciOiJub25lIn0.e30."));
        for other in ["", "eyJ", "eyJ.e30", "eyJ.e30.x.y", "piooy_live_eyJ.e30.x"] {
            assert!(!looks_like_token(other), "{other}");
        }
    }

    #[test]
    fn times_have_a_small_leeway() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let check = |exp: f64, nbf: Option<f64>| {
            let (exp, account, scope) = (Some(exp), None, String::new());
            check_times(
                &Claims {
                    exp,
                    nbf,
                    account,
                    scope,
                },
                now,
            )
        };
        assert_eq!(check(1_000_000.5, None), Ok(30.5));
        assert_eq!(check(999_971.0, None), Ok(1.0));
        assert_eq!(check(999_970.0, None), Err(TokenFault::Expired));
        assert_eq!(check(f64::NEG_INFINITY, None), Err(TokenFault::Expired));
        assert_eq!(check(2e6, Some(1_000_030.0)), Ok(1_000_030.0));
        assert_eq!(check(2e6, Some(1_000_031.0)), Err(TokenFault::NotYetValid));
    }
}
