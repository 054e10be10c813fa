//! Several processes over one database: tasks outlive the one that took them, and nothing is done
//! twice.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use piooy::generation::{Filter, Settings, Status};
use piooy::providers::FailureReason;
use piooy::store::Client;
use tokio_postgres::SimpleQueryMessage;
use uuid::Uuid;

use super::fixture::{
    self, CREDITS, Fixture, PICTURE, end_silently, ended, patient, picture, routed, run, sandbox,
    settings, short_lived, until,
};
use super::upstream::{Memory, Reply, Upstream, Verdict, providers};

/// Tasks left behind by a restart stayed open for ever: 1024XEngineer/Windup#391.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_left_is_taken_over_and_ends_once() {
    let fixture = Fixture::new().await;
    let (dying, caller) = (fixture.node().await, fixture.live().await);
    let prompts = [
        "a fox",
        "[sandbox:delay=300ms] a dog",
        "[sandbox:fail=content_policy] a cat",
        "[sandbox:delay=1s] a cow",
    ];
    let submissions = prompts
        .iter()
        .cycle()
        .take(24)
        .map(|prompt| dying.submit(&caller, picture(prompt), None));
    let tasks: Vec<_> = join_all(submissions)
        .await
        .into_iter()
        .map(|task| task.unwrap().id)
        .collect();
    until("one has ended", async || {
        ended_among(&fixture, &tasks).await > 0
    })
    .await;
    drop(dying);
    assert!(
        ended_among(&fixture, &tasks).await < tasks.len() as i64,
        "something is left"
    );

    let (heir, _rival) = (fixture.node().await, fixture.node().await);
    let tasks = join_all(tasks.iter().map(|id| ended(&heir, &caller, *id))).await;
    let delivered = tasks
        .iter()
        .filter(|task| task.status == Status::Success)
        .count() as i64;
    assert_eq!(delivered, 18);
    assert_eq!(
        fixture.balance().await.available,
        CREDITS - delivered * PICTURE
    );
    fixture.assert_sound().await;
}

async fn ended_among(fixture: &Fixture, tasks: &[Uuid]) -> i64 {
    let client = fixture.database.store().client().await.unwrap();
    let statement = "SELECT count(*) FROM tasks WHERE id = ANY($1) AND finished_at IS NOT NULL";
    client.query_one(statement, &[&tasks]).await.unwrap().get(0)
}

/// A lease that nobody could wait out shows that a node which stops gives it back.
#[tokio::test]
async fn a_node_that_stops_hands_its_tasks_on_at_once() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running);
    let stopping = fixture.node_with(providers(&[&upstream]), patient()).await;
    let caller = fixture.live().await;
    let task = stopping
        .submit(&caller, routed("a fox"), None)
        .await
        .unwrap();
    until("it makes progress", async || {
        stopping.get(&caller, task.id).await.unwrap().progress == 50
    })
    .await;
    stopping.stop().await;

    upstream.decide(Verdict::Deliver(1));
    let next = fixture.node_with(providers(&[&upstream]), patient()).await;
    assert_eq!(ended(&next, &caller, task.id).await.status, Status::Success);
    assert_eq!(upstream.submissions(), 1, "the job goes on where it was");
    // What is submitted to the one that stopped is not lost either.
    let late = stopping
        .submit(&caller, routed("a dog"), None)
        .await
        .unwrap();
    let third = fixture.node_with(providers(&[&upstream]), patient()).await;
    assert_eq!(
        ended(&third, &caller, late.id).await.status,
        Status::Success
    );
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_node_dies_between_submission_and_answer() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal")
        .replies(&[Reply::AcceptAndHang])
        .remembers(Memory::Perfect);
    let dying = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let task = dying.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is submitted", async || upstream.submissions() == 1).await;
    drop(dying);
    let heir = fixture.node_with(providers(&[&upstream]), settings()).await;
    assert_eq!(ended(&heir, &caller, task.id).await.status, Status::Success);
    assert_eq!(
        upstream.submissions(),
        1,
        "it was looked up, not submitted again"
    );
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "CAPTURE 10"]);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    for (reply, submissions) in [(Reply::AcceptAndLose, 1), (Reply::Lose, 2)] {
        let fixture = Fixture::new().await;
        let upstream = Upstream::new("fal")
            .replies(&[reply])
            .remembers(Memory::Perfect);
        let node = fixture.node_with(providers(&[&upstream]), settings()).await;
        let task = run(&node, &fixture.live().await, routed("a fox")).await;
        assert_eq!(task.status, Status::Success, "{reply:?}");
        assert_eq!(upstream.submissions(), submissions, "{reply:?}");
        fixture.assert_sound().await;
    }
}

/// A time-out was paid back although the upstream could still deliver, and bill:
/// elizaOS/eliza#11862.
#[tokio::test]
async fn without_a_verdict_the_hold_stays_until_the_deadline_and_nothing_is_submitted_again() {
    let fixture = Fixture::new().await;
    let (first, second) = (
        Upstream::new("fal").replies(&[Reply::AcceptAndLose]),
        Upstream::new("kie"),
    );
    let node = fixture
        .node_with(providers(&[&first, &second]), short_lived())
        .await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is submitted", async || first.submissions() == 1).await;
    assert_eq!(fixture.balance().await.held, PICTURE);
    let task = ended(&node, &caller, task.id).await;
    assert_eq!(
        task.failure.unwrap().reason,
        FailureReason::DeadlineExceeded
    );
    assert_eq!((first.submissions(), second.submissions()), (1, 0));
    assert_eq!(fixture.balance().await.available, CREDITS);
    fixture.assert_sound().await;
}

/// Status went to the wrong provider: BerriAI/litellm#16753.
#[tokio::test]
async fn a_task_is_polled_where_it_was_submitted() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("kie").decides(Verdict::Running);
    let dying = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let task = dying.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is polled", async || !upstream.polled().is_empty()).await;
    drop(dying);
    upstream.decide(Verdict::Deliver(1));
    // The heir would choose another upstream first.
    let preferred = Upstream::new("fal");
    let heir = fixture
        .node_with(providers(&[&preferred, &upstream]), settings())
        .await;
    let task = ended(&heir, &caller, task.id).await;
    assert_eq!(
        (task.status, task.provider.as_str()),
        (Status::Success, "kie")
    );
    assert_eq!((preferred.submissions(), upstream.submissions()), (0, 1));
    let ids: HashSet<_> = upstream.polled().into_iter().collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_task_of_another_node_can_be_watched_and_canceled() {
    let fixture = Fixture::new().await;
    let (working, asked, caller) = (
        fixture.node_with(sandbox(), patient()).await,
        fixture.node_with(sandbox(), patient()).await,
        fixture.live().await,
    );
    let task = working
        .submit(&caller, picture("[sandbox:delay=10m] a fox"), None)
        .await
        .unwrap();
    let mut watch = Box::pin(asked.watch(&caller, task.id).await.unwrap());
    assert!(!watch.next().await.unwrap().unwrap().status.is_final());
    until("it runs", async || {
        asked.get(&caller, task.id).await.unwrap().status == Status::Processing
    })
    .await;
    assert_eq!(
        asked.cancel(&caller, task.id).await.unwrap().status,
        Status::Processing
    );
    let last = tokio::time::timeout(
        fixture::PATIENCE,
        watch.fold(None, |_, task| async { Some(task.unwrap()) }),
    )
    .await
    .unwrap();
    assert_eq!(last.unwrap().status, Status::Canceled);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn waiting_tasks_of_another_node_are_canceled_at_once() {
    let fixture = Fixture::new().await;
    let busy = fixture
        .node_with(
            sandbox(),
            Settings {
                running_tasks_max: 0,
                ..settings()
            },
        )
        .await;
    let (asked, caller) = (fixture.node().await, fixture.live().await);
    let task = busy.submit(&caller, picture("a fox"), None).await.unwrap();
    assert_eq!(
        asked.cancel(&caller, task.id).await.unwrap().status,
        Status::Canceled
    );
    assert_eq!(
        ended(&busy, &caller, task.id).await.status,
        Status::Canceled
    );
    fixture.assert_sound().await;
}

/// The recovery loop skipped some of the open tasks: 1024XEngineer/Windup#391.
#[tokio::test]
async fn a_task_that_nobody_owns_is_swept_at_its_deadline() {
    let fixture = Fixture::new().await;
    let busy = fixture
        .node_with(
            sandbox(),
            Settings {
                running_tasks_max: 0,
                ..short_lived()
            },
        )
        .await;
    let caller = fixture.live().await;
    let task = busy.submit(&caller, picture("a fox"), None).await.unwrap();
    drop(busy);
    let client = fixture.database.store().client().await.unwrap();
    client.execute("DELETE FROM nodes", &[]).await.unwrap();
    let sweeper = fixture.node().await;
    let task = ended(&sweeper, &caller, task.id).await;
    assert_eq!(
        task.failure.unwrap().reason,
        FailureReason::DeadlineExceeded
    );
    assert_eq!(fixture.balance().await.available, CREDITS);
    fixture.assert_sound().await;
}

/// The answer to a submission never reached whoever sent it.
#[tokio::test]
async fn a_task_whose_caller_went_away_is_found_and_done() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let mut submission = Box::pin(node.submit(&caller, picture("a fox"), None));
    // Polled once, it is on its way to the database.
    assert!(futures_util::poll!(&mut submission).is_pending());
    drop(submission);
    let mut task = None;
    until("it is accepted", async || {
        let page = node
            .list(&caller, None, &Filter::default(), 1)
            .await
            .unwrap();
        task = page.tasks.first().map(|task| task.id);
        task.is_some()
    })
    .await;
    let task = ended(&node, &caller, task.unwrap()).await;
    assert_eq!(task.status, Status::Success);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_node_whose_lease_was_declared_over_finds_out_what_is_its_own() {
    let fixture = Fixture::new().await;
    let idle = Settings {
        running_tasks_max: 0,
        ..patient()
    };
    let (first, caller) = (
        fixture.node_with(sandbox(), idle).await,
        fixture.live().await,
    );
    let lost = first.submit(&caller, picture("a fox"), None).await.unwrap();
    // It is gone without a word, and nobody knows for as long as its lease lasts.
    drop(first);
    let second = fixture.node().await;
    // The task becomes the second's behind its back, and that node is declared dead.
    let client = fixture.database.store().client().await.unwrap();
    let statement = "UPDATE tasks SET node_id = (SELECT max(id::text)::uuid FROM nodes)";
    client.execute(statement, &[]).await.unwrap();
    let statement =
        "UPDATE nodes SET lapsed = true WHERE id = (SELECT max(id::text)::uuid FROM nodes)";
    client.execute(statement, &[]).await.unwrap();
    let task = ended(&second, &caller, lost.id).await;
    assert_eq!(task.status, Status::Success);
    fixture.assert_sound().await;
}

/// What another node did to a task of ours is found even when its news gets lost.
#[tokio::test]
async fn a_task_that_ended_elsewhere_is_let_go() {
    let fixture = Fixture::new().await;
    let busy = Settings {
        running_tasks_max: 0,
        look_interval: Duration::from_millis(50),
        ..patient()
    };
    let (node, caller) = (
        fixture.node_with(sandbox(), busy).await,
        fixture.test().await,
    );
    let task = node.submit(&caller, picture("a fox"), None).await.unwrap();
    end_silently(&fixture, task.id).await;
    assert_eq!(
        ended(&node, &caller, task.id).await.status,
        Status::Canceled
    );
}

const RENEW: &str = include_str!("../../../src/generation/sql/renew.sql");
const CLAIM: &str = include_str!("../../../src/generation/sql/claim.sql");
const OVERDUE: &str = include_str!("../../../src/generation/sql/overdue.sql");

/// With many tasks, what is done again and again must not read them all.
#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_of_a_dead_node_are_taken_over_by_two() {
    const TASKS: i32 = 50_000;
    let fixture = Fixture::new().await;
    let roomy = || Settings {
        running_tasks_max: 0,
        open_tasks_max: 100_000,
        progress_interval: Duration::from_secs(1),
        lease: Duration::from_secs(5),
        ..settings()
    };
    let dying = fixture.node_with(sandbox(), roomy()).await;
    let caller = fixture.test().await;
    dying.submit(&caller, picture("a fox"), None).await.unwrap();
    drop(dying);
    let client = fixture.database.store().client().await.unwrap();
    let copy = "INSERT INTO tasks (account_id, id, test, model, media_type, request, node_id, provider, quoted,
                created_at, deadline_at)
            SELECT account_id, gen_random_uuid(), test, model, media_type, request, node_id, provider, quoted,
                created_at, deadline_at + n * interval '1 millisecond'
            FROM tasks, generate_series(2, $1) AS n";
    client.execute(copy, &[&TASKS]).await.unwrap();
    client.execute("ANALYZE tasks", &[]).await.unwrap();

    // One batch out of the middle of it, and the steady checks: each within the bounds of what it
    // takes, by the pages that PostgreSQL touches.
    client
        .execute("UPDATE nodes SET lapsed = true", &[])
        .await
        .unwrap();
    let middle = "SELECT node_id::text, deadline_at::text FROM tasks ORDER BY deadline_at OFFSET 20000 LIMIT 1";
    let middle = client.query_one(middle, &[]).await.unwrap();
    let (node, from): (&str, &str) = (middle.get(0), middle.get(1));
    let claim = format!("gen_random_uuid(), '{node}', '{from}', 100");
    let touched = [
        pages(&client, CLAIM, &claim).await,
        pages(&client, RENEW, &format!("'{node}', 1000")).await,
        pages(&client, OVERDUE, "100").await,
    ];
    assert!(
        touched[0] < 8_000 && touched[1] < 50 && touched[2] < 50,
        "{touched:?}"
    );

    let heirs = [
        fixture.node_with(sandbox(), roomy()).await,
        fixture.node_with(sandbox(), roomy()).await,
    ];
    let left =
        "SELECT EXISTS (SELECT FROM tasks AS t JOIN nodes AS n ON n.id = t.node_id WHERE n.lapsed)";
    until("nothing is left", async || {
        !client.query_one(left, &[]).await.unwrap().get::<_, bool>(0)
    })
    .await;
    let taken = "SELECT count(*) FROM tasks AS t JOIN nodes AS n ON n.id = t.node_id";
    let taken: i64 = client.query_one(taken, &[]).await.unwrap().get(0);
    assert_eq!(taken, i64::from(TASKS));
    drop(heirs);
}

/// How many pages a statement touches. What it writes is taken back.
async fn pages(client: &Client, statement: &str, values: &str) -> u64 {
    let explain = format!(
        "PREPARE explained AS {statement};
        BEGIN;
        EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({values});
        ROLLBACK;
        DEALLOCATE explained"
    );
    let messages = client.simple_query(&explain).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: serde_json::Value = serde_json::from_str(row.unwrap()).unwrap();
    let plan = &plan[0]["Plan"];
    let hit = plan["Shared Hit Blocks"].as_u64().unwrap();
    hit + plan["Shared Read Blocks"].as_u64().unwrap()
}
