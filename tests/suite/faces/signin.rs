//! Ways in: the first link, a password; and the ways that are none.

use super::browser::{Browser, path_of};
use super::server::Server;

const PASSWORD: &str = "correct horse battery";

/// An owner with an address and a password; the browser is signed in.
pub async fn owner_with_password(server: &Server, email: &str) -> Browser {
    let browser = Browser::of_owner(server).await;
    let page = browser
        .submit(
            "/settings/account",
            "/settings/account/email",
            &[("email", email)],
        )
        .await;
    assert_eq!(
        page.location, "/settings/account?done=email",
        "{}",
        page.text
    );
    let fields = [("new_password", PASSWORD)];
    let page = browser
        .submit("/settings/account", "/settings/account/password", &fields)
        .await;
    assert_eq!(
        page.location, "/settings/account?done=password",
        "{}",
        page.text
    );
    browser
}

#[tokio::test]
async fn the_first_link_signs_in_once_and_what_is_made_there_works_everywhere() {
    let server = Server::start().await;
    let (browser, link) = (Browser::new(&server.url), path_of(server.sign_in_link()));
    // Looking changes nothing: programs that preview links do it too.
    for _ in 0..2 {
        let page = browser.get(link).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.headers["cache-control"], "no-store");
    }
    assert!(browser.cookies().is_empty());
    let page = browser.post(link, &[]).await;
    assert_eq!(page.location, "/settings/account");
    let page = browser.get("/settings/account").await;
    assert!(
        page.text.contains("Account dev") && page.text.contains("OWNER"),
        "{}",
        page.text
    );
    assert!(page.text.contains("you run this server"));

    let again = Browser::new(&server.url);
    let page = again.post(link, &[]).await;
    assert_eq!(page.status, 403, "{}", page.text);
    assert!(page.text.contains("does not work any more") && again.cookies().is_empty());

    let fields = [("name", "booth"), ("mode", "test"), ("scopes", "read")];
    let made = browser
        .submit("/settings/apikeys", "/settings/apikeys", &fields)
        .await;
    assert_eq!(made.status, 200, "{}", made.text);
    let key = made.key();
    let null = serde_json::Value::Null;
    let models = server
        .rest(Some(&key), "GET", "/api/v1/models", &null)
        .await;
    assert_eq!(models.status, 200);

    let list = browser.get("/settings/apikeys").await;
    assert!(!list.text.contains(&key) && list.text.contains(&key[..15]));
    let revoke = format!(
        "/settings/apikeys/{}/revoke",
        list.between("/settings/apikeys/", "/revoke")
    );
    let page = browser.submit(&revoke, &revoke, &[]).await;
    assert_eq!(page.location, "/settings/apikeys");
    let models = server
        .rest(Some(&key), "GET", "/api/v1/models", &null)
        .await;
    assert_eq!((models.status, models.reason()), (401, "KEY_REVOKED"));
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_led_to_sign_in_and_back() {
    let server = Server::start().await;
    owner_with_password(&server, "ann@example.org").await;
    let browser = Browser::new(&server.url);
    let page = browser.get("/settings/apikeys?x=1").await;
    assert_eq!(
        (page.status, page.location.as_str()),
        (303, "/signin?next=%2Fsettings%2Fapikeys%3Fx%3D1")
    );
    let page = browser.get(&page.location).await;
    assert!(
        page.text
            .contains("name=\"next\" value=\"/settings/apikeys?x=1\""),
        "{}",
        page.text
    );
    let policy = page.headers["content-security-policy"]
        .to_str()
        .expect("ASCII");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
    ] {
        assert!(
            policy.contains(part) && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    let signed = async |next: &str| {
        let fields = [
            ("email", "ANN@example.org "),
            ("password", PASSWORD),
            ("next", next),
        ];
        let browser = Browser::new(&server.url);
        browser.post("/signin", &fields).await.location
    };
    assert_eq!(
        signed("/settings/apikeys?x=1").await,
        "/settings/apikeys?x=1"
    );
    for elsewhere in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
    ] {
        let refused = browser
            .get(&format!("/signin?next={elsewhere}").replace('\t', "%09"))
            .await;
        assert!(!refused.text.contains("evil"), "{}", refused.text);
    }
    assert_eq!(signed("//evil.example").await, "/settings/account");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_told_alike() {
    let server = Server::start().await;
    owner_with_password(&server, "ann@example.org").await;
    let page = |email: &'static str| {
        let browser = Browser::new(&server.url);
        async move {
            let page = browser.sign_in(email, "not the password").await;
            assert!(browser.cookies().is_empty());
            (page.status, page.text.replace(email, "…"))
        }
    };
    let wrong = page("ann@example.org").await;
    assert_eq!(wrong.0, 422);
    assert!(
        wrong
            .1
            .contains("The e-mail address or the password is not right.")
    );
    assert_eq!(page("bob@example.org").await, wrong);
    assert_eq!(page("<b>bob").await.0, 422);
    let long = "x".repeat(5000);
    let browser = Browser::new(&server.url);
    assert_eq!(browser.sign_in("ann@example.org", &long).await.status, 422);
    assert_eq!(
        browser.sign_in("ann@example.org", PASSWORD).await.status,
        303
    );
}

#[tokio::test]
async fn tries_to_sign_in_are_counted() {
    let server = Server::start().await;
    owner_with_password(&server, "ann@example.org").await;
    let browser = Browser::new(&server.url);
    let mut refused = None;
    for _ in 0..7 {
        let page = browser.sign_in("ann@example.org", "not the password").await;
        if page.status == 429 {
            refused = Some(page);
            break;
        }
    }
    let refused = refused.expect("there is an end to it");
    assert!(
        refused
            .text
            .contains("Too many attempts to sign in; come back in"),
        "{}",
        refused.text
    );
    assert!(refused.headers.contains_key("retry-after"));
    let right = browser.sign_in("Ann@example.org", PASSWORD).await;
    assert_eq!(right.status, 429, "the right password makes no difference");
    assert_eq!(
        browser.sign_in("bob@example.org", PASSWORD).await.status,
        422
    );
}

#[tokio::test]
async fn forms_are_taken_from_this_servers_pages_alone() {
    let server = Server::start().await;
    let browser = Browser::of_owner(&server).await;
    let token = browser
        .get("/settings/account")
        .await
        .form_token()
        .to_owned();
    let fields = [
        ("email", "evil@example.org"),
        ("form_token", token.as_str()),
    ];
    let path = "/settings/account/email";
    let cross: [&[(&str, &str)]; 5] = [
        &[("sec-fetch-site", "cross-site"), ("origin", &server.url)],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[],
    ];
    for headers in cross {
        let page = browser.post_from(path, &fields, headers).await;
        assert_eq!(page.status, 403, "{headers:?}");
    }
    let signin = browser
        .post_from("/signin", &[], &[("sec-fetch-site", "cross-site")])
        .await;
    assert_eq!(signin.status, 403);
    for token in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let fields = [("email", "evil@example.org"), ("form_token", token)];
        assert_eq!(browser.post(path, &fields).await.status, 403, "{token}");
    }
    assert_eq!(
        browser
            .post(path, &[("email", "evil@example.org")])
            .await
            .status,
        403
    );
    let page = browser.get("/settings/account").await;
    assert!(!page.text.contains("evil@example.org"));
    // An older browser says its origin and nothing else.
    let page = browser
        .post_from(path, &fields, &[("origin", &server.url)])
        .await;
    assert_eq!(page.status, 303, "{}", page.text);
}
