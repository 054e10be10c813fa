//! Upstreams are asked how they are: what is found decides where tasks go, and takes nothing from them.

use std::time::Duration;

use piooy::gate::Caller;
use piooy::generation::{Condition, Generation, Reach, Settings, Status, SubmitError};
use piooy::providers::Probe;

use super::fixture::{Fixture, ended, refused, routed, run, settings, until};
use super::upstream::{Upstream, Verdict, providers};

/// Settings under which upstreams are asked all the time.
fn curious() -> Settings {
    Settings {
        sandbox_for_live: false,
        probe_interval: Duration::from_millis(5),
        ..settings()
    }
}

fn down() -> Probe {
    Probe::Down("it is a test".to_owned())
}

/// How an upstream stands for the model `tiny`.
async fn stands(fixture: &Fixture, node: &Generation, caller: &Caller, name: &str) -> Condition {
    let catalog = fixture.catalog.get();
    let model = catalog.get("tiny").unwrap();
    let all = node.upstreams_of(caller).await.unwrap().availability(model);
    let found = all.iter().find(|upstream| upstream.provider == name);
    match found.expect("is a route").reach {
        Reach::SetUp(condition) => condition,
        Reach::NotSetUp(_) => panic!("{name} is set up"),
    }
}

#[tokio::test]
async fn one_lost_answer_says_nothing_and_two_in_a_row_do() {
    let fixture = Fixture::new().await;
    let fal = Upstream::new("fal");
    let node = fixture.node_with(providers(&[&fal]), curious()).await;
    let caller = fixture.live().await;
    for lost in [down(), Probe::KeyRefused, Probe::ModelGone] {
        let before = fal.probed();
        fal.is_once(lost);
        until("it was asked some more", async || {
            assert_eq!(
                stands(&fixture, &node, &caller, "fal").await,
                Condition::Ready
            );
            // Several rounds, each about all models of the catalogue.
            fal.probed() >= before + 300
        })
        .await;
    }
    for (found, condition) in [
        (down(), Condition::Down),
        (Probe::KeyRefused, Condition::Refused),
        (Probe::ModelGone, Condition::ModelGone),
        (Probe::Answers, Condition::Ready),
    ] {
        fal.is(found);
        until("it is found out", async || {
            stands(&fixture, &node, &caller, "fal").await == condition
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_in_trouble_is_passed_over_and_with_nothing_left_the_caller_hears_why() {
    let fixture = Fixture::new().await;
    let (fal, kie) = (Upstream::new("fal"), Upstream::new("kie"));
    let node = fixture.node_with(providers(&[&fal, &kie]), curious()).await;
    let caller = fixture.live().await;
    fal.is(down());
    until("fal is down", async || {
        stands(&fixture, &node, &caller, "fal").await == Condition::Down
    })
    .await;
    let task = run(&node, &caller, routed("a fox")).await;
    assert_eq!(
        (task.status, task.provider.as_str()),
        (Status::Success, "kie")
    );
    assert_eq!(fal.submissions(), 0, "nobody tried");
    kie.is(Probe::KeyRefused);
    until("kie refuses", async || {
        stands(&fixture, &node, &caller, "kie").await == Condition::Refused
    })
    .await;
    let held = fixture.balance().await;
    let refusal = refused(&node, &caller, routed("a fox")).await;
    assert!(
        matches!(&refusal, SubmitError::ModelUnavailable { settings, .. } if settings.is_empty())
    );
    assert_eq!(
        refusal.to_string(),
        "no upstream for this request to the model tiny works at the moment: \
         fal does not answer, kie refuses this server's account"
    );
    assert_eq!(fixture.balance().await, held);
    fixture.assert_sound().await;
}

/// Whoever repeats a call that was accepted gets its task, though nothing new would be accepted now.
#[tokio::test]
async fn what_was_accepted_is_answered_again_when_its_upstream_is_down() {
    let fixture = Fixture::new().await;
    let fal = Upstream::new("fal");
    let node = fixture.node_with(providers(&[&fal]), curious()).await;
    let caller = fixture.live().await;
    let first = node.submit(&caller, routed("a fox"), Some("once")).await;
    let first = ended(&node, &caller, first.unwrap().id).await;
    fal.is(down());
    until("fal is down", async || {
        stands(&fixture, &node, &caller, "fal").await == Condition::Down
    })
    .await;
    let again = node.submit(&caller, routed("a fox"), Some("once")).await;
    assert_eq!(again.unwrap().id, first.id);
    let another = node.submit(&caller, routed("a hare"), Some("once")).await;
    assert!(matches!(another, Err(SubmitError::IdempotencyKeyReused)));
    refused(&node, &caller, routed("a hare")).await;
}

#[tokio::test]
async fn questions_need_no_place_and_make_nothing() {
    let fixture = Fixture::new().await;
    let fal = Upstream::new("fal").decides(Verdict::Running);
    let providers = providers(&[&fal]).limited("fal", 1);
    let node = fixture.node_with(providers, curious()).await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is made", async || fal.submissions() == 1).await;
    let before = fal.probed();
    until("it is asked meanwhile", async || fal.probed() >= before + 8).await;
    assert_eq!(fal.submissions(), 1, "a question is no job");
    fal.decide(Verdict::Deliver(1));
    assert_eq!(ended(&node, &caller, task.id).await.status, Status::Success);
    fixture.assert_sound().await;
}
