//! The public keys that may sign tokens: a JWK Set (RFC 7517) from a file or a URL, kept current.
//!
//! What a key may be used for follows from the key alone ([`VerifyingKey::algorithms`]); a token only chooses among
//! the keys. So a token can't make an RSA key pass for an HMAC secret.
//!
//! **When it is read.** A URL every 10 minutes, and when a token names a key that is not in the set, but for that
//! not more than once in 30 seconds; a file when its time or size changed, looked at no more than once a second.
//! One reads for all; who can do with the keys known so far does not wait for it. When reading fails, those keys
//! stay; without any, it is tried again no sooner than after a second.
//!
//! **Bounds.** A set is at most [`SET_BYTES_MAX`] long and fetched within [`FETCH_MAX`], without redirects.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use governor::clock::{Clock, Reference};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use thiserror::Error;

const SET_BYTES_MAX: usize = 256 * 1024;
const FETCH_MAX: Duration = Duration::from_secs(5);
/// Shorter RSA keys are not safe to trust (NIST SP 800-131A rev. 2, table 2).
const RSA_BYTES_MIN: usize = 256;
/// How soon to try again when there are no keys at all.
const RETRY_WITHOUT_KEYS: Duration = Duration::from_secs(1);

/// Where the keys are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySetOrigin {
    /// A file that someone else keeps current.
    File(PathBuf),
    /// An address, `https://…` or, inside a trusted network, `http://…`.
    Url(reqwest::Url),
}

/// An address that is none.
#[derive(Debug, Error)]
#[error("the address of the JWK Set is not a valid URL: {0}")]
pub struct KeySetOriginInvalid(String);

impl FromStr for KeySetOrigin {
    type Err = KeySetOriginInvalid;

    /// What begins with `http://` or `https://` is an address, all else names a file.
    fn from_str(text: &str) -> Result<Self, KeySetOriginInvalid> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(KeySetOrigin::File(text.into()));
        }
        reqwest::Url::parse(text)
            .map(KeySetOrigin::Url)
            .map_err(|error| KeySetOriginInvalid(error.to_string()))
    }
}

/// Why there are no keys to check tokens with.
#[derive(Debug, Error)]
pub enum KeySetError {
    /// The file can't be read.
    #[error("the JWK Set can't be read")]
    Read(#[source] std::io::Error),
    /// The address does not answer.
    #[error("the JWK Set can't be fetched")]
    Fetch(#[source] reqwest::Error),
    /// The address answers something else.
    #[error("the JWK Set can't be fetched: its server answered {0}")]
    Status(u16),
    /// It is too long to be one.
    #[error("the JWK Set is longer than {SET_BYTES_MAX} bytes")]
    Length,
    /// It is not a JWK Set.
    #[error("the JWK Set is not one")]
    Syntax(#[source] serde_json::Error),
    /// It failed a moment ago.
    #[error("the JWK Set could not be read a moment ago")]
    Missing,
}

/// One public key and what it may be used for.
pub(super) struct VerifyingKey {
    id: Option<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// Why no key was found.
#[derive(Debug)]
pub(super) enum NoKey {
    /// No key has the id, or without an id: none fits.
    Unknown,
    /// The key is for other algorithms.
    Unfit,
    /// No id, and several would do.
    Ambiguous,
    /// There are no keys at all.
    Failed(KeySetError),
}

type Keys = Arc<[Arc<VerifyingKey>]>;

pub(super) struct KeySet<C: Clock> {
    source: Source,
    state: Mutex<State<C::Instant>>,
    /// Held by whoever reads.
    turn: tokio::sync::Mutex<()>,
    clock: C,
}

enum Source {
    File(PathBuf),
    Address {
        url: reqwest::Url,
        http: reqwest::Client,
    },
}

impl Source {
    fn new(origin: KeySetOrigin) -> Result<Source, reqwest::Error> {
        Ok(match origin {
            KeySetOrigin::File(path) => Source::File(path),
            KeySetOrigin::Url(url) => Source::Address {
                url,
                http: http_client()?,
            },
        })
    }

    /// How old the set may become.
    fn routine(&self) -> Duration {
        match self {
            Source::File(_) => Duration::from_secs(1),
            Source::Address { .. } => Duration::from_secs(600),
        }
    }

    /// How old it must be to be read again for a key that is not in it.
    fn on_demand(&self) -> Duration {
        match self {
            Source::File(_) => Duration::from_secs(1),
            Source::Address { .. } => Duration::from_secs(30),
        }
    }
}

struct State<I> {
    keys: Option<Keys>,
    /// When it was last read, or tried to be.
    read_at: Option<I>,
    /// Time and size of the file that was read.
    version: Option<Version>,
}

type Version = (SystemTime, u64);

impl<C: Clock> KeySet<C> {
    /// Reads nothing yet. For an address, rustls must have a process-wide crypto provider by now.
    pub(super) fn new(origin: KeySetOrigin, clock: C) -> Result<Self, reqwest::Error> {
        Ok(KeySet {
            source: Source::new(origin)?,
            state: Mutex::new(State {
                keys: None,
                read_at: None,
                version: None,
            }),
            turn: tokio::sync::Mutex::new(()),
            clock,
        })
    }

    /// The key called `id`, if it may be used for `algorithm`; without an id, the only one that may.
    pub(super) async fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<VerifyingKey>, NoKey> {
        if !self.has_keys() {
            self.refresh(RETRY_WITHOUT_KEYS, self.turn.lock().await)
                .await?;
        } else if self.is_older(self.source.routine())
            && let Ok(turn) = self.turn.try_lock()
        {
            self.refresh(self.source.routine(), turn).await?;
        }
        match self.choose(id, algorithm) {
            Err(NoKey::Unknown) => {
                let turn = self.turn.lock().await;
                self.refresh(self.source.on_demand(), turn).await?;
                self.choose(id, algorithm)
            }
            chosen => chosen,
        }
    }

    fn choose(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<VerifyingKey>, NoKey> {
        let keys = self.state().keys.clone();
        choose(&keys.unwrap_or_default(), id, algorithm)
    }

    /// Reads the set if it is older than `age`. Err: it was never read.
    async fn refresh(
        &self,
        age: Duration,
        _turn: tokio::sync::MutexGuard<'_, ()>,
    ) -> Result<(), NoKey> {
        if !self.is_older(age) {
            // Whoever had the turn before has just tried.
            return match self.has_keys() {
                true => Ok(()),
                false => Err(NoKey::Failed(KeySetError::Missing)),
            };
        }
        // Noted before reading: a reader that is cancelled has tried, too.
        self.state().read_at = Some(self.clock.now());
        match self.load().await {
            Err(error) if self.has_keys() => {
                let error: &dyn Error = &error;
                tracing::warn!(error, "keeping the token keys known so far");
                Ok(())
            }
            loaded => loaded.map_err(NoKey::Failed),
        }
    }

    fn has_keys(&self) -> bool {
        self.state().keys.is_some()
    }

    fn is_older(&self, age: Duration) -> bool {
        self.state().read_at.is_none_or(|read_at| {
            let passed: Duration = self.clock.now().duration_since(read_at).into();
            passed >= age
        })
    }

    async fn load(&self) -> Result<(), KeySetError> {
        let (bytes, version) = match &self.source {
            Source::Address { url, http } => (fetch(http, url).await?, None),
            Source::File(path) => {
                // Looked at before it is read: a change in between is then seen the next time.
                let version = version(path).await.map_err(KeySetError::Read)?;
                if self.state().version == Some(version) {
                    return Ok(());
                }
                if version.1 > SET_BYTES_MAX as u64 {
                    return Err(KeySetError::Length);
                }
                let bytes = tokio::fs::read(path).await.map_err(KeySetError::Read)?;
                (bytes, Some(version))
            }
        };
        let keys = parse(&bytes).map_err(KeySetError::Syntax)?;
        let mut state = self.state();
        state.keys = Some(keys);
        state.version = version;
        Ok(())
    }

    /// Locked for moments only, never across a wait. What it holds is right even if a holder panicked.
    fn state(&self) -> MutexGuard<'_, State<C::Instant>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .timeout(FETCH_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

async fn fetch(http: &reqwest::Client, url: &reqwest::Url) -> Result<Vec<u8>, KeySetError> {
    let answer = http.get(url.clone()).send().await;
    let mut answer = answer.map_err(KeySetError::Fetch)?;
    if !answer.status().is_success() {
        return Err(KeySetError::Status(answer.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(KeySetError::Fetch)? {
        if bytes.len() + chunk.len() > SET_BYTES_MAX {
            return Err(KeySetError::Length);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn version(path: &Path) -> std::io::Result<Version> {
    let metadata = tokio::fs::metadata(path).await?;
    Ok((metadata.modified()?, metadata.len()))
}

/// The keys of a set that can verify signatures; others (for encryption, of unknown kinds, secrets) are left out,
/// as RFC 7517 §5 asks.
fn parse(json: &[u8]) -> Result<Keys, serde_json::Error> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(json)?;
    Ok(set
        .keys
        .into_iter()
        .filter_map(|key| verifying_key(&serde_json::from_value(key).ok()?))
        .map(Arc::new)
        .collect())
}

fn verifying_key(jwk: &Jwk) -> Option<VerifyingKey> {
    let is_for_signatures = match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => false,
    };
    let mut algorithms = algorithms(&jwk.algorithm);
    if let Some(only) = jwk.common.key_algorithm {
        let only = Algorithm::try_from(only).ok()?;
        algorithms.retain(|algorithm| *algorithm == only);
    }
    if !is_for_signatures || algorithms.is_empty() {
        return None;
    }
    Some(VerifyingKey {
        id: jwk.common.key_id.clone(),
        algorithms,
        key: DecodingKey::from_jwk(jwk).ok()?,
    })
}

/// What a key of this kind can verify (RFC 7518 §3.1, RFC 8037 §3.1). Nothing for secrets.
fn algorithms(parameters: &AlgorithmParameters) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        // Base64 without padding: four characters hold three bytes.
        AlgorithmParameters::RSA(rsa) if rsa.n.len() * 3 / 4 >= RSA_BYTES_MIN => {
            vec![RS256, RS384, RS512, PS256, PS384, PS512]
        }
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => vec![ES256],
            EllipticCurve::P384 => vec![ES384],
            _ => vec![],
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            vec![EdDSA]
        }
        _ => vec![],
    }
}

fn choose(
    keys: &[Arc<VerifyingKey>],
    id: Option<&str>,
    algorithm: Algorithm,
) -> Result<Arc<VerifyingKey>, NoKey> {
    let named: Vec<_> = keys
        .iter()
        .filter(|key| id.is_none() || key.id.as_deref() == id)
        .collect();
    let mut fitting = named
        .iter()
        .filter(|key| key.algorithms.contains(&algorithm));
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Ok(Arc::clone(key)),
        (Some(_), Some(_)) => Err(NoKey::Ambiguous),
        (None, _) if id.is_some() && !named.is_empty() => Err(NoKey::Unfit),
        (None, _) => Err(NoKey::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const POINT: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";

    fn keys_of(keys: Value) -> Keys {
        parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
    }

    fn rsa(bits: usize) -> Value {
        json!({ "kty": "RSA", "n": "w".repeat(bits.div_ceil(6)), "e": "AQAB" })
    }

    fn with(mut key: Value, name: &str, value: &str) -> Value {
        key[name] = json!(value);
        key
    }

    #[test]
    fn the_key_says_what_it_is_for() {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let ec = json!({ "kty": "EC", "crv": "P-256", "x": POINT, "y": POINT });
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": POINT });
        let secret = json!({ "kty": "oct", "k": POINT });
        let table: [(Value, &[Algorithm]); 14] = [
            (rsa(2048), &[RS256, RS384, RS512, PS256, PS384, PS512]),
            (with(rsa(2048), "alg", "PS256"), &[PS256]),
            (
                with(rsa(2048), "use", "sig"),
                &[RS256, RS384, RS512, PS256, PS384, PS512],
            ),
            (with(rsa(2048), "use", "enc"), &[]),
            (with(rsa(2048), "alg", "HS256"), &[]),
            (with(rsa(2048), "alg", "ES256"), &[]),
            (with(rsa(2048), "alg", "RSA-OAEP"), &[]),
            (rsa(1024), &[]),
            (ec.clone(), &[ES256]),
            (with(ec.clone(), "crv", "P-384"), &[ES384]),
            (with(ec, "crv", "P-521"), &[]),
            (ed, &[EdDSA]),
            (with(secret, "alg", "HS256"), &[]),
            (json!({ "kty": "AKP", "pub": POINT }), &[]),
        ];
        for (key, expected) in table {
            let keys = keys_of(json!([key]));
            let found: Vec<Algorithm> =
                keys.iter().flat_map(|key| key.algorithms.clone()).collect();
            assert_eq!(found, expected, "{key}");
        }
    }

    #[test]
    fn keys_that_are_not_understood_do_not_spoil_the_others() {
        let keys = keys_of(json!([42, { "kty": 1 }, {}, rsa(2048)]));
        assert_eq!(keys.len(), 1);
        assert!(parse(b"{}").is_err() && parse(b"[]").is_err() && parse(b"<html>").is_err());
    }

    #[test]
    fn a_token_chooses_one_key_or_none() {
        use Algorithm::{EdDSA, PS256, RS256};
        let keys = keys_of(json!([
            with(with(rsa(2048), "kid", "a"), "alg", "RS256"),
            with(rsa(2048), "kid", "b"),
            { "kty": "OKP", "crv": "Ed25519", "x": POINT },
        ]));
        let id = |id, algorithm| choose(&keys, id, algorithm).map(|key| key.id.clone());
        assert!(matches!(id(Some("a"), RS256), Ok(Some(id)) if id == "a"));
        assert!(matches!(id(Some("a"), PS256), Err(NoKey::Unfit)));
        assert!(matches!(id(Some("c"), RS256), Err(NoKey::Unknown)));
        assert!(matches!(id(None, EdDSA), Ok(None)));
        assert!(matches!(id(None, PS256), Ok(Some(id)) if id == "b"));
        assert!(matches!(id(None, RS256), Err(NoKey::Ambiguous)));
        assert!(matches!(id(None, Algorithm::ES256), Err(NoKey::Unknown)));
    }

    #[test]
    fn an_origin_is_an_address_or_a_file() {
        let parse = |text: &str| text.parse::<KeySetOrigin>();
        assert!(matches!(
            parse("https://id.example/jwks.json"),
            Ok(KeySetOrigin::Url(_))
        ));
        assert!(matches!(
            parse("/etc/piooy/jwks.json"),
            Ok(KeySetOrigin::File(_))
        ));
        assert!(parse("https://").is_err());
    }
}
