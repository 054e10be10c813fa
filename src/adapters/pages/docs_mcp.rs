//! `/docs/mcp`: how to connect MCP clients, with the address of this very server filled in.

use askama::Template;
use axum::Router;
use serde_json::{Value, json};
use url::Url;

use super::snippet::Snippet;
use super::{Frame, KEY, public, written};
use crate::adapters::entry::Shared;
use crate::adapters::mcp::sse;
use crate::adapters::{MCP_PATH, Options};
use crate::spec;

/// Where the page is.
const PATH: &str = "/docs/mcp";

/// The page. Written once.
pub fn router(house: &Shared) -> Router {
    let page = McpPage::of(&house.parts.options);
    Router::new().route(PATH, written(house, page))
}

/// How to connect MCP clients.
#[derive(Template)]
#[template(path = "docs_mcp.html")]
struct McpPage {
    frame: Frame,
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

public!(McpPage);

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
            frame: Frame::new(
                options,
                PATH,
                "Connect your agent",
                "Ready configuration for Claude, Cursor, VS Code, Windsurf, Zed and any other MCP client.",
            ),
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
        let with = McpPage::of(&options("http://127.0.0.1:8080", true))
            .render()
            .expect("is text");
        let without = McpPage::of(&options("https://gw.example", false))
            .render()
            .expect("is text");
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
        let page = McpPage::of(&options("https://gw.example/<u>&", true))
            .render()
            .expect("is text");
        assert!(!page.contains("<u>"));
    }
}
