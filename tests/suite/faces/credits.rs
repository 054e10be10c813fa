//! Credits over the faces: grants, what expires of them, the statement.

use std::time::{Duration, SystemTime};

use piooy::accounts::Scope;
use piooy::ledger::Ledger;
use piooy::spec::v1::admin_service_client::AdminServiceClient;
use piooy::spec::v1::{GrantCreditsRequest, Plan, SavePlanRequest};

use serde_json::Value;

use super::answers::{envelope, keyed};
use super::server::Server;

#[tokio::test]
async fn credits_expire_in_the_future() {
    let server = Server::start().await;
    let admin = server.key("dev", &[Scope::Admin], false).await;
    let mut client = AdminServiceClient::new(server.channel().await);
    let mut grant = async |expires_at: SystemTime| {
        let request = GrantCreditsRequest {
            account: "dev".to_owned(),
            credits: 7,
            note: "welcome".to_owned(),
            expires_at: Some(expires_at.into()),
            idempotency_key: String::new(),
        };
        client.grant_credits(keyed(request, Some(&admin))).await
    };
    let past = grant(SystemTime::now() - Duration::from_secs(1)).await;
    let refused = envelope(&past.expect_err("it is past"));
    assert_eq!(
        refused["details"]["fieldViolations"][0]["field"], "expiresAt",
        "{refused}"
    );
    let day = Duration::from_secs(24 * 60 * 60);
    let balance = grant(SystemTime::now() + day).await.expect("is granted");
    assert_eq!(balance.get_ref().available, 1_007);
}

#[tokio::test]
async fn a_plan_that_is_saved_holds_at_once() {
    let server = Server::start().await;
    let admin = server.key("dev", &[Scope::Admin], false).await;
    let mut client = AdminServiceClient::new(server.channel().await);
    let mut save = async |plan| {
        let request = SavePlanRequest { plan };
        client.save_plan(keyed(request, Some(&admin))).await
    };
    let pro = Plan {
        name: "pro".to_owned(),
        submits_per_minute: 77,
        reads_per_minute: 88,
        concurrent_tasks: 9,
        ..Plan::default()
    };
    save(Some(pro.clone())).await.expect("is saved");
    let balance = server
        .rest(
            Some(&server.live_key),
            "GET",
            "/api/v1/credits",
            &Value::Null,
        )
        .await;
    assert_eq!(balance.header("ratelimit-limit"), "88");
    for (plan, field) in [
        (None, "plan"),
        (
            Some(Plan {
                reads_per_minute: 0,
                ..pro.clone()
            }),
            "plan.readsPerMinute",
        ),
        (
            Some(Plan {
                name: "No Name".to_owned(),
                ..pro
            }),
            "plan.name",
        ),
    ] {
        let refused = envelope(&save(plan).await.expect_err(field));
        assert_eq!(
            refused["details"]["fieldViolations"][0]["field"], field,
            "{refused}"
        );
    }
}

const CSV: &str = "/api/v1/credits/transactions.csv";

#[tokio::test]
async fn a_statement_is_exported_whole_and_harmless() {
    let server = Server::start().await;
    let key = server.account("acme", "free", 0).await;
    let account = server.accounts.by_name("acme").await.expect("is there");
    let ledger = Ledger::new(server.database.store().clone());
    // More than the ledger reads at once, and notes that somebody might think funny.
    for number in 1..=1_002 {
        let note = match number {
            1 => "=1+1",
            2 => "for \"good\", they said",
            _ => "",
        };
        let granted = ledger.grant(account.id, 1, note, None).await;
        granted.expect("is granted");
    }
    let file = server.rest(Some(&key), "GET", CSV, &Value::Null).await;
    assert_eq!(file.status, 200);
    assert!(file.header("content-type").starts_with("text/csv"));
    assert_eq!(
        file.header("content-disposition"),
        "attachment; filename=\"piooy-transactions.csv\""
    );
    assert!(!file.header("ratelimit-remaining").is_empty());
    let text = String::from_utf8(file.bytes).expect("is text");
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 1 + 1_002);
    assert_eq!(
        lines[0],
        "sequence,at,kind,amount,debit,credit,available,held,task_id,note"
    );
    for (line, number) in lines[1..].iter().zip((1..=1_002).rev()) {
        assert!(line.starts_with(&format!("{number},")), "{line}");
    }
    assert!(lines[1_002].ends_with(",GRANT,1,grants,available,1,0,,'=1+1"));
    let quoted = ",GRANT,1,grants,available,2,0,,\"for \"\"good\"\", they said\"";
    assert!(lines[1_001].ends_with(quoted), "{}", lines[1_001]);

    let none = format!("{CSV}?kinds=HOLD&kinds=CAPTURE");
    let file = server.rest(Some(&key), "GET", &none, &Value::Null).await;
    assert_eq!(file.bytes, [lines[0].as_bytes(), b"\r\n"].concat());
}

#[tokio::test]
async fn filters_hold_over_rest() {
    let server = Server::start().await;
    let ask = async |query: &str| {
        let path = format!("/api/v1/credits/transactions?{query}");
        server
            .rest(Some(&server.live_key), "GET", &path, &Value::Null)
            .await
    };
    for (query, count) in [
        ("kinds=GRANT", 1),
        ("kinds=GRANT&kinds=HOLD&from=2020-01-01T00:00:00Z", 1),
        ("kinds=EXPIRE", 0),
        ("to=2020-01-01T00:00:00Z", 0),
        ("task_id=0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a", 0),
    ] {
        let said = ask(query).await.envelope;
        let found = said["data"]["transactions"].as_array().map(Vec::len);
        assert_eq!(found, Some(count), "{query}: {said}");
        assert_eq!(said["data"]["nextPageToken"], "", "{query}");
    }
    for (query, field) in [
        ("kinds=GIFT", "kinds[0]"),
        ("task_id=7", "taskId"),
        ("page_token=x", "pageToken"),
    ] {
        let refused = ask(query).await;
        let violation = &refused.envelope["details"]["fieldViolations"][0]["field"];
        assert_eq!((refused.status, violation), (422, &Value::from(field)));
        let path = format!("{CSV}?{query}");
        let refused = server
            .rest(Some(&server.live_key), "GET", &path, &Value::Null)
            .await;
        assert!(refused.status >= 400, "told before the file begins");
        assert!(refused.envelope["reason"].is_string());
    }
}
