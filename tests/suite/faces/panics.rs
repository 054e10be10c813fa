//! A handler that panics is a fault of the server that its caller is told of like of any other, and nobody else notices.

use serde_json::json;

use super::answers::over_grpc;
use super::echo::Echo;
use crate::echo::v1::{EchoRequest, EchoResponse, METHODS};

#[tokio::test]
async fn a_panic_is_an_answer_on_every_face() {
    let echo = Echo::start().await;
    let key = Some(echo.read_key.as_str());
    let internal = json!({
        "code": 13,
        "message": "Something went wrong here. It has been logged.",
        "reason": "INTERNAL",
        "details": {},
    });
    let path = "/api/v1/rooms/attic/echo";
    let (panics, works) = (json!({"words": "panic"}), json!({"words": "hello"}));

    let rest = echo.place.rest(key, "POST", path, &panics).await;
    assert_eq!((rest.status, &rest.envelope), (500, &internal));
    assert!(!rest.header("x-request-id").is_empty());

    let mcp = echo.place.tool(key, "echo", &panics).await;
    assert_eq!((mcp.status, mcp.of_tool()), (200, internal.clone()));
    assert_eq!(
        mcp.envelope["id"], 1,
        "the model is told, not only the client"
    );

    // One connection for all that follows: a panic does not end it.
    let channel = echo.place.channel().await;
    let grpc = METHODS[0].grpc_path;
    for (request, expected) in [(&panics, &internal["code"]), (&works, &json!(0))] {
        let said =
            over_grpc::<EchoRequest, EchoResponse>(channel.clone(), key, grpc, request).await;
        assert_eq!(&said["code"], expected, "{said}");
    }
    assert_eq!(echo.place.rest(key, "POST", path, &works).await.status, 200);
    assert_eq!(
        echo.place.tool(key, "echo", &works).await.of_tool()["code"],
        0
    );
}
