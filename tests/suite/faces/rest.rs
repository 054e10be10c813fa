//! REST: the envelope, true statuses, headers.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answers::Answer;
use super::server::{Server, with_key};

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
        "account": "dev", "plan": "pro", "available": 1000, "held": 0, "expiring": [],
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

/// Sends everything before it reads anything, as simple clients do.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = Server::with(&[("PIOOY_BODY_MAX", "65536")]).await;
    let address = server.url.strip_prefix("http://").expect("no TLS");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let body = vec![b' '; 32 * 1024 * 1024];
    let answered = async |stream: &mut TcpStream, key: &str| {
        let head = format!(
            "POST {IMAGE} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("is taken");
        stream.write_all(&body).await.expect("is taken");
        let mut text = Vec::new();
        while !text.ends_with(b"}") {
            let read = stream.read_buf(&mut text).await.expect("no reset");
            assert!(read > 0, "the connection ends without an answer");
        }
        String::from_utf8(text).expect("is text")
    };
    for (key, status, reason) in [
        (server.test_key.as_str(), "413", "BODY_TOO_LARGE"),
        ("piooy_test_x", "401", "KEY_MALFORMED"),
    ] {
        // On one connection: after an answer it is as good as before.
        let answer = answered(&mut stream, key).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(reason),
            "{answer}"
        );
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
