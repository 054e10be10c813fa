//! A server that is told, and remembers what.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::generation::fixture::until;

/// What a receiver was sent.
#[derive(Clone, Debug)]
pub struct Told {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Told {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().expect("is text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("is JSON")
    }

    pub fn task_id(&self) -> String {
        self.json()["data"]["taskId"]
            .as_str()
            .expect("a taskId")
            .to_owned()
    }

    /// Whether one of the signatures is by this secret, as the Standard Webhooks specification says.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let key = secret.strip_prefix("whsec_").expect("a secret");
        let key = STANDARD.decode(key).expect("is Base64");
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        self.header("webhook-signature")
            .split(' ')
            .any(|signature| {
                let signature = signature.strip_prefix("v1,").expect("of version 1");
                let signature = STANDARD.decode(signature).expect("is Base64");
                let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
                mac.update([id, ".", timestamp, "."].concat().as_bytes());
                mac.update(&self.body);
                mac.verify_slice(&signature).is_ok()
            })
    }
}

/// What a receiver answers to the first message, the second, and so on.
pub type Answers = fn(usize) -> Response;

pub fn yes(_: usize) -> Response {
    StatusCode::NO_CONTENT.into_response()
}

struct Shared {
    told: Mutex<Vec<Told>>,
    answers: Answers,
    pause: Duration,
}

/// The server. It ends when dropped.
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    pub async fn start(answers: Answers) -> Self {
        Self::slow(answers, Duration::ZERO).await
    }

    /// A receiver that waits before it answers.
    pub async fn slow(answers: Answers, pause: Duration) -> Self {
        Self::listening("127.0.0.1:0", answers, pause).await
    }

    /// A receiver at an address of this machine.
    pub async fn at(address: &str, answers: Answers) -> Self {
        Self::listening(address, answers, Duration::ZERO).await
    }

    async fn listening(address: &str, answers: Answers, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            answers,
            pause,
        });
        let listener = TcpListener::bind(address).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("a port"));
        let app = Router::new().fallback(hear).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("serves");
        });
        Self {
            url,
            shared,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Everything it was sent so far, in order.
    pub fn told(&self) -> Vec<Told> {
        self.shared.told.lock().expect("nobody panicked").clone()
    }

    /// Waits until it was sent so many messages.
    pub async fn hears(&self, messages: usize) -> Vec<Told> {
        until("messages", async || self.told().len() >= messages).await;
        let told = self.told();
        assert_eq!(told.len(), messages, "{told:?}");
        told
    }

    /// The ids of the messages it was sent.
    pub fn ids(&self) -> BTreeSet<String> {
        let told = self.told();
        let ids = told.iter().map(|told| told.header("webhook-id").to_owned());
        ids.collect()
    }
}

async fn hear(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let number = shared.remember(Told {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: body.to_vec(),
    });
    tokio::time::sleep(shared.pause).await;
    (shared.answers)(number)
}

impl Shared {
    /// Answers with how many messages there are by now.
    fn remember(&self, message: Told) -> usize {
        let mut told = self.told.lock().expect("nobody panicked");
        told.push(message);
        told.len()
    }
}
