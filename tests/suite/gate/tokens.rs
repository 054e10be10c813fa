//! The gate with tokens: what is trusted, whose keys, and how they may be rotated.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::{EncodePrivateKey, KeypairBytes};
use governor::clock::FakeRelativeClock;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use piooy::accounts::{Accounts, Scope};
use piooy::gate::{Caller, Gate, JwtSettings, KeySetOrigin, Refusal, TokenFault};
use piooy::spec::method::Budget;
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::rand_core::{OsRng, RngCore};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::HOME;
use crate::support::{self, TestDatabase};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "piooy";
const NOW_SECONDS: u64 = 2_000_000_000;
/// After this a file is looked at again.
const FILE_AGE: Duration = Duration::from_secs(1);
/// After this an address is asked again for a key that is not in the set.
const DEMAND_AGE: Duration = Duration::from_secs(30);

/// A key pair of the issuer.
#[derive(Clone)]
struct Pair {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    /// The public half as PEM; empty where no test needs it.
    public_pem: String,
}

impl Pair {
    fn ed25519(id: &'static str) -> Pair {
        let mut secret_key = [0; 32];
        OsRng.fill_bytes(&mut secret_key);
        let document = KeypairBytes {
            secret_key,
            public_key: None,
        };
        let pem = document.to_pkcs8_pem(LineEnding::LF).unwrap();
        Pair {
            id,
            algorithm: Algorithm::EdDSA,
            private: EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(),
            public_pem: String::new(),
        }
    }

    fn p256(id: &'static str) -> Pair {
        use p256::pkcs8::EncodePrivateKey;
        let secret = p256::SecretKey::random(&mut OsRng);
        let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
        Pair {
            id,
            algorithm: Algorithm::ES256,
            private: EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
            public_pem: String::new(),
        }
    }

    /// Made once for all tests, since finding primes takes a while.
    fn rsa(id: &'static str, algorithm: Algorithm) -> Pair {
        static PAIR: OnceLock<Pair> = OnceLock::new();
        let pair = PAIR.get_or_init(|| {
            use rsa::pkcs8::EncodePrivateKey;
            let secret = rsa::RsaPrivateKey::new(&mut OsRng, 2048).unwrap();
            let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
            let public = secret.to_public_key();
            Pair {
                id,
                algorithm,
                private: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
                public_pem: public.to_public_key_pem(LineEnding::LF).unwrap(),
            }
        });
        Pair {
            id,
            algorithm,
            ..pair.clone()
        }
    }

    /// The public half, as an issuer publishes it.
    fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    fn header(&self) -> Header {
        Header {
            kid: Some(self.id.to_owned()),
            ..Header::new(self.algorithm)
        }
    }

    fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.private).unwrap()
    }
}

fn set(pairs: &[&Pair]) -> Value {
    json!({ "keys": pairs.iter().map(|pair| pair.jwk()).collect::<Vec<_>>() })
}

/// Good claims.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": NOW_SECONDS + 300, "account": "acme",
        "scope": "openid generate admin",
    })
}

fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn claims_without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

struct Fixture {
    gate: Gate<FakeRelativeClock>,
    clock: FakeRelativeClock,
    _database: TestDatabase,
}

impl Fixture {
    async fn new(jwks: KeySetOrigin) -> Fixture {
        let database = support::database().await;
        let accounts = Accounts::new(database.store().clone());
        accounts.create("acme", "free").await.unwrap();
        let settings = JwtSettings {
            jwks,
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
        };
        let clock = FakeRelativeClock::default();
        let gate = Gate::with_clock(accounts, Some(settings), clock.clone()).unwrap();
        Fixture {
            gate,
            clock,
            _database: database,
        }
    }

    async fn show(&self, token: &str) -> Result<Caller, Refusal> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
        self.gate.authenticate(Some(token), HOME, now).await
    }

    async fn fault(&self, token: &str) -> TokenFault {
        match self.show(token).await {
            Err(Refusal::TokenInvalid { why }) => why,
            other => panic!("{other:?}"),
        }
    }
}

/// A file with a key set, gone with its test.
struct SetFile {
    directory: TempDir,
}

impl SetFile {
    fn absent() -> SetFile {
        SetFile {
            directory: TempDir::new().unwrap(),
        }
    }

    fn new(pairs: &[&Pair]) -> SetFile {
        let file = SetFile::absent();
        file.write(&set(pairs).to_string());
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("jwks.json")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn origin(&self) -> KeySetOrigin {
        self.path().to_str().unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_token_of_each_kind_of_key_lets_its_account_in() {
    let pairs = [
        Pair::ed25519("ed"),
        Pair::p256("ec"),
        Pair::rsa("rsa", Algorithm::RS256),
    ];
    let file = SetFile::new(&pairs.each_ref());
    let fixture = Fixture::new(file.origin()).await;
    for pair in &pairs {
        let caller = fixture.show(&pair.sign(&claims())).await.unwrap();
        assert_eq!(caller.account_name(), "acme");
        assert_eq!((caller.key_id(), caller.is_test()), (None, false));
        assert_eq!(caller.scopes().to_string(), "generate admin");
        assert_eq!(caller.plan().name, "free");
        // What clocks may differ by is the token's gain.
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS + 330);
        assert_eq!(caller.valid_until(), Some(end));
        assert!(
            fixture
                .gate
                .admit(&caller, Scope::Admin, Budget::Read)
                .is_ok()
        );
        let read = fixture.gate.admit(&caller, Scope::Read, Budget::Read);
        assert!(matches!(read, Err(Refusal::InsufficientScope { .. })));
    }
}

#[tokio::test]
async fn every_claim_must_hold() {
    let pair = Pair::ed25519("ed");
    let file = SetFile::new(&[&pair]);
    let fixture = Fixture::new(file.origin()).await;
    let several = claims_with("aud", json!(["other", AUDIENCE]));
    assert!(fixture.show(&pair.sign(&several)).await.is_ok());
    let table = [
        (
            claims_with("iss", json!("https://evil.example")),
            TokenFault::Issuer,
        ),
        (claims_without("iss"), TokenFault::Issuer),
        (claims_with("aud", json!("other")), TokenFault::Audience),
        (claims_with("aud", json!([])), TokenFault::Audience),
        (claims_without("aud"), TokenFault::Audience),
        (
            claims_with("exp", json!(NOW_SECONDS - 300)),
            TokenFault::Expired,
        ),
        (claims_without("exp"), TokenFault::ExpiryMissing),
        (claims_with("exp", json!("never")), TokenFault::Unreadable),
        (
            claims_with("nbf", json!(NOW_SECONDS + 300)),
            TokenFault::NotYetValid,
        ),
        (claims_without("account"), TokenFault::AccountMissing),
        (
            claims_with("account", json!("nobody")),
            TokenFault::AccountUnknown,
        ),
        (
            claims_with("account", json!("a\0")),
            TokenFault::AccountUnknown,
        ),
    ];
    for (claims, expected) in table {
        assert_eq!(
            fixture.fault(&pair.sign(&claims)).await,
            expected,
            "{claims}"
        );
    }
}

#[tokio::test]
async fn a_token_without_scopes_may_do_nothing() {
    let pair = Pair::ed25519("ed");
    let file = SetFile::new(&[&pair]);
    let fixture = Fixture::new(file.origin()).await;
    let token = pair.sign(&claims_without("scope"));
    assert!(fixture.show(&token).await.unwrap().scopes().is_empty());
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// What is public about a key must not sign: the ways in which an HMAC or no signature is passed off as one.
#[tokio::test]
async fn the_algorithm_is_the_keys_and_not_the_tokens() {
    let rsa = Pair::rsa("rsa", Algorithm::RS256);
    let ed = Pair::ed25519("ed");
    let file = SetFile::new(&[&rsa, &ed]);
    let fixture = Fixture::new(file.origin()).await;

    let hmac = |kid: Option<&str>, secret: &[u8]| {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let modulus = rsa.jwk()["n"].as_str().unwrap().to_owned();
    let unsigned = |alg: &str| {
        let header = json!({ "alg": alg, "kid": "rsa" });
        format!("{}.{}.", part(&header), part(&claims()))
    };
    let pss = Pair::rsa("rsa", Algorithm::PS256);
    let table = [
        hmac(Some("rsa"), rsa.public_pem.as_bytes()),
        hmac(None, rsa.public_pem.as_bytes()),
        hmac(Some("rsa"), rsa.jwk().to_string().as_bytes()),
        hmac(Some("rsa"), &URL_SAFE_NO_PAD.decode(modulus).unwrap()),
        unsigned("none"),
        unsigned("None"),
        // The key is published for RS256 alone.
        pss.sign(&claims()),
        Pair { id: "ed", ..pss }.sign(&claims()),
    ];
    for token in table {
        assert_eq!(
            fixture.fault(&token).await,
            TokenFault::Algorithm,
            "{token}"
        );
    }
    assert_eq!(
        fixture.fault(&unsigned("RS256")).await,
        TokenFault::Signature
    );
}

#[tokio::test]
async fn a_token_that_was_tampered_with_is_refused() {
    let pair = Pair::ed25519("ed");
    let file = SetFile::new(&[&pair]);
    let fixture = Fixture::new(file.origin()).await;
    let token = pair.sign(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let richer = part(&claims_with("account", json!("other")));
    let table = [
        (
            format!("{}.{richer}.{}", parts[0], parts[2]),
            TokenFault::Signature,
        ),
        (
            format!("{}.{}.AAAA", parts[0], parts[1]),
            TokenFault::Signature,
        ),
        (
            format!("{}.{}.!", parts[0], parts[1]),
            TokenFault::Unreadable,
        ),
        ("eyJ.e30.AAAA".to_owned(), TokenFault::Unreadable),
        (
            format!(
                "{}.e30.",
                part(&json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }))
            ),
            TokenFault::Unreadable,
        ),
        (Pair::ed25519("ed").sign(&claims()), TokenFault::Signature),
    ];
    for (token, expected) in table {
        assert_eq!(fixture.fault(&token).await, expected, "{token}");
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_needs_a_set_without_a_choice() {
    let ed = Pair::ed25519("ed");
    let rsa = Pair::rsa("rsa", Algorithm::RS256);
    let file = SetFile::new(&[&ed, &rsa]);
    let fixture = Fixture::new(file.origin()).await;
    let nameless =
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims(), &ed.private).unwrap();
    fixture.show(&nameless).await.unwrap();

    file.write(&set(&[&ed, &rsa, &Pair::ed25519("second")]).to_string());
    fixture.clock.advance(FILE_AGE);
    assert_eq!(fixture.fault(&nameless).await, TokenFault::KeyAmbiguous);
    fixture.show(&ed.sign(&claims())).await.unwrap();
}

#[tokio::test]
async fn a_file_may_be_rotated_and_a_broken_one_changes_nothing() {
    let (old, new) = (Pair::ed25519("old"), Pair::ed25519("new-key"));
    let file = SetFile::new(&[&old]);
    let fixture = Fixture::new(file.origin()).await;
    let (old_token, new_token) = (old.sign(&claims()), new.sign(&claims()));
    fixture.show(&old_token).await.unwrap();
    assert_eq!(fixture.fault(&new_token).await, TokenFault::KeyUnknown);

    file.write(&set(&[&old, &new]).to_string());
    fixture.clock.advance(FILE_AGE);
    fixture.show(&old_token).await.unwrap();
    fixture.show(&new_token).await.unwrap();

    let huge = " ".repeat(300 * 1024) + &set(&[]).to_string();
    for broken in ["half a fi", &huge] {
        file.write(broken);
        fixture.clock.advance(FILE_AGE);
        fixture.show(&new_token).await.unwrap();
    }

    file.write(&set(&[&new]).to_string());
    fixture.clock.advance(FILE_AGE);
    assert_eq!(fixture.fault(&old_token).await, TokenFault::KeyUnknown);
    fixture.show(&new_token).await.unwrap();
}

#[tokio::test]
async fn without_a_key_set_tokens_cannot_be_checked_until_it_comes() {
    let pair = Pair::ed25519("ed");
    let file = SetFile::absent();
    let fixture = Fixture::new(file.origin()).await;
    let token = pair.sign(&claims());
    let refused = fixture.show(&token).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
    file.write(&set(&[&pair]).to_string());
    let refused = fixture.show(&token).await;
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
    fixture.clock.advance(FILE_AGE);
    fixture.show(&token).await.unwrap();
}

/// An issuer's server: what it answers, and how often it was asked.
#[derive(Clone, Default)]
struct SetServer(Arc<Mutex<(String, StatusCode, u32)>>);

impl SetServer {
    async fn start(pairs: &[&Pair]) -> (SetServer, KeySetOrigin) {
        // The binary does this at its start; here each test may be the first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = SetServer::default();
        server.answer(StatusCode::OK, set(pairs).to_string());
        let shared = server.clone();
        let answer = move || async move {
            let mut state = shared.0.lock().unwrap();
            state.2 += 1;
            (state.1, state.0.clone())
        };
        let app = Router::new().route("/jwks.json", get(answer));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (server, address.parse().unwrap())
    }

    fn answer(&self, status: StatusCode, body: String) {
        let mut state = self.0.lock().unwrap();
        (state.0, state.1) = (body, status);
    }

    fn asked(&self) -> u32 {
        self.0.lock().unwrap().2
    }
}

#[tokio::test]
async fn an_address_is_asked_again_for_a_new_key_but_not_for_every_stranger() {
    let (old, new) = (Pair::ed25519("old"), Pair::ed25519("new"));
    let (server, origin) = SetServer::start(&[&old]).await;
    let fixture = Fixture::new(origin).await;
    let (old_token, new_token) = (old.sign(&claims()), new.sign(&claims()));
    for _ in 0..3 {
        fixture.show(&old_token).await.unwrap();
        assert_eq!(fixture.fault(&new_token).await, TokenFault::KeyUnknown);
    }
    assert_eq!(server.asked(), 1);

    server.answer(StatusCode::OK, set(&[&old, &new]).to_string());
    fixture.clock.advance(DEMAND_AGE);
    fixture.show(&old_token).await.unwrap();
    assert_eq!(server.asked(), 1, "a key that is known is not asked for");
    fixture.show(&new_token).await.unwrap();
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn an_address_that_fails_changes_nothing() {
    let pair = Pair::p256("ec");
    let (server, origin) = SetServer::start(&[&pair]).await;
    let fixture = Fixture::new(origin).await;
    let token = pair.sign(&claims());
    fixture.show(&token).await.unwrap();
    let routine = Duration::from_secs(600);
    let huge = " ".repeat(300 * 1024);
    for (asked, (status, body)) in [
        (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        (StatusCode::FOUND, String::new()),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, huge + &set(&[]).to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        server.answer(status, body);
        fixture.clock.advance(routine);
        fixture.show(&token).await.unwrap();
        assert_eq!(server.asked() as usize, asked + 2);
    }
    server.answer(StatusCode::OK, set(&[]).to_string());
    fixture.clock.advance(routine);
    assert_eq!(fixture.fault(&token).await, TokenFault::KeyUnknown);
}

#[tokio::test]
async fn callers_that_come_together_ask_the_address_once() {
    let pair = Pair::ed25519("ed");
    let (server, origin) = SetServer::start(&[&pair]).await;
    let fixture = Fixture::new(origin).await;
    let token = pair.sign(&claims());
    let (one, two, three) = tokio::join!(
        fixture.show(&token),
        fixture.show(&token),
        fixture.show(&token)
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(server.asked(), 1);
}
