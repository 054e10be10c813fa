//! A method costs its proto and its handler. Everything else, on every face and in the documents, follows from the
//! proto: this module looks for all of it, for a method that the product does not have.

use serde_json::{Value, json};

use super::answers::{Answer, as_grpc_says, over_grpc};
use super::echo::Echo;
use crate::echo::v1::echo_service_client::EchoServiceClient;
use crate::echo::v1::{EchoRequest, EchoResponse, METHODS};

const REST: &str = "/api/v1/rooms/attic/echo";

impl Echo {
    async fn over_rest(&self, key: Option<&str>, body: &Value) -> Answer {
        self.place.rest(key, "POST", REST, body).await
    }

    async fn over_mcp(&self, key: Option<&str>, body: &Value) -> Value {
        let mut arguments = body.clone();
        arguments["room"] = json!("attic");
        let answer = self.place.tool(key, "echo", &arguments).await;
        answer.of_tool()
    }

    async fn over_grpc(&self, key: Option<&str>, body: &Value) -> Value {
        let mut message = body.clone();
        message["room"] = json!("attic");
        let channel = self.place.channel().await;
        over_grpc::<EchoRequest, EchoResponse>(channel, key, METHODS[0].grpc_path, &message).await
    }

    /// The answer on which all three agree, as gRPC can say it, and REST's status.
    async fn agreed(&self, key: Option<&str>, body: &Value) -> (u16, Value) {
        let rest = self.over_rest(key, body).await;
        let mcp = self.over_mcp(key, body).await;
        assert_eq!(mcp, rest.envelope, "MCP and REST on {body}");
        let said = as_grpc_says(rest.envelope);
        assert_eq!(self.over_grpc(key, body).await, said, "gRPC on {body}");
        (rest.status, said)
    }
}

#[tokio::test]
async fn it_answers_alike_on_all_faces() {
    let echo = Echo::start().await;
    let key = Some(echo.read_key.as_str());
    let twice = json!({
        "code": 0, "message": "ok", "data": {"echoes": ["hello", "hello"], "room": "attic"},
    });
    for spelling in ["timesSaid", "times_said"] {
        let (status, said) = echo
            .agreed(key, &json!({"words": "hello", spelling: 2}))
            .await;
        assert_eq!((status, said), (200, twice.clone()), "{spelling}");
    }
    // As agents write it: a number as text.
    let loose = echo
        .over_rest(key, &json!({"words": "hello", "times_said": "2"}))
        .await;
    assert_eq!(loose.envelope, twice);
    // The path names the room, whatever the body says.
    let body = json!({"words": "hello", "times_said": 2, "room": "cellar"});
    assert_eq!(echo.over_rest(key, &body).await.envelope, twice);

    let mut client = EchoServiceClient::new(echo.place.channel().await);
    let request = super::answers::keyed(EchoRequest::default(), key);
    let refused = client.echo(request).await.expect_err("no words");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn its_limits_hold_on_all_faces() {
    let echo = Echo::start().await;
    let key = Some(echo.read_key.as_str());
    let table = [
        (
            json!({"words": "x".repeat(41)}),
            json!([{"field": "words", "description": "has 41 characters; at most 40 are allowed"}]),
        ),
        (
            json!({"words": " ", "timesSaid": 4}),
            json!([
                {"field": "words", "description": "is required and cannot be empty"},
                {"field": "timesSaid", "description": "must be from 1 to 3"},
            ]),
        ),
    ];
    for (body, violations) in table {
        let (status, said) = echo.agreed(key, &body).await;
        assert_eq!((status, &said["code"]), (422, &json!(3)), "{said}");
        assert_eq!(said["reason"], "INVALID_ARGUMENT");
        assert_eq!(said["details"]["fieldViolations"], violations);
    }
}

#[tokio::test]
async fn its_scope_is_asked_for_on_all_faces() {
    let echo = Echo::start().await;
    let body = json!({"words": "hello"});
    let (status, said) = echo.agreed(None, &body).await;
    assert_eq!((status, &said["reason"]), (401, &json!("KEY_MISSING")));
    let other = Some(echo.generate_key.as_str());
    let (status, said) = echo.agreed(other, &body).await;
    assert_eq!(
        (status, &said["reason"]),
        (403, &json!("INSUFFICIENT_SCOPE"))
    );
    assert_eq!(said["details"]["scope"], "read");
}

#[tokio::test]
async fn it_is_listed_as_a_tool() {
    let echo = Echo::start().await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let listed = echo.place.mcp(Some(&echo.read_key), &list).await.envelope;
    let expected = json!({
        "name": "echo",
        "title": "Echo",
        "description": "Answers with the words it was given.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "words": {"type": "string", "minLength": 1, "maxLength": 40, "description": "The words."},
                "timesSaid": {"type": "integer", "minimum": 1, "maximum": 3, "description": "How often."},
                "room": {"type": "string", "description": "Where."},
            },
            "required": ["words"],
            "additionalProperties": false,
        },
        "annotations": {
            "title": "Echo", "readOnlyHint": true, "destructiveHint": false,
            "idempotentHint": true, "openWorldHint": false,
        },
    });
    let [tool] = listed["result"]["tools"]
        .as_array()
        .expect("a list")
        .as_slice()
    else {
        panic!("not one tool: {listed}");
    };
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&tool[name], value, "{name}");
    }
    let answer = &tool["outputSchema"]["properties"]["data"]["properties"]["echoes"];
    assert_eq!(answer["description"], "The words, as often as asked.");
}

#[test]
fn it_is_in_the_openapi_document() {
    let document = include_str!(concat!(env!("OUT_DIR"), "/echo/openapi.json"));
    let document: Value = serde_json::from_str(document).expect("is JSON");
    let operation = &document["paths"]["/api/v1/rooms/{room}/echo"]["post"];
    assert_eq!(operation["operationId"], "Echo");
    assert_eq!(
        operation["description"],
        "Answers with the words it was given."
    );
    let room = &operation["parameters"][0];
    assert_eq!(
        (&room["name"], &room["in"]),
        (&json!("room"), &json!("path"))
    );
    let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(body, "#/components/schemas/EchoRequest");
    let words = &document["components"]["schemas"]["EchoRequest"]["properties"]["words"];
    assert_eq!(words["maxLength"], 40);
}
