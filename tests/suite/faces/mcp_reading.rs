//! MCP: what can be read and picked: resources, prompts, and what is proposed for their arguments.

use serde_json::{Value, json};

use super::mcp_modern::{NOW, modern, post};
use super::server::Server;
use piooy::accounts::Scope;

const MODEL: &str = "piooy://models/nano-banana-pro";

/// The result, or error, of a legacy request.
async fn legacy(server: &Server, method: &str, params: Value) -> Value {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    server.mcp(Some(&server.test_key), &message).await.envelope
}

/// The same of a modern one.
async fn now(server: &Server, method: &str, params: Value) -> Value {
    post(server, &modern(method, params, NOW), &[])
        .await
        .envelope
}

#[tokio::test]
async fn lists_are_alike_in_both_eras_and_can_be_kept() {
    let server = Server::start().await;
    let table = [
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ];
    for (method, name) in table {
        let old = legacy(&server, method, json!({})).await["result"].clone();
        let new = now(&server, method, json!({})).await["result"].clone();
        assert!(
            !old[name].as_array().expect("a list").is_empty(),
            "{method}"
        );
        assert_eq!(old[name], new[name], "{method}");
        assert_eq!(old.as_object().expect("an object").len(), 1, "{method}");
        assert_eq!(new["cacheScope"], "public", "{method}");
        assert!(new["ttlMs"].as_u64() > Some(0), "{method}");
    }
}

#[tokio::test]
async fn a_resource_is_what_rest_says() {
    let server = Server::start().await;
    let task = server.picture().await;
    let task_uri = format!("piooy://tasks/{}", task["taskId"].as_str().expect("an id"));
    let key = Some(server.test_key.as_str());
    let path = "/api/v1/models/nano-banana-pro";
    let model = server.rest(key, "GET", path, &Value::Null).await.envelope["data"].clone();
    for (uri, said) in [(MODEL, &model), (&task_uri, &task)] {
        for read in [
            legacy(&server, "resources/read", json!({"uri": uri})).await,
            now(&server, "resources/read", json!({"uri": uri})).await,
        ] {
            let contents = &read["result"]["contents"][0];
            assert_eq!(contents["uri"], uri);
            assert_eq!(contents["mimeType"], "application/json");
            let text = contents["text"].as_str().expect("a text");
            let text: Value = serde_json::from_str(text).expect("is JSON");
            assert_eq!(&text, said, "{uri}");
        }
    }
}

#[tokio::test]
async fn a_resource_that_is_not_there_has_each_eras_code() {
    let server = Server::start().await;
    for uri in [
        "piooy://models/no-such-model",
        "piooy://tasks/0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a",
        "piooy://tasks/nonsense",
        "file:///etc/passwd",
        "",
    ] {
        let old = legacy(&server, "resources/read", json!({"uri": uri})).await;
        let new = now(&server, "resources/read", json!({"uri": uri})).await;
        assert_eq!(old["error"]["code"], -32002, "{uri}");
        assert_eq!(new["error"]["code"], -32602, "{uri}");
        assert_eq!(new["error"]["data"]["uri"], uri);
    }
}

#[tokio::test]
async fn reading_needs_the_scope_of_the_method_behind_it() {
    let server = Server::start().await;
    let key = server.key("dev", &[Scope::Generate], true).await;
    let params = json!({"uri": MODEL});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params});
    let refused = server.mcp(Some(&key), &message).await.envelope;
    assert_eq!(refused["error"]["data"]["reason"], "INSUFFICIENT_SCOPE");
    let code = refused["error"]["code"].as_i64().expect("a code");
    assert!(
        !(-32768..=-32000).contains(&code),
        "{code} is not ours to use"
    );
}

#[tokio::test]
async fn prompts_are_filled_in() {
    let server = Server::start().await;
    let arguments = json!({"product": "a {red} kettle", "aspect_ratio": "1:1"});
    let params = json!({"name": "product_shot", "arguments": arguments});
    for got in [
        legacy(&server, "prompts/get", params.clone()).await,
        now(&server, "prompts/get", params).await,
    ] {
        let message = &got["result"]["messages"][0];
        assert_eq!(message["role"], "user");
        let text = message["content"]["text"].as_str().expect("a text");
        assert!(
            text.contains("a {red} kettle") && text.contains("1:1"),
            "{text}"
        );
        assert!(
            text.contains("studio background"),
            "what was left out has its default"
        );
    }
    for params in [
        json!({"name": "no_such_prompt"}),
        json!({"name": "product_shot"}),
        json!({"name": "product_shot", "arguments": {"product": "x", "colour": "red"}}),
        json!({"name": "product_shot", "arguments": {"product": "x".repeat(4_001)}}),
        json!({"name": "product_shot", "arguments": {"product": 7}}),
        json!({}),
    ] {
        let refused = legacy(&server, "prompts/get", params.clone()).await;
        assert_eq!(refused["error"]["code"], -32602, "{params}");
    }
}

#[tokio::test]
async fn the_catalogue_is_proposed() {
    let server = Server::start().await;
    let values = async |reference: Value, name: &str, typed: &str, context: Value| {
        let argument = json!({"name": name, "value": typed});
        let params = json!({"ref": reference, "argument": argument, "context": context});
        let answer = now(&server, "completion/complete", params).await;
        answer["result"]["completion"]["values"].clone()
    };
    let product = json!({"type": "ref/prompt", "name": "product_shot"});
    let model = json!({"type": "ref/resource", "uri": "piooy://models/{slug}"});
    let none = json!({"arguments": {}});
    let models = values(product.clone(), "model", "nano-banana-p", none.clone()).await;
    assert_eq!(models, json!(["nano-banana-pro"]));
    let clips = values(product.clone(), "model", "veo", none.clone()).await;
    assert_eq!(clips, json!([]), "a video model takes no photographs");
    assert_eq!(
        values(model, "slug", "veo-3-1", none.clone()).await[0],
        "veo-3-1"
    );
    let all = values(product.clone(), "aspect_ratio", "", none).await;
    let chosen = json!({"arguments": {"model": "nano-banana-pro"}});
    let few = values(product, "aspect_ratio", "", chosen).await;
    let count = |values: &Value| values.as_array().expect("a list").len();
    assert_eq!(count(&few), 10);
    assert!(count(&all) > count(&few), "one model's are fewer than all");

    let nothing = json!({"ref": {"type": "ref/prompt", "name": "no"}, "argument": {"name": "a", "value": ""}});
    for params in [nothing, json!({})] {
        let refused = legacy(&server, "completion/complete", params.clone()).await;
        assert_eq!(refused["error"]["code"], -32602, "{params}");
    }
}
