//! A fake of Replicate: `/models/{owner}/{name}/predictions`, `/predictions`, `/files` and
//! `/webhooks/default/secret` below `/v1`, with the shapes and errors of its documentation and signed
//! webhooks. `output` is a text, a list or a table, by the model's owner.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::directive::{self, Submit};
use super::engine::{ANYWHERE, Engine, KEY, Serving, Stage, Taken, json as answer};
use super::mishap;

/// What its webhooks are signed with.
pub const SECRET: &str = "whsec_ZmFrZS1zZWNyZXQtb2YtYS1mYWtl";
/// The owner of no model at all.
pub const NOBODY: &str = "nobody";
/// The owner of models that answer with a list.
const LISTS: &str = "bytedance";
/// The owner of models that answer with a table.
const TABLES: &str = "tables";
const BODY_BYTES_MAX: usize = 64 << 20;

/// A fake that serves.
pub struct Replicate {
    pub engine: Engine,
    pub serving: Serving,
    /// The forms that files came in.
    pub uploads: Arc<Mutex<Vec<Bytes>>>,
}

struct Fake {
    engine: Engine,
    address: SocketAddr,
    uploads: Arc<Mutex<Vec<Bytes>>>,
    http: reqwest::Client,
}

type Shared = State<Arc<Fake>>;

impl Replicate {
    pub async fn start() -> Self {
        Self::start_at(ANYWHERE).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let engine = Engine::default();
        let uploads = Arc::default();
        let serving = Serving::start_at(address, |address| {
            router(engine.clone(), Arc::clone(&uploads), address)
        })
        .await;
        Self {
            engine,
            serving,
            uploads,
        }
    }

    /// Where its calls are.
    pub fn url(&self) -> String {
        format!("{}/v1", self.serving.url())
    }
}

/// Everything it serves.
fn router(engine: Engine, uploads: Arc<Mutex<Vec<Bytes>>>, address: SocketAddr) -> Router {
    let fake = Fake {
        engine,
        address,
        uploads,
        http: reqwest::Client::new(),
    };
    let calls = Router::new()
        .route("/models/{owner}/{name}", get(model))
        .route("/models/{owner}/{name}/versions/{version}", get(version))
        .route("/models/{owner}/{name}/predictions", post(predict))
        .route("/predictions", post(predict_version))
        .route("/predictions/{id}", get(prediction))
        .route("/predictions/{id}/cancel", post(cancel))
        .route("/files", post(upload))
        .route("/webhooks/default/secret", get(secret))
        .layer(middleware::from_fn(authorized))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let engine = fake.engine.clone();
    let router = Router::new()
        .nest("/v1", calls)
        .route("/delivery/{id}/{name}", get(file))
        .with_state(Arc::new(fake));
    mishap::on(engine, router)
}

async fn authorized(request: Request, next: Next) -> Response {
    let token = request.headers().get("authorization");
    match token.is_some_and(|token| token == &format!("Bearer {KEY}")) {
        true => next.run(request).await,
        false => error(
            StatusCode::UNAUTHORIZED,
            "Unauthenticated",
            "You did not pass a valid authentication token",
        ),
    }
}

fn error(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = json!({"title": title, "detail": detail, "status": status.as_u16()});
    answer(status, &body)
}

fn not_found() -> Response {
    error(
        StatusCode::NOT_FOUND,
        "Not found",
        "The requested resource could not be found.",
    )
}

async fn file(State(fake): Shared, Path((id, name)): Path<(String, String)>) -> Response {
    fake.engine.file(&id, name.ends_with(".mp4"))
}

async fn secret() -> Response {
    answer(StatusCode::OK, &json!({"key": SECRET}))
}

async fn model(Path((owner, name)): Path<(String, String)>) -> Response {
    if owner == NOBODY {
        return not_found();
    }
    answer(
        StatusCode::OK,
        &json!({"owner": owner, "name": name, "visibility": "public", "latest_version": {}}),
    )
}

async fn version(Path((owner, _, version)): Path<(String, String, String)>) -> Response {
    if owner == NOBODY {
        return not_found();
    }
    answer(StatusCode::OK, &json!({"id": version}))
}

async fn upload(State(fake): Shared, form: Bytes) -> Response {
    let mut uploads = fake.uploads.lock().expect("nobody panics here");
    uploads.push(form);
    let url = format!("http://{}/v1/files/{}", fake.address, uploads.len());
    let body = json!({"id": uploads.len().to_string(), "urls": {"get": url}, "metadata": {}});
    answer(StatusCode::CREATED, &body)
}

async fn predict(
    State(fake): Shared,
    Path((owner, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    create(&fake, &format!("{owner}/{name}"), &body).await
}

async fn predict_version(State(fake): Shared, body: Bytes) -> Response {
    create(&fake, "by/version", &body).await
}

async fn create(fake: &Arc<Fake>, model: &str, body: &[u8]) -> Response {
    let invalid = |detail| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        error(status, "Input validation failed", detail)
    };
    let Ok(mut body) = serde_json::from_slice::<Value>(body) else {
        return invalid("- body: Invalid JSON");
    };
    let prompt = body.pointer("/input/prompt").and_then(Value::as_str);
    let Some(prompt) = prompt.map(str::to_owned) else {
        return invalid("- input: prompt is required");
    };
    match fake.engine.directives(&prompt).submit {
        Submit::Input => return invalid("- input.resolution: Must be one of 1K, 2K, 4K"),
        Submit::Busy => {
            return error(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
                "Request was throttled. Your rate limit resets in ~2s.",
            );
        }
        Submit::Credit => {
            return error(
                StatusCode::PAYMENT_REQUIRED,
                "Insufficient credit",
                "You have insufficient credit to run this model.",
            );
        }
        Submit::Gone if model == "by/version" => {
            return error(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid version or not permitted",
                "The specified version does not exist (or perhaps you don't have permission to use it?)",
            );
        }
        Submit::Gone => return not_found(),
        Submit::Broken => return answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({})),
        Submit::Down => return answer(StatusCode::SERVICE_UNAVAILABLE, &json!({})),
        // What was asked is looked at by the models, when they run.
        Submit::Policy | Submit::Taken | Submit::Hang | Submit::Cut | Submit::Garbled => {}
    }
    body["model"] = model.into();
    let webhook = body.get("webhook").and_then(Value::as_str);
    let webhook = webhook.map(str::to_owned);
    let taken = fake.engine.take(&prompt, body);
    if let Some(url) = webhook {
        tokio::spawn(tell(Arc::clone(fake), taken.clone(), url));
    }
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    answer(
        StatusCode::CREATED,
        &shape(fake, &taken, "starting", Value::Null, Value::Null),
    )
}

fn shape(fake: &Fake, job: &Taken, status: &str, output: Value, error: Value) -> Value {
    let url = format!("http://{}/v1/predictions/{}", fake.address, job.id);
    json!({
        "id": job.id, "model": job.body["model"], "version": "hidden", "status": status,
        "input": job.body["input"], "output": output, "error": error, "logs": "", "metrics": {},
        "urls": {"get": url, "cancel": format!("{url}/cancel")}, "a_new_field": {"of": "tomorrow"},
        "created_at": "2026-11-23T00:00:00Z", "started_at": null, "completed_at": null
    })
}

async fn prediction(State(fake): Shared, Path(id): Path<String>) -> Response {
    let (job, stage) = match fake.engine.poll(&id) {
        Err(wrong) => return *wrong,
        Ok(None) => return not_found(),
        Ok(Some(found)) => found,
    };
    let (status, output, error) = match stage {
        Stage::Queued => ("starting", Value::Null, Value::Null),
        Stage::Running => ("processing", Value::Null, Value::Null),
        Stage::Canceled => ("canceled", Value::Null, Value::Null),
        Stage::Ended(directive::Job::Odd) if job.polls == 1 => {
            ("reviewing", Value::Null, Value::Null)
        }
        Stage::Ended(directive::Job::Failed) => {
            ("failed", Value::Null, "CUDA out of memory".into())
        }
        Stage::Ended(directive::Job::Policy) => (
            "failed",
            Value::Null,
            "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
                .into(),
        ),
        Stage::Ended(directive::Job::Empty) => ("succeeded", Value::Null, Value::Null),
        Stage::Ended(_) => ("succeeded", output(&fake, &job), Value::Null),
    };
    answer(StatusCode::OK, &shape(&fake, &job, status, output, error))
}

fn output(fake: &Fake, job: &Taken) -> Value {
    let file = |name: &str| format!("http://{}/delivery/{}/{name}", fake.address, job.id);
    let input = &job.body["input"];
    let model = job.body["model"].as_str().unwrap_or_default();
    let (owner, _) = model.split_once('/').unwrap_or_default();
    if input.get("duration").is_some() {
        return file("video.mp4").into();
    }
    match owner {
        LISTS => {
            let many = input.get("max_images").and_then(Value::as_u64);
            let many = many.unwrap_or(1);
            (0..many).map(|at| file(&format!("{at}.png"))).collect()
        }
        TABLES => json!({"image": file("0.png"), "thumbnail": file("small.png"), "seed": 7}),
        _ => file("0.png").into(),
    }
}

async fn cancel(State(fake): Shared, Path(id): Path<String>) -> Response {
    let Some(job) = fake.engine.job(&id) else {
        return not_found();
    };
    let status = match fake.engine.cancel(&id) {
        true => "canceled",
        false => "succeeded",
    };
    let body = shape(&fake, &job, status, Value::Null, Value::Null);
    answer(StatusCode::OK, &body)
}

/// Calls the webhook when the work is done: twice, as happens.
async fn tell(fake: Arc<Fake>, job: Taken, url: String) {
    tokio::time::sleep(job.directives.delay + Duration::from_millis(20)).await;
    let body = shape(&fake, &job, "succeeded", Value::Null, Value::Null).to_string();
    for _ in 0..2 {
        let headers = signed(SECRET, &job.id, body.as_bytes(), SystemTime::now());
        let request = fake.http.post(&url).headers(headers).body(body.clone());
        // Whoever does not listen polls.
        let _ = request.send().await;
    }
}

/// The headers of a webhook; the first signature is by an older secret.
pub fn signed(secret: &str, id: &str, body: &[u8], at: SystemTime) -> HeaderMap {
    let at = at.duration_since(UNIX_EPOCH).expect("it is after 1970");
    let at = at.as_secs().to_string();
    let key = STANDARD.decode(secret.trim_start_matches("whsec_"));
    let key = key.expect("a secret is base64");
    let sign = |key: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
        mac.update(format!("{id}.{at}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    let signatures = format!("{} {}", sign(b"older"), sign(&key));
    let named = [
        ("webhook-id", id),
        ("webhook-timestamp", &at),
        ("webhook-signature", &signatures),
    ];
    let value = |(name, value): (&'static str, &str)| {
        (
            name.parse().expect("is a name"),
            value.parse().expect("is a value"),
        )
    };
    named.into_iter().map(value).collect()
}
