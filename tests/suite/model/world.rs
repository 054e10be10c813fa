//! A database with many accounts, and the nodes that serve it.
//!
//! A node that may be killed has a runtime of its own, a pool of its own and a role of its own in the
//! database. Killing it drops every future of it where it stands and closes its connections, as the end
//! of a process would; its role tells its sessions in the database from all others.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use object_store::memory::InMemory;
use piooy::accounts::{Accounts, NewKey, Scopes, SpendingCaps};
use piooy::assets::Assets;
use piooy::catalog::{Catalog, Current};
use piooy::gate::{Caller, Gate};
use piooy::generation::{Generation, Parts, Settings, Status};
use piooy::ledger::Ledger;
use piooy::store::{Client, Store, StoreError, StoreOptions};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

use super::prediction::Row;
use super::script::Scripts;
use crate::generation::fixture::{self, MODELS, QUOTE_SECRET};
use crate::support::{self, TestDatabase};

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    /// It runs nothing, so that what it takes stays PENDING.
    Idle,
    /// The time of its tasks is soon up.
    Hasty,
}

/// How long the time of a hasty node's tasks is.
const HASTE: Duration = Duration::from_millis(400);
/// How long the lease of a node is that may be killed, which is how long its tasks then wait.
const LEASE: Duration = Duration::from_millis(2_500);

pub const HOUR: Duration = Duration::from_secs(60 * 60);
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long idempotency keys live: longer than any history, in which days pass.
const KEY_LIFETIME: Duration = Duration::from_secs(200 * 24 * 60 * 60);

pub struct World {
    database: TestDatabase,
    store: Store,
    accounts: Accounts,
    gate: Gate,
    /// One for each price list.
    catalogs: [Current; 2],
    assets: Assets,
    pub scripts: Scripts,
    /// Nodes for all histories. With crashes, one, which takes over whatever nobody else does.
    pub nodes: Vec<Arc<Node>>,
}

impl World {
    pub async fn new(calm: bool) -> Self {
        let database = support::database().await;
        let connections = StoreOptions {
            connections_max: 32,
        };
        let store = Store::connect(database.url(), connections).await.unwrap();
        let accounts = Accounts::new(store.clone());
        let mut world = Self {
            gate: Gate::new(accounts.clone(), None).unwrap(),
            accounts,
            catalogs: models().map(|models| Current::new(Catalog::load(&models).unwrap())),
            assets: Assets::new(Arc::new(InMemory::new()), [7; 32], "https://piooy.test"),
            scripts: Scripts::default(),
            nodes: Vec::new(),
            database,
            store,
        };
        let lasting = [
            (Kind::Normal, 0),
            (Kind::Normal, 1),
            (Kind::Idle, 0),
            (Kind::Hasty, 1),
        ];
        for (kind, price_list) in lasting.into_iter().take(if calm { 4 } else { 1 }) {
            let mut settings = settings(kind);
            if calm && kind != Kind::Idle {
                // None of them dies, however slow the machine is.
                settings.lease = Duration::from_secs(6);
            }
            let store = Store::connect(world.database.url(), StoreOptions::default()).await;
            let parts = world.parts(store.unwrap(), price_list);
            world.nodes.push(Arc::new(Node {
                kind,
                price_list,
                store: parts.store.clone(),
                ledger: parts.ledger.clone(),
                generation: start(parts, settings).await,
                handle: Handle::current(),
                own: Mutex::new(None),
                role: String::new(),
            }));
        }
        world
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    fn parts(&self, store: Store, price_list: usize) -> Parts {
        Parts {
            ledger: Ledger::new(store.clone()),
            store,
            catalog: self.catalogs[price_list].clone(),
            providers: self.scripts.providers(),
            assets: self.assets.clone(),
            egress: crate::support::egress(),
            quote_secret: QUOTE_SECRET,
        }
    }

    /// A node that can be killed.
    pub async fn mortal(&self, kind: Kind, price_list: usize) -> Arc<Node> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let role = format!("node_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.client()
            .await
            .batch_execute(&format!("CREATE ROLE {role} SUPERUSER LOGIN"))
            .await
            .unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let url = self
            .database
            .url()
            .replace("user=piooy", &format!("user={role}"));
        assert!(url.contains(&role), "the address names the user");
        let connections = StoreOptions { connections_max: 3 };
        // A server that many histories keep busy may take its time to let one more in.
        let connect = async move {
            loop {
                match Store::connect(&url, connections).await {
                    Err(StoreError::Unavailable(_)) => {}
                    connected => break connected.unwrap(),
                }
            }
        };
        let store = runtime.spawn(connect).await.unwrap();
        let parts = self.parts(store.clone(), price_list);
        let ledger = parts.ledger.clone();
        let generation = runtime.spawn(start(parts, settings(kind))).await.unwrap();
        Arc::new(Node {
            kind,
            price_list,
            store,
            ledger,
            generation,
            handle: runtime.handle().clone(),
            own: Mutex::new(Some(runtime)),
            role,
        })
    }

    pub async fn client(&self) -> Client {
        self.store.client().await.unwrap()
    }

    /// An account on a plan of its own, without credits.
    pub async fn account(
        &self,
        name: &str,
        limit: usize,
        free_tier_included: bool,
        caps: SpendingCaps,
    ) -> Callers {
        let plan = "INSERT INTO plans (name, submits_per_minute, reads_per_minute, concurrent_tasks, free_tier_included)
            VALUES ($1, 1000000, 1000000, $2, $3)";
        let limit = i32::try_from(limit).unwrap();
        let client = self.client().await;
        client
            .execute(plan, &[&name, &limit, &free_tier_included])
            .await
            .unwrap();
        drop(client);
        let account = self.accounts.create(name, name).await.unwrap();
        Callers {
            free: self.caller(account.id, SpendingCaps::NONE).await,
            capped: self.caller(account.id, caps).await,
        }
    }

    async fn caller(&self, account: Uuid, caps: SpendingCaps) -> Caller {
        let new = NewKey {
            name: "key".to_owned(),
            test: false,
            scopes: Scopes::DEFAULT,
            expires_at: None,
            caps,
        };
        let (secret, _) = self.accounts.create_key(account, new).await.unwrap();
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.gate
            .authenticate(Some(secret.expose()), from, SystemTime::now())
            .await
            .unwrap()
    }

    /// Lets time pass for an account: whatever the database keeps of it happened so much earlier.
    /// Answers the number of the last entry of its chain by then.
    pub async fn pass(&self, account: Uuid, span: Span) -> i64 {
        let mut client = self.client().await;
        let transaction = client.transaction().await.unwrap();
        // Of tasks that have ended, nothing may change: hence without triggers.
        let alone = "SET LOCAL session_replication_role = replica";
        transaction.batch_execute(alone).await.unwrap();
        let lock = "SELECT ledger_lock(ARRAY[$1::uuid])";
        transaction.execute(lock, &[&account]).await.unwrap();
        let earlier = [
            "UPDATE tasks SET created_at = created_at - make_interval(secs => $2) WHERE account_id = $1",
            "UPDATE key_spending SET hour = hour - make_interval(secs => $2) WHERE account_id = $1",
            "UPDATE key_spending SET day = day - make_interval(secs => $2) WHERE account_id = $1",
            "UPDATE ledger_lots SET expires_at = expires_at - make_interval(secs => $2)
                WHERE account_id = $1 AND expires_at <> 'infinity'",
        ];
        // An hour that passes ends no day.
        let affected = match span {
            Span::Hour => &earlier[..2],
            Span::Days(_) => &earlier[..],
        };
        for statement in affected {
            let statement = transaction.prepare_cached(statement).await.unwrap();
            let seconds = span.duration().as_secs_f64();
            transaction
                .execute(&statement, &[&account, &seconds])
                .await
                .unwrap();
        }
        let last = "SELECT coalesce(max(seq), 0) FROM ledger_entries WHERE account_id = $1";
        let last = transaction.query_one(last, &[&account]).await.unwrap();
        transaction.commit().await.unwrap();
        last.get(0)
    }

    /// From now on a plan gives these credits each month. Answers what this month is called, and when it
    /// is over.
    pub async fn include_monthly_credits(&self, plan: &str, credits: i64) -> (String, SystemTime) {
        let client = self.client().await;
        let include = "UPDATE plans SET monthly_credits = $2 WHERE name = $1";
        client.execute(include, &[&plan, &credits]).await.unwrap();
        let month = "SELECT to_char(utc, 'YYYY-MM'), (date_trunc('month', utc) + interval '1 month') AT TIME ZONE 'UTC'
            FROM (SELECT now() AT TIME ZONE 'UTC' AS utc) AS month";
        let month = client.query_one(month, &[]).await.unwrap();
        (month.get(0), month.get(1))
    }

    /// Every task of an account, by the rows.
    pub async fn rows(&self, account: Uuid) -> Vec<Row> {
        let statement =
            "SELECT id, request::jsonb ->> 'prompt', status, quoted, charged, created_at
            FROM tasks WHERE account_id = $1";
        let client = self.client().await;
        let statement = client.prepare_cached(statement).await.unwrap();
        let rows = client.query(&statement, &[&account]).await.unwrap();
        rows.iter()
            .map(|row| Row {
                id: row.get(0),
                prompt: row.get(1),
                status: Status::parse(row.get(2)).unwrap(),
                quoted: row.get(3),
                charged: row.get::<_, Option<i64>>(4).unwrap_or_default(),
                created_at: row.get(5),
            })
            .collect()
    }

    /// How the tasks of an account stand, in words, for whoever looks into a failure.
    pub async fn told(&self, account: Uuid) -> String {
        let statement = "SELECT string_agg(concat_ws(' ', id, status, 'attempt', attempt, 'of', provider, upstream_id,
                failure, finished_at - created_at, deadline_at - created_at), E'\\n  ' ORDER BY id)
            FROM tasks WHERE account_id = $1";
        let row = self.client().await.query_one(statement, &[&account]).await;
        row.unwrap().get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// Lets nobody write to an account's chain until what it answers is dropped.
    pub async fn stop_writers(&self, account: Uuid) -> StoppedWriters {
        let client = self.client().await;
        client.batch_execute("BEGIN").await.unwrap();
        client
            .execute("SELECT ledger_lock(ARRAY[$1::uuid])", &[&account])
            .await
            .unwrap();
        StoppedWriters(client)
    }

    /// Ends the sessions of a node in the database.
    pub async fn terminate(&self, node: &Node) {
        let statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
        self.client()
            .await
            .query(statement, &[&node.role])
            .await
            .unwrap();
    }

    /// Waits until nothing that a killed node asked for is under way any more.
    pub async fn is_over(&self, node: &Node) {
        let statement = "SELECT FROM pg_stat_activity WHERE usename = $1";
        let client = self.client().await;
        while !client
            .query(statement, &[&node.role])
            .await
            .unwrap()
            .is_empty()
        {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Who asks for an account: two keys of it.
pub struct Callers {
    pub free: Caller,
    /// What this one may spend is limited.
    pub capped: Caller,
}

/// How much time passes.
#[derive(Debug, Clone, Copy)]
pub enum Span {
    Hour,
    Days(u32),
}

impl Span {
    pub fn duration(self) -> Duration {
        match self {
            Self::Hour => HOUR,
            Self::Days(days) => DAY * days,
        }
    }
}

/// See [`World::stop_writers`].
pub struct StoppedWriters(Client);

impl StoppedWriters {
    pub async fn go_on(self) {
        self.0.batch_execute("COMMIT").await.unwrap();
    }
}

/// The models of other tests on two price lists, all with two routes: attempts are bounded by route, and
/// crashes spend some.
fn models() -> [String; 2] {
    let with_routes = ["tiny-free", "tiny-clip"]
        .iter()
        .fold(MODELS.to_owned(), |models, model| {
            let route = |provider| {
                format!(r#"{{ provider = "{provider}", model = "{provider}/{model}" }}"#)
            };
            models.replace(&route("fal"), &[route("fal"), route("kie")].join(", "))
        });
    let changes = [
        (r#""0.1K" = 10000"#, r#""0.1K" = 12000"#),
        (r#""0.2K" = 20000"#, r#""0.2K" = 25000"#),
        (r#""0.1K" = 3000"#, r#""0.1K" = 5000"#),
        (r#""96p" = 20000"#, r#""96p" = 15000"#),
    ];
    let changed = changes
        .iter()
        .fold(with_routes.clone(), |models, (before, after)| {
            assert!(models.contains(before), "{before} is a price");
            models.replace(before, after)
        });
    [with_routes, changed]
}

async fn start(parts: Parts, settings: Settings) -> Arc<Generation> {
    Arc::new(Generation::start(parts, settings).await.unwrap())
}

fn settings(kind: Kind) -> Settings {
    let normal = Settings {
        lease: LEASE,
        key_lifetime: KEY_LIFETIME,
        ..fixture::settings()
    };
    match kind {
        Kind::Normal => normal,
        Kind::Idle => Settings {
            running_tasks_max: 0,
            // It neither loses tasks nor takes any over, which would have to wait for ever.
            lease: Duration::from_secs(24 * 60 * 60),
            ..normal
        },
        Kind::Hasty => Settings {
            lifetime_min: HASTE,
            lifetime_max: HASTE,
            ..normal
        },
    }
}

pub struct Node {
    pub kind: Kind,
    /// Which of the two price lists it knows.
    pub price_list: usize,
    pub generation: Arc<Generation>,
    pub store: Store,
    pub ledger: Ledger,
    handle: Handle,
    /// Of one that can be killed.
    own: Mutex<Option<Runtime>>,
    role: String,
}

impl Node {
    /// Has the node do something; the handle fails when the node is killed meanwhile.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// Ends it as a process ends.
    pub fn kill(&self) {
        if let Some(runtime) = self.own.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
