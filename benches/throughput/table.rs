//! Figures as rows of markdown tables.

use std::time::Duration;

use crate::load::Measured;

/// What a figure is compared with.
#[derive(Clone, Copy)]
pub struct Reference {
    /// The letter that stands for it.
    pub name: &'static str,
    pub per_second: f64,
}

/// Begins a table of figures.
pub fn head(title: &str) {
    println!(
        "\n## {title}\n\n\
         | what | clients | per second | ratio | p50 | p99 | WAL bytes each | PostgreSQL CPU each | our CPU each |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
}

/// Prints a figure.
pub fn row(what: &str, clients: usize, measured: &Measured, reference: Reference) {
    let per_second = measured.per_second();
    println!(
        "| {what} | {clients} | {per_second:.0} | {:.2} {} | {} | {} | {:.0} | {} | {} |",
        per_second / reference.per_second,
        reference.name,
        milliseconds(measured.percentile(50)),
        milliseconds(measured.percentile(99)),
        measured.wal_bytes_each(),
        microseconds(measured.postgres_each()),
        microseconds(measured.process_each()),
    );
}

/// A time in milliseconds, as the tables write it.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn microseconds(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
