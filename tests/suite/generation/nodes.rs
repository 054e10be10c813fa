//! Several processes over one database: tasks outlive the one that took them, and nothing is done
//! twice.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use piooy::generation::{Settings, Status};
use piooy::providers::FailureReason;
use uuid::Uuid;

use super::fixture::{
    self, CREDITS, Fixture, PICTURE, ended, picture, routed, run, sandbox, settings, short_lived,
    until,
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
    let patient = || Settings {
        lease: Duration::from_secs(24 * 60 * 60),
        ..settings()
    };
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
        fixture.node().await,
        fixture.node().await,
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

/// The answer to a submission never reached the process that sent it.
#[tokio::test]
async fn a_node_finds_its_own_tasks_that_it_does_not_know_of() {
    let fixture = Fixture::new().await;
    let (giving, caller) = (
        fixture
            .node_with(
                sandbox(),
                Settings {
                    running_tasks_max: 0,
                    ..settings()
                },
            )
            .await,
        fixture.live().await,
    );
    let task = giving
        .submit(&caller, picture("a fox"), None)
        .await
        .unwrap();
    let finding = fixture.node().await;
    let client = fixture.database.store().client().await.unwrap();
    // The task becomes the finder's behind its back.
    let statement =
        "UPDATE tasks SET node_id = (SELECT id FROM nodes ORDER BY id DESC LIMIT 1) WHERE id = $1";
    client.execute(statement, &[&task.id]).await.unwrap();
    assert_eq!(
        ended(&finding, &caller, task.id).await.status,
        Status::Success
    );
    assert_eq!(
        ended(&giving, &caller, task.id).await.status,
        Status::Success,
        "the one that lost it tells the same"
    );
}
