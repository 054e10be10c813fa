//! Quotes over the faces: asked for on one, redeemed on any.

use piooy::generation::QUOTE_LIFE;
use piooy::spec::v1::{GenerateImageRequest, Task};
use serde_json::{Value, json};

use super::answers::over_grpc;
use super::server::{QUICK_MODEL, Server};
use crate::generation::fixture::aged;

impl Server {
    /// The answer to a request for a quote.
    pub async fn quote(&self, key: &str, request: &Value) -> Value {
        let answer = self.rest(Some(key), "POST", "/api/v1/quote", request).await;
        assert_eq!(answer.status, 200, "{}", answer.envelope);
        answer.envelope["data"].clone()
    }

    /// The same quote as the server would have made it when those that expire now were made.
    pub async fn expired(&self, quote: &str) -> String {
        let client = self.database.store().client().await.expect("a connection");
        let secret = "SELECT value FROM secrets WHERE name = 'quotes'";
        let secret: Vec<u8> = client
            .query_one(secret, &[])
            .await
            .expect("is there")
            .get(0);
        aged(quote, &secret, QUOTE_LIFE)
    }
}

#[tokio::test]
async fn a_quote_is_redeemed_on_every_face() {
    let server = Server::start().await;
    let key = server.test_key.as_str();
    let mut request = json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble"});
    let quote = server.quote(key, &request).await;
    let unknowns = quote["unknowns"].as_array().expect("a list");
    assert!(
        unknowns.len() >= 3 && quote["expiresAt"].is_string(),
        "{quote}"
    );

    request["quote_id"] = quote["quoteId"].clone();
    let rest = server
        .rest(Some(key), "POST", "/api/v1/generate/image", &request)
        .await
        .envelope;
    let either = server
        .rest(Some(key), "POST", "/api/v1/generate", &request)
        .await
        .envelope;
    let mcp = server
        .tool(Some(key), "generate_image", &request)
        .await
        .of_tool();
    let grpc = over_grpc::<GenerateImageRequest, Task>(
        server.channel().await,
        Some(key),
        "/piooy.v1.GenerationService/GenerateImage",
        &request,
    );
    for said in [rest, either, mcp, grpc.await] {
        assert_eq!(
            said["data"]["credits"]["quoted"], quote["credits"],
            "{said}"
        );
    }
}
