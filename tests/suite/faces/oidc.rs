//! Signing in with an OpenID provider: only as whom one is connected with, and never on the provider's mere word.

use super::browser::{Browser, Page, path_of};
use super::server::Server;
use super::signin::owner_with_password;
use crate::fakes::issuer::{CLIENT, Fault, Issuer, SECRET};

const ACCOUNT: &str = "/settings/account";
const CONNECT: &str = "/settings/account/identity";

async fn start() -> (Server, Issuer) {
    let issuer = Issuer::start().await;
    let environment = [
        ("PIOOY_OIDC_ISSUER", issuer.url()),
        ("PIOOY_OIDC_CLIENT_ID", CLIENT),
        ("PIOOY_OIDC_CLIENT_SECRET", SECRET),
        ("PIOOY_OIDC_NAME", "Acme <Login>"),
    ];
    let server = Server::with(&environment).await;
    (server, issuer)
}

/// Where the provider leads somebody back to who was sent to that address.
async fn at_provider(address: &str) -> String {
    let (place, path) = address.split_at(address.find("/authorize").expect("the provider's page"));
    let page = Browser::new(place).get(path).await;
    assert_eq!(page.status, 303, "{page:?}");
    path_of(&page.location).to_owned()
}

/// Sets out from there, signs in, and comes back.
async fn round(browser: &Browser, from: &str) -> Page {
    let page = browser.get(from).await;
    assert_eq!(page.status, 303, "{}", page.text);
    browser.get(&at_provider(&page.location).await).await
}

/// Connects whoever is signed in.
async fn connect(browser: &Browser, fields: &[(&str, &str)]) -> Page {
    let page = browser.submit(ACCOUNT, CONNECT, fields).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let address = page
        .between("content=\"0; url=", "\"")
        .replace("&#38;", "&");
    browser.get(&at_provider(&address).await).await
}

#[tokio::test]
async fn whoever_is_connected_signs_in_and_nobody_else() {
    let (server, issuer) = start().await;
    let owner = Browser::of_owner(&server).await;
    issuer.expect("ann", "ann@acme.example", None);
    let stranger = Browser::new(&server.url);
    let page = stranger.get("/signin?next=/settings/apikeys").await;
    assert!(
        page.text.contains("Sign in with Acme &#60;Login&#62;"),
        "{}",
        page.text
    );
    let page = round(&stranger, "/signin/oidc").await;
    assert_eq!(page.status, 403, "{}", page.text);
    assert!(
        page.text.contains("Nobody here is connected"),
        "{}",
        page.text
    );
    assert!(!stranger.cookies().contains_key("piooy"));

    let before = owner.cookies()["piooy"].clone();
    let page = connect(&owner, &[]).await;
    assert_eq!(page.location, "/settings/account?done=connected");
    assert_ne!(owner.cookies()["piooy"], before, "it is a new session");
    assert!(!owner.cookies().contains_key("piooy-departure"));
    let page = owner.get(ACCOUNT).await;
    assert!(page.text.contains("ann@acme.example"), "{}", page.text);

    let browser = Browser::new(&server.url);
    let page = round(&browser, "/signin/oidc?next=/settings/apikeys").await;
    assert_eq!(page.location, "/settings/apikeys", "{}", page.text);
    assert_eq!(browser.get("/settings/apikeys").await.status, 200);
    // No way leads from here to somewhere else.
    let page = round(&browser, "/signin/oidc?next=//evil.example").await;
    assert_eq!(page.location, ACCOUNT);

    // A key that was published later.
    issuer.change_keys();
    let page = round(&Browser::new(&server.url), "/signin/oidc").await;
    assert_eq!(page.location, ACCOUNT, "{}", page.text);

    // The same address is not the same person.
    issuer.expect("another", "ann@acme.example", None);
    let page = round(&Browser::new(&server.url), "/signin/oidc").await;
    assert_eq!(page.status, 403, "{}", page.text);

    issuer.expect("ann", "ann@acme.example", None);
    let page = owner
        .submit(ACCOUNT, "/settings/account/identity/remove", &[])
        .await;
    assert_eq!(page.location, "/settings/account?done=disconnected");
    let page = round(&Browser::new(&server.url), "/signin/oidc").await;
    assert_eq!(page.status, 403, "{}", page.text);
}

#[tokio::test]
async fn whoever_is_invited_joins_without_a_password() {
    let (server, issuer) = start().await;
    let owner = Browser::of_owner(&server).await;
    issuer.expect("bea", "other@acme.example", None);
    let fields = [("email", "bea@example.org"), ("role", "MEMBER")];
    let page = owner
        .submit(ACCOUNT, "/settings/account/members", &fields)
        .await;
    let link = path_of(page.between("<pre tabindex=\"0\"><code>", "</code>")).to_owned();
    let browser = Browser::new(&server.url);
    let page = browser.get(&link).await;
    assert!(
        page.text.contains("Join with Acme &#60;Login&#62; instead"),
        "{}",
        page.text
    );
    let page = round(&browser, &format!("{link}/oidc")).await;
    assert_eq!(page.location, ACCOUNT, "{}", page.text);
    let page = browser.get(ACCOUNT).await;
    assert!(
        page.text.contains("MEMBER") && page.text.contains("bea@example.org"),
        "{}",
        page.text
    );
    let used = Browser::new(&server.url).get(&format!("{link}/oidc")).await;
    assert_eq!(used.status, 403, "{}", used.text);
    let page = round(&Browser::new(&server.url), "/signin/oidc").await;
    assert_eq!(page.location, ACCOUNT);

    // The owner cannot be whom Bea is.
    let page = connect(&owner, &[]).await;
    assert_eq!(page.status, 403, "{}", page.text);
    assert!(
        page.text.contains("connected to somebody else"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn nothing_that_does_not_hold_is_believed() {
    let (server, issuer) = start().await;
    let owner = Browser::of_owner(&server).await;
    issuer.expect("ann", "ann@acme.example", None);
    connect(&owner, &[]).await;
    let faults = [
        (Fault::Denied, 403, "did not let you in (access_denied)"),
        (Fault::State, 403, "was interrupted"),
        (Fault::Issuer, 403, "was interrupted"),
        (Fault::Nonce, 503, "does not hold"),
        (Fault::Audience, 503, "does not hold"),
        (Fault::TokenIssuer, 503, "does not hold"),
        (Fault::Expired, 503, "does not hold"),
        (Fault::Key, 503, "does not hold"),
        (Fault::Unsigned, 503, "does not hold"),
        (Fault::NoToken, 503, "does not hold"),
        (Fault::Down, 503, "reached at the moment"),
    ];
    for (fault, status, words) in faults {
        issuer.expect("ann", "ann@acme.example", Some(fault));
        let browser = Browser::new(&server.url);
        let page = round(&browser, "/signin/oidc").await;
        assert_eq!(page.status, status, "{fault:?}: {}", page.text);
        assert!(page.text.contains(words), "{fault:?}: {}", page.text);
        assert!(!page.text.contains("<b>no"), "{}", page.text);
        assert!(!browser.cookies().contains_key("piooy"), "{fault:?}");
    }
}

#[tokio::test]
async fn nobody_comes_back_for_somebody_else() {
    let (server, issuer) = start().await;
    let owner = owner_with_password(&server, "ann@example.org").await;
    issuer.expect("ann", "", None);
    // With a password one shows it.
    let page = owner.submit(ACCOUNT, CONNECT, &[]).await;
    assert_eq!(page.status, 422, "{}", page.text);
    let right = [("password", "correct horse battery")];
    let page = connect(&owner, &right).await;
    assert_eq!(page.location, "/settings/account?done=connected");

    // Another browser, and the same one for the second time.
    let browser = Browser::new(&server.url);
    let begun = browser.get("/signin/oidc").await;
    let back = at_provider(&begun.location).await;
    let other = Browser::new(&server.url);
    assert_eq!(other.get(&back).await.status, 403);
    other.get("/signin/oidc").await;
    assert_eq!(other.get(&back).await.status, 403);
    assert!(!other.cookies().contains_key("piooy"));
    let departure = browser.cookies()["piooy-departure"].clone();
    assert_eq!(browser.get(&back).await.status, 303);
    browser.set_cookie("piooy-departure", &departure);
    assert_eq!(browser.get(&back).await.status, 503, "the code was used");

    // What one person began, another does not end.
    let page = owner.submit(ACCOUNT, CONNECT, &right).await;
    let address = page
        .between("content=\"0; url=", "\"")
        .replace("&#38;", "&");
    let back = at_provider(&address).await;
    owner.drop_cookie("piooy");
    owner.drop_cookie("piooy-refresh");
    assert_eq!(owner.get(&back).await.status, 403);
    // A session is no departure, and a departure no session.
    let session = browser.cookies()["piooy"].clone();
    let begun = other.get("/signin/oidc").await;
    let back = at_provider(&begun.location).await;
    let departure = other.cookies()["piooy-departure"].clone();
    other.set_cookie("piooy-departure", &session);
    other.set_cookie("piooy", &departure);
    assert_eq!(other.get(&back).await.status, 403);
    assert_eq!(other.get(ACCOUNT).await.status, 303);
}

#[tokio::test]
async fn without_a_provider_there_is_no_way_to_it() {
    let server = Server::start().await;
    let browser = Browser::new(&server.url);
    let page = browser.get("/signin").await;
    assert!(!page.text.contains("oidc"), "{}", page.text);
    assert_eq!(browser.get("/signin/oidc").await.status, 403);
    let page = browser.get("/signin/oidc/callback?state=a&code=b").await;
    assert_eq!(page.status, 403);
}

#[tokio::test]
async fn a_server_starts_without_its_provider() {
    let environment = [
        ("PIOOY_OIDC_ISSUER", "http://127.0.0.1:1"),
        ("PIOOY_OIDC_CLIENT_ID", CLIENT),
    ];
    let server = Server::with(&environment).await;
    let browser = Browser::of_owner(&server).await;
    assert!(browser.get("/signin").await.status < 400);
    let page = Browser::new(&server.url).get("/signin/oidc").await;
    assert_eq!(page.status, 503, "{}", page.text);
    assert!(page.text.contains("127.0.0.1 can"), "{}", page.text);
}
