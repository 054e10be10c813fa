//! Sessions: a new one at each sign-in, refreshed in silence, and over everywhere when they are over.

use std::time::Duration;

use piooy::people::{People, Refresh};
use serde_json::json;

use super::browser::{Browser, Page};
use super::server::{Replica, Server};
use super::signin::owner_with_password;

const ACCESS: &str = "piooy";
const REFRESH: &str = "piooy-refresh";
const ACCOUNT: &str = "/settings/account";

#[tokio::test]
async fn every_sign_in_begins_another_session_and_ends_the_one_before() {
    let server = Server::start().await;
    let browser = owner_with_password(&server, "ann@example.org").await;
    let before = browser.cookies();
    let planted = Browser::new(&server.url);
    planted.set_cookie(ACCESS, &before[ACCESS]);
    planted.set_cookie(REFRESH, &before[REFRESH]);
    let page = planted
        .sign_in("ann@example.org", "correct horse battery")
        .await;
    assert_eq!(page.status, 303);
    let after = planted.cookies();
    assert_ne!(after[ACCESS], before[ACCESS]);
    let session = |refresh: &str| refresh.split('.').next().expect("two parts").to_owned();
    assert_ne!(session(&after[REFRESH]), session(&before[REFRESH]));
    assert_eq!(planted.get(ACCOUNT).await.status, 200);
    assert_eq!(
        browser.get(ACCOUNT).await.status,
        303,
        "the session before is over"
    );
    assert!(browser.cookies().is_empty());
}

#[tokio::test]
async fn a_session_is_refreshed_in_silence_and_an_old_token_ends_it() {
    let server = Server::start().await;
    let browser = Browser::of_owner(&server).await;
    let first = browser.cookies();
    browser.drop_cookie(ACCESS);
    assert_eq!(browser.get(ACCOUNT).await.status, 200);
    let second = browser.cookies();
    assert!(second.contains_key(ACCESS));
    assert_ne!(second[REFRESH], first[REFRESH]);

    // A tab that woke at the same moment shows the token before, and keeps what the other was given.
    let tab = Browser::new(&server.url);
    tab.set_cookie(REFRESH, &first[REFRESH]);
    assert_eq!(tab.get(ACCOUNT).await.status, 200);
    assert_eq!(tab.cookies()[REFRESH], first[REFRESH]);

    browser.drop_cookie(ACCESS);
    assert_eq!(browser.post("/session/refresh", &[]).await.status, 204);
    let thief = Browser::new(&server.url);
    thief.set_cookie(REFRESH, &first[REFRESH]);
    assert_eq!(
        thief.get(ACCOUNT).await.status,
        303,
        "the token is two older"
    );
    assert_eq!(
        browser.get(ACCOUNT).await.status,
        303,
        "nobody has the session any more"
    );
    assert_eq!(browser.post("/session/refresh", &[]).await.status, 403);
}

#[tokio::test]
async fn tokens_that_are_none_are_no_way_in() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await.cookies();
    let (said, _) = owner[ACCESS].rsplit_once('.').expect("three parts");
    let forged = format!("{said}.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for access in ["", "x", "a.b.c", &forged] {
        let browser = Browser::new(&server.url);
        browser.set_cookie(ACCESS, access);
        browser.set_cookie(REFRESH, "01890000000070008000000000000000.x");
        assert_eq!(browser.get(ACCOUNT).await.status, 303, "{access}");
    }
    // Nor is a session's token a key.
    let null = serde_json::Value::Null;
    let models = server
        .rest(Some(&owner[ACCESS]), "GET", "/api/v1/models", &null)
        .await;
    assert_eq!((models.status, models.reason()), (401, "TOKEN_INVALID"));
}

#[tokio::test]
async fn a_session_that_nobody_uses_expires() {
    let server = Server::start().await;
    let browser = Browser::of_owner(&server).await;
    let client = server
        .database
        .store()
        .client()
        .await
        .expect("a connection");
    let ended = client.execute(
        "UPDATE sessions SET expires_at = now() - interval '1 second'",
        &[],
    );
    assert_eq!(ended.await.expect("a session"), 1);
    let people = People::open(server.database.store().clone())
        .await
        .expect("people");
    let refresh = people
        .refresh(&browser.cookies()[REFRESH], std::time::SystemTime::now())
        .await;
    assert!(matches!(refresh, Ok(Refresh::Ended)), "{refresh:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(browser.get(ACCOUNT).await.status, 303);
}

#[tokio::test]
async fn whatever_ends_a_session_ends_it_on_every_replica_within_a_second() {
    let server = Server::start().await;
    let replica = Replica::of(&server).await;
    let browser = owner_with_password(&server, "ann@example.org").await;

    let there = browser.at(&replica.url);
    assert_eq!(there.get(ACCOUNT).await.status, 200);
    let page = browser.submit(ACCOUNT, "/signout", &[]).await;
    assert_eq!((page.status, page.location.as_str()), (303, "/signin"));
    assert!(browser.cookies().is_empty());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(there.get(ACCOUNT).await.status, 303, "signed out");

    let other = Browser::new(&replica.url);
    assert_eq!(
        other
            .sign_in("ann@example.org", "correct horse battery")
            .await
            .status,
        303
    );
    assert_eq!(
        browser
            .sign_in("ann@example.org", "correct horse battery")
            .await
            .status,
        303
    );
    assert_eq!(other.get(ACCOUNT).await.status, 200);
    let fields = [
        ("password", "correct horse battery"),
        ("new_password", "another horse battery"),
    ];
    let page = browser
        .submit(ACCOUNT, "/settings/account/password", &fields)
        .await;
    assert_eq!(
        page.location, "/settings/account?done=password",
        "{}",
        page.text
    );
    assert_eq!(browser.get(ACCOUNT).await.status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(other.get(ACCOUNT).await.status, 303, "the password changed");
    replica.stop().await;
}

async fn get(browser: &Browser, path: &str, headers: &[(&str, &str)]) -> Page {
    browser.send("GET", path, headers, None).await
}

#[tokio::test]
async fn rest_takes_a_session_from_this_servers_pages_alone() {
    let server = Server::start().await;
    let browser = Browser::of_owner(&server).await;
    let own = get(
        &browser,
        "/api/v1/models",
        &[("sec-fetch-site", "same-origin")],
    )
    .await;
    assert_eq!(own.status, 200, "{}", own.text);
    let own = get(&browser, "/api/v1/credits", &[("origin", &server.url)]).await;
    assert!(own.text.contains("\"account\":\"dev\""), "{}", own.text);
    let others: [&[(&str, &str)]; 4] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example")],
        &[],
    ];
    for headers in others {
        let page = get(&browser, "/api/v1/models", headers).await;
        assert_eq!(page.status, 403, "{headers:?}");
        assert!(page.text.contains("ORIGIN_NOT_ALLOWED"));
    }
    // A key goes before a cookie.
    let bearer = format!("Bearer {}", server.test_key);
    let with_key = get(&browser, "/api/v1/models", &[("authorization", &bearer)]).await;
    assert_eq!(with_key.status, 200);
    let wrong = get(
        &browser,
        "/api/v1/models",
        &[
            ("authorization", "Bearer x"),
            ("sec-fetch-site", "same-origin"),
        ],
    )
    .await;
    assert_eq!(wrong.status, 401);
    // No other face takes a cookie.
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let headers = [
        ("sec-fetch-site", "same-origin"),
        ("accept", "application/json, text/event-stream"),
    ];
    let mcp = browser
        .send("POST", "/api/mcp/mcp", &headers, Some(message))
        .await;
    assert!(mcp.status == 401 || mcp.status == 415, "{}", mcp.text);
}
