//! The references: what pgbench, which comes with PostgreSQL, gets out of the same server.
//!
//! **H** and **P** are prepared, four round trips a transaction: update one row by id, insert one row of
//! history. H updates one hot row with 8 clients, P one of 1,000 rows with 64. **N** is pgbench's own
//! `-N` (an update, a select, an insert) and **S** its `-S` (a select), at scale 10, prepared, with 64
//! clients. The lone commit is one client of P.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use piooy::store::{Store, StoreOptions};

use crate::database::Server;
use crate::table::{Reference, milliseconds};
use crate::{Failure, scratch};

/// What the figures are compared with.
pub struct References {
    /// One hot row.
    pub hot: Reference,
    /// A thousand rows.
    pub spread: Reference,
    /// `pgbench -N`.
    pub simple: Reference,
    /// `pgbench -S`.
    pub read: Reference,
    /// The median time of a transaction of a lone client.
    pub lone: Duration,
}

const TABLES: &str = "
    CREATE TABLE bench_rows (id int PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 50);
    INSERT INTO bench_rows SELECT id, 0 FROM generate_series(1, 1000) AS id;
    CREATE TABLE bench_history (id int, value bigint, note text, at timestamptz DEFAULT now());";

const TRANSACTION: &str = "
    BEGIN;
    UPDATE bench_rows SET value = value + 1 WHERE id = :id;
    INSERT INTO bench_history (id, value, note) VALUES (:id, 1, repeat('x', 255));
    END;";

/// Measures the references and prints them.
pub async fn references(server: &Server, time: Duration) -> Result<References, Failure> {
    let url = server.create().await?;
    let store = Store::connect(&url, StoreOptions { connections_max: 1 }).await?;
    store.client().await?.batch_execute(TABLES).await?;
    let files = scratch("pgbench");
    std::fs::create_dir_all(&files)?;
    let (hot, spread) = (files.join("hot.sql"), files.join("spread.sql"));
    std::fs::write(&hot, format!("\\set id 1{TRANSACTION}"))?;
    std::fs::write(&spread, format!("\\set id random(1, 1000){TRANSACTION}"))?;
    let script = |file: &Path| format!("--file={}", file.display());

    let hot_per_second = run(&url, &[&script(&hot)], 8, time)?;
    let spread_per_second = run(&url, &[&script(&spread)], 64, time)?;
    let log = files.join("lone");
    let prefix = format!("--log-prefix={}", log.display());
    run(&url, &[&script(&spread), "--log", &prefix], 1, time)?;
    let lone = median_of_log(&files)?;
    initialise(&url)?;
    let simple_per_second = run(&url, &["--builtin=simple-update"], 64, time)?;
    let read_per_second = run(&url, &["--builtin=select-only"], 64, time)?;

    println!(
        "## References by pgbench\n\n\
         | name | what | clients | per second |\n|---|---|---|---|\n\
         | H | one hot row | 8 | {hot_per_second:.0} |\n\
         | P | 1,000 rows | 64 | {spread_per_second:.0} |\n\
         | N | `pgbench -N -M prepared`, scale 10 | 64 | {simple_per_second:.0} |\n\
         | S | `pgbench -S -M prepared`, scale 10 | 64 | {read_per_second:.0} |\n\
         | | a lone client of P, p50 {} | 1 | |",
        milliseconds(lone)
    );
    let reference = |name, per_second| Reference { name, per_second };
    Ok(References {
        hot: reference("H", hot_per_second),
        spread: reference("P", spread_per_second),
        simple: reference("N", simple_per_second),
        read: reference("S", read_per_second),
        lone,
    })
}

/// Transactions per second.
fn run(url: &str, options: &[&str], clients: usize, time: Duration) -> Result<f64, Failure> {
    let output = pgbench()
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={}", time.as_secs()))
        .args(options)
        .arg(url)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let per_second = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    per_second.ok_or_else(|| format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Makes the tables of pgbench's own scripts.
fn initialise(url: &str) -> Result<(), Failure> {
    let output = pgbench()
        .args(["--initialize", "--quiet", "--scale=10", url])
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// The median time of the transactions that are logged in a directory and nowhere else.
fn median_of_log(directory: &Path) -> Result<Duration, Failure> {
    let mut microseconds = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            // client, number of the transaction, its time, …
            let time = line.split(' ').nth(2).ok_or("a short line of log")?;
            microseconds.push(time.parse::<u64>()?);
        }
        std::fs::remove_file(path)?;
    }
    microseconds.sort_unstable();
    let median = microseconds.get(microseconds.len() / 2);
    Ok(Duration::from_micros(*median.ok_or("an empty log")?))
}

/// pgbench comes with the server programs, which are often not on the path.
fn pgbench() -> Command {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let found = installed
        .map(|version| version.path().join("bin/pgbench"))
        .filter(|path| path.exists())
        .max();
    Command::new(found.unwrap_or_else(|| PathBuf::from("pgbench")))
}
