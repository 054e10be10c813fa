//! What tasks cost by day and by model, against what the ledger captured.

use std::collections::BTreeMap;
use std::time::SystemTime;

use piooy::generation::{DailySpending, Day, Generation, Request, Status};
use uuid::Uuid;

use super::fixture::{Fixture, PICTURE, picture, run};

/// A day, model, credits and tasks.
type Line = (String, String, i64, i64);

fn lines(spending: Vec<DailySpending>) -> Vec<Line> {
    let line = |of: DailySpending| (of.day.to_string(), of.model, of.credits, of.tasks);
    spending.into_iter().map(line).collect()
}

fn day(text: &str) -> Day {
    Day::parse(text).expect("a day")
}

async fn spending(node: &Generation, account: Uuid, first: &str, last: &str) -> Vec<Line> {
    let now = SystemTime::now();
    let found = node.spending(account, day(first), day(last), now).await;
    lines(found.expect("can be read"))
}

/// Writes the entries of a task, or those of none, to another time, which the journal would refuse.
async fn put(fixture: &Fixture, task: Option<Uuid>, time: &str) {
    let client = fixture.database.store().client().await.unwrap();
    let which = task.map_or("IS NULL".to_owned(), |task| format!("= '{task}'"));
    let statement = format!(
        "ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_are_final;
        UPDATE ledger_entries SET at = '{time}' WHERE task_id {which};
        ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_are_final"
    );
    client.batch_execute(&statement).await.unwrap();
}

/// What the journal itself says was captured, by day.
async fn captured(fixture: &Fixture) -> BTreeMap<String, i64> {
    let client = fixture.database.store().client().await.unwrap();
    let statement = "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), sum(amount)::bigint
        FROM ledger_entries WHERE kind = 'CAPTURE' AND account_id = $1 GROUP BY 1";
    let rows = client.query(statement, &[&fixture.account.id]).await;
    let rows = rows.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn spending_is_what_was_captured_by_day_and_by_model() {
    // The plan includes the free tier.
    let fixture = Fixture::with_plan(100_000, true).await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let of = |model: &str, prompt: &str, count| Request {
        model: model.to_owned(),
        count: Some(count),
        ..picture(prompt)
    };
    // In the order of the chain, whose times rise.
    let table = [
        (
            of("tiny", "a fox", 2),
            "2026-02-27 09:00:00+00",
            Status::Success,
        ),
        (
            of("tiny-clip", "a fox", 1),
            "2026-02-27 23:59:59.999999+00",
            Status::Success,
        ),
        (
            of("tiny", "a fox", 1),
            "2026-02-28 00:00:00+00",
            Status::Success,
        ),
        (
            of("tiny", "[sandbox:partial=3] foxes", 4),
            "2026-02-28 10:00:00+00",
            Status::Success,
        ),
        (
            of("tiny", "[sandbox:fail=provider_error] a fox", 1),
            "2026-02-28 11:00:00+00",
            Status::Failed,
        ),
        (
            of("tiny-free", "a fox", 1),
            "2026-02-28 12:00:00+00",
            Status::Success,
        ),
        (
            of("tiny-free", "[sandbox:fail=provider_error] a fox", 1),
            "2026-03-01 12:00:00+00",
            Status::Failed,
        ),
        (
            of("tiny", "a fox", 1),
            "2026-03-02 12:00:00+00",
            Status::Success,
        ),
    ];
    put(&fixture, None, "2026-01-01 00:00:00+00").await;
    for (request, time, status) in table {
        let task = run(&node, &caller, request).await;
        assert_eq!(task.status, status, "{time}");
        put(&fixture, Some(task.id), time).await;
    }
    // Test tasks are of another world.
    let test = run(&node, &fixture.test().await, picture("a fox")).await;
    assert_eq!(test.status, Status::Success);

    let line =
        |day: &str, model: &str, credits, tasks| (day.to_owned(), model.to_owned(), credits, tasks);
    let account = fixture.account.id;
    let all = spending(&node, account, "2026-02-01", "2026-03-02").await;
    let expected = [
        line("2026-02-27", "tiny", 2 * PICTURE, 1),
        line("2026-02-27", "tiny-clip", 20, 1),
        line("2026-02-28", "tiny", 4 * PICTURE, 2),
        line("2026-02-28", "tiny-free", 0, 1),
        line("2026-03-02", "tiny", PICTURE, 1),
    ];
    assert_eq!(all, expected);
    let mut by_day: BTreeMap<String, i64> = BTreeMap::new();
    for (day, _, credits, _) in &all {
        *by_day.entry(day.clone()).or_default() += credits;
    }
    let mut journal = captured(&fixture).await;
    // A free task that failed has a capture of nothing.
    assert_eq!(journal.remove("2026-03-01"), Some(0));
    assert_eq!(by_day, journal);

    // A part of it, from what is remembered and from what another process reads.
    let other = fixture.node().await;
    for node in [&node, &other] {
        let part = spending(node, account, "2026-02-28", "2026-03-01").await;
        assert_eq!(part, expected[2..4]);
        assert_eq!(
            spending(node, account, "2026-03-01", "2026-03-01").await,
            []
        );
        assert_eq!(
            spending(node, account, "2026-02-01", "2026-03-02").await,
            expected
        );
    }
    let stranger = fixture.stranger().await.account_id();
    assert_eq!(
        spending(&node, stranger, "2026-02-01", "2026-03-02").await,
        []
    );
}

#[tokio::test]
async fn a_day_that_is_not_over_is_read_again() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let now = SystemTime::now();
    // One more at both ends: midnight may pass meanwhile.
    let (first, last) = (Day::of(now).earlier(1), Day::of(now).next());
    for tasks in 1..=2 {
        run(&node, &caller, picture("a fox")).await;
        let found = node.spending(caller.account_id(), first, last, now).await;
        let credits: i64 = found.unwrap().iter().map(|spending| spending.credits).sum();
        assert_eq!(credits, tasks * PICTURE);
    }
}

/// More than one statement looks at: the parts of a day are summed.
#[tokio::test]
async fn a_long_chain_is_read_in_parts() {
    const TASKS: i64 = 15_000;
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let task = run(&node, &caller, picture("a fox")).await;
    let client = fixture.database.store().client().await.unwrap();
    let copies = "INSERT INTO ledger_entries
        SELECT (jsonb_populate_record(entry, jsonb_build_object(
            'seq', entry.seq + 2 * number,
            'at', to_timestamp(1800000000 + 86400 * (number / 10000))
        ))).*
        FROM ledger_entries AS entry, generate_series(1, $2::bigint) AS number
        WHERE entry.task_id = $1";
    let written = client.execute(copies, &[&task.id, &TASKS]).await.unwrap();
    assert_eq!(written, 2 * u64::try_from(TASKS).unwrap());
    let begin = Day::of(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000));
    let found = node
        .spending(caller.account_id(), begin, begin.next(), SystemTime::now())
        .await;
    let found = found.unwrap();
    let sums: Vec<(i64, i64)> = found.iter().map(|of| (of.credits, of.tasks)).collect();
    assert_eq!(sums, [(9_999 * PICTURE, 9_999), (5_001 * PICTURE, 5_001)]);
}
