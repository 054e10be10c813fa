//! One request in four forms: as it is sent by curl, made by an agent's tool, written in Python, and
//! called over gRPC. All are made of the same JSON and name the address of this server.

use askama::Template;
use serde_json::{Value, json};
use url::Url;

use super::KEY;
use super::snippet::{Snippet, json_text, python_text};
use crate::spec::v1::MediaType;

/// The path of the call that makes what the model makes.
const GENERATE: &str = "/api/v1/generate";

/// A request in four forms, one of which is seen.
#[derive(Template)]
#[template(path = "examples.html")]
pub struct Examples {
    forms: [Form; 4],
}

struct Form {
    name: &'static str,
    /// The name of the form on the page.
    id: &'static str,
    snippet: Snippet,
}

impl Examples {
    /// The forms of a request for what a model of this kind makes, sent to the server at `public_url`.
    pub fn new(public_url: &str, media: MediaType, request: &Value) -> Self {
        let form = |name, id, snippet| Form { name, id, snippet };
        Self {
            forms: [
                form("curl", "form-curl", curl(public_url, request)),
                form("MCP", "form-mcp", tool(media, request)),
                form("Python", "form-python", python(public_url, request)),
                form("gRPC", "form-grpc", grpc(public_url, request)),
            ],
        }
    }
}

fn curl(public_url: &str, request: &Value) -> Snippet {
    let text = format!(
        "curl {public_url}{GENERATE} \\\n  -H \"Authorization: Bearer {KEY}\" \\\n  \
         -H \"Content-Type: application/json\" \\\n  -d {}",
        quoted(&indented(request, 2))
    );
    Snippet::shell("Terminal", text, KEY)
}

fn tool(media: MediaType, request: &Value) -> Snippet {
    let name = match media {
        MediaType::Video => "generate_video",
        _ => "generate_image",
    };
    let call = json!({"name": name, "arguments": request});
    Snippet::json("What your agent calls", &call, KEY)
}

fn python(public_url: &str, request: &Value) -> Snippet {
    let text = format!(
        "import requests\n\n\
         answer = requests.post(\n    \"{public_url}{GENERATE}\",\n    \
         headers={{\"Authorization\": \"Bearer {KEY}\"}},\n    json={},\n)\n\
         task = answer.json()[\"data\"]\n\
         print(task[\"status\"], [output[\"url\"] for output in task[\"outputs\"]])",
        python_text(request).replace('\n', "\n    ")
    );
    Snippet::quoted("example.py", &text, KEY)
}

fn grpc(public_url: &str, request: &Value) -> Snippet {
    let plain = if public_url.starts_with("https:") {
        ""
    } else {
        "-plaintext "
    };
    let text = format!(
        "grpcurl {plain}-H \"Authorization: Bearer {KEY}\" \\\n  -d {} \\\n  \
         {} piooy.v1.GenerationService/Generate",
        quoted(&indented(request, 2)),
        authority(public_url)
    );
    Snippet::shell("Terminal", text, KEY)
}

/// A text as a shell's argument: within quotation marks, out of which one of its own leads and back.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// JSON whose lines after the first begin so far from the left.
pub fn indented(value: &Value, depth: usize) -> String {
    json_text(value).replace('\n', &format!("\n{}", " ".repeat(depth)))
}

/// Host and port, as gRPC clients want them.
pub fn authority(public_url: &str) -> String {
    let url = Url::parse(public_url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("localhost");
    let port = url.as_ref().and_then(Url::port_or_known_default);
    format!("{host}:{}", port.unwrap_or(443))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_quoted_for_each_language() {
        let request = json!({"prompt": "it's \"so\": true", "audio": true, "seed": null});
        let examples = Examples::new("http://x", MediaType::Video, &request);
        let [curl, tool, python, grpc] = examples.forms.map(|form| form.snippet.text());
        for shell in [curl, grpc] {
            assert!(shell.contains(r#"it'\''s \"so\": true"#), "{shell}");
        }
        assert!(tool.contains(r#""audio": true"#), "{tool}");
        assert!(
            python.contains(r#"it's \"so\": true"#)
                && python.contains(r#""audio": True"#)
                && python.contains(r#""seed": None"#),
            "{python}"
        );
    }
}
