//! The tools: which there are, what they say of themselves, how they wait, and what people see of their results.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use piooy::catalog::Catalog;
use piooy::spec::v1::{self, METHODS};
use serde_json::{Value, json};

use super::answers::{self, Answer};
use super::server::{MCP, Place, QUICK_MODEL, Server, with_key};

/// The links to files, and the pictures inside, of a tool's result.
fn seen(answer: &Answer) -> (Vec<&Value>, Vec<&Value>) {
    let blocks = answer.envelope["result"]["content"].as_array();
    let blocks = blocks.expect("a result");
    let of = |kind: &str| {
        blocks
            .iter()
            .filter(|block| block["type"] == kind)
            .collect()
    };
    (of("resource_link"), of("image"))
}

/// The second text of a result: what to do next.
fn next_step(answer: &Answer) -> &str {
    let text = &answer.envelope["result"]["content"][1]["text"];
    text.as_str().unwrap_or_default()
}

#[tokio::test]
async fn ten_tools_say_what_they_do() {
    let server = Server::start().await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let listed = server.mcp(Some(&server.test_key), &message).await.envelope;
    let tools = listed["result"]["tools"].as_array().expect("a list");
    // Name; read-only, destructive, idempotent, open-world; with a view.
    let table = [
        ("generate_image", [false, false, false, true], true),
        ("generate_video", [false, false, false, true], true),
        ("quote", [true, false, true, false], false),
        ("get_task_status", [true, false, true, false], true),
        ("list_tasks", [true, false, true, false], false),
        ("cancel_task", [false, true, true, true], false),
        ("create_upload", [false, false, false, false], false),
        ("list_models", [true, false, true, false], false),
        ("get_model", [true, false, true, false], false),
        ("get_balance", [true, false, true, false], false),
    ];
    let names: Vec<&Value> = tools.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, table.map(|(name, ..)| name));
    for (tool, (name, hints, view)) in tools.iter().zip(table) {
        let words = [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ];
        let said = words.map(|hint| tool["annotations"][hint].as_bool());
        assert_eq!(said, hints.map(Some), "{name}");
        assert!(tool["title"].is_string() && tool["description"].is_string());
        let uri = json!("ui://piooy/viewer");
        let of_view = [
            tool.pointer("/_meta/ui/resourceUri"),
            tool.pointer("/_meta/ui~1resourceUri"),
        ];
        assert_eq!(of_view, [view.then_some(&uri); 2], "{name}");
    }
    // A quote takes what the two others take, flat.
    let fields = |at: usize| {
        let fields = tools[at]["inputSchema"]["properties"].as_object();
        let fields = fields.expect("an object").clone();
        fields.into_iter().map(|(name, _)| name)
    };
    let either: Vec<String> = fields(0).chain(fields(1)).collect();
    let own = ["idempotency_key", "quote_id", "wait_seconds"];
    for field in fields(2) {
        assert!(
            either.contains(&field) && !own.contains(&field.as_str()),
            "{field}"
        );
    }
    assert!(tools[2]["inputSchema"].to_string().len() < 4_000);
}

#[test]
fn models_that_descriptions_name_are_there() {
    let catalog = Catalog::builtin();
    let mut named = 0;
    let tools = METHODS.iter().filter_map(|method| method.tool.as_ref());
    for tool in tools {
        let schema: Value = serde_json::from_str(tool.input_schema).expect("is JSON");
        let model = schema["properties"]["model"]["description"].as_str();
        let is_part = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
        let words = model.unwrap_or_default().split(is_part);
        for slug in words.filter(|word| word.contains('-')) {
            named += 1;
            let found = catalog.get(slug);
            assert!(found.is_ok(), "{} speaks of {slug}: {found:?}", tool.name);
        }
    }
    assert!(named > 5, "only {named} were looked at");
}

#[tokio::test]
async fn a_call_that_waits_answers_with_the_result() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let picture =
        json!({"model": "z-image-turbo", "prompt": "a pebble", "wait_seconds": 50, "count": 2});
    let answer = server.tool(key, "generate_image", &picture).await;
    let task = answer.of_tool()["data"].clone();
    assert_eq!(task["status"], "SUCCESS");
    assert!(answer.bytes.len() < 1 << 20, "{} bytes", answer.bytes.len());
    let (links, pictures) = seen(&answer);
    assert_eq!((links.len(), pictures.len()), (2, 2));
    for (link, output) in links
        .iter()
        .zip(task["outputs"].as_array().expect("a list"))
    {
        assert_eq!(link["uri"], output["url"]);
        assert_eq!(
            (&link["mimeType"], &link["size"]),
            (&output["mimeType"], &output["sizeBytes"])
        );
    }
    assert_eq!(links[1]["title"], "Picture 2 of 2");
    let jpeg = pictures[0]["data"].as_str().expect("a text");
    let jpeg = STANDARD.decode(jpeg).expect("is base64");
    let small = image::load_from_memory(&jpeg).expect("is a picture");
    assert!(small.width().max(small.height()) <= 512);
    assert_eq!(pictures[0]["mimeType"], "image/jpeg");

    // A status shows the same, and the other faces wait as well.
    let id = json!({"taskId": task["taskId"], "wait_seconds": 50});
    let status = server.tool(key, "get_task_status", &id).await;
    assert_eq!(seen(&status), (links, pictures));
    let one = json!({"model": QUICK_MODEL, "prompt": "a pebble", "waitSeconds": "50"});
    for path in ["/api/v1/generate/image", "/api/v1/generate"] {
        let answer = server.rest(key, "POST", path, &one).await.envelope;
        assert_eq!(answer["data"]["status"], "SUCCESS", "{answer}");
    }
    let one = json!({"model": QUICK_MODEL, "prompt": "a pebble", "wait_seconds": 50});
    let answer = answers::over_grpc::<v1::GenerateImageRequest, v1::Task>(
        server.channel().await,
        key,
        "/piooy.v1.GenerationService/GenerateImage",
        &one,
    );
    assert_eq!(answer.await["data"]["status"], "SUCCESS");
}

#[tokio::test]
async fn a_video_shows_its_poster_and_a_failure_nothing() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let clip = json!({"model": "gemini-omni-1-2", "prompt": "waves", "resolution": "360p", "duration": 3, "wait_seconds": 50});
    let made = server.tool(key, "generate_video", &clip).await;
    let (links, pictures) = seen(&made);
    assert_eq!((links.len(), pictures.len()), (1, 1), "{}", made.of_tool());
    assert_eq!(links[0]["mimeType"], "video/mp4");
    assert_eq!(links[0]["title"], "Video");
    assert_eq!(pictures[0]["mimeType"], "image/jpeg");

    let doomed = json!({"model": QUICK_MODEL, "prompt": "[sandbox:fail=content_policy] x", "wait_seconds": 50});
    let failed = server.tool(key, "generate_image", &doomed).await;
    let said = failed.of_tool();
    assert_eq!(said["data"]["error"]["reason"], "CONTENT_POLICY", "{said}");
    assert_eq!(seen(&failed), (Vec::new(), Vec::new()));
    assert_eq!(next_step(&failed), "");
}

#[tokio::test]
async fn a_wait_ends_in_time_and_changes_nothing() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let mut asked = json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble", "idempotency_key": "one"});
    let at_once = server.tool(key, "generate_image", &asked).await;
    assert!(
        next_step(&at_once).contains("get_task_status"),
        "{}",
        at_once.envelope
    );
    let id = at_once.of_tool()["data"]["taskId"].clone();

    // Another wait is the same request: the key gives the same task.
    asked["wait_seconds"] = json!(1);
    let status = json!({"taskId": id, "wait_seconds": 1});
    for (tool, arguments) in [("generate_image", &asked), ("get_task_status", &status)] {
        let begun = Instant::now();
        let waited = server.tool(key, tool, arguments).await;
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(20),
            "{took:?}"
        );
        let task = &waited.of_tool()["data"];
        assert_eq!(
            (&task["taskId"], &task["status"]),
            (&id, &json!("PROCESSING")),
            "{tool}"
        );
        assert!(next_step(&waited).contains("wait_seconds"), "{tool}");
    }

    for seconds in [json!(51), json!(-1), json!("soon")] {
        asked["wait_seconds"] = seconds.clone();
        let refused = server.tool(key, "generate_image", &asked).await.of_tool();
        assert_eq!(refused["code"], 3, "{seconds}: {refused}");
    }
    let nobodys = json!({"taskId": "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a", "wait_seconds": 50});
    let refused = server.tool(key, "get_task_status", &nobodys).await;
    assert_eq!(refused.of_tool()["reason"], "TASK_NOT_FOUND");
}

#[tokio::test]
async fn who_leaves_while_waiting_loses_nothing() {
    let server = Server::start().await;
    let key = Some(server.test_key.as_str());
    let arguments =
        json!({"model": QUICK_MODEL, "prompt": "[sandbox:delay=1s] a pebble", "wait_seconds": 50});
    let params = json!({"name": "generate_image", "arguments": arguments});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let tasks = async || {
        let listed = server.tool(key, "list_tasks", &json!({})).await.of_tool();
        listed["data"]["tasks"].as_array().cloned().expect("a list")
    };
    let waiting = with_key(server.http("POST", MCP), key).json(&call).send();
    let accepted = async {
        while tasks().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // The connection is cut with the future.
    tokio::select! {
        answer = waiting => panic!("it did not wait: {answer:?}"),
        () = accepted => {}
    }
    let [task] = &tasks().await[..] else {
        panic!("one task was accepted")
    };
    let follow = json!({"taskId": task["taskId"], "wait_seconds": 50});
    let ended = server.tool(key, "get_task_status", &follow).await.of_tool();
    assert_eq!(ended["data"]["status"], "SUCCESS", "{ended}");
}

#[tokio::test]
async fn a_server_that_stops_answers_who_waits() {
    let server = Server::start().await;
    let request =
        json!({"model": QUICK_MODEL, "prompt": "[sandbox:hang] a pebble", "wait_seconds": 50});
    let place = Place::new(server.url.clone());
    let key = server.test_key.clone();
    let waiting = tokio::spawn(async move {
        let asked = place.rest(Some(&key), "POST", "/api/v1/generate/image", &request);
        asked.await.envelope
    });
    let running = json!({"status": "PROCESSING"});
    let is_made = async || {
        let key = Some(server.test_key.as_str());
        let listed = server.tool(key, "list_tasks", &running).await.of_tool();
        listed["data"]["tasks"] != json!([])
    };
    while !is_made().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
    let answer = waiting.await.expect("is answered");
    assert_eq!(answer["data"]["status"], "PROCESSING", "{answer}");
}
