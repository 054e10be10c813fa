//! Figures in a database with a history: ten million tasks that have ended and their entries in the
//! ledger, of the accounts that go on submitting, against the same figures without.

use std::time::Instant;

use crate::database::{Database, Server};
use crate::room::{self, ACCOUNTS, Extent};
use crate::table::{self, Reference};
use crate::{Failure, Plan};

/// What makes rows that were just loaded rows of long ago: they are marked as committed, by whoever
/// reads them first, and written back.
const SETTLE: [&str; 3] = [
    "SELECT count(request), max(outputs::text) FROM tasks",
    "SELECT sum(amount) FROM ledger_entries",
    "CHECKPOINT",
];

/// Measures whole lives and submissions with and without a history. Submissions last: they leave
/// their tasks open, which the next node would go on with.
pub async fn figures(server: &Server, plan: &Plan) -> Result<(), Failure> {
    let full = server.database().await?;
    let full_callers = full.callers(ACCOUNTS).await?;
    load(&full).await?;
    // The first pass reads the index pages that the later ones find in memory.
    room::figure(&full, &full_callers, 256, Extent::WholeLife, plan.time).await?;
    table::head("Beside a history of 10 million tasks");
    let clients = 256;
    for (what, extent) in [
        ("whole lives, 1,000 accounts", Extent::WholeLife),
        ("submissions, 1,000 accounts", Extent::Submission),
    ] {
        let empty = server.database().await?;
        let callers = empty.callers(ACCOUNTS).await?;
        let without = room::figure(&empty, &callers, clients, extent, plan.time).await?;
        let measured = room::figure(&full, &full_callers, clients, extent, plan.time).await?;
        let reference = Reference {
            name: "of the same without",
            per_second: without.per_second(),
        };
        table::row(what, clients, &measured, reference);
    }
    Ok(())
}

/// Gives the accounts a history, and lets it settle: what was written last month has long been read
/// again.
async fn load(database: &Database) -> Result<(), Failure> {
    let begun = Instant::now();
    let store = database.patient().await?;
    let client = store.client().await?;
    client.batch_execute(include_str!("history.sql")).await?;
    for statement in SETTLE {
        client.batch_execute(statement).await?;
    }
    println!(
        "\nThe history took {:.0} s to load.",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}
