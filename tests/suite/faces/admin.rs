//! Administration over the faces: what operators change is written down with who they are, and nobody else changes
//! anything.

use std::time::Duration;

use piooy::accounts::Scope;
use piooy::operator::{ActorKind, AuditFilter, AuditLog};
use piooy::spec::v1::admin_service_client::AdminServiceClient;
use piooy::spec::v1::{
    CreateAccountRequest, ExportAuditLogRequest, GetAccountRequest, GetServerStatusRequest,
    GrantCreditsRequest, ListAccountsRequest, ListAuditLogRequest, UpstreamEnds,
};
use serde_json::{Value, json};

use super::answers::{envelope, keyed};
use super::server::{QUICK_MODEL, Server};

#[tokio::test]
async fn a_change_by_a_key_says_which_key_and_which_request() {
    let server = Server::start().await;
    let admin = server.key("dev", &[Scope::Admin], false).await;
    let mut client = AdminServiceClient::new(server.channel().await);
    let request = CreateAccountRequest {
        name: "acme".to_owned(),
        plan: String::new(),
    };
    let mut request = keyed(request, Some(&admin));
    let id = "req-7".parse().expect("ASCII");
    request.metadata_mut().insert("x-request-id", id);
    client.create_account(request).await.expect("is made");
    let grant = GrantCreditsRequest {
        account: "acme".to_owned(),
        credits: 5,
        idempotency_key: "one".to_owned(),
        ..GrantCreditsRequest::default()
    };
    for _ in 0..2 {
        let granted = client
            .grant_credits(keyed(grant.clone(), Some(&admin)))
            .await;
        assert_eq!(granted.expect("is granted").get_ref().available, 5);
    }
    let mut header = keyed(
        GrantCreditsRequest {
            credits: 6,
            idempotency_key: String::new(),
            ..grant
        },
        Some(&admin),
    );
    let key = "one".parse().expect("ASCII");
    header.metadata_mut().insert("idempotency-key", key);
    let refused = client
        .grant_credits(header)
        .await
        .expect_err("another grant");
    assert_eq!(envelope(&refused)["reason"], "IDEMPOTENCY_KEY_REUSED");

    let asked = ListAuditLogRequest::default();
    let listed = client.list_audit_log(keyed(asked, Some(&admin))).await;
    let entries = listed.expect("can be read").into_inner().entries;
    let methods: Vec<_> = entries.iter().map(|entry| entry.method.as_str()).collect();
    assert_eq!(methods, ["GrantCredits", "CreateAccount"]);
    let made = &entries[1];
    assert_eq!(
        (
            made.actor_kind.as_str(),
            made.actor.as_str(),
            made.request_id.as_str()
        ),
        ("KEY", "dev", "req-7")
    );
    assert!(!made.actor_id.is_empty() && made.change == r#"{"plan":"free"}"#);

    let asked = ExportAuditLogRequest {
        method: "CreateAccount".to_owned(),
        ..ExportAuditLogRequest::default()
    };
    let exported = client.export_audit_log(keyed(asked, Some(&admin))).await;
    let mut parts = exported.expect("is a file").into_inner();
    let mut file = Vec::new();
    while let Some(part) = parts.message().await.expect("goes on") {
        file.extend(part.data);
    }
    let file = String::from_utf8(file).expect("is text");
    assert_eq!(file.lines().count(), 2, "{file}");
}

#[tokio::test]
async fn accounts_are_found_by_a_part_of_their_name() {
    let server = Server::start().await;
    for name in ["acme.eu", "acme.us", "other"] {
        server.account(name, "pro", 7).await;
    }
    let admin = server.key("dev", &[Scope::Admin], false).await;
    let mut client = AdminServiceClient::new(server.channel().await);
    for (part, expected) in [("acme", 2), (".", 2), ("", 4), ("x", 0), ("A%", 0)] {
        let asked = ListAccountsRequest {
            name_contains: part.to_owned(),
            ..ListAccountsRequest::default()
        };
        let found = client.list_accounts(keyed(asked, Some(&admin))).await;
        let found = found.expect("can be read").into_inner().accounts;
        assert_eq!(found.len(), expected, "{part}");
    }
    let mut get = async |name: &str| {
        let name = name.to_owned();
        let asked = keyed(GetAccountRequest { name }, Some(&admin));
        client.get_account(asked).await
    };
    let found = get("acme.eu").await.expect("is there").into_inner();
    assert_eq!(found.balance.expect("a balance").available, 7);
    assert_eq!(found.plan.expect("a plan").name, "pro");
    let unknown = get("nobody").await.expect_err("is not there");
    assert_eq!(envelope(&unknown)["reason"], "ACCOUNT_NOT_FOUND");
}

#[tokio::test]
async fn the_status_tells_of_upstreams_tasks_and_ends() {
    let server = Server::with(&[("OPENAI_API_KEY", "a-key-that-nobody-gave-away")]).await;
    server.picture().await;
    for prompt in ["[sandbox:fail=content_policy]", "[sandbox:hang]"] {
        let asked = json!({"model": QUICK_MODEL, "prompt": prompt});
        let path = "/api/v1/generate/image";
        let key = Some(server.test_key.as_str());
        assert_eq!(server.rest(key, "POST", path, &asked).await.status, 200);
    }
    let admin = server.key("dev", &[Scope::Admin], false).await;
    let mut client = AdminServiceClient::new(server.channel().await);
    let mut status = async || {
        let asked = keyed(GetServerStatusRequest {}, Some(&admin));
        let status = client.get_server_status(asked).await;
        status.expect("can be read").into_inner()
    };
    let mut told = status().await;
    for _ in 0..500 {
        if told.running_tasks == 1 && told.ends.iter().any(|ends| failed(ends) == 1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        told = status().await;
    }
    let upstream = |name: &str| {
        let mut known = told.upstreams.iter();
        known.find(|known| known.name == name).expect("is known")
    };
    let (fal, openai, sandbox) = (upstream("fal"), upstream("openai"), upstream("sandbox"));
    assert_eq!(
        (fal.configured, fal.missing_setting.as_str()),
        (false, "FAL_KEY")
    );
    assert!(openai.configured && !openai.condition.is_empty());
    assert_eq!(
        (sandbox.condition.as_str(), sandbox.running_tasks),
        ("READY", 1)
    );
    assert_eq!((told.waiting_tasks, told.running_tasks), (0, 1));
    assert_eq!(told.oldest_waiting_since, None);
    assert_eq!(told.unknown_submissions, 0);
    let [node] = &told.nodes[..] else {
        panic!("{:?}", told.nodes)
    };
    assert!(node.alive && node.answers && node.tasks == 1);
    let [ends] = &told.ends[..] else {
        panic!("{:?}", told.ends)
    };
    let (hour, day) = (ends.last_hour.as_ref(), ends.last_day.as_ref());
    assert_eq!((ends.upstream.as_str(), hour), ("sandbox", day));
    let hour = hour.expect("counts");
    assert_eq!((hour.succeeded, hour.failed, hour.canceled), (1, 1, 0));
    assert_eq!(hour.failures[0].reason, "CONTENT_POLICY");
}

fn failed(ends: &UpstreamEnds) -> i64 {
    ends.last_hour.as_ref().map_or(0, |hour| hour.failed)
}

/// The rows of the log, newest first, as kind and method.
async fn rows(server: &Server) -> Vec<(ActorKind, String)> {
    let log = AuditLog::new(server.database.store().clone());
    let page = log.list(&AuditFilter::default(), None, 100).await;
    let rows = page.expect("can be read").entries.into_iter();
    rows.map(|row| (row.by.kind, row.method)).collect()
}

#[tokio::test]
async fn no_rest_path_administers() {
    let server = Server::start().await;
    let admin = server.key("dev", &Scope::ALL, false).await;
    for path in ["/api/v1/accounts", "/api/v1/plans", "/api/v1/audit"] {
        let answer = server.rest(Some(&admin), "GET", path, &Value::Null).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(rows(&server).await, []);
}
