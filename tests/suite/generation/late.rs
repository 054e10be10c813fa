//! Files that an upstream delivers after the task has failed.

use piooy::generation::{Filter, Status};
use piooy::providers::FailureReason;

use super::fixture::{CREDITS, Fixture, PICTURE, ended, routed, short_lived, until};
use super::upstream::{Reply, Upstream, Verdict, providers};

/// A task was failed and paid back by its time-out, the upstream delivered (and billed) all the same,
/// and nobody ever saw the picture: elizaOS/eliza#11862.
#[tokio::test]
async fn what_comes_after_the_deadline_is_kept_and_costs_nothing() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running).never_stops();
    let node = fixture
        .node_with(providers(&[&upstream]), short_lived())
        .await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is with the upstream", async || {
        !upstream.polled().is_empty()
    })
    .await;
    assert_eq!(fixture.balance().await.held, PICTURE);
    let failed = ended(&node, &caller, task.id).await;
    assert_eq!(
        failed.failure.as_ref().unwrap().reason,
        FailureReason::DeadlineExceeded
    );
    assert_eq!(failed.late_outputs, []);
    assert_eq!(fixture.balance().await.available, CREDITS);

    upstream.decide(Verdict::Deliver(2));
    let mut late = failed.clone();
    until("the files are there", async || {
        late = node.get(&caller, task.id).await.unwrap();
        !late.late_outputs.is_empty()
    })
    .await;
    assert_eq!(late.late_outputs.len(), 1, "no more than was asked for");
    let file = &late.late_outputs[0];
    let bytes = fixture.assets.read_all(&file.path).await.unwrap();
    assert_eq!(bytes.len() as u64, file.size_bytes);
    let filter = Filter {
        status: Some(Status::Failed),
        ..Filter::default()
    };
    let listed = node.list(&caller, None, &filter, 1).await;
    assert_eq!(listed.unwrap().tasks, [late.clone()]);
    late.late_outputs.clear();
    assert_eq!(late, failed, "nothing else has changed");
    assert_eq!(fixture.balance().await.available, CREDITS);
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "RELEASE 10"]);
    assert_eq!(upstream.canceled().len(), 1, "it was asked to stop once");
    fixture.assert_sound().await;

    // That was the one change a final row may see.
    let client = fixture.database.store().client().await.unwrap();
    for change in [
        "late_outputs = '[]'",
        "late_outputs = NULL",
        "upstream_id = 'another'",
        "progress = 1",
    ] {
        let statement = format!("UPDATE tasks SET {change}");
        assert!(client.execute(&statement, &[]).await.is_err(), "{change}");
    }
}

/// However the end came, and whoever brought it.
#[tokio::test]
async fn what_another_node_swept_is_still_waited_for() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running).never_stops();
    let node = fixture
        .node_with(providers(&[&upstream]), super::fixture::settings())
        .await;
    let _sweeper = fixture.node().await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is with the upstream", async || {
        !upstream.polled().is_empty()
    })
    .await;
    let client = fixture.database.store().client().await.unwrap();
    let overdue = "UPDATE tasks SET deadline_at = now() WHERE id = $1";
    client.execute(overdue, &[&task.id]).await.unwrap();
    assert_eq!(ended(&node, &caller, task.id).await.status, Status::Failed);
    upstream.decide(Verdict::Deliver(1));
    until("the file is there", async || {
        !node
            .get(&caller, task.id)
            .await
            .unwrap()
            .late_outputs
            .is_empty()
    })
    .await;
    fixture.assert_sound().await;
}

#[tokio::test]
async fn an_upstream_that_stops_is_not_asked_again() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running);
    let node = fixture
        .node_with(providers(&[&upstream]), short_lived())
        .await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    ended(&node, &caller, task.id).await;
    let polls = upstream.polled().len();
    // Long enough for another to be polled many times.
    let other = node.submit(&caller, routed("a dog"), None).await.unwrap();
    ended(&node, &caller, other.id).await;
    let mut polled = upstream.polled().split_off(polls);
    polled.dedup();
    assert_eq!(polled.len(), 1, "only the other one was");
}

/// An upstream may answer a submission just when another node ends the task. The id is all that leads to the job.
#[tokio::test]
async fn the_id_of_a_job_is_kept_that_is_answered_after_the_end() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::AcceptAndHang]);
    let node = fixture
        .node_with(providers(&[&upstream]), short_lived())
        .await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    let failed = ended(&node, &caller, task.id).await;
    let client = fixture.database.store().client().await.unwrap();
    let account = fixture.account.id;
    let arrive =
        "SELECT tasks_arrive(ARRAY[$1::uuid], ARRAY[$2::uuid], ARRAY[$3::int4], ARRAY[$4::text])";
    let kept = "SELECT upstream_id FROM tasks";
    for (attempt, id, expected) in [(2, "6", None), (1, "7", Some("7")), (1, "8", Some("7"))] {
        client
            .execute(arrive, &[&account, &task.id, &attempt, &id])
            .await
            .unwrap();
        let row = client.query_one(kept, &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<&str>>(0), expected, "{attempt} {id}");
    }
    assert_eq!(node.get(&caller, task.id).await.unwrap(), failed);
    fixture.assert_sound().await;
}
