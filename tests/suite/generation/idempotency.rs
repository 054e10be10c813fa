//! One key, one task; and a key that got no task is as good as new.

use std::collections::HashSet;

use futures_util::future::join_all;
use piooy::gate::Caller;
use piooy::generation::{Generation, Request, Status, SubmitError, Task};
use uuid::Uuid;

use super::fixture::{CREDITS, Fixture, PICTURE, ended, picture};

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
