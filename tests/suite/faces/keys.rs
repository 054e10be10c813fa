//! Keys that make and revoke keys: never one that may do, or spend, more.

use piooy::accounts::Scope;
use piooy::spec::v1::{CreateApiKeyRequest, CreateApiKeyResponse, GenerateImageRequest, Task};
use serde_json::{Value, json};

use super::answers::{Answer, as_grpc_says, over_grpc};
use super::server::{QUICK_MODEL, Server};

const KEYS: &str = "/api/v1/apikeys";

impl Server {
    async fn make_key(&self, key: &str, asked: &Value) -> Answer {
        self.rest(Some(key), "POST", KEYS, asked).await
    }
}

#[tokio::test]
async fn a_key_is_made_with_spending_caps_and_keeps_them() {
    let server = Server::start().await;
    let caps = json!({"perHour": 10, "total": 0});
    let asked = json!({"name": "agent", "scopes": ["read", "keys"],
        "spending_caps": {"per_hour": "10", "total": 0}});
    let made = server.make_key(&server.live_key, &asked).await.envelope;
    assert_eq!(made["data"]["apiKey"]["spendingCaps"], caps, "{made}");
    let listed = server
        .rest(Some(&server.live_key), "GET", KEYS, &Value::Null)
        .await;
    let keys = &listed.envelope["data"]["apiKeys"];
    assert_eq!(keys[0]["spendingCaps"], caps);
    assert_eq!(keys[1].get("spendingCaps"), None, "the first live key");

    let child = |caps: Value| json!({"name": "child", "scopes": ["read"], "spendingCaps": caps});
    let negative = server
        .make_key(&server.live_key, &child(json!({"perDay": -1})))
        .await;
    let field = &negative.envelope["details"]["fieldViolations"][0]["field"];
    assert_eq!(
        (negative.status, field),
        (422, &json!("spendingCaps.perDay"))
    );
}

#[tokio::test]
async fn no_key_spends_beside_the_caps_of_the_key_that_made_it() {
    let server = Server::start().await;
    let asked = json!({"name": "agent", "scopes": ["read", "keys"], "spendingCaps": {"total": 5}});
    let made = server.make_key(&server.live_key, &asked).await.envelope;
    let agent = made["data"]["key"].as_str().expect("a key");
    let child = |test: bool, caps: Value| json!({"name": "child", "scopes": ["read"], "test": test, "spendingCaps": caps});
    // No tool of MCP makes keys: these are all the faces.
    for caps in [json!({}), json!({"total": 5}), json!({"total": 0})] {
        let asked = child(false, caps);
        let rest = server.make_key(agent, &asked).await;
        assert_eq!(
            (rest.status, rest.reason()),
            (403, "INSUFFICIENT_SCOPE"),
            "{asked}"
        );
        let told = rest.envelope["message"].as_str().expect("a text");
        assert!(told.contains("use a key without spending caps"), "{told}");
        let channel = server.channel().await;
        let path = "/piooy.v1.AccountService/CreateApiKey";
        let grpc = over_grpc::<CreateApiKeyRequest, CreateApiKeyResponse>(
            channel,
            Some(agent),
            path,
            &asked,
        );
        assert_eq!(as_grpc_says(rest.envelope), grpc.await);
    }
    let taken = server.make_key(agent, &child(true, json!({}))).await;
    assert_eq!(taken.status, 200, "{}", taken.envelope);
}

#[tokio::test]
async fn one_cap_is_spent_over_all_faces() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let request =
        json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble", "provider": "sandbox"});
    let quote = server.quote(&server.live_key, &request).await;
    let price = quote["credits"].as_i64().expect("a price");
    assert!(price > 1, "one credit less than a picture is something");
    let caps = json!({"total": 4 * price - 1});
    let asked = json!({"name": "agent", "scopes": ["generate"], "spendingCaps": caps});
    let made = server.make_key(&server.live_key, &asked).await.envelope;
    let key = made["data"]["key"].as_str();

    let rest = async |path: &str| server.rest(key, "POST", path, &request).await.envelope;
    let mcp = async || server.tool(key, "generate_image", &request).await.of_tool();
    let grpc = async || {
        let channel = server.channel().await;
        let path = "/piooy.v1.GenerationService/GenerateImage";
        over_grpc::<GenerateImageRequest, Task>(channel, key, path, &request).await
    };
    for taken in [
        rest("/api/v1/generate/image").await,
        mcp().await,
        grpc().await,
    ] {
        assert_eq!(taken["data"]["credits"]["held"], price, "{taken}");
    }
    for refused in [
        rest("/api/v1/generate/image").await,
        rest("/api/v1/generate").await,
        mcp().await,
        grpc().await,
    ] {
        assert_eq!(refused["reason"], "SPENDING_CAP_REACHED", "{refused}");
        let sentence = refused["message"].as_str().expect("a text");
        let left = format!("of which {} are left", price - 1);
        assert!(sentence.contains(&left), "{sentence}");
    }
}

#[tokio::test]
async fn a_test_key_neither_makes_nor_revokes_a_live_key() {
    let server = Server::start().await;
    let test = server.key("dev", &[Scope::Keys], true).await;
    let live = json!({"name": "live", "scopes": ["keys"]});
    let made = server.make_key(&server.live_key, &live).await.envelope;
    let (live_key, id) = (&made["data"]["key"], &made["data"]["apiKey"]["id"]);
    let path = format!("{KEYS}/{}", id.as_str().expect("an id"));

    let refused = [
        server.make_key(&test, &live).await,
        server
            .rest(Some(&test), "DELETE", &path, &Value::Null)
            .await,
    ];
    for answer in refused {
        assert_eq!(
            (answer.status, answer.reason()),
            (403, "INSUFFICIENT_SCOPE"),
            "{}",
            answer.envelope
        );
    }
    let live_key = live_key.as_str();
    let revoked = server.rest(live_key, "DELETE", &path, &Value::Null).await;
    assert!(revoked.envelope["data"]["revokedAt"].is_string());
    let gone = server.rest(live_key, "GET", KEYS, &Value::Null).await;
    assert_eq!(gone.reason(), "KEY_REVOKED");
}

/// An account's own key for an upstream: set by whom, told to whom, and on which faces.
#[tokio::test]
async fn keys_for_upstreams_are_set_with_live_keys_and_shown_to_nobody() {
    const KEY: &str = "an-upstream-key-of-somebody-abcd";
    let path = "/api/v1/upstreamkeys/fal";
    let body = json!({"key": KEY});
    let without = Server::start().await;
    let own = without.account("acme", "free", 0).await;
    let refused = without.rest(Some(&own), "PUT", path, &body).await;
    assert_eq!(refused.envelope["reason"], "UPSTREAM_KEYS_NOT_OFFERED");

    let secret = "07".repeat(32);
    let server = Server::with(&[("PIOOY_UPSTREAM_KEYS_SECRET", &secret)]).await;
    let own = server.account("acme", "free", 0).await;
    let test = server.key("acme", &[Scope::Keys], true).await;
    let refused = server.rest(Some(&test), "PUT", path, &body).await;
    assert_eq!(refused.envelope["reason"], "INSUFFICIENT_SCOPE");
    let made = server.rest(Some(&own), "PUT", path, &body).await.envelope;
    assert_eq!(made["data"]["lastCharacters"], "abcd", "{made}");
    let all = "/api/v1/upstreamkeys";
    let listed = server.rest(Some(&test), "GET", all, &Value::Null).await;
    let listed = listed.envelope["data"]["upstreamKeys"].clone();
    assert_eq!(listed, json!([made["data"]]));
    let quote = json!({"model": "nano-banana-pro", "prompt": "a pebble"});
    let quote = server
        .rest(Some(&own), "POST", "/api/v1/quote", &quote)
        .await;
    let quote = &quote.envelope["data"];
    let model = server.rest(
        Some(&own),
        "GET",
        "/api/v1/models/nano-banana-pro",
        &Value::Null,
    );
    let model = &model.await.envelope["data"];
    assert!(
        model["providers"]
            .as_array()
            .is_some_and(|names| names.contains(&json!("fal"))),
        "{model}"
    );
    assert_eq!(quote["ownKey"], "fal", "{quote}");
    let gone = server.rest(Some(&own), "DELETE", path, &Value::Null).await;
    assert_eq!(gone.envelope["data"], made["data"]);
    let gone = server.rest(Some(&own), "DELETE", path, &Value::Null).await;
    assert_eq!(gone.envelope["reason"], "UPSTREAM_KEY_NOT_FOUND");
    for bad in [
        "/api/v1/upstreamkeys/comfyui",
        "/api/v1/upstreamkeys/nobody",
    ] {
        let refused = server.rest(Some(&own), "PUT", bad, &body).await.envelope;
        assert_eq!(refused["reason"], "INVALID_ARGUMENT", "{refused}");
        assert!(!refused.to_string().contains(KEY), "{refused}");
    }
}
