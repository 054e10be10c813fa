//! What is found without a key: the server's card, the catalogue, and no trace of OAuth.

use serde_json::{Value, json};

use super::answers::Answer;
use super::server::{MCP, Server};

const CARD: &str = "/api/mcp/mcp/server-card";
const CATALOG: &str = "/.well-known/ai-catalog.json";

#[tokio::test]
async fn the_card_says_where_and_how_the_server_is_reached() {
    let server = Server::start().await;
    let card = server.rest(None, "GET", CARD, &Value::Null).await.envelope;
    let found: Vec<[&Value; 2]> = card["remotes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|remote| [&remote["type"], &remote["url"]])
        .collect();
    let url = |path: &str| json!(format!("{}{path}", server.url));
    assert_eq!(
        found,
        [
            [&json!("streamable-http"), &url(MCP)],
            [&json!("sse"), &url("/api/mcp/sse")]
        ]
    );
    for remote in card["remotes"].as_array().into_iter().flatten() {
        assert_eq!(remote["headers"][0]["value"], "Bearer {api_key}");
        assert_eq!(remote["headers"][0]["isSecret"], true);
    }
    let alias = server
        .rest(
            None,
            "GET",
            "/.well-known/mcp/server-card.json",
            &Value::Null,
        )
        .await;
    assert_eq!(alias.envelope, card);

    // It agrees with what the server says of itself.
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let discover =
        json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}});
    let request = server
        .http("POST", MCP)
        .bearer_auth(&server.test_key)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "server/discover")
        .json(&discover);
    let told = Answer::read(request.send().await.expect("the server answers")).await;
    let result = &told.envelope["result"];
    let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(
        [&card["name"], &card["version"]],
        [&info["name"], &info["version"]]
    );
    assert_eq!(
        card["remotes"][0]["supportedProtocolVersions"],
        result["supportedVersions"]
    );

    let catalog = server
        .rest(None, "GET", CATALOG, &Value::Null)
        .await
        .envelope;
    let entry = json!({
        "identifier": "urn:air:127.0.0.1:piooy",
        "type": "application/mcp-server-card+json",
        "url": url(CARD),
    });
    assert_eq!(catalog["entries"], json!([entry]));
}

#[tokio::test]
async fn what_is_found_can_be_read_by_any_page_and_kept() {
    let server = Server::start().await;
    for (path, media_type) in [
        (CARD, "application/mcp-server-card+json"),
        (
            "/.well-known/mcp/server-card.json",
            "application/mcp-server-card+json",
        ),
        (CATALOG, "application/ai-catalog+json"),
    ] {
        let answer = server.rest(None, "GET", path, &Value::Null).await;
        for (name, value) in [
            ("content-type", media_type),
            ("cache-control", "public, max-age=3600"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET"),
            (
                "access-control-allow-headers",
                "Content-Type, If-None-Match",
            ),
        ] {
            assert_eq!(answer.header(name), value, "{path} {name}");
        }
        let exposed = answer.header("access-control-expose-headers");
        assert!(exposed.split(',').any(|name| name.trim() == "etag"));
        let etag = answer.header("etag").to_owned();
        for (known, status) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"x\", {etag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            let request = server.http("GET", path).header("if-none-match", &known);
            let again = Answer::read(request.send().await.expect("the server answers")).await;
            assert_eq!(
                (again.status, again.header("etag")),
                (status, &*etag),
                "{known}"
            );
            assert_eq!(again.bytes.is_empty(), status == 304);
        }
    }
}

#[tokio::test]
async fn nothing_hints_at_a_login_that_does_not_exist() {
    let server = Server::start().await;
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/api/mcp/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/api/mcp/mcp",
        "/.well-known/openid-configuration",
        "/api/mcp/mcp/.well-known/openid-configuration",
        "/register",
        "/authorize",
    ] {
        let answer = server.rest(None, "GET", path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.reason()),
            (404, "PATH_NOT_FOUND"),
            "{path}"
        );
    }
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let refused = [
        server.mcp(None, &ping).await,
        server.mcp(Some("piooy_test_x"), &ping).await,
        server.rest(None, "GET", "/api/mcp/sse", &Value::Null).await,
        server.rest(None, "POST", "/api/mcp/messages", &ping).await,
    ];
    for answer in refused {
        let challenge = (answer.status, answer.header("www-authenticate"));
        assert_eq!(challenge, (401, "Bearer realm=\"piooy\""));
    }
}
