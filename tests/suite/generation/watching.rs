//! Reading and following tasks.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use piooy::generation::{Filter, Settings, Status};
use piooy::store::{Client, Heard};
use tokio::time::timeout;

use super::fixture::{
    self, Fixture, end_silently, ended, patient, picture, routed, run, sandbox, until,
};
use super::upstream::{Upstream, Verdict, providers};

#[tokio::test]
async fn a_watch_tells_the_state_now_then_every_change_and_ends() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running);
    let node = fixture.node_with(providers(&[&upstream]), patient()).await;
    let other = fixture.node_with(providers(&[&upstream]), patient()).await;
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
    let stopping = fixture.node_with(providers(&[&upstream]), patient()).await;
    let caller = fixture.live().await;
    let task = stopping
        .submit(&caller, routed("a fox"), None)
        .await
        .unwrap();
    until("it runs", async || !upstream.polled().is_empty()).await;
    let watch = stopping.watch(&caller, task.id).await.unwrap();
    stopping.stop().await;
    upstream.decide(Verdict::Deliver(1));
    let _next = fixture.node_with(providers(&[&upstream]), patient()).await;
    let last = tokio::time::timeout(
        fixture::PATIENCE,
        watch.fold(None, |_, task| async { Some(task.unwrap()) }),
    )
    .await
    .unwrap();
    assert_eq!(last.unwrap().status, Status::Success);
}

/// Ten thousand wait at one node, half of them for tasks of another. As long as nothing happens, the
/// database hears nothing of them.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_costs_the_database_nothing() {
    const TASKS: usize = 400;
    const WATCHERS: usize = 10_000;
    let fixture = Fixture::new().await;
    fixture
        .ledger
        .grant(fixture.account.id, 100_000, "", None)
        .await
        .unwrap();
    let calm = || Settings {
        poll_wait_max: Duration::from_secs(1),
        ..patient()
    };
    let upstream = Upstream::new("fal").decides(Verdict::Running);
    let asked = fixture.node_with(providers(&[&upstream]), calm()).await;
    let other = fixture.node_with(providers(&[&upstream]), calm()).await;
    let caller = fixture.live().await;
    let client = fixture.database.store().client().await.unwrap();
    let mut tasks = Vec::new();
    for node in [&asked, &other].into_iter().cycle().take(TASKS) {
        let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
        tasks.push(task.id);
    }
    until("everything is halfway and written down", async || {
        let halfway = "SELECT count(*) FROM tasks WHERE progress = 50";
        client
            .query_one(halfway, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == TASKS as i64
    })
    .await;

    let watches: Vec<_> = stream::iter(tasks.iter().copied().cycle().take(WATCHERS))
        .map(async |id| asked.watch(&caller, id).await.unwrap())
        .buffer_unordered(16)
        .collect()
        .await;
    let size = size_of_val(&watches[0]);
    assert!(size < 2_048, "{size} bytes for a watch");
    let waiting: Vec<_> = watches
        .into_iter()
        .map(|watch| tokio::spawn(watch.fold(None, async |_, task| Some(task.unwrap()))))
        .collect();
    // Nothing has been heard for a while, then for a while more.
    until("what the news set off has been done", async || {
        let before = last_statement(&client).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        last_statement(&client).await == before
    })
    .await;
    assert!(waiting.iter().all(|wait| !wait.is_finished()));

    upstream.decide(Verdict::Deliver(1));
    let all = timeout(fixture::PATIENCE, join_all(waiting)).await.unwrap();
    for last in all {
        assert_eq!(last.unwrap().unwrap().status, Status::Success);
    }
    drop(other);
}

/// When another connection than this one was last asked anything.
async fn last_statement(client: &Client) -> Option<SystemTime> {
    let statement = "SELECT max(state_change) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    client.query_one(statement, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn news_is_for_others_and_costs_a_lone_node_nothing() {
    let fixture = Fixture::new().await;
    let store = fixture.database.store();
    let mut listener = store.listen("piooy_tasks");
    assert_eq!(listener.next().await, Some(Heard::Connected));
    let client = store.client().await.unwrap();
    let caller = fixture.test().await;
    let mut said = async || {
        client
            .execute("NOTIFY piooy_tasks, 'so far'", &[])
            .await
            .unwrap();
        let so_far = Heard::Notification("so far".to_owned());
        let mut said = 0;
        while listener.next().await.unwrap() != so_far {
            said += 1;
        }
        said
    };
    let lone = fixture.node_with(sandbox(), patient()).await;
    assert_eq!(said().await, 1, "it is there");
    run(&lone, &caller, picture("a fox")).await;
    assert_eq!(said().await, 0);
    let other = fixture.node_with(sandbox(), patient()).await;
    assert_eq!(said().await, 1, "so is the other");
    run(&other, &caller, picture("a fox")).await;
    assert!(said().await > 0);
    other.stop().await;
    assert_eq!(said().await, 1, "it goes");
}

#[tokio::test]
async fn a_watch_ends_even_when_the_news_gets_lost() {
    let fixture = Fixture::new().await;
    let busy = || Settings {
        running_tasks_max: 0,
        look_interval: Duration::from_millis(50),
        ..patient()
    };
    let (working, asked, caller) = (
        fixture.node_with(sandbox(), busy()).await,
        fixture.node_with(sandbox(), busy()).await,
        fixture.test().await,
    );
    let task = working
        .submit(&caller, picture("a fox"), None)
        .await
        .unwrap();
    let mut watch = Box::pin(asked.watch(&caller, task.id).await.unwrap());
    assert_eq!(watch.next().await.unwrap().unwrap().status, Status::Pending);
    end_silently(&fixture, task.id).await;
    let last = timeout(fixture::PATIENCE, watch.next()).await.unwrap();
    assert_eq!(last.unwrap().unwrap().status, Status::Canceled);
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
        let page = node
            .list(&caller, before, &Filter::default(), 2)
            .await
            .unwrap();
        found.extend(page.tasks);
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!((pages, found), (3, all.clone()));
    let filter = Filter {
        status: Some(Status::Failed),
        ..Filter::default()
    };
    let failed = node.list(&caller, None, &filter, 2).await.unwrap();
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
