//! How tasks end, and that each end moves exactly the right credits.

use std::time::Duration;

use futures_util::stream;
use piooy::generation::{Credits, Picture, Request, Settings, Status, Task};
use piooy::providers::FailureReason;

use super::fixture::{
    self, CREDITS, Fixture, PICTURE, ended, picture, routed, run, running, short_lived, until,
};
use super::upstream::{Reply, Upstream, Verdict, providers};

/// The failure of a task that gave everything back.
async fn failure_of(fixture: &Fixture, task: &Task) -> FailureReason {
    assert_eq!(task.status, Status::Failed);
    assert_eq!(task.outputs, []);
    assert_eq!(
        task.credits,
        Credits {
            quoted: PICTURE,
            held: 0,
            charged: 0
        }
    );
    assert_eq!(
        fixture.movements(task.id).await,
        [format!("HOLD {PICTURE}"), format!("RELEASE {PICTURE}")]
    );
    task.failure
        .as_ref()
        .expect("a failed task says why")
        .reason
}

#[tokio::test]
async fn pictures_are_delivered_and_paid() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let asked = Request {
        count: Some(2),
        seed: Some(7),
        ..picture("two foxes")
    };
    let accepted = node.submit(&caller, asked.clone(), None).await.unwrap();
    assert_eq!(accepted.status, Status::Pending);
    assert_eq!(
        accepted.credits,
        Credits {
            quoted: 20,
            held: 20,
            charged: 0
        }
    );

    let task = ended(&node, &caller, accepted.id).await;
    assert_eq!(
        (task.status, task.progress, task.outputs.len()),
        (Status::Success, 100, 2)
    );
    assert_eq!(
        task.credits,
        Credits {
            quoted: 20,
            held: 0,
            charged: 20
        }
    );
    assert_eq!(task.provider, "sandbox");
    assert!(task.created_at <= task.started_at.unwrap() && task.started_at <= task.finished_at);
    for output in &task.outputs {
        assert_eq!(
            (output.mime_type.as_str(), output.width, output.height),
            ("image/png", 96, 96)
        );
        assert_eq!(
            fixture.assets.read_all(&output.path).await.unwrap().len() as u64,
            output.size_bytes
        );
        let links = output.links(&fixture.assets, task.created_at);
        assert!(
            links.url.starts_with("https://piooy.test/files/")
                && links.expires_at > task.created_at
        );
    }
    // Another node, which has nothing of it in memory, tells the same.
    assert_eq!(
        fixture.node().await.get(&caller, task.id).await.unwrap(),
        task
    );
    assert_eq!(fixture.movements(task.id).await, ["HOLD 20", "CAPTURE 20"]);
    assert_eq!(
        (
            fixture.balance().await.available,
            fixture.balance().await.held
        ),
        (CREDITS - 20, 0)
    );
    fixture.assert_sound().await;

    let again = run(&node, &caller, asked).await;
    for (first, second) in task.outputs.iter().zip(&again.outputs) {
        let read = async |path| fixture.assets.read_all(path).await.unwrap();
        assert_eq!(
            read(&first.path).await,
            read(&second.path).await,
            "the same request paints the same"
        );
    }
}

#[tokio::test]
async fn a_clip_is_delivered_and_paid() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let request = Request {
        model: "tiny-clip".to_owned(),
        duration: Some("1s".to_owned()),
        ..picture("a wave")
    };
    let task = run(&node, &caller, request).await;
    assert_eq!(task.status, Status::Success);
    let [output] = task.outputs.as_slice() else {
        panic!("one clip")
    };
    assert_eq!(
        (output.mime_type.as_str(), output.width, output.height),
        ("video/mp4", 96, 96)
    );
    assert_eq!(output.duration_seconds, Some(1.0));
    assert!(output.thumbnail_path.is_some());
    assert_eq!(task.credits.charged, 20);

    // Clips that come without a poster, as most upstreams' do, are shown all the same.
    let clip = fixture.assets.read_all(&output.path).await.unwrap();
    let clip = stream::iter([Ok(clip)]);
    let bare = fixture
        .assets
        .put_output(fixture.account.id, task.id, 7, clip, None)
        .await
        .unwrap();
    assert!(bare.thumbnail_path.is_some());
}

#[tokio::test]
async fn reference_images_reach_the_picture() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    // Large enough that the references are shown.
    let large = || Request {
        resolution: Some("0.5K".to_owned()),
        ..picture("a fox")
    };
    let plain = run(&node, &caller, large()).await;
    let bytes = fixture
        .assets
        .read_all(&plain.outputs[0].path)
        .await
        .unwrap();
    let task = run(
        &node,
        &caller,
        Request {
            reference_images: vec![Picture::Inline(bytes.clone())],
            ..large()
        },
    )
    .await;
    assert_eq!(task.status, Status::Success);
    assert!(
        fixture
            .assets
            .read_all(&task.outputs[0].path)
            .await
            .unwrap()
            != bytes
    );
}

/// A failed video task that was charged all the same: QuantumNous/new-api#2050.
#[tokio::test]
async fn every_failure_gives_everything_back() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let table = [
        ("fail=content_policy", FailureReason::ContentPolicy, false),
        ("fail=invalid_input", FailureReason::InvalidInput, false),
        ("fail=provider_error", FailureReason::ProviderError, true),
        (
            "fail=rate_limited",
            FailureReason::ProviderRateLimited,
            true,
        ),
        ("fail=timeout", FailureReason::DeadlineExceeded, true),
        ("crash", FailureReason::Internal, true),
    ];
    for (directive, reason, retryable) in table {
        let task = run(
            &node,
            &caller,
            picture(&format!("[sandbox:{directive}] a fox")),
        )
        .await;
        assert_eq!(failure_of(&fixture, &task).await, reason, "{directive}");
        assert_eq!(reason.is_retryable(), retryable, "{directive}");
    }
    assert_eq!(fixture.balance().await.available, CREDITS);
    fixture.assert_sound().await;
}

/// A failing video task was paid back again on each poll: QuantumNous/new-api#2025.
#[tokio::test]
async fn a_failure_that_an_upstream_reports_is_paid_back_once() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Fail(FailureReason::ContentPolicy));
    let node = fixture
        .node_with(providers(&[&upstream]), fixture::settings())
        .await;
    let caller = fixture.live().await;
    let task = run(&node, &caller, routed("a fox")).await;
    assert_eq!(
        failure_of(&fixture, &task).await,
        FailureReason::ContentPolicy
    );
    assert_eq!(upstream.polled().len(), 1, "a verdict is final");
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_partial_delivery_is_charged_its_share() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let request = Request {
        count: Some(4),
        ..picture("[sandbox:partial=3] foxes")
    };
    let task = run(&node, &caller, request).await;
    assert_eq!((task.status, task.outputs.len()), (Status::Success, 3));
    assert_eq!(
        task.credits,
        Credits {
            quoted: 40,
            held: 0,
            charged: 30
        }
    );
    assert_eq!(
        fixture.movements(task.id).await,
        ["HOLD 40", "CAPTURE 30", "RELEASE 10"]
    );
    fixture.assert_sound().await;
}

/// An upstream that delivers more than was asked for, nothing, or an error page.
#[tokio::test]
async fn only_usable_results_that_were_asked_for_count() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Deliver(3));
    let node = fixture
        .node_with(providers(&[&upstream]), fixture::settings())
        .await;
    let caller = fixture.live().await;
    let task = run(&node, &caller, routed("a fox")).await;
    assert_eq!((task.outputs.len(), task.credits.charged), (1, PICTURE));
    for useless in [Verdict::Deliver(0), Verdict::DeliverNoise] {
        upstream.decide(useless);
        let task = run(&node, &caller, routed("a fox")).await;
        assert_eq!(
            failure_of(&fixture, &task).await,
            FailureReason::ProviderError,
            "{useless:?}"
        );
    }
    fixture.assert_sound().await;
}

/// A task shown as running for ever after it was charged: QuantumNous/new-api#4930.
#[tokio::test]
async fn at_the_deadline_a_task_fails_and_its_upstream_is_stopped() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running);
    let node = fixture
        .node_with(providers(&[&upstream]), short_lived())
        .await;
    let caller = fixture.live().await;
    for request in [picture("[sandbox:hang] a fox"), routed("a fox")] {
        let task = run(&node, &caller, request).await;
        assert_eq!(
            failure_of(&fixture, &task).await,
            FailureReason::DeadlineExceeded
        );
    }
    until("the upstream is told", async || {
        upstream.canceled().len() == 1
    })
    .await;
    fixture.assert_sound().await;
}

#[tokio::test]
async fn an_upstream_out_of_reach_is_asked_again() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Unreachable);
    let node = fixture
        .node_with(providers(&[&upstream]), fixture::settings())
        .await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is polled again and again", async || {
        upstream.polled().len() > 3
    })
    .await;
    upstream.decide(Verdict::Deliver(1));
    assert_eq!(ended(&node, &caller, task.id).await.status, Status::Success);
    assert_eq!(upstream.submissions(), 1);
}

#[tokio::test]
async fn a_definite_refusal_goes_to_the_next_route() {
    let fixture = Fixture::new().await;
    let first = Upstream::new("fal").replies(&[Reply::Refuse(FailureReason::ProviderRateLimited)]);
    let second = Upstream::new("kie");
    let node = fixture
        .node_with(providers(&[&first, &second]), fixture::settings())
        .await;
    let caller = fixture.live().await;
    let task = run(&node, &caller, routed("a fox")).await;
    assert_eq!(
        (task.status, task.provider.as_str()),
        (Status::Success, "kie")
    );
    assert_eq!((first.submissions(), second.submissions()), (1, 1));
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "CAPTURE 10"]);
}

#[tokio::test]
async fn a_refusal_of_the_content_is_final() {
    let fixture = Fixture::new().await;
    let first = Upstream::new("fal").replies(&[Reply::Refuse(FailureReason::ContentPolicy)]);
    let second = Upstream::new("kie");
    let node = fixture
        .node_with(providers(&[&first, &second]), fixture::settings())
        .await;
    let task = run(&node, &fixture.live().await, routed("a fox")).await;
    assert_eq!(
        failure_of(&fixture, &task).await,
        FailureReason::ContentPolicy
    );
    assert_eq!(second.submissions(), 0);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let fixture = Fixture::new().await;
    let refusals = [Reply::Refuse(FailureReason::ProviderError); 10];
    let (first, second) = (
        Upstream::new("fal").replies(&refusals),
        Upstream::new("kie").replies(&refusals),
    );
    let node = fixture
        .node_with(providers(&[&first, &second]), fixture::settings())
        .await;
    let task = run(&node, &fixture.live().await, routed("a fox")).await;
    assert_eq!(
        failure_of(&fixture, &task).await,
        FailureReason::ProviderError
    );
    assert_eq!((first.submissions(), second.submissions()), (2, 2));
}

#[tokio::test]
async fn what_waits_its_turn_is_canceled_at_once() {
    let fixture = Fixture::new().await;
    let node = fixture
        .node_with(
            fixture::sandbox(),
            Settings {
                running_tasks_max: 1,
                ..fixture::settings()
            },
        )
        .await;
    let caller = fixture.live().await;
    let first = node
        .submit(&caller, picture("[sandbox:hang]"), None)
        .await
        .unwrap();
    until("the first runs", async || {
        node.get(&caller, first.id).await.unwrap().status == Status::Processing
    })
    .await;
    let second = node.submit(&caller, picture("a fox"), None).await.unwrap();

    let canceled = node.cancel(&caller, second.id).await.unwrap();
    assert_eq!(canceled.status, Status::Canceled);
    assert_eq!(
        (canceled.started_at, canceled.failure.clone()),
        (None, None)
    );
    assert_eq!(
        fixture.movements(second.id).await,
        ["HOLD 10", "RELEASE 10"]
    );
    assert_eq!(
        node.cancel(&caller, second.id).await.unwrap(),
        canceled,
        "what has ended stays as it is"
    );

    node.cancel(&caller, first.id).await.unwrap();
    let first = ended(&node, &caller, first.id).await;
    assert_eq!((first.status, first.credits.charged), (Status::Canceled, 0));
    assert_eq!(fixture.balance().await.available, CREDITS);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn the_upstream_has_the_last_word_on_canceling() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Running).never_stops();
    let node = fixture
        .node_with(providers(&[&upstream]), fixture::settings())
        .await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it runs", async || !upstream.polled().is_empty()).await;
    assert_eq!(
        node.cancel(&caller, task.id).await.unwrap().status,
        Status::Processing
    );
    until("the upstream is asked", async || {
        !upstream.canceled().is_empty()
    })
    .await;
    upstream.decide(Verdict::Deliver(1));
    let task = ended(&node, &caller, task.id).await;
    assert_eq!(
        (task.status, task.credits.charged),
        (Status::Success, PICTURE)
    );
    assert_eq!(upstream.canceled().len(), 1, "asked once, and answered");
    assert_eq!(node.cancel(&caller, task.id).await.unwrap(), task);
}

#[tokio::test]
async fn a_render_that_is_canceled_stops() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let task = running(&node, &caller).await;
    node.cancel(&caller, task.id).await.unwrap();
    assert_eq!(
        ended(&node, &caller, task.id).await.status,
        Status::Canceled
    );
    tokio::time::timeout(Duration::from_secs(60), node.stop())
        .await
        .expect("nothing is left to wait for");
}
