//! What goes wrong with money and media where others resell generations, each as a promise that it
//! cannot go wrong here.
//!
//! A promise that is proven elsewhere is not proven twice: [`PROVEN_ELSEWHERE`] says where, and a test
//! sees to it that those tests exist. The others are below.

use std::fs;
use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::join_all;
use piooy::accounts::SpendingCaps;
use piooy::catalog::{Catalog, Current};
use piooy::generation::{Filter, Generation, Parts, Request, Status, SubmitError};
use piooy::ledger::{EntryFilter, Kind, Ledger};

use crate::generation::fixture::{
    CREDITS, Fixture, MODELS, PICTURE, QUOTE_SECRET, ended, picture, refused, routed, run, sandbox,
    settings, until,
};
use crate::generation::upstream::{Upstream, Verdict, providers};

/// Promise, file below `tests/suite`, test.
#[rustfmt::skip]
const PROVEN_ELSEWHERE: &[(&str, &str, &str)] = &[
    // Charged once, given back once.
    ("a job that is polled again is settled once", "generation/money.rs", "of_many_that_end_a_task_one_does"),
    ("a failure that is seen again is given back once", "generation/endings.rs", "a_failure_that_an_upstream_reports_is_paid_back_once"),
    ("polls, sweeps and instances that overlap give back once", "generation/money.rs", "of_many_that_end_a_task_one_does"),
    ("what failed is not paid for", "generation/endings.rs", "every_failure_gives_everything_back"),
    ("all totals come from one journal that balances", "ledger.rs", "every_entry_debits_one_account_and_credits_another"),
    ("a time-out before a verdict keeps the hold", "generation/nodes.rs", "without_a_verdict_the_hold_stays_until_the_deadline_and_nothing_is_submitted_again"),
    ("a file that came after all is not charged once everything was given back", "generation/late.rs", "what_comes_after_the_deadline_is_kept_and_costs_nothing"),
    ("a call sent again after its quote is over is one picture and one charge", "generation/quotes.rs", "a_call_repeated_after_its_quote_expired_is_the_task_it_was"),
    ("a request that is sent again is one picture and one charge", "generation/idempotency.rs", "the_same_request_again_is_the_same_task"),
    // Overspending.
    ("callers at once cannot overdraw", "generation/money.rs", "of_two_hundred_at_once_exactly_those_are_accepted_that_can_pay"),
    ("callers at once cannot overdraw, whichever replica they ask", "replicas.rs", "through_three_replicas_an_account_is_spent_to_zero_and_no_further"),
    ("the last credit can be spent, and no warning comes before", "replicas.rs", "an_account_is_spent_to_zero_and_no_further"),
    ("having something is not having enough", "generation/money.rs", "of_two_hundred_at_once_exactly_those_are_accepted_that_can_pay"),
    ("callers at once cannot spend more than their key may", "generation/caps.rs", "a_key_spends_no_more_than_its_cap_whatever_comes_at_once"),
    ("a key may spend its cap, and what is given back again", "generation/caps.rs", "what_a_task_gives_back_may_be_spent_again"),
    ("no face is a way around what a key may spend", "faces/keys.rs", "one_cap_is_spent_over_all_faces"),
    ("an upstream that does more than was asked is not paid more", "generation/endings.rs", "only_usable_results_that_were_asked_for_count"),
    ("a first request has no credit to draw on", "generation/idempotency.rs", "a_refused_submission_does_not_use_up_its_key"),
    ("no face is a way around the limits", "faces/rate.rs", "one_budget_is_spent_over_all_faces"),
    // Losing records.
    ("a process that dies loses no record", "generation/nodes.rs", "what_a_dead_node_left_is_taken_over_and_ends_once"),
    ("a process that stops loses no record", "generation/nodes.rs", "a_node_that_stops_hands_its_tasks_on_at_once"),
    ("what the database refuses is not answered as done, and takes nothing else with it", "generation/money.rs", "one_poisoned_submission_fails_alone"),
    ("after a write whose answer was lost, repeating it is safe", "model.rs", "every_history_with_crashes_ends_as_predicted"),
    // Limits.
    ("a limit on calls is that of the account, whatever the key", "gate.rs", "one_account_has_one_budget_whatever_the_key"),
    // Media.
    ("a task is asked about where it runs", "generation/nodes.rs", "a_task_is_polled_where_it_was_submitted"),
    ("no task runs for ever", "generation/endings.rs", "at_the_deadline_a_task_fails_and_its_upstream_is_stopped"),
    ("a task without an owner ends as well", "generation/nodes.rs", "a_task_that_nobody_owns_is_swept_at_its_deadline"),
    ("an upstream's answer that makes no sense is no verdict", "generation/endings.rs", "an_upstream_out_of_reach_is_asked_again"),
];

#[test]
fn the_tests_that_prove_promises_exist() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    for (promise, file, test) in PROVEN_ELSEWHERE {
        let source = fs::read_to_string(suite.join(file)).unwrap();
        let (before, _) = source
            .split_once(&format!("fn {test}("))
            .unwrap_or_else(|| panic!("{promise}: no {test} in {file}"));
        let attribute = before.rsplit("#[").next().unwrap();
        let is_test = attribute.starts_with("test") || attribute.starts_with("tokio::test");
        assert!(is_test, "{promise}: {test} in {file} is not a test");
    }
}

/// A stored answer was billed in full again, each time somebody fetched it.
#[tokio::test]
async fn reading_a_finished_task_never_charges_again() {
    let fixture = Fixture::new().await;
    let (node, other, caller) = (
        fixture.node().await,
        fixture.node().await,
        fixture.live().await,
    );
    let task = run(&node, &caller, picture("a fox")).await;
    let before = fixture
        .ledger
        .entries(fixture.account.id, &EntryFilter::default(), None, 10)
        .await
        .unwrap();
    for reader in [&node, &other] {
        for _ in 0..10 {
            assert_eq!(reader.get(&caller, task.id).await.unwrap(), task);
            assert_eq!(ended(reader, &caller, task.id).await, task);
            reader
                .list(&caller, None, &Filter::default(), 10)
                .await
                .unwrap();
        }
    }
    let after = fixture
        .ledger
        .entries(fixture.account.id, &EntryFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(after, before);
}

/// A poll that failed was taken for a failed job: paid back, and then delivered after all.
#[tokio::test]
async fn a_success_that_comes_late_is_delivered_and_charged() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").decides(Verdict::Unreachable);
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    until("it was asked in vain", async || upstream.polled().len() > 5).await;
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10"]);
    assert_eq!(fixture.balance().await.held, PICTURE);
    upstream.decide(Verdict::Deliver(1));
    let task = ended(&node, &caller, task.id).await;
    assert_eq!((task.status, task.outputs.len()), (Status::Success, 1));
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "CAPTURE 10"]);
}

/// A client gave up after half a minute: the credits were gone, and so was the result.
#[tokio::test]
async fn a_task_outlives_the_caller_that_went_away() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    {
        let mut call = pin!(node.submit(&caller, picture("a fox"), Some("k")));
        // Asked once and dropped, before any answer.
        assert!(futures_util::poll!(&mut call).is_pending());
    }
    let task = node
        .submit(&caller, picture("a fox"), Some("k"))
        .await
        .unwrap();
    let task = ended(&node, &caller, task.id).await;
    assert_eq!(task.status, Status::Success);
    let page = node
        .list(&caller, None, &Filter::default(), 10)
        .await
        .unwrap();
    assert_eq!(page.tasks, [task]);
    assert_eq!(fixture.balance().await.available, CREDITS - PICTURE);
}

/// A tool's description asked for a key that is unique for every request, so an agent made a new one
/// for each retry and paid twice.
#[test]
fn callers_are_told_to_keep_a_key_when_they_repeat_a_call() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("openapi/openapi.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let mut told = 0;
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(text) = value.pointer("/properties/idempotency_key/description") {
            let text = text.as_str().unwrap();
            assert!(
                text.contains("One key for each thing the person asked for"),
                "{text}"
            );
            assert!(text.contains("same key"), "{text}");
            told += 1;
        }
        match value {
            serde_json::Value::Object(fields) => open.extend(fields.values()),
            serde_json::Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(
        told >= 3,
        "each of the three calls that make something takes a key, found {told}"
    );
}

/// Who had a hundred times the price was trusted, nothing was set aside, and many calls at once spent
/// more than there was.
#[tokio::test]
async fn however_rich_an_account_is_every_task_is_held_for() {
    let fixture = Fixture::new().await;
    fixture.grant(fixture.account.id, 1_000_000_000_000).await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let slow = || picture("[sandbox:delay=10m] a fox");
    for tasks in 1..=3 {
        let task = node.submit(&caller, slow(), None).await.unwrap();
        assert_eq!(fixture.movements(task.id).await, ["HOLD 10"]);
        assert_eq!(fixture.balance().await.held, tasks * PICTURE);
    }
}

/// Setting aside all that was left for one call kept the account from making another.
#[tokio::test]
async fn a_task_holds_its_price_and_leaves_the_rest_free() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.stranger().await);
    fixture.grant(caller.account_id(), 3 * PICTURE).await;
    let slow = || picture("[sandbox:delay=10m] a fox");
    for left in [2, 1, 0] {
        node.submit(&caller, slow(), None).await.unwrap();
        let balance = fixture.ledger.balance(caller.account_id()).await.unwrap();
        assert_eq!(balance.available, left * PICTURE);
    }
    assert!(matches!(
        refused(&node, &caller, slow()).await,
        SubmitError::InsufficientCredits { available: 0, .. }
    ));
}

/// Where a price could not be told, nothing was set aside and nothing recorded: pictures by the pixel
/// and clips of one's own price list were made for nothing.
#[tokio::test]
async fn what_has_no_price_does_not_run() {
    let fixture = Fixture::new().await;
    let unpriced = MODELS.replace(", \"0.5K\" = 20000", "");
    assert_ne!(unpriced, MODELS);
    let upstream = Upstream::new("fal");
    let parts = Parts {
        store: fixture.database.store().clone(),
        ledger: Ledger::new(fixture.database.store().clone()),
        catalog: Current::new(Catalog::load(&unpriced).unwrap()),
        providers: providers(&[&upstream]),
        assets: fixture.assets.clone(),
        egress: crate::support::egress(),
        quote_secret: QUOTE_SECRET,
    };
    let node = Generation::start(parts, settings()).await.unwrap();
    let caller = fixture.live().await;
    let request = Request {
        resolution: Some("0.5K".to_owned()),
        ..routed("a fox")
    };
    assert!(matches!(
        node.quote(&caller, &request).await,
        Err(SubmitError::NoPrice(_))
    ));
    for caller in [&caller, &fixture.test().await] {
        assert!(matches!(
            refused(&node, caller, request.clone()).await,
            SubmitError::NoPrice(_)
        ));
    }
    assert_eq!(upstream.submissions(), 0);
    let page = fixture
        .ledger
        .entries(fixture.account.id, &EntryFilter::default(), None, 10)
        .await
        .unwrap();
    let entries = page.entries;
    assert_eq!(
        entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(),
        [Kind::Grant]
    );
}

/// The price that an operator had set for a clip was not applied: it was made, its cost was nothing, and
/// no budget knew of it.
#[tokio::test]
async fn a_price_of_ones_own_is_held_charged_and_counted_for_the_key() {
    let fixture = Fixture::new().await;
    let repriced = MODELS.replace("\"96p\" = 20000", "\"96p\" = 35000");
    assert_ne!(repriced, MODELS);
    let parts = Parts {
        store: fixture.database.store().clone(),
        ledger: Ledger::new(fixture.database.store().clone()),
        catalog: Current::new(Catalog::load(&repriced).unwrap()),
        providers: sandbox(),
        assets: fixture.assets.clone(),
        egress: crate::support::egress(),
        quote_secret: QUOTE_SECRET,
    };
    let node = Generation::start(parts, settings()).await.unwrap();
    let caps = SpendingCaps {
        per_day: Some(69),
        ..SpendingCaps::NONE
    };
    let caller = fixture.capped(fixture.account.id, false, caps).await;
    let clip = || Request {
        model: "tiny-clip".to_owned(),
        ..picture("a fox")
    };
    let task = run(&node, &caller, clip()).await;
    assert_eq!(task.credits.charged, 35);
    assert_eq!(fixture.movements(task.id).await, ["HOLD 35", "CAPTURE 35"]);
    assert!(matches!(
        refused(&node, &caller, clip()).await,
        SubmitError::SpendingCapReached {
            needed: 35,
            cap: 69,
            spent: 35,
            ..
        }
    ));
}

/// Each replica counted for itself, so that with three of them a limit was thrice what it said.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_tasks_is_one_limit_over_all_replicas() {
    const LIMIT: i32 = 4;
    let fixture = Fixture::with_plan(LIMIT, false).await;
    let caller = fixture.live().await;
    let nodes = [
        fixture.node().await,
        fixture.node().await,
        fixture.node().await,
    ];
    let request = || picture("[sandbox:delay=10m] a fox");
    let submissions = (0..60).map(|number| nodes[number % 3].submit(&caller, request(), None));
    let answers = join_all(submissions).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(accepted, LIMIT as usize);
    for answer in answers {
        assert!(matches!(
            answer,
            Ok(_) | Err(SubmitError::TooManyTasks { limit: 4, .. })
        ));
    }
}

/// A finished task pointed to the upstream's own file, which was gone within the hour or wanted the
/// upstream's cookie.
#[tokio::test]
async fn the_result_is_copied_before_success_is_said() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal");
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    let mut watch = pin!(node.watch(&caller, task.id).await.unwrap());
    loop {
        let task = watch.next().await.unwrap().unwrap();
        assert_eq!(task.outputs.is_empty(), task.status != Status::Success);
        if task.status == Status::Success {
            for output in &task.outputs {
                let bytes = fixture.assets.read_all(&output.path).await.unwrap();
                assert_eq!(bytes.len() as u64, output.size_bytes);
                let links = output.links(&fixture.assets, task.created_at);
                assert!(
                    links.url.starts_with("https://piooy.test/files/"),
                    "{}",
                    links.url
                );
            }
            break;
        }
    }
}

/// A wallet without a floor: a mistake in one statement, and the balance was below zero.
#[tokio::test]
async fn the_database_itself_refuses_a_balance_below_zero() {
    let fixture = Fixture::new().await;
    let (node, caller) = (
        fixture.node_with(sandbox(), settings()).await,
        fixture.live().await,
    );
    run(&node, &caller, picture("a fox")).await;
    let client = fixture.database.store().client().await.unwrap();
    // A copy of the last entry, as it would be if more were taken than there is.
    for (column, constraint) in [
        ("available", "ledger_available_not_negative"),
        ("held", "ledger_held_not_negative"),
    ] {
        let statements = format!(
            "CREATE TEMPORARY TABLE next AS SELECT * FROM ledger_entries ORDER BY seq DESC LIMIT 1;
             UPDATE next SET seq = seq + 1, {column} = -1;
             INSERT INTO ledger_entries SELECT * FROM next"
        );
        let error = client.batch_execute(&statements).await.unwrap_err();
        let refused = error.as_db_error().and_then(|error| error.constraint());
        assert_eq!(refused, Some(constraint), "{error:?}");
    }
    fixture.assert_sound().await;
}
