//! MCP over the transport of 2024-11-05: a stream of events, and messages posted beside it.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use sse_stream::{Error, Sse, SseByteStream};

use super::answers::Answer;
use super::server::{QUICK_MODEL, Server, with_key};

const SSE: &str = "/api/mcp/sse";
const MESSAGES: &str = "/api/mcp/messages";

/// How long an event may take on a busy machine.
const EVENT_MAX: Duration = Duration::from_secs(20);

/// A client with an open stream.
struct Session<'s> {
    server: &'s Server,
    key: &'s str,
    /// Where the server says that messages are posted.
    endpoint: String,
    events: Pin<Box<dyn Stream<Item = Result<Sse, Error>>>>,
}

impl<'s> Session<'s> {
    async fn open(server: &'s Server, key: &'s str) -> Self {
        let request = with_key(server.http("GET", SSE), Some(key));
        let answer = request.send().await.expect("the server answers");
        assert_eq!(answer.status(), 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
        let mut session = Self {
            server,
            key,
            endpoint: String::new(),
            events: Box::pin(SseByteStream::new(answer.bytes_stream())),
        };
        let (event, endpoint) = session.event().await;
        assert_eq!(event, "endpoint");
        session.endpoint = endpoint;
        session
    }

    async fn event(&mut self) -> (String, String) {
        let event = tokio::time::timeout(EVENT_MAX, self.events.next()).await;
        let event = event.expect("an event in time").expect("no end");
        let event = event.expect("well formed");
        (
            event.event.unwrap_or_default(),
            event.data.unwrap_or_default(),
        )
    }

    async fn post(&self, message: &Value) -> Answer {
        post(
            self.server,
            Some(self.key),
            &self.endpoint,
            message.to_string(),
        )
        .await
    }

    /// Posts a message that must be taken.
    async fn say(&self, message: &Value) {
        let answer = self.post(message).await;
        assert_eq!(
            (answer.status, &*answer.bytes),
            (202, &b"Accepted"[..]),
            "{message}"
        );
    }

    async fn hear(&mut self) -> Value {
        let (event, data) = self.event().await;
        assert_eq!(event, "message");
        serde_json::from_str(&data).expect("is JSON")
    }

    async fn ask(&mut self, id: Value, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], id);
        answer
    }
}

async fn post(server: &Server, key: Option<&str>, path: &str, body: String) -> Answer {
    let request = with_key(server.http("POST", path), key)
        .header("content-type", "application/json")
        .body(body);
    Answer::read(request.send().await.expect("the server answers")).await
}

#[tokio::test]
async fn a_conversation() {
    let server = Server::start().await;
    let mut session = Session::open(&server, &server.test_key).await;
    let number = session
        .endpoint
        .strip_prefix(&format!("{MESSAGES}?sessionId="))
        .expect("a path of this server");
    assert!(number.len() == 32 && number.bytes().all(|byte| byte.is_ascii_hexdigit()));

    let client = json!({"name": "x", "version": "1"});
    let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client});
    let agreed = session.ask(json!(0), "initialize", params).await;
    assert_eq!(agreed["result"]["protocolVersion"], "2024-11-05");
    session
        .say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    let listed = session.ask(json!("list"), "tools/list", json!({})).await;
    let message = json!({"jsonrpc": "2.0", "id": "list", "method": "tools/list"});
    let elsewhere = server.mcp(Some(&server.test_key), &message).await;
    assert_eq!(listed, elsewhere.envelope, "what the new transport says");

    let picture = server.picture().await;
    let call = json!({"name": "get_task_status", "arguments": {"taskId": picture["taskId"]}});
    let called = session.ask(json!(2), "tools/call", call).await;
    assert_eq!(called["result"]["structuredContent"]["data"], picture);

    let ids: Vec<Value> = (0..10).map(|id| json!(format!("at once {id}"))).collect();
    for id in &ids {
        session
            .say(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}))
            .await;
    }
    let mut answered = Vec::new();
    for _ in &ids {
        answered.push(session.hear().await["id"].clone());
    }
    answered.sort_by_key(ToString::to_string);
    assert_eq!(answered, ids);
}

#[tokio::test]
async fn a_session_is_of_the_old_revision_whatever_its_client_knows() {
    let server = Server::start().await;
    let mut session = Session::open(&server, &server.test_key).await;
    // Without `initialize` too: a client that connects anew goes on where it was.
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for (method, params) in [
        ("server/discover", json!({"_meta": meta})),
        ("server/discover", json!({})),
        ("no/such", json!({})),
    ] {
        let answer = session.ask(json!(1), method, params).await;
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
    let request = with_key(
        server.http("POST", &session.endpoint),
        Some(&server.test_key),
    )
    .header("mcp-protocol-version", "2026-07-28")
    .json(&ping);
    let answer = request.send().await.expect("the server answers");
    assert_eq!(answer.status(), 202);
    assert_eq!(session.hear().await["result"], json!({}));
}

#[tokio::test]
async fn a_session_is_its_credentials_and_ends_with_its_stream() {
    let server = Server::start().await;
    let session = Session::open(&server, &server.test_key).await;
    let other = server.account("other", "pro", 0).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let ours = Some(server.test_key.as_str());
    let other_name = session.endpoint.replace("sessionId", "session_id");
    let unknown = format!("{MESSAGES}?sessionId={:032x}", 7);
    let nonsense = format!("{MESSAGES}?sessionId=../x");
    let table: [(Option<&str>, &str, u16, &str); 8] = [
        (ours, &session.endpoint, 202, ""),
        (ours, &other_name, 202, ""),
        (
            Some(&server.live_key),
            &session.endpoint,
            404,
            "PATH_NOT_FOUND",
        ),
        (Some(&other), &session.endpoint, 404, "PATH_NOT_FOUND"),
        (None, &session.endpoint, 401, "KEY_MISSING"),
        (ours, &unknown, 404, "PATH_NOT_FOUND"),
        (ours, &nonsense, 404, "PATH_NOT_FOUND"),
        (ours, MESSAGES, 400, "MALFORMED_REQUEST"),
    ];
    for (key, path, status, reason) in table {
        let answer = post(&server, key, path, ping.clone()).await;
        assert_eq!((answer.status, answer.reason()), (status, reason), "{path}");
    }
    for (body, code) in [("{", -32700), ("[]", -32600), ("{\"id\":1}", -32600)] {
        let answer = post(&server, ours, &session.endpoint, body.to_owned()).await;
        let told = (answer.status, &answer.envelope["error"]["code"]);
        assert_eq!(told, (400, &json!(code)), "{body}");
    }
    let endpoint = session.endpoint.clone();
    drop(session);
    let gone = async {
        while post(&server, ours, &endpoint, ping.clone()).await.status != 404 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(EVENT_MAX, gone)
        .await
        .expect("nothing outlives its client");
}

/// A call that waits for a picture that is never painted.
fn waiting(id: &str) -> Value {
    let arguments =
        json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble", "wait_seconds": 50});
    let params = json!({"name": "generate_image", "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

#[tokio::test]
async fn a_canceled_request_is_dropped_unanswered() {
    let server = Server::start().await;
    let mut session = Session::open(&server, &server.test_key).await;
    // Answers wait for their turn here, so that there is room again only when one was dropped.
    for number in 0..32 {
        session.say(&waiting(&format!("wait {number}"))).await;
    }
    let ping = json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"});
    assert_eq!(session.post(&ping).await.reason(), "BUSY");
    let cancel = |id: Value| {
        let params = json!({"requestId": id, "reason": "no longer wanted"});
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    };
    session.say(&cancel(json!("nobody"))).await;
    session.say(&cancel(json!("wait 7"))).await;
    let taken = async {
        while session.post(&ping).await.status != 202 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(EVENT_MAX, taken).await;
    in_time.expect("there is room again");
    assert_eq!(
        session.hear().await["id"],
        "ping",
        "nothing is said of the other"
    );
}

#[tokio::test]
async fn a_session_ends_with_its_key() {
    let server = Server::start().await;
    let key = server.account("visitor", "pro", 0).await;
    let mut session = Session::open(&server, &key).await;
    let path = "/api/v1/apikeys";
    let keys = server.rest(Some(&key), "GET", path, &Value::Null).await;
    let id = keys.envelope["data"]["apiKeys"][0]["id"].as_str();
    let path = format!("{path}/{}", id.expect("an id"));
    server.rest(Some(&key), "DELETE", &path, &Value::Null).await;
    let ended = tokio::time::timeout(Duration::from_secs(3), session.events.next()).await;
    assert!(ended.expect("it ends soon").is_none());
}

#[tokio::test]
async fn a_stopping_server_answers_before_it_ends_a_session() {
    let server = Server::start().await;
    let session = Session::open(&server, &server.test_key).await;
    session.say(&waiting("asked before")).await;
    let mut events = session.events;
    let heard = async {
        let answer = events
            .next()
            .await
            .expect("an answer")
            .expect("well formed");
        let answer = answer.data.expect("data");
        assert!(answer.contains("asked before"), "{answer}");
        assert!(events.next().await.is_none(), "then the end");
    };
    let stopped = async {
        let begun = Instant::now();
        server.stop().await;
        begun.elapsed()
    };
    let ((), took) = tokio::join!(heard, stopped);
    assert!(took < Duration::from_secs(4), "nothing is cut: {took:?}");
}

#[tokio::test]
async fn strangers_and_clients_of_the_new_transport_are_told_so() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let posted = server.rest(key, "POST", SSE, &json!({})).await;
    assert_eq!(posted.status, 405);
    assert!(
        posted.header("allow").contains("GET"),
        "a client may fall back"
    );
    let without = server.rest(None, "GET", SSE, &Value::Null).await;
    assert_eq!((without.status, without.reason()), (401, "KEY_MISSING"));
    for path in [SSE, MESSAGES] {
        let method = if path == SSE { "GET" } else { "POST" };
        let request = with_key(server.http(method, path), key);
        let request = request.header("origin", "https://evil.example");
        let answer = Answer::read(request.send().await.expect("the server answers")).await;
        assert_eq!(answer.reason(), "ORIGIN_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn the_old_transport_can_be_switched_off() {
    let server = Server::with(&[("PIOOY_MCP_SSE", "no")]).await;
    let key = Some(server.test_key.as_str());
    for (method, path) in [("GET", SSE), ("POST", MESSAGES)] {
        let answer = server.rest(key, method, path, &Value::Null).await;
        assert_eq!((answer.status, answer.reason()), (404, "PATH_NOT_FOUND"));
    }
    let card = server
        .rest(
            None,
            "GET",
            "/.well-known/mcp/server-card.json",
            &Value::Null,
        )
        .await;
    let remotes = card.envelope["remotes"].as_array().expect("a list");
    assert_eq!(remotes.len(), 1);
}
