//! MCP: the extension for tasks, over the tasks that everyone else sees.

use serde_json::{Value, json};

use super::mcp_modern::{NOW, modern, post, with_tasks};
use super::server::{QUICK_MODEL, Server};

async fn call(server: &Server, message: Value) -> Value {
    post(server, &message, &[]).await.envelope
}

fn generate(prompt: &str) -> Value {
    let arguments = json!({"model": QUICK_MODEL, "prompt": prompt});
    json!({"name": "generate_image", "arguments": arguments})
}

/// How a task stands once it has ended.
async fn ended(server: &Server, id: &Value) -> Value {
    loop {
        let task = call(server, with_tasks("tasks/get", json!({"taskId": id}))).await;
        assert_eq!(task["result"]["resultType"], "complete", "{task}");
        if task["result"]["status"] != "working" {
            return task["result"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_call_is_a_task_for_who_declares_it() {
    let server = Server::start().await;
    let created = call(&server, with_tasks("tools/call", generate("a pebble"))).await;
    let task = &created["result"];
    assert_eq!(
        (&task["resultType"], &task["status"]),
        (&json!("task"), &json!("working")),
        "{created}"
    );
    assert_eq!(task["ttlMs"], Value::Null);
    assert!(task["pollIntervalMs"].as_u64() > Some(0));
    let ended = ended(&server, &task["taskId"]).await;
    assert_eq!(ended["status"], "completed");
    assert_eq!(ended["result"]["isError"], false);
    let data = &ended["result"]["structuredContent"]["data"];
    assert_eq!(data["taskId"], task["taskId"], "the same task");
    let url = data["outputs"][0]["url"].as_str().expect("a link");
    assert!(url.starts_with(&server.url), "{url}");

    let plain = call(&server, modern("tools/call", generate("a pebble"), NOW)).await;
    assert_eq!(plain["result"]["resultType"], "complete");
    let read = modern(
        "tools/call",
        json!({"name": "get_task_status", "arguments": {"taskId": task["taskId"]}}),
        NOW,
    );
    let rest = call(&server, read).await;
    assert_eq!(&rest["result"]["structuredContent"]["data"], data);
}

#[tokio::test]
async fn a_failure_of_the_work_is_a_result_and_a_cancel_is_heard() {
    let server = Server::start().await;
    let failing = generate("[sandbox:fail=content_policy] a pebble");
    let created = call(&server, with_tasks("tools/call", failing)).await;
    let failed = ended(&server, &created["result"]["taskId"]).await;
    assert_eq!(failed["status"], "completed", "{failed}");
    assert_eq!(failed["result"]["isError"], true);

    let hanging = generate("[sandbox:hang] a pebble");
    let created = call(&server, with_tasks("tools/call", hanging)).await;
    let id = json!({"taskId": created["result"]["taskId"]});
    let update = json!({"taskId": id["taskId"], "inputResponses": {"x": {}}});
    for (method, params) in [("tasks/update", update), ("tasks/cancel", id.clone())] {
        let heard = call(&server, with_tasks(method, params)).await;
        let fields: Vec<&String> = heard["result"]
            .as_object()
            .expect("a result")
            .keys()
            .collect();
        assert_eq!(fields, ["resultType", "_meta"], "{method}");
    }
    assert_eq!(ended(&server, &id["taskId"]).await["status"], "cancelled");
    let again = call(&server, with_tasks("tasks/cancel", id)).await;
    assert_eq!(
        again["result"]["resultType"], "complete",
        "as often as one likes"
    );
}

#[tokio::test]
async fn others_do_not_meet_it() {
    let server = Server::start().await;
    let created = call(&server, with_tasks("tools/call", generate("a pebble"))).await;
    let id = json!({"taskId": created["result"]["taskId"]});
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let answer = post(&server, &modern(method, id.clone(), NOW), &[]).await;
        let error = &answer.envelope["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (400, &json!(-32021)),
            "{method}"
        );
        let required = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        assert_eq!(error["data"]["requiredCapabilities"], required);
    }
    for id in ["0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a", "nonsense", ""] {
        let missing = call(&server, with_tasks("tasks/get", json!({"taskId": id}))).await;
        assert_eq!(missing["error"]["code"], -32602, "{id}");
    }
    for method in ["tasks/list", "tasks/result"] {
        let answer = post(&server, &with_tasks(method, json!({})), &[]).await;
        assert_eq!(answer.status, 404, "{method}");
    }
}

#[tokio::test]
async fn a_live_keys_task_is_none_of_a_test_keys() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let wish = json!({"model": QUICK_MODEL, "prompt": "a pebble", "provider": "sandbox"});
    let path = "/api/v1/generate/image";
    let theirs = server
        .rest(Some(&server.live_key), "POST", path, &wish)
        .await;
    assert_eq!(theirs.status, 200, "{}", theirs.envelope);
    let id = json!({"taskId": theirs.envelope["data"]["taskId"]});
    let missing = call(&server, with_tasks("tasks/get", id)).await;
    assert_eq!(missing["error"]["code"], -32602, "{missing}");
}
