//! Members: invited once, doing what their role allows, and gone at once when they are removed.

use std::time::Duration;

use piooy::accounts::Scope;
use serde_json::{Value, json};

use super::browser::{Browser, path_of};
use super::server::{QUICK_MODEL, Server};

const MEMBERS: &str = "/api/v1/members";
const ACCOUNT: &str = "/settings/account";
const PASSWORD: &str = "correct horse battery";

/// The link that the page shows.
async fn invite(owner: &Browser, email: &str, role: &str) -> String {
    let fields = [("email", email), ("role", role)];
    let page = owner
        .submit(ACCOUNT, "/settings/account/members", &fields)
        .await;
    assert_eq!(page.status, 200, "{}", page.text);
    let link = page.between("<pre tabindex=\"0\"><code>", "</code>");
    path_of(link).to_owned()
}

/// Somebody who was invited and has come.
pub async fn joined(server: &Server, owner: &Browser, email: &str, role: &str) -> Browser {
    let link = invite(owner, email, role).await;
    let browser = Browser::new(&server.url);
    let page = browser.post(&link, &[("password", PASSWORD)]).await;
    assert_eq!(page.status, 303, "{}", page.text);
    browser
}

async fn member(server: &Server, email: &str) -> String {
    let key = server.key("dev", &[Scope::Keys], false).await;
    let listed = server
        .rest(Some(&key), "GET", MEMBERS, &Value::Null)
        .await
        .envelope;
    let members = listed["data"]["members"].as_array().expect("a list");
    let found = members.iter().find(|member| member["email"] == email);
    let found = found.unwrap_or_else(|| panic!("no {email} in {listed}"));
    found["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_invitation_lets_in_one_person_once() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let link = invite(&owner, "bea@example.org", "MEMBER").await;
    let browser = Browser::new(&server.url);
    let page = browser.get(&link).await;
    assert!(page.text.contains("bea@example.org") && page.text.contains("dev"));
    let short = browser.post(&link, &[("password", "short")]).await;
    assert_eq!(short.status, 422);
    assert!(
        short.text.contains("10 to 200 characters"),
        "{}",
        short.text
    );
    let page = browser.post(&link, &[("password", PASSWORD)]).await;
    assert_eq!(page.location, ACCOUNT, "{}", page.text);
    assert!(browser.get(ACCOUNT).await.text.contains("MEMBER"));
    let again = Browser::new(&server.url)
        .post(&link, &[("password", PASSWORD)])
        .await;
    assert_eq!(again.status, 403);
    let elsewhere = Browser::new(&server.url);
    assert_eq!(
        elsewhere.sign_in("bea@example.org", PASSWORD).await.status,
        303
    );

    let twice = [("email", "BEA@example.org"), ("role", "OWNER")];
    let page = owner
        .submit(ACCOUNT, "/settings/account/members", &twice)
        .await;
    assert_eq!(page.status, 409, "{}", page.text);
    let withdrawn = invite(&owner, "cy@example.org", "VIEWER").await;
    let path = format!(
        "/settings/account/members/{}/remove",
        member(&server, "cy@example.org").await
    );
    assert_eq!(owner.submit(&path, &path, &[]).await.status, 303);
    assert_eq!(Browser::new(&server.url).get(&withdrawn).await.status, 403);
}

#[tokio::test]
async fn an_invitation_for_somebody_known_is_for_that_person_alone() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let bea = joined(&server, &owner, "bea@example.org", "VIEWER").await;
    let key = server.account("acme", "pro", 0).await;
    let asked = json!({"email": "bea@example.org", "role": "OWNER"});
    let made = server
        .rest(Some(&key), "POST", MEMBERS, &asked)
        .await
        .envelope;
    let link = path_of(made["data"]["link"].as_str().expect("a link")).to_owned();
    let stranger = Browser::new(&server.url);
    let page = stranger
        .post(&link, &[("password", "a password of mine")])
        .await;
    assert_eq!(page.status, 403, "{}", page.text);
    assert!(
        page.text.contains("sign in as bea@example.org first")
            || page.text.contains("Sign in as bea@example.org first")
    );
    let page = owner
        .post(&link, &[("password", "a password of mine")])
        .await;
    assert_eq!(page.status, 403, "{}", page.text);
    let page = bea.post(&link, &[]).await;
    assert_eq!(page.status, 303, "{}", page.text);
    let page = bea.get(ACCOUNT).await;
    assert!(
        page.text.contains("Account acme") && page.text.contains("dev (VIEWER)"),
        "{}",
        page.text
    );
    let dev = page.between("<option value=\"", "\"").to_owned();
    let page = bea
        .submit(ACCOUNT, "/settings/account/switch", &[("account", &dev)])
        .await;
    assert_eq!(page.status, 303);
    assert!(bea.get(ACCOUNT).await.text.contains("Account dev"));
    let other = server
        .accounts
        .create("other", "pro")
        .await
        .expect("is new")
        .id
        .to_string();
    let page = bea
        .submit(ACCOUNT, "/settings/account/switch", &[("account", &other)])
        .await;
    assert_eq!(page.status, 404, "{}", page.text);
}

#[tokio::test]
async fn a_role_allows_what_it_says_and_no_more() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let viewer = joined(&server, &owner, "vi@example.org", "VIEWER").await;
    let member = joined(&server, &owner, "mo@example.org", "MEMBER").await;
    let own = [
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/json"),
    ];
    let picture =
        json!({"model": QUICK_MODEL, "prompt": "a pebble", "provider": "sandbox"}).to_string();
    let generate = async |browser: &Browser| {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client");
        let cookies = browser.cookies();
        let mut request = client.post(format!("{}/api/v1/generate/image", server.url));
        for (name, value) in own {
            request = request.header(name, value);
        }
        let request = request.header("cookie", format!("piooy={}", cookies["piooy"]));
        let answer = request
            .body(picture.clone())
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        (
            status,
            answer.json::<Value>().await.expect("JSON")["reason"].clone(),
        )
    };
    assert_eq!(generate(&viewer).await, (403, json!("INSUFFICIENT_SCOPE")));
    assert_ne!(generate(&member).await.0, 403);
    for browser in [&viewer, &member] {
        let page = browser.get("/settings/apikeys").await;
        assert_eq!(page.status, 403);
        assert!(
            page.text.contains("This needs the scope keys"),
            "{}",
            page.text
        );
        let account = browser.get(ACCOUNT).await;
        assert!(account.status == 200 && !account.text.contains("Invite somebody"));
        let fields = [
            ("form_token", account.form_token()),
            ("name", "x"),
            ("scopes", "read"),
        ];
        assert_eq!(browser.post("/settings/apikeys", &fields).await.status, 403);
        let fields = [
            ("form_token", account.form_token()),
            ("email", "x@example.org"),
            ("role", "OWNER"),
        ];
        assert_eq!(
            browser
                .post("/settings/account/members", &fields)
                .await
                .status,
            403
        );
    }
    // A key that makes keys does not make owners, unless it may do all that an owner may.
    let asked = json!({"email": "eve@example.org", "role": "OWNER"});
    for (scopes, test) in [
        (&[Scope::Read, Scope::Keys][..], false),
        (&[Scope::Generate, Scope::Read, Scope::Keys], true),
    ] {
        let key = server.key("dev", scopes, test).await;
        let refused = server.rest(Some(&key), "POST", MEMBERS, &asked).await;
        assert_eq!(
            (refused.status, refused.reason()),
            (403, "INSUFFICIENT_SCOPE")
        );
    }
}

#[tokio::test]
async fn who_is_removed_is_out_at_once_and_the_last_owner_stays() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let second = joined(&server, &owner, "bea@example.org", "OWNER").await;
    let id = member(&server, "bea@example.org").await;
    let first = member(&server, "").await;
    let role = |id: &str| format!("/settings/account/members/{id}/role");
    let remove = |id: &str| format!("/settings/account/members/{id}/remove");

    let page = owner
        .submit(ACCOUNT, &role(&id), &[("role", "VIEWER")])
        .await;
    assert_eq!(page.status, 303, "{}", page.text);
    assert_eq!(
        second.get("/settings/apikeys").await.status,
        403,
        "a viewer now"
    );
    for attempt in [
        owner
            .submit(ACCOUNT, &role(&first), &[("role", "MEMBER")])
            .await,
        owner.submit(ACCOUNT, &remove(&first), &[]).await,
    ] {
        assert_eq!(attempt.status, 422);
        assert!(
            attempt.text.contains("An account needs an owner"),
            "{}",
            attempt.text
        );
    }
    assert_eq!(owner.submit(ACCOUNT, &remove(&id), &[]).await.status, 303);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(second.get(ACCOUNT).await.status, 303);
    let page = Browser::new(&server.url)
        .sign_in("bea@example.org", PASSWORD)
        .await;
    assert!(page.status == 404 && page.text.contains("not a member of any account"));
}

#[tokio::test]
async fn two_owners_cannot_remove_each_other() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    joined(&server, &owner, "bea@example.org", "OWNER").await;
    let (one, two) = (
        member(&server, "").await,
        member(&server, "bea@example.org").await,
    );
    let key = server
        .key("dev", &[Scope::Generate, Scope::Read, Scope::Keys], false)
        .await;
    let remove = async |id: &str| {
        let path = format!("{MEMBERS}/{id}");
        server
            .rest(Some(&key), "DELETE", &path, &Value::Null)
            .await
            .status
    };
    let (first, second) = tokio::join!(remove(&one), remove(&two));
    let mut answers = [first, second];
    answers.sort();
    assert_eq!(answers, [200, 422]);
}
