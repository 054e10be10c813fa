//! Figures through `Generation`, the interface that every face calls: catalogue, price, idempotency
//! key, plan limit, hold, task row; and for whole lives also the work, the results and the charge.
//!
//! Whole lives go to an upstream that is done before it is asked, so that only our own work is
//! measured. For submissions the worker takes nothing up, so that the tasks stay as they are.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use object_store::memory::InMemory;
use piooy::assets::Assets;
use piooy::catalog::{Catalog, Current};
use piooy::egress::{Egress, Policy};
use piooy::gate::Caller;
use piooy::generation::{self, Generation, Request};
use piooy::ledger::Ledger;
use piooy::providers::{
    Content, Job, Poll, PollError, Probe, Provider, Providers, Rendered, SubmitFailure, Submitted,
};
use piooy::store::Store;
use tokio_postgres::IsolationLevel;

use crate::database::{Database, Server};
use crate::load::{self, Client, Measured};
use crate::pgbench::References;
use crate::table::{self, Reference};
use crate::{Failure, Plan};

/// Accounts of the spread figures.
pub const ACCOUNTS: usize = 1_000;

/// The model that is asked for.
pub const MODEL: &str = "z-image-turbo";

/// What is asked for.
pub const PROMPT: &str =
    "a lighthouse on a cliff at dusk, long exposure, muted colours, film grain";

/// The upstream that is asked for: live keys must name the sandbox, in whose place [`Instantly`] is.
pub const PROVIDER: &str = "sandbox";

/// How much of a task's life is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Up to the durable acceptance, under an idempotency key.
    Submission,
    /// To the end, which is waited for.
    WholeLife,
}

/// Measures what goes through the room.
pub async fn figures(server: &Server, references: &References, plan: &Plan) -> Result<(), Failure> {
    let References { hot, spread, .. } = *references;
    let (submission, whole) = (Extent::Submission, Extent::WholeLife);
    let rows = [
        ("submissions, one hot account", 1, 8, submission, hot),
        ("submissions, one hot account", 1, 256, submission, hot),
        (
            "submissions, 1,000 accounts",
            ACCOUNTS,
            256,
            submission,
            spread,
        ),
        ("whole lives, one hot account", 1, 256, whole, hot),
        ("whole lives, 1,000 accounts", ACCOUNTS, 256, whole, spread),
    ];
    table::head("Through the generation room");
    for (what, accounts, clients, extent, reference) in rows {
        if plan.wants(what) {
            let database = server.database().await?;
            let callers = database.callers(accounts).await?;
            let measured = figure(&database, &callers, clients, extent, plan.time).await?;
            table::row(what, clients, &measured, reference);
        }
    }
    beside_a_snapshot(server, plan).await
}

/// Measures submissions with and without a snapshot that another connection holds meanwhile, as a
/// backup does: whatever updates rows has to step over their old versions then.
async fn beside_a_snapshot(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let what = "submissions, one hot account, beside an open snapshot";
    if !plan.wants(what) {
        return Ok(());
    }
    let clients = 256;
    let free = server.database().await?;
    let callers = free.callers(1).await?;
    let free = figure(&free, &callers, clients, Extent::Submission, plan.time).await?;
    let without = Reference {
        name: "of the same without",
        per_second: free.per_second(),
    };
    let database = server.database().await?;
    let callers = database.callers(1).await?;
    let mut holder = database.store.client().await?;
    holder
        .batch_execute("SET idle_in_transaction_session_timeout = 0")
        .await?;
    let snapshot = holder
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .await?;
    snapshot
        .query_one("SELECT count(*) FROM accounts", &[])
        .await?;
    let measured = figure(&database, &callers, clients, Extent::Submission, plan.time).await?;
    snapshot.rollback().await?;
    table::row(what, clients, &measured, without);
    Ok(())
}

/// Measures a figure on a node of its own.
pub async fn figure(
    database: &Database,
    callers: &Arc<[Caller]>,
    clients: usize,
    extent: Extent,
    time: Duration,
) -> Result<Measured, Failure> {
    let node = Arc::new(node(&database.store, extent).await?);
    let clients = (0..clients).map(|_| Asker {
        node: Arc::clone(&node),
        callers: Arc::clone(callers),
        extent,
    });
    let measured = load::measure(database, clients.collect(), time).await?;
    node.stop().await;
    database.verify().await?;
    Ok(measured)
}

/// A client of the room, on behalf of one account after another.
struct Asker {
    node: Arc<Generation>,
    callers: Arc<[Caller]>,
    extent: Extent,
}

impl Client for Asker {
    async fn ask(&mut self, turn: u64) -> Result<(), Failure> {
        let caller = &self.callers[usize::try_from(turn)? % self.callers.len()];
        let request = Request {
            model: MODEL.to_owned(),
            prompt: PROMPT.to_owned(),
            provider: Some(PROVIDER.to_owned()),
            ..Request::default()
        };
        let key = (self.extent == Extent::Submission).then(|| format!("bench-{turn}"));
        let task = self.node.submit(caller, request, key.as_deref()).await?;
        if self.extent == Extent::WholeLife {
            let mut changes = Box::pin(self.node.watch(caller, task.id).await?);
            let mut last = task;
            while let Some(change) = changes.next().await {
                last = change?;
            }
            if last.status != generation::Status::Success {
                return Err(format!("a task ended {}", last.status.as_str()).into());
            }
        }
        Ok(())
    }
}

/// The way to other servers, which no figure takes.
fn egress() -> Result<Egress, Failure> {
    // Only the first node puts it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Egress::new(Policy::default())?)
}

/// A node without limits to speak of.
pub async fn node(store: &Store, extent: Extent) -> Result<Generation, Failure> {
    let parts = generation::Parts {
        store: store.clone(),
        ledger: Ledger::new(store.clone()),
        catalog: Current::new(Catalog::builtin()),
        providers: Providers::new(Arc::new(Instantly)),
        assets: assets(),
        egress: egress()?,
        quote_secret: [9; 32],
    };
    let settings = generation::Settings {
        sandbox_for_live: true,
        open_tasks_max: 5_000_000,
        running_tasks_max: if extent == Extent::WholeLife {
            1_000
        } else {
            0
        },
        poll_wait_min: Duration::ZERO,
        ..generation::Settings::default()
    };
    Ok(Generation::start(parts, settings).await?)
}

/// Results in memory.
pub fn assets() -> Assets {
    Assets::new(Arc::new(InMemory::new()), [7; 32], "https://piooy.test")
}

/// A PNG of one grey pixel.
const PIXEL: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, 0x49, 0x44, 0x41, 0x54,
    0x78, 0x9c, 0x63, 0x68, 0, 0, 0, 0x82, 0, 0x81, 0x77, 0xcd, 0x72, 0xb6, 0, 0, 0, 0, 0x49, 0x45,
    0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

/// An upstream that is done before it is asked.
struct Instantly;

#[async_trait]
impl Provider for Instantly {
    fn name(&self) -> &str {
        PROVIDER
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        Ok(Submitted::Taken(job.task_id.to_string()))
    }

    async fn poll(&self, _: &Job, _: &str) -> Result<Poll, PollError> {
        let file = Content::Bytes(Bytes::from_static(PIXEL));
        Ok(Poll::Done(vec![Rendered::new(file)]))
    }

    async fn probe(&self, _: &str) -> Probe {
        Probe::Ready
    }
}
