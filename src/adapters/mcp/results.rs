//! What a tool call answers: the `CallToolResult` around an envelope.
//!
//! | block | for |
//! |---|---|
//! | text, the envelope | models, and clients that read nothing else |
//! | text, what to do next | models, while a task runs |
//! | `image`, a thumbnail | people and models that look at pictures |
//! | `resource_link`, the file | clients that fetch it |
//! | `structuredContent`, the envelope | programs, views |
//!
//! Bounds: clients drop results beyond a megabyte and models read some tens of thousands of tokens, so a
//! text beyond [`TEXT_BYTES_MAX`] stands in `structuredContent` alone, and at most [`PREVIEWS_MAX`]
//! thumbnails of a bounded length are inside. A thumbnail that cannot be had is left out; the answer never
//! fails for it.

use std::time::SystemTime;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::about::SERVER_INFO;
use super::era::Era;
use crate::assets::Assets;
use crate::spec::v1::{Output, task};

/// The longest text, in bytes: about 25,000 tokens.
const TEXT_BYTES_MAX: usize = 80 * 1024;

/// The most thumbnails in one result.
const PREVIEWS_MAX: usize = 4;

/// What a model is told while a task runs.
const NEXT: &str = "Not finished yet. Call get_task_status with this taskId and wait_seconds 50 until status is SUCCESS \
    or FAILED. Do not start it again.";

/// The result that carries an envelope and nothing beside it.
pub fn plain(envelope: &[u8], is_error: bool, era: Era) -> Bytes {
    result(envelope, &[], is_error, era)
}

/// The result that carries the envelope of a task, with what people can see of it.
pub async fn shown(assets: &Assets, envelope: &[u8], is_error: bool, era: Era) -> Bytes {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        data: Shown<'a>,
    }
    let blocks = match serde_json::from_slice(envelope) {
        Ok(Envelope { data }) => beside(assets, &data).await,
        Err(error) => {
            tracing::error!(%error, "a tool with a view answered something else than a task");
            Vec::new()
        }
    };
    result(envelope, &blocks, is_error, era)
}

/// What is looked at of a task. Tasks are asked for again and again, so the rest is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    task_id: &'a str,
    status: &'a str,
    #[serde(default)]
    outputs: Vec<Output>,
}

/// The blocks beside the envelope, as JSON text.
async fn beside(assets: &Assets, task: &Shown<'_>) -> Vec<String> {
    match task::Status::from_str_name(task.status) {
        Some(task::Status::Pending | task::Status::Processing) => {
            vec![text(NEXT)]
        }
        Some(task::Status::Success) => {
            let mut blocks = previews(assets, &task.outputs).await;
            let count = task.outputs.len();
            let link = |(index, output)| link(task.task_id, index, count, output);
            blocks.extend(task.outputs.iter().enumerate().map(link));
            blocks
        }
        _ => Vec::new(),
    }
}

/// The block of a text.
fn text(text: &str) -> String {
    format!(r#"{{"type":"text","text":{}}}"#, Value::from(text))
}

async fn previews(assets: &Assets, outputs: &[Output]) -> Vec<String> {
    let mut previews = Vec::new();
    let urls = outputs.iter().map(|output| &output.thumbnail_url);
    for url in urls.filter(|url| !url.is_empty()).take(PREVIEWS_MAX) {
        match assets.preview(url, SystemTime::now()).await {
            Ok(jpeg) => {
                let preview = json!({
                    "type": "image",
                    "data": STANDARD.encode(&jpeg),
                    "mimeType": "image/jpeg",
                    "annotations": {"audience": ["user", "assistant"], "priority": 0.9},
                });
                previews.push(preview.to_string());
            }
            Err(error) => tracing::warn!(%error, "a result goes without a preview"),
        }
    }
    previews
}

fn link(task_id: &str, index: usize, count: usize, output: &Output) -> String {
    let kind = match output.mime_type.starts_with("video/") {
        true => "Video",
        false => "Picture",
    };
    let (media, extension) = output.mime_type.split_once('/').unwrap_or_default();
    let number = index + 1;
    let title = match count {
        1 => kind.to_owned(),
        _ => format!("{kind} {number} of {count}"),
    };
    let mut facts = format!("{} × {} pixels", output.width, output.height);
    if let Some(seconds) = output.duration_seconds {
        facts.push_str(&format!(", {seconds:.1} seconds"));
    }
    let link = json!({
        "type": "resource_link",
        "uri": output.url,
        "name": format!("{media}-{task_id}-{number}.{extension}"),
        "title": title,
        "description": facts,
        "mimeType": output.mime_type,
        "size": output.size_bytes,
        "annotations": {"audience": ["user", "assistant"], "priority": 1.0},
    });
    link.to_string()
}

fn result(envelope: &[u8], beside: &[String], is_error: bool, era: Era) -> Bytes {
    let envelope = String::from_utf8_lossy(envelope);
    let mut result = String::with_capacity(envelope.len() * 5 / 2 + 256);
    result.push_str(r#"{"content":["#);
    result.push_str(&match envelope.len() {
        ..=TEXT_BYTES_MAX => text(&envelope),
        bytes => text(&format!(
            "The answer is too long to be read here ({bytes} bytes): it is in structuredContent. Ask for less, for \
             example with a smaller pageSize or a filter."
        )),
    });
    for block in beside {
        result.push(',');
        result.push_str(block);
    }
    result.push_str(r#"],"structuredContent":"#);
    result.push_str(&envelope);
    result.push_str(if is_error {
        r#","isError":true"#
    } else {
        r#","isError":false"#
    });
    if era == Era::Modern {
        result
            .push_str(r#","resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":"#);
        result.push_str(&SERVER_INFO);
        result.push('}');
    }
    result.push('}');
    Bytes::from(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_nobody_could_read_stands_in_the_structure_alone() {
        for (length, whole) in [(TEXT_BYTES_MAX - 2, true), (TEXT_BYTES_MAX - 1, false)] {
            let envelope = format!("\"{}\"", "x".repeat(length));
            let result = plain(envelope.as_bytes(), false, Era::Legacy);
            let result: Value = serde_json::from_slice(&result).expect("is JSON");
            assert_eq!(result["structuredContent"].to_string(), envelope);
            let text = result["content"][0]["text"].as_str().expect("a text");
            assert_eq!(text == envelope, whole, "{length}");
        }
    }
}
