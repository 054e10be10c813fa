//! What was spent, told by day and model, is what the ledger charged.

use serde_json::{Value, json};

use super::browser::Browser;
use super::server::{QUICK_MODEL, Server};

const SPENDING: &str = "/api/v1/credits/spending";

async fn made(server: &Server, key: &str, request: Value) -> Value {
    let asked = server
        .rest(Some(key), "POST", "/api/v1/generate", &request)
        .await
        .envelope;
    let id = asked["data"]["taskId"]
        .as_str()
        .unwrap_or_else(|| panic!("{asked}"));
    let path = format!("/api/v1/tasks/{id}?wait_seconds=50");
    let task = server.rest(Some(key), "GET", &path, &Value::Null).await;
    task.envelope["data"].clone()
}

#[tokio::test]
async fn what_was_spent_is_what_the_ledger_charged_by_day_and_model() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let key = server.account("spender", "pro", 1000).await;
    let picture = |model: &str, prompt: &str| json!({"model": model, "prompt": prompt, "provider": "sandbox"});
    let first = made(&server, &key, picture(QUICK_MODEL, "one")).await;
    made(&server, &key, picture(QUICK_MODEL, "two")).await;
    let other = made(&server, &key, picture("z-image-turbo", "three")).await;
    let failed = made(
        &server,
        &key,
        picture(QUICK_MODEL, "[sandbox:fail=content_policy] x"),
    )
    .await;
    assert_eq!(failed["status"], "FAILED");
    let test_key = server
        .key(
            "spender",
            &[
                piooy::accounts::Scope::Generate,
                piooy::accounts::Scope::Read,
            ],
            true,
        )
        .await;
    made(&server, &test_key, picture(QUICK_MODEL, "rehearsed")).await;
    // One of them ended the day before.
    let id: uuid::Uuid = first["taskId"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a UUID");
    let client = server
        .database
        .store()
        .client()
        .await
        .expect("a connection");
    client
        .batch_execute("SET session_replication_role = replica")
        .await
        .expect("a superuser may");
    let moved = client
        .execute(
            "UPDATE tasks SET finished_at = finished_at - interval '1 day' WHERE id = $1",
            &[&id],
        )
        .await
        .expect("it can be moved");
    assert_eq!(moved, 1);

    let told = server
        .rest(Some(&key), "GET", SPENDING, &Value::Null)
        .await
        .envelope;
    let told = &told["data"];
    let rows = told["spending"].as_array().expect("a list");
    let (credits, free) = (
        first["credits"]["charged"].clone(),
        other["credits"]["charged"].clone(),
    );
    let days: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["model"].clone(),
                row["credits"].clone(),
                row["tasks"].clone(),
            )
        })
        .collect();
    assert_eq!(
        days,
        [
            (json!(QUICK_MODEL), credits.clone(), json!(1)),
            (json!(QUICK_MODEL), credits.clone(), json!(1)),
            (json!("z-image-turbo"), free, json!(1)),
        ],
        "{told}"
    );
    assert!(rows[0]["day"].as_str() < rows[1]["day"].as_str(), "{told}");
    assert_eq!(rows[1]["day"], told["to"]);
    let captures = server
        .rest(
            Some(&key),
            "GET",
            "/api/v1/credits/transactions?kinds=CAPTURE",
            &Value::Null,
        )
        .await
        .envelope;
    let captures = captures["data"]["transactions"]
        .as_array()
        .expect("a list")
        .clone();
    let charged: i64 = captures
        .iter()
        .filter_map(|entry| entry["amount"].as_i64())
        .sum();
    assert_eq!(told["credits"], charged);
    assert_eq!(told["tasks"], 3);

    let only = format!(
        "{SPENDING}?from={0}&to={0}",
        told["to"].as_str().expect("a day")
    );
    let only = server
        .rest(Some(&key), "GET", &only, &Value::Null)
        .await
        .envelope;
    assert_eq!(only["data"]["tasks"], 2);
    for wrong in [
        "from=yesterday",
        "to=2026-02-30",
        "to=2026-1-1",
        "from=2026-11-02&to=2026-11-01",
        "from=2024-01-01&to=2026-01-01",
        "to=0001-01-01",
    ] {
        let answer = server
            .rest(
                Some(&key),
                "GET",
                &format!("{SPENDING}?{wrong}"),
                &Value::Null,
            )
            .await;
        assert_eq!(answer.status, 422, "{wrong}: {}", answer.envelope);
    }
    let whole = server
        .rest(
            Some(&key),
            "GET",
            &format!("{SPENDING}?from=2025-11-24&to=2026-11-24"),
            &Value::Null,
        )
        .await;
    assert_eq!(whole.status, 200, "366 days: {}", whole.envelope);
}

#[tokio::test]
async fn the_page_tells_where_credits_went() {
    let server = Server::with(&[("PIOOY_SANDBOX_LIVE", "yes")]).await;
    let browser = Browser::of_owner(&server).await;
    let empty = browser.get("/settings/usage").await;
    assert!(
        empty.text.contains("Nothing was spent in these days"),
        "{}",
        empty.text
    );
    let request = json!({"model": QUICK_MODEL, "prompt": "a pebble", "provider": "sandbox"});
    let task = made(&server, &server.live_key, request).await;
    let (id, charged) = (
        task["taskId"].as_str().expect("an id"),
        &task["credits"]["charged"],
    );
    let page = browser.get("/settings/usage?days=7").await;
    assert!(
        page.text
            .contains(&format!("<b>{charged} credits</b> for 1 task,")),
        "{}",
        page.text
    );
    assert!(
        page.text.contains(&format!("generate/{id}")),
        "{}",
        page.text
    );
    assert_eq!(page.text.matches("class=\"day\"").count(), 7);
    assert!(!page.text.contains("style="));
    let captures = browser.get("/settings/usage?kind=CAPTURE").await;
    assert!(captures.text.contains(">Charged</td>") && !captures.text.contains(">Held</td>"));
    let own = [("sec-fetch-site", "same-origin")];
    let path = "/api/v1/credits/transactions.csv";
    let csv = browser.send("GET", path, &own, None).await;
    assert_eq!(csv.status, 200);
    assert!(
        csv.text.contains("CAPTURE") && csv.text.contains(id),
        "{}",
        csv.text
    );
}
