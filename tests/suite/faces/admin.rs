//! Administration over the faces: what operators change is written down with who they are, and nobody else changes
//! anything.

use std::process::Command;
use std::time::{Duration, SystemTime};

use piooy::accounts::Scope;
use piooy::ledger::Ledger;
use piooy::operator::{ActorKind, AuditFilter, AuditLog, Desk, Operator};
use piooy::spec::v1::admin_service_client::AdminServiceClient;
use piooy::spec::v1::{
    CreateAccountRequest, ExportAuditLogRequest, GetAccountRequest, GetServerStatusRequest,
    GrantCreditsRequest, ListAccountsRequest, ListAuditLogRequest, UpstreamEnds,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answers::{envelope, keyed};
use super::browser::Browser;
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

/// Every page of operators that needs no more than a fresh server.
const PAGES: [&str; 8] = [
    "/admin",
    "/admin/accounts",
    "/admin/accounts/dev",
    "/admin/plans",
    "/admin/upstreams",
    "/admin/queue",
    "/admin/audit",
    "/admin/audit.csv",
];

const HTML: (&str, &str) = ("accept", "text/html");

/// A browser of somebody who owns another account and is no operator.
async fn of_stranger(server: &Server) -> Browser {
    server.account("acme", "pro", 0).await;
    let desk = Desk::new(server.database.store().clone());
    let by = Operator {
        kind: ActorKind::CommandLine,
        id: None,
        name: "ann".to_owned(),
        request_id: None,
    };
    let link = desk.owner_link(&by, "acme", SystemTime::now()).await;
    let link = link.expect("a link can be made");
    let browser = Browser::new(&server.url);
    let path = format!("/signin/link/{}", link.expose());
    assert_eq!(browser.post(&path, &[]).await.status, 303);
    browser
}

/// What making the stranger's link left in the log.
fn link_row() -> (ActorKind, String) {
    (ActorKind::CommandLine, "CreateSignInLink".to_owned())
}

#[tokio::test]
async fn to_everybody_else_there_are_no_such_pages() {
    let server = Server::start().await;
    let (stranger, nobody) = (of_stranger(&server).await, Browser::new(&server.url));
    let headers = [HTML, ("sec-fetch-site", "none")];
    for browser in [&nobody, &stranger] {
        for path in PAGES {
            let asked = browser.send("GET", path, &headers, None).await;
            let depth = "/x".repeat(path.matches('/').count());
            let unknown = browser.send("GET", &depth, &headers, None).await;
            assert_eq!((asked.status, unknown.status), (404, 404), "{path}");
            assert_eq!(asked.text, unknown.text, "{path}");
        }
    }
    // Nor do forms reach anything, though they carry the token of the session.
    let token = stranger.get("/settings/account").await;
    let token = token.form_token();
    let forms: [(&str, &[(&str, &str)]); 4] = [
        ("/admin/accounts", &[("name", "mine"), ("plan", "pro")]),
        (
            "/admin/accounts/acme/credits",
            &[("credits", "9"), ("grant_key", "1")],
        ),
        (
            "/admin/accounts/acme/plan",
            &[("plan", "unlimited"), ("confirmed", "yes")],
        ),
        ("/admin/plans", &[("name", "pro"), ("confirmed", "yes")]),
    ];
    for (path, fields) in forms {
        let fields = [fields, &[("form_token", token)]].concat();
        assert_eq!(stranger.post(path, &fields).await.status, 404, "{path}");
        let foreign = [("sec-fetch-site", "cross-site")];
        let posted = stranger.post_from(path, &fields, &foreign).await;
        assert_eq!(posted.status, 404, "{path}");
    }
    assert!(
        !stranger
            .get("/settings/account")
            .await
            .text
            .contains("href=\"/admin\"")
    );
    assert_eq!(rows(&server).await, [link_row()]);
}

#[tokio::test]
async fn an_operator_is_led_to_every_page() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let settings = owner.get("/settings/account").await;
    assert!(settings.text.contains("href=\"/admin\">Admin</a>"));
    for path in PAGES {
        let page = owner.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        if !path.ends_with(".csv") {
            assert_eq!(page.text.matches("<h1").count(), 1, "{path}");
            assert!(page.text.contains("aria-label=\"Administration\""));
            assert!(page.text.len() < 100_000 && !page.text.contains(" style="));
        }
    }
    let file = owner.get("/admin/audit.csv").await;
    assert!(
        file.text.starts_with("number,at,actor_kind"),
        "{}",
        file.text
    );
    assert_eq!(
        file.headers["content-disposition"],
        "attachment; filename=\"piooy-audit-log.csv\""
    );
    for path in ["/admin/accounts/nobody", "/admin/queue/x/1"] {
        assert_eq!(owner.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn forms_change_what_they_say_once_and_write_it_down() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let accounts = "/admin/accounts";
    let fields = [("name", "acme"), ("plan", "free")];
    let made = owner.submit(accounts, accounts, &fields).await;
    assert_eq!(
        made.location, "/admin/accounts/acme?done=made",
        "{}",
        made.text
    );
    let taken = owner.submit(accounts, accounts, &fields).await;
    assert!(taken.status == 409 && taken.text.contains("role=\"alert\""));
    assert!(
        taken.text.contains("value=\"acme\""),
        "what was sent is kept"
    );

    // A double click grants once.
    let page = owner.get("/admin/accounts/acme").await;
    let key = page.between("name=\"grant_key\" value=\"", "\"");
    let grant = [
        ("credits", "50"),
        ("note", "invoice 17 <b>"),
        ("expires", "2099-01-01"),
        ("grant_key", key),
        ("form_token", page.form_token()),
    ];
    let path = "/admin/accounts/acme/credits";
    let clicks = [(); 3].map(|()| owner.post(path, &grant));
    for click in futures_util::future::join_all(clicks).await {
        assert_eq!(
            click.location, "/admin/accounts/acme?done=granted",
            "{}",
            click.text
        );
    }
    let ledger = Ledger::new(server.database.store().clone());
    let account = server.accounts.by_name("acme").await.expect("is there");
    let balance = ledger.balance(account.id).await.expect("a balance");
    assert_eq!(balance.available, 50);
    for (credits, expires) in [
        ("many", ""),
        ("0", ""),
        ("5", "yesterday"),
        ("5", "2001-01-01"),
    ] {
        let fields = [
            ("credits", credits),
            ("expires", expires),
            ("grant_key", "k"),
        ];
        let refused = owner.submit("/admin/accounts/acme", path, &fields).await;
        assert!(
            matches!(refused.status, 400 | 422),
            "{credits} {expires}: {}",
            refused.status
        );
        assert!(refused.text.contains("role=\"alert\""), "{}", refused.text);
    }

    let path = "/admin/accounts/acme/plan";
    let asked = owner
        .submit("/admin/accounts/acme", path, &[("plan", "pro")])
        .await;
    assert!(
        asked.status == 200 && asked.text.contains("moves from free to pro"),
        "{}",
        asked.text
    );
    let fields = [
        ("plan", "pro"),
        ("confirmed", "yes"),
        ("form_token", asked.form_token()),
    ];
    let moved = owner.post(path, &fields).await;
    assert_eq!(
        moved.location, "/admin/accounts/acme?done=plan",
        "{}",
        moved.text
    );

    let plans = "/admin/plans";
    let mut plan = vec![
        ("name", "pro"),
        ("submits", "1001"),
        ("reads", "2002"),
        ("tasks", "3"),
        ("queued", "4"),
        ("monthly", "5"),
    ];
    let asked = owner.submit(plans, plans, &plan).await;
    assert!(asked.status == 200 && asked.text.contains("name=\"queued\" value=\"4\""));
    plan.push(("confirmed", "yes"));
    let saved = owner.submit(plans, plans, &plan).await;
    assert_eq!(saved.location, "/admin/plans?done=saved", "{}", saved.text);
    plan[1] = ("submits", "0");
    let refused = owner.submit(plans, plans, &plan).await;
    assert!(refused.status == 422 && refused.text.contains("role=\"alert\""));

    let expected = ["SavePlan", "SetPlan", "GrantCredits", "CreateAccount"];
    let person = |method: &str| (ActorKind::Person, method.to_owned());
    assert_eq!(rows(&server).await, expected.map(person));
    let log = owner
        .get("/admin/audit?method=GrantCredits&account=acme&from=2020-01-01&to=2099-01-01")
        .await;
    assert!(
        log.text.contains("+50 credits, “invoice 17 &#60;b&#62;”"),
        "{}",
        log.text
    );
    assert!(log.text.contains("request "), "its id is told");
    assert_eq!(log.text.matches("<th scope=\"row\">").count(), 1);
    let wrong = owner.get("/admin/audit?from=soon").await;
    assert!(wrong.text.contains("role=\"alert\""), "{}", wrong.text);
}

#[tokio::test]
async fn the_command_line_appoints_operators() {
    let server = Server::start().await;
    let stranger = of_stranger(&server).await;
    let headers = [("email", "ann@example.org")];
    let page = stranger
        .submit("/settings/account", "/settings/account/email", &headers)
        .await;
    assert_eq!(page.status, 303, "{}", page.text);
    let run = |arguments: &[&str]| {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let done = Command::new(env!("CARGO_BIN_EXE_piooy"))
            .args(arguments)
            .env_clear()
            .env("DATABASE_URL", server.database.url())
            .env("PIOOY_DATA_DIR", directory.path())
            .current_dir(directory.path())
            .output();
        let done = done.expect("the program runs");
        (
            done.status.success(),
            String::from_utf8_lossy(&done.stdout).into_owned(),
        )
    };
    let status = async || stranger.get("/admin").await.status;
    assert_eq!(status().await, 404);
    let (_, listed) = run(&["operators", "add", "Ann@example.org"]);
    assert!(listed.contains("ann@example.org"), "{listed}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status().await, 200);
    assert!(run(&["operators", "remove", "ann@example.org"]).0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status().await, 404);
    assert!(!run(&["operators", "add", "nobody@example.org"]).0);
    let made = (ActorKind::CommandLine, "SetOperator".to_owned());
    assert_eq!(rows(&server).await, [made.clone(), made, link_row()]);
}

#[tokio::test]
async fn a_lost_submission_is_settled_on_its_page() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let client = server
        .database
        .store()
        .client()
        .await
        .expect("a connection");
    // As if a process had died that lost the answer; the table lets tasks begin as PENDING alone.
    client
        .batch_execute("SET session_replication_role = replica")
        .await
        .expect("a superuser may");
    let lose = "WITH task AS (
            INSERT INTO tasks (created_at, deadline_at, quoted, started_at, attempt, test, account_id, id, node_id,
                status, media_type, model, provider, request)
            SELECT now(), now() + interval '1 hour', 0, now(), 1, true, id, $1::text::uuid, $1::text::uuid,
                'PROCESSING', 'image', 'nano-banana-pro', 'fal', '{}'
            FROM accounts
            RETURNING account_id, id
        )
        INSERT INTO lost_submissions (attempt, account_id, task_id, provider, upstream_model)
        SELECT 1, account_id, id, 'fal', 'fal-ai/x' FROM task";
    let task = Uuid::now_v7().to_string();
    client
        .execute(lose, &[&task])
        .await
        .expect("can be written");
    let queue = owner.get("/admin/queue").await;
    let path = format!("/admin/queue/{task}/1");
    assert!(queue.text.contains(&path), "{}", queue.text);
    for fields in [
        &[][..],
        &[("verdict", "ARRIVED")],
        &[("verdict", "PERHAPS")],
    ] {
        let refused = owner.submit(&path, &path, fields).await;
        assert!(refused.status == 422 && refused.text.contains("role=\"alert\""));
    }
    let fields = [("verdict", "GIVE_UP"), ("upstream_id", "left over")];
    let asked = owner.submit(&path, &path, &fields).await;
    assert!(asked.text.contains("The task fails now"), "{}", asked.text);
    let token = asked.form_token();
    let fields = [
        ("verdict", "GIVE_UP"),
        ("confirmed", "yes"),
        ("form_token", token),
    ];
    let settled = owner.post(&path, &fields).await;
    assert_eq!(
        settled.location, "/admin/queue?done=settled",
        "{}",
        settled.text
    );
    assert_eq!(
        owner.get(&path).await.status,
        404,
        "nobody waits for a word"
    );
    let other = [
        ("verdict", "NOT_SUBMITTED"),
        ("confirmed", "yes"),
        ("form_token", token),
    ];
    assert_eq!(owner.post(&path, &other).await.status, 422);
    assert_eq!(
        rows(&server).await,
        [(ActorKind::Person, "SettleSubmission".to_owned())]
    );
}
