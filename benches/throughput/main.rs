//! How fast Piooy is, against what pgbench gets out of the same PostgreSQL in the same run and, where no
//! database is asked, against the least server of the official Rust SDK of MCP.
//!
//! ```sh
//! cargo bench --bench throughput                  # all of it, a few minutes
//! cargo bench --bench throughput -- 2             # seconds for each figure
//! cargo bench --bench throughput -- 5 REST        # only figures whose name contains that
//! cargo bench --bench throughput -- 5 large       # also beside 10 million tasks: minutes to load
//! ```
//!
//! A private cluster with its usual settings (fsync and synchronous_commit on) serves everything; each
//! figure has a database of its own on it, whose books are verified afterwards. Machines differ, and
//! the load shares the cores with what it measures: take the ratios.
//!
//! | module | holds |
//! |---|---|
//! | [`pgbench`] | the references |
//! | [`room`] | `Generation`, the interface that every face calls |
//! | [`faces`], [`http`] | REST, gRPC and MCP over TCP, and the client that asks them |
//! | [`mcp`] | what MCP answers from memory, beside a server of the official Rust SDK |
//! | [`history`] | a database with ten million tasks in it |
//! | [`program`] | the built program: how long it takes to start, what it takes up |
//! | [`database`], [`load`], [`machine`], [`table`] | what the figures are made with |

mod database;
mod faces;
mod history;
mod http;
mod load;
mod machine;
mod mcp;
mod pgbench;
mod program;
mod room;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use piooy::store::{ClusterOptions, PrivateCluster};

use database::Server;

/// What went wrong; the run ends with it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Seconds for each figure, when nobody says.
const SECONDS_DEFAULT: u64 = 5;

/// The word that asks for the figures with a long history.
const LARGE: &str = "large";

/// What was asked for.
struct Plan {
    /// How long each figure is measured.
    time: Duration,
    /// A part of the names of the figures to measure; empty: all.
    only: String,
    /// Whether to load ten million tasks.
    large: bool,
}

impl Plan {
    fn read(words: impl Iterator<Item = String>) -> Self {
        let mut plan = Self {
            time: Duration::from_secs(SECONDS_DEFAULT),
            only: String::new(),
            large: false,
        };
        // cargo passes --bench.
        for word in words.filter(|word| !word.starts_with("--")) {
            match word.parse() {
                Ok(seconds) => plan.time = Duration::from_secs(seconds),
                Err(_) if word == LARGE => plan.large = true,
                Err(_) => plan.only = word.to_lowercase(),
            }
        }
        plan
    }

    /// Whether a figure of that name is to be measured.
    fn wants(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.only)
    }
}

fn main() -> Result<(), Failure> {
    let plan = Plan::read(std::env::args().skip(1));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&plan))
}

async fn run(plan: &Plan) -> Result<(), Failure> {
    let directory = scratch("cluster");
    let _ = std::fs::remove_dir_all(&directory);
    let options = ClusterOptions {
        directory,
        settings: Vec::new(),
    };
    let cluster = PrivateCluster::own(&options).await?;
    let measured = measure(&cluster, plan).await;
    cluster.stop().await;
    measured
}

/// A place for files of the run.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("throughput")
        .join(name)
}

async fn measure(cluster: &PrivateCluster, plan: &Plan) -> Result<(), Failure> {
    let server = Server::of(cluster).await?;
    let resident_before = machine::resident_bytes("self")?;
    let references = pgbench::references(&server, plan.time).await?;
    room::figures(&server, &references, plan).await?;
    faces::figures(&server, &references, plan).await?;
    mcp::figures(&server, plan).await?;
    if plan.large {
        history::figures(&server, plan).await?;
    }
    let resident_after = machine::resident_bytes("self")?;
    program::figures(&server, plan).await?;
    println!(
        "\nThis process, load included: {} MB resident before the figures, {} MB after them.",
        resident_before / 1_000_000,
        resident_after / 1_000_000
    );
    Ok(())
}
