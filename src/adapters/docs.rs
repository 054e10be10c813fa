//! Pages for people who set something up. `/docs/mcp` shows how to connect MCP clients, with the
//! address of this very server filled in. Written once, when the server starts.
//!
//! Pages are whole without scripts; a script adds comfort. Style and scripts are files of this program
//! and nothing is loaded from elsewhere, so the content security policy can forbid everything else.

use askama::Template;
use axum::Router;
use http::{HeaderValue, header};
use serde_json::{Value, json};
use url::Url;

use super::documents::{Document, fingerprint};
use super::entry::Shared;
use super::mcp::{about, sse};
use super::{MCP_PATH, Options};
use crate::spec;

pub mod snippet;

use snippet::Snippet;

/// Where the page is. Its links are relative to this.
pub const PATH: &str = "/docs/mcp";

const STYLE: Asset = Asset {
    path: "/web/piooy.css",
    media_type: "text/css; charset=utf-8",
    content: include_bytes!("web/piooy.css"),
};

const SCRIPT: Asset = Asset {
    path: "/web/docs.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_bytes!("web/docs.js"),
};

const ICON: Asset = Asset {
    path: "/web/icon.svg",
    media_type: "image/svg+xml",
    content: include_bytes!("web/icon.svg"),
};

const SCENE: Asset = Asset {
    path: "/web/scene.svg",
    media_type: "image/svg+xml",
    content: include_bytes!("web/scene.svg"),
};

/// Pages are asked for anew each time, which costs little when nothing has changed.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Files carry a fingerprint of their content in the link, so what a link leads to never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

const SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What stands where the reader's key belongs.
const KEY: &str = "YOUR_PIOOY_API_KEY";

/// A file of this program that pages use.
struct Asset {
    path: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

impl Asset {
    /// The link to it from a page that lies in one folder.
    fn link(&self) -> String {
        format!("..{}?v={}", self.path, fingerprint(self.content))
    }

    fn document(&self) -> Document {
        Document::new(self.media_type, FOR_EVER, self.content)
    }
}

/// The face.
pub fn router(house: &Shared) -> Router {
    let page = Document::new(
        "text/html; charset=utf-8",
        ASK_AGAIN,
        McpPage::of(&house.parts.options).text(),
    )
    .with(header::CONTENT_SECURITY_POLICY, SECURITY_POLICY)
    .with(header::REFERRER_POLICY, "no-referrer");
    let mut router = Router::new().route(PATH, page.route());
    for asset in [STYLE, SCRIPT, ICON, SCENE] {
        router = router.route(asset.path, asset.document().route());
    }
    router
}

/// How to connect MCP clients.
#[derive(Template)]
#[template(path = "docs_mcp.html")]
struct McpPage {
    style: String,
    script: String,
    icon: String,
    scene: String,
    version: &'static str,
    endpoint: String,
    /// The old transport's, where it is on.
    sse_endpoint: Option<String>,
    key: &'static str,
    /// Whether programs on other machines can connect without a tunnel.
    is_public: bool,
    tools: Vec<Tool>,
    address: Snippet,
    claude_code: Snippet,
    claude_desktop: Snippet,
    bundle: Snippet,
    cursor: Snippet,
    vs_code: Snippet,
    windsurf: Snippet,
    zed: Snippet,
    bridge: Snippet,
    check: Snippet,
}

/// A tool as the page shows it.
struct Tool {
    name: &'static str,
    title: &'static str,
    /// The first sentence of its description.
    summary: &'static str,
}

impl McpPage {
    fn of(options: &Options) -> Self {
        let url = &options.public_url;
        let endpoint = format!("{url}{MCP_PATH}");
        let tools = spec::v1::METHODS.iter().filter_map(|method| {
            let tool = method.tool.as_ref()?;
            Some(Tool {
                name: tool.name,
                title: tool.title,
                summary: first_sentence(tool.description),
            })
        });
        let bearer = format!("Bearer {KEY}");
        let headers = json!({"Authorization": bearer});
        let from_environment = json!({"PIOOY_URL": url, "PIOOY_API_KEY": KEY});
        let local = json!({"command": "piooy", "args": ["mcp"], "env": from_environment});
        let asked_for = json!({"type": "promptString", "id": "piooy-key", "description": "Piooy API key", "password": true});
        let with_input = json!({
            "type": "http",
            "url": endpoint,
            "headers": {"Authorization": "Bearer ${input:piooy-key}"},
        });
        let json = |place, value: Value| Snippet::json(place, &value, KEY);
        let shell = |text: String| Snippet::shell("Terminal", text, KEY);
        Self {
            style: STYLE.link(),
            script: SCRIPT.link(),
            icon: ICON.link(),
            scene: SCENE.link(),
            version: about::VERSION,
            key: KEY,
            is_public: is_public(url),
            tools: tools.collect(),
            address: Snippet::plain("Server address", endpoint.clone()),
            claude_code: shell(format!(
                "claude mcp add --transport http piooy {endpoint} \\\n  --header \"Authorization: {bearer}\""
            )),
            claude_desktop: json(
                "claude_desktop_config.json",
                json!({"mcpServers": {"piooy": local}}),
            ),
            bundle: shell(format!("piooy mcp bundle piooy.mcpb --server {url}")),
            cursor: json(
                "~/.cursor/mcp.json",
                json!({"mcpServers": {"piooy": {"url": endpoint, "headers": headers}}}),
            ),
            vs_code: json(
                ".vscode/mcp.json",
                json!({"servers": {"piooy": with_input}, "inputs": [asked_for]}),
            ),
            windsurf: json(
                "~/.codeium/windsurf/mcp_config.json",
                json!({"mcpServers": {"piooy": {"serverUrl": endpoint, "headers": headers}}}),
            ),
            zed: json(
                "settings.json",
                json!({"context_servers": {"piooy": {"url": endpoint, "headers": headers}}}),
            ),
            bridge: shell(format!(
                "piooy mcp --server {url} --key-file ~/.config/piooy/key"
            )),
            check: shell(format!(
                "curl {endpoint} \\\n  -H \"Authorization: {bearer}\" \\\n  \
                 -H \"Content-Type: application/json\" \\\n  \
                 -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}}'"
            )),
            sse_endpoint: options.mcp_sse.then(|| format!("{url}{}", sse::PATH)),
            endpoint,
        }
    }

    fn text(&self) -> String {
        self.render().expect("a String can be written to")
    }
}

/// Whether other machines can reach the address, encrypted.
fn is_public(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    url.scheme() == "https" && url.domain().is_some_and(|domain| domain != "localhost")
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ")
        .map_or(text, |(first, _)| first)
        .trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(public_url: &str, mcp_sse: bool) -> Options {
        Options {
            public_url: public_url.to_owned(),
            body_bytes_max: 1,
            trusted_proxy: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            mcp_sse,
        }
    }

    #[test]
    fn every_configuration_is_json_with_the_address_of_this_server() {
        let page = McpPage::of(&options("https://gw.example/sub", true));
        let table = [
            (&page.claude_desktop, "/mcpServers/piooy/env/PIOOY_URL"),
            (&page.cursor, "/mcpServers/piooy/url"),
            (&page.vs_code, "/servers/piooy/url"),
            (&page.windsurf, "/mcpServers/piooy/serverUrl"),
            (&page.zed, "/context_servers/piooy/url"),
        ];
        for (snippet, place) in table {
            let config: Value = serde_json::from_str(&snippet.text()).expect("is JSON");
            let address = config.pointer(place).and_then(Value::as_str);
            assert!(
                address.is_some_and(|url| url.starts_with("https://gw.example/sub")),
                "{place}"
            );
        }
        for command in [&page.claude_code, &page.check] {
            assert!(
                command
                    .text()
                    .contains("https://gw.example/sub/api/mcp/mcp")
            );
            assert!(command.text().contains(KEY));
        }
    }

    #[test]
    fn the_page_says_only_what_is_so() {
        let with = McpPage::of(&options("http://127.0.0.1:8080", true)).text();
        let without = McpPage::of(&options("https://gw.example", false)).text();
        assert!(with.contains("http://127.0.0.1:8080/api/mcp/sse"));
        assert!(!without.contains("/api/mcp/sse"));
        assert!(!with.contains("Connectors") && without.contains("Connectors"));
        for page in [&with, &without] {
            assert!(
                !page.contains(" style=") && !page.contains("<style"),
                "the policy forbids it"
            );
            assert!(!page.contains(" onclick=") && page.matches("<script").count() == 1);
            for method in &spec::v1::METHODS {
                let tool = method.tool.as_ref();
                assert!(tool.is_none_or(|tool| page.contains(tool.name)));
            }
        }
    }

    #[test]
    fn what_settings_say_is_text_on_the_page() {
        let page = McpPage::of(&options("https://gw.example/<u>&", true)).text();
        assert!(!page.contains("<u>"));
    }
}
