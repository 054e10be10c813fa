//! The pages of settings: what is written there is what happens, and what others wrote is only text.

use serde_json::Value;

use super::browser::Browser;
use super::server::Server;

const KEYS: &str = "/settings/apikeys";

#[tokio::test]
async fn a_key_is_made_as_the_form_says() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let fields = [
        ("name", "agent"),
        ("mode", "live"),
        ("scopes", "generate"),
        ("scopes", "read"),
        ("scopes", "keys"),
        ("days", "30"),
        ("cap_hour", "7"),
        ("cap_day", ""),
        ("cap_total", "90"),
    ];
    let made = owner.submit(KEYS, KEYS, &fields).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let key = made.key();
    assert!(key.starts_with("piooy_live_"));
    assert!(made.text.contains("/api/mcp/mcp") && made.text.contains("mcpServers"));
    let listed = server
        .rest(Some(&key), "GET", "/api/v1/apikeys", &Value::Null)
        .await
        .envelope;
    let row = &listed["data"]["apiKeys"][0];
    assert_eq!(row["name"], "agent");
    assert_eq!(
        row["spendingCaps"],
        serde_json::json!({"perHour": 7, "total": 90})
    );
    assert!(row["expiresAt"].is_string());
    let mut page = owner.get(KEYS).await;
    assert!(page.text.contains("7 an hour, 90 in all"), "{}", page.text);
    // When it was last used is written down beside the call.
    for _ in 0..100 {
        let row = page.between("<th scope=\"row\">agent</th>", "</tr>");
        if !row.contains("data-label=\"Last used\">never</td>") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        page = owner.get(KEYS).await;
    }
    panic!("the use was not noted: {}", page.text);
}

#[tokio::test]
async fn what_was_wrong_is_said_on_the_page_and_nothing_is_made() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let wrong: [&[(&str, &str)]; 4] = [
        &[("name", "a<i>b"), ("mode", "live")],
        &[("name", ""), ("scopes", "read")],
        &[("name", "x"), ("scopes", "admin")],
        &[("name", "x"), ("scopes", "read"), ("cap_day", "-1")],
    ];
    for fields in wrong {
        let page = owner.submit(KEYS, KEYS, fields).await;
        assert_eq!(page.status, 422, "{fields:?}");
        assert!(
            page.text.contains("role=\"alert\"") && !page.text.contains("<i>"),
            "{}",
            page.text
        );
    }
    let list = owner.get(KEYS).await;
    assert_eq!(
        list.text.matches("<th scope=\"row\">").count(),
        2,
        "the two of the first start"
    );
}

#[tokio::test]
async fn what_others_wrote_is_only_text() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let name = "<script>alert(1)</script>\"'";
    let made = owner
        .submit(
            KEYS,
            KEYS,
            &[("name", name), ("mode", "test"), ("scopes", "read")],
        )
        .await;
    let list = owner.get(KEYS).await;
    let path = format!(
        "{KEYS}/{}/revoke",
        list.between("/settings/apikeys/", "/revoke")
    );
    let fields = [("email", "<img/src=x>@example.org"), ("role", "VIEWER")];
    let members = owner
        .submit("/settings/account", "/settings/account/members", &fields)
        .await;
    let pages = [made, list, owner.get(&path).await, members];
    for page in pages {
        assert_eq!(page.status, 200);
        assert!(
            !page.text.contains("<script>alert") && !page.text.contains("<img/src"),
            "{}",
            page.text
        );
        assert!(
            !page.text.contains(" style=")
                && !page.text.contains("<style")
                && !page.text.contains(" onclick")
        );
        assert_eq!(page.text.matches("<script").count(), 1);
    }
    let failed = owner.get("/settings/apikeys/%3Cscript%3E/revoke").await;
    assert!(failed.status == 404 && !failed.text.contains("<script>"));
}

#[tokio::test]
async fn every_field_of_a_form_has_a_label() {
    let server = Server::start().await;
    let owner = Browser::of_owner(&server).await;
    let pages = [
        Browser::new(&server.url).get("/signin").await,
        owner.get(KEYS).await,
        owner.get("/settings/account").await,
        owner.get("/settings/usage").await,
        owner.get("/settings/webhooks").await,
    ];
    for page in pages {
        for field in page
            .text
            .split(['<'])
            .filter(|tag| tag.starts_with("input ") || tag.starts_with("select "))
        {
            let is_named = field.contains("type=\"hidden\"")
                || field.contains("type=\"radio\"")
                || field.contains("type=\"checkbox\"")
                || field.contains("aria-label=")
                || field.split("id=\"").nth(1).is_some_and(|rest| {
                    let id = rest.split('"').next().unwrap_or_default();
                    page.text.contains(&format!("<label for=\"{id}\""))
                });
            assert!(is_named, "{field}");
        }
        assert_eq!(page.text.matches("<h1").count(), 1);
    }
}
