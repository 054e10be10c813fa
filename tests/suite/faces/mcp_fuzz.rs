//! Nothing that is posted to the MCP endpoint makes the server panic, hang, fail or say what its clients
//! could not read.
//!
//! Good messages of every method, both eras and both transports are spoilt: fields are removed,
//! swapped, renamed, doubled and given odd values, texts are cut, flipped and nested, headers made up.
//! Each answer must be JSON-RPC to the id that was sent, or a refusal of the table of reasons.
//!
//! ```sh
//! cargo test --test suite mcp_fuzz                                         # two seconds
//! PIOOY_FUZZ_SECONDS=600 cargo test --test suite mcp_fuzz -- --nocapture   # ten minutes, and what came of it
//! PIOOY_FUZZ_SEED=17 cargo test --test suite mcp_fuzz                      # begins with that case
//! ```
//!
//! But for the id of a task, a case depends on its seed alone; the next one has the next seed.

use std::collections::BTreeMap;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::StreamExt;
use piooy::ledger::Ledger;
use piooy::spec::reason::Reason;
use reqwest::header::HeaderValue;
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sse_stream::SseByteStream;

use super::mcp_modern::{NOW, modern, with_tasks};
use super::server::{MCP, QUICK_MODEL, Server, with_key};

/// How long is played, when nobody says.
const SECONDS_DEFAULT: u64 = 2;

/// The longest that any answer may take on a busy machine: longer than any wait that can be asked for.
const ANSWER_MAX: Duration = Duration::from_secs(70);

/// Marks a place for text that JSON values cannot hold, such as numbers beyond all bounds.
const HOLE: &str = "\"@hole@\"";

/// Fields that messages of both eras have.
const FIELDS: [&str; 12] = [
    "jsonrpc",
    "id",
    "method",
    "params",
    "_meta",
    "name",
    "arguments",
    "uri",
    "taskId",
    "wait_seconds",
    "",
    "\u{0}",
];

const VERSIONS: [&str; 3] = [NOW, "2024-11-05", "never"];

const LEGACY_VERSIONS: [&str; 3] = ["2025-11-25", "2025-06-18", BATCHES];

/// The one revision with batches.
const BATCHES: &str = "2025-03-26";

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Counts the panics of this thread, on which a test's server runs.
fn count_panics() -> Arc<AtomicUsize> {
    let (count, own) = (Arc::new(AtomicUsize::new(0)), thread::current().id());
    let (counted, before) = (Arc::clone(&count), panic::take_hook());
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() == own {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        before(panic);
    }));
    count
}

/// A wish that is refused as soon as it is taken up, before anything is painted.
fn wish() -> Value {
    json!({
        "model": QUICK_MODEL, "prompt": "[sandbox:fail=content_policy] a pebble",
        "provider": "sandbox", "wait_seconds": 50,
    })
}

/// Good messages; those about a task are about one that has ended.
fn messages(task_id: &str) -> Vec<Value> {
    let task = json!({"taskId": task_id, "wait_seconds": 0});
    let picture = json!({
        "model": QUICK_MODEL, "prompt": "[sandbox:fail=content_policy] a pebble",
        "provider": "sandbox", "idempotency_key": "one",
        "count": 1, "seed": 1, "reference_images": ["https://example.com/a.png"],
    });
    let client = json!({"name": "x", "version": "1"});
    let calls = [
        ("generate_image", picture),
        ("get_task_status", task.clone()),
        ("cancel_task", task.clone()),
        ("list_tasks", json!({"page_size": 3, "page_token": "x"})),
        ("get_model", json!({"model": QUICK_MODEL})),
        ("quote", json!({"model": QUICK_MODEL, "count": 2})),
        ("list_models", json!({})),
        ("get_balance", json!({})),
    ];
    let calls = calls.map(|(name, arguments)| {
        let meta = json!({"progressToken": 7, "idempotencyKey": "one"});
        (
            "tools/call",
            json!({"name": name, "arguments": arguments, "_meta": meta}),
        )
    });
    let others = [
        (
            "initialize",
            json!({"protocolVersion": NOW, "capabilities": {}, "clientInfo": client}),
        ),
        ("ping", json!({})),
        ("logging/setLevel", json!({"level": "info"})),
        ("server/discover", json!({})),
        ("tools/list", json!({"cursor": "x"})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        (
            "resources/read",
            json!({"uri": format!("piooy://models/{QUICK_MODEL}")}),
        ),
        ("prompts/list", json!({})),
        (
            "prompts/get",
            json!({"name": "product_shot", "arguments": {"product": "a cup"}}),
        ),
        (
            "completion/complete",
            json!({
                "ref": {"type": "ref/resource", "uri": "piooy://models/{slug}"},
                "argument": {"name": "slug", "value": "na"}, "context": {"arguments": {}},
            }),
        ),
        (
            "subscriptions/listen",
            json!({"notifications": {"toolsListChanged": true}}),
        ),
        ("tasks/get", task.clone()),
        (
            "tasks/update",
            json!({"taskId": task["taskId"], "inputResponses": {}}),
        ),
        ("tasks/cancel", task),
        (
            "notifications/cancelled",
            json!({"requestId": 7, "reason": "late"}),
        ),
    ];
    let all = calls
        .into_iter()
        .chain(others)
        .flat_map(|(method, params)| {
            let legacy =
                json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params.clone()});
            let tasks = with_tasks(method, params.clone());
            [legacy, modern(method, params, NOW), tasks]
        });
    all.collect()
}

fn pick<T: Copy>(from: &[T], random: &mut Rng) -> T {
    from[random.usize(..from.len())]
}

/// Something that is seldom meant.
fn odd(random: &mut Rng) -> Value {
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(0.1),
        json!(""),
        json!("\u{0}\u{202e}é🦀"),
        json!("x".repeat(5_000)),
        json!([]),
        json!({}),
        json!([[null]]),
        json!({"": {}}),
        json!("../../etc/passwd"),
        json!("piooy://tasks/%00"),
        json!("2026-07-28"),
        json!("tools/call"),
        json!("@hole@"),
    ];
    values[random.usize(..values.len())].clone()
}

/// Text for a hole: numbers without bounds, depth, and what is no JSON.
fn filling(random: &mut Rng) -> String {
    let depth = random.usize(1..20_000);
    match random.u8(..6) {
        // Longer than any wait that is allowed.
        0 => "9".repeat(random.usize(3..2_000)),
        1 => "-1e999999".to_owned(),
        2 => "[".repeat(depth) + &"]".repeat(depth),
        3 => "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth),
        4 => "\"\\ud800\"".to_owned(),
        _ => "NaN".to_owned(),
    }
}

/// The places in a message, as JSON pointers, the whole first.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let mut inside = |name: &str, value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        places(value, &format!("{at}/{name}"), found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| inside(name, value)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| inside(&index.to_string(), value));
        }
        _ => {}
    }
}

/// Spoils what a message says.
fn spoil(message: &mut Value, random: &mut Rng) {
    let mut found = Vec::new();
    places(message, "", &mut found);
    let [one, other] = [0; 2].map(|_| &found[random.usize(..found.len())]);
    let value = odd(random);
    let elsewhere = message.pointer(other).cloned().unwrap_or_default();
    let Some(place) = message.pointer_mut(one) else {
        return;
    };
    match (random.u8(..6), &mut *place) {
        (0 | 1, place) => *place = value,
        (2, place) => {
            let here = std::mem::replace(place, elsewhere);
            if let Some(there) = message.pointer_mut(other) {
                *there = here;
            }
        }
        (3, Value::Object(fields)) if !fields.is_empty() => {
            let name = fields.keys().nth(random.usize(..fields.len())).cloned();
            fields.remove(&name.expect("there is one"));
        }
        (4, Value::Object(fields)) => {
            fields.insert(pick(&FIELDS, random).to_owned(), value);
        }
        (_, place) => *place = json!([place.clone(), elsewhere]),
    }
}

/// Spoils the text of a message.
fn garble(text: &mut Vec<u8>, random: &mut Rng) {
    if text.is_empty() {
        return;
    }
    let at = random.usize(..text.len());
    let end = random.usize(at..=text.len());
    match random.u8(..7) {
        0 => text.truncate(at),
        1 => text[at] ^= 1 << random.u8(..8),
        2 => text.insert(at, random.u8(..)),
        3 => drop(text.drain(at..end)),
        4 => {
            let part = text[at..end].to_vec();
            text.splice(at..at, part);
        }
        5 => drop(text.splice(at..at, filling(random).into_bytes())),
        _ => {
            // A field that may be there already.
            let objects: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'{').collect();
            if let Some(begin) = random.choice(objects) {
                let [name, value] = [json!(pick(&FIELDS, random)), odd(random)];
                let field = format!("{name}:{value},").replace(HOLE, &filling(random));
                text.splice(begin + 1..=begin, field.into_bytes());
            }
        }
    }
}

/// A case: what is posted.
struct Case {
    body: Vec<u8>,
    headers: Vec<(&'static str, HeaderValue)>,
}

impl Case {
    fn of(seed: u64, good: &[Value]) -> Self {
        let random = &mut Rng::with_seed(seed);
        let mut message = good[random.usize(..good.len())].clone();
        let mut told = Told::by(&message, random);
        if random.u8(..10) == 0 {
            let many = (0..random.usize(..60)).map(|_| good[random.usize(..good.len())].clone());
            message = Value::Array(many.collect());
            told.version = BATCHES.to_owned();
        }
        for _ in 0..random.u8(..3) {
            spoil(&mut message, random);
        }
        let text = message.to_string().replace(HOLE, &filling(random));
        let mut body = text.into_bytes();
        if random.u8(..5) == 0 {
            garble(&mut body, random);
        }
        Self {
            body,
            headers: headers(&told, random),
        }
    }
}

/// What the headers of a good message say of it.
struct Told {
    version: String,
    method: String,
    name: Option<String>,
}

impl Told {
    fn by(message: &Value, random: &mut Rng) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let params = &message["params"];
        let version = text(&params["_meta"]["io.modelcontextprotocol/protocolVersion"]);
        let names = ["name", "uri", "taskId"];
        Self {
            version: version.unwrap_or_else(|| pick(&LEGACY_VERSIONS, random).to_owned()),
            method: text(&message["method"]).unwrap_or_default(),
            name: names.into_iter().find_map(|name| text(&params[name])),
        }
    }
}

/// Headers that mostly fit the message.
fn headers(told: &Told, random: &mut Rng) -> Vec<(&'static str, HeaderValue)> {
    let version = match random.u8(..8) {
        0 => pick(&VERSIONS, random),
        _ => &told.version,
    };
    let mut headers = vec![("content-type", HeaderValue::from_static("application/json"))];
    let fitting = [
        ("mcp-protocol-version", Some(version)),
        ("mcp-method", Some(told.method.as_str())),
        ("mcp-name", told.name.as_deref()),
        ("accept", Some("application/json, text/event-stream")),
    ];
    for (name, value) in fitting {
        if let Some(value) = value.filter(|_| random.u8(..16) > 0) {
            headers.push((name, HeaderValue::from_str(value).expect("is plain")));
        }
    }
    let names = [
        "accept",
        "authorization",
        "content-type",
        "content-encoding",
        "host",
        "origin",
        "last-event-id",
        "mcp-session-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-param-model",
        "idempotency-key",
        "x-request-id",
    ];
    if random.u8(..4) == 0 {
        let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(0x20..)).collect();
        let value = HeaderValue::from_bytes(&bytes);
        let value = value.unwrap_or(HeaderValue::from_static("=?base64?!!?="));
        headers.push((pick(&names, random), value));
    }
    headers
}

/// What came of a case: a word for the summary, or what is wrong with the answer.
type Judged = Result<&'static str, String>;

/// A JSON-RPC message, read as strictly as a client may.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcError>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RpcError {
    #[serde(rename = "code")]
    _code: i32,
    message: String,
    #[serde(rename = "data")]
    _data: Option<IgnoredAny>,
}

impl Message<'_> {
    /// Judges a message to whoever sent `sent`; of a batch, or of what is no message, nothing is known
    /// of the id.
    fn judge(text: &str, sent: Option<&RawValue>) -> Judged {
        let said: Message<'_> =
            serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
        let is_object =
            |part: Option<&RawValue>| part.is_some_and(|raw| raw.get().starts_with('{'));
        let id_fits = match (said.id, sent) {
            (Some(id), Some(sent)) => id.get() == sent.get(),
            // An answer to nobody tells that the message could not be read.
            (id, _) => id.is_some() || said.error.is_some() || said.method.is_some(),
        };
        let kind = match (is_object(said.result), &said.error, &said.method) {
            (true, None, None) => "results",
            (false, Some(error), None) if !error.message.is_empty() => "errors",
            (false, None, Some(_)) if is_object(said.params) => "notifications",
            _ => return Err(format!("not one of result, error and notification: {text}")),
        };
        match said.jsonrpc == "2.0" && id_fits {
            true => Ok(kind),
            false => Err(format!("not an answer to {sent:?}: {text}")),
        }
    }
}

/// Judges a refusal at the door: one of the table.
fn judge_refusal(status: StatusCode, text: &str) -> Judged {
    let said: Value = serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
    let row = Reason::ALL.iter().map(|reason| reason.row());
    let row = row.into_iter().find(|row| said["reason"] == row.word);
    let fits = row.is_some_and(|row| {
        said["code"] == row.grpc_code
            && said["message"].is_string()
            && status == row.http_status
            && row.word != Reason::Internal.row().word
    });
    match fits {
        true => Ok("refusals"),
        false => Err(format!("not a refusal of the table: {status} {text}")),
    }
}

/// Reads an answer, of events the first, and judges it.
async fn judge(answer: Response, sent: Option<&RawValue>) -> Judged {
    let broken = |error: &dyn std::fmt::Debug| format!("the answer breaks off: {error:?}");
    let (status, headers) = (answer.status(), answer.headers());
    let kind = headers.get("content-type").map(HeaderValue::as_bytes);
    if kind == Some(b"text/event-stream") {
        let mut events = SseByteStream::new(answer.bytes_stream());
        let first = events.next().await.ok_or("a stream without events")?;
        let data = first.map_err(|error| broken(&error))?.data;
        return Message::judge(&data.unwrap_or_default(), sent);
    }
    let is_json = kind == Some(b"application/json");
    let body = answer.bytes().await.map_err(|error| broken(&error))?;
    let text = std::str::from_utf8(&body).map_err(|error| broken(&error))?;
    if status == StatusCode::ACCEPTED && !is_json {
        return Ok("taken");
    }
    if !is_json || text.contains(r#""reason":"INTERNAL""#) {
        return Err(format!("{status} {text}"));
    }
    if let Ok(messages) = serde_json::from_str::<Vec<&RawValue>>(text) {
        for message in &messages {
            Message::judge(message.get(), None)?;
        }
        let some = !messages.is_empty() && status == StatusCode::OK;
        return some.then_some("batches").ok_or(format!("{status} {text}"));
    }
    match text.contains(r#""jsonrpc""#) && !status.is_server_error() {
        true => Message::judge(text, sent),
        false => judge_refusal(status, text),
    }
}

/// Posts a case, and judges the answer.
async fn play(server: &Server, key: &str, path: &str, case: &Case) -> Judged {
    #[derive(Deserialize)]
    struct Sent<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    let sent = serde_json::from_slice::<Sent<'_>>(&case.body);
    let sent = sent.ok().and_then(|sent| sent.id);
    let mut request = with_key(server.http("POST", path), Some(key)).body(case.body.clone());
    for (name, value) in &case.headers {
        request = request.header(*name, value);
    }
    let answered = async {
        let answer = request.send().await;
        judge(
            answer.map_err(|error| format!("no answer: {error:?}"))?,
            sent,
        )
        .await
    };
    let answered = tokio::time::timeout(ANSWER_MAX, answered).await;
    answered.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// A server, and a key whose plan lets everything through.
async fn generous() -> (Server, String) {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let client = server
        .database
        .store()
        .client()
        .await
        .expect("a connection");
    let plan = "INSERT INTO plans VALUES ('fuzz', 1000000, 1000000, 1000000, false)";
    client.batch_execute(plan).await.expect("a plan");
    let key = server.account("fuzz", "fuzz", 1_000_000).await;
    (server, key)
}

/// Makes a picture and audits the books: the server is as well as before.
async fn assert_well(server: &Server) {
    assert_eq!(server.picture().await["status"], "SUCCESS");
    let ledger = Ledger::new(server.database.store().clone());
    let books = ledger.verify().await.expect("the books can be read");
    assert_eq!(books.differences, []);
}

#[tokio::test]
async fn whatever_is_posted_is_answered() {
    let (server, key) = generous().await;
    let panics = count_panics();
    let answer = with_key(server.http("GET", "/api/mcp/sse"), Some(&key))
        .send()
        .await;
    let mut events = SseByteStream::new(answer.expect("the server answers").bytes_stream());
    let first = events.next().await.expect("an event").expect("well formed");
    let session = first.data.expect("where messages are posted");
    // Whoever does not read what comes is not answered.
    let heard = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let data = event.expect("well formed").data.unwrap_or_default();
            Message::judge(&data, None).expect("a message");
        }
    });

    let ended = server.tool(Some(&key), "generate_image", &wish()).await;
    let ended = ended.of_tool()["data"].clone();
    assert_eq!(ended["status"], "FAILED", "{ended}");
    let good = messages(ended["taskId"].as_str().expect("an id"));
    let time = Duration::from_secs(number("PIOOY_FUZZ_SECONDS").unwrap_or(SECONDS_DEFAULT));
    let begun = Instant::now();
    let mut seed = number("PIOOY_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    let mut counts = BTreeMap::new();
    println!("PIOOY_FUZZ_SEED={seed} is the first case");
    while begun.elapsed() < time {
        let path = if seed.is_multiple_of(4) {
            &session
        } else {
            MCP
        };
        let case = Case::of(seed, &good);
        let judged = play(&server, &key, path, &case).await;
        let is_well = panics.load(Ordering::Relaxed) == 0 && !heard.is_finished();
        match judged {
            Ok(kind) if is_well => *counts.entry(kind).or_insert(0_u64) += 1,
            judged => {
                let said = String::from_utf8_lossy(&case.body);
                let said: String = said.chars().take(2_000).collect();
                let Case { headers, .. } = case;
                panic!("PIOOY_FUZZ_SEED={seed} {path}: {judged:?}\n{headers:?}\n{said}");
            }
        }
        seed += 1;
    }
    println!("{counts:?}");
    for kind in ["errors", "results", "taken"] {
        assert!(counts.contains_key(kind), "{kind} are missing: {counts:?}");
    }
    assert_well(&server).await;
    assert!(
        !heard.is_finished(),
        "the stream of the old transport stays open"
    );
    heard.abort();
}
