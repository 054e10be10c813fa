//! A fake of the servers that speak as OpenAI does: `/v1/images/generations`, `/v1/images/edits`,
//! `/v1/videos` and `/v1/models`, with the shapes and errors of OpenAI's documentation, or those of others
//! ([`Kind`]).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::directive::{self, Directives, Submit};
use super::engine::{ANYWHERE, Engine, KEY, Serving, Stage, Taken, json as answer, picture};
use super::mishap;

/// The models that it has.
pub const PICTURES: &str = "gpt-image-2.6-flare";
pub const VIDEOS: &str = "wan/2.2-t2v";

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pictures in base64, videos at `/content`.
    OpenAi,
    /// No keys, links to itself that leave out its address, errors of FastAPI, no word between waiting
    /// and done.
    Sglang,
    /// Links to another host, words of its own for states, errors as texts, nothing is deleted.
    Reseller,
}

/// A fake that serves.
pub struct OpenAi {
    pub engine: Engine,
    pub serving: Serving,
}

struct Fake {
    engine: Engine,
    kind: Kind,
    address: SocketAddr,
}

type Shared = State<Arc<Fake>>;

impl OpenAi {
    pub async fn start(kind: Kind) -> Self {
        Self::start_at(ANYWHERE, kind).await
    }

    pub async fn start_at(address: SocketAddr, kind: Kind) -> Self {
        let engine = Engine::default();
        let router = |address| router(engine.clone(), kind, address);
        let serving = Serving::start_at(address, router).await;
        Self { engine, serving }
    }

    /// Where the paths of its language begin.
    pub fn url(&self) -> String {
        format!("{}/v1", self.serving.url())
    }
}

/// Everything it serves.
pub fn router(engine: Engine, kind: Kind, address: SocketAddr) -> Router {
    let fake = Arc::new(Fake {
        engine,
        kind,
        address,
    });
    let locked = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/images/generations", post(pictures))
        .route("/v1/images/edits", post(pictures))
        .route("/v1/videos", post(video))
        .route("/v1/videos/{id}", get(state).delete(delete))
        .route("/v1/videos/{id}/content", get(content))
        .layer(middleware::from_fn_with_state(Arc::clone(&fake), unlock));
    let engine = fake.engine.clone();
    let router = Router::new()
        .route("/files/{id}/{name}", get(file))
        .merge(locked)
        .with_state(fake);
    mishap::on(engine, router)
}

/// Lets through who has the key.
async fn unlock(State(fake): Shared, request: Request, next: Next) -> Response {
    let key = request.headers().get(header::AUTHORIZATION);
    let fits = match fake.kind {
        Kind::Sglang => key.is_none(),
        Kind::OpenAi | Kind::Reseller => key.is_some_and(|key| key == &format!("Bearer {KEY}")),
    };
    if fits {
        next.run(request).await
    } else {
        let words =
            "Incorrect API key provided: another. Find yours at https://platform.openai.com.";
        fake.error(StatusCode::UNAUTHORIZED, "invalid_api_key", words)
    }
}

impl Fake {
    /// An error in the server's own form.
    fn error(&self, status: StatusCode, code: &str, words: &str) -> Response {
        let body = match self.kind {
            Kind::OpenAi => json!({"error": {
                "message": words, "type": "invalid_request_error", "param": null, "code": code
            }}),
            Kind::Sglang => json!({"detail": words}),
            Kind::Reseller => json!({"error": words, "code": code}),
        };
        answer(status, &body)
    }

    /// How a submission is refused, if it is.
    fn refusal(&self, directives: &Directives) -> Option<Response> {
        let (status, code, words) = match directives.submit {
            Submit::Policy => return Some(self.policy()),
            Submit::Input => (400, "invalid_value", "Invalid value: '7x7'."),
            Submit::Busy => (429, "rate_limit_exceeded", "Rate limit reached."),
            Submit::Credit => (
                429,
                "insufficient_quota",
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            Submit::Gone => (404, "model_not_found", "The model does not exist."),
            Submit::Broken => (500, "server_error", "The server had an error."),
            Submit::Down => (503, "overloaded", "The engine is overloaded."),
            Submit::Taken | Submit::Hang | Submit::Cut | Submit::Garbled => return None,
        };
        let status = StatusCode::from_u16(status).expect("is a status");
        Some(self.error(status, code, words))
    }

    fn policy(&self) -> Response {
        let words =
            "Your request was rejected by the safety system. Contact us at help.openai.com.";
        self.error(StatusCode::BAD_REQUEST, "moderation_blocked", words)
    }

    /// A link to a file, on this server or on what looks like another.
    fn link(&self, id: &str, name: &str) -> String {
        match self.kind {
            Kind::Reseller => {
                format!("http://localhost:{}/files/{id}/{name}", self.address.port())
            }
            Kind::OpenAi | Kind::Sglang => format!("/files/{id}/{name}"),
        }
    }
}

async fn models() -> Response {
    let listed = [PICTURES, VIDEOS].map(|id| json!({"id": id, "object": "model"}));
    answer(StatusCode::OK, &json!({"object": "list", "data": listed}))
}

async fn model(State(fake): Shared, Path(_): Path<String>) -> Response {
    match fake.kind {
        Kind::OpenAi => {
            let words = "The model does not exist.";
            fake.error(StatusCode::NOT_FOUND, "model_not_found", words)
        }
        Kind::Sglang | Kind::Reseller => fake.error(StatusCode::NOT_FOUND, "", "Not Found"),
    }
}

/// What a prompt has made, in JSON or as a form.
fn asked(headers: &HeaderMap, body: &[u8]) -> Option<(String, Value)> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let asked = match kind.split_once("boundary=") {
        Some((_, boundary)) => form(body, boundary)?,
        None => serde_json::from_slice(body).ok()?,
    };
    let prompt = asked.get("prompt")?.as_str()?.to_owned();
    Some((prompt, asked))
}

/// The fields of a form (RFC 7578). Each file is a list: what it is called, its type and its bytes.
fn form(body: &[u8], boundary: &str) -> Option<Value> {
    // Each byte a character, so that it can be cut as a text.
    let text: String = body.iter().copied().map(char::from).collect();
    let mut fields = Map::new();
    for part in text.split(&format!("--{boundary}")).skip(1) {
        if part.starts_with("--") {
            return Some(Value::Object(fields));
        }
        let (head, value) = part.split_once("\r\n\r\n")?;
        let value = value.strip_suffix("\r\n")?;
        let bytes: Vec<u8> = value.chars().map(|char| char as u8).collect();
        let quoted = |name: &str| {
            let (_, after) = head.split_once(&format!("{name}=\""))?;
            after.split_once('"').map(|(value, _)| value.to_owned())
        };
        let field = quoted("; name")?;
        let value: Value = match quoted("; filename") {
            None => String::from_utf8(bytes).ok()?.into(),
            Some(name) => {
                let (_, kind) = head.split_once("Content-Type: ")?;
                json!([name, kind.lines().next()?, STANDARD.encode(bytes)])
            }
        };
        match fields.get_mut(&field) {
            Some(Value::Array(known)) => known.push(value),
            _ if field.ends_with("[]") => drop(fields.insert(field, json!([value]))),
            _ => drop(fields.insert(field, value)),
        }
    }
    None
}

/// A picture that is too large to be kept in memory.
pub fn large() -> Bytes {
    (0..300_000_u32)
        .map(|index| index.wrapping_mul(index).wrapping_shr(7) as u8)
        .collect()
}

/// The work is done before the answer.
async fn pictures(State(fake): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let Some((prompt, asked)) = asked(&headers, &body) else {
        return fake.error(StatusCode::BAD_REQUEST, "missing", "Missing: 'prompt'.");
    };
    let directives = fake.engine.directives(&prompt);
    if let Some(refusal) = fake.refusal(&directives) {
        return refusal;
    }
    let taken = fake.engine.take(&prompt, asked);
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    tokio::time::sleep(directives.delay).await;
    match directives.job {
        directive::Job::Failed => {
            let words = "The server had an error.";
            fake.error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", words)
        }
        directive::Job::Policy => fake.policy(),
        directive::Job::Empty => answer(StatusCode::OK, &json!({"created": 1, "data": []})),
        _ => answer(StatusCode::OK, &fake.made(&taken)),
    }
}

impl Fake {
    fn made(&self, taken: &Taken) -> Value {
        let count = match &taken.body["n"] {
            Value::String(count) => count.parse().expect("is a number"),
            count => count.as_u64().unwrap_or(1),
        };
        let is_large = taken.body["quality"] == "high";
        let bytes = if is_large { large() } else { picture() };
        let made: Vec<_> = (0..count)
            .map(|index| match self.kind {
                Kind::OpenAi => {
                    json!({"b64_json": STANDARD.encode(&bytes), "revised_prompt": "a lighthouse"})
                }
                Kind::Sglang => {
                    json!({"url": format!("data:image/png;base64,{}", STANDARD.encode(&bytes))})
                }
                Kind::Reseller => {
                    json!({"b64_json": null, "url": self.link(&taken.id, &format!("{index}.png"))})
                }
            })
            .collect();
        json!({"created": 1, "data": made, "usage": {"total_tokens": 1}})
    }
}

async fn video(State(fake): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let Some((prompt, asked)) = asked(&headers, &body) else {
        return fake.error(StatusCode::BAD_REQUEST, "missing", "Missing: 'prompt'.");
    };
    if let Some(refusal) = fake.refusal(&fake.engine.directives(&prompt)) {
        return refusal;
    }
    let taken = fake.engine.take(&prompt, asked);
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    answer(StatusCode::OK, &fake.video(&taken, "queued"))
}

impl Fake {
    fn video(&self, job: &Taken, status: &str) -> Value {
        let code = match job.directives.job {
            directive::Job::Policy => "moderation_blocked",
            _ => "server_error",
        };
        let error = match (status, self.kind) {
            ("failed", Kind::Reseller) => "it broke".into(),
            ("failed", _) => json!({"code": code, "message": "The video could not be made."}),
            _ => Value::Null,
        };
        let mut video = json!({
            "id": job.id, "object": "video", "model": job.body["model"], "status": status, "progress": 40,
            "created_at": 1, "completed_at": null, "expires_at": null, "seconds": job.body["seconds"],
            "size": job.body["size"], "error": error, "remixed_from_video_id": null, "a_new_field": {"of": "tomorrow"}
        });
        let link = (status == "completed").then(|| self.link(&job.id, "video.mp4"));
        match self.kind {
            Kind::OpenAi => {}
            Kind::Sglang => video["url"] = link.into(),
            Kind::Reseller => {
                video["video_url"] = link.into();
                video["status"] = match status {
                    "queued" => "NOT_START",
                    "in_progress" => "processing",
                    "completed" => "succeeded",
                    other => other,
                }
                .into();
            }
        }
        video
    }
}

async fn state(State(fake): Shared, Path(id): Path<String>) -> Response {
    let unknown = || fake.error(StatusCode::NOT_FOUND, "video_not_found", "Video not found.");
    let (job, stage) = match fake.engine.poll(&id) {
        Err(wrong) => return *wrong,
        Ok(None) => return unknown(),
        Ok(Some(found)) => found,
    };
    let status = match stage {
        Stage::Running if fake.kind == Kind::Sglang => "queued",
        Stage::Queued => "queued",
        Stage::Running => "in_progress",
        Stage::Ended(directive::Job::Odd) if job.polls == 1 => "in_review",
        Stage::Ended(directive::Job::Failed | directive::Job::Policy) => "failed",
        Stage::Ended(_) => "completed",
        Stage::Canceled if fake.kind == Kind::Sglang => "deleted",
        Stage::Canceled => return unknown(),
    };
    answer(StatusCode::OK, &fake.video(&job, status))
}

/// Deletes a video, done or not: a file that was made is gone.
async fn delete(State(fake): Shared, Path(id): Path<String>) -> Response {
    if fake.kind == Kind::Reseller {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if !fake.engine.cancel(&id) {
        // Between the question and this, it may have been done; not in a test that goes step by step.
        assert!(fake.engine.is_mad(), "nobody deletes what is done");
        fake.engine.delete(&id);
    }
    answer(
        StatusCode::OK,
        &json!({"id": id, "object": "video.deleted", "deleted": true}),
    )
}

async fn content(State(fake): Shared, Path(id): Path<String>) -> Response {
    match fake.engine.job(&id).map(|job| job.directives.job) {
        Some(directive::Job::Empty) => {
            fake.error(StatusCode::NOT_FOUND, "video_not_found", "Video not found.")
        }
        _ => fake.engine.file(&id, true),
    }
}

/// Files behind links. Where links lead elsewhere, the key must not be shown.
async fn file(
    State(fake): Shared,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    fake.engine.file(&id, name.ends_with(".mp4"))
}
