//! An OpenID provider: what it publishes, its page to sign in at, and its tokens, with the faults that a test asks for.
//!
//! Everybody who comes is signed in at once, as whom the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::engine::Serving;

pub const CLIENT: &str = "piooy";
pub const SECRET: &str = "s3cret of piooy";

type Fields = BTreeMap<String, String>;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The person does not agree.
    Denied,
    /// The state comes back as another.
    State,
    /// It says that it is another provider.
    Issuer,
    /// The token repeats another nonce.
    Nonce,
    /// The token is for somebody else.
    Audience,
    /// The token is of another provider.
    TokenIssuer,
    /// The token has expired.
    Expired,
    /// The token is signed with a key that is not published.
    Key,
    /// The token is not signed at all.
    Unsigned,
    /// There is no token.
    NoToken,
    /// It answers an error.
    Down,
}

/// Who signs in next, and what goes wrong then.
#[derive(Clone, Default)]
struct Plan {
    subject: String,
    email: String,
    fault: Option<Fault>,
}

struct Known {
    url: String,
    keys: Mutex<Vec<EncodingKey>>,
    plan: Mutex<Plan>,
    /// What was asked for, by code.
    codes: Mutex<BTreeMap<String, (Fields, Plan)>>,
}

/// A provider that serves.
pub struct Issuer {
    known: Arc<Known>,
    _serving: Serving,
}

impl Issuer {
    pub async fn start() -> Self {
        let mut kept = None;
        let serving = Serving::start(|address| {
            let known = Arc::new(Known {
                url: format!("http://{address}"),
                keys: Mutex::new(vec![key()]),
                plan: Mutex::default(),
                codes: Mutex::default(),
            });
            kept = Some(Arc::clone(&known));
            Router::new()
                .route("/.well-known/openid-configuration", get(publish))
                .route("/jwks", get(keys))
                .route("/authorize", get(authorize))
                .route("/token", post(token))
                .with_state(known)
        })
        .await;
        Self {
            known: kept.expect("the router is made"),
            _serving: serving,
        }
    }

    /// Its identifier.
    pub fn url(&self) -> &str {
        &self.known.url
    }

    /// Who signs in from now on.
    pub fn expect(&self, subject: &str, email: &str, fault: Option<Fault>) {
        *self.known.plan.lock().expect("nobody panics here") = Plan {
            subject: subject.to_owned(),
            email: email.to_owned(),
            fault,
        };
    }

    /// Signs with another key from now on.
    pub fn change_keys(&self) {
        *self.known.keys.lock().expect("nobody panics here") = vec![key()];
    }
}

fn fields(text: &str) -> Fields {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

fn json(value: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

fn key() -> EncodingKey {
    let secret = p256::SecretKey::random(&mut OsRng);
    let pem = secret.to_pkcs8_pem(LineEnding::LF).expect("it has a form");
    EncodingKey::from_ec_pem(pem.as_bytes()).expect("it is one")
}

/// OpenID Connect Discovery 1.0 §3.
async fn publish(State(known): State<Arc<Known>>) -> Response {
    let url = &known.url;
    json(&json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "scopes_supported": ["openid", "email"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn keys(State(known): State<Arc<Known>>) -> Response {
    let keys = known.keys.lock().expect("nobody panics here");
    let keys = keys.iter().map(|key| {
        let jwk = Jwk::from_encoding_key(key, Algorithm::ES256).expect("it has a public half");
        let mut jwk = serde_json::to_value(jwk).expect("it has a form");
        jwk["use"] = json!("sig");
        jwk
    });
    json(&json!({"keys": keys.collect::<Vec<_>>()}))
}

async fn authorize(State(known): State<Arc<Known>>, RawQuery(asked): RawQuery) -> Response {
    let asked = fields(&asked.unwrap_or_default());
    let is_right = asked["response_type"] == "code"
        && asked["client_id"] == CLIENT
        && asked["code_challenge_method"] == "S256"
        && asked["scope"].split(' ').any(|scope| scope == "openid");
    if !is_right {
        return (StatusCode::BAD_REQUEST, format!("{asked:?}")).into_response();
    }
    let plan = known.plan.lock().expect("nobody panics here").clone();
    let state = match plan.fault {
        Some(Fault::State) => "another",
        _ => &asked["state"],
    };
    let issuer = match plan.fault {
        Some(Fault::Issuer) => "https://evil.example",
        _ => &known.url,
    };
    let mut answer = form_urlencoded::Serializer::new(String::new());
    answer.append_pair("state", state);
    answer.append_pair("iss", issuer);
    if plan.fault == Some(Fault::Denied) {
        answer.append_pair("error", "access_denied");
        answer.append_pair("error_description", "<b>no</b>");
    } else {
        let mut codes = known.codes.lock().expect("nobody panics here");
        let code = format!("code-{}", codes.len());
        answer.append_pair("code", &code);
        codes.insert(code, (asked.clone(), plan));
    }
    let back = format!("{}?{}", asked["redirect_uri"], answer.finish());
    Redirect::to(&back).into_response()
}

fn refuse(code: &str) -> Response {
    (StatusCode::BAD_REQUEST, json(&json!({"error": code}))).into_response()
}

async fn token(State(known): State<Arc<Known>>, headers: HeaderMap, asked: String) -> Response {
    let asked = fields(&asked);
    let mut proof = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect::<String>();
    proof.insert_str(0, "piooy:");
    let proof = format!("Basic {}", STANDARD.encode(proof));
    let shown = headers.get(header::AUTHORIZATION);
    if shown.is_none_or(|shown| shown != proof.as_str()) {
        return refuse("invalid_client");
    }
    let mut codes = known.codes.lock().expect("nobody panics here");
    // A code works once.
    let Some((promised, plan)) = codes.remove(&asked["code"]) else {
        return refuse("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&asked["code_verifier"]));
    if asked["redirect_uri"] != promised["redirect_uri"] || challenge != promised["code_challenge"]
    {
        return refuse("invalid_grant");
    }
    let fault = |fault| plan.fault == Some(fault);
    if fault(Fault::Down) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let now = jsonwebtoken::get_current_timestamp();
    let or = |wrong: bool, other: &str, right: &str| if wrong { other } else { right }.to_owned();
    let claims = json!({
        "iss": or(fault(Fault::TokenIssuer), "https://evil.example", &known.url),
        "aud": or(fault(Fault::Audience), "another", CLIENT),
        "nonce": or(fault(Fault::Nonce), "another", &promised["nonce"]),
        "sub": plan.subject,
        "email": plan.email,
        "iat": now - 600,
        "exp": if fault(Fault::Expired) { now - 300 } else { now + 300 },
    });
    let signing = match fault(Fault::Key) {
        true => key(),
        false => known.keys.lock().expect("nobody panics here")[0].clone(),
    };
    let header = Header::new(Algorithm::ES256);
    let mut signed = jsonwebtoken::encode(&header, &claims, &signing).expect("it can be signed");
    if fault(Fault::Unsigned) {
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        signed = format!("{head}.{claims}.");
    }
    let mut answer = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 300});
    if !fault(Fault::NoToken) {
        answer["id_token"] = json!(signed);
    }
    json(&answer)
}
