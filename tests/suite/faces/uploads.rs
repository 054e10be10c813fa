//! Pictures that are sent ahead: by a signed link, as an agent without eyes for bytes would, or with a key; who
//! may name them afterwards; and addresses, which never lead inside.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use piooy::accounts::{Scope, secrets};
use piooy::assets::Assets;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use uuid::Uuid;

use super::answers::Answer;
use super::server::{QUICK_MODEL, Server, with_key};
use crate::generation::upstream::png;

async fn answer(request: RequestBuilder) -> Answer {
    Answer::read(request.send().await.expect("the server answers")).await
}

/// Sends bytes to a link, without any key.
async fn send(server: &Server, link: &str, bytes: Bytes) -> Answer {
    let path = link.strip_prefix(&server.url).expect("links are ours");
    answer(server.http("PUT", path).body(bytes)).await
}

/// Begins an upload as an agent does: its reference and its link.
async fn begin(server: &Server) -> (String, String) {
    let key = Some(server.test_key.as_str());
    let begun = server
        .tool(key, "create_upload", &json!({}))
        .await
        .of_tool();
    let text = |field: &str| begun["data"][field].as_str().expect("a text").to_owned();
    (text("reference"), text("uploadUrl"))
}

/// Asks for a picture from another one.
async fn edit(server: &Server, key: &str, reference: &str) -> Answer {
    let request = json!({"model": QUICK_MODEL, "prompt": "a pebble", "reference_images": [reference], "wait_seconds": 50});
    server
        .rest(Some(key), "POST", "/api/v1/generate/image", &request)
        .await
}

/// The server's own files and the account `dev`.
async fn inside(server: &Server) -> (Assets, Uuid) {
    let secret = secrets::get_or_create(server.database.store(), "asset-links", 32).await;
    let secret = secret.expect("is there").try_into().expect("32 bytes");
    let place = server.data.path().join("assets");
    let assets = Assets::local(&place, secret, &server.url).expect("a place for files");
    let dev = server.accounts.by_name("dev").await.expect("is there");
    (assets, dev.id)
}

#[tokio::test]
async fn an_agent_uploads_by_link_and_names_what_it_sent() {
    let server = Server::start().await;
    let (reference, link) = begin(&server).await;
    let early = edit(&server, &server.test_key, &reference).await;
    let violation = &early.envelope["details"]["fieldViolations"][0];
    assert_eq!((early.status, early.reason()), (422, "INVALID_ARGUMENT"));
    assert_eq!(violation["field"], "reference_images[0]");

    let sent = send(&server, &link, png()).await;
    assert_eq!(sent.status, 200, "{}", sent.envelope);
    let data = &sent.envelope["data"];
    assert_eq!(data["reference"], reference.as_str());
    assert_eq!(
        (&data["mimeType"], &data["sizeBytes"]),
        (&json!("image/png"), &json!(png().len()))
    );
    assert_eq!(send(&server, &link, png()).await.status, 200, "sent again");
    let other = [&png()[..], b"x"].concat().into();
    let taken = send(&server, &link, other).await;
    assert_eq!((taken.status, taken.reason()), (403, "LINK_INVALID"));

    let edited = edit(&server, &server.test_key, &reference).await;
    assert_eq!(
        edited.envelope["data"]["status"], "SUCCESS",
        "{}",
        edited.envelope
    );

    let made = server.accounts.create("acme", "pro").await;
    made.expect("is new");
    let others = server.key("acme", &[Scope::Generate], true).await;
    let refused = edit(&server, &others, &reference).await;
    assert_eq!(
        (refused.status, refused.reason()),
        (422, "INVALID_ARGUMENT"),
        "{}",
        refused.envelope
    );
}

#[tokio::test]
async fn with_a_key_one_call_does_both() {
    let server = Server::start().await;
    let upload = |key: Option<&str>, bytes: Bytes| {
        answer(with_key(server.http("POST", "/api/v1/uploads"), key).body(bytes))
    };
    let key = server.test_key.as_str();
    let sent = upload(Some(key), png()).await;
    assert_eq!(sent.status, 200, "{}", sent.envelope);
    assert_ne!(sent.header("ratelimit-remaining"), "");
    let reference = sent.envelope["data"]["reference"].as_str().expect("a text");
    let edited = edit(&server, key, reference).await;
    assert_eq!(
        edited.envelope["data"]["status"], "SUCCESS",
        "{}",
        edited.envelope
    );

    assert_eq!(upload(None, png()).await.reason(), "KEY_MISSING");
    let reader = server.key("dev", &[Scope::Read], true).await;
    let refused = upload(Some(&reader), png()).await;
    assert_eq!(
        (refused.status, refused.reason()),
        (403, "INSUFFICIENT_SCOPE")
    );
    for bytes in [&b""[..], b"no picture", b"\0\0\0\x18ftypmp42"] {
        let refused = upload(Some(key), Bytes::from_static(bytes)).await;
        assert_eq!((refused.status, refused.reason()), (422, "INVALID_INPUT"));
    }
}

#[tokio::test]
async fn uploads_are_no_longer_than_requests() {
    let server = Server::with(&[("PIOOY_BODY_MAX", "64KiB")]).await;
    let (_, link) = begin(&server).await;
    let long = Bytes::from([&png()[..], &[0; 64 * 1024]].concat());
    let sent = send(&server, &link, long.clone()).await;
    assert_eq!((sent.status, sent.reason()), (413, "BODY_TOO_LARGE"));
    let by_key = with_key(
        server.http("POST", "/api/v1/uploads"),
        Some(&server.test_key),
    );
    assert_eq!(answer(by_key.body(long)).await.reason(), "BODY_TOO_LARGE");
    assert_eq!(
        send(&server, &link, png()).await.status,
        200,
        "it is still free"
    );
}

#[tokio::test]
async fn an_upload_link_proves_itself_and_expires() {
    let server = Server::start().await;
    let (assets, dev) = inside(&server).await;
    let now = SystemTime::now();
    let minutes_ago = |minutes: u64| {
        let then = now - Duration::from_secs(minutes * 60);
        assets
            .upload_link(&assets.begin_upload(dev, then), then)
            .url
    };
    let expired = send(&server, &minutes_ago(16), png()).await;
    assert_eq!((expired.status, expired.reason()), (403, "LINK_INVALID"));
    assert!(expired.envelope["message"].to_string().contains("expired"));
    assert_eq!(send(&server, &minutes_ago(14), png()).await.status, 200);

    let (_, link) = begin(&server).await;
    let (path, query) = link.split_once('?').expect("a query");
    let another = Uuid::now_v7();
    let (start, _) = path.rsplit_once('/').expect("an id");
    let readable = assets.link(&format!("{dev}/uploads/{another}"), now).url;
    let tampered = [
        format!("{start}/{another}?{query}"),
        link.replace("expires=1", "expires=2"),
        link.replace("signature=", "signature=A"),
        path.to_owned(),
        link.replace(&dev.to_string(), &another.to_string()),
        // A link to read is none to write.
        readable.replace("/files/", "/uploads/"),
    ];
    for link in tampered {
        let refused = send(&server, &link, png()).await;
        assert_eq!(
            (refused.status, refused.reason()),
            (403, "LINK_INVALID"),
            "{link}"
        );
    }
    let misused = link.replacen("/uploads/", "/files/", 1);
    let path = misused.strip_prefix(&server.url).expect("links are ours");
    assert_eq!(
        answer(server.http("GET", path)).await.reason(),
        "LINK_INVALID"
    );
}

#[tokio::test]
async fn no_address_leads_inside() {
    let server = Server::start().await;
    let port = server.url.rsplit(':').next().expect("a port");
    for address in [
        format!("{}/healthz", server.url),
        format!("http://localhost:{port}/healthz"),
        format!("HTTP://2130706433:{port}/healthz"),
        format!("http://[::ffff:127.0.0.1]:{port}/healthz"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let refused = edit(&server, &server.test_key, &address).await;
        assert_eq!(
            (refused.status, refused.reason()),
            (422, "INVALID_ARGUMENT"),
            "{address}"
        );
        let violation = &refused.envelope["details"]["fieldViolations"][0];
        assert_eq!(violation["field"], "reference_images[0]", "{address}");
        let says = violation["description"].as_str().unwrap_or_default();
        assert!(says.contains("public internet"), "{address}: {says}");
    }
    for (reference, says) in [
        ("https://", "is no URL"),
        ("upload://pebble", "is not the reference of an upload"),
        ("file:///etc/passwd", "an https address"),
    ] {
        let refused = edit(&server, &server.test_key, reference).await;
        let violation = &refused.envelope["details"]["fieldViolations"][0];
        let text = violation["description"].as_str().unwrap_or_default();
        assert!(text.contains(says), "{reference}: {text}");
    }
    let key = Some(server.test_key.as_str());
    let none = server
        .rest(key, "GET", "/api/v1/uploads", &Value::Null)
        .await;
    assert_eq!(none.reason(), "METHOD_NOT_ALLOWED");
}
