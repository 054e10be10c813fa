//! Requests to addresses that callers named, with real servers on this machine: what is never reached,
//! and which bounds hold.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use piooy::egress::{Egress, EgressError, Limits, Policy, Resolver};
use tokio::net::TcpListener;
use url::Url;

use crate::support;

pub(crate) const HOME: Policy = Policy {
    private_allowed: true,
};
pub(crate) const PUBLIC: Policy = Policy {
    private_allowed: false,
};
const LIMITS: Limits = Limits {
    bytes_max: 1000,
    time_max: Duration::from_secs(10),
    redirects_max: 3,
};

/// A server of files, good ones and bad ones.
#[derive(Clone, Default)]
pub(crate) struct Site {
    requests: Arc<AtomicUsize>,
    /// The headers of the last request.
    pub(crate) heard: Arc<Mutex<HeaderMap>>,
}

impl Site {
    /// Serves on a port of its own.
    pub(crate) async fn start() -> (Site, u16) {
        let site = Site::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new()
            .route("/file", get(file))
            .route("/endless", get(endless))
            .route("/silent", get(silent))
            .route("/loop", get(async || Redirect::temporary("/loop")))
            .route("/moved", get(async || Redirect::permanent("file")))
            .route(
                "/metadata",
                get(async || Redirect::to("http://169.254.169.254/latest/")),
            )
            .route(
                "/by-name",
                get(async || Redirect::to("http://metadata.example/")),
            )
            .route("/passwd", get(async || Redirect::to("file:///etc/passwd")))
            .route("/nowhere", get(async || StatusCode::FOUND))
            .route("/hook", post(hook))
            .route("/hook-moved", post(async || Redirect::temporary("/hook")))
            .with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (site, port)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn file(State(site): State<Site>, headers: HeaderMap) -> Response {
    site.requests.fetch_add(1, Ordering::SeqCst);
    *site.heard.lock().unwrap() = headers;
    ([(header::CONTENT_TYPE, "image/png")], vec![7; 1000]).into_response()
}

/// Sends on and on, without saying how much.
async fn endless() -> Body {
    let chunks = futures_util::stream::repeat(Bytes::from_static(&[0; 100]));
    Body::from_stream(chunks.map(Ok::<_, io::Error>))
}

/// Begins well and then says nothing more.
async fn silent() -> Body {
    let start = futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"abc"))]);
    Body::from_stream(start.chain(futures_util::stream::pending()))
}

async fn hook(State(site): State<Site>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    site.requests.fetch_add(1, Ordering::SeqCst);
    *site.heard.lock().unwrap() = headers;
    (StatusCode::ACCEPTED, [&b"heard: "[..], &body].concat())
}

/// Names of these tests alone; counts how often it is asked.
#[derive(Clone)]
pub(crate) struct Names {
    known: Arc<HashMap<&'static str, &'static str>>,
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Names {
    pub(crate) fn new<const N: usize>(known: [(&'static str, &'static str); N]) -> Names {
        Names {
            known: Arc::new(known.into()),
            asked: Arc::default(),
        }
    }
}

#[async_trait::async_trait]
impl Resolver for Names {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let address = self.known.get(host).ok_or(io::ErrorKind::NotFound)?;
        Ok(vec![address.parse().unwrap()])
    }
}

pub(crate) fn egress(policy: Policy, names: &Names) -> Egress {
    support::speak_tls();
    Egress::with_resolver(policy, Arc::new(names.clone())).unwrap()
}

fn at_home() -> Egress {
    let names = Names::new([
        ("site.example", "127.0.0.1"),
        ("metadata.example", "169.254.169.254"),
    ]);
    egress(HOME, &names)
}

fn url(port: u16, path: &str) -> Url {
    Url::parse(&format!("http://127.0.0.1:{port}{path}")).unwrap()
}

#[tokio::test]
async fn a_file_is_fetched_with_nothing_sent_along() {
    let (site, port) = Site::start().await;
    let fetched = at_home().get(&url(port, "/moved"), LIMITS).await.unwrap();
    assert_eq!(fetched.bytes.len(), 1000);
    assert_eq!(fetched.content_type.as_deref(), Some("image/png"));
    assert_eq!(fetched.final_url, url(port, "/file"));
    let mut heard: Vec<String> = site
        .heard
        .lock()
        .unwrap()
        .keys()
        .map(|name| name.to_string())
        .collect();
    heard.sort();
    assert_eq!(heard, ["accept", "host", "user-agent"]);
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_what_is_checked_is_called() {
    let (site, port) = Site::start().await;
    let names = Names::new([
        ("site.example", "127.0.0.1"),
        ("v6.example", "::ffff:7f00:1"),
    ]);
    let there = Url::parse(&format!("http://site.example:{port}/file")).unwrap();
    egress(HOME, &names).get(&there, LIMITS).await.unwrap();
    assert_eq!(
        (names.asked.load(Ordering::SeqCst), site.requests()),
        (1, 1)
    );

    for name in ["site.example", "v6.example", "unknown.example", "localhost"] {
        let there = Url::parse(&format!("http://{name}:{port}/file")).unwrap();
        let refused = egress(PUBLIC, &names).get(&there, LIMITS).await;
        assert!(
            matches!(refused, Err(EgressError::NoPublicAddress)),
            "{name}: {refused:?}"
        );
        let refused = egress(PUBLIC, &names)
            .post(&there, HeaderMap::new(), Bytes::new(), LIMITS.time_max, 10)
            .await;
        assert!(
            matches!(refused, Err(EgressError::NoPublicAddress)),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(site.requests(), 1, "only the allowed one arrived");
}

#[tokio::test]
async fn a_redirect_is_checked_like_the_first_address() {
    let (_, port) = Site::start().await;
    let get = async |path| at_home().get(&url(port, path), LIMITS).await;
    for path in ["/metadata", "/by-name"] {
        let refused = get(path).await;
        assert!(
            matches!(refused, Err(EgressError::NoPublicAddress)),
            "{path}: {refused:?}"
        );
    }
    assert!(matches!(get("/passwd").await, Err(EgressError::Scheme)));
    assert!(matches!(get("/nowhere").await, Err(EgressError::Location)));
    assert!(matches!(get("/loop").await, Err(EgressError::Redirects(3))));
    assert!(matches!(
        get("/missing").await,
        Err(EgressError::Status(404))
    ));
}

#[tokio::test]
async fn bytes_are_counted_while_they_come() {
    let (_, port) = Site::start().await;
    let within = |bytes_max| Limits {
        bytes_max,
        ..LIMITS
    };
    let get = async |path, bytes_max| at_home().get(&url(port, path), within(bytes_max)).await;
    assert!(get("/file", 1000).await.is_ok());
    assert!(matches!(
        get("/file", 999).await,
        Err(EgressError::TooLarge(999))
    ));
    assert!(matches!(
        get("/endless", 5000).await,
        Err(EgressError::TooLarge(5000))
    ));
}

#[tokio::test]
async fn time_bounds_the_whole() {
    let (_, port) = Site::start().await;
    let begun = Instant::now();
    let time_max = Duration::from_millis(300);
    let limits = Limits { time_max, ..LIMITS };
    let refused = at_home().get(&url(port, "/silent"), limits).await;
    assert!(matches!(refused, Err(EgressError::TimedOut(time)) if time == time_max));
    // A server that never accepts: the port is open, and nobody comes.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = deaf.local_addr().unwrap().port();
    let refused = at_home().get(&url(port, "/"), limits).await;
    assert!(
        matches!(refused, Err(EgressError::TimedOut(_))),
        "{refused:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_server_that_is_away_is_told_without_its_address() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let refused = at_home()
        .get(&url(port, "/secret"), LIMITS)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, EgressError::Unreachable(_)),
        "{refused:?}"
    );
    assert!(!refused.to_string().contains("127.0.0.1"), "{refused}");
    assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
}

#[tokio::test]
async fn a_message_is_sent_once_and_its_answer_read_in_part() {
    let (site, port) = Site::start().await;
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_static("m1"));
    let post = async |path, excerpt_bytes| {
        let body = Bytes::from_static(b"{}");
        at_home()
            .post(
                &url(port, path),
                headers.clone(),
                body,
                LIMITS.time_max,
                excerpt_bytes,
            )
            .await
            .unwrap()
    };
    let answer = post("/hook", 100).await;
    assert_eq!(
        (answer.status, answer.body_excerpt.as_str()),
        (202, "heard: {}")
    );
    assert_eq!(site.heard.lock().unwrap()["webhook-id"], "m1");
    assert_eq!(post("/hook", 5).await.body_excerpt, "heard");
    assert_eq!(post("/hook-moved", 5).await.status, 307);
    assert_eq!(site.requests(), 2, "the redirect was not followed");
}
