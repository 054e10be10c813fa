//! Submissions of which nobody knows whether they arrived: what the operator sees of them, and what the
//! operator's word does, on whichever node it is given.

use std::sync::Arc;
use std::time::Duration;

use piooy::gate::Caller;
use piooy::generation::{Generation, LostSubmissions, SettleError, Status, Task, Word};
use piooy::providers::{Connection, FailureReason, Fal, Providers};
use uuid::Uuid;

use super::fixture::{
    self, CREDITS, Fixture, PICTURE, ended, patient, picture, routed, run, settings, until,
};
use crate::fakes::{self, engine::KEY};

use super::upstream::{Reply, Upstream, Verdict, providers};

const WHO: &str = "the operator";

/// A task of which nobody knows, once that is listed.
async fn lost(fixture: &Fixture, node: &Generation, caller: &Caller) -> (Task, LostSubmissions) {
    let task = node.submit(caller, routed("a fox"), None).await.unwrap();
    let desk = LostSubmissions::new(fixture.database.store().clone());
    listed(&desk, task.id, 1).await;
    (task, desk)
}

/// Waits until an attempt is listed.
async fn listed(desk: &LostSubmissions, task: Uuid, attempt: u32) {
    until("it is listed", async || {
        let (listed, _) = desk.list(None, 10).await.unwrap();
        listed
            .iter()
            .any(|lost| (lost.task_id, lost.attempt) == (task, attempt))
    })
    .await;
}

/// Nodes that find nothing out by themselves: what they know they were told.
async fn deaf(fixture: &Fixture, upstreams: Providers) -> Generation {
    fixture.node_with(upstreams, patient()).await
}

#[tokio::test]
async fn what_nobody_knows_is_listed_and_nothing_else() {
    let fixture = Fixture::new().await;
    let upstream =
        Upstream::new("fal").replies(&[Reply::Accept, Reply::Lose, Reply::AcceptAndHang]);
    let upstream = upstream.decides(Verdict::Running);
    let node = deaf(&fixture, providers(&[&upstream])).await;
    let caller = fixture.live().await;
    let known = node.submit(&caller, routed("a dog"), None).await.unwrap();
    until("it is known", async || !upstream.polled().is_empty()).await;
    let (task, desk) = lost(&fixture, &node, &caller).await;
    // This one has not been answered yet, which may still happen.
    node.submit(&caller, routed("a cat"), None).await.unwrap();
    until("it is asked", async || upstream.submissions() == 3).await;

    let (listed, next) = desk.list(None, 10).await.unwrap();
    let [found] = &listed[..] else {
        panic!("{listed:?}, not {} alone", task.id)
    };
    assert_eq!(next, None);
    assert_eq!((found.task_id, found.attempt), (task.id, 1));
    assert_eq!((found.account.as_str(), found.test), ("acme", false));
    assert_eq!((found.model.as_str(), found.held), ("tiny", PICTURE));
    assert_eq!(found.provider, "fal");
    assert_eq!(found.upstream_model.as_deref(), Some("fal/tiny"));
    assert!(task.created_at <= found.since && found.since < found.deadline_at);
    assert_eq!(desk.list(Some(task.id), 10).await.unwrap().0, []);
    let word = Word::NotSubmitted;
    let refused = desk.settle(known.id, 1, &word, WHO).await;
    assert!(
        matches!(refused, Err(SettleError::NotLost { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn pages_follow_each_other() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::Lose; 3]);
    let node = deaf(&fixture, providers(&[&upstream])).await;
    let caller = fixture.live().await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(lost(&fixture, &node, &caller).await.0.id);
    }
    let desk = LostSubmissions::new(fixture.database.store().clone());
    let (first, next) = desk.list(None, 2).await.unwrap();
    let (second, end) = desk.list(next, 2).await.unwrap();
    let seen: Vec<_> = first
        .iter()
        .chain(&second)
        .map(|lost| lost.task_id)
        .collect();
    assert_eq!((seen, next, end), (tasks.clone(), Some(tasks[1]), None));
}

#[tokio::test]
async fn what_never_arrived_goes_on_with_the_next_route() {
    let fixture = Fixture::new().await;
    let first = Upstream::new("fal").replies(&[Reply::Lose]);
    let second = Upstream::new("kie");
    let node = deaf(&fixture, providers(&[&first, &second])).await;
    let caller = fixture.live().await;
    let (task, desk) = lost(&fixture, &node, &caller).await;
    let at = desk
        .settle(task.id, 1, &Word::NotSubmitted, WHO)
        .await
        .unwrap();
    let done = ended(&node, &caller, task.id).await;
    assert_eq!(
        (done.status, done.provider.as_str()),
        (Status::Success, "kie")
    );
    assert_eq!((first.submissions(), second.submissions()), (1, 1));
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "CAPTURE 10"]);

    // Said again it is answered again; anything else is too late.
    let again = desk
        .settle(task.id, 1, &Word::NotSubmitted, WHO)
        .await
        .unwrap();
    assert_eq!(again, at);
    let other = desk.settle(task.id, 1, &Word::GiveUp, WHO).await;
    assert!(
        matches!(other, Err(SettleError::Settled(Word::NotSubmitted))),
        "{other:?}"
    );
    let unheard = desk.settle(task.id, 2, &Word::GiveUp, WHO).await;
    assert!(
        matches!(unheard, Err(SettleError::NotLost { .. })),
        "{unheard:?}"
    );
    fixture.assert_sound().await;
}

#[tokio::test]
async fn what_never_arrived_anywhere_fails_and_costs_nothing() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::Lose; 9]);
    let node = deaf(&fixture, providers(&[&upstream])).await;
    let caller = fixture.live().await;
    let (task, desk) = lost(&fixture, &node, &caller).await;
    desk.settle(task.id, 1, &Word::NotSubmitted, WHO)
        .await
        .unwrap();
    listed(&desk, task.id, 2).await;
    // A repetition is about the first attempt and leaves the second alone.
    desk.settle(task.id, 1, &Word::NotSubmitted, WHO)
        .await
        .unwrap();
    listed(&desk, task.id, 2).await;
    desk.settle(task.id, 2, &Word::NotSubmitted, WHO)
        .await
        .unwrap();
    let done = ended(&node, &caller, task.id).await;
    assert_eq!(done.status, Status::Failed);
    assert_eq!(upstream.submissions(), 2);
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "RELEASE 10"]);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn what_arrived_is_polled_by_the_id_that_the_operator_found() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::AcceptAndLose]);
    let node = deaf(&fixture, providers(&[&upstream])).await;
    let caller = fixture.live().await;
    let (task, desk) = lost(&fixture, &node, &caller).await;
    let word = Word::Arrived("found-in-the-list".to_owned());
    desk.settle(task.id, 1, &word, WHO).await.unwrap();
    assert_eq!(ended(&node, &caller, task.id).await.status, Status::Success);
    assert_eq!(upstream.polled(), ["found-in-the-list"]);
    assert_eq!(upstream.submissions(), 1);
    let other = Word::Arrived("another".to_owned());
    let refused = desk.settle(task.id, 1, &other, WHO).await;
    assert!(
        matches!(refused, Err(SettleError::Settled(_))),
        "{refused:?}"
    );
    desk.settle(task.id, 1, &word, WHO).await.unwrap();
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "CAPTURE 10"]);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn what_is_given_up_has_ended_when_that_is_answered() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::Lose]);
    let node = deaf(&fixture, providers(&[&upstream])).await;
    let caller = fixture.live().await;
    let (task, desk) = lost(&fixture, &node, &caller).await;
    desk.settle(task.id, 1, &Word::GiveUp, WHO).await.unwrap();
    let balance = fixture.balance().await;
    assert_eq!((balance.available, balance.held), (CREDITS, 0));
    let done = ended(&node, &caller, task.id).await;
    assert_eq!(done.status, Status::Failed);
    let failure = done.failure.expect("it says why");
    assert_eq!(failure.reason, FailureReason::ProviderError);
    assert!(
        failure.message.contains("gave it up"),
        "{}",
        failure.message
    );
    desk.settle(task.id, 1, &Word::GiveUp, WHO).await.unwrap();
    assert_eq!(desk.list(None, 10).await.unwrap().0, []);
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "RELEASE 10"]);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_task_that_ended_by_itself_is_not_settled() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::Lose]);
    let node = fixture
        .node_with(providers(&[&upstream]), fixture::short_lived())
        .await;
    let caller = fixture.live().await;
    let (task, desk) = lost(&fixture, &node, &caller).await;
    assert_eq!(ended(&node, &caller, task.id).await.status, Status::Failed);
    assert_eq!(desk.list(None, 10).await.unwrap().0, []);
    for word in [
        Word::NotSubmitted,
        Word::GiveUp,
        Word::Arrived("id".to_owned()),
    ] {
        let refused = desk.settle(task.id, 1, &word, WHO).await;
        assert!(matches!(refused, Err(SettleError::Ended)), "{refused:?}");
    }
    // One that never was in doubt is not known here at all.
    let done = run(&node, &caller, picture("a dog")).await;
    let refused = desk.settle(done.id, 1, &Word::GiveUp, WHO).await;
    assert!(
        matches!(refused, Err(SettleError::NotLost { .. })),
        "{refused:?}"
    );
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "RELEASE 10"]);
    fixture.assert_sound().await;
}

/// The word is given at one node while another runs the task, or while none does.
#[tokio::test]
async fn the_word_reaches_whichever_node_runs_the_task() {
    for word in [
        Word::NotSubmitted,
        Word::Arrived("found".to_owned()),
        Word::GiveUp,
    ] {
        let fixture = Fixture::new().await;
        let upstream = Upstream::new("fal").replies(&[Reply::Lose, Reply::Lose]);
        let node = deaf(&fixture, providers(&[&upstream])).await;
        let other = deaf(&fixture, providers(&[&upstream])).await;
        let caller = fixture.live().await;
        let (told, desk) = lost(&fixture, &node, &caller).await;
        desk.settle(told.id, 1, &word, WHO).await.unwrap();
        let expected = match word {
            Word::GiveUp => Status::Failed,
            Word::NotSubmitted | Word::Arrived(_) => Status::Success,
        };
        if word == Word::NotSubmitted {
            listed(&desk, told.id, 2).await;
            desk.settle(told.id, 2, &Word::GiveUp, WHO).await.unwrap();
            assert_eq!(ended(&other, &caller, told.id).await.status, Status::Failed);
        } else {
            assert_eq!(ended(&other, &caller, told.id).await.status, expected);
        }

        // Nobody runs this one when the word is given.
        let (orphan, desk) = {
            let upstream = Upstream::new("fal").replies(&[Reply::Lose]);
            let dying = fixture.node_with(providers(&[&upstream]), settings()).await;
            lost(&fixture, &dying, &caller).await
        };
        desk.settle(orphan.id, 1, &word, WHO).await.unwrap();
        let heir = fixture.node_with(providers(&[&upstream]), settings()).await;
        assert_eq!(
            ended(&heir, &caller, orphan.id).await.status,
            expected,
            "{word:?}"
        );
        fixture.assert_sound().await;
    }
}

/// Whether the upstream tells or the operator, one of them is first, and the task ends once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_that_contradict_each_other_settle_it_once() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::Lose; 8]);
    let node = deaf(&fixture, providers(&[&upstream])).await;
    let caller = fixture.live().await;
    for _ in 0..8 {
        let (task, desk) = lost(&fixture, &node, &caller).await;
        let (arrived, given_up) = (Word::Arrived("found".to_owned()), Word::GiveUp);
        let (one, two) = tokio::join!(
            desk.settle(task.id, 1, &arrived, WHO),
            desk.settle(task.id, 1, &given_up, WHO),
        );
        assert_ne!(one.is_ok(), two.is_ok(), "{one:?}, {two:?}");
        let status = ended(&node, &caller, task.id).await.status;
        assert_eq!(status == Status::Success, one.is_ok());
    }
    fixture.assert_sound().await;
}

/// A task whose upstream is not set up any more can be settled, too.
#[tokio::test]
async fn a_submission_to_an_upstream_that_is_gone_is_listed() {
    let fixture = Fixture::new().await;
    let caller = fixture.live().await;
    let upstream = Upstream::new("fal").replies(&[Reply::AcceptAndHang]);
    let dying = fixture.node_with(providers(&[&upstream]), settings()).await;
    let task = dying.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it is submitted", async || upstream.submissions() == 1).await;
    drop(dying);
    let _heir = fixture.node_with(providers(&[]), settings()).await;
    let desk = LostSubmissions::new(fixture.database.store().clone());
    listed(&desk, task.id, 1).await;
    let (listed, _) = desk.list(None, 10).await.unwrap();
    assert_eq!(listed[0].upstream_model, None);
    desk.settle(task.id, 1, &Word::GiveUp, WHO).await.unwrap();
    assert_eq!(fixture.balance().await.available, CREDITS);
    fixture.assert_sound().await;
}

/// Over HTTP, with an upstream that takes the job and never answers.
#[tokio::test]
async fn an_upstream_that_hangs_leaves_it_to_the_operator() {
    let fake = fakes::fal::Fal::start().await;
    let url = fake.serving.url().parse().expect("is a URL");
    let connection = Connection::new(url).expect("TLS can be set up");
    let connection = connection.answering_within(Duration::from_millis(300));
    let keys = "http://127.0.0.1:9/keys".parse().expect("is a URL");
    let fal = Fal::new("fal", connection, KEY, keys).expect("is a key");
    let fixture = Fixture::new().await;
    let node = deaf(&fixture, fixture::sandbox().with(Arc::new(fal))).await;
    let caller = fixture.live().await;
    let desk = LostSubmissions::new(fixture.database.store().clone());
    for (number, verdict) in ["ARRIVED", "GIVE_UP", "NOT_SUBMITTED"]
        .into_iter()
        .enumerate()
    {
        let prompt = format!("[fake:submit=hang] picture {number}");
        let task = node.submit(&caller, routed(&prompt), None).await.unwrap();
        listed(&desk, task.id, 1).await;
        let job = fake.engine.job_of(&prompt).expect("it was taken");
        // As fal shows it to people.
        let id = (verdict == "ARRIVED").then_some(job.id);
        let word = Word::parse(verdict, id).expect("is a word");
        desk.settle(task.id, 1, &word, WHO).await.unwrap();
        if verdict == "NOT_SUBMITTED" {
            // It hangs again, for ever.
            listed(&desk, task.id, 2).await;
            desk.settle(task.id, 2, &Word::GiveUp, WHO).await.unwrap();
        }
        let (status, movements) = match verdict {
            "ARRIVED" => (Status::Success, ["HOLD 10", "CAPTURE 10"]),
            _ => (Status::Failed, ["HOLD 10", "RELEASE 10"]),
        };
        assert_eq!(
            ended(&node, &caller, task.id).await.status,
            status,
            "{verdict}"
        );
        assert_eq!(fixture.movements(task.id).await, movements, "{verdict}");
    }
    fixture.assert_sound().await;
}
