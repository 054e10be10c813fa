//! A fake of kie.ai: `createTask` and `recordInfo` below `/api/v1/jobs`, the balance and the file server,
//! with the shapes and errors of its documentation and signed webhooks. Whatever it has to say comes with
//! the status 200; what counts is the `code` of the body.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
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
pub const WEBHOOK_KEY: &str = "fake-webhook-key";
const BODY_BYTES_MAX: usize = 64 << 20;

/// A fake that serves.
pub struct Kie {
    pub engine: Engine,
    pub serving: Serving,
    /// The forms that pictures came in.
    pub uploads: Arc<Mutex<Vec<Bytes>>>,
}

struct Fake {
    engine: Engine,
    address: SocketAddr,
    uploads: Arc<Mutex<Vec<Bytes>>>,
    http: reqwest::Client,
}

type Shared = State<Arc<Fake>>;

impl Kie {
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
}

/// Everything it serves.
fn router(engine: Engine, uploads: Arc<Mutex<Vec<Bytes>>>, address: SocketAddr) -> Router {
    let fake = Fake {
        engine,
        address,
        uploads,
        http: reqwest::Client::new(),
    };
    let engine = fake.engine.clone();
    let router = Router::new()
        .route("/api/v1/jobs/createTask", post(create))
        .route("/api/v1/jobs/recordInfo", get(record))
        .route("/api/v1/chat/credit", get(credit))
        .route("/api/file-stream-upload", post(upload))
        .layer(middleware::from_fn(authorized))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route("/files/{id}/{name}", get(file))
        .with_state(Arc::new(fake));
    mishap::on(engine, router)
}

async fn authorized(request: Request, next: Next) -> Response {
    let key = request.headers().get("authorization");
    match key.is_some_and(|key| key == &format!("Bearer {KEY}")) {
        true => next.run(request).await,
        false => said(401, "You do not have access permissions", Value::Null),
    }
}

fn said(code: u16, msg: &str, data: Value) -> Response {
    let body = json!({"code": code, "msg": msg, "data": data});
    answer(StatusCode::OK, &body)
}

async fn file(State(fake): Shared, Path((id, name)): Path<(String, String)>) -> Response {
    fake.engine.file(&id, name.ends_with(".mp4"))
}

async fn credit() -> Response {
    said(200, "success", json!(100))
}

async fn upload(State(fake): Shared, form: Bytes) -> Response {
    let mut uploads = fake.uploads.lock().expect("nobody panics here");
    uploads.push(form);
    let url = format!("http://{}/uploads/{}.png", fake.address, uploads.len());
    let body = json!({
        "success": true, "code": 200, "msg": "File uploaded successfully",
        "data": {"fileName": "reference.png", "downloadUrl": url, "mimeType": "image/png"}
    });
    answer(StatusCode::OK, &body)
}

async fn create(State(fake): Shared, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return said(400, "The request is not JSON", Value::Null);
    };
    let prompt = body.pointer("/input/prompt").and_then(Value::as_str);
    let Some(prompt) = prompt.map(str::to_owned) else {
        return said(422, "prompt is required", Value::Null);
    };
    let refused = match fake.engine.directives(&prompt).submit {
        Submit::Policy => Some((
            400,
            "Your prompt was flagged as violating content policies.",
        )),
        Submit::Input => Some((422, "resolution is not within the range of allowed options")),
        Submit::Busy => Some((
            429,
            "Your call frequency is too high. Please try again later.",
        )),
        Submit::Credit => Some((402, "Credits insufficient: the balance is not enough")),
        Submit::Gone => Some((
            422,
            "The model name you specified is not supported. Please verify your input and use one of the supported models provided by KIE.",
        )),
        Submit::Broken => Some((500, "Server exception, please try again later")),
        Submit::Down => Some((455, "The service is under maintenance")),
        Submit::Taken | Submit::Hang | Submit::Cut | Submit::Garbled => None,
    };
    if let Some((code, msg)) = refused {
        return said(code, msg, Value::Null);
    }
    let webhook = body.get("callBackUrl").and_then(Value::as_str);
    let webhook = webhook.map(str::to_owned);
    let taken = fake.engine.take(&prompt, body);
    if let Some(url) = webhook {
        tokio::spawn(tell(Arc::clone(&fake), taken.clone(), url));
    }
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    said(
        200,
        "success",
        json!({"taskId": taken.id, "recordId": taken.id}),
    )
}

async fn record(State(fake): Shared, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let id = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "taskId")
        .map(|(_, id)| id.into_owned())
        .unwrap_or_default();
    match fake.engine.poll(&id) {
        Err(wrong) => *wrong,
        // A job that was taken a moment ago may be answered like this, too.
        Ok(None) => said(422, "recordInfo is null", Value::Null),
        Ok(Some((job, stage))) => said(200, "success", shape(&fake, &job, stage)),
    }
}

fn shape(fake: &Fake, job: &Taken, stage: Stage) -> Value {
    let (state, result, failed, progress) = match stage {
        Stage::Queued => ("waiting", String::new(), "", 0),
        Stage::Ended(directive::Job::Odd) if job.polls == 1 => ("checking", String::new(), "", 99),
        // It knows no way to stop a job.
        Stage::Running | Stage::Canceled => ("generating", String::new(), "", 50),
        Stage::Ended(directive::Job::Failed) => {
            let words = "Internal Error, Please try again later.";
            ("fail", String::new(), words, 0)
        }
        Stage::Ended(directive::Job::Policy) => {
            let words = "The input or output was flagged as sensitive. Please try again with different inputs.";
            ("fail", String::new(), words, 0)
        }
        Stage::Ended(directive::Job::Empty) => {
            let none = json!({"resultUrls": []});
            ("success", none.to_string(), "", 100)
        }
        Stage::Ended(_) => ("success", result(fake, job), "", 100),
    };
    json!({
        "taskId": job.id, "model": job.body["model"], "state": state, "param": job.body.to_string(),
        "resultJson": result, "failCode": if failed.is_empty() { "" } else { "500" }, "failMsg": failed,
        "costTime": 0, "createTime": 0, "updateTime": 0, "completeTime": 0, "progress": progress,
        "creditsConsumed": 18, "aNewField": {"of": "tomorrow"}
    })
}

fn result(fake: &Fake, job: &Taken) -> String {
    let name = match job.body["input"].get("duration") {
        Some(_) => "video.mp4",
        None => "0.png",
    };
    let file = format!("http://{}/files/{}/{name}", fake.address, job.id);
    json!({"resultUrls": [file]}).to_string()
}

/// Calls the webhook when the work is done: twice, as happens.
async fn tell(fake: Arc<Fake>, job: Taken, url: String) {
    tokio::time::sleep(job.directives.delay + Duration::from_millis(20)).await;
    let record = shape(&fake, &job, Stage::Ended(directive::Job::Done));
    let body = json!({"code": 200, "msg": "success", "data": record}).to_string();
    for _ in 0..2 {
        let headers = signed(WEBHOOK_KEY, &job.id, SystemTime::now());
        let request = fake.http.post(&url).headers(headers).body(body.clone());
        // Whoever does not listen polls.
        let _ = request.send().await;
    }
}

/// The headers of a webhook. The body is not signed.
pub fn signed(key: &str, id: &str, at: SystemTime) -> HeaderMap {
    let at = at.duration_since(UNIX_EPOCH).expect("it is after 1970");
    let at = at.as_secs().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(format!("{id}.{at}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let named = [
        ("x-webhook-timestamp", &at),
        ("x-webhook-signature", &signature),
    ];
    let value = |(name, value): (&'static str, &String)| {
        (
            name.parse().expect("is a name"),
            value.parse().expect("is a value"),
        )
    };
    named.into_iter().map(value).collect()
}
