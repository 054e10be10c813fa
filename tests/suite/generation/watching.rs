//! Reading and following tasks.

use std::time::Duration;

use futures_util::StreamExt;
use piooy::generation::Status;

use super::fixture::{self, Fixture, ended, picture, routed, run, settings, until};
use super::upstream::{Upstream, Verdict, providers};

#[tokio::test]
async fn a_watch_tells_the_state_now_then_every_change_and_ends() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running);
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let other = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    // Of another node, it is read from the row; progress is written there now and then.
    for watcher in [&node, &other] {
        let mut watch = Box::pin(watcher.watch(&caller, task.id).await.unwrap());
        let halfway = async { while watch.next().await.unwrap().unwrap().progress != 50 {} };
        tokio::time::timeout(fixture::PATIENCE, halfway)
            .await
            .expect("progress is told");
    }
    let (mut here, mut there) = (
        Box::pin(node.watch(&caller, task.id).await.unwrap()),
        Box::pin(other.watch(&caller, task.id).await.unwrap()),
    );
    let first = here.next().await.unwrap().unwrap();
    assert_eq!((first.status, first.progress), (Status::Processing, 50));
    assert_eq!(there.next().await.unwrap().unwrap(), first);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), here.next())
            .await
            .is_err(),
        "nothing changes, nothing is told"
    );
    upstream.decide(Verdict::Deliver(1));
    for watch in [&mut here, &mut there] {
        let last = tokio::time::timeout(fixture::PATIENCE, watch.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!((last.status, last.progress), (Status::Success, 100));
        assert!(watch.next().await.is_none(), "it ends with the task");
    }
    let mut after = Box::pin(other.watch(&caller, task.id).await.unwrap());
    assert_eq!(after.next().await.unwrap().unwrap().status, Status::Success);
    assert!(after.next().await.is_none());
}

#[tokio::test]
async fn a_watch_goes_on_when_another_node_takes_over() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running);
    let stopping = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let task = stopping
        .submit(&caller, routed("a fox"), None)
        .await
        .unwrap();
    until("it runs", async || !upstream.polled().is_empty()).await;
    let watch = stopping.watch(&caller, task.id).await.unwrap();
    stopping.stop().await;
    upstream.decide(Verdict::Deliver(1));
    let _next = fixture.node_with(providers(&[&upstream]), settings()).await;
    let last = tokio::time::timeout(
        fixture::PATIENCE,
        watch.fold(None, |_, task| async { Some(task.unwrap()) }),
    )
    .await
    .unwrap();
    assert_eq!(last.unwrap().status, Status::Success);
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_filtered() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let mut all = Vec::new();
    for number in 0..5 {
        let directive = if number % 2 == 0 {
            ""
        } else {
            "[sandbox:fail=provider_error]"
        };
        all.push(
            run(
                &node,
                &caller,
                picture(&format!("{directive} fox {number}")),
            )
            .await,
        );
    }
    all.reverse();
    let mut found = Vec::new();
    let mut before = None;
    let mut pages = 0;
    loop {
        let page = node.list(&caller, before, None, 2).await.unwrap();
        found.extend(page.tasks);
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((pages, found), (3, all.clone()));
    let failed = node
        .list(&caller, None, Some(Status::Failed), 2)
        .await
        .unwrap();
    all.retain(|task| task.status == Status::Failed);
    assert_eq!((failed.tasks, failed.next), (all, None));
}

#[tokio::test]
async fn what_has_ended_leaves_nothing_in_memory() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let task = node.submit(&caller, picture("a fox"), None).await.unwrap();
    let seen = ended(&node, &caller, task.id).await;
    let client = fixture.database.store().client().await.unwrap();
    // With the row gone, only memory could tell.
    client
        .execute("DELETE FROM tasks WHERE id = $1", &[&task.id])
        .await
        .unwrap();
    until("it is forgotten", async || {
        node.get(&caller, seen.id).await.is_err()
    })
    .await;
}
