//! Credits under concurrency: never below zero, never moved twice, never moved by reading.

use futures_util::future::join_all;
use piooy::accounts::SpendingCaps;
use piooy::generation::{
    Credits, Event, Filter, Generation, Request, Status, SubmitError, TaskError,
};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::fixture::{CREDITS, Fixture, PICTURE, ended, picture, run, running, until};

/// Check then deduct lets parallel requests below zero: QuantumNous/new-api#6609,
/// songquanpeng/one-api#2440, elizaOS/eliza#10857.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_at_once_exactly_those_are_accepted_that_can_pay() {
    const PAYABLE: i64 = 37;
    let fixture = Fixture::new().await;
    let node = fixture.node().await;
    let caller = fixture.stranger().await;
    fixture
        .ledger
        .grant(
            caller.account_id(),
            PAYABLE * PICTURE + PICTURE - 1,
            "",
            None,
        )
        .await
        .unwrap();
    // A delay keeps the tasks open, so that nothing is released meanwhile.
    let answers = join_all(
        (0..200).map(|_| node.submit(&caller, picture("[sandbox:delay=10m] a fox"), None)),
    )
    .await;
    let mut accepted = 0;
    for answer in answers {
        match answer {
            Ok(_) => accepted += 1,
            Err(SubmitError::InsufficientCredits {
                needed: PICTURE,
                available,
            }) => assert!((0..PICTURE * PAYABLE).contains(&available)),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(accepted, PAYABLE);
    let balance = fixture.ledger.balance(caller.account_id()).await.unwrap();
    assert_eq!(
        (balance.available, balance.held),
        (PICTURE - 1, PAYABLE * PICTURE)
    );
    fixture.assert_sound().await;
}

/// A batch is worked out from where the one before it will have left the account, and that one may fail:
/// when another server wrote to the account meanwhile, or a key was used there.
#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_batch_that_failed_is_worked_out_anew() {
    const TOGETHER: usize = 384;
    const ROUNDS: usize = 4;
    let fixture = Fixture::with_plan(100_000, true).await;
    fixture.grant(fixture.account.id, 100_000_000).await;
    let nodes = [fixture.node().await, fixture.node().await];
    let caller = fixture.live().await;
    let submit = async |node: &Generation, key: Option<&str>| {
        let request = picture("[sandbox:delay=10m] a fox");
        node.submit(&caller, request, key).await.unwrap()
    };
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let key = format!("round {round}");
        // One alone behind the other's back, then both at once.
        let first = submit(&nodes[1], Some(&key)).await;
        let alone = join_all((0..TOGETHER).map(|_| submit(&nodes[0], None))).await;
        let both = join_all((0..2 * TOGETHER).map(|index| submit(&nodes[index % 2], None))).await;
        let known = (0..TOGETHER).map(|index| (index == 7).then_some(key.as_str()));
        let again = join_all(known.map(|key| submit(&nodes[0], key))).await;
        assert_eq!(again[7].id, first.id);
        accepted += alone.len() + both.len() + again.len();
        fixture.assert_sound().await;
    }
    let price = CREDITS + 100_000_000 - fixture.balance().await.available;
    assert_eq!(price, accepted as i64 * PICTURE);
}

/// While a batch looks at an account before it changes it, the next one waits: worked out from what was remembered
/// of the account, it would be refused, and would have the one behind it refused as well.
#[tokio::test(flavor = "multi_thread")]
async fn batches_of_one_server_do_not_outdate_each_other() {
    const CLIENTS: usize = 256;
    const TURNS: usize = 8;
    let fixture = Fixture::new().await;
    fixture.grant(fixture.account.id, 100_000_000).await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let caps = SpendingCaps {
        total: Some(1_000_000),
        ..SpendingCaps::NONE
    };
    let capped = fixture.capped(fixture.account.id, false, caps).await;
    let clients = (0..CLIENTS).map(async |client| {
        for turn in 0..TURNS {
            // Batches with what such a key asks for look first, whatever they know.
            let caller = if client == 0 && turn % 2 == 0 {
                &capped
            } else {
                &caller
            };
            let request = picture("[sandbox:delay=10m] a fox");
            node.submit(caller, request, None).await.unwrap();
        }
    });
    join_all(clients).await;
    node.stop().await;
    fixture.assert_sound().await;

    // A connection tells what it counted when it ends.
    let client = fixture.database.store().client().await.unwrap();
    let others =
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let end = format!("SELECT pg_terminate_backend(pid) {others}");
    client.query(&end, &[]).await.unwrap();
    let left = format!("SELECT {others}");
    until("the other connections end", async || {
        client.query(&left, &[]).await.unwrap().is_empty()
    })
    .await;
    let statement = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let rolled_back: i64 = client.query_one(statement, &[]).await.unwrap().get(0);
    assert_eq!(rolled_back, 0);
}

/// A batch that the database refuses is tried again job by job.
#[tokio::test(flavor = "multi_thread")]
async fn one_poisoned_submission_fails_alone() {
    const POISONED: usize = 17;
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let poison = "CREATE FUNCTION choke() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'this row cannot be'; END $$;
        CREATE TRIGGER choke BEFORE INSERT ON tasks
            FOR EACH ROW WHEN (NEW.request LIKE '%poison%') EXECUTE FUNCTION choke()";
    let client = fixture.database.store().client().await.unwrap();
    client.batch_execute(poison).await.unwrap();
    drop(client);
    let prompt = |index| {
        if index == POISONED {
            "a poisoned fox"
        } else {
            "[sandbox:delay=10m] a fox"
        }
    };
    let submit = |index| node.submit(&caller, picture(prompt(index)), None);
    let answers = join_all((0..40).map(submit)).await;
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), index != POISONED, "{index}: {answer:?}");
    }
    let balance = fixture.ledger.balance(caller.account_id()).await.unwrap();
    assert_eq!(
        (balance.available, balance.held),
        (CREDITS - 39 * PICTURE, 39 * PICTURE)
    );
    fixture.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_on_concurrent_tasks_is_exact() {
    let fixture = Fixture::with_plan(4, false).await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let request = || picture("[sandbox:delay=10m] a fox");
    let answers = join_all((0..30).map(|_| node.submit(&caller, request(), None))).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((accepted.len(), refused.len()), (4, 26));
    assert!(
        refused
            .iter()
            .all(|answer| matches!(answer, Err(SubmitError::TooManyTasks { limit: 4, .. })))
    );
    // Test tasks have places of their own, and an ended task gives its place back.
    node.submit(&fixture.test().await, request(), None)
        .await
        .unwrap();
    let first = accepted.into_iter().next().unwrap().unwrap();
    node.cancel(&caller, first.id).await.unwrap();
    ended(&node, &caller, first.id).await;
    node.submit(&caller, request(), None).await.unwrap();
    fixture.assert_sound().await;
}

#[tokio::test]
async fn on_a_plan_that_includes_the_free_tier_it_costs_nothing_and_is_recorded() {
    let fixture = Fixture::with_plan(10, true).await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let free = |prompt| Request {
        model: "tiny-free".to_owned(),
        ..picture(prompt)
    };
    assert_eq!(
        node.quote(&caller, &free("a fox")).await.unwrap().credits,
        0
    );
    let task = run(&node, &caller, free("a fox")).await;
    assert_eq!(
        (task.status, task.credits),
        (
            Status::Success,
            Credits {
                quoted: 0,
                held: 0,
                charged: 0
            }
        )
    );
    assert_eq!(fixture.movements(task.id).await, ["HOLD 0", "CAPTURE 0"]);
    let task = run(&node, &caller, free("[sandbox:fail=provider_error] a fox")).await;
    assert_eq!((task.status, task.credits.charged), (Status::Failed, 0));
    assert_eq!(
        node.quote(&caller, &picture("a fox"))
            .await
            .unwrap()
            .credits,
        PICTURE,
        "other tiers are paid for"
    );
    assert_eq!(fixture.balance().await.available, CREDITS);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn without_such_a_plan_the_free_tier_has_its_price() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let quote = node
        .quote(
            &caller,
            &Request {
                model: "tiny-free".to_owned(),
                ..picture("a fox")
            },
        )
        .await
        .unwrap();
    assert_eq!((quote.credits, quote.available), (3, CREDITS));
}

#[tokio::test]
async fn a_test_key_moves_no_credits() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.test().await);
    for prompt in ["a fox", "[sandbox:fail=provider_error] a fox"] {
        let task = node.submit(&caller, picture(prompt), None).await.unwrap();
        assert_eq!(
            task.credits,
            Credits {
                quoted: PICTURE,
                held: 0,
                charged: 0
            }
        );
        let task = ended(&node, &caller, task.id).await;
        assert_eq!(
            task.credits,
            Credits {
                quoted: PICTURE,
                held: 0,
                charged: 0
            }
        );
        assert!(fixture.movements(task.id).await.is_empty());
    }
    assert_eq!(
        (
            fixture.balance().await.available,
            fixture.balance().await.held
        ),
        (CREDITS, 0)
    );
    fixture.assert_sound().await;
}

#[tokio::test]
async fn test_tasks_and_live_tasks_do_not_see_each_other() {
    let fixture = Fixture::new().await;
    let node = fixture.node().await;
    let (live, test, stranger) = (
        fixture.live().await,
        fixture.test().await,
        fixture.stranger().await,
    );
    let paid = run(&node, &live, picture("a fox")).await;
    let rehearsed = run(&node, &test, picture("a fox")).await;
    let open = node
        .submit(&live, picture("[sandbox:delay=10m] a fox"), None)
        .await
        .unwrap();
    for (caller, id) in [
        (&live, rehearsed.id),
        (&test, paid.id),
        (&test, open.id),
        (&stranger, paid.id),
        (&stranger, open.id),
    ] {
        assert!(matches!(
            node.get(caller, id).await,
            Err(TaskError::NotFound(_))
        ));
        assert!(matches!(
            node.cancel(caller, id).await,
            Err(TaskError::NotFound(_))
        ));
        assert!(matches!(
            node.watch(caller, id).await.err(),
            Some(TaskError::NotFound(_))
        ));
    }
    let listed = async |caller| {
        let page = node
            .list(caller, None, &Filter::default(), 10)
            .await
            .unwrap();
        page.tasks.iter().map(|task| task.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(&live).await, [open.id, paid.id]);
    assert_eq!(listed(&test).await, [rehearsed.id]);
    assert_eq!(listed(&stranger).await, Vec::<Uuid>::new());
}

/// Each reading of a stored answer adds its cost again: BerriAI/litellm#25015.
#[tokio::test]
async fn reading_moves_nothing() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let task = run(
        &node,
        &caller,
        picture("[sandbox:fail=provider_error] a fox"),
    )
    .await;
    for _ in 0..20 {
        assert_eq!(node.get(&caller, task.id).await.unwrap(), task);
        node.list(&caller, None, &Filter::default(), 10)
            .await
            .unwrap();
        node.quote(&caller, &picture("a fox")).await.unwrap();
        assert_eq!(node.cancel(&caller, task.id).await.unwrap(), task);
    }
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "RELEASE 10"]);
}

/// Overlapping polls, the sweep at the deadline and several instances all settle one task; each of
/// them paid back: QuantumNous/new-api#2025 and #6074, pollinations/pollinations#13622.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_end_a_task_one_does() {
    let fixture = Fixture::new().await;
    let caller = fixture.live().await;
    let nodes = [
        fixture.node().await,
        fixture.node().await,
        fixture.node().await,
    ];
    let task = nodes[0]
        .submit(&caller, picture("[sandbox:delay=10m] a fox"), None)
        .await
        .unwrap();
    let cancels = (0..30).map(|index| nodes[index % 3].cancel(&caller, task.id));
    for canceled in join_all(cancels).await {
        canceled.unwrap();
    }
    assert_eq!(
        ended(&nodes[1], &caller, task.id).await.status,
        Status::Canceled
    );
    assert_eq!(fixture.movements(task.id).await, ["HOLD 10", "RELEASE 10"]);
    assert_eq!(fixture.balance().await.available, CREDITS);
    fixture.assert_sound().await;
}

/// Fails unless the database itself refuses a change of a task.
async fn refuses(fixture: &Fixture, id: Uuid, change: &str) {
    let client = fixture.database.store().client().await.unwrap();
    let statement = format!("UPDATE tasks SET {change} WHERE id = $1");
    let error = client.execute(&statement, &[&id]).await.expect_err(change);
    assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{change}");
}

#[tokio::test]
async fn the_database_refuses_to_change_what_has_ended() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let task = run(&node, &caller, picture("a fox")).await;
    for change in [
        "status = 'FAILED'",
        "charged = 0",
        "outputs = '[]'",
        "progress = 1",
        "finished_at = NULL",
        "node_id = id",
    ] {
        refuses(&fixture, task.id, change).await;
    }
    assert_eq!(
        fixture.node().await.get(&caller, task.id).await.unwrap(),
        task
    );
}

#[tokio::test]
async fn the_database_refuses_an_end_that_contradicts_itself() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let task = running(&node, &caller).await;
    let success = "status = 'SUCCESS', finished_at = now(), outputs = '[]'";
    for change in [
        "charged = 0",
        "outputs = '[]'",
        "late_outputs = '[]'",
        "started_at = NULL",
        "status = 'DONE', finished_at = now(), charged = 0",
        "status = 'CANCELED', finished_at = now()",
        "status = 'FAILED', finished_at = now(), charged = 0",
        "status = 'FAILED', finished_at = now(), failure = '{}', charged = 1",
        success,
        &format!("{success}, charged = -1"),
        &format!("{success}, charged = quoted + 1"),
        &format!("{success}, charged = 1, test = true"),
        &format!("{success}, charged = 1, failure = '{{}}'"),
    ] {
        refuses(&fixture, task.id, change).await;
    }
    node.cancel(&caller, task.id).await.unwrap();
    assert_eq!(
        ended(&node, &caller, task.id).await.status,
        Status::Canceled
    );
    fixture.assert_sound().await;
}

#[tokio::test]
async fn the_database_and_the_code_agree_on_every_move() {
    let fixture = Fixture::new().await;
    let client = fixture.database.store().client().await.unwrap();
    // What the columns that hang on the status are in each.
    let columns = |status: Status| {
        let (attempt, started, ended) = match status {
            Status::Pending => (0, "NULL", "NULL"),
            Status::Processing => (1, "now()", "NULL"),
            Status::Success | Status::Failed | Status::Canceled => (1, "now()", "now()"),
        };
        let charged = if status.is_final() { "0" } else { "NULL" };
        let text = |is_so| if is_so { "'[]'" } else { "NULL" };
        let (outputs, failure) = (
            text(status == Status::Success),
            text(status == Status::Failed),
        );
        format!(
            "'{}', {attempt}, {started}, {ended}, {charged}, {outputs}, {failure}",
            status.as_str()
        )
    };
    let names = "status, attempt, started_at, finished_at, charged, outputs, failure";
    let events = [Event::Start, Event::Deliver, Event::Fail, Event::Cancel];
    for from in Status::ALL {
        for to in Status::ALL.into_iter().filter(|to| *to != from) {
            let insert = format!(
                "INSERT INTO tasks (account_id, id, test, model, media_type, request, node_id, provider, quoted,
                    created_at, deadline_at, {names})
                SELECT id, gen_random_uuid(), true, 'tiny', 'image', '{{}}', id, 'sandbox', 1, now(), now(), {}
                FROM accounts LIMIT 1
                RETURNING id",
                columns(from)
            );
            let plainly = client.query_one(&insert, &[]).await;
            assert_eq!(
                plainly.is_ok(),
                from == Status::Pending,
                "begin as {from:?}"
            );
            // Without the table's triggers, as a backup is read back.
            client
                .batch_execute("SET session_replication_role = replica")
                .await
                .unwrap();
            let id: Uuid = client.query_one(&insert, &[]).await.unwrap().get(0);
            client
                .batch_execute("RESET session_replication_role")
                .await
                .unwrap();
            let change = format!(
                "UPDATE tasks SET ({names}) = ROW({}) WHERE id = $1",
                columns(to)
            );
            let moved = client.execute(&change, &[&id]).await;
            let may = events.iter().any(|event| from.after(*event) == Some(to));
            assert_eq!(moved.is_ok(), may, "{from:?} to {to:?}: {moved:?}");
        }
    }
}
