//! How many submissions and whole lives of tasks PostgreSQL carries, against what pgbench gets out of
//! the same server in the same run.
//!
//! ```sh
//! cargo bench --bench throughput            # all of it, about two minutes
//! cargo bench --bench throughput -- 2       # seconds for each figure
//! ```
//!
//! A private cluster with its usual settings (fsync and synchronous_commit on) serves both. The
//! references are pgbench's, prepared, four round trips a transaction: update one row by id, insert one
//! row of history. **H** updates one hot row with 8 clients, **P** one of 1,000 rows with 64. Ours go
//! through `Generation`, the interface that every face calls: catalogue, price, idempotency key, plan
//! limit, hold, task row. Machines differ: take the ratios.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use object_store::memory::InMemory;
use piooy::accounts::{Accounts, NewKey, Scopes, SpendingCaps};
use piooy::assets::Assets;
use piooy::catalog::Catalog;
use piooy::gate::{Caller, Gate};
use piooy::generation::{self, Generation, Request};
use piooy::ledger::Ledger;
use piooy::providers::{Job, Poll, PollError, Provider, Providers, Rendered, SubmitFailure};
use piooy::store::{ClusterOptions, PrivateCluster, Store, StoreOptions};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Accounts of the spread figures.
const ACCOUNTS: usize = 1_000;

/// What each account starts with: nobody runs out.
const CREDITS: i64 = 1_000_000_000;

/// A PNG of one grey pixel.
const PIXEL: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, 0x49, 0x44, 0x41, 0x54,
    0x78, 0x9c, 0x63, 0x68, 0, 0, 0, 0x82, 0, 0x81, 0x77, 0xcd, 0x72, 0xb6, 0, 0, 0, 0, 0x49, 0x45,
    0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

/// An upstream that is done before it is asked, so that only our own work is measured.
struct Instantly;

#[async_trait]
impl Provider for Instantly {
    fn name(&self) -> &'static str {
        "sandbox"
    }

    async fn submit(&self, job: &Job) -> Result<String, SubmitFailure> {
        Ok(job.task_id.to_string())
    }

    async fn poll(&self, _: &Job, _: &str) -> Result<Poll, PollError> {
        let bytes = Bytes::from_static(PIXEL);
        Ok(Poll::Done(vec![Rendered {
            bytes,
            poster: None,
        }]))
    }
}

fn main() -> Result<(), Failure> {
    // cargo passes --bench.
    let seconds = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(Duration::from_secs(seconds)))
}

async fn run(time: Duration) -> Result<(), Failure> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("throughput");
    let _ = std::fs::remove_dir_all(&directory);
    let options = ClusterOptions {
        directory,
        settings: Vec::new(),
    };
    let cluster = PrivateCluster::own(&options).await?;
    let measured = measure(cluster.url(), time).await;
    cluster.stop().await;
    measured
}

async fn measure(url: &str, time: Duration) -> Result<(), Failure> {
    let store = Store::connect(url, StoreOptions { connections_max: 2 }).await?;
    prepare_references(&store).await?;
    let hot = reference(url, "hot", 8, time)?;
    let spread = reference(url, "spread", 64, time)?;
    println!(
        "references: H {hot:.0}/s (one hot row, 8 clients), P {spread:.0}/s (1,000 rows, 64 clients)\n"
    );
    println!(
        "| what | clients | per second | ratio | p50 | p99 | WAL bytes each |\n|---|---|---|---|---|---|---|"
    );
    let figures = [
        ("submissions, one hot account", 1, 8, false),
        ("submissions, one hot account", 1, 256, false),
        ("submissions, 1,000 accounts", ACCOUNTS, 256, false),
        ("whole lives, one hot account", 1, 256, true),
        ("whole lives, 1,000 accounts", ACCOUNTS, 256, true),
    ];
    for (number, (name, accounts, clients, whole)) in figures.into_iter().enumerate() {
        // What one figure leaves open would be the next one's to go on with.
        let own = fresh_database(&store, url, number).await?;
        let callers = callers(&own, accounts).await?;
        let reference = if accounts == 1 {
            ("H", hot)
        } else {
            ("P", spread)
        };
        figure(&own, &callers, name, clients, time, reference, whole).await?;
        let found = generation::verify(&own).await?;
        if !found.differences.is_empty() {
            return Err(format!("the books are wrong: {:?}", found.differences).into());
        }
    }
    Ok(())
}

/// A database of its own on the same server.
async fn fresh_database(store: &Store, url: &str, number: usize) -> Result<Store, Failure> {
    let name = format!("figure_{number}");
    store
        .client()
        .await?
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await?;
    let mut own = url::Url::parse(url)?;
    own.set_path(&name);
    let own = Store::connect(
        own.as_str(),
        StoreOptions {
            connections_max: 16,
        },
    )
    .await?;
    own.migrate().await?;
    Ok(own)
}

/// Measures one figure on a node of its own and prints its row.
async fn figure(
    store: &Store,
    callers: &[Caller],
    name: &str,
    clients: usize,
    time: Duration,
    reference: (&'static str, f64),
    whole: bool,
) -> Result<(), Failure> {
    let node = Arc::new(node(store, whole).await?);
    let before = wal(store).await?;
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let client = |_| async {
        let mut latencies = Vec::new();
        while begun.elapsed() < time {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let asked = Instant::now();
            one(&node, &callers[turn % callers.len()], turn, whole).await?;
            latencies.push(asked.elapsed());
        }
        Ok::<_, Failure>(latencies)
    };
    let latencies: Result<Vec<_>, Failure> = join_all((0..clients).map(client))
        .await
        .into_iter()
        .collect();
    let mut latencies = latencies?.concat();
    let took = begun.elapsed();
    let wal_each = (wal(store).await? - before) / latencies.len() as f64;
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    let per_second = latencies.len() as f64 / took.as_secs_f64();
    let (reference_name, reference) = reference;
    let ratio = per_second / reference;
    println!(
        "| {name} | {clients} | {per_second:.0} | {ratio:.1} {reference_name} | {:.2?} | {:.2?} | {wal_each:.0} |",
        at(50),
        at(99),
    );
    node.stop().await;
    Ok(())
}

/// One submission with an idempotency key, or one whole life.
async fn one(node: &Generation, caller: &Caller, turn: usize, whole: bool) -> Result<(), Failure> {
    let request = Request {
        model: "z-image-turbo".to_owned(),
        prompt: "a lighthouse on a cliff at dusk, long exposure, muted colours, film grain"
            .to_owned(),
        provider: Some("sandbox".to_owned()),
        ..Request::default()
    };
    let key = format!("{}-{turn}", std::process::id());
    let task = node
        .submit(
            caller,
            request,
            Some(&key).filter(|_| !whole).map(String::as_str),
        )
        .await?;
    if whole {
        let mut changes = Box::pin(node.watch(caller, task.id).await?);
        while let Some(change) = changes.next().await {
            change?;
        }
    }
    Ok(())
}

/// A node. For submissions alone, its worker takes nothing up, so that the tasks stay as they are.
async fn node(store: &Store, whole: bool) -> Result<Generation, Failure> {
    let parts = generation::Parts {
        store: store.clone(),
        ledger: Ledger::new(store.clone()),
        catalog: Arc::new(Catalog::builtin()),
        providers: Providers::new(Arc::new(Instantly)),
        assets: Assets::new(Arc::new(InMemory::new()), [7; 32], "https://piooy.test"),
        quote_secret: [9; 32],
    };
    let settings = generation::Settings {
        sandbox_for_live: true,
        open_tasks_max: 5_000_000,
        running_tasks_max: if whole { 1_000 } else { 0 },
        poll_wait_min: Duration::ZERO,
        ..generation::Settings::default()
    };
    Ok(Generation::start(parts, settings).await?)
}

/// A caller for each account, on a plan that does not get in the way.
async fn callers(store: &Store, count: usize) -> Result<Vec<Caller>, Failure> {
    let client = store.client().await?;
    let plan = "INSERT INTO plans (name, submits_per_minute, reads_per_minute, concurrent_tasks, free_tier_included)
        VALUES ('bench', 1000000, 1000000, 1000000, false)";
    client.execute(plan, &[]).await?;
    drop(client);
    let (accounts, ledger) = (Accounts::new(store.clone()), Ledger::new(store.clone()));
    let gate = Gate::new(accounts.clone(), None)?;
    let mut callers = Vec::with_capacity(count);
    for number in 0..count {
        let account = accounts.create(&format!("bench-{number}"), "bench").await?;
        ledger.open(account.id, CREDITS, "").await?;
        let new = NewKey {
            name: "bench".to_owned(),
            test: false,
            scopes: Scopes::DEFAULT,
            expires_at: None,
            caps: SpendingCaps::NONE,
        };
        let (secret, _) = accounts.create_key(account.id, new).await?;
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        callers.push(
            gate.authenticate(Some(secret.expose()), from, SystemTime::now())
                .await?,
        );
    }
    Ok(callers)
}

/// Bytes of WAL ever written.
async fn wal(store: &Store) -> Result<f64, Failure> {
    let row = store
        .client()
        .await?
        .query_one("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8", &[])
        .await?;
    Ok(row.get(0))
}

async fn prepare_references(store: &Store) -> Result<(), Failure> {
    let tables = "CREATE TABLE bench_rows (id int PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 50);
        INSERT INTO bench_rows SELECT id, 0 FROM generate_series(1, 1000) AS id;
        CREATE TABLE bench_history (id int, value bigint, note text, at timestamptz DEFAULT now());";
    Ok(store.client().await?.batch_execute(tables).await?)
}

/// Transactions per second of pgbench: update one row, insert one row of history.
fn reference(url: &str, kind: &str, clients: usize, time: Duration) -> Result<f64, Failure> {
    let row = if kind == "hot" {
        "\\set id 1"
    } else {
        "\\set id random(1, 1000)"
    };
    let script = format!(
        "{row}\nBEGIN;\nUPDATE bench_rows SET value = value + 1 WHERE id = :id;\n\
         INSERT INTO bench_history (id, value, note) VALUES (:id, 1, repeat('x', 255));\nEND;\n"
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{kind}.pgbench"));
    std::fs::write(&file, script)?;
    let output = Command::new(pgbench())
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={}", time.as_secs()))
        .arg(format!("--file={}", file.display()))
        .arg(url)
        .stderr(Stdio::piped())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.ok_or_else(|| format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// pgbench comes with the server programs, which are often not on the path.
fn pgbench() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<_> = installed
        .map(|version| version.path().join("bin/pgbench"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("pgbench"))
}
