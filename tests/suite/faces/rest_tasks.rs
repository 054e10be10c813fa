//! Tasks over REST: the examples of the documentation, events, idempotency.

use serde_json::{Value, json};

use super::answers::Answer;
use super::server::{QUICK_MODEL, Server, with_key};

const IMAGE: &str = "/api/v1/generate/image";

#[tokio::test]
async fn the_examples_work_as_written() {
    let server = Server::start().await;
    let examples = [
        (
            IMAGE,
            json!({"model": "nano-banana-pro", "prompt": "[sandbox:hang] a golden retriever wearing a beret in Paris",
                "resolution": "2K", "aspect_ratio": "16:9"}),
            json!([]),
        ),
        (
            "/api/v1/generate/video",
            json!({"model": "veo-3-1", "prompt": "[sandbox:hang] drone shot of a lighthouse at sunset, 16:9, cinematic",
                "duration": "5", "resolution": "1080p"}),
            json!(["duration"]),
        ),
    ];
    for (path, request, adjusted) in examples {
        let answer = server
            .rest(Some(&server.test_key), "POST", path, &request)
            .await;
        assert_eq!(
            (answer.status, &answer.envelope["code"]),
            (200, &json!(0)),
            "{}",
            answer.envelope
        );
        let task = &answer.envelope["data"];
        assert!(task["taskId"].is_string());
        let fields = task["adjustments"].as_array().expect("a list");
        let fields: Value = fields
            .iter()
            .map(|adjustment| adjustment["field"].clone())
            .collect();
        assert_eq!(fields, adjusted);
    }
}

#[tokio::test]
async fn events_follow_a_task_to_its_end() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let request = json!({"model": QUICK_MODEL, "prompt": "[sandbox:delay=300ms] a pebble"});
    let task = server.rest(key, "POST", IMAGE, &request).await.envelope;
    let id = task["data"]["taskId"].as_str().expect("a taskId");
    let path = format!("/api/v1/tasks/{id}/events");
    let answer = server.rest(key, "GET", &path, &Value::Null).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "text/event-stream")
    );
    assert!(answer.header("cache-control").contains("no-cache"));
    assert_eq!(answer.header("ratelimit-limit"), "6000");

    let text = String::from_utf8(answer.bytes).expect("is text");
    let events = text
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: task\ndata: "));
    let events: Vec<Value> = events
        .map(|data| serde_json::from_str(data).expect("is JSON"))
        .collect();
    let statuses: Vec<&str> = events
        .iter()
        .filter_map(|event| event["data"]["status"].as_str())
        .collect();
    let (last, before) = statuses.split_last().expect("events came");
    assert_eq!(*last, "SUCCESS", "{text}");
    assert!(
        !before.is_empty()
            && before
                .iter()
                .all(|status| ["PENDING", "PROCESSING"].contains(status))
    );
    let polled = server
        .rest(key, "GET", &format!("/api/v1/tasks/{id}"), &Value::Null)
        .await;
    assert_eq!(
        events.last(),
        Some(&polled.envelope),
        "the last event is what a poll would say"
    );

    let path = "/api/v1/tasks/0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a/events";
    let unknown = server.rest(key, "GET", path, &Value::Null).await;
    assert_eq!((unknown.status, unknown.reason()), (404, "TASK_NOT_FOUND"));
}

#[tokio::test]
async fn an_idempotency_key_may_be_a_header_or_a_field() {
    let server = Server::start().await;
    let ask = |header: Option<&str>, field: Option<&str>, prompt: &str| {
        let mut body = json!({"model": QUICK_MODEL, "prompt": format!("[sandbox:hang] {prompt}")});
        if let Some(field) = field {
            body["idempotency_key"] = json!(field);
        }
        let mut request = with_key(server.http("POST", IMAGE), Some(&server.test_key)).json(&body);
        if let Some(header) = header {
            let header = reqwest::header::HeaderValue::from_bytes(header.as_bytes());
            request = request.header("idempotency-key", header.expect("a value"));
        }
        async { Answer::read(request.send().await.expect("the server answers")).await }
    };
    let first = ask(Some("one"), None, "a pebble").await.envelope["data"]["taskId"].clone();
    assert!(first.is_string());
    for (header, field) in [
        (Some("one"), None),
        (None, Some("one")),
        (Some("one"), Some("two")),
    ] {
        let again = ask(header, field, "a pebble").await.envelope;
        assert_eq!(
            again["data"]["taskId"], first,
            "{header:?} {field:?}: the header goes first"
        );
    }
    let other = ask(None, Some("two"), "a pebble").await.envelope;
    assert_ne!(other["data"]["taskId"], first);
    let reused = ask(Some("one"), None, "a stone").await;
    assert_eq!(
        (reused.status, reused.reason()),
        (409, "IDEMPOTENCY_KEY_REUSED")
    );
    let long = ask(None, Some(&"k".repeat(256)), "a pebble").await;
    assert_eq!((long.status, long.reason()), (422, "INVALID_ARGUMENT"));
    // Left unread, it would be paid for twice.
    let unreadable = ask(Some("clé"), None, "a pebble").await;
    assert_eq!(
        (unreadable.status, unreadable.reason()),
        (422, "INVALID_ARGUMENT")
    );
}
