//! What was spent, over REST and on its page: the figures of the ledger, whatever is asked and whoever looks.

use piooy::ledger::Ledger;
use serde_json::{Value, json};

use super::browser::Browser;
use super::members::joined;
use super::server::{QUICK_MODEL, Server};
use crate::generation::fixture::until;

const SPENDING: &str = "/api/v1/credits/spending";
const USAGE: &str = "/settings/usage";

/// More than this no page weighs, in bytes.
const PAGE_MAX: usize = 100_000;

/// A task of the first live key that has ended; what it cost.
pub async fn live_picture(server: &Server, prompt: &str) -> (String, i64) {
    let key = Some(server.live_key.as_str());
    let asked = json!({"model": QUICK_MODEL, "prompt": prompt, "provider": "sandbox"});
    let made = server
        .rest(key, "POST", "/api/v1/generate/image", &asked)
        .await;
    let id = made.envelope["data"]["taskId"].as_str().expect("a taskId");
    let path = format!("/api/v1/tasks/{id}");
    let look = async || server.rest(key, "GET", &path, &Value::Null).await.envelope;
    until("the end of a task", async || {
        !look().await["data"]["finishedAt"].is_null()
    })
    .await;
    let charged = look().await["data"]["credits"]["charged"].as_i64();
    (id.to_owned(), charged.expect("a number"))
}

#[tokio::test]
async fn days_are_asked_for_in_words_that_mean_some() {
    let server = Server::start().await;
    let ask = async |query: &str| {
        let path = format!("{SPENDING}?{query}");
        let key = Some(server.live_key.as_str());
        server.rest(key, "GET", &path, &Value::Null).await
    };
    for (query, from, to) in [
        ("from=2026-01-01&to=2026-01-31", "2026-01-01", "2026-01-31"),
        ("from=2026-01-31&to=2026-01-31", "2026-01-31", "2026-01-31"),
        ("to=2026-01-30", "2026-01-01", "2026-01-30"),
        ("from=2026-01-01&to=2026-04-02", "2026-01-01", "2026-04-02"),
    ] {
        let said = ask(query).await.envelope;
        let nothing = json!({"from": from, "to": to, "credits": 0, "tasks": 0, "daily": []});
        assert_eq!(said["data"], nothing, "{query}: {said}");
    }
    for (query, field, words) in [
        ("from=yesterday", "from", "must be a day such as 2026-01-31"),
        ("to=2026-02-29", "to", "must be a day such as 2026-01-31"),
        (
            "from=2026-02-02&to=2026-02-01",
            "from",
            "must not be later than the last day",
        ),
        (
            "from=2026-01-01&to=2026-04-03",
            "from",
            "must be at most 91 days before the last day",
        ),
        ("to=1800-01-01", "to", "must be a day such as 2026-01-31"),
        (
            "from=9999-12-31",
            "from",
            "must not be later than the last day",
        ),
    ] {
        let refused = ask(query).await;
        let violation = &refused.envelope["details"]["fieldViolations"][0];
        assert_eq!(refused.status, 422, "{query}: {}", refused.envelope);
        assert_eq!(
            (&violation["field"], &violation["description"]),
            (&json!(field), &json!(words))
        );
    }
}

#[tokio::test]
async fn the_page_shows_what_was_spent_and_its_statement() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let owner = Browser::of_owner(&server).await;
    let empty = owner.get(USAGE).await;
    assert_eq!(empty.status, 200, "{}", empty.text);
    assert!(empty.text.contains("Nothing delivered in these 30 days"));
    assert!(empty.text.contains("Make a key") && !empty.text.contains("<svg"));

    let (first, cost) = live_picture(&server, "a pebble").await;
    let (failed, nothing) = live_picture(&server, "[sandbox:fail=provider_error] a pebble").await;
    assert!(cost > 0 && nothing == 0);
    let key = Some(server.live_key.as_str());
    let said = server
        .rest(key, "GET", SPENDING, &Value::Null)
        .await
        .envelope;
    assert_eq!(
        (&said["data"]["credits"], &said["data"]["tasks"]),
        (&json!(cost), &json!(1))
    );
    assert_eq!(said["data"]["daily"][0]["model"], QUICK_MODEL);

    for days in ["7", "30", "90"] {
        let page = owner.get(&format!("{USAGE}?days={days}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(page.text.len() < PAGE_MAX && !page.text.contains(" style="));
        let picture = page.between("<svg", "</svg>");
        assert!(
            picture.contains(&format!("viewBox=\"0 0 {days} 100\"")),
            "{picture}"
        );
        assert!(
            picture.contains(&format!("{cost} credits, 1 task</title>")),
            "{picture}"
        );
        let row = page.between("class=\"swatch bar-0\"", "</tr>");
        assert!(row.contains(QUICK_MODEL) && row.contains("100 %"), "{row}");
        let left = format!("<dd>{}<span>", 1_000 - cost);
        assert!(page.text.contains(&left), "{}", page.text);
        for task in [&first, &failed] {
            assert!(page.text.contains(task.as_str()));
        }
    }
    let charged = owner
        .get(&format!("{USAGE}?kinds=CAPTURE&taskId={first}"))
        .await;
    let rows = charged.between("<table class=\"dense statement\">", "</table>");
    assert_eq!(rows.matches("<tr>").count(), 2, "{rows}");
    assert!(rows.contains("Charged</span>") && !rows.contains(&failed));

    // The file that the page links to needs nothing but the session.
    let link = charged.between("href=\"/api/v1/credits/transactions.csv", "\"");
    let path = format!(
        "/api/v1/credits/transactions.csv{}",
        link.replace("&#38;", "&")
    );
    let clicked = [("sec-fetch-site", "same-origin")];
    let file = owner.send("GET", &path, &clicked, None).await;
    assert_eq!(file.status, 200, "{}", file.text);
    assert_eq!(file.text.lines().count(), 2, "{}", file.text);
    assert!(
        file.text
            .contains(&format!(",CAPTURE,{cost},held,revenue,"))
    );
}

#[tokio::test]
async fn what_cannot_be_shown_is_said_and_kept() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    for (query, field, kept) in [
        (
            "taskId=7%22%3E%3Ci%3E",
            "taskId",
            "value=\"7&#34;&#62;&#60;i&#62;\"",
        ),
        ("from=2026-02-30", "from", "value=\"2026-02-30\""),
        (
            "page_token=x&kinds=HOLD",
            "pageToken",
            "value=\"HOLD\" checked",
        ),
        ("kinds=GIFT", "kinds[0]", "value=\"HOLD\""),
    ] {
        let page = owner.get(&format!("{USAGE}?{query}")).await;
        assert_eq!(page.status, 422, "{query}: {}", page.text);
        let alert = page.between("role=\"alert\">", "</p>");
        assert!(
            alert.contains(field) && page.text.contains(kept),
            "{}",
            page.text
        );
    }
    assert_eq!(owner.get(&format!("{USAGE}?days=8")).await.status, 200);
    let none = owner.get(&format!("{USAGE}?kinds=EXPIRE")).await;
    assert!(none.text.contains("No movement matches"), "{}", none.text);
    let stranger = Browser::new(&server.url).get(USAGE).await;
    assert_eq!(
        (stranger.status, stranger.location.contains("/signin")),
        (303, true)
    );
}

#[tokio::test]
async fn older_movements_are_a_page_away_and_viewers_see_them_too() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let account = server.accounts.by_name("dev").await.expect("is there");
    let ledger = Ledger::new(server.database.store().clone());
    for number in 2..=30 {
        let note = if number == 2 { "<b>welcome</b>" } else { "" };
        ledger
            .grant(account.id, 1, note, None)
            .await
            .expect("is granted");
    }
    let viewer = joined(&server, &owner, "vi@example.org", "VIEWER").await;
    let first = viewer.get(&format!("{USAGE}?kinds=GRANT")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert!(!first.text.contains("Make a key") && !first.text.contains(">Newest<"));
    let row = |number: u32| format!("<th scope=\"row\">{number}</th>");
    assert!(first.text.contains(&row(30)) && !first.text.contains(&row(5)));
    let (before, _) = first
        .text
        .split_once("\">Older</a>")
        .expect("there is more");
    let older = before
        .rsplit("href=\"")
        .next()
        .expect("a link")
        .replace("&#38;", "&");
    let second = viewer.get(older.trim_end_matches("#statement")).await;
    assert!(
        second.text.contains(&row(5)) && second.text.contains(&row(1)),
        "{}",
        second.text
    );
    assert!(!second.text.contains(&row(6)) && second.text.contains(">Newest<"));
    assert!(
        second.text.contains("&#60;b&#62;welcome"),
        "{}",
        second.text
    );
}
