//! A fake of ComfyUI's server (`server.py` and `execution.py`, 0.3.64 and 0.36), behind a proxy that
//! wants a key: its queue and history, its checks of a graph, its uploads and files, and its WebSocket.
//!
//! The text of the first node that encodes one is the prompt that says what goes wrong. Being too busy
//! or down is up to the proxy, since the server takes whatever comes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Multipart, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use uuid::Uuid;

use super::directive::{self, Submit};
use super::engine::{ANYWHERE, Engine, KEY, Serving, Stage, Taken, json as answer};
use super::mishap;

/// A version that takes ids of the client's choice.
pub const VERSION: &str = "0.3.64";

/// A fake that serves.
pub struct Comfyui {
    pub engine: Engine,
    pub serving: Serving,
    fake: Arc<Fake>,
}

struct Fake {
    engine: Engine,
    version: &'static str,
    /// Whether there is a WebSocket.
    talks: bool,
    /// Jobs that were taken out of the queue; of these nothing is left.
    removed: Mutex<BTreeSet<String>>,
    /// What was uploaded, by subfolder and name.
    uploads: Mutex<BTreeMap<String, Bytes>>,
    /// The connections of clients, by their ids.
    sockets: Mutex<BTreeMap<String, UnboundedSender<Message>>>,
}

type Shared = State<Arc<Fake>>;

impl Comfyui {
    pub async fn start() -> Self {
        Self::start_at(ANYWHERE).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        Self::start_of(address, VERSION, true).await
    }

    /// Of a version, with or without a WebSocket.
    pub async fn start_as(version: &'static str, talks: bool) -> Self {
        Self::start_of(ANYWHERE, version, talks).await
    }

    async fn start_of(address: SocketAddr, version: &'static str, talks: bool) -> Self {
        let fake = Arc::new(Fake {
            engine: Engine::default(),
            version,
            talks,
            removed: Mutex::default(),
            uploads: Mutex::default(),
            sockets: Mutex::default(),
        });
        let serving = Serving::start_at(address, |_| router(Arc::clone(&fake))).await;
        Self {
            engine: fake.engine.clone(),
            serving,
            fake,
        }
    }

    /// What was uploaded under a name.
    pub fn upload(&self, name: &str) -> Option<Bytes> {
        lock(&self.fake.uploads).get(name).cloned()
    }

    /// How many clients listen.
    pub fn listeners(&self) -> usize {
        lock(&self.fake.sockets).len()
    }

    /// Ends all connections of clients.
    pub fn hang_up(&self) {
        lock(&self.fake.sockets).clear();
    }
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().expect("no fake panics while it counts")
}

fn router(fake: Arc<Fake>) -> Router {
    let engine = fake.engine.clone();
    let router = Router::new()
        .route("/ws", get(socket))
        .route("/prompt", post(prompt))
        .route("/queue", get(queue).post(change_queue))
        .route("/interrupt", post(interrupt))
        .route("/history/{id}", get(history))
        .route("/view", get(view))
        .route("/upload/image", post(upload))
        .route("/object_info/{class}", get(object_info))
        .route("/system_stats", get(system_stats))
        .layer(middleware::from_fn(authorized))
        .with_state(fake);
    mishap::on(engine, router)
}

/// The proxy.
async fn authorized(request: Request, next: Next) -> Response {
    let key = request.headers().get(header::AUTHORIZATION);
    if key.is_some_and(|key| key == &format!("Bearer {KEY}")) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "Unauthorized").into_response()
    }
}

fn ok(body: &Value) -> Response {
    answer(StatusCode::OK, body)
}

/// A refusal of a graph.
fn refused(kind: &str, message: &str, details: &str, node_errors: Value) -> Response {
    let error = json!({"type": kind, "message": message, "details": details, "extra_info": {}});
    answer(
        StatusCode::BAD_REQUEST,
        &json!({"error": error, "node_errors": node_errors}),
    )
}

/// A refusal for one input of one node.
fn invalid(node: &str, class: &str, input: &str, (kind, message): (&str, &str)) -> Response {
    let error = json!({
        "type": kind, "message": message, "details": input,
        "extra_info": {"input_name": input, "input_config": ["INT", {"min": 16, "max": 16384}]}
    });
    let errors =
        json!({node: {"errors": [error], "dependent_outputs": ["9"], "class_type": class}});
    let message = "Prompt outputs failed validation";
    refused("prompt_outputs_failed_validation", message, "", errors)
}

fn broken() -> Response {
    let body = "500 Internal Server Error\n\nServer got itself in trouble";
    (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
}

/// The classes that the server has: whether they make output, and what they take.
fn class(name: &str) -> Option<(bool, Value)> {
    let number = json!(["INT", {"default": 512, "min": 16, "max": 16384, "step": 8}]);
    let (is_output, required) = match name {
        "KSampler" => (
            false,
            json!({"seed": number, "sampler_name": [["euler", "dpmpp_2m"], {}], "model": ["MODEL", {}]}),
        ),
        "CheckpointLoaderSimple" => (false, json!({"ckpt_name": [["model.safetensors"], {}]})),
        "EmptyLatentImage" => (false, json!({"width": number, "height": number})),
        "CLIPTextEncode" => (false, json!({"text": ["STRING", {"multiline": true}]})),
        "LoadImage" => (
            false,
            json!({"image": [["example.png"], {"image_upload": true}]}),
        ),
        "VAEDecode" | "VAEEncode" | "CreateVideo" => (false, json!({"vae": ["VAE"]})),
        "SaveImage" | "PreviewImage" => (true, json!({"images": ["IMAGE", {}]})),
        "SaveVideo" => (
            true,
            json!({"codec": ["COMBO", {"options": ["auto", "h264"]}]}),
        ),
        _ => return None,
    };
    Some((is_output, required))
}

async fn object_info(Path(name): Path<String>) -> Response {
    let info = class(&name).map(|(is_output, required)| {
        json!({&name: {"input": {"required": required}, "output_node": is_output, "name": name}})
    });
    ok(&info.unwrap_or_else(|| json!({})))
}

async fn system_stats(State(fake): Shared) -> Response {
    ok(&json!({
        "system": {"os": "posix", "comfyui_version": fake.version, "argv": ["main.py", "--cpu"]},
        "devices": [{"name": "cpu", "type": "cpu", "index": null}]
    }))
}

fn class_of(node: &Value) -> &str {
    node["class_type"].as_str().unwrap_or_default()
}

/// The text of the first node that encodes one.
fn text_of(graph: &Map<String, Value>) -> String {
    let mut nodes = graph.values();
    let encoder = nodes.find(|node| class_of(node) == "CLIPTextEncode");
    let text = encoder.and_then(|node| node["inputs"]["text"].as_str());
    text.unwrap_or_default().to_owned()
}

/// Why a graph cannot be run, as the server itself finds out.
fn check(fake: &Fake, graph: &Map<String, Value>, targets: &[&str]) -> Option<Response> {
    let mut outputs = 0;
    for (id, node) in graph {
        let Some((is_output, _)) = class(class_of(node)) else {
            let message = format!(
                "Cannot execute because node {} does not exist.",
                class_of(node)
            );
            let details = format!("Node ID '#{id}'");
            return Some(refused("invalid_prompt", &message, &details, json!({})));
        };
        outputs += usize::from(is_output && targets.contains(&id.as_str()));
    }
    if outputs == 0 {
        let message = "Prompt has no outputs";
        return Some(refused("prompt_no_outputs", message, "", json!({})));
    }
    for (id, node) in graph {
        let (class, inputs) = (class_of(node), &node["inputs"]);
        let wide = inputs["width"].as_u64().filter(|width| *width > 16_384);
        if let Some(wide) = wide {
            let message = format!("Value {wide} bigger than max of 16384");
            return Some(invalid(
                id,
                class,
                "width",
                ("value_bigger_than_max", &message),
            ));
        }
        let is_missing = |name: &str| !lock(&fake.uploads).contains_key(name);
        if class == "LoadImage" && inputs["image"].as_str().is_none_or(is_missing) {
            let problem = (
                "custom_validation_failed",
                "Custom validation failed for node",
            );
            return Some(invalid(id, class, "image", problem));
        }
        if class == "CheckpointLoaderSimple" && inputs["ckpt_name"] != "model.safetensors" {
            return Some(invalid(id, class, "ckpt_name", NOT_LISTED));
        }
    }
    None
}

const NOT_LISTED: (&str, &str) = ("value_not_in_list", "Value not in list");

async fn prompt(State(fake): Shared, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return broken();
    };
    let Some(graph) = body["prompt"].as_object() else {
        let message = "No prompt provided";
        return refused("no_prompt", message, message, json!({}));
    };
    let text = text_of(graph);
    match fake.engine.directives(&text).submit {
        Submit::Input => {
            let problem = ("value_smaller_than_min", "Value 1 smaller than min of 16");
            return invalid("5", "EmptyLatentImage", "width", problem);
        }
        Submit::Gone => return invalid("4", "CheckpointLoaderSimple", "ckpt_name", NOT_LISTED),
        Submit::Busy => return StatusCode::TOO_MANY_REQUESTS.into_response(),
        Submit::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Submit::Broken => return broken(),
        // It refuses nothing for its content, and nothing costs anything.
        Submit::Policy | Submit::Credit => {}
        Submit::Taken | Submit::Hang | Submit::Cut | Submit::Garbled => {}
    }
    let targets = body["partial_execution_targets"].as_array();
    let targets: Vec<_> = targets
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if let Some(refusal) = check(&fake, graph, &targets) {
        return refusal;
    }
    let chosen = body["prompt_id"].as_str().unwrap_or_default();
    if Uuid::parse_str(chosen).map(|id| id.to_string()).as_deref() != Ok(chosen) {
        let message = "prompt_id must be a valid UUID";
        return refused("invalid_prompt_id", message, "", json!({}));
    }
    let id = match fake.version {
        VERSION => chosen.to_owned(),
        _ => Uuid::now_v7().to_string(),
    };
    let taken = fake.engine.take_as(&id, &text, body.clone());
    tokio::spawn(tell(Arc::clone(&fake), taken.clone()));
    if let Some(wrong) = taken.wrong_answer().await {
        return wrong;
    }
    ok(&json!({"prompt_id": id, "number": 1, "node_errors": {}, "a_new_field": true}))
}

/// A job as the queue and the history list it.
fn listed(job: &Taken) -> Value {
    let client = json!({"client_id": job.body["client_id"]});
    let targets = &job.body["partial_execution_targets"];
    json!([1, job.id, job.body["prompt"], client, targets])
}

async fn queue(State(fake): Shared) -> Response {
    let open = fake.engine.open();
    let at = |wanted: Stage| -> Vec<_> {
        let jobs = open.iter().filter(|(_, stage)| *stage == wanted);
        jobs.map(|(job, _)| listed(job)).collect()
    };
    ok(&json!({"queue_running": at(Stage::Running), "queue_pending": at(Stage::Queued)}))
}

/// Stops a job if it stands as it has to.
fn stop(fake: &Fake, id: &str, wanted: Stage) -> bool {
    let open = fake.engine.open();
    let is_so = open
        .iter()
        .any(|(job, stage)| job.id == id && *stage == wanted);
    is_so && fake.engine.cancel(id)
}

async fn change_queue(State(fake): Shared, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let ids = body["delete"].as_array().into_iter().flatten();
    for id in ids.filter_map(Value::as_str) {
        if stop(&fake, id, Stage::Queued) {
            lock(&fake.removed).insert(id.to_owned());
        }
    }
    StatusCode::OK.into_response()
}

async fn interrupt(State(fake): Shared, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = body["prompt_id"]
        .as_str()
        .expect("only one job is to be stopped");
    stop(&fake, id, Stage::Running);
    StatusCode::OK.into_response()
}

async fn history(State(fake): Shared, Path(id): Path<String>) -> Response {
    let (job, stage) = match fake.engine.poll(&id) {
        Err(wrong) => return *wrong,
        Ok(None) => return ok(&json!({})),
        Ok(Some(found)) => found,
    };
    let about = |more: Value| {
        let mut about =
            json!({"prompt_id": id, "node_id": "3", "node_type": "KSampler", "executed": ["4"]});
        let more = more.as_object().cloned().unwrap_or_default();
        about.as_object_mut().expect("is an object").extend(more);
        about
    };
    let (status, message, outputs) = match stage {
        Stage::Queued | Stage::Running => return ok(&json!({})),
        Stage::Canceled if lock(&fake.removed).contains(&id) => return ok(&json!({})),
        Stage::Canceled => (
            "error",
            json!(["execution_interrupted", about(json!({}))]),
            json!({}),
        ),
        Stage::Ended(directive::Job::Failed) => {
            let error = json!({
                "exception_message": "Allocation on device /dev/secret\nTIPS: less", "traceback": ["File main.py"],
                "exception_type": "torch.OutOfMemoryError", "current_inputs": {}
            });
            ("error", json!(["execution_error", about(error)]), json!({}))
        }
        Stage::Ended(directive::Job::Odd) if job.polls == 1 => ("suspended", json!([]), json!({})),
        Stage::Ended(directive::Job::Empty) => ("success", success(&id), json!({})),
        Stage::Ended(_) => ("success", success(&id), outputs(&job)),
    };
    let start = json!(["execution_start", {"prompt_id": id, "timestamp": 1}]);
    let is_done = status == "success";
    ok(&json!({id: {
        "prompt": listed(&job), "outputs": outputs, "meta": {},
        "status": {"status_str": status, "completed": is_done, "messages": [start, message]}
    }}))
}

fn success(id: &str) -> Value {
    json!(["execution_success", {"prompt_id": id, "timestamp": 2}])
}

/// What the nodes of a job made, with what is kept of others.
fn outputs(job: &Taken) -> Value {
    let graph = job.body["prompt"].as_object().expect("was checked");
    let is_film = graph.values().any(|node| class_of(node) == "SaveVideo");
    if is_film {
        let file =
            json!({"filename": format!("{}_0_.mp4", job.id), "subfolder": "", "type": "output"});
        return json!({"10": {"images": [file], "animated": [true]}});
    }
    let count = job.body["prompt"]["5"]["inputs"]["batch_size"].as_u64();
    let file = |index: u64| {
        json!({
            "filename": format!("{}_{index}_.png", job.id), "subfolder": "a folder", "type": "output"
        })
    };
    let files: Vec<_> = (0..count.unwrap_or(1)).map(file).collect();
    let preview = json!({"filename": "preview.png", "subfolder": "", "type": "temp"});
    json!({"9": {"images": files}, "10": {"images": [preview]}})
}

async fn view(State(fake): Shared, uri: Uri) -> Response {
    let asked = |wanted: &str| {
        let query = uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
    };
    let filename = asked("filename").unwrap_or_default();
    let is_film = filename.ends_with(".mp4");
    let subfolder = if is_film { "" } else { "a folder" };
    let is_there = asked("subfolder").as_deref() == Some(subfolder);
    match filename.split_once('_') {
        Some((id, _)) if is_there => fake.engine.file(id, is_film),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn upload(State(fake): Shared, mut form: Multipart) -> Response {
    let mut picture = None;
    let mut subfolder = String::new();
    while let Ok(Some(field)) = form.next_field().await {
        match field.name() {
            Some("image") => {
                let name = field.file_name().unwrap_or_default().to_owned();
                picture = field.bytes().await.ok().map(|bytes| (name, bytes));
            }
            Some("subfolder") => subfolder = field.text().await.unwrap_or_default(),
            _ => {}
        }
    }
    let Some((name, bytes)) = picture else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    lock(&fake.uploads).insert(format!("{subfolder}/{name}"), bytes);
    ok(&json!({"name": name, "subfolder": subfolder, "type": "input"}))
}

/// Opens a WebSocket. The newest connection of a client is the one that hears.
async fn socket(State(fake): Shared, headers: HeaderMap, mut request: Request) -> Response {
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let query = request.uri().query().unwrap_or_default();
    let client = query.strip_prefix("clientId=").map(str::to_owned);
    let (Some(key), Some(client), true) = (key, client, fake.talks) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (sender, told) = unbounded_channel();
    let hello = json!({"type": "status", "data": {"status": {}, "sid": client}});
    sender
        .send(Message::text(hello.to_string()))
        .expect("somebody listens");
    lock(&fake.sockets).insert(client, sender);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let stream = TokioIo::new(upgraded);
            talk(
                WebSocketStream::from_raw_socket(stream, Role::Server, None).await,
                told,
            )
            .await;
        }
    });
    let accept = derive_accept_key(key.as_bytes());
    let headers = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn talk(
    mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    mut told: UnboundedReceiver<Message>,
) {
    loop {
        tokio::select! {
            message = told.recv() => match message {
                Some(message) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                None => {
                    // Whoever is still there learns it; the others have gone.
                    let _ = socket.close(None).await;
                    return;
                }
            },
            heard = socket.next() => if !matches!(heard, Some(Ok(_))) {
                return;
            },
        }
    }
}

/// Tells a client how its job goes: half of the steps at once, and the others when the work is done.
async fn tell(fake: Arc<Fake>, job: Taken) {
    let client = job.body["client_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let say = |kind: &str, mut data: Value| {
        data["prompt_id"] = json!(job.id);
        let message = json!({"type": kind, "data": data}).to_string();
        if let Some(socket) = lock(&fake.sockets).get(&client) {
            // Who has gone does not hear it.
            let _ = socket.send(Message::text(message));
        }
    };
    say("execution_start", json!({}));
    say("execution_cached", json!({"nodes": ["4"]}));
    for node in ["6", "7", "5", "3"] {
        say("executing", json!({"node": node, "display_node": node}));
    }
    say("progress", json!({"node": "3", "value": 10, "max": 20}));
    if let Some(socket) = lock(&fake.sockets).get(&client) {
        let _ = socket.send(Message::binary(vec![0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xd8]));
    }
    tokio::time::sleep(job.directives.delay).await;
    if job.directives.job != directive::Job::Never {
        say("progress", json!({"node": "3", "value": 20, "max": 20}));
        say("executing", json!({"node": null}));
    }
}
