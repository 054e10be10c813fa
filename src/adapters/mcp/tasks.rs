//! The extension `io.modelcontextprotocol/tasks` (SEP-2663): a client that declares it gets the task that
//! a tool started as a task of the protocol, to follow with `tasks/get` or a listening stream.
//!
//! There is nothing here to keep: a task of the protocol *is* a task of ours, under the same id, a row
//! from before its client hears of it. `tasks/get` is GetTaskStatus and `tasks/cancel` is CancelTask, in
//! other words.
//!
//! | ours | theirs | with |
//! |---|---|---|
//! | PENDING, PROCESSING | `working` | |
//! | SUCCESS | `completed` | `result` |
//! | FAILED | `completed` | `result` with `isError`: `failed` is for faults of the protocol alone |
//! | CANCELED | `cancelled` | |

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::era::Era;
use super::lists::{self, Keep};
use super::params::{Meta, needed};
use super::wire::{RpcError, Text};
use super::{Ask, Mcp, results};
use crate::assets::Assets;
use crate::spec::error::ApiError;
use crate::spec::method::Input;
use crate::spec::reason::Reason;

/// The extension's name.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// The methods whose answer is a task that they started.
const STARTING: [&str; 2] = ["GenerateImage", "GenerateVideo"];

/// How often a picture is worth asking for, in milliseconds.
const POLL_IMAGE_MS: u32 = 1_000;

/// The same for a video.
const POLL_VIDEO_MS: u32 = 5_000;

/// Whether a call of `method` may be answered with a task of the protocol.
pub fn may_answer(method: &str, era: Era, meta: &Meta<'_>) -> bool {
    era == Era::Modern && STARTING.contains(&method) && meta.declares(EXTENSION)
}

/// Refuses a client that does not declare the extension.
///
/// # Errors
/// What it would have to declare.
pub fn require(meta: &Meta<'_>) -> Result<(), RpcError> {
    if meta.declares(EXTENSION) {
        return Ok(());
    }
    let required = json!({"extensions": {EXTENSION: {}}});
    let message = format!("This needs a client that declares {EXTENSION}.");
    Err(RpcError::missing_capability(message, required))
}

/// The answer of a method about a task, as far as it matters here.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Task<'a>,
}

/// A task as our own messages say it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task<'a> {
    #[serde(borrow)]
    task_id: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(default)]
    progress: u32,
    #[serde(borrow, default)]
    media_type: Option<Text<'a>>,
    #[serde(borrow)]
    created_at: &'a RawValue,
    #[serde(borrow, default)]
    started_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finished_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<TaskError<'a>>,
}

#[derive(Deserialize)]
struct TaskError<'a> {
    #[serde(borrow)]
    message: Text<'a>,
}

impl<'a> Task<'a> {
    fn read(envelope: &'a [u8]) -> Option<Self> {
        let read: Result<Envelope<'a>, _> = serde_json::from_slice(envelope);
        read.ok().map(|envelope| envelope.data)
    }

    /// The status in words of the protocol, and in words for a person.
    fn status(&self) -> (&'static str, String) {
        match &*self.status {
            "PENDING" => ("working", "Waiting to start.".to_owned()),
            "PROCESSING" => ("working", format!("Being made, {} % done.", self.progress)),
            "CANCELED" => ("cancelled", "Canceled. Nothing was charged.".to_owned()),
            "FAILED" => {
                let why = self.error.as_ref().map(|error| &*error.message);
                ("completed", why.unwrap_or("It failed.").to_owned())
            }
            _ => ("completed", "Done.".to_owned()),
        }
    }

    /// The inside of the object `Task` of the protocol.
    fn fields(&self) -> String {
        let (status, message) = self.status();
        let newest = self.finished_at.or(self.started_at);
        let poll = match self.media_type.as_deref() {
            Some("VIDEO") => POLL_VIDEO_MS,
            _ => POLL_IMAGE_MS,
        };
        format!(
            r#""taskId":{},"status":"{status}","statusMessage":{},"createdAt":{},"lastUpdatedAt":{},"ttlMs":null,"pollIntervalMs":{poll}"#,
            Value::from(&*self.task_id),
            Value::from(message),
            self.created_at,
            newest.unwrap_or(self.created_at),
        )
    }
}

/// The answer to a call that started a task: the task. None when it has ended already, so that its
/// result is the better answer.
pub fn created(envelope: &[u8]) -> Option<Bytes> {
    let task = Task::read(envelope).filter(|task| task.status().0 == "working")?;
    let fields = task.fields();
    Some(format!(r#"{{"resultType":"task",{fields}}}"#).into())
}

/// The inside of the object `DetailedTask` of the protocol: how a task stands and, once it has ended,
/// what the call that started it would have answered.
pub async fn detailed(assets: &Assets, envelope: &[u8]) -> Option<String> {
    let task = Task::read(envelope)?;
    let mut fields = task.fields();
    if matches!(&*task.status, "SUCCESS" | "FAILED") {
        let failed = &*task.status == "FAILED";
        let result = results::shown(assets, envelope, failed, Era::Legacy).await;
        fields.push_str(r#","result":"#);
        fields.push_str(&String::from_utf8_lossy(&result));
    }
    Some(fields)
}

impl Mcp {
    /// Answers `tasks/get`, `tasks/update` and `tasks/cancel`.
    ///
    /// # Errors
    /// A client that does not declare the extension, or a task that is not there.
    pub(super) async fn task(&self, ask: Ask<'_>) -> Result<Bytes, RpcError> {
        require(&ask.params.meta)?;
        let id = needed(&ask.params.task_id, "taskId")?;
        // Nothing here ever asks its client for input, so answers to that are for nobody: an update only
        // has to find its task.
        let method = match ask.method {
            "tasks/cancel" => "CancelTask",
            _ => "GetTaskStatus",
        };
        let input = Input::Pairs(vec![("taskId".to_owned(), id.to_owned())]);
        let envelope = self
            .calls
            .ask(ask.sender, method, input)
            .await
            .map_err(|error| refused(id, &error))?;
        let fields = match ask.method {
            "tasks/get" => detailed(&self.house.parts.assets, &envelope)
                .await
                .ok_or_else(|| RpcError::failed(&ApiError::internal()))?,
            _ => String::new(),
        };
        Ok(lists::result(&fields, ask.era, Keep::Unsaid))
    }
}

/// A task that could not be looked at.
fn refused(id: &str, error: &ApiError) -> RpcError {
    match error.reason {
        Reason::TaskNotFound | Reason::InvalidArgument => {
            RpcError::invalid_params(format!("There is no task {id}."))
        }
        _ => RpcError::failed(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    fn envelope(status: &str, more: Value) -> Vec<u8> {
        let mut data = json!({
            "taskId": "t", "status": status, "progress": 40, "mediaType": "VIDEO",
            "createdAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:01Z",
        });
        let more = more.as_object().expect("an object").clone();
        data.as_object_mut().expect("an object").extend(more);
        json!({"code": 0, "message": "ok", "data": data})
            .to_string()
            .into_bytes()
    }

    async fn told(envelope: &[u8]) -> Value {
        let assets = Assets::new(Arc::new(InMemory::new()), [7; 32], "https://piooy.test");
        let fields = detailed(&assets, envelope).await.expect("a task");
        serde_json::from_str(&format!("{{{fields}}}")).expect("is JSON")
    }

    #[tokio::test]
    async fn a_task_in_words_of_the_protocol() {
        // Ours, theirs, whether there is a result, and whether that is a failure.
        let table = [
            ("PENDING", "working", None),
            ("PROCESSING", "working", None),
            ("SUCCESS", "completed", Some(false)),
            ("FAILED", "completed", Some(true)),
            ("CANCELED", "cancelled", None),
        ];
        for (ours, theirs, failed) in table {
            let task = told(&envelope(ours, json!({}))).await;
            assert_eq!(task["status"], theirs, "{ours}");
            assert_eq!(task["result"]["isError"].as_bool(), failed, "{ours}");
            assert_eq!(task["lastUpdatedAt"], "2026-01-01T00:00:01Z");
            assert_eq!(task["pollIntervalMs"], 5000);
        }
        let error = json!({"error": {"message": "Said \"no\"."}});
        let failed = told(&envelope("FAILED", error)).await;
        assert_eq!(failed["statusMessage"], "Said \"no\".");
    }

    #[test]
    fn only_a_task_that_goes_on_is_a_task_to_its_starter() {
        assert!(created(&envelope("PENDING", json!({}))).is_some());
        assert!(created(&envelope("SUCCESS", json!({}))).is_none());
        assert!(created(br#"{"code":0,"message":"ok","data":{}}"#).is_none());
    }
}
