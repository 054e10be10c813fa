//! Load: clients that each ask again as soon as they were answered, and what that cost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::Failure;
use crate::database::Database;
use crate::machine;

/// Numbers that are used once in a run: idempotency keys are made of them.
static TURNS: AtomicU64 = AtomicU64::new(0);

/// Someone who asks.
pub trait Client: Send + 'static {
    /// Asks once and checks the answer. No other call of the run has the same `turn`.
    fn ask(&mut self, turn: u64) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What a figure's load came to.
pub struct Measured {
    /// How long each answer took, the shortest first.
    latencies: Vec<Duration>,
    took: Duration,
    /// Bytes of write-ahead log.
    wal_bytes: f64,
    /// Processor time of PostgreSQL's processes.
    postgres: Duration,
    /// Processor time of this process, without the load's own where that is known.
    process: Duration,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// The latency that a share of the answers, in percent, did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }

    pub fn wal_bytes_each(&self) -> f64 {
        self.wal_bytes / self.latencies.len() as f64
    }

    pub fn postgres_each(&self) -> Duration {
        self.postgres.div_f64(self.latencies.len() as f64)
    }

    pub fn process_each(&self) -> Duration {
        self.process.div_f64(self.latencies.len() as f64)
    }
}

/// Lets clients ask for so long; they run on the threads that serve them.
pub async fn measure<C: Client>(
    database: &Database,
    clients: Vec<C>,
    time: Duration,
) -> Result<Measured, Failure> {
    let meter = Meter::start(database).await?;
    let answered = drive(clients, time).await?;
    meter.stop(answered, Duration::ZERO).await
}

/// Lets clients ask for so long from a thread of their own, so that what they cost themselves can be
/// told apart. `connect` makes them on that thread.
pub async fn measure_apart<C: Client, F: Future<Output = Result<Vec<C>, Failure>>>(
    database: &Database,
    connect: impl FnOnce() -> F + Send + 'static,
    time: Duration,
) -> Result<Measured, Failure> {
    let meter = Meter::start(database).await?;
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let answered = runtime.block_on(async { drive(connect().await?, time).await })?;
            Ok::<_, Failure>((answered, machine::thread_processor_time()?))
        };
        // Whoever asked is still there, or the run is over.
        let _ = tell.send(run());
    });
    let (answered, own) = told.await??;
    meter.stop(answered, own).await
}

/// The answers that came, and the time until the last of them.
struct Answered {
    latencies: Vec<Duration>,
    took: Duration,
}

async fn drive<C: Client>(clients: Vec<C>, time: Duration) -> Result<Answered, Failure> {
    let begun = Instant::now();
    let ask = |mut client: C| async move {
        let mut latencies = Vec::new();
        while begun.elapsed() < time {
            let turn = TURNS.fetch_add(1, Ordering::Relaxed);
            let asked = Instant::now();
            client.ask(turn).await?;
            latencies.push(asked.elapsed());
        }
        Ok::<_, Failure>(latencies)
    };
    let tasks = clients.into_iter().map(|client| tokio::spawn(ask(client)));
    let mut latencies = Vec::new();
    for of_client in join_all(tasks).await {
        latencies.extend(of_client??);
    }
    let took = begun.elapsed();
    latencies.sort_unstable();
    Ok(Answered { latencies, took })
}

/// What had been used when a figure began.
struct Meter<'a> {
    database: &'a Database,
    wal_bytes: f64,
    postgres: HashMap<u32, Duration>,
    process: Duration,
}

impl<'a> Meter<'a> {
    async fn start(database: &'a Database) -> Result<Self, Failure> {
        Ok(Self {
            database,
            wal_bytes: database.wal_bytes().await?,
            postgres: machine::children_processor_time(database.postmaster)?,
            process: machine::own_processor_time()?,
        })
    }

    /// What was used since, `apart` of it by the load. Backends that ended meanwhile are not counted.
    async fn stop(self, answered: Answered, apart: Duration) -> Result<Measured, Failure> {
        let process = machine::own_processor_time()? - self.process;
        let postgres = machine::children_processor_time(self.database.postmaster)?
            .into_iter()
            .map(|(id, now)| {
                now.saturating_sub(self.postgres.get(&id).copied().unwrap_or_default())
            })
            .sum();
        Ok(Measured {
            latencies: answered.latencies,
            took: answered.took,
            wal_bytes: self.database.wal_bytes().await? - self.wal_bytes,
            postgres,
            process: process.saturating_sub(apart),
        })
    }
}
