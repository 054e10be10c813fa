//! What is wrong with a call is told alike by every face: same reason, code, message and details, and over HTTP the
//! true status.

use piooy::spec::reason::Reason;
use piooy::spec::v1::{self, METHODS};
use serde_json::{Value, json};

use super::answers::{as_grpc_says, over_grpc};
use super::server::{QUICK_MODEL, Server};

/// A call that must fail.
struct Bad {
    what: &'static str,
    key: String,
    call: Call,
    request: Value,
    status: u16,
    reason: &'static str,
}

#[derive(Clone, Copy)]
enum Call {
    Image,
    Video,
    Status,
}

impl Call {
    fn method(self) -> &'static str {
        match self {
            Call::Image => "GenerateImage",
            Call::Video => "GenerateVideo",
            Call::Status => "GetTaskStatus",
        }
    }

    async fn over_grpc(self, server: &Server, key: &str, request: &Value) -> Value {
        let info = METHODS.iter().find(|info| info.name == self.method());
        let path = info.expect("is in the spec").grpc_path;
        let (channel, key) = (server.channel().await, Some(key));
        match self {
            Call::Image => {
                over_grpc::<v1::GenerateImageRequest, v1::Task>(channel, key, path, request).await
            }
            Call::Video => {
                over_grpc::<v1::GenerateVideoRequest, v1::Task>(channel, key, path, request).await
            }
            Call::Status => {
                over_grpc::<v1::GetTaskStatusRequest, v1::Task>(channel, key, path, request).await
            }
        }
    }

    async fn over_rest(self, server: &Server, key: &str, request: &Value) -> (u16, Value) {
        let (method, path, body) = match self {
            Call::Image => ("POST", "/api/v1/generate/image".to_owned(), request),
            Call::Video => ("POST", "/api/v1/generate/video".to_owned(), request),
            Call::Status => {
                let id = request["taskId"].as_str().expect("a text");
                ("GET", format!("/api/v1/tasks/{id}"), &Value::Null)
            }
        };
        let answer = server.rest(Some(key), method, &path, body).await;
        (answer.status, answer.envelope)
    }

    async fn over_mcp(self, server: &Server, key: &str, request: &Value) -> Value {
        let tool = match self {
            Call::Image => "generate_image",
            Call::Video => "generate_video",
            Call::Status => "get_task_status",
        };
        let answer = server.tool(Some(key), tool, request).await;
        assert_eq!(answer.status, 200, "{}", answer.envelope);
        answer.of_tool()
    }
}

async fn table(server: &Server) -> Vec<Bad> {
    let test = &server.test_key;
    let poor = &server.account("poor", "free", 3).await;
    let other = &server.account("other", "free", 0).await;
    // A task of the account dev, which nobody else has.
    let asked = json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble"});
    let path = "/api/v1/generate/image";
    let theirs = server.rest(Some(test), "POST", path, &asked).await.envelope;
    let theirs = json!({"taskId": theirs["data"]["taskId"]});
    let nobodys = json!({"taskId": "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a"});
    let image = |changed: Value| {
        let mut request = json!({"model": QUICK_MODEL, "prompt": "a pebble"});
        for (name, value) in changed.as_object().expect("an object") {
            request[name] = value.clone();
        }
        request
    };
    let sandbox = image(json!({"provider": "sandbox"}));
    let quote = server.quote(test, &image(json!({}))).await["quoteId"].clone();
    let expired = server.expired(quote.as_str().expect("a text")).await;
    let bad = |what, key: &String, call, request, status, reason| Bad {
        what,
        key: key.clone(),
        call,
        request,
        status,
        reason,
    };
    vec![
        bad(
            "an unknown model",
            test,
            Call::Image,
            image(json!({"model": "nano-bananna"})),
            404,
            "MODEL_NOT_FOUND",
        ),
        bad(
            "a retired model",
            test,
            Call::Image,
            image(json!({"model": "dall-e-3"})),
            410,
            "MODEL_RETIRED",
        ),
        bad(
            "a model of another kind",
            test,
            Call::Video,
            image(json!({})),
            422,
            "UNSUPPORTED_PARAMETER",
        ),
        bad(
            "an unfit value",
            test,
            Call::Image,
            image(json!({"aspect_ratio": "7:1"})),
            422,
            "UNSUPPORTED_PARAMETER",
        ),
        bad(
            "several unfit values, strictly",
            test,
            Call::Image,
            image(json!({"resolution": "3K", "aspect_ratio": "7:1", "strict": true})),
            422,
            "UNSUPPORTED_PARAMETER",
        ),
        bad(
            "an empty prompt",
            test,
            Call::Image,
            image(json!({"prompt": " "})),
            422,
            "INVALID_ARGUMENT",
        ),
        bad(
            "a long prompt",
            test,
            Call::Image,
            image(json!({"prompt": "x".repeat(8001)})),
            422,
            "INVALID_ARGUMENT",
        ),
        bad(
            "a prompt that no database keeps",
            test,
            Call::Image,
            image(json!({"prompt": "a\0pebble"})),
            422,
            "INVALID_ARGUMENT",
        ),
        bad(
            "too many pictures",
            test,
            Call::Image,
            image(json!({"count": 17})),
            422,
            "INVALID_ARGUMENT",
        ),
        bad(
            "no picture",
            test,
            Call::Image,
            image(json!({"reference_images": ["x"]})),
            422,
            "INVALID_ARGUMENT",
        ),
        bad(
            "an unknown provider",
            test,
            Call::Image,
            image(json!({"provider": "nobody"})),
            422,
            "INVALID_ARGUMENT",
        ),
        bad(
            "no quote",
            test,
            Call::Image,
            image(json!({"quote_id": "quote_AAAA"})),
            422,
            "QUOTE_INVALID",
        ),
        bad(
            "the quote of another request",
            test,
            Call::Image,
            image(json!({"quote_id": quote, "seed": 1})),
            422,
            "QUOTE_INVALID",
        ),
        bad(
            "the quote of another account",
            other,
            Call::Image,
            image(json!({"quote_id": quote, "provider": "sandbox"})),
            422,
            "QUOTE_INVALID",
        ),
        bad(
            "an expired quote",
            test,
            Call::Image,
            image(json!({"quote_id": expired})),
            422,
            "QUOTE_EXPIRED",
        ),
        bad(
            "no id",
            test,
            Call::Status,
            json!({"taskId": "7"}),
            422,
            "INVALID_ARGUMENT",
        ),
        bad(
            "an unknown task",
            test,
            Call::Status,
            nobodys,
            404,
            "TASK_NOT_FOUND",
        ),
        bad(
            "another account's task",
            other,
            Call::Status,
            theirs.clone(),
            404,
            "TASK_NOT_FOUND",
        ),
        bad(
            "a test task with a live key",
            &server.live_key,
            Call::Status,
            theirs,
            404,
            "TASK_NOT_FOUND",
        ),
        bad(
            "too few credits",
            poor,
            Call::Image,
            sandbox,
            402,
            "INSUFFICIENT_CREDITS",
        ),
        bad(
            "no upstream",
            poor,
            Call::Image,
            image(json!({})),
            503,
            "MODEL_UNAVAILABLE",
        ),
    ]
}

#[tokio::test]
async fn every_face_tells_the_same_error() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    for bad in table(&server).await {
        let (status, rest) = bad.call.over_rest(&server, &bad.key, &bad.request).await;
        let code = Reason::from_word(bad.reason).map(|reason| reason.row().grpc_code);
        assert_eq!(
            (status, &rest["reason"]),
            (bad.status, &json!(bad.reason)),
            "{}: {rest}",
            bad.what
        );
        assert_eq!(rest["code"], json!(code), "{}", bad.what);
        let mcp = bad.call.over_mcp(&server, &bad.key, &bad.request).await;
        assert_eq!(mcp, rest, "{} over MCP", bad.what);
        let grpc = bad.call.over_grpc(&server, &bad.key, &bad.request).await;
        assert_eq!(grpc, as_grpc_says(rest), "{} over gRPC", bad.what);
    }
}

/// gRPC's messages have no room for these.
#[tokio::test]
async fn what_only_json_can_get_wrong_is_told_alike() {
    let server = Server::start().await;
    let table = [
        (
            json!({"promt": "a pebble"}),
            "UNKNOWN_FIELD",
            "no field promt",
        ),
        (
            json!({"count": "two"}),
            "MALFORMED_REQUEST",
            "count could not be read",
        ),
        (
            json!({"prompt": {"text": "a pebble"}}),
            "MALFORMED_REQUEST",
            "prompt could not be read",
        ),
        (
            json!({"reference_images": [[]]}),
            "MALFORMED_REQUEST",
            "reference_images[0] could not be read",
        ),
    ];
    for (request, reason, message) in table {
        let key = &server.test_key;
        let (status, rest) = Call::Image.over_rest(&server, key, &request).await;
        assert_eq!((status, &rest["reason"]), (400, &json!(reason)));
        assert!(rest["message"].to_string().contains(message), "{rest}");
        assert_eq!(Call::Image.over_mcp(&server, key, &request).await, rest);
    }
}
