//! Where links to results may lead: to the upstream itself, wherever the operator runs it, and to the
//! public internet; never to what only this server can reach, however the link is written or whatever
//! it turns into on the way.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use piooy::egress::{Egress, Resolver};
use piooy::providers::{Connection, OpenAi, Provider, Rendered, Submitted};
use serde_json::{Value, json};

use super::conformance::{Abilities, Specimen, read};
use crate::egress::{HOME, Names, PUBLIC, Site, egress};
use crate::fakes::engine::{self, Engine, KEY, Serving, picture};

/// An upstream whose results are wherever the prompt says.
async fn upstream(elsewhere: Egress) -> (Specimen, String) {
    let serving = Serving::start(|_| {
        Router::new()
            .route("/images/generations", post(made))
            .route("/own", get(own))
            .route("/to/{*place}", get(lead))
    })
    .await;
    let url = serving.url();
    let base = url.parse().expect("is a URL");
    let connection = Connection::through(base, elsewhere).expect("TLS can be set up");
    let provider: Arc<dyn Provider> =
        Arc::new(OpenAi::new("openai", connection, Some(KEY)).expect("is a key"));
    let specimen = Specimen {
        absent: Arc::clone(&provider),
        provider,
        wrong_key: None,
        engine: Engine::default(),
        abilities: Abilities {
            pictures: Some("any"),
            ..Abilities::default()
        },
        _serving: Box::new(serving),
    };
    (specimen, url)
}

async fn made(asked: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&asked).expect("is JSON");
    engine::json(StatusCode::OK, &json!({"data": [{"url": asked["prompt"]}]}))
}

/// A result of its own, for whoever shows the key.
async fn own(headers: HeaderMap) -> Response {
    match headers.get(header::AUTHORIZATION) {
        Some(_) => picture().into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// Sends whoever asks to the place that follows.
async fn lead(axum::extract::Path(place): axum::extract::Path<String>) -> Redirect {
    Redirect::temporary(&format!("http://{place}"))
}

/// The result behind a link.
async fn result(specimen: &Specimen, link: &str) -> Rendered {
    let submitted = specimen.provider.submit(&specimen.picture(link)).await;
    match submitted.expect("it is made") {
        Submitted::Done(mut files) => files.remove(0),
        Submitted::Taken(id) => panic!("it is not done but {id}"),
    }
}

fn names() -> Names {
    Names::new([
        ("inside.example", "127.0.0.1"),
        ("v6.example", "::1"),
        ("mapped.example", "::ffff:127.0.0.1"),
        ("metadata.example", "169.254.169.254"),
    ])
}

#[tokio::test]
async fn a_link_never_leads_into_this_network() {
    let (site, port) = Site::start().await;
    let (specimen, url) = upstream(egress(PUBLIC, &names())).await;
    let places = [
        format!("127.0.0.1:{port}/file"),
        format!("127.1:{port}/file"),
        format!("2130706433:{port}/file"),
        format!("0x7f000001:{port}/file"),
        format!("0177.0.0.1:{port}/file"),
        format!("0.0.0.0:{port}/file"),
        format!("[::1]:{port}/file"),
        format!("[::ffff:127.0.0.1]:{port}/file"),
        format!("[::ffff:7f00:1]:{port}/file"),
        format!("[64:ff9b::7f00:1]:{port}/file"),
        format!("localhost:{port}/file"),
        format!("any.localhost:{port}/file"),
        format!("inside.example:{port}/file"),
        format!("v6.example:{port}/file"),
        format!("mapped.example:{port}/file"),
        format!("user@inside.example:{port}/file"),
        "metadata.example/latest/".to_owned(),
        "169.254.169.254/latest/".to_owned(),
        "[fd00:ec2::254]/latest/".to_owned(),
        "10.0.0.1/".to_owned(),
        "192.168.0.1/".to_owned(),
    ];
    for place in &places {
        for link in [format!("http://{place}"), format!("{url}/to/{place}")] {
            let file = result(&specimen, &link).await;
            let refused = file.content.open().await.map(drop);
            let refused = refused.expect_err(&link);
            assert!(refused.gone, "{link}: {refused}");
        }
    }
    assert_eq!(site.requests(), 0, "nothing arrived");
}

/// The same links are followed where nothing forbids it, so they are refused for where they lead; and the
/// upstream's key stays with the upstream.
#[tokio::test]
async fn elsewhere_is_followed_without_the_key() {
    let (site, port) = Site::start().await;
    let (specimen, url) = upstream(egress(HOME, &names())).await;
    let place = format!("inside.example:{port}/moved");
    for link in [format!("http://{place}"), format!("{url}/to/{place}")] {
        let file = result(&specimen, &link).await;
        assert_eq!(read(&file).await.expect(&link).len(), 1000);
        let heard = site.heard.lock().expect("is there").clone();
        assert!(heard.get(header::AUTHORIZATION).is_none(), "{heard:?}");
    }
    assert_eq!(site.requests(), 2);
}

#[tokio::test]
async fn an_upstream_in_this_network_may_keep_results_itself() {
    let (specimen, url) = upstream(egress(PUBLIC, &names())).await;
    let place = url.strip_prefix("http://").expect("begins so");
    for link in [
        format!("{url}/own"),
        "/own".to_owned(),
        format!("{url}/to/{place}/own"),
    ] {
        let file = result(&specimen, &link).await;
        assert_eq!(read(&file).await, Ok(picture()), "{link}");
    }
}

/// A name that leads somewhere harmless when it is asked for first, and inside from then on.
struct Rebinding {
    asked: Arc<AtomicUsize>,
    first: IpAddr,
}

#[async_trait::async_trait]
impl Resolver for Rebinding {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let inside = || "169.254.169.254".parse().expect("an address");
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(vec![if asked == 0 { self.first } else { inside() }])
    }
}

#[tokio::test]
async fn a_name_that_changes_gains_nothing() {
    let (site, port) = Site::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let rebinding = Rebinding {
        asked: Arc::clone(&asked),
        first: "127.0.0.1".parse().expect("an address"),
    };
    let egress = Egress::with_resolver(HOME, Arc::new(rebinding)).expect("can be made");
    let (specimen, _) = upstream(egress).await;
    let link = format!("http://rebinding.example:{port}/file");
    let file = result(&specimen, &link).await;
    assert!(read(&file).await.is_ok());
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "what was checked was called"
    );
    let refused = file.content.open().await.map(drop);
    assert!(refused.is_err_and(|refused| refused.gone));
    assert_eq!(site.requests(), 1);
}
