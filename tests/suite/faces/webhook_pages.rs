//! The page of webhooks: made, told, sent again and deleted by an owner; seen by the others.

use super::browser::{Browser, Page};
use super::members::joined;
use super::server::Server;
use super::usage::live_picture;
use crate::generation::fixture::until;
use crate::webhooks::receiver::{Receiver, yes};

const PAGE: &str = "/settings/webhooks";

/// Local receivers are allowed, and live keys may have their pictures painted by the sandbox.
async fn server() -> Server {
    let environment = [
        ("PIOOY_EGRESS_PRIVATE", "yes"),
        ("PIOOY_SANDBOX_LIVE", "yes"),
    ];
    Server::with(&environment).await
}

async fn make(owner: &Browser, url: &str) -> Page {
    owner.submit(PAGE, PAGE, &[("url", url)]).await
}

fn secret(page: &Page) -> String {
    format!("whsec_{}", page.between("whsec_", "<"))
}

#[tokio::test]
async fn an_endpoint_from_its_making_to_its_end() {
    let server = server().await;
    let owner = Browser::of_owner(&server).await;
    let receiver = Receiver::start(yes).await;
    let empty = owner.get(PAGE).await;
    assert_eq!(empty.status, 200, "{}", empty.text);
    assert!(
        empty.text.contains("Nobody is told yet") && empty.text.contains("Nothing was sent yet")
    );

    let made = make(&owner, &receiver.url).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let known = secret(&made);
    let (task, _) = live_picture(&server, "a pebble").await;
    let told = receiver.hears(1).await.remove(0);
    assert!(told.is_signed_by(&known), "with the secret that was shown");
    until("a delivery", async || {
        owner.get(PAGE).await.text.contains("Delivered</span>")
    })
    .await;
    let page = owner.get(PAGE).await;
    assert!(!page.text.contains(&known), "it is shown once");
    let row = page.between("<table class=\"dense deliveries\">", "</table>");
    assert!(
        row.contains(&task) && row.contains("204") && row.contains(&receiver.url),
        "{row}"
    );

    // By state, by webhook, and what matches none.
    let id = page.between("/settings/webhooks/", "/delete").to_owned();
    for (query, shown) in [
        ("status=DELIVERED".to_owned(), true),
        ("status=FAILED".to_owned(), false),
        (format!("webhookId={id}"), true),
    ] {
        let page = owner.get(&format!("{PAGE}?{query}")).await;
        assert_eq!(page.text.contains(&task), shown, "{query}: {}", page.text);
    }
    let bad = owner.get(&format!("{PAGE}?webhookId=7")).await;
    let alert = bad.between("role=\"alert\" id=\"problem\">", "</p>");
    assert_eq!(bad.status, 422);
    assert!(alert.starts_with("webhookId: must be a UUID"), "{alert}");

    let again = format!(
        "{PAGE}/deliveries/{}/redeliver",
        page.between("deliveries/", "/redeliver")
    );
    let sent = owner.submit(PAGE, &again, &[]).await;
    assert_eq!(
        (sent.status, sent.location.as_str()),
        (303, "/settings/webhooks?done=sent")
    );
    let told = receiver.hears(2).await;
    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));

    let delete = format!("{PAGE}/{id}/delete");
    let asked = owner.get(&delete).await;
    assert!(
        asked.status == 200 && asked.text.contains(&receiver.url),
        "{}",
        asked.text
    );
    let gone = owner.submit(&delete, &delete, &[]).await;
    assert_eq!(gone.location, "/settings/webhooks?done=deleted");
    let page = owner.get(PAGE).await;
    assert!(page.text.contains("Nobody is told yet") && page.text.contains(&task));
    assert!(page.text.contains("its webhook is gone") && !page.text.contains("/redeliver"));
    assert_eq!(owner.get(&delete).await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn addresses_that_may_not_be_told_are_refused_in_words() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    for url in [
        "http://127.0.0.1:9000/hook",
        "http://169.254.169.254/latest/meta-data",
        "https://user:password@example.com/",
        "ftp://example.com/",
        "nonsense",
        "\"><script>alert(1)</script>",
    ] {
        let page = make(&owner, url).await;
        assert_eq!(page.status, 422, "{url}: {}", page.text);
        let alert = page.between("role=\"alert\" id=\"problem\">", "</p>");
        assert!(alert.starts_with("This address was not taken: "), "{alert}");
        assert!(!page.text.contains("<script>alert"));
        if !url.contains('<') {
            assert!(
                page.text.contains(&format!("value=\"{url}\"")),
                "it is kept"
            );
        }
    }
    assert!(owner.get(PAGE).await.text.contains("Nobody is told yet"));
}

#[tokio::test]
async fn the_signing_secret_is_shown_and_renewed_by_a_deliberate_action() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let at = |below: &str| format!("{PAGE}/{below}");
    let shown = owner.submit(PAGE, &at("secret"), &[]).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    let first = secret(&shown);
    assert_eq!(shown.headers["cache-control"], "no-store");
    assert_eq!(secret(&owner.submit(PAGE, &at("secret"), &[]).await), first);
    let rotate = at("secret/rotate");
    assert!(
        owner
            .get(&rotate)
            .await
            .text
            .contains("for a day with the old one")
    );
    assert_eq!(
        secret(&owner.submit(PAGE, &at("secret"), &[]).await),
        first,
        "only asked"
    );
    let second = secret(&owner.submit(&rotate, &rotate, &[]).await);
    assert_ne!(second, first);
    assert!(!owner.get(PAGE).await.text.contains("whsec_<"));
    assert_eq!(
        owner.get(&at("secret")).await.status,
        405,
        "no link shows it"
    );
}

#[tokio::test]
async fn viewers_see_what_was_sent_and_no_button_that_fails() {
    let server = server().await;
    let owner = Browser::of_owner(&server).await;
    let receiver = Receiver::start(yes).await;
    make(&owner, &receiver.url).await;
    let (task, _) = live_picture(&server, "a pebble").await;
    receiver.hears(1).await;
    for role in ["VIEWER", "MEMBER"] {
        let viewer = joined(&server, &owner, &format!("{role}@example.org"), role).await;
        let page = viewer.get(PAGE).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(page.text.contains(&task) && page.text.contains("Owners of the account"));
        assert!(
            !page.text.contains("<form") && !page.text.contains("/delete"),
            "{}",
            page.text
        );
        let account = viewer.get("/settings/account").await;
        let token = [
            ("form_token", account.form_token()),
            ("url", receiver.url.as_str()),
        ];
        for path in [
            PAGE.to_owned(),
            format!("{PAGE}/secret"),
            format!("{PAGE}/secret/rotate"),
        ] {
            assert_eq!(viewer.post(&path, &token).await.status, 403, "{path}");
        }
    }
    server.stop().await;
}
