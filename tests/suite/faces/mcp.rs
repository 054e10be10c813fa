//! MCP as clients of 2025-03-26 to 2025-11-25 speak it, and what holds for every revision.

use serde_json::{Value, json};

use super::answers::Answer;
use super::server::{MCP, QUICK_MODEL, Server, with_key};

fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params})
}

/// Posts `body` with these headers and the test key.
async fn post(server: &Server, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = with_key(server.http("POST", MCP), Some(&server.test_key)).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await.expect("the server answers")).await
}

#[tokio::test]
async fn every_revision_is_agreed_on() {
    let server = Server::start().await;
    let table = [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ];
    for (asked, agreed) in table {
        let client = json!({"name": "x", "version": "1"});
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": client});
        let answer = post(&server, &[], &request("initialize", params)).await;
        let result = &answer.envelope["result"];
        assert_eq!(result["protocolVersion"], agreed, "{asked}");
        assert_eq!(result["serverInfo"]["name"], "piooy/piooy");
        let capabilities = json!({
            "tools": {}, "prompts": {}, "resources": {}, "completions": {}, "logging": {},
            "extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}},
        });
        assert_eq!(result["capabilities"], capabilities);
        assert_eq!(
            answer.header("mcp-session-id"),
            "",
            "any replica can answer"
        );
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let answer = post(&server, &[("mcp-protocol-version", agreed)], &ready).await;
        assert_eq!((answer.status, answer.bytes.len()), (202, 0));
    }
    let ping = post(&server, &[], &request("ping", json!({}))).await;
    let empty = json!({"jsonrpc": "2.0", "id": "a", "result": {}});
    assert_eq!(ping.envelope, empty);
    let level = request("logging/setLevel", json!({"level": "info"}));
    assert_eq!(post(&server, &[], &level).await.envelope, empty);
}

#[tokio::test]
async fn tools_are_listed_and_called() {
    let server = Server::start().await;
    let listed = post(&server, &[], &request("tools/list", json!({})))
        .await
        .envelope;
    let tools = listed["result"]["tools"].as_array().expect("a list");
    assert_eq!(tools[0]["name"], "generate_image");
    let fields: Vec<&String> = listed["result"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(fields, ["tools"], "nothing that this era does not know");

    let task = server.picture().await;
    let id = json!({"taskId": task["taskId"]});
    let answer = server
        .tool(Some(&server.test_key), "get_task_status", &id)
        .await;
    assert_eq!(answer.of_tool()["data"], task, "what REST says");
    assert_eq!(answer.envelope["id"], 1);
    let fields: Vec<&String> = answer.envelope["result"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(fields, ["content", "structuredContent", "isError"]);
}

#[tokio::test]
async fn mistakes_in_the_call_and_in_its_content() {
    let server = Server::start().await;
    let table = [
        (
            request("tools/call", json!({"name": "paint", "arguments": {}})),
            -32602,
        ),
        (request("tools/call", json!({"arguments": {}})), -32602),
        (request("tools/list", json!({"cursor": "x"})), -32602),
        (request("tools/list", json!({"cursor": 7})), -32602),
        (request("tasks/get", json!({"taskId": "x"})), -32601),
        (request("subscriptions/listen", json!({})), -32601),
        (
            request("logging/setLevel", json!({"level": "loud"})),
            -32602,
        ),
        (json!({"jsonrpc": "1.0", "id": 1, "method": "ping"}), -32600),
        (
            json!({"jsonrpc": "2.0", "id": {}, "method": "ping"}),
            -32600,
        ),
        (json!("ping"), -32600),
    ];
    for (message, code) in table {
        let answer = post(&server, &[], &message).await;
        assert_eq!(answer.envelope["error"]["code"], code, "{message}");
    }
    let known = post(
        &server,
        &[],
        &request("tools/call", json!({"name": "paint"})),
    )
    .await;
    let message = known.envelope["error"]["message"].as_str().expect("a text");
    assert!(
        message.contains("generate_image, generate_video, get_balance"),
        "{message}"
    );
    let broken = with_key(server.http("POST", MCP), Some(&server.test_key)).body("{");
    let broken = Answer::read(broken.send().await.expect("the server answers")).await;
    assert_eq!(
        (broken.status, &broken.envelope["error"]["code"]),
        (400, &json!(-32700))
    );

    for arguments in [
        json!({"model": QUICK_MODEL}),
        json!({"colour": 1}),
        json!([]),
        json!("x"),
    ] {
        let answer = server
            .tool(Some(&server.test_key), "generate_image", &arguments)
            .await;
        let said = answer.of_tool();
        assert_eq!(
            (answer.status, &said["code"]),
            (200, &json!(3)),
            "{arguments}"
        );
    }
}

#[tokio::test]
async fn only_the_first_revision_has_batches() {
    let server = Server::start().await;
    let notified = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let batch = json!([request("ping", json!({})), notified, {"jsonrpc": "2.0"}, request("nothing", json!({}))]);
    for headers in [&[][..], &[("mcp-protocol-version", "2025-03-26")]] {
        let answer = post(&server, headers, &batch).await;
        let replies = answer.envelope.as_array().expect("a list");
        let codes: Vec<&Value> = replies
            .iter()
            .map(|reply| &reply["error"]["code"])
            .collect();
        assert_eq!(codes, [&Value::Null, &json!(-32601)], "{}", answer.envelope);
    }
    let quiet = post(&server, &[], &json!([notified, notified])).await;
    assert_eq!((quiet.status, quiet.bytes.len()), (202, 0));
    let many = vec![notified.clone(); 51];
    let refused = [
        post(&server, &[("mcp-protocol-version", "2025-06-18")], &batch).await,
        post(&server, &[], &json!([])).await,
        post(&server, &[], &json!(many)).await,
    ];
    for answer in refused {
        assert_eq!(
            (answer.status, &answer.envelope["error"]["code"]),
            (400, &json!(-32600))
        );
    }
}

#[tokio::test]
async fn strangers_are_refused_at_the_door() {
    let server = Server::start().await;
    let ping = request("ping", json!({}));
    let table: [(&[(&str, &str)], u16); 5] = [
        (&[("host", "evil.example")], 403),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", &server.url)], 200),
        (&[("host", "localhost")], 200),
    ];
    for (headers, status) in table {
        let answer = post(&server, headers, &ping).await;
        assert_eq!(answer.status, status, "{headers:?}");
        let reason = if status == 403 {
            "ORIGIN_NOT_ALLOWED"
        } else {
            ""
        };
        assert_eq!(answer.reason(), reason, "{headers:?}");
    }
    for method in ["GET", "DELETE"] {
        let answer = server
            .rest(Some(&server.test_key), method, MCP, &Value::Null)
            .await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    }
}

#[tokio::test]
async fn a_refusal_at_the_door_is_in_words_of_the_protocol() {
    let server = Server::start().await;
    let ping = |padding: usize| {
        let params = json!({"padding": "x".repeat(padding)});
        request("ping", params).to_string()
    };
    let ask = async |key: Option<&str>, body: String| {
        let request = with_key(server.http("POST", MCP), key).body(body);
        Answer::read(request.send().await.expect("the server answers")).await
    };
    let rest = server
        .rest(None, "GET", "/api/v1/credits", &Value::Null)
        .await;
    let (short, long) = (ping(1), ping(100_000));
    for (body, id) in [
        (short.clone(), json!("a")),
        (long, Value::Null),
        (format!("[{short}]"), Value::Null),
        ("{".to_owned(), Value::Null),
    ] {
        let answer = ask(None, body).await;
        assert_eq!((answer.status, answer.reason()), (401, "KEY_MISSING"));
        assert_eq!(answer.failure(), &rest.envelope, "what REST says");
        assert_eq!(answer.envelope["id"], id);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"piooy\"");
    }
    let large = ask(Some(&server.test_key), ping(25 * 1024 * 1024)).await;
    assert_eq!((large.status, large.reason()), (413, "BODY_TOO_LARGE"));
    assert_eq!(large.envelope["id"], Value::Null);
}

#[tokio::test]
async fn an_idempotency_key_may_be_meta_or_an_argument() {
    let server = Server::start().await;
    let ask = async |meta: Value, key: Option<&str>| {
        let mut arguments = json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble"});
        if let Some(key) = key {
            arguments["idempotency_key"] = json!(key);
        }
        let params = json!({"name": "generate_image", "arguments": arguments, "_meta": meta});
        post(&server, &[], &request("tools/call", params))
            .await
            .of_tool()
    };
    let first = ask(json!({"idempotencyKey": "one"}), None).await["data"]["taskId"].clone();
    assert!(first.is_string());
    for (meta, key) in [
        (json!({"idempotencyKey": "one"}), None),
        (json!({}), Some("one")),
        (
            json!({"idempotencyKey": "one", "progressToken": 7}),
            Some("two"),
        ),
    ] {
        assert_eq!(
            ask(meta.clone(), key).await["data"]["taskId"],
            first,
            "{meta} {key:?}"
        );
    }
    assert_ne!(
        ask(json!({}), None).await["data"]["taskId"],
        first,
        "no key, no memory"
    );
    // Left unread, it would be paid for twice.
    let unreadable = ask(json!({"idempotencyKey": "clé"}), None).await;
    assert_eq!(unreadable["reason"], "INVALID_ARGUMENT");
}
