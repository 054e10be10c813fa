//! The operator changes the model file while the server runs.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::mcp_modern::{NOW, modern, post, request};
use super::mcp_streams::Events;
use super::server::Server;

/// How long a change may take to be seen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what must not happen is waited for: longer than the server takes to look twice.
const LOOKS: Duration = Duration::from_secs(4);

/// A server with a model file, and the file.
struct Edited {
    server: Server,
    file: PathBuf,
    _directory: TempDir,
}

impl Edited {
    async fn start(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let file = directory.path().join("models.toml");
        std::fs::write(&file, text).expect("can be written");
        let path = file.display().to_string();
        let environment = [
            ("PIOOY_CATALOG", path.as_str()),
            ("PIOOY_SANDBOX_LIVE", "yes"),
        ];
        Self {
            server: Server::with(&environment).await,
            file,
            _directory: directory,
        }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).expect("can be written");
    }

    /// What a picture of the pencil costs; `None`: there is no pencil.
    async fn price(&self) -> Option<f64> {
        let key = Some(self.server.live_key.as_str());
        let path = "/api/v1/models/pencil";
        let answer = self.server.rest(key, "GET", path, &Value::Null).await;
        answer.envelope["data"]["prices"][0]["credits"].as_f64()
    }

    async fn until_price(&self, expected: Option<f64>) {
        let wait = async {
            while self.price().await != expected {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("is seen");
    }

    async fn generate(&self, request: &Value) -> Value {
        let key = Some(self.server.live_key.as_str());
        let path = "/api/v1/generate/image";
        let answer = self.server.rest(key, "POST", path, request).await;
        assert_eq!(answer.status, 200, "{}", answer.envelope);
        answer.envelope["data"].clone()
    }
}

fn pencil(credits: u32) -> String {
    format!(
        r#"
[[model]]
slug = "pencil"
title = "Pencil"
vendor = "us"
description = "Draws."
media = "image"
tier = "standard"
status = "active"
resolutions = ["0.1K"]
aspect_ratios = ["1:1"]
max_outputs = 1
max_reference_images = 0
typical_seconds = [1, 2]
routes = [{{ provider = "fal", model = "pencil" }}]
defaults = {{ resolution = "0.1K", aspect_ratio = "1:1" }}
price = {{ unit = "image", millicredits = {{ "0.1K" = {credits}000 }} }}
"#
    )
}

#[tokio::test]
async fn a_change_is_seen_a_mistake_changes_nothing_and_promises_hold() {
    let edited = Edited::start("").await;
    assert_eq!(edited.price().await, None);
    edited.write(&pencil(7));
    edited.until_price(Some(7.0)).await;

    let request = json!({"model": "pencil", "prompt": "a fox", "provider": "sandbox"});
    let key = Some(edited.server.live_key.as_str());
    let quote = edited
        .server
        .rest(key, "POST", "/api/v1/quote", &request)
        .await;
    let quote = quote.envelope["data"]["quoteId"].clone();
    let slow =
        json!({"model": "pencil", "prompt": "[sandbox:delay=8s] a fox", "provider": "sandbox"});
    let running = edited.generate(&slow).await;

    edited.write(&pencil(9));
    edited.until_price(Some(9.0)).await;
    let mut quoted = request.clone();
    quoted["quoteId"] = quote;
    assert_eq!(edited.generate(&quoted).await["credits"]["quoted"], 7);
    assert_eq!(edited.generate(&request).await["credits"]["quoted"], 9);

    edited.write(&pencil(9).replace("max_outputs = 1", "max_outputs = 0"));
    sleep(LOOKS).await;
    assert_eq!(edited.price().await, Some(9.0), "what was sound stays");
    edited.write("");
    edited.until_price(None).await;
    let id = running["taskId"].as_str().expect("an id");
    let path = format!("/api/v1/tasks/{id}");
    let ended = async {
        loop {
            let task = edited.server.rest(key, "GET", &path, &Value::Null).await;
            let task = &task.envelope["data"];
            if !matches!(task["status"].as_str(), Some("PENDING" | "PROCESSING")) {
                return task.clone();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let task = timeout(PATIENCE, ended).await.expect("it ends");
    assert_eq!(
        task["status"], "SUCCESS",
        "its model has gone since: {task}"
    );
    assert_eq!(task["credits"]["charged"], 7);
}

#[tokio::test]
async fn a_hangup_has_it_read_at_once() {
    let edited = Edited::start("").await;
    edited.write(&pencil(7));
    // To every server of this process; the others have nothing new to read.
    kill_process(getpid(), Signal::HUP).expect("it is us");
    edited.until_price(Some(7.0)).await;
}

#[tokio::test]
async fn mcp_lists_completes_and_tells_of_the_new_models() {
    let edited = Edited::start("").await;
    let server = &edited.server;
    let wanted = json!({
        "resourcesListChanged": true, "resourceSubscriptions": ["piooy://models/pencil", "piooy://models/flux-3"]
    });
    let params = json!({ "notifications": wanted });
    let message = modern("subscriptions/listen", params, NOW);
    let mut events = Events::open(request(server, &server.test_key, &message, &[])).await;
    let accepted = events.next().await.expect("an acknowledgement");
    assert_eq!(
        accepted["params"]["notifications"],
        json!({
            "resourcesListChanged": true, "resourceSubscriptions": ["piooy://models/pencil", "piooy://models/flux-3"]
        })
    );

    edited.write(&pencil(7));
    let mut told = Vec::new();
    for _ in 0..2 {
        let news = events.next().await.expect("news");
        let uri = news["params"]["uri"].as_str().unwrap_or("the list");
        told.push(uri.to_owned());
    }
    told.sort_unstable();
    assert_eq!(
        told,
        ["piooy://models/pencil", "the list"],
        "and nothing of what is as it was"
    );

    let listed = post(server, &modern("resources/list", json!({}), NOW), &[]).await;
    let resources = listed.envelope["result"]["resources"].as_array();
    let mut resources = resources.expect("a list").iter();
    assert!(resources.any(|resource| resource["uri"] == "piooy://models/pencil"));
    let argument = json!({
        "ref": {"type": "ref/resource", "uri": "piooy://models/{slug}"},
        "argument": {"name": "slug", "value": "penc"}
    });
    let proposed = post(server, &modern("completion/complete", argument, NOW), &[]).await;
    assert_eq!(
        proposed.envelope["result"]["completion"]["values"],
        json!(["pencil"])
    );
}
