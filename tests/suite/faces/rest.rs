//! REST: the envelope, true statuses, headers, events.

use serde_json::{Value, json};

use super::answers::Answer;
use super::server::{QUICK_MODEL, Server, with_key};

const IMAGE: &str = "/api/v1/generate/image";

async fn sent(request: reqwest::RequestBuilder) -> Answer {
    Answer::read(request.send().await.expect("the server answers")).await
}

#[tokio::test]
async fn answers_come_in_the_envelope() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let answer = server
        .rest(key, "GET", "/api/v1/credits", &Value::Null)
        .await;
    let expected = json!({"code": 0, "message": "ok", "data": {
        "account": "dev", "plan": "pro", "available": 1000, "held": 0,
    }});
    assert_eq!((answer.status, &answer.envelope), (200, &expected));
    assert_eq!(answer.header("content-type"), "application/json");
    let by_header = server
        .http("GET", "/api/v1/credits")
        .header("x-api-key", &server.test_key);
    assert_eq!(sent(by_header).await.envelope, expected);

    let refused = server
        .rest(None, "GET", "/api/v1/credits", &Value::Null)
        .await;
    assert_eq!((refused.status, refused.reason()), (401, "KEY_MISSING"));
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"piooy\"");
    let fields: Vec<&String> = refused
        .envelope
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(fields, ["code", "message", "reason", "details"]);
}

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
async fn what_is_not_there_and_what_it_takes() {
    let server = Server::start().await;
    let table = [
        ("GET", "/api/v1/nothing", 404, "PATH_NOT_FOUND", ""),
        ("GET", "/api/v1/tasks/%ff", 404, "PATH_NOT_FOUND", ""),
        (
            "DELETE",
            "/api/v1/credits",
            405,
            "METHOD_NOT_ALLOWED",
            "GET,HEAD",
        ),
        ("GET", IMAGE, 405, "METHOD_NOT_ALLOWED", "POST"),
        (
            "PUT",
            "/api/v1/apikeys",
            405,
            "METHOD_NOT_ALLOWED",
            "GET,HEAD,POST",
        ),
        ("POST", "/files/x", 405, "METHOD_NOT_ALLOWED", "GET,HEAD"),
    ];
    for (method, path, status, reason, allow) in table {
        let key = Some(server.test_key.as_str());
        let answer = server.rest(key, method, path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.reason()),
            (status, reason),
            "{method} {path}"
        );
        let mut allowed: Vec<&str> = answer.header("allow").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let server = Server::with(&[("PIOOY_BODY_MAX", "64KiB")]).await;
    let post = || with_key(server.http("POST", IMAGE), Some(&server.test_key));
    let form = post()
        .header("content-type", "application/x-www-form-urlencoded")
        .body("model=x");
    let answer = sent(form).await;
    assert_eq!(
        (answer.status, answer.reason()),
        (415, "UNSUPPORTED_MEDIA_TYPE")
    );

    let broken = post()
        .header("content-type", "application/json")
        .body("{\n  \"model\": nano\n}");
    let answer = sent(broken).await;
    assert_eq!((answer.status, answer.reason()), (400, "MALFORMED_REQUEST"));
    assert_eq!(answer.envelope["details"], json!({"line": 2, "column": 13}));

    let wrong = post()
        .header("content-type", "application/json; charset=utf-8")
        .body("{\"count\":\n[]}");
    let answer = sent(wrong).await;
    assert_eq!((answer.status, answer.reason()), (400, "MALFORMED_REQUEST"));
    assert_eq!(answer.envelope["details"]["line"], 2);

    let large = format!("{{\"prompt\": \"{}\"}}", "x".repeat(64 * 1024));
    let announced = post()
        .header("content-type", "application/json")
        .body(large.clone());
    let chunks = futures_util::stream::iter([Ok::<_, std::io::Error>(large)]);
    let streamed = post()
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(chunks));
    for request in [announced, streamed] {
        let answer = sent(request).await;
        assert_eq!((answer.status, answer.reason()), (413, "BODY_TOO_LARGE"));
    }
}

#[tokio::test]
async fn requests_have_ids() {
    let server = Server::start().await;
    let asked = |id: &str| server.http("GET", "/healthz").header("x-request-id", id);
    assert_eq!(
        sent(asked("abc-123")).await.header("x-request-id"),
        "abc-123"
    );
    let generated = sent(server.http("GET", "/healthz")).await;
    assert!(uuid::Uuid::try_parse(generated.header("x-request-id")).is_ok());
    for unfit in ["two words", &"x".repeat(129)] {
        let answer = sent(asked(unfit)).await;
        assert!(
            uuid::Uuid::try_parse(answer.header("x-request-id")).is_ok(),
            "{unfit}"
        );
    }
    let refused = server
        .http("GET", "/api/v1/credits")
        .header("x-request-id", "abc-123");
    assert_eq!(sent(refused).await.header("x-request-id"), "abc-123");
}

#[tokio::test]
async fn head_and_preflight() {
    let server = Server::start().await;
    let head = sent(with_key(
        server.http("HEAD", "/api/v1/credits"),
        Some(&server.test_key),
    ))
    .await;
    assert_eq!((head.status, head.bytes.len()), (200, 0));

    let preflight = server
        .http("OPTIONS", IMAGE)
        .header("origin", "https://page.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,idempotency-key",
        );
    let preflight = sent(preflight).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("POST")
    );
    // A star would not cover it (Fetch standard, "CORS-preflight fetch").
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("authorization")
    );

    let page = server
        .http("GET", "/api/v1/credits")
        .header("origin", "https://page.example");
    let page = sent(page).await;
    assert_eq!(
        (page.status, page.header("access-control-allow-origin")),
        (401, "*")
    );
    assert!(
        page.header("access-control-expose-headers")
            .contains("x-request-id")
    );
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
        sent(request)
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

#[tokio::test]
async fn a_server_tells_how_it_is() {
    let server = Server::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.rest(None, "GET", path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.envelope),
            (200, json!({"code": 0, "message": "ok"}))
        );
    }
    let document = server
        .rest(None, "GET", "/openapi.json", &Value::Null)
        .await;
    assert_eq!(document.bytes, piooy::spec::OPENAPI.as_bytes());
    let etag = document.header("etag");
    let known = server
        .http("GET", "/openapi.json")
        .header("if-none-match", etag);
    let known = sent(known).await;
    assert_eq!((known.status, known.bytes.len()), (304, 0));
}
