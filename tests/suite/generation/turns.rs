//! Waiting by plan: more tasks are taken than run at once, over all nodes.

use std::time::Duration;

use futures_util::future::join_all;
use piooy::generation::{Filter, Settings, Status, SubmitError};

use super::fixture::{Fixture, ended, picture, sandbox, settings, until};

#[tokio::test(flavor = "multi_thread")]
async fn tasks_wait_for_their_turn_over_all_nodes() {
    const TURNS: usize = 3;
    const WAITING: usize = 9;
    let fixture = Fixture::with_plan(3, false).await;
    let client = fixture.database.store().client().await.unwrap();
    let queue = "UPDATE plans SET queued_tasks = 9 WHERE name = 'mine'";
    client.execute(queue, &[]).await.unwrap();
    let caller = fixture.live().await;
    let quick = || Settings {
        progress_interval: Duration::from_millis(50),
        ..settings()
    };
    let nodes = [
        fixture.node_with(sandbox(), quick()).await,
        fixture.node_with(sandbox(), quick()).await,
    ];
    let submit = |index: usize| {
        let request = picture("[sandbox:delay=10m] a fox");
        nodes[index % 2].submit(&caller, request, None)
    };
    let answers = join_all((0..TURNS + WAITING + 5).map(submit)).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((accepted.len(), refused.len()), (TURNS + WAITING, 5));
    assert!(matches!(
        refused[0],
        Err(SubmitError::TooManyTasks {
            limit: 3,
            queued: 9
        })
    ));
    let running = async || {
        let filter = Filter {
            status: Some(Status::Processing),
            ..Filter::default()
        };
        let page = nodes[0].list(&caller, None, &filter, 100);
        page.await.unwrap().tasks
    };
    // Each that is stopped makes way for one that waits, and never are there more.
    for left in (0..accepted.len()).rev() {
        let expected = TURNS.min(left + 1);
        until("every turn is taken", async || {
            running().await.len() == expected
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let tasks = running().await;
        assert_eq!(tasks.len(), expected);
        nodes[left % 2].cancel(&caller, tasks[0].id).await.unwrap();
        ended(&nodes[0], &caller, tasks[0].id).await;
    }
    fixture.assert_sound().await;
}
