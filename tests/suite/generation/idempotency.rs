//! One key, one task; and a key that got no task is as good as new.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use piooy::gate::Caller;
use piooy::generation::{Generation, Request, Settings, Status, SubmitError, Task};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::fixture::{CREDITS, Fixture, PICTURE, ended, picture, run, sandbox, settings};

async fn submit(
    node: &Generation,
    caller: &Caller,
    request: Request,
    key: &str,
) -> Result<Task, SubmitError> {
    node.submit(caller, request, Some(key)).await
}

/// A default HTTP retry re-sends an image request and makes a second, billable picture:
/// ohdearquant/lionagi#2393.
#[tokio::test]
async fn the_same_request_again_is_the_same_task() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let task = submit(&node, &caller, picture("a fox"), "k").await.unwrap();
    assert_eq!(
        submit(&node, &caller, picture("a fox"), "k")
            .await
            .unwrap()
            .id,
        task.id
    );
    let done = ended(&node, &caller, task.id).await;
    assert_eq!(
        submit(&node, &caller, picture("a fox"), "k").await.unwrap(),
        done,
        "also when it has ended"
    );
    // Another process, with nothing in memory, and another spelling of the model.
    let other = fixture.node().await;
    let respelled = Request {
        model: "Tiny".to_owned(),
        ..picture("a fox")
    };
    assert_eq!(submit(&other, &caller, respelled, "k").await.unwrap(), done);
    assert_eq!(fixture.balance().await.available, CREDITS - PICTURE);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn another_request_with_the_same_key_is_refused() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    submit(&node, &caller, picture("a fox"), "k").await.unwrap();
    let others = [
        picture("a dog"),
        Request {
            count: Some(2),
            ..picture("a fox")
        },
        Request {
            seed: Some(1),
            ..picture("a fox")
        },
        Request {
            strict: true,
            ..picture("a fox")
        },
    ];
    for other in others {
        let error = submit(&node, &caller, other, "k").await.unwrap_err();
        assert!(
            matches!(error, SubmitError::IdempotencyKeyReused),
            "{error}"
        );
    }
    assert_eq!(
        fixture.balance().await.available + fixture.balance().await.held,
        CREDITS
    );
    let too_long = "k".repeat(256);
    for key in ["", too_long.as_str()] {
        let error = submit(&node, &caller, picture("a fox"), key)
            .await
            .unwrap_err();
        assert!(
            matches!(error, SubmitError::IdempotencyKeyLength),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_task_comes() {
    let fixture = Fixture::new().await;
    let (first, second, caller) = (
        fixture.node().await,
        fixture.node().await,
        fixture.live().await,
    );
    let nodes = [&first, &second].into_iter().cycle().take(40);
    let answers = join_all(nodes.map(|node| submit(node, &caller, picture("a fox"), "k"))).await;
    let ids: HashSet<Uuid> = answers.into_iter().map(|task| task.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    for id in ids {
        assert_eq!(ended(&first, &caller, id).await.status, Status::Success);
    }
    assert_eq!(fixture.balance().await.available, CREDITS - PICTURE);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_refused_submission_does_not_use_up_its_key() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.stranger().await);
    let error = submit(&node, &caller, picture("a fox"), "k")
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SubmitError::InsufficientCredits {
                needed: PICTURE,
                available: 0
            }
        ),
        "{error}"
    );
    fixture
        .ledger
        .grant(caller.account_id(), PICTURE, "", None)
        .await
        .unwrap();
    let task = submit(&node, &caller, picture("another fox"), "k")
        .await
        .unwrap();
    assert_eq!(ended(&node, &caller, task.id).await.status, Status::Success);
}

/// Also by a server that takes the key for unused at first.
#[tokio::test]
async fn a_key_is_answered_with_its_task_where_another_one_would_be_refused() {
    let fixture = Fixture::with_plan(1, false).await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let long = || picture("[sandbox:delay=10m] a fox");
    let task = submit(&node, &caller, long(), "k").await.unwrap();
    let error = submit(&node, &caller, long(), "another").await.unwrap_err();
    assert!(matches!(error, SubmitError::TooManyTasks { .. }), "{error}");
    let again = submit(&node, &caller, long(), "k").await.unwrap();
    assert_eq!(again.id, task.id);
    let error = submit(&node, &caller, picture("a dog"), "k")
        .await
        .unwrap_err();
    assert!(
        matches!(error, SubmitError::IdempotencyKeyReused),
        "{error}"
    );
}

#[tokio::test]
async fn a_rehearsal_with_a_test_key_leaves_the_key_free() {
    let fixture = Fixture::new().await;
    let node = fixture.node().await;
    let (live, test) = (fixture.live().await, fixture.test().await);
    let rehearsed = submit(&node, &test, picture("a fox"), "k").await.unwrap();
    let done = submit(&node, &live, picture("a fox"), "k").await.unwrap();
    assert_ne!(rehearsed.id, done.id);
    assert_eq!((rehearsed.test, done.test), (true, false));
}

/// Changes rows behind the back of the rules that they are under.
async fn change(fixture: &Fixture, statements: &str) {
    let client = fixture.database.store().client().await.unwrap();
    let whole =
        format!("BEGIN; SET LOCAL session_replication_role = replica; {statements}; COMMIT");
    client.batch_execute(&whole).await.unwrap();
}

/// Where the key of a task is found.
async fn place(fixture: &Fixture, id: Uuid) -> Option<i64> {
    let client = fixture.database.store().client().await.unwrap();
    let row = client
        .query_one("SELECT key_code FROM tasks WHERE id = $1", &[&id])
        .await;
    row.unwrap().get(0)
}

#[tokio::test]
async fn after_a_day_a_key_can_be_used_again() {
    let fixture = Fixture::new().await;
    let (node, other) = (fixture.node().await, fixture.node().await);
    let caller = fixture.live().await;
    let mut uses = Vec::new();
    // The first node remembers the account, the second looks first.
    for node in [&node, &node, &other] {
        let task = submit(node, &caller, picture("a fox"), "k").await.unwrap();
        ended(node, &caller, task.id).await;
        let again = submit(node, &caller, picture("a fox"), "k").await.unwrap();
        assert_eq!(again.id, task.id);
        let id = task.id;
        change(
            &fixture,
            &format!(
                "UPDATE tasks SET created_at = created_at - interval '25 hours' WHERE id = '{id}'"
            ),
        )
        .await;
        uses.push(id);
    }
    let tasks: HashSet<_> = uses.iter().collect();
    assert_eq!(tasks.len(), 3);
    assert_eq!(place(&fixture, uses[0]).await, None);
    assert_eq!(place(&fixture, uses[1]).await, None);
    assert!(place(&fixture, uses[2]).await.is_some());
    assert_eq!(fixture.balance().await.available, CREDITS - 3 * PICTURE);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_key_counts_beyond_the_week_that_it_was_used_in() {
    let fixture = Fixture::new().await;
    let caller = fixture.live().await;
    let settings = Settings {
        key_lifetime: Duration::from_secs(9 * 24 * 60 * 60),
        ..settings()
    };
    let node = fixture.node_with(sandbox(), settings).await;
    let task = submit(&node, &caller, picture("a fox"), "k").await.unwrap();
    let done = ended(&node, &caller, task.id).await;
    let id = task.id;
    change(
        &fixture,
        &format!(
            "UPDATE tasks SET created_at = created_at - interval '7 days', \
                 key_code = key_code - (1::bigint << 47) WHERE id = '{id}'"
        ),
    )
    .await;
    // The node remembers where the account's books end, and takes the key for unused at first.
    run(&node, &caller, picture("a dog")).await;
    let again = submit(&node, &caller, picture("a fox"), "k").await.unwrap();
    assert_eq!(again.id, done.id);
    assert_eq!(fixture.balance().await.available, CREDITS - 2 * PICTURE);
}

/// What an index has of a key is 47 bits of its hash: of two keys that share them, each is one of its own.
#[tokio::test]
async fn a_key_whose_place_is_taken_has_another_and_is_found_there() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let one = submit(&node, &caller, picture("a fox"), "one")
        .await
        .unwrap();
    let lost = submit(&node, &caller, picture("a dog"), "two")
        .await
        .unwrap();
    for task in [&one, &lost] {
        ended(&node, &caller, task.id).await;
    }
    let its = place(&fixture, lost.id).await.unwrap();

    let client = fixture.database.store().client().await.unwrap();
    let steal = format!("UPDATE tasks SET key_code = {its} WHERE id = '{}'", one.id);
    let stolen = client.execute(&steal, &[]).await;
    assert_eq!(
        stolen.unwrap_err().code(),
        Some(&SqlState::CHECK_VIOLATION),
        "what has ended keeps its place"
    );
    let both = format!("SET session_replication_role = replica; {steal}");
    let both = client.batch_execute(&both).await;
    assert_eq!(both.unwrap_err().code(), Some(&SqlState::UNIQUE_VIOLATION));
    // As if the first key had the bits of the second, which was never used.
    change(
        &fixture,
        &format!(
            "UPDATE tasks SET key_code = NULL WHERE id = '{}'; UPDATE tasks SET key_code = {its} WHERE id = '{}'",
            lost.id, one.id
        ),
    )
    .await;
    let two = submit(&node, &caller, picture("a dog"), "two")
        .await
        .unwrap();
    assert_ne!(two.id, lost.id);
    assert_eq!(place(&fixture, one.id).await, Some(its));
    assert_eq!(place(&fixture, two.id).await, Some(its ^ 1));
    ended(&node, &caller, two.id).await;

    let other = fixture.node().await;
    for node in [&node, &other] {
        let again = submit(node, &caller, picture("a dog"), "two").await;
        assert_eq!(again.unwrap().id, two.id);
    }
    // Also when the one before it counts no more.
    let old = "UPDATE tasks SET created_at = created_at - interval '25 hours' WHERE key_code IS NOT NULL AND id =";
    change(&fixture, &format!("{old} '{}'", one.id)).await;
    for node in [&node, &other] {
        let again = submit(node, &caller, picture("a dog"), "two").await;
        assert_eq!(again.unwrap().id, two.id);
    }
    assert_eq!(fixture.balance().await.available, CREDITS - 3 * PICTURE);
    fixture.assert_sound().await;
}
