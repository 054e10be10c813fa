//! The money, against a model of it: thousands of random histories of an account on real nodes and a
//! real PostgreSQL, and a few lines of plain Rust that say what may come of each.
//!
//! A **history** ([`history`]) is an account with some credits and some plan, and 5 to 30 random
//! operations on it: submissions, one by one and at once, repetitions with an idempotency key, grants,
//! completions, failures, partial deliveries, cancelations, answers that nobody hears. Some credits
//! expire, one of the two keys that ask may spend only so much, what was quoted is asked for later and of
//! nodes with other prices, and hours and days pass. What the upstream does with each task is written in
//! a script that goes with the request ([`script`]). The
//! **prediction** ([`prediction`]) follows along without a database and knows at each moment everything
//! that may be the case; an answer that none of it explains fails the history. When all has come to
//! rest, one state is left, and the ledger, the tasks and the balance have to be exactly that. Which
//! credits were spent and which expired follows, credit by credit, from the order of the ledger's entries
//! ([`purse`]).
//!
//! One in four histories is of **crashes**: its nodes are processes in all but name (a runtime and a
//! pool of their own, see [`world`]) that are killed, or lose their connections, in the midst of
//! whatever they do, and are followed by others.
//!
//! Everything random comes from the history's number, its seed. The interleaving of what runs at once
//! does not, so a failure may take a few replays to come again.
//!
//! ```text
//! PIOOY_HISTORIES=10000 cargo test --test suite model    as many as that, instead of a few hundred
//! PIOOY_SEED=17 cargo test --test suite model            that one alone
//! ```

use std::fmt::Write;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use piooy::generation::verify;

use history::History;
use world::World;

mod history;
mod prediction;
mod purse;
mod script;
mod world;

/// How many histories there are, unless the environment says otherwise.
const HISTORIES: u64 = 300;

/// Nodes that live, shared by all histories.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_ends_as_predicted() {
    run(calm, 100).await;
}

/// Nodes that die, each history's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_with_crashes_ends_as_predicted() {
    run(|seed| !calm(seed), 32).await;
}

fn calm(seed: u64) -> bool {
    !seed.is_multiple_of(4)
}

/// The seeds that the environment asks for.
fn seeds() -> Vec<u64> {
    let number = |name| {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        )
    };
    match number("PIOOY_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("PIOOY_HISTORIES").unwrap_or(HISTORIES)).collect(),
    }
}

/// Plays those of the histories that are `chosen`, `together` at a time, and then audits everything.
async fn run(chosen: impl Fn(u64) -> bool, together: usize) {
    let seeds: Vec<_> = seeds().into_iter().filter(|seed| chosen(*seed)).collect();
    let Some(first) = seeds.first() else { return };
    let world = Arc::new(World::new(calm(*first)).await);
    let plays = seeds.into_iter().map(|seed| {
        let world = Arc::clone(&world);
        let play = tokio::spawn(async move { History::play(&world, seed).await });
        async move {
            (
                seed,
                play.await.unwrap_or_else(|panic| Err(panic.to_string())),
            )
        }
    });
    let failures = stream::iter(plays)
        .buffer_unordered(together)
        .filter_map(async |(seed, played)| Some((seed, played.err()?)))
        .collect::<Vec<_>>()
        .await;
    let mut report = String::new();
    for (seed, failure) in &failures {
        writeln!(report, "seed {seed}: {failure}").expect("a string takes any text");
    }
    assert!(failures.is_empty(), "{report}");
    let verification = verify(world.store()).await.expect("the database answers");
    assert_eq!(verification.differences, []);
}
