//! Videos by the Interactions API: an interaction runs in the background, and its steps end with one in
//! which the model shows what it made. The file is behind a link that wants the key.
//!
//! | state | is |
//! |---|---|
//! | `queued`, `in_progress`, and what is not known | at it |
//! | `completed` with a video | done |
//! | `completed` with words alone | refused: the model says why it will not |
//! | `completed` with nothing | perhaps not there yet |
//! | `cancelled` | stopped |
//! | `failed`, `incomplete`, `budget_exceeded` | broken, or refused, by its errors |
//! | `requires_action`, `requires_continuation` | broken: nobody here would go on with it |

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::super::http::{Answer, Connection};
use super::super::spill::Spilled;
use super::super::{Cause, Content, Failure, Poll, PollError, Rendered};
use super::Asked;
use super::said::Said;

/// How its models are told what to make. What a picture is for is said in the prompt ("Gemini Omni", on
/// tags); between two frames, no task has a name.
pub(super) const USUAL: &str = r#"{
    "prompt": {
        "pick": "operation", "image_to_video": "<FIRST_FRAME> {prompt}",
        "first_last_frame": "<FIRST_FRAME> <LAST_FRAME> {prompt}", "else": "{prompt}"
    },
    "images": ["{images}", "{first_frame}", "{last_frame}"],
    "model": "{model}",
    "response_format": {
        "type": "video", "aspect_ratio": "{aspect_ratio}", "resolution": "{resolution:lower}",
        "duration": "{duration}s", "delivery": "uri"
    },
    "generation_config": {
        "seed": "{seed}",
        "video_config": {"task": {
            "pick": "operation", "text": "text_to_video", "image_to_video": "image_to_video",
            "reference_to_video": "reference_to_video", "first_last_frame": []
        }}
    },
    "background": true, "store": true
}"#;
/// The version whose shapes are spoken here.
const REVISION: &str = "2026-05-20";

/// What every call says besides the key.
pub(super) fn headers() -> HeaderMap {
    let name = HeaderName::from_static("api-revision");
    HeaderMap::from_iter([(name, HeaderValue::from_static(REVISION))])
}

pub(super) fn body(asked: Asked) -> Map<String, Value> {
    let content = Asked::parts(
        &asked.images,
        asked.prompt,
        |kind, base64| json!({"type": "image", "mime_type": kind, "data": base64}),
        |text| json!({"type": "text", "text": text}),
    );
    let mut body = asked.rest;
    let input = json!([{"type": "user_input", "content": content}]);
    body.insert("input".to_owned(), input);
    body
}

/// The id of an interaction that has begun.
pub(super) fn id(interaction: &Value) -> Option<String> {
    let id = interaction.get("id")?.as_str()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// Whether an answer says that there is no such interaction. Ids that were never given, and some that
/// were, are called invalid.
pub(super) fn is_unknown(answer: &Answer) -> bool {
    let is_invalid = || {
        let words = Said::in_answer(answer).words.unwrap_or_default();
        words.to_lowercase().contains("invalid interaction")
    };
    answer.status == StatusCode::NOT_FOUND
        || answer.status == StatusCode::BAD_REQUEST && is_invalid()
}

/// Whether an answer to the wish to stop says that it has.
pub(super) fn is_canceled(answer: &Answer) -> bool {
    answer
        .json()
        .is_some_and(|interaction| interaction.get("status") == Some(&"cancelled".into()))
}

/// How an interaction stands; `None` when it is said to be completed and shows nothing. Files are fetched
/// over the connection, with the headers where it is the upstream that has them.
pub(super) fn stand(
    interaction: &Spilled,
    connection: &Connection,
    headers: &HeaderMap,
) -> Result<Option<Poll>, PollError> {
    let value = &interaction.value;
    let Some(status) = value.get("status").and_then(Value::as_str) else {
        return Err(PollError {
            message: "the answer has no status".to_owned(),
            retry_after: None,
        });
    };
    let failed = |cause, message: &str| Some(Poll::Failed(Failure::of(cause, message)));
    Ok(match status {
        "completed" => match video(value) {
            Some(video) => file(interaction, video, connection, headers)
                .map(|content| Poll::Done(vec![Rendered::new(content)])),
            None if shows(value, "text").is_some() => {
                failed(Cause::Policy, "the upstream refuses to make this")
            }
            None => None,
        },
        "cancelled" => Some(Poll::Canceled),
        "failed"
        | "incomplete"
        | "budget_exceeded"
        | "requires_action"
        | "requires_continuation" => {
            let errors = errors(value);
            tracing::warn!(status, ?errors, "an upstream failed");
            if errors.iter().any(|said| said.cause == Some(Cause::Policy)) {
                failed(Cause::Policy, "the upstream refuses to make this")
            } else {
                failed(Cause::Broken, "the upstream could not make this")
            }
        }
        // What is not known is not over.
        _ => Some(Poll::Running { progress: None }),
    })
}

/// The video that an interaction shows: at the top, or in the last step that has one.
fn video(interaction: &Value) -> Option<&Value> {
    let at_the_top = interaction.get("output_video");
    at_the_top
        .filter(|video| video.is_object())
        .or_else(|| shows(interaction, "video"))
}

/// The last thing of this kind that the model put out after it was asked.
fn shows<'a>(interaction: &'a Value, kind: &str) -> Option<&'a Value> {
    let is = |value: &Value, kind: &str| value.get("type").and_then(Value::as_str) == Some(kind);
    let steps = interaction.get("steps")?.as_array()?;
    steps
        .iter()
        .rev()
        .take_while(|step| !is(step, "user_input"))
        .filter(|step| is(step, "model_output"))
        .filter_map(|step| step.get("content")?.as_array())
        .flat_map(|content| content.iter().rev())
        .find(|shown| is(shown, kind))
}

/// Everything that an interaction says went wrong, as a whole and in its steps.
fn errors(interaction: &Value) -> Vec<Said> {
    let list = |field: &str| interaction.get(field).and_then(Value::as_array);
    let steps = list("steps").into_iter().flatten();
    interaction
        .get("error")
        .into_iter()
        .chain(list("errors").into_iter().flatten())
        .chain(steps.filter_map(|step| step.get("error")))
        .map(Said::of)
        .collect()
}

fn file(
    interaction: &Spilled,
    video: &Value,
    connection: &Connection,
    headers: &HeaderMap,
) -> Option<Content> {
    let link = video.get("uri").and_then(Value::as_str);
    match link.and_then(|link| Url::parse(link).ok()) {
        Some(url) => Some(Content::remote(connection, url, headers.clone())),
        None => interaction.content(video.get("data")?),
    }
}
