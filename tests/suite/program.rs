//! The program itself as a process, on a database of the test's own and with a fake for its upstream.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::generation::fixture::{Fixture, PATIENCE};

const ASK_EVERY: Duration = Duration::from_millis(30);

/// A model for pictures that one upstream has.
const MODEL: &str = r#"
[[model]]
slug = "one"
title = "One"
vendor = "test"
description = "Pictures of one upstream."
media = "image"
tier = "standard"
status = "active"
aliases = []
resolutions = ["1K"]
aspect_ratios = ["1:1"]
max_outputs = 1
max_reference_images = 0
typical_seconds = [1, 2]
defaults = { resolution = "1K", aspect_ratio = "1:1" }
price = { unit = "image", millicredits = { "1K" = 10000 } }
"#;

/// What a program starts with, again and again.
pub struct Home {
    pub fixture: Fixture,
    key: String,
    settings: Vec<(String, String)>,
    directory: TempDir,
    http: reqwest::Client,
}

impl Home {
    /// With a live key, and the model `one` at the upstream of this name.
    pub async fn new(upstream: &str, model: &str, settings: &[(&str, &str)]) -> Self {
        let fixture = Fixture::new().await;
        let directory = tempfile::tempdir().expect("a directory can be made");
        let route = format!("routes = [{{ provider = \"{upstream}\", model = \"{model}\" }}]\n");
        let catalog = directory.path().join("models.toml");
        std::fs::write(catalog, format!("{MODEL}{route}")).expect("can be written");
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            key: fixture.key().await,
            fixture,
            settings: settings.iter().map(own).collect(),
            directory,
            http: reqwest::Client::new(),
        }
    }

    /// Starts the program and waits until it is ready. `PIOOY_PROGRAM` names another build of it.
    pub async fn start(&self) -> Program<'_> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free");
        let built = std::env::var("PIOOY_PROGRAM");
        let child = Command::new(built.as_deref().unwrap_or(env!("CARGO_BIN_EXE_piooy")))
            .arg("serve")
            .current_dir(self.directory.path())
            .env_clear()
            .env("DATABASE_URL", self.fixture.database.url())
            .env("PIOOY_LISTEN", port.to_string())
            .env("PIOOY_DATA_DIR", self.directory.path())
            .env("PIOOY_CATALOG", "models.toml")
            .env("PIOOY_LEASE_SECONDS", "3")
            .env("PIOOY_LOG", "error")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut program = Program {
            home: self,
            child,
            url: format!("http://{port}"),
        };
        let begun = Instant::now();
        while !program.is_ready().await {
            let ended = program.child.try_wait().expect("it can be asked");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "{ended:?}");
            tokio::time::sleep(ASK_EVERY).await;
        }
        program
    }

    /// What `piooy ledger verify` says of the books, which is that they are right.
    pub fn verify(&self) {
        let verified = Command::new(env!("CARGO_BIN_EXE_piooy"))
            .args(["ledger", "verify"])
            .current_dir(self.directory.path())
            .env_clear()
            .env("DATABASE_URL", self.fixture.database.url())
            .env("PIOOY_DATA_DIR", self.directory.path())
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success(), "{said}");
        assert!(said.ends_with("The books are right.\n"), "{said}");
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The running program; killed when it is dropped.
pub struct Program<'a> {
    home: &'a Home,
    child: Child,
    url: String,
}

impl Program<'_> {
    async fn is_ready(&self) -> bool {
        let ask = self.home.http.get(format!("{}/readyz", self.url));
        ask.send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(self) {}

    /// Has a picture made; its task's id.
    pub async fn submit(&self, prompt: &str) -> String {
        let body = json!({"model": "one", "prompt": prompt}).to_string();
        let request = self
            .home
            .http
            .post(format!("{}/api/v1/generate/image", self.url))
            .header("content-type", "application/json")
            .body(body);
        let task = self.answer(request).await;
        task["taskId"].as_str().expect("has an id").to_owned()
    }

    /// The task as REST shows it.
    pub async fn task(&self, id: &str) -> Value {
        let url = format!("{}/api/v1/tasks/{id}", self.url);
        self.answer(self.home.http.get(url)).await
    }

    /// Waits until a task has ended.
    pub async fn ended(&self, id: &str) -> Value {
        let begun = Instant::now();
        loop {
            let task = self.task(id).await;
            if ["SUCCESS", "FAILED", "CANCELED"]
                .contains(&task["status"].as_str().expect("has one"))
            {
                return task;
            }
            assert!(begun.elapsed() < PATIENCE, "it never ends: {task}");
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// A file of a task, by its link, which needs no key.
    pub async fn file(&self, output: &Value) -> Vec<u8> {
        // Links are to where it was set up to be.
        let url = output["url"].as_str().expect("has a link");
        let (_, path) = url.split_once("/files/").expect("is a link");
        let answer = self
            .home
            .http
            .get(format!("{}/files/{path}", self.url))
            .send()
            .await;
        let bytes = answer.expect("it answers").bytes().await;
        bytes.expect("it is whole").to_vec()
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Value {
        let request = request.bearer_auth(&self.home.key);
        let answer = request.send().await.expect("it answers");
        let body = answer.bytes().await.expect("it answers");
        let mut body: Value = serde_json::from_slice(&body).expect("is JSON");
        assert_eq!(body["code"], 0, "{body}");
        body["data"].take()
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
