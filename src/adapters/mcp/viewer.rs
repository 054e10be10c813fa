//! The view that shows a task in the chat: an MCP App (extension `io.modelcontextprotocol/ui`,
//! specification 2026-01-26).
//!
//! Hosts read it once, as one HTML page that holds its style and its script, and run it in a sandboxed
//! frame whose content security policy they make of what stands in `_meta`: it may load pictures and
//! videos from where this server's files are, and nothing else. Everything else it does through its host,
//! by messages.

use std::sync::LazyLock;

use serde_json::{Value, json};
use url::Url;

use crate::adapters::Options;

/// Where the spec's tools say that it is.
pub const URI: &str = "ui://piooy/viewer";

/// The extension's name.
pub const EXTENSION: &str = "io.modelcontextprotocol/ui";

/// What hosts take for a view.
pub const MIME_TYPE: &str = "text/html;profile=mcp-app";

static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("viewer/page.html")
        .replace("/* style */", include_str!("viewer/style.css"))
        .replace("/* script */", include_str!("viewer/script.js"))
        .replace("{version}", env!("CARGO_PKG_VERSION"))
});

/// The entry of `contents` that `resources/read` answers with.
pub fn resource(options: &Options) -> Value {
    json!({
        "uri": URI,
        "mimeType": MIME_TYPE,
        "text": *PAGE,
        "_meta": {"ui": {
            "csp": {"resourceDomains": Vec::from_iter(files_origin(options)), "connectDomains": []},
            "prefersBorder": false,
        }},
    })
}

/// What a tool says of the view that shows its answer. The second key is the one that hosts of the first
/// hour look for.
pub fn meta(view: &str) -> Value {
    json!({
        "ui": {"resourceUri": view, "visibility": ["model", "app"]},
        "ui/resourceUri": view,
    })
}

/// Where links to files lead.
fn files_origin(options: &Options) -> Option<String> {
    let url = Url::parse(&options.public_url).ok()?;
    Some(url.origin().ascii_serialization())
}
