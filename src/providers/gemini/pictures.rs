//! Pictures by `generateContent`: a conversation of one turn, whose answer holds the picture in base64.
//! What is refused for its content is answered with success and a reason.

use serde_json::{Map, Value, json};

use super::super::spill::Spilled;
use super::super::{Cause, Rendered, SubmitFailure};
use super::Asked;
use super::said::is_about_content;

/// How most of its models are told what to make. Models that know one size only refuse `imageSize`.
pub(super) const USUAL: &str = r#"{
    "prompt": "{prompt}", "images": "{images}",
    "generationConfig": {
        "responseModalities": ["TEXT", "IMAGE"], "seed": "{seed}",
        "imageConfig": {
            "aspectRatio": "{aspect_ratio}",
            "imageSize": {"pick": "resolution", "0.5K": "512", "else": "{resolution:upper}"}
        }
    }
}"#;

pub(super) fn body(asked: Asked) -> Map<String, Value> {
    let parts = Asked::parts(
        &asked.images,
        asked.prompt,
        |kind, base64| json!({"inlineData": {"mimeType": kind, "data": base64}}),
        |text| json!({"text": text}),
    );
    let mut body = asked.rest;
    let contents = json!([{"role": "user", "parts": parts}]);
    body.insert("contents".to_owned(), contents);
    body
}

/// The pictures of an answer, without the sketches that the model made while it thought.
pub(super) fn files(answer: &Spilled) -> Result<Vec<Rendered>, SubmitFailure> {
    let files: Vec<_> = list(&answer.value, "/candidates")
        .iter()
        .flat_map(|candidate| list(candidate, "/content/parts"))
        .filter(|part| part.get("thought") != Some(&Value::Bool(true)))
        .filter_map(|part| answer.content(part.pointer("/inlineData/data")?))
        .map(Rendered::new)
        .collect();
    if files.is_empty() {
        return Err(refusal(&answer.value));
    }
    Ok(files)
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.map(Vec::as_slice).unwrap_or_default()
}

/// Why an answer has no picture. Nothing is under way any more, so every reason is definite.
fn refusal(answer: &Value) -> SubmitFailure {
    let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
    let blocked = text("/promptFeedback/blockReason");
    let finished = text("/candidates/0/finishReason");
    tracing::info!(blocked, finished, "an upstream made no picture");
    match (blocked, finished) {
        (Some(_), _) => SubmitFailure::refused(Cause::Policy, "the upstream refuses the prompt"),
        (None, Some(reason)) if reason == "OTHER" || is_about_content(reason) => {
            SubmitFailure::refused(Cause::Policy, "the upstream refuses to show what it made")
        }
        // Google has shut the project out for what others asked for.
        (None, Some("PUP_LIMITED_DISABLED")) => {
            SubmitFailure::refused(Cause::Key, "the upstream does not serve this server")
        }
        _ => SubmitFailure::refused(Cause::Broken, "the upstream answered without a picture"),
    }
}
