//! `piooy mcp`: the program itself, with a client at its standard input and output and a server, ours or one that fails
//! on purpose, at its other end.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::server::{QUICK_MODEL, Server};

/// How long anything may take on a busy machine.
const LINE_MAX: Duration = Duration::from_secs(20);

/// A client that started the bridge.
struct Bridge {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    _home: TempDir,
}

impl Bridge {
    fn start(url: &str, key: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory can be made");
        let mut child = Command::new(env!("CARGO_BIN_EXE_piooy"))
            .arg("mcp")
            .current_dir(home.path())
            .env_clear()
            .envs([("PIOOY_URL", url), ("PIOOY_API_KEY", key)])
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("is piped");
        Self {
            input: child.stdin.take(),
            output: BufReader::new(output).lines(),
            child,
            _home: home,
        }
    }

    async fn write(&mut self, line: &str) {
        let input = self.input.as_mut().expect("is open");
        let line = format!("{line}\n");
        input.write_all(line.as_bytes()).await.expect("it reads");
    }

    async fn say(&mut self, message: &Value) {
        self.write(&message.to_string()).await;
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(LINE_MAX, self.output.next_line()).await;
        let line = line.expect("a line in time").expect("it writes");
        serde_json::from_str(&line.expect("no end")).expect("nothing but JSON")
    }

    async fn ask(&mut self, id: Value, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// Closes its input; it must end by itself, with nothing more to say.
    async fn close(mut self) {
        drop(self.input.take());
        let ended = tokio::time::timeout(LINE_MAX, self.child.wait()).await;
        let status = ended.expect("it ends in time").expect("it ran");
        assert!(status.success());
        let rest = self.output.next_line().await.expect("it wrote");
        assert_eq!(rest, None);
    }
}

#[tokio::test]
async fn clients_of_every_era_reach_the_server() {
    let server = Server::start().await;
    let mut bridge = Bridge::start(&server.url, &server.test_key);
    let client = json!({"name": "x", "version": "1"});
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let agreed = bridge.ask(json!("é\"1"), "initialize", params).await;
    assert_eq!(agreed["result"]["protocolVersion"], "2025-06-18");
    bridge
        .say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    let listed = bridge.ask(json!(2), "tools/list", json!({})).await;
    let message = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}});
    let direct = server.mcp(Some(&server.test_key), &message).await;
    assert_eq!(listed, direct.envelope);

    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let told = bridge
        .ask(json!(3), "server/discover", json!({"_meta": meta}))
        .await;
    assert_eq!(told["result"]["resultType"], "complete");
    let arguments = json!({"model": QUICK_MODEL, "prompt": "a pebble"});
    let call = json!({"name": "generate_image", "arguments": arguments, "_meta": meta});
    let called = bridge.ask(json!(4), "tools/call", call).await;
    assert_eq!(called["result"]["structuredContent"]["code"], 0, "{called}");

    bridge.write("not JSON").await;
    assert_eq!(bridge.hear().await["error"]["code"], -32700);
    bridge.write("").await;
    for id in 10..30 {
        bridge
            .say(&json!({"jsonrpc": "2.0", "id": id, "method": "ping"}))
            .await;
    }
    let mut ids = Vec::new();
    for _ in 10..30 {
        ids.push(bridge.hear().await["id"].as_i64().expect("a number"));
    }
    ids.sort_unstable();
    assert_eq!(ids, Vec::from_iter(10..30));
    bridge.close().await;
}

#[tokio::test]
async fn what_is_asked_before_the_end_is_answered() {
    let server = Server::start().await;
    let mut bridge = Bridge::start(&server.url, &server.test_key);
    bridge
        .say(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        .await;
    drop(bridge.input.take());
    assert_eq!(bridge.hear().await["result"], json!({}));
    bridge.close().await;
}

#[tokio::test]
async fn a_refusal_at_the_door_is_an_answer() {
    let server = Server::start().await;
    let mut bridge = Bridge::start(&server.url, "piooy_test_mistyped");
    let refused = bridge.ask(json!(1), "tools/list", json!({})).await;
    assert_eq!(refused["error"]["code"], 16);
    assert_eq!(refused["error"]["data"]["reason"], "KEY_MALFORMED");
    // A notification has no answer, not even this one.
    bridge
        .say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    bridge.close().await;
}

/// Takes a connection and reads a request from it: the headers, in small letters, and the body.
async fn request(listener: &TcpListener) -> (TcpStream, String, Value) {
    let accepted = tokio::time::timeout(LINE_MAX, listener.accept()).await;
    let (mut stream, _) = accepted.expect("a connection in time").expect("it comes");
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return (stream, head.to_ascii_lowercase(), body);
        }
        assert!(stream.read_buf(&mut read).await.expect("it sends") > 0);
    }
}

async fn answer(stream: &mut TcpStream, status: &str, media_type: &str, body: &str) {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nconnection: close\r\n\r\n");
    let whole = format!("{head}{body}");
    stream.write_all(whole.as_bytes()).await.expect("it reads");
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_default()
}

#[tokio::test]
async fn a_server_that_is_replaced_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a port");
    let mut bridge = Bridge::start(&format!("http://{address}"), "key");
    let call = json!({"name": "generate_image", "arguments": {"prompt": "a pebble"}});
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": call});
    bridge.say(&message).await;

    // It ends without a word; it is not ready; it breaks off in the middle; it answers.
    let (stream, head, body) = request(&listener).await;
    assert_eq!(
        (header(&head, "authorization"), &body),
        ("bearer key", &message)
    );
    let key = header(&head, "idempotency-key").to_owned();
    assert!(!key.is_empty());
    drop(stream);
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    let events = format!(": alive\n\nevent: message\ndata: {progress}\n\n");
    for (status, media_type, text) in [
        (
            "503 Service Unavailable",
            "application/json",
            "{\"code\":14,\"message\":\"Soon.\"}",
        ),
        ("200 OK", "text/event-stream", &events),
        (
            "200 OK",
            "application/json",
            "{\n \"jsonrpc\": \"2.0\",\r\n \"id\": 5, \"result\": {}}",
        ),
    ] {
        let (mut stream, head, body) = request(&listener).await;
        assert_eq!((header(&head, "idempotency-key"), &body), (&*key, &message));
        answer(&mut stream, status, media_type, text).await;
    }
    assert_eq!(bridge.hear().await["method"], "notifications/progress");
    let last = json!({"jsonrpc": "2.0", "id": 5, "result": {}});
    assert_eq!(bridge.hear().await, last);
    bridge.close().await;
}

#[tokio::test]
async fn a_cancelled_request_is_dropped_and_the_rest_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a port");
    let mut bridge = Bridge::start(&format!("http://{address}/api/mcp/mcp"), "key");
    bridge
        .say(&json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call"}))
        .await;
    let (mut silent, ..) = request(&listener).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}});
    bridge.say(&cancel).await;
    let (mut stream, _, told) = request(&listener).await;
    assert_eq!(told, cancel, "the server may know what to do with it");
    answer(&mut stream, "202 Accepted", "text/plain", "").await;
    drop(stream);
    let end = tokio::time::timeout(LINE_MAX, silent.read(&mut [0; 1])).await;
    assert_eq!(end.expect("in time").expect("it closes"), 0);

    bridge
        .say(&json!({"jsonrpc": "2.0", "id": "b", "method": "ping"}))
        .await;
    let (mut stream, ..) = request(&listener).await;
    answer(&mut stream, "200 OK", "text/html", "<html>").await;
    drop(stream);
    let told = bridge.hear().await;
    assert_eq!(
        (&told["id"], &told["error"]["code"]),
        (&json!("b"), &json!(-32603))
    );

    // Whatever still waits when the client has gone does not keep the program.
    bridge
        .say(&json!({"jsonrpc": "2.0", "id": "c", "method": "ping"}))
        .await;
    let _waiting = request(&listener).await;
    bridge.close().await;
}
