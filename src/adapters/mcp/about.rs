//! What the server says of itself: `server/discover`, `initialize`, and the server card are made of
//! the same constants.

use std::sync::LazyLock;

use axum::body::Bytes;
use serde_json::{Value, json};
use url::Url;

use super::sse;
use crate::adapters::Options;

use super::{tasks, viewer};

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
const INSTRUCTIONS: &str = "Piooy makes images and videos. Call generate_image or generate_video with wait_seconds 50: the answer is \
    the finished result if that is soon enough, otherwise a task that goes on. Then call get_task_status with its taskId \
    and wait_seconds 50 until status is SUCCESS or FAILED, and show the person the links in outputs. Images take \
    seconds, videos minutes. A FAILED task costs nothing; its error says whether trying again can help. Use one \
    idempotency_key for each thing the person asked for: a call repeated with it, because you are unsure that it arrived, is \
    made and charged once. To work from a picture, put its https address into reference_images, or, if it is a file, what \
    create_upload answers. list_tasks finds tasks whose answer got lost.";

/// The server's name and version, in `_meta` of modern results.
pub fn server_info() -> Value {
    json!({"name": NAME, "title": TITLE, "version": VERSION})
}

/// The same as JSON text, for results that are put together as text.
pub static SERVER_INFO: LazyLock<String> = LazyLock::new(|| server_info().to_string());

/// What the server can do for modern clients. Tools and prompts change only with the server, so no news of
/// them is promised; models change while it runs.
fn capabilities() -> Value {
    json!({
        "tools": {},
        "prompts": {},
        "resources": {"subscribe": true, "listChanged": true},
        "completions": {},
        "extensions": {
            tasks::EXTENSION: {},
            viewer::EXTENSION: {"mimeTypes": [viewer::MIME_TYPE]},
        },
    })
}

/// What it can do for legacy clients. Nothing is pushed to them: there is no session to push to.
fn legacy_capabilities() -> Value {
    json!({
        "tools": {},
        "prompts": {},
        "resources": {},
        "completions": {},
        "logging": {},
        "extensions": {viewer::EXTENSION: {"mimeTypes": [viewer::MIME_TYPE]}},
    })
}

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
pub fn initialize(asked: Option<&str>) -> Bytes {
    let agreed = LEGACY_VERSIONS
        .into_iter()
        .find(|version| Some(*version) == asked)
        .unwrap_or(LEGACY_VERSIONS[0]);
    let result = json!({
        "protocolVersion": agreed,
        "capabilities": legacy_capabilities(),
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
