//! A fake of the Gemini API: `generateContent` for pictures, interactions for videos, files, and the
//! models, with the shapes and errors of its documentation. Files are behind a link that wants the key
//! and leads to another server, which refuses whoever shows it the key.
//!
//! Interactions have been seen in several shapes; a prompt asks for one by its words ([`Shape`]).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::directive::{self, Submit};
use super::engine::{ANYWHERE, Engine, KEY, Serving, Stage, Taken, clip, json as answer, picture};
use super::mishap;

/// A sketch, which is longer than any other text of an answer.
const SKETCH_BYTES: usize = 200_000;
/// How many answers a late video is missing from.
const LATE_ANSWERS: u32 = 2;

/// A fake that serves.
pub struct Gemini {
    pub engine: Engine,
    pub serving: Serving,
    _storage: Serving,
}

struct Fake {
    engine: Engine,
    address: SocketAddr,
    storage: SocketAddr,
}

type Shared = State<Arc<Fake>>;

impl Gemini {
    pub async fn start() -> Self {
        Self::start_at(ANYWHERE).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let engine = Engine::default();
        let storage = Serving::start(|_| storage(engine.clone())).await;
        let at = storage.address;
        let serving =
            Serving::start_at(address, |address| router(engine.clone(), address, at)).await;
        Self {
            engine,
            serving,
            _storage: storage,
        }
    }

    /// The base of its addresses.
    pub fn url(&self) -> String {
        format!("{}/v1beta", self.serving.url())
    }
}

/// How an interaction shows its video.
#[derive(PartialEq)]
enum Shape {
    /// A link in the last step.
    Steps,
    /// "at the top": a link beside the steps.
    Top,
    /// "inline": in base64.
    Inline,
    /// "elsewhere": a link to another server.
    Elsewhere,
    /// "after a while": nothing at first.
    Late,
}

impl Shape {
    fn of(prompt: &str) -> Self {
        let shapes = [
            ("at the top", Self::Top),
            ("inline", Self::Inline),
            ("elsewhere", Self::Elsewhere),
            ("after a while", Self::Late),
        ];
        let asked = shapes.into_iter().find(|(words, _)| prompt.contains(words));
        asked.map_or(Self::Steps, |(_, shape)| shape)
    }
}

/// Where files really are.
fn storage(engine: Engine) -> Router {
    let file = async |State(engine): State<Engine>, Path(id): Path<String>, headers: HeaderMap| {
        if headers.contains_key("x-goog-api-key") {
            return StatusCode::BAD_REQUEST.into_response();
        }
        engine.file(&id, true)
    };
    Router::new().route("/{id}", get(file)).with_state(engine)
}

/// Everything else that it serves.
pub fn router(engine: Engine, address: SocketAddr, storage: SocketAddr) -> Router {
    let fake = Fake {
        engine,
        address,
        storage,
    };
    let engine = fake.engine.clone();
    let router = Router::new().fallback(call).with_state(Arc::new(fake));
    mishap::on(engine, router)
}

async fn call(State(fake): Shared, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Some(path) = path.strip_prefix("/v1beta/") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !authorized(request.headers()) {
        return no_key(path);
    }
    let method = request.method().clone();
    let revision = request.headers().get("api-revision").cloned();
    let Ok(body) = axum::body::to_bytes(request.into_body(), 64 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let parts: Vec<_> = path.split(['/', ':']).collect();
    match (method, parts.as_slice()) {
        (Method::GET, ["models", model]) => ok(&json!({"name": format!("models/{model}")})),
        (Method::POST, ["models", _, "generateContent"]) => generate(&fake, body).await,
        (Method::GET, ["files", id, "download"]) => moved(&format!("http://{}/{id}", fake.storage)),
        _ if revision.is_none_or(|revision| revision != "2026-05-20") => coded(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "Unknown revision",
        ),
        (Method::POST, ["interactions"]) => interact(&fake, body).await,
        (Method::GET, ["interactions", id]) => interaction(&fake, id),
        (Method::POST, ["interactions", id, "cancel"]) => cancel(&fake, id),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn ok(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

fn moved(location: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

fn authorized(headers: &HeaderMap) -> bool {
    headers
        .get("x-goog-api-key")
        .is_some_and(|value| value == KEY)
}

/// A wrong key is a wrong input; before interactions, in a list.
fn no_key(path: &str) -> Response {
    let error = json!({"error": {
        "code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"
        }]
    }});
    let body = if path.starts_with("interactions") {
        json!([error])
    } else {
        error
    };
    answer(StatusCode::BAD_REQUEST, &body)
}

/// An error of `generateContent`.
fn named(status: StatusCode, name: &str, words: &str) -> Response {
    let mut error = json!({"code": status.as_u16(), "message": words, "status": name});
    if status == StatusCode::TOO_MANY_REQUESTS {
        error["details"] = json!([
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}
        ]);
    }
    answer(status, &json!({"error": error}))
}

/// An error of interactions.
fn coded(status: StatusCode, code: &str, words: &str) -> Response {
    answer(status, &json!({"error": {"code": code, "message": words}}))
}

async fn generate(fake: &Fake, body: Value) -> Response {
    let parts = body.pointer("/contents/0/parts").and_then(Value::as_array);
    let text = parts.and_then(|parts| parts.last()?.get("text")?.as_str());
    let Some(prompt) = text.map(str::to_owned) else {
        let words = "contents are required";
        return named(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", words);
    };
    match fake.engine.directives(&prompt).submit {
        Submit::Policy => {
            return ok(&json!({
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 7}
            }));
        }
        Submit::Input => {
            let words = "Invalid value at 'generation_config.image_config.aspect_ratio'";
            return named(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", words);
        }
        Submit::Busy => {
            let words = "Resource has been exhausted (e.g. check quota).";
            return named(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", words);
        }
        Submit::Credit => {
            let words = "Your prepayment credits are depleted.";
            return named(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", words);
        }
        Submit::Gone => {
            let words = "models/it is not found for API version v1beta";
            return named(StatusCode::NOT_FOUND, "NOT_FOUND", words);
        }
        Submit::Broken => {
            let words = "An internal error has occurred.";
            return named(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", words);
        }
        Submit::Down => {
            let words = "The model is overloaded. Please try again later.";
            return named(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", words);
        }
        Submit::Taken | Submit::Hang | Submit::Cut | Submit::Garbled => {}
    }
    let taken = fake.engine.take(&prompt, body);
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    tokio::time::sleep(taken.directives.delay).await;
    let candidate = match taken.directives.job {
        directive::Job::Failed => {
            json!({"finishReason": "IMAGE_OTHER", "finishMessage": "Unable to show the image."})
        }
        directive::Job::Policy => {
            json!({"finishReason": "IMAGE_SAFETY", "finishMessage": "Unable to show the image."})
        }
        directive::Job::Empty => {
            let parts = json!([{"text": "What should it look like?"}]);
            json!({"content": {"role": "model", "parts": parts}, "finishReason": "STOP"})
        }
        _ => {
            let sketch = STANDARD.encode(vec![7; SKETCH_BYTES]);
            let parts = json!([
                {"inlineData": {"mimeType": "image/png", "data": sketch}, "thought": true},
                {"text": "Here it is."},
                {
                    "inlineData": {"mimeType": "image/png", "data": STANDARD.encode(picture())},
                    "thoughtSignature": "c2lnbmVk"
                }
            ]);
            json!({"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0})
        }
    };
    ok(&json!({
        "candidates": [candidate], "usageMetadata": {"totalTokenCount": 7}, "modelVersion": "it", "responseId": taken.id
    }))
}

async fn interact(fake: &Fake, body: Value) -> Response {
    let content = body.pointer("/input/0/content").and_then(Value::as_array);
    let text = content.and_then(|content| content.last()?.get("text")?.as_str());
    let Some(prompt) = text.map(str::to_owned) else {
        return coded(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "input is required",
        );
    };
    if body.get("background") != Some(&Value::Bool(true)) {
        // It would block until the video is there.
        return coded(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "not in the background",
        );
    }
    match fake.engine.directives(&prompt).submit {
        Submit::Policy => {
            let words = "The input was blocked for safety reasons.";
            return coded(StatusCode::BAD_REQUEST, "prohibited_content", words);
        }
        Submit::Input => {
            let words = "'duration' must be within 3 and 15 seconds";
            return coded(StatusCode::BAD_REQUEST, "invalid_request", words);
        }
        Submit::Busy => {
            // What stands before it speaks the other language.
            let words = "Resource has been exhausted (e.g. check quota).";
            return named(StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", words);
        }
        Submit::Credit => {
            let words = "Your prepayment balance is exhausted.";
            return coded(StatusCode::PAYMENT_REQUIRED, "payment_required", words);
        }
        Submit::Gone => {
            let words = "The specified model was not found.";
            return coded(StatusCode::NOT_FOUND, "model_not_found", words);
        }
        Submit::Broken => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return coded(status, "api_error", "Internal error");
        }
        Submit::Down => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return coded(status, "service_unavailable", "Try again later.");
        }
        Submit::Taken | Submit::Hang | Submit::Cut | Submit::Garbled => {}
    }
    let taken = fake.engine.take(&prompt, body);
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    ok(&json!({
        "id": taken.id, "object": "interaction", "status": "queued", "model": "it", "steps": [],
        "a_new_field": {"of": "tomorrow"}
    }))
}

fn unknown() -> Response {
    let words = "Invalid interaction name.";
    coded(StatusCode::BAD_REQUEST, "invalid_request", words)
}

fn interaction(fake: &Fake, id: &str) -> Response {
    match fake.engine.poll(id) {
        Err(wrong) => *wrong,
        Ok(None) => unknown(),
        Ok(Some((job, stage))) => ok(&shown(fake, &job, stage)),
    }
}

/// An interaction as it is now.
fn shown(fake: &Fake, job: &Taken, stage: Stage) -> Value {
    let status = match stage {
        Stage::Queued => "queued",
        Stage::Running => "in_progress",
        Stage::Canceled => "cancelled",
        Stage::Ended(directive::Job::Odd) if job.polls == 1 => "in_review",
        Stage::Ended(directive::Job::Failed) => "failed",
        Stage::Ended(directive::Job::Policy) if job.prompt.contains("with errors") => "failed",
        Stage::Ended(_) => "completed",
    };
    let asked = json!({"type": "user_input", "content": [{"type": "text", "text": job.prompt}]});
    let thought = json!({"type": "thought", "summary": [{"type": "text", "text": "A storm."}]});
    let mut shown = json!({
        "id": job.id, "object": "interaction", "status": status, "model": "it", "steps": [asked, thought]
    });
    match stage {
        Stage::Ended(directive::Job::Failed) => {
            shown["errors"] = json!([{"code": "api_error", "message": "Internal error"}]);
        }
        Stage::Ended(directive::Job::Policy) if status == "failed" => {
            let error = json!({"code": "safety", "message": "It was blocked."});
            put_out(&mut shown, json!({"error": error}));
        }
        Stage::Ended(directive::Job::Policy) => {
            let words = json!([{"type": "text", "text": "I cannot make this."}]);
            put_out(&mut shown, json!({"content": words}));
        }
        Stage::Ended(directive::Job::Done | directive::Job::Odd) if status == "completed" => {
            show(fake, job, &mut shown);
        }
        _ => {}
    }
    shown
}

/// Puts the video where the prompt wants it.
fn show(fake: &Fake, job: &Taken, interaction: &mut Value) {
    let own = format!(
        "http://{}/v1beta/files/{}:download?alt=media",
        fake.address, job.id
    );
    let behind = |link: &str| json!({"type": "video", "mime_type": "video/mp4", "uri": link});
    let spoken =
        |video: Value| json!({"content": [{"type": "text", "text": "Here it is."}, video]});
    let video = match Shape::of(&job.prompt) {
        Shape::Late if job.polls <= LATE_ANSWERS => return,
        Shape::Top => {
            interaction["output_video"] = behind(&own);
            return;
        }
        Shape::Inline => {
            json!({"type": "video", "mime_type": "video/mp4", "data": STANDARD.encode(clip())})
        }
        Shape::Elsewhere => behind(&format!("http://{}/{}", fake.storage, job.id)),
        Shape::Late | Shape::Steps => behind(&own),
    };
    put_out(interaction, spoken(video));
}

/// Adds a step in which the model shows something.
fn put_out(interaction: &mut Value, mut step: Value) {
    step["type"] = "model_output".into();
    let steps = interaction["steps"].as_array_mut();
    steps.expect("is a list").push(step);
}

fn cancel(fake: &Fake, id: &str) -> Response {
    let Some(job) = fake.engine.job(id) else {
        return unknown();
    };
    if fake.engine.cancel(id) {
        return ok(&shown(fake, &job, Stage::Canceled));
    }
    let words = "The interaction has ended.";
    coded(StatusCode::BAD_REQUEST, "failed_precondition", words)
}
