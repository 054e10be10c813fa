//! Pictures by address and by upload, and what must not be seen: had before anything is held, asked for once,
//! and no reason for a repeated call to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use piooy::assets::{AssetError, UPLOAD_LIFE};
use piooy::generation::{Picture, Request, SubmitError};
use tokio::net::TcpListener;
use url::Url;

use super::fixture::{CREDITS, Fixture, PICTURE, ended, refused, routed, run, settings};
use super::upstream::{Upstream, png, providers};

/// A site with a picture that may be taken down.
#[derive(Clone, Default)]
struct Site {
    asked: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
}

impl Site {
    async fn start() -> (Self, Url) {
        let site = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/fox.png", get(picture))
            .route("/page.png", get(async || Html("<html>a fox</html>")))
            .with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (site, Url::parse(&format!("http://{address}")).unwrap())
    }
}

/// Says that it is text: nobody is to believe it.
async fn picture(State(site): State<Site>) -> Response {
    site.asked.fetch_add(1, Ordering::SeqCst);
    match site.is_down.load(Ordering::SeqCst) {
        true => StatusCode::GONE.into_response(),
        false => ([("content-type", "text/plain")], png()).into_response(),
    }
}

fn with(pictures: Vec<Picture>) -> Request {
    Request {
        reference_images: pictures,
        ..routed("a fox")
    }
}

fn at(url: &Url, path: &str) -> Picture {
    Picture::Url(url.join(path).unwrap())
}

#[tokio::test]
async fn a_picture_is_fetched_once_however_often_the_call_is_repeated() {
    let (fixture, upstream) = (Fixture::new().await, Upstream::new("fal"));
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let (site, url) = Site::start().await;
    let request = || with(vec![at(&url, "fox.png"), Picture::Inline(png())]);

    let quote = node.quote(&caller, &request()).await.unwrap();
    assert!(quote.unknowns.iter().any(|text| text.contains("reference")));
    assert_eq!(site.asked.load(Ordering::SeqCst), 0, "a quote asks nobody");

    let task = node.submit(&caller, request(), Some("k")).await.unwrap();
    ended(&node, &caller, task.id).await;
    assert_eq!(upstream.asked()[0].references, [png(), png()]);
    site.is_down.store(true, Ordering::SeqCst);
    let again = node.submit(&caller, request(), Some("k")).await.unwrap();
    assert_eq!(again.id, task.id);
    let other = with(vec![at(&url, "fox.png?large"), Picture::Inline(png())]);
    let reused = node.submit(&caller, other, Some("k")).await.unwrap_err();
    assert!(
        matches!(reused, SubmitError::IdempotencyKeyReused),
        "{reused}"
    );
    assert_eq!(site.asked.load(Ordering::SeqCst), 1);
    assert_eq!(fixture.balance().await.available, CREDITS - PICTURE);
    fixture.assert_sound().await;
}

#[tokio::test]
async fn a_picture_that_cannot_be_had_costs_nothing() {
    let (fixture, upstream) = (Fixture::new().await, Upstream::new("fal"));
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let (_, url) = Site::start().await;
    let upload = fixture
        .assets
        .begin_upload(fixture.account.id, SystemTime::now());
    let table = [
        (
            at(&url, "absent.png"),
            "answered by its server with status 404",
        ),
        (at(&url, "page.png"), "allowed are PNG, JPEG, WebP and GIF"),
        (
            at(&url, "ftp://127.0.0.1/fox.png"),
            "begin with https:// or http://",
        ),
        (
            at(&url, "http://169.254.169.254/"),
            "without an address on the public internet",
        ),
        (at(&url, "http://127.0.0.1:22/"), "port 80, 443"),
        (Picture::Upload(upload.id), "its picture was not sent yet"),
    ];
    for (picture, says) in table {
        let request = with(vec![Picture::Inline(png()), picture]);
        let error = node.submit(&caller, request, Some("k")).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("reference image 2"), "{error}");
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(upstream.submissions(), 0);
    assert_eq!(fixture.balance().await.available, CREDITS);
    let good = with(vec![at(&url, "fox.png")]);
    node.submit(&caller, good, Some("k")).await.unwrap();
}

#[tokio::test]
async fn an_upload_belongs_to_its_account_and_ends() {
    let (fixture, upstream) = (Fixture::new().await, Upstream::new("fal"));
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let (caller, now) = (fixture.live().await, SystemTime::now());
    let (assets, account_id) = (&fixture.assets, fixture.account.id);
    let upload = assets.begin_upload(account_id, now);
    assets.put_upload(upload, png()).await.unwrap();
    assets.put_upload(upload, png()).await.unwrap();
    let other = assets.put_upload(upload, [&png()[..], b"x"].concat().into());
    assert!(matches!(other.await, Err(AssetError::UploadTaken)));

    let request = || with(vec![Picture::Upload(upload.id)]);
    run(&node, &caller, request()).await;
    assert_eq!(upstream.asked()[0].references, [png()]);

    let stranger = fixture.stranger().await;
    fixture.grant(stranger.account_id(), CREDITS).await;
    let error = refused(&node, &stranger, request()).await;
    let is_unknown = matches!(
        error,
        SubmitError::ReferenceImage {
            number: 1,
            error: AssetError::UploadUnknown
        }
    );
    assert!(is_unknown, "{error}");

    let old = assets.begin_upload(account_id, now - UPLOAD_LIFE - Duration::from_secs(1));
    assets.put_upload(old, png()).await.unwrap();
    let error = refused(&node, &caller, with(vec![Picture::Upload(old.id)])).await;
    assert!(error.to_string().contains("has expired"), "{error}");
}

#[tokio::test]
async fn a_result_is_worked_on_by_its_link() {
    let (fixture, upstream) = (Fixture::new().await, Upstream::new("fal"));
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let (caller, now) = (fixture.live().await, SystemTime::now());
    let first = run(&node, &caller, routed("a fox")).await;
    let link = |at| {
        let url = first.outputs[0].links(&fixture.assets, at).url;
        assert!(
            url.starts_with("https://piooy.test/"),
            "nobody is there: {url}"
        );
        Picture::Url(Url::parse(&url).unwrap())
    };
    run(&node, &caller, with(vec![link(now)])).await;
    assert_eq!(upstream.asked()[1].references, [png()]);

    let old = link(now - Duration::from_secs(26 * 60 * 60));
    let error = refused(&node, &caller, with(vec![old])).await.to_string();
    assert!(error.contains("the link has expired"), "{error}");
}

#[tokio::test]
async fn what_must_not_be_seen_reaches_the_models_that_take_it() {
    let (fixture, upstream) = (Fixture::new().await, Upstream::new("fal"));
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let without = |model: &str, strict| Request {
        model: model.to_owned(),
        negative_prompt: Some("a dog".to_owned()),
        strict,
        ..routed("a fox")
    };
    let clip = run(&node, &caller, without("tiny-clip", true)).await;
    assert_eq!(clip.adjustments, []);
    assert_eq!(
        upstream.asked()[0].negative_prompt.as_deref(),
        Some("a dog")
    );

    let picture = run(&node, &caller, without("tiny", false)).await;
    let [adjustment] = picture.adjustments.as_slice() else {
        panic!("one adjustment: {:?}", picture.adjustments);
    };
    let said = (
        adjustment.field.as_str(),
        adjustment.asked.as_str(),
        adjustment.used.as_str(),
    );
    assert_eq!(said, ("negative_prompt", "a dog", ""));
    assert_eq!(upstream.asked()[1].negative_prompt, None);

    let strict = Request {
        resolution: Some("9K".to_owned()),
        ..without("tiny", true)
    };
    let SubmitError::Unfit(unfit) = refused(&node, &caller, strict).await else {
        panic!("is unfit");
    };
    let fields: Vec<_> = unfit
        .violations
        .iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(fields, ["resolution", "negative_prompt"]);

    let first = without("tiny", false);
    node.submit(&caller, first, Some("k")).await.unwrap();
    let second = node.submit(&caller, routed("a fox"), Some("k")).await;
    assert!(matches!(second, Err(SubmitError::IdempotencyKeyReused)));
}

#[tokio::test]
async fn too_long_a_picture_is_no_upload() {
    let fixture = Fixture::new().await;
    let upload = fixture
        .assets
        .begin_upload(fixture.account.id, SystemTime::now());
    let mut long = vec![0; 32 * 1024 * 1024 + 1];
    long[..8].copy_from_slice(b"\x89PNG\r\n\x1a\n");
    let refused = fixture.assets.put_upload(upload, Bytes::from(long)).await;
    assert!(matches!(refused, Err(AssetError::TooLarge { .. })));
}
