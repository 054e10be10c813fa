//! What the server says of itself: `server/discover`, `initialize`, and the server card are made of
//! the same constants.

use std::sync::LazyLock;

use axum::body::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use super::sse;
use crate::adapters::Options;

/// The name among MCP servers.
pub const NAME: &str = "piooy/piooy";

/// The name for people.
pub const TITLE: &str = "Piooy";

/// What it is, in at most 100 characters.
pub const DESCRIPTION: &str =
    "Generate images and videos with many models through one key and one credit balance.";

/// Where it came from.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revisions that begin with `initialize`, newest first.
pub const LEGACY_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The revisions without a handshake.
pub const MODERN_VERSIONS: [&str; 1] = ["2026-07-28"];

/// The revisions of Streamable HTTP, newest first.
pub const VERSIONS: [&str; 4] = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"];

/// How to use the tools, for the model that will.
const INSTRUCTIONS: &str = "Piooy makes images and videos. Call generate_image or generate_video: it answers at once with a \
    taskId and holds the credits. Then call get_task_status with that taskId every few seconds until status is SUCCESS or \
    FAILED, and show the person the links in outputs. Images take seconds, videos minutes. A FAILED task costs nothing; its \
    error says whether trying again can help. If you repeat a generate call because you are unsure it arrived, send the same \
    idempotency_key, so that it is made and charged once.";

/// The server's name and version, in `_meta` of modern results.
pub fn server_info() -> Value {
    json!({"name": NAME, "title": TITLE, "version": VERSION})
}

/// What the server can do.
fn capabilities() -> Value {
    json!({"tools": {}})
}

/// The same as JSON text, for results that are put together as text.
pub static SERVER_INFO: LazyLock<String> = LazyLock::new(|| server_info().to_string());

static DISCOVER: LazyLock<Bytes> = LazyLock::new(|| {
    let result = json!({
        "resultType": "complete",
        "supportedVersions": VERSIONS,
        "capabilities": capabilities(),
        "instructions": INSTRUCTIONS,
        "ttlMs": 3_600_000,
        "cacheScope": "public",
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info()},
    });
    Bytes::from(result.to_string())
});

/// The result of `server/discover`.
pub fn discover() -> Bytes {
    DISCOVER.clone()
}

/// The result of `initialize`: the version that was asked for, when it is one of those that have it,
/// otherwise the newest of them.
pub fn initialize(params: Option<&RawValue>) -> Bytes {
    let params: Option<Value> = params.and_then(|params| serde_json::from_str(params.get()).ok());
    let asked = params
        .as_ref()
        .and_then(|params| params["protocolVersion"].as_str());
    let agreed = LEGACY_VERSIONS
        .into_iter()
        .find(|version| Some(*version) == asked)
        .unwrap_or(LEGACY_VERSIONS[0]);
    let result = json!({
        "protocolVersion": agreed,
        "capabilities": capabilities(),
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    });
    Bytes::from(result.to_string())
}

/// The media type of the server card.
pub const CARD_TYPE: &str = "application/mcp-server-card+json";

/// Where the card is, below the endpoint that it describes.
pub const CARD_PATH: &str = "/server-card";

/// The media type of the catalogue.
pub const CATALOG_TYPE: &str = "application/ai-catalog+json";

/// The version of the catalogue's form.
const CATALOG_VERSION: &str = "1.0";

/// The server card (SEP-2127): where the server is reached, and how.
pub fn server_card(options: &Options) -> Value {
    let url = &options.public_url;
    let mut remotes = vec![remote("streamable-http", url, super::PATH, &VERSIONS)];
    if options.mcp_sse {
        remotes.push(remote("sse", url, sse::PATH, &[sse::VERSION]));
    }
    json!({
        "$schema": "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json",
        "name": NAME,
        "version": VERSION,
        "title": TITLE,
        "description": DESCRIPTION,
        "websiteUrl": url,
        "remotes": remotes,
    })
}

fn remote(transport: &str, public_url: &str, path: &str, versions: &[&str]) -> Value {
    let key = json!({"description": "A Piooy API key", "isRequired": true, "isSecret": true});
    json!({
        "type": transport,
        "url": format!("{public_url}{path}"),
        "supportedProtocolVersions": versions,
        "headers": [{
            "name": "Authorization",
            "isRequired": true,
            "isSecret": true,
            "value": "Bearer {api_key}",
            "variables": {"api_key": key},
        }],
    })
}

/// The catalogue of what is found at this host (AI Catalog): the one card.
pub fn catalog(options: &Options) -> Value {
    let url = &options.public_url;
    let host = Url::parse(url).ok();
    let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
    json!({
        "specVersion": CATALOG_VERSION,
        "entries": [{
            "identifier": format!("urn:air:{host}:piooy"),
            "type": CARD_TYPE,
            "url": format!("{url}{}{CARD_PATH}", super::PATH),
        }],
    })
}
