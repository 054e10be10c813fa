//! A fake of fal's queue: `POST /{endpoint}`, and `/{app}/requests/{id}` with `/status` and `/cancel`,
//! with the shapes and errors of its documentation and signed webhooks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::directive::{self, Submit};
use super::engine::{ANYWHERE, Engine, KEY, Serving, Stage, Taken, json as answer};
use super::mishap;

/// A fake that serves.
pub struct Fal {
    pub engine: Engine,
    pub serving: Serving,
}

struct Fake {
    engine: Engine,
    address: SocketAddr,
    signer: SigningKey,
    http: reqwest::Client,
}

type Shared = State<Arc<Fake>>;

impl Fal {
    pub async fn start() -> Self {
        Self::start_at(ANYWHERE).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let engine = Engine::default();
        let serving = Serving::start_at(address, |address| router(engine.clone(), address)).await;
        Self { engine, serving }
    }
}

/// Everything it serves.
pub fn router(engine: Engine, address: SocketAddr) -> Router {
    let fake = Fake {
        engine,
        address,
        signer: SigningKey::from_bytes(&[7; 32]),
        http: reqwest::Client::new(),
    };
    let engine = fake.engine.clone();
    let router = Router::new()
        .route("/.well-known/jwks.json", get(keys))
        .route("/files/{id}/{name}", get(file))
        .fallback(call)
        .with_state(Arc::new(fake));
    mishap::on(engine, router)
}

async fn keys(State(fake): Shared) -> Response {
    let x = URL_SAFE_NO_PAD.encode(fake.signer.verifying_key().as_bytes());
    answer(
        StatusCode::OK,
        &json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}),
    )
}

async fn file(State(fake): Shared, Path((id, name)): Path<(String, String)>) -> Response {
    fake.engine.file(&id, name.ends_with(".mp4"))
}

/// The queue: what is not below `requests` is the id of an endpoint.
async fn call(State(fake): Shared, request: Request) -> Response {
    if !authorized(request.headers()) {
        return detail(
            StatusCode::UNAUTHORIZED,
            "Invalid authentication credentials",
        );
    }
    let query = request.uri().query().unwrap_or_default();
    let webhook = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "fal_webhook")
        .map(|(_, url)| url.into_owned());
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let method = request.method().clone();
    let Some((_, entry)) = path.split_once("/requests/") else {
        return match axum::body::to_bytes(request.into_body(), 64 << 20).await {
            Ok(body) => submit(&fake, &path, webhook, &body).await,
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        };
    };
    match (method, entry.split_once('/')) {
        (Method::GET, Some((id, "status"))) => status(&fake, &path, id),
        (Method::PUT, Some((id, "cancel"))) => cancel(&fake, id),
        (Method::GET, None) => result(&fake, &path, entry),
        _ => detail(StatusCode::NOT_FOUND, "Path not found"),
    }
}

fn ok(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

fn authorized(headers: &HeaderMap) -> bool {
    headers
        .get("authorization")
        .is_some_and(|value| value == &format!("Key {KEY}"))
}

fn detail(status: StatusCode, words: &str) -> Response {
    answer(status, &json!({"detail": words}))
}

fn problem(kind: &str, words: &str) -> Response {
    let problem = json!({"loc": ["body", "prompt"], "msg": words, "type": kind, "ctx": {}});
    answer(
        StatusCode::UNPROCESSABLE_ENTITY,
        &json!({"detail": [problem]}),
    )
}

async fn submit(
    fake: &Arc<Fake>,
    endpoint: &str,
    webhook: Option<String>,
    body: &[u8],
) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return problem("json_invalid", "JSON decode error");
    };
    let Some(prompt) = body
        .get("prompt")
        .and_then(Value::as_str)
        .map(str::to_owned)
    else {
        return problem("missing", "Field required");
    };
    match fake.engine.directives(&prompt).submit {
        Submit::Policy => {
            return problem(
                "content_policy_violation",
                "The content could not be processed because it contained material flagged by a content checker.",
            );
        }
        Submit::Input => return problem("value_error", "Input should be '1K', '2K' or '4K'"),
        Submit::Busy => return detail(StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
        Submit::Credit => {
            return detail(
                StatusCode::FORBIDDEN,
                "User is locked. Reason: Exhausted balance.",
            );
        }
        Submit::Gone => return detail(StatusCode::NOT_FOUND, "Application not found"),
        Submit::Broken => {
            return detail(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        }
        Submit::Down => {
            let body = json!({"detail": "Runner scheduling failure", "error_type": "runner_scheduling_failure"});
            return answer(StatusCode::SERVICE_UNAVAILABLE, &body);
        }
        Submit::Taken | Submit::Hang | Submit::Cut | Submit::Garbled => {}
    }
    let taken = fake.engine.take(&prompt, body);
    if let Some(url) = webhook {
        tokio::spawn(tell(Arc::clone(fake), taken.clone(), url));
    }
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    let app: Vec<_> = endpoint.split('/').take(2).collect();
    let entry = format!(
        "http://{}/{}/requests/{}",
        fake.address,
        app.join("/"),
        taken.id
    );
    ok(&json!({
        "request_id": taken.id, "gateway_request_id": taken.id, "status": "IN_QUEUE", "queue_position": 0,
        "response_url": entry, "status_url": format!("{entry}/status"), "cancel_url": format!("{entry}/cancel"),
        "a_new_field": {"of": "tomorrow"}
    }))
}

fn status(fake: &Fake, path: &str, id: &str) -> Response {
    let (job, stage) = match fake.engine.poll(id) {
        Err(wrong) => return *wrong,
        Ok(None) => return detail(StatusCode::NOT_FOUND, "Request not found"),
        Ok(Some(found)) => found,
    };
    let status = match stage {
        Stage::Queued => "IN_QUEUE",
        Stage::Running => "IN_PROGRESS",
        Stage::Ended(directive::Job::Odd) if job.polls == 1 => "IN_REVIEW",
        Stage::Ended(_) | Stage::Canceled => "COMPLETED",
    };
    let entry = format!(
        "http://{}/{}",
        fake.address,
        path.trim_end_matches("/status")
    );
    ok(
        &json!({"status": status, "request_id": id, "response_url": entry, "logs": null, "metrics": {}}),
    )
}

fn result(fake: &Fake, _path: &str, id: &str) -> Response {
    let Some(job) = fake.engine.job(id) else {
        return detail(StatusCode::NOT_FOUND, "Request not found");
    };
    let file = |name: &str| format!("http://{}/files/{id}/{name}", fake.address);
    let is_video = job.body.get("duration").is_some();
    match (job.canceled, job.directives.job) {
        (true, _) => detail(StatusCode::BAD_REQUEST, "Request was cancelled"),
        (_, directive::Job::Failed) => {
            let body =
                json!({"detail": "Runner disconnected", "error_type": "runner_disconnected"});
            answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
        }
        (_, directive::Job::Policy) => problem(
            "content_policy_violation",
            "The generated content was flagged.",
        ),
        (_, directive::Job::Empty) => ok(&json!({"images": [], "seed": 1})),
        _ if is_video => ok(&json!({"video": {
            "url": file("video.mp4"), "content_type": "video/mp4", "file_name": "video.mp4", "file_size": 1
        }, "seed": 1})),
        _ => {
            let count = job
                .body
                .get("num_images")
                .and_then(Value::as_u64)
                .unwrap_or(1);
            let images: Vec<_> = (0..count)
                .map(|index| json!({
                    "url": file(&format!("{index}.png")), "content_type": "image/png", "width": 96, "height": 64
                }))
                .collect();
            ok(&json!({"images": images, "description": ""}))
        }
    }
}

fn cancel(fake: &Fake, id: &str) -> Response {
    if fake.engine.cancel(id) {
        answer(
            StatusCode::ACCEPTED,
            &json!({"status": "CANCELLATION_REQUESTED"}),
        )
    } else {
        answer(
            StatusCode::BAD_REQUEST,
            &json!({"status": "ALREADY_COMPLETED"}),
        )
    }
}

/// Calls the webhook when the work is done: twice, as happens.
async fn tell(fake: Arc<Fake>, job: Taken, url: String) {
    tokio::time::sleep(job.directives.delay + Duration::from_millis(20)).await;
    let body =
        json!({"request_id": job.id, "gateway_request_id": job.id, "status": "OK", "payload": {}});
    let body = body.to_string();
    for _ in 0..2 {
        let request = fake.http.post(&url).body(body.clone());
        let headers = signed(&fake.signer, &job.id, body.as_bytes(), SystemTime::now());
        // Whoever does not listen polls.
        let _ = request.headers(headers).send().await;
    }
}

/// The headers of a webhook.
pub fn signed(signer: &SigningKey, id: &str, body: &[u8], at: SystemTime) -> HeaderMap {
    let at = at
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs()
        .to_string();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let message = [id, "user", &at, &hex(&Sha256::digest(body))].join("\n");
    let signature = hex(&signer.sign(message.as_bytes()).to_bytes());
    let named = [
        ("x-fal-webhook-request-id", id),
        ("x-fal-webhook-user-id", "user"),
        ("x-fal-webhook-timestamp", at.as_str()),
        ("x-fal-webhook-signature", signature.as_str()),
    ];
    let value = |(name, value): (&'static str, &str)| {
        (
            name.parse().expect("is a name"),
            value.parse().expect("is a value"),
        )
    };
    named.into_iter().map(value).collect()
}
