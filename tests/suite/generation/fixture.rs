//! An account with credits and keys, and as many nodes as a test wants.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use object_store::memory::InMemory;
use piooy::accounts::{Account, Accounts, NewKey, Scopes, SpendingCaps};
use piooy::assets::Assets;
use piooy::catalog::{Catalog, Current};
use piooy::gate::{Caller, Gate};
use piooy::generation::{Generation, Parts, Request, Settings, Status, SubmitError, Task, verify};
use piooy::ledger::{Balance, Ledger};
use piooy::providers::{Providers, Sandbox};
use piooy::store::Store;
use sha2::Sha256;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{self, TestDatabase};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// What the account starts with.
pub const CREDITS: i64 = 1_000;
/// What a picture of the model `tiny` costs.
pub const PICTURE: i64 = 10;
/// What the nodes sign quotes with.
pub const QUOTE_SECRET: [u8; 32] = [9; 32];

/// Small, quick models. `tiny` can be reached through two upstreams.
pub const MODELS: &str = r#"
[[model]]
slug = "tiny"
title = "Tiny"
vendor = "test"
description = "Small pictures."
media = "image"
tier = "standard"
status = "active"
aliases = []
resolutions = ["0.1K", "0.2K", "0.5K"]
aspect_ratios = ["1:1"]
max_outputs = 4
max_reference_images = 2
typical_seconds = [1, 2]
routes = [
  { provider = "fal", model = "fal/tiny", edit = "fal/tiny/edit" },
  { provider = "kie", model = "kie/tiny" },
]
defaults = { resolution = "0.1K", aspect_ratio = "1:1" }
[model.price]
unit = "image"
millicredits = { "0.1K" = 10000, "0.2K" = 20000, "0.5K" = 20000 }

[[model]]
slug = "tiny-free"
title = "Tiny Free"
vendor = "test"
description = "Small pictures of the free tier."
media = "image"
tier = "free"
status = "active"
aliases = []
resolutions = ["0.1K"]
aspect_ratios = ["1:1"]
max_outputs = 1
max_reference_images = 0
typical_seconds = [1, 2]
routes = [{ provider = "fal", model = "fal/tiny-free" }]
defaults = { resolution = "0.1K", aspect_ratio = "1:1" }
[model.price]
unit = "image"
millicredits = { "0.1K" = 3000 }

[[model]]
slug = "tiny-clip"
title = "Tiny Clip"
vendor = "test"
description = "Small clips."
media = "video"
tier = "standard"
status = "active"
aliases = []
resolutions = ["96p"]
aspect_ratios = ["1:1"]
durations_seconds = [1, 2]
max_outputs = 1
max_reference_images = 0
image_to_video = false
first_last_frame = false
audio = "none"
negative_prompt = true
typical_seconds = [1, 2]
routes = [{ provider = "fal", model = "fal/tiny-clip" }]
defaults = { resolution = "96p", aspect_ratio = "1:1", duration_seconds = 1 }
[model.price]
unit = "second"
millicredits = { "96p" = 20000 }
"#;

pub struct Fixture {
    pub database: TestDatabase,
    pub account: Account,
    pub ledger: Ledger,
    pub assets: Assets,
    accounts: Accounts,
    gate: Gate,
    pub catalog: Current,
}

impl Fixture {
    /// An account on a plan without limits that matter here.
    pub async fn new() -> Self {
        Self::with_plan(100_000, false).await
    }

    pub async fn with_plan(concurrent_tasks: i32, free_tier_included: bool) -> Self {
        let database = support::database().await;
        let store = database.store().clone();
        let client = store.client().await.unwrap();
        let plan = "INSERT INTO plans (name, submits_per_minute, reads_per_minute, concurrent_tasks, free_tier_included)
            VALUES ('mine', 1000000, 1000000, $1, $2)";
        client
            .execute(plan, &[&concurrent_tasks, &free_tier_included])
            .await
            .unwrap();
        let accounts = Accounts::new(store.clone());
        let account = accounts.create("acme", "mine").await.unwrap();
        let ledger = Ledger::new(store.clone());
        ledger.grant(account.id, CREDITS, "", None).await.unwrap();
        Self {
            account,
            ledger,
            assets: Assets::new(Arc::new(InMemory::new()), [7; 32], "https://piooy.test"),
            gate: Gate::new(accounts.clone(), None).unwrap(),
            accounts,
            catalog: Current::new(Catalog::load(MODELS).unwrap()),
            database,
        }
    }

    /// The same with other models.
    pub fn with_models(self, models: &str) -> Self {
        let catalog = Current::new(Catalog::load(models).unwrap());
        Self { catalog, ..self }
    }

    pub async fn live(&self) -> Caller {
        self.caller(self.account.id, false).await
    }

    pub async fn test(&self) -> Caller {
        self.caller(self.account.id, true).await
    }

    /// Someone else, without credits.
    pub async fn stranger(&self) -> Caller {
        let account = self.accounts.create("stranger", "mine").await.unwrap();
        self.caller(account.id, false).await
    }

    /// A live key, as text.
    pub async fn key(&self) -> String {
        let new = NewKey {
            name: "key".to_owned(),
            test: false,
            scopes: Scopes::DEFAULT,
            expires_at: None,
            caps: SpendingCaps::NONE,
        };
        let made = self.accounts.create_key(self.account.id, new).await;
        made.unwrap().0.expose().to_owned()
    }

    async fn caller(&self, account_id: Uuid, test: bool) -> Caller {
        self.capped(account_id, test, SpendingCaps::NONE).await
    }

    /// A caller whose key may spend only so much.
    pub async fn capped(&self, account_id: Uuid, test: bool, caps: SpendingCaps) -> Caller {
        let new = NewKey {
            name: "key".to_owned(),
            test,
            scopes: Scopes::DEFAULT,
            expires_at: None,
            caps,
        };
        let (secret, _) = self.accounts.create_key(account_id, new).await.unwrap();
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.gate
            .authenticate(Some(secret.expose()), from, SystemTime::now())
            .await
            .unwrap()
    }

    /// A node that has the sandbox alone and lets live keys use it.
    pub async fn node(&self) -> Generation {
        self.node_with(sandbox(), settings()).await
    }

    pub async fn node_with(&self, providers: Providers, settings: Settings) -> Generation {
        let store = self.database.store().clone();
        self.node_of(store, providers, settings).await
    }

    /// A node with a pool of its own.
    pub async fn node_of(
        &self,
        store: Store,
        providers: Providers,
        settings: Settings,
    ) -> Generation {
        let parts = Parts {
            ledger: Ledger::new(store.clone()),
            store,
            catalog: self.catalog.clone(),
            providers,
            assets: self.assets.clone(),
            egress: support::egress(),
            quote_secret: QUOTE_SECRET,
        };
        Generation::start(parts, settings).await.unwrap()
    }

    pub async fn grant(&self, account_id: Uuid, credits: i64) {
        self.ledger
            .grant(account_id, credits, "", None)
            .await
            .unwrap();
    }

    pub async fn balance(&self) -> Balance {
        self.ledger.balance(self.account.id).await.unwrap()
    }

    /// The movements of a task as `KIND amount`, in order.
    pub async fn movements(&self, task: Uuid) -> Vec<String> {
        let client = self.database.store().client().await.unwrap();
        let statement =
            "SELECT kind || ' ' || amount FROM ledger_entries WHERE task_id = $1 ORDER BY seq";
        client
            .query(statement, &[&task])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    /// Fails unless the ledger is sound and every task agrees with it.
    pub async fn assert_sound(&self) {
        assert_eq!(verify(self.database.store()).await.unwrap().differences, []);
    }
}

pub fn sandbox() -> Providers {
    Providers::new(Arc::new(Sandbox::default()))
}

/// Short waits and leases.
pub fn settings() -> Settings {
    Settings {
        sandbox_for_live: true,
        lease: Duration::from_millis(600),
        poll_wait_min: Duration::from_millis(5),
        poll_wait_max: Duration::from_millis(40),
        progress_interval: Duration::from_millis(20),
        rest_min: Duration::from_millis(1),
        rest_max: Duration::from_millis(40),
        ..Settings::default()
    }
}

/// Settings under which nothing happens by itself: what another node does is known from its news or
/// not at all.
pub fn patient() -> Settings {
    let never = Duration::from_secs(24 * 60 * 60);
    Settings {
        lease: never,
        look_interval: never,
        ..settings()
    }
}

/// Settings under which a task's time is soon up.
pub fn short_lived() -> Settings {
    Settings {
        lifetime_min: Duration::from_millis(700),
        lifetime_max: Duration::from_millis(700),
        ..settings()
    }
}

/// One picture, painted by the sandbox.
pub fn picture(prompt: &str) -> Request {
    Request {
        provider: Some("sandbox".to_owned()),
        ..routed(prompt)
    }
}

/// One picture, by whichever upstream the server chooses.
pub fn routed(prompt: &str) -> Request {
    Request {
        model: "tiny".to_owned(),
        prompt: prompt.to_owned(),
        ..Request::default()
    }
}

/// Waits until a task has ended.
pub async fn ended(node: &Generation, caller: &Caller, id: Uuid) -> Task {
    let watch = node.watch(caller, id).await.unwrap();
    let last = async {
        watch
            .fold(None, |_, task| async { Some(task.unwrap()) })
            .await
    };
    timeout(PATIENCE, last)
        .await
        .expect("the task ends")
        .expect("a watch tells how it stands")
}

/// Submits and waits until the task has ended.
pub async fn run(node: &Generation, caller: &Caller, request: Request) -> Task {
    let task = node.submit(caller, request, None).await.unwrap();
    ended(node, caller, task.id).await
}

/// Submits a picture that takes minutes and waits until it is being painted.
pub async fn running(node: &Generation, caller: &Caller) -> Task {
    let request = picture("[sandbox:delay=10m] a fox");
    let task = node.submit(caller, request, None).await.unwrap();
    until("it runs", async || {
        node.get(caller, task.id).await.unwrap().status == Status::Processing
    })
    .await;
    task
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// The refusal of a request.
pub async fn refused(node: &Generation, caller: &Caller, request: Request) -> SubmitError {
    node.submit(caller, request, None)
        .await
        .expect_err("the request is refused")
}

/// A quote as whoever has the secret would have made it so much earlier.
pub fn aged(quote: &str, secret: &[u8], by: Duration) -> String {
    let text = quote.strip_prefix("quote_").expect("begins so");
    let mut terms = URL_SAFE_NO_PAD.decode(text).expect("is base64");
    terms.truncate(66);
    let (_, expires) = terms.split_last_chunk_mut().expect("ends with a time");
    *expires = (u64::from_be_bytes(*expires) - by.as_secs()).to_be_bytes();
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("takes every length");
    let proof = mac.chain_update(&terms).finalize().into_bytes();
    terms.extend(proof);
    format!("quote_{}", URL_SAFE_NO_PAD.encode(terms))
}

/// Ends a task of a test key as another node would, but without telling anybody.
pub async fn end_silently(fixture: &Fixture, id: Uuid) {
    let client = fixture.database.store().client().await.unwrap();
    let statement =
        "UPDATE tasks SET status = 'CANCELED', charged = 0, finished_at = now() WHERE id = $1";
    assert_eq!(client.execute(statement, &[&id]).await.unwrap(), 1);
}
