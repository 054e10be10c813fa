//! The audit log: every change of an operator leaves one row with it, a change that comes to nothing leaves none, and
//! no row ever changes.

use std::num::NonZeroU32;
use std::process::Command;
use std::time::{Duration, SystemTime};

use piooy::accounts::Plan;
use piooy::generation::{LostSubmissions, SettleError, Status, Word};
use piooy::ledger::Ledger;
use piooy::operator::{
    ActorKind, AuditEntry, AuditFilter, AuditLog, Desk, Grant, Operator, OperatorError,
};
use serde_json::json;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::generation::fixture::{Fixture, ended, patient, routed, until};
use crate::generation::upstream::{Reply, Upstream, providers};
use crate::support::{self, TestDatabase};

fn somebody() -> Operator {
    Operator {
        kind: ActorKind::Key,
        id: Some(Uuid::from_u128(7)),
        name: "dev".to_owned(),
        request_id: Some("request-1".to_owned()),
    }
}

fn grant<'a>(account: &'a str, credits: i64, idempotency_key: Option<&'a str>) -> Grant<'a> {
    Grant {
        account,
        credits,
        note: "invoice 17",
        expires_at: None,
        idempotency_key,
    }
}

fn plan(monthly_credits: i64) -> Plan {
    let number = NonZeroU32::MIN;
    Plan {
        name: "team".to_owned(),
        submits_per_minute: number,
        reads_per_minute: number,
        concurrent_tasks: number,
        queued_tasks: 4,
        monthly_credits,
        free_tier_included: false,
    }
}

struct Office {
    desk: Desk,
    log: AuditLog,
    ledger: Ledger,
    database: TestDatabase,
}

impl Office {
    async fn new() -> Self {
        let database = support::database().await;
        let store = database.store();
        Self {
            desk: Desk::new(store.clone()),
            log: AuditLog::new(store.clone()),
            ledger: Ledger::new(store.clone()),
            database,
        }
    }

    /// All rows, oldest first.
    async fn rows(&self) -> Vec<AuditEntry> {
        rows(&self.log).await
    }
}

async fn rows(log: &AuditLog) -> Vec<AuditEntry> {
    let page = log.list(&AuditFilter::default(), None, 1_000).await;
    let mut rows = page.expect("can be read").entries;
    rows.reverse();
    rows
}

#[tokio::test]
async fn every_change_leaves_one_row_that_says_what_changed() {
    let office = Office::new().await;
    let (desk, by) = (&office.desk, &somebody());
    desk.create_account(by, "acme", "free").await.unwrap();
    desk.set_plan(by, "acme", "pro").await.unwrap();
    desk.save_plan(by, &plan(5)).await.unwrap();
    desk.save_plan(by, &plan(6)).await.unwrap();
    let account = desk.grant(by, &grant("acme", 50, None)).await.unwrap();
    let team = |credits: i64| {
        json!({
            "name": "team", "submitsPerMinute": 1, "readsPerMinute": 1, "concurrentTasks": 1, "queuedTasks": 4,
            "monthlyCredits": credits, "freeTierIncluded": false,
        })
    };
    let expected = [
        ("CreateAccount", Some("acme"), json!({"plan": "free"})),
        (
            "SetPlan",
            Some("acme"),
            json!({"plan": "pro", "planBefore": "free"}),
        ),
        (
            "SavePlan",
            None,
            json!({"plan": team(5), "planBefore": null}),
        ),
        (
            "SavePlan",
            None,
            json!({"plan": team(6), "planBefore": team(5)}),
        ),
        (
            "GrantCredits",
            Some("acme"),
            json!({"credits": 50, "note": "invoice 17", "expiresAt": null}),
        ),
    ];
    let rows = office.rows().await;
    let found: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.method.as_str(),
                row.account.as_deref(),
                row.change.clone(),
            )
        })
        .collect();
    assert_eq!(found, expected);
    assert!(rows.iter().all(|row| row.by == *by));
    assert_eq!(
        office.ledger.balance(account.id).await.unwrap().available,
        50
    );
}

#[tokio::test]
async fn what_is_refused_leaves_no_row_and_no_change() {
    let office = Office::new().await;
    let (desk, by) = (&office.desk, &somebody());
    let account = desk.create_account(by, "acme", "free").await.unwrap();
    let taken = desk.create_account(by, "acme", "free").await;
    let unnamed = desk.create_account(by, "Acme", "free").await;
    let goldless = desk.create_account(by, "other", "gold").await;
    for refused in [taken, unnamed, goldless] {
        assert!(
            matches!(refused, Err(OperatorError::Accounts(_))),
            "{refused:?}"
        );
    }
    for (name, plan) in [("acme", "gold"), ("nobody", "pro")] {
        assert!(desk.set_plan(by, name, plan).await.is_err());
    }
    assert!(desk.save_plan(by, &plan(-1)).await.is_err());
    let past = Grant {
        expires_at: Some(SystemTime::UNIX_EPOCH),
        ..grant("acme", 1, Some("a key"))
    };
    let long = "k".repeat(256);
    for wrong in [
        grant("nobody", 1, None),
        grant("acme", 0, None),
        grant("acme", 1, Some("")),
        grant("acme", 1, Some(&long)),
        past,
    ] {
        let refused = desk.grant(by, &wrong).await;
        assert!(refused.is_err(), "{wrong:?}");
    }
    // The refused grant has not used its key up.
    desk.grant(by, &grant("acme", 3, Some("a key")))
        .await
        .unwrap();
    let most = desk.grant(by, &grant("acme", i64::MAX, None)).await;
    assert!(matches!(most, Err(OperatorError::Ledger(_))), "{most:?}");
    assert_eq!(office.rows().await.len(), 2);
    assert_eq!(
        office.ledger.balance(account.id).await.unwrap().available,
        3
    );
}

#[tokio::test]
async fn a_key_grants_once_however_many_come_with_it() {
    let office = Office::new().await;
    let (desk, by) = (&office.desk, &somebody());
    let acme = desk.create_account(by, "acme", "free").await.unwrap();
    desk.create_account(by, "other", "free").await.unwrap();
    let key = Some("3f0e");
    let wish = grant("acme", 50, key);
    let clicks = [(); 8].map(|()| desk.grant(by, &wish));
    for granted in futures_util::future::join_all(clicks).await {
        assert_eq!(granted.unwrap().id, acme.id);
    }
    let other = desk.grant(by, &grant("acme", 51, key)).await;
    assert!(
        matches!(other, Err(OperatorError::IdempotencyKeyReused)),
        "{other:?}"
    );
    desk.grant(by, &grant("other", 50, key)).await.unwrap();
    assert_eq!(office.rows().await.len(), 4);
    assert_eq!(office.ledger.balance(acme.id).await.unwrap().available, 50);
}

#[tokio::test]
async fn a_word_on_a_submission_leaves_one_row() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal").replies(&[Reply::Lose]);
    let node = fixture.node_with(providers(&[&upstream]), patient()).await;
    let caller = fixture.live().await;
    let task = node.submit(&caller, routed("a fox"), None).await.unwrap();
    let store = fixture.database.store();
    let submissions = LostSubmissions::new(store.clone());
    until("it is listed", async || {
        !submissions.list(None, 1).await.unwrap().0.is_empty()
    })
    .await;

    let (desk, by, log) = (
        Desk::new(store.clone()),
        somebody(),
        AuditLog::new(store.clone()),
    );
    let unknown = desk
        .settle(&by, &submissions, task.id, 2, &Word::GiveUp)
        .await;
    assert!(
        matches!(
            unknown,
            Err(OperatorError::Settle(SettleError::NotLost { .. }))
        ),
        "{unknown:?}"
    );
    let again = [(); 4].map(|()| desk.settle(&by, &submissions, task.id, 1, &Word::GiveUp));
    for settled in futures_util::future::join_all(again).await {
        settled.unwrap();
    }
    let other = desk
        .settle(&by, &submissions, task.id, 1, &Word::NotSubmitted)
        .await;
    assert!(matches!(
        other,
        Err(OperatorError::Settle(SettleError::Settled(_)))
    ));
    assert_eq!(
        ended(&node, &caller, task.id).await.status,
        Status::Failed,
        "the word is carried out"
    );
    let rows = rows(&log).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (rows[0].method.as_str(), rows[0].account.as_deref()),
        ("SettleSubmission", Some("acme"))
    );
    let expected =
        json!({"taskId": task.id, "attempt": 1, "verdict": "GIVE_UP", "upstreamId": null});
    assert_eq!(rows[0].change, expected);
}

#[tokio::test]
async fn rows_are_never_changed_or_removed() {
    let office = Office::new().await;
    let made = office
        .desk
        .create_account(&somebody(), "acme", "free")
        .await;
    made.unwrap();
    let client = office.database.store().client().await.unwrap();
    for statement in [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "SET session_replication_role = replica; DELETE FROM audit_log",
    ] {
        let refused = client.batch_execute(statement).await.expect_err(statement);
        assert_eq!(refused.code(), Some(&SqlState::RESTRICT_VIOLATION));
    }
    assert_eq!(office.rows().await.len(), 1);
}

#[tokio::test]
async fn filters_and_pages_follow_each_other() {
    let office = Office::new().await;
    let (desk, by) = (&office.desk, &somebody());
    for name in ["acme", "other"] {
        desk.create_account(by, name, "free").await.unwrap();
        desk.grant(by, &grant(name, 5, None)).await.unwrap();
    }
    let all = office.rows().await;
    let numbers = async |filter: &AuditFilter, limit: u32| {
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let page = office.log.list(filter, before, limit).await.unwrap();
            pages.push(page.entries.len());
            before = page.next;
            if before.is_none() {
                return pages;
            }
        }
    };
    let filter = AuditFilter::default();
    assert_eq!(numbers(&filter, 3).await, [3, 1]);
    assert_eq!(numbers(&filter, 2).await, [2, 2]);
    let text = |text: &str| Some(text.to_owned());
    let minute = Duration::from_secs(60);
    let table = [
        (
            AuditFilter {
                account: text("acme"),
                ..AuditFilter::default()
            },
            2,
        ),
        (
            AuditFilter {
                method: text("GrantCredits"),
                ..AuditFilter::default()
            },
            2,
        ),
        (
            AuditFilter {
                account: text("acme"),
                method: text("SetPlan"),
                ..AuditFilter::default()
            },
            0,
        ),
        (
            AuditFilter {
                from: Some(all[1].at),
                to: Some(all[3].at),
                ..AuditFilter::default()
            },
            2,
        ),
        (
            AuditFilter {
                from: Some(all[3].at + minute),
                ..AuditFilter::default()
            },
            0,
        ),
        (
            AuditFilter {
                account: text("acme\0"),
                ..AuditFilter::default()
            },
            2,
        ),
    ];
    for (filter, expected) in table {
        assert_eq!(numbers(&filter, 10).await, [expected], "{filter:?}");
    }
}

#[tokio::test]
async fn the_command_line_leaves_its_rows_and_prints_them() {
    let office = Office::new().await;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_piooy"))
            .args(arguments)
            .current_dir(directory.path())
            .env_clear()
            .env("DATABASE_URL", office.database.url())
            .env("PIOOY_DATA_DIR", directory.path())
            .output()
            .expect("the program runs");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.success(), text)
    };
    let commands: [&[&str]; 4] = [
        &["accounts", "create", "acme"],
        &["accounts", "plan", "acme", "pro"],
        &["plans", "set", "pro", "--monthly-credits", "9"],
        &["credits", "grant", "acme", "5", "--note", "a gift"],
    ];
    for command in commands {
        assert!(run(command).0, "{command:?}");
    }
    assert!(!run(&["accounts", "create", "acme"]).0);
    let (made, key) = run(&["keys", "create", "--account", "acme", "--name", "booth"]);
    assert!(made);
    assert!(!run(&["keys", "create", "--account", "nobody"]).0);
    let (_, listed) = run(&["keys", "list", "--account", "acme"]);
    let id = listed.split_whitespace().next().expect("a key");
    for _ in 0..2 {
        assert!(run(&["keys", "revoke", "--account", "acme", id]).0);
    }
    let (made, link) = run(&["login-link", "acme"]);
    assert!(made);
    let task = Uuid::now_v7().to_string();
    let nothing = ["tasks", "settle", &task, "give-up", "--attempt", "1"];
    assert!(!run(&nothing).0);
    let rows = office.rows().await;
    let methods: Vec<_> = rows.iter().map(|row| row.method.as_str()).collect();
    assert_eq!(
        methods,
        [
            "CreateAccount",
            "SetPlan",
            "SavePlan",
            "GrantCredits",
            "CreateApiKey",
            "RevokeApiKey",
            "CreateSignInLink",
        ]
    );
    assert_eq!(rows[4].change["name"], "booth");
    assert_eq!(rows[5].change["keyId"], id);
    for row in &rows {
        assert_eq!(row.by.kind, ActorKind::CommandLine);
        assert!(!row.by.name.is_empty());
    }
    let (_, printed) = run(&["audit"]);
    assert_eq!(printed.lines().count(), 7, "{printed}");
    assert!(printed.lines().nth(3).unwrap().contains("\"a gift\""));
    for secret in [key.trim(), link.trim().rsplit('/').next().unwrap()] {
        assert!(secret.len() > 20 && !printed.contains(secret), "{printed}");
    }
    let (_, csv) = run(&["audit", "--csv", "--method", "SetPlan", "--last", "1h"]);
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.starts_with("number,at,actor_kind"), "{csv}");
}
