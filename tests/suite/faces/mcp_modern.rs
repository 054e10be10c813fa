//! MCP as clients of 2026-07-28 speak it: no handshake, each request stands alone.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::answers::Answer;
use super::server::{MCP, Place, Server, with_key};

pub const NOW: &str = "2026-07-28";

/// A request that says what such a request must.
pub fn modern(method: &str, mut params: Value, version: &str) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

/// A request of a client that declares the extension for tasks.
pub fn with_tasks(method: &str, params: Value) -> Value {
    let mut message = modern(method, params, NOW);
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    message
}

/// A message with the headers that the revision wants, and those given instead.
pub fn request(
    place: &Place,
    key: &str,
    message: &Value,
    headers: &[(&str, &str)],
) -> RequestBuilder {
    let params = &message["params"];
    let meta = &params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    let name = ["name", "uri", "taskId"]
        .into_iter()
        .find_map(|name| params[name].as_str());
    let told = [
        ("mcp-protocol-version", meta.as_str()),
        ("mcp-method", message["method"].as_str()),
        ("mcp-name", name),
    ];
    let mut request = with_key(place.http("POST", MCP), Some(key)).json(message);
    for (name, value) in told {
        let given = headers.iter().find(|(given, _)| *given == name);
        if let Some(value) = given.map(|(_, value)| *value).or(value) {
            request = request.header(name, value);
        }
    }
    request
}

/// Posts a message with the test key.
pub async fn post(server: &Server, message: &Value, headers: &[(&str, &str)]) -> Answer {
    let request = request(server, &server.test_key, message, headers);
    Answer::read(request.send().await.expect("the server answers")).await
}

#[tokio::test]
async fn a_server_is_discovered() {
    let server = Server::start().await;
    let discovered = post(&server, &modern("server/discover", json!({}), NOW), &[]).await;
    let result = &discovered.envelope["result"];
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["cacheScope"], "public");
    assert!(result["ttlMs"].as_u64() > Some(0));

    let card = server
        .rest(
            None,
            "GET",
            "/.well-known/mcp/server-card.json",
            &Value::Null,
        )
        .await;
    assert_eq!(
        card.header("content-type"),
        "application/mcp-server-card+json"
    );
    let beside = server
        .rest(None, "GET", &format!("{MCP}/server-card"), &Value::Null)
        .await;
    assert_eq!(beside.envelope, card.envelope);
    let remote = &card.envelope["remotes"][0];
    assert_eq!(remote["url"], format!("{}{MCP}", server.url));
    assert_eq!(
        remote["supportedProtocolVersions"],
        result["supportedVersions"]
    );
    let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
    for name in ["name", "title", "version"] {
        assert_eq!(info[name], card.envelope[name], "{name}");
        assert!(info[name].is_string(), "{name}");
    }
}

#[tokio::test]
async fn results_say_what_they_are() {
    let server = Server::start().await;
    let list = post(&server, &modern("tools/list", json!({}), NOW), &[])
        .await
        .envelope;
    let legacy = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    let legacy = server.mcp(Some(&server.test_key), &legacy).await.envelope;
    assert_eq!(
        list["result"]["tools"], legacy["result"]["tools"],
        "the same tools in both eras"
    );
    assert_eq!(list["result"]["resultType"], "complete");

    let task = json!({"taskId": "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a"});
    let call = modern(
        "tools/call",
        json!({"name": "get_task_status", "arguments": task}),
        NOW,
    );
    let answer = post(&server, &call, &[]).await;
    assert_eq!((answer.status, &answer.envelope["id"]), (200, &json!(7)));
    assert_eq!(answer.of_tool()["reason"], "TASK_NOT_FOUND");
    assert_eq!(answer.envelope["result"]["resultType"], "complete");
    let info = &answer.envelope["result"]["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "piooy/piooy");
}

/// What is wrong, the message, headers that replace the right ones, and the answer's status and code.
type Faulty<'a> = (&'a str, &'a Value, &'a [(&'a str, &'a str)], u16, i32);

#[tokio::test]
async fn requests_are_checked() {
    let server = Server::start().await;
    let list = modern("tools/list", json!({}), NOW);
    let call = modern("tools/call", json!({"name": "paint", "arguments": {}}), NOW);
    let mut bare = list.clone();
    bare["params"] = json!({});
    let table: [Faulty<'_>; 8] = [
        (
            "versions differ",
            &list,
            &[("mcp-protocol-version", "2025-11-25")],
            400,
            -32020,
        ),
        (
            "another method",
            &list,
            &[("mcp-method", "tools/call")],
            400,
            -32020,
        ),
        ("another name", &call, &[("mcp-name", "draw")], 400, -32020),
        (
            "no meta",
            &bare,
            &[("mcp-protocol-version", NOW)],
            400,
            -32602,
        ),
        (
            "unknown version",
            &modern("tools/list", json!({}), "v999"),
            &[],
            400,
            -32022,
        ),
        (
            "unknown method",
            &modern("nothing", json!({}), NOW),
            &[],
            404,
            -32601,
        ),
        (
            "a method of the past",
            &modern("ping", json!({}), NOW),
            &[],
            404,
            -32601,
        ),
        ("unknown tool", &call, &[], 200, -32602),
    ];
    for (what, message, headers, status, code) in table {
        let answer = post(&server, message, headers).await;
        let error = &answer.envelope["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (status, &json!(code)),
            "{what}: {error}"
        );
        assert_eq!(answer.envelope["id"], 7, "{what}");
    }
    let unknown = post(&server, &modern("tools/list", json!({}), "v999"), &[]).await;
    let data = &unknown.envelope["error"]["data"];
    assert_eq!(data["requested"], "v999");
    assert_eq!(data["supported"][0], NOW);
    let encoded = post(&server, &call, &[("mcp-name", "=?base64?cGFpbnQ=?=")]).await;
    assert_eq!(
        encoded.envelope["error"]["code"], -32602,
        "the name is read, the tool is not there"
    );
    let notified =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let quiet = post(&server, &notified, &[("mcp-protocol-version", NOW)]).await;
    assert_eq!((quiet.status, quiet.bytes.len()), (202, 0));
}
