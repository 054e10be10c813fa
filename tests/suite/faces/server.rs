//! A running server for one test, and the ways to call it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use piooy::accounts::{Accounts, NewKey, Scope, Scopes, SpendingCaps};
use piooy::cli::Running;
use piooy::ledger::Ledger;
use piooy::settings::Settings;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::answers::Answer;
use crate::support::{self, TestDatabase};

/// The MCP endpoint.
pub const MCP: &str = "/api/mcp/mcp";

/// The model that paints quickest: half a thousand pixels a side.
pub const QUICK_MODEL: &str = "nano-banana-2";

/// How long a small picture may take on a busy machine.
const PICTURE_MAX: Duration = Duration::from_secs(60);

/// Where a test calls.
pub struct Place {
    pub url: String,
    client: Client,
}

impl Place {
    pub fn new(url: String) -> Self {
        support::speak_tls();
        let client = Client::builder()
            .no_proxy()
            .build()
            .expect("a client can be made");
        Self { url, client }
    }

    /// A request that is still to be sent.
    pub fn http(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// One REST call; `body` is sent when it is not null.
    pub async fn rest(&self, key: Option<&str>, method: &str, path: &str, body: &Value) -> Answer {
        let mut request = with_key(self.http(method, path), key);
        if !body.is_null() {
            request = request.json(body);
        }
        Answer::read(request.send().await.expect("the server answers")).await
    }

    /// One message to the MCP endpoint, as a client of the first revisions sends it.
    pub async fn mcp(&self, key: Option<&str>, message: &Value) -> Answer {
        let request = with_key(self.http("POST", MCP), key).json(message);
        Answer::read(request.send().await.expect("the server answers")).await
    }

    /// One call of a tool.
    pub async fn tool(&self, key: Option<&str>, name: &str, arguments: &Value) -> Answer {
        let params = json!({"name": name, "arguments": arguments});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        self.mcp(key, &message).await
    }

    /// A gRPC channel.
    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.url.clone()).expect("an address");
        endpoint.connect().await.expect("the server takes HTTP/2")
    }
}

/// The request with a key in its header.
pub fn with_key(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}

/// The server, with the account `dev` of a first start.
pub struct Server {
    pub place: Place,
    pub test_key: String,
    pub live_key: String,
    pub database: TestDatabase,
    pub accounts: Accounts,
    pub data: TempDir,
    running: Running,
}

impl std::ops::Deref for Server {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Server {
    /// A server as it comes.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A server with those environment variables.
    pub async fn with(environment: &[(&str, &str)]) -> Self {
        // The program does this before all else.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = support::database().await;
        let data = tempfile::tempdir().expect("a directory can be made");
        let (listener, url) = listen().await;
        let settings = settings(&url, data.path(), database.url(), environment);

        support::speak_tls();
        let keys = Mutex::new(None);
        let running = piooy::cli::start(&settings, listener, &|first| {
            let texts = (
                first.test.expose().to_owned(),
                first.live.expose().to_owned(),
            );
            *keys.lock().expect("nobody panicked") = Some(texts);
        })
        .await
        .expect("the server starts");
        let keys = keys.into_inner().expect("nobody panicked");
        let (test_key, live_key) = keys.expect("a first start shows keys");
        Self {
            place: Place::new(url),
            test_key,
            live_key,
            accounts: Accounts::new(database.store().clone()),
            database,
            data,
            running,
        }
    }

    /// The link that signs in the first person.
    pub fn sign_in_link(&self) -> &str {
        let link = self.running.sign_in_link();
        link.expect("a first start makes a link")
    }

    /// Stops the server as a signal does.
    pub async fn stop(self) {
        self.running.stop().await;
    }

    /// A key of `account` with just these scopes.
    pub async fn key(&self, account: &str, scopes: &[Scope], test: bool) -> String {
        new_key(&self.accounts, account, scopes, test).await
    }

    /// A new account with a live key for everything but administration.
    pub async fn account(&self, name: &str, plan: &str, credits: i64) -> String {
        let account = self.accounts.create(name, plan).await.expect("is new");
        if credits > 0 {
            let ledger = Ledger::new(self.database.store().clone());
            let granted = ledger.grant(account.id, credits, "for a test", None).await;
            granted.expect("credits can be granted");
        }
        let scopes = [Scope::Generate, Scope::Read, Scope::Keys];
        self.key(name, &scopes, false).await
    }

    /// Asks for a picture with the test key and waits for it; answers with the task.
    pub async fn picture(&self) -> Value {
        let request = json!({"model": QUICK_MODEL, "prompt": "a pebble", "seed": 1});
        self.picture_of(&request).await
    }

    /// The same with a request of the caller's own.
    pub async fn picture_of(&self, request: &Value) -> Value {
        let key = Some(self.test_key.as_str());
        let asked = self
            .rest(key, "POST", "/api/v1/generate/image", request)
            .await;
        let id = asked.envelope["data"]["taskId"].as_str().expect("a taskId");
        let path = format!("/api/v1/tasks/{id}");
        let painted = async {
            loop {
                let task = self.rest(key, "GET", &path, &Value::Null).await.envelope;
                match task["data"]["status"].as_str() {
                    Some("SUCCESS") => return task["data"].clone(),
                    Some("PENDING" | "PROCESSING") => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    _ => panic!("the picture did not come: {task}"),
                }
            }
        };
        tokio::time::timeout(PICTURE_MAX, painted)
            .await
            .expect("the picture comes in time")
    }
}

/// Makes a key with just these scopes.
pub async fn new_key(accounts: &Accounts, account: &str, scopes: &[Scope], test: bool) -> String {
    let account = accounts.by_name(account).await.expect("is there");
    let new = NewKey {
        name: "for a test".to_owned(),
        test,
        scopes: scopes.iter().copied().collect::<Scopes>(),
        expires_at: None,
        caps: SpendingCaps::NONE,
    };
    let made = accounts.create_key(account.id, new).await;
    made.expect("a key can be made").0.expose().to_owned()
}

/// A port, and the address by which it is reached.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("a port"));
    (listener, url)
}

fn settings(url: &str, data: &Path, database_url: &str, environment: &[(&str, &str)]) -> Settings {
    let flags = [
        ("listen", url.trim_start_matches("http://").to_owned()),
        ("public_url", url.to_owned()),
        ("data_dir", data.display().to_string()),
    ];
    let flags: BTreeMap<String, String> = flags
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let environment = environment
        .iter()
        .copied()
        .chain([("DATABASE_URL", database_url)])
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let no_file = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
    Settings::load(flags, environment, no_file).expect("good settings")
}

/// Another server on the database and the files of a first.
pub struct Replica {
    pub url: String,
    running: Running,
}

impl Replica {
    pub async fn of(server: &Server) -> Self {
        let (listener, url) = listen().await;
        let settings = settings(&url, server.data.path(), server.database.url(), &[]);
        let running = piooy::cli::start(&settings, listener, &|_| panic!("this is no first start"));
        let running = running.await.expect("the replica starts");
        assert_eq!(
            running.sign_in_link(),
            None,
            "somebody could have signed in"
        );
        Self { url, running }
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}
