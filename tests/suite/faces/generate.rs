//! Generating on a page: the form is a request of the API, sent once, and what came of it is shown, whoever asked.

use std::time::Duration;

use serde_json::{Value, json};

use super::browser::{Browser, Page};
use super::server::{QUICK_MODEL, Server};

const PATH: &str = "/generate";

/// What a form for a quick picture sends.
const FORM: [(&str, &str); 4] = [
    ("model", QUICK_MODEL),
    ("prompt", "a <b>pebble</b> & \"more\""),
    ("provider", "sandbox"),
    ("do", "run"),
];

fn with<'f>(fields: &[(&'f str, &'f str)], more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    let kept = fields
        .iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    kept.chain(more).copied().collect()
}

/// The page of a task when it has ended.
async fn ended(browser: &Browser, path: &str) -> Page {
    for _ in 0..600 {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        if !page.text.contains("http-equiv=\"refresh\"") {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the task did not end");
}

#[tokio::test]
async fn a_form_makes_one_picture_however_often_it_is_sent() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let browser = Browser::of_owner(&server).await;
    let shown = browser
        .get(&format!("{PATH}?model={QUICK_MODEL}&prompt=hello"))
        .await;
    assert!(shown.text.contains(">hello</textarea>"), "{}", shown.text);
    assert!(shown.text.contains("Nothing yet"), "{}", shown.text);
    let key = shown
        .between("name=\"idempotency_key\" value=\"", "\"")
        .to_owned();
    let token = shown.form_token().to_owned();
    let sent = [
        ("idempotency_key", key.as_str()),
        ("form_token", token.as_str()),
    ];
    let first = browser.post(PATH, &with(&FORM, &sent)).await;
    assert_eq!(first.status, 303, "{}", first.text);
    let again = browser.post(PATH, &with(&FORM, &sent)).await;
    assert_eq!(again.location, first.location, "the same task");
    let other = with(&FORM, &[("prompt", "another")]);
    let reused = browser.post(PATH, &with(&other, &sent)).await;
    assert_eq!(reused.status, 409, "{}", reused.text);
    assert!(
        reused.text.contains("This form was sent before"),
        "{}",
        reused.text
    );
    assert!(reused.text.contains(">another</textarea>") && !reused.text.contains(&key));

    let page = ended(&browser, &first.location).await;
    assert!(page.text.contains(">Done<"), "{}", page.text);
    for part in [
        "a &#60;b&#62;pebble&#60;/b&#62;",
        "Download",
        ">curl<",
        "generate?from=",
    ] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(
        !page.text.contains("<b>pebble"),
        "what is asked is only text"
    );
    let (_, result) = page.text.split_once("class=\"result\"").expect("a picture");
    let image = result
        .split("<img src=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let image = image.expect("an address").replace("&#38;", "&");
    let picture = browser.get(&image).await;
    assert_eq!(picture.headers["content-type"], "image/png");

    let history = browser.get("/generate/history").await;
    assert_eq!(history.text.matches("class=\"card made\"").count(), 1);
    assert!(!history.text.contains("<b>pebble"));
    let id = first.location.rsplit('/').next().expect("an id");
    let again = browser.get(&format!("{PATH}?from={id}")).await;
    assert!(
        again
            .text
            .contains("a &#60;b&#62;pebble&#60;/b&#62; &#38; &#34;more&#34;</textarea>"),
        "{}",
        again.text
    );
    server.stop().await;
}

#[tokio::test]
async fn what_a_program_makes_is_seen_and_others_do_not_see_it() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let browser = Browser::of_owner(&server).await;
    let arguments = json!({
        "model": QUICK_MODEL, "prompt": "by an agent", "provider": "sandbox", "wait_seconds": 50,
    });
    let made = server
        .tool(Some(&server.live_key), "generate_image", &arguments)
        .await;
    let task = &made.envelope["result"]["structuredContent"]["data"];
    let id = task["taskId"].as_str().expect("a task").to_owned();
    assert!(task.get("request").is_none(), "agents asked for it: {task}");
    let history = browser.get("/generate/history").await;
    assert!(history.text.contains("by an agent") && history.text.contains(&id));
    let credits = task["credits"]["charged"].as_i64().expect("a price");
    assert!(
        history.text.contains(&format!("{credits} credits")),
        "{}",
        history.text
    );
    for (query, is_seen) in [
        ("media=IMAGE", true),
        ("media=VIDEO", false),
        ("status=SUCCESS", true),
        ("status=FAILED", false),
        ("status=nonsense", true),
        ("model=nano-banana-2", true),
        ("model=veo-3-1", false),
    ] {
        let page = browser.get(&format!("/generate/history?{query}")).await;
        assert_eq!(page.text.contains(&id), is_seen, "{query}");
    }
    let other = server.account("other", "pro", 100).await;
    let read = server
        .rest(
            Some(&other),
            "GET",
            &format!("/api/v1/tasks/{id}?with_request=true"),
            &Value::Null,
        )
        .await;
    assert_eq!(read.status, 404);
    let read = server
        .rest(
            Some(&server.live_key),
            "GET",
            &format!("/api/v1/tasks/{id}?with_request=true"),
            &Value::Null,
        )
        .await;
    assert_eq!(read.envelope["data"]["request"]["prompt"], "by an agent");
    assert_eq!(
        browser
            .get("/generate/0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a")
            .await
            .status,
        404
    );
    assert_eq!(browser.get("/generate/nonsense").await.status, 422);
}

#[tokio::test]
async fn what_is_wrong_is_said_beside_what_was_filled_in() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let browser = Browser::of_owner(&server).await;
    let send = async |more: &[(&str, &str)]| browser.submit(PATH, PATH, &with(&FORM, more)).await;
    let price = send(&[("do", "price"), ("resolution", "2K")]).await;
    assert_eq!(price.status, 200);
    assert!(
        price.text.contains("credits</b> of your 1000"),
        "{}",
        price.text
    );
    for (fields, words) in [
        (vec![("prompt", "")], "prompt"),
        (vec![("seed", "-1")], "seed"),
        (vec![("count", "two")], "count"),
        (vec![("model", "no-such")], "no-such"),
        (
            vec![("reference_images", "http://10.0.0.1/x.png")],
            "public internet",
        ),
        (vec![("provider", "")], "set up"),
    ] {
        let page = send(&fields).await;
        assert!(
            (400..600).contains(&page.status),
            "{fields:?}: {}",
            page.status
        );
        let notice = page.between("<p class=\"notice danger\">", "</p>");
        assert!(notice.contains(words), "{fields:?}: {notice}");
        assert!(page.text.contains("</textarea>"), "the form is still there");
    }
    let failed = send(&[("prompt", "[sandbox:fail=content_policy] a fox")]).await;
    let page = ended(&browser, &failed.location).await;
    assert!(page.text.contains("Nothing was charged"), "{}", page.text);

    // Two of the three can be paid for.
    let dear = [
        ("model", "veo-3-1"),
        ("prompt", "[sandbox:delay=60s] waves"),
    ];
    for _ in 0..2 {
        assert_eq!(send(&dear).await.status, 303);
    }
    let page = send(&dear).await;
    assert_eq!(page.status, 402, "{}", page.text);
    assert!(page.text.contains("settings/usage"), "{}", page.text);
}

#[tokio::test]
async fn who_looks_on_runs_nothing() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let owner = Browser::of_owner(&server).await;
    let fields = [("email", "vi@example.org"), ("role", "VIEWER")];
    let invited = owner
        .submit("/settings/account", "/settings/account/members", &fields)
        .await;
    let link = invited.between("<pre tabindex=\"0\"><code>", "</code>");
    let viewer = Browser::new(&server.url);
    let joined = viewer
        .post(
            super::browser::path_of(link),
            &[("password", "correct horse battery")],
        )
        .await;
    assert_eq!(joined.status, 303, "{}", joined.text);
    let page = viewer.get(PATH).await;
    assert!(page.text.contains("You look on"), "{}", page.text);
    assert!(!page.text.contains("id=\"generate\""));
    let token = viewer
        .get("/settings/account")
        .await
        .form_token()
        .to_owned();
    let forced = viewer
        .post(PATH, &with(&FORM, &[("form_token", &token)]))
        .await;
    assert_eq!(forced.status, 403, "{}", forced.text);
    assert_eq!(
        Browser::new(&server.url).get(PATH).await.location,
        "/signin?next=%2Fgenerate"
    );
}

#[tokio::test]
async fn a_task_is_canceled_on_its_page() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let browser = Browser::of_owner(&server).await;
    let slow = with(&FORM, &[("prompt", "[sandbox:delay=30s] a fox")]);
    let begun = browser.submit(PATH, PATH, &slow).await;
    let cancel = format!("{}/cancel", begun.location);
    let page = browser.submit(&begun.location, &cancel, &[]).await;
    assert_eq!(page.location, begun.location, "{}", page.text);
    let page = ended(&browser, &begun.location).await;
    assert!(page.text.contains(">Canceled<"), "{}", page.text);
    let card = browser.get(&format!("{}?part=card", begun.location)).await;
    assert!(card.text.trim_start().starts_with("<li"), "{}", card.text);
}
