//! The page that shows how to connect MCP clients.

use serde_json::Value;

use super::answers::Answer;
use super::server::Server;

const PAGE: &str = "/docs/mcp";

#[tokio::test]
async fn the_page_and_its_files_need_nothing_from_elsewhere() {
    let server = Server::start().await;
    let page = server.rest(None, "GET", PAGE, &Value::Null).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    let text = String::from_utf8(page.bytes.clone()).expect("is UTF-8");
    assert!(text.contains(&format!("{}/api/mcp/mcp", server.url)));

    let links: Vec<&str> = text
        .split(['"'])
        .filter(|part| part.starts_with("../web/"))
        .collect();
    assert!(links.len() >= 3, "style, script and icon");
    for link in links {
        let path = link.trim_start_matches("..");
        let file = server.rest(None, "GET", path, &Value::Null).await;
        assert_eq!(
            (file.status, file.header("x-content-type-options")),
            (200, "nosniff")
        );
        assert!(file.header("cache-control").contains("immutable"));
    }

    let request = server
        .http("GET", PAGE)
        .header("if-none-match", page.header("etag"));
    let again = Answer::read(request.send().await.expect("the server answers")).await;
    assert_eq!((again.status, again.bytes.len()), (304, 0));
}
