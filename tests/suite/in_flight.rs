//! A thousand tasks in flight over a slow upstream: what the program takes up meanwhile. It takes more
//! than a minute, and says something about a build for releases only (`PIOOY_PROGRAM` names one).

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;

use crate::fakes;
use crate::fakes::engine::KEY;
use crate::generation::fixture::{PICTURE, until};
use crate::program::Home;

const TASKS: i64 = 1_000;
/// How long the upstream works on each.
const PROMPT: &str = "[fake:delay=60000ms] number";
/// How long the program is looked at.
const LOOK: Duration = Duration::from_secs(20);
/// With margin.
const MEGABYTES_MAX: f64 = 100.0;
/// Of the clock that `/proc/{id}/stat` counts by.
const TICKS_A_SECOND: f64 = 100.0;

/// What a process has in memory, in megabytes, and how long it has computed, in seconds: now (proc(5)).
fn usage(process: u32) -> (f64, f64) {
    let read = |name| fs::read_to_string(format!("/proc/{process}/{name}")).expect("it runs");
    let status = read("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|kilobytes| kilobytes.trim().strip_suffix(" kB"));
    let kilobytes: f64 = resident
        .and_then(|text| text.parse().ok())
        .expect("is there");
    let stat = read("stat");
    let (_, after_name) = stat.rsplit_once(") ").expect("has a name");
    let ticks = after_name.split(' ').skip(11).take(2);
    let ticks: f64 = ticks
        .map(|part| part.parse::<f64>().expect("is a number"))
        .sum();
    (kilobytes * 1_024.0 / 1e6, ticks / TICKS_A_SECOND)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute"]
async fn a_thousand_tasks_wait_for_a_slow_upstream_in_little_memory() {
    let fake = fakes::fal::Fal::start().await;
    let url = fake.serving.url();
    let home = Home::new(
        "fal",
        "fal-ai/fox",
        &[("FAL_KEY", KEY), ("PIOOY_FAL_URL", &url)],
    )
    .await;
    home.fixture
        .grant(home.fixture.account.id, TASKS * PICTURE)
        .await;
    let program = home.start().await;
    let (idle, _) = usage(program.process_id());
    let prompts: Vec<_> = (0..TASKS)
        .map(|number| format!("{PROMPT} {number}"))
        .collect();
    let mut tasks = Vec::new();
    for prompts in prompts.chunks(50) {
        tasks.extend(join_all(prompts.iter().map(|prompt| program.submit(prompt))).await);
    }
    until("all are with the upstream", async || {
        fake.engine.open().len() == prompts.len()
    })
    .await;
    let (_, before) = usage(program.process_id());
    tokio::time::sleep(LOOK).await;
    let (megabytes, after) = usage(program.process_id());
    let in_flight = fake.engine.open().len();
    let share = 100.0 * (after - before) / LOOK.as_secs_f64();
    println!(
        "{in_flight} tasks in flight: {megabytes:.0} MB resident ({idle:.0} MB before any), {share:.1} % of a core over {} s",
        LOOK.as_secs()
    );
    for task in tasks {
        assert_eq!(program.ended(&task).await["status"], "SUCCESS");
    }
    let (megabytes_at_the_end, _) = usage(program.process_id());
    println!("{TASKS} pictures later: {megabytes_at_the_end:.0} MB resident");
    home.verify();
    assert!(megabytes < MEGABYTES_MAX, "{megabytes} MB");
}
