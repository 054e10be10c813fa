//! Files by signed links, as browsers and players ask for them (RFC 9110 §13 and §14).

use std::time::{Duration, SystemTime};

use piooy::accounts::secrets;
use piooy::assets::Assets;
use serde_json::Value;

use super::answers::Answer;
use super::server::Server;

async fn get(server: &Server, link: &str, headers: &[(&str, &str)]) -> Answer {
    let path = link.strip_prefix(&server.url).expect("links are ours");
    let mut request = server.http("GET", path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await.expect("the server answers")).await
}

#[tokio::test]
async fn results_are_downloaded_whole_in_parts_and_not_again() {
    let server = Server::start().await;
    let task = server.picture().await;
    let output = &task["outputs"][0];
    let link = output["url"].as_str().expect("a link");
    let size = output["sizeBytes"].as_u64().expect("a size");

    let whole = get(&server, link, &[]).await;
    assert_eq!(
        (whole.status, whole.header("content-type")),
        (200, "image/png")
    );
    assert_eq!(whole.bytes.len() as u64, size);
    assert!(whole.bytes.starts_with(b"\x89PNG"));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("x-content-type-options"), "nosniff");

    assert_eq!(whole.header("content-disposition"), "", "it is shown");
    let saved = get(&server, &format!("{link}&download=1"), &[]).await;
    let task_id = task["taskId"].as_str().expect("a taskId");
    let named = format!("attachment; filename=\"{task_id}-0.png\"");
    assert_eq!(saved.header("content-disposition"), named);

    let part = get(&server, link, &[("range", "bytes=1-3")]).await;
    assert_eq!(
        (part.status, part.bytes.as_slice()),
        (206, b"PNG".as_slice())
    );
    assert_eq!(part.header("content-range"), format!("bytes 1-3/{size}"));
    let beyond = get(&server, link, &[("range", "bytes=999999999-")]).await;
    assert_eq!((beyond.status, beyond.bytes.len()), (416, 0));
    assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
    let etag = whole.header("etag");
    let known = get(&server, link, &[("if-none-match", etag)]).await;
    assert_eq!(
        (known.status, known.bytes.len(), known.header("etag")),
        (304, 0, etag)
    );

    let path = link.strip_prefix(&server.url).expect("links are ours");
    let head = server
        .http("HEAD", path)
        .send()
        .await
        .expect("the server answers");
    let head = Answer::read(head).await;
    assert_eq!((head.status, head.bytes.len()), (200, 0));
    assert_eq!(head.header("content-length"), size.to_string());

    let thumbnail = output["thumbnailUrl"].as_str().expect("a link");
    let thumbnail = get(&server, thumbnail, &[]).await;
    assert_eq!(
        (thumbnail.status, thumbnail.header("content-type")),
        (200, "image/jpeg")
    );
    assert!(thumbnail.bytes.len() < whole.bytes.len());
}

#[tokio::test]
async fn links_prove_themselves_and_expire() {
    let server = Server::start().await;
    let secret = secrets::get_or_create(server.database.store(), "asset-links", 32).await;
    let secret = secret.expect("is there").try_into().expect("32 bytes");
    let assets = Assets::local(server.data.path(), secret, &server.url).expect("a place for files");
    let now = SystemTime::now();
    let link = |at| assets.link("outputs/nobody/nothing.png", at).url;

    let fresh = link(now);
    let absent = get(&server, &fresh, &[]).await;
    assert_eq!((absent.status, absent.reason()), (404, "FILE_NOT_FOUND"));
    let expired = get(&server, &link(now - Duration::from_secs(26 * 60 * 60)), &[]).await;
    assert_eq!((expired.status, expired.reason()), (403, "LINK_INVALID"));
    let message = expired.envelope["message"].as_str().unwrap_or_default();
    assert!(message.contains("expired"), "{message}");

    let (path, query) = fresh.split_once('?').expect("a query");
    let tampered = [
        format!("{path}x?{query}"),
        fresh.replace("expires=1", "expires=2"),
        fresh.replace("signature=", "signature=A"),
        path.to_owned(),
        format!("{path}?expires=soon&signature=x"),
        format!("{}/files/../settings?{query}", server.url),
    ];
    for link in tampered {
        let answer = get(&server, &link, &[]).await;
        assert_eq!(
            answer.envelope["code"].as_i64().map(|code| code > 0),
            Some(true),
            "{link}"
        );
        assert!([403, 404].contains(&answer.status), "{link}");
        assert_ne!(answer.reason(), "FILE_NOT_FOUND", "{link}");
        assert_ne!(answer.envelope, Value::Null, "{link}");
    }
}
