//! The truth about upstreams, over REST and by `piooy models check`: without keys, with one, with a wrong
//! one, with nobody at home, and with a model that is no longer there.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::answers::Answer;
use super::server::Server;
use crate::fakes;
use crate::fakes::engine::{Engine, KEY, Serving};

/// How long a server may take to find out on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the command may take on a busy machine.
const COMMAND_MAX: Duration = Duration::from_secs(120);
/// A model that fal and Replicate serve, and the one that this test gives to Replicate alone.
const MODEL: &str = "flux-2-pro";
/// A model whose only upstream no longer has it.
const GONE: &str = r#"
[[model]]
slug = "pencil"
title = "Pencil"
vendor = "us"
description = "Draws."
media = "image"
tier = "free"
status = "active"
resolutions = ["1K"]
aspect_ratios = ["1:1"]
max_outputs = 1
max_reference_images = 0
typical_seconds = [1, 2]
routes = [{ provider = "replicate", model = "nobody/pencil" }]
defaults = { resolution = "1K", aspect_ratio = "1:1" }
price = { unit = "image", millicredits = { "1K" = 1000 } }
"#;

async fn model(server: &Server, slug: &str) -> Value {
    let path = format!("/api/v1/models/{slug}");
    let key = Some(server.live_key.as_str());
    let answer = server.rest(key, "GET", &path, &Value::Null).await;
    answer.envelope["data"].clone()
}

/// The upstreams of a model by the list, which must be those that the model itself names.
async fn providers(server: &Server, slug: &str) -> Value {
    let key = Some(server.live_key.as_str());
    let path = "/api/v1/models";
    let listed = server.rest(key, "GET", path, &Value::Null).await;
    let models = listed.envelope["data"]["models"].as_array();
    let listed = models
        .expect("models")
        .iter()
        .find(|model| model["slug"] == slug);
    listed.expect("is listed")["providers"].clone()
}

/// Waits until a model has these upstreams.
async fn until(server: &Server, slug: &str, expected: &Value) {
    let wait = async {
        while providers(server, slug).await != *expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = timeout(PATIENCE, wait).await;
    let found = providers(server, slug).await;
    in_time.unwrap_or_else(|_| panic!("{slug}: {found} and not {expected}"));
}

/// How the upstream of that name stands for a model: the state and why.
async fn stands(server: &Server, slug: &str, provider: &str) -> (String, String) {
    let model = model(server, slug).await;
    let upstreams = model["availability"].as_array().expect("a list");
    let found = upstreams
        .iter()
        .find(|upstream| upstream["provider"] == provider);
    let text = |field: &str| {
        let value = &found.expect("is named")[field];
        value.as_str().unwrap_or_default().to_owned()
    };
    (text("state"), text("reason"))
}

async fn ask(server: &Server, slug: &str) -> Answer {
    let request = json!({"model": slug, "prompt": "a fox"});
    let key = Some(server.live_key.as_str());
    let path = "/api/v1/generate/image";
    server.rest(key, "POST", path, &request).await
}

async fn refusal(server: &Server, slug: &str) -> String {
    let answer = ask(server, slug).await;
    assert_eq!(
        (answer.status, answer.reason()),
        (503, "MODEL_UNAVAILABLE"),
        "{}",
        answer.envelope
    );
    let message = answer.failure()["message"].as_str();
    message.expect("a text").to_owned()
}

/// `piooy models check` with those variables: whether it is content, and its line for a model and an upstream.
async fn check(environment: &[(&str, &str)], slug: &str, provider: &str) -> (bool, String) {
    let home = tempfile::tempdir().expect("a directory can be made");
    let run = Command::new(env!("CARGO_BIN_EXE_piooy"))
        .args(["models", "check"])
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(COMMAND_MAX, run)
        .await
        .expect("it ends")
        .expect("the program starts");
    let table = String::from_utf8(stdout).expect("is text");
    assert!(!table.contains(KEY) && !table.contains("wrong-key"));
    let line = table.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(slug) && words.next() == Some(provider)
    });
    let line = line.unwrap_or_else(|| panic!("{table}\n{}", String::from_utf8_lossy(&stderr)));
    (status.success(), line.to_owned())
}

#[tokio::test]
async fn without_keys_nothing_is_offered_and_what_is_missing_is_named() {
    let server = Server::start().await;
    assert_eq!(providers(&server, MODEL).await, json!([]));
    let (state, reason) = stands(&server, MODEL, "fal").await;
    assert_eq!(state, "UNCONFIGURED");
    assert!(reason.contains("FAL_KEY"), "{reason}");
    let message = refusal(&server, MODEL).await;
    assert!(
        message.contains("FAL_KEY or REPLICATE_API_TOKEN"),
        "{message}"
    );
    let (content, line) = check(&[], MODEL, "fal").await;
    assert!(content && line.ends_with("set FAL_KEY"), "{line}");
}

#[tokio::test]
async fn with_one_key_that_upstream_is_offered() {
    let fal = fakes::fal::Fal::start().await;
    let url = fal.serving.url();
    let environment = [("FAL_KEY", KEY), ("PIOOY_FAL_URL", url.as_str())];
    let server = Server::with(&environment).await;
    // Long enough that it has been asked.
    sleep(Duration::from_secs(2)).await;
    assert_eq!(providers(&server, MODEL).await, json!(["fal"]));
    assert_eq!(stands(&server, MODEL, "fal").await.0, "READY");
    assert_eq!(stands(&server, MODEL, "kie").await.0, "UNCONFIGURED");
    assert_eq!(ask(&server, MODEL).await.status, 200);
    let (content, line) = check(&environment, MODEL, "fal").await;
    assert!(content && line.contains("the upstream answers"), "{line}");
}

#[tokio::test]
async fn a_wrong_key_is_found_out_and_passed_over() {
    let (fal, replicate) = (
        fakes::fal::Fal::start().await,
        fakes::replicate::Replicate::start().await,
    );
    let (fal_url, replicate_url) = (fal.serving.url(), replicate.url());
    let environment = [
        ("FAL_KEY", "wrong-key"),
        ("PIOOY_FAL_URL", fal_url.as_str()),
        ("REPLICATE_API_TOKEN", KEY),
        ("PIOOY_REPLICATE_URL", replicate_url.as_str()),
    ];
    let server = Server::with(&environment).await;
    until(&server, MODEL, &json!(["replicate"])).await;
    let (state, reason) = stands(&server, MODEL, "fal").await;
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("UNAVAILABLE", "fal refuses this server's account.")
    );
    let asked = ask(&server, MODEL).await;
    assert_eq!(asked.status, 200, "another upstream takes it");
    // What only the other serves is refused before anything is held.
    until(&server, "flux-3", &json!([])).await;
    let message = refusal(&server, "flux-3").await;
    assert!(
        message.ends_with("works at the moment: fal refuses this server's account."),
        "{message}"
    );
    let (content, line) = check(&environment, MODEL, "fal").await;
    assert!(!content && line.ends_with("refuses the key"), "{line}");
}

#[tokio::test]
async fn an_upstream_that_is_down_is_passed_over_until_it_is_back() {
    let address: SocketAddr = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it is bound")
    };
    let url = format!("http://{address}");
    let environment = [("FAL_KEY", KEY), ("PIOOY_FAL_URL", url.as_str())];
    let server = Server::with(&environment).await;
    until(&server, MODEL, &json!([])).await;
    assert_eq!(stands(&server, MODEL, "fal").await.0, "UNAVAILABLE");
    let message = refusal(&server, MODEL).await;
    assert!(message.ends_with("fal does not answer."), "{message}");
    let (content, line) = check(&environment, MODEL, "fal").await;
    assert!(!content && line.contains("down: "), "{line}");

    let router = |address| fakes::fal::router(Engine::default(), address);
    let _serving = Serving::start_at(address, router).await;
    until(&server, MODEL, &json!(["fal"])).await;
    assert_eq!(ask(&server, MODEL).await.status, 200);
}

#[tokio::test]
async fn a_model_that_is_gone_is_not_offered_and_a_retired_one_names_its_successor() {
    let replicate = fakes::replicate::Replicate::start().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = directory.path().join("models.toml");
    std::fs::write(&file, GONE).expect("can be written");
    let (url, file) = (replicate.url(), file.display().to_string());
    let environment = [
        ("REPLICATE_API_TOKEN", KEY),
        ("PIOOY_REPLICATE_URL", url.as_str()),
        ("PIOOY_CATALOG", file.as_str()),
    ];
    let server = Server::with(&environment).await;
    until(&server, "pencil", &json!([])).await;
    let (state, reason) = stands(&server, "pencil", "replicate").await;
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("UNAVAILABLE", "replicate no longer has the model.")
    );
    let message = refusal(&server, "pencil").await;
    assert!(
        message.ends_with("replicate no longer has the model."),
        "{message}"
    );
    assert_eq!(providers(&server, MODEL).await, json!(["replicate"]));
    let (content, line) = check(&environment, "pencil", "replicate").await;
    assert!(
        !content && line.ends_with("no longer has the model"),
        "{line}"
    );

    let retired = ask(&server, "imagen-4").await;
    assert_eq!(retired.reason(), "MODEL_RETIRED");
    assert_eq!(
        retired.failure()["details"]["replacedBy"],
        "nano-banana-2-1"
    );
    let (_, line) = check(&[], "imagen-4", "-").await;
    assert!(line.ends_with("retired: use nano-banana-2-1"), "{line}");
}
