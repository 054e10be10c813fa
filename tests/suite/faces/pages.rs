//! The pages: whole, small, inert, and in agreement with the API.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::Client;
use serde_json::{Value, json};
use url::Url;

use super::answers::Answer;
use super::browser::Browser;
use super::server::{Place, Server};

/// The longest page, in bytes.
const PAGE_BYTES_MAX: usize = 100_000;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Where links may lead that are for one person alone.
const PERSONAL: [&str; 3] = ["/generate", "/settings/", "/signin"];

async fn get(place: &Place, path: &str) -> Answer {
    place.rest(None, "GET", path, &Value::Null).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes.clone()).expect("is UTF-8")
}

/// Every value of those attributes in a page.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let begin = format!(" {attribute}=\"");
    let parts = page.split(begin.as_str()).skip(1);
    parts
        .map(|part| part.split('"').next().unwrap_or_default())
        .collect()
}

/// What a reader sees of a page.
fn seen(page: &str) -> String {
    let mut seen = String::new();
    for part in page.split('<') {
        seen.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    for (entity, letter) in [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ] {
        seen = seen.replace(entity, letter);
    }
    seen
}

#[tokio::test]
async fn every_link_on_every_page_leads_somewhere() {
    let server = Server::start().await;
    let home = Url::parse(&server.url).expect("is a URL");
    let mut waiting = VecDeque::from([home.clone()]);
    let mut anchors: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wanted: Vec<(Url, Url)> = Vec::new();
    while let Some(address) = waiting.pop_front() {
        let path = address[url::Position::BeforePath..].to_owned();
        if anchors.contains_key(&path) {
            continue;
        }
        let answer = get(&server, &path).await;
        assert_eq!(answer.status, 200, "{path}");
        if answer.header("content-type") != "text/html; charset=utf-8" {
            anchors.insert(path, BTreeSet::new());
            continue;
        }
        let page = text(&answer);
        assert_eq!(answer.header("content-security-policy"), POLICY, "{path}");
        assert!(
            page.len() < PAGE_BYTES_MAX,
            "{path} is {} bytes long",
            page.len()
        );
        for forbidden in [" style=\"", "<style", " onclick=", "javascript:"] {
            assert!(!page.contains(forbidden), "{path} has {forbidden}");
        }
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert_eq!(page.matches("<h1").count(), 1, "{path}");

        let ids = values(&page, "id");
        let unique: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(unique.len(), ids.len(), "{path} names a place twice");
        anchors.insert(path.clone(), unique);
        for link in values(&page, "href")
            .into_iter()
            .chain(values(&page, "src"))
        {
            let mut target = address
                .join(&link.replace("&#38;", "&"))
                .expect("is a link");
            assert_eq!(target.origin(), home.origin(), "{path} leads to {target}");
            if PERSONAL
                .iter()
                .any(|place| target.path().starts_with(place))
            {
                continue;
            }
            wanted.push((address.clone(), target.clone()));
            target.set_fragment(None);
            waiting.push_back(target);
        }
    }
    assert!(anchors.len() > 40, "only {} were found", anchors.len());
    for (from, target) in wanted {
        let Some(place) = target.fragment() else {
            continue;
        };
        let path = target[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        assert!(anchors[&path].contains(place), "{from} leads to {target}");
    }
}

#[tokio::test]
async fn who_has_a_page_already_is_sent_none() {
    let server = Server::start().await;
    for path in [
        "/",
        "/models",
        "/models/nano-banana-pro",
        "/docs/api",
        "/docs/messages",
        "/docs/errors",
        "/docs/mcp",
        "/sitemap.xml",
        "/llms.txt",
        "/robots.txt",
    ] {
        let page = get(&server, path).await;
        assert_eq!((page.status, page.bytes.is_empty()), (200, false), "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        let request = server
            .http("GET", path)
            .header("if-none-match", page.header("etag"));
        let again = Answer::read(request.send().await.expect("the server answers")).await;
        assert_eq!((again.status, again.bytes.len()), (304, 0), "{path}");

        let head = server.http("HEAD", path).send().await;
        let head = Answer::read(head.expect("the server answers")).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0), "{path}");
        assert_eq!(head.header("etag"), page.header("etag"));
        assert_eq!(head.header("content-length"), page.bytes.len().to_string());
    }
    let style = text(&get(&server, "/").await);
    let style = values(&style, "href")
        .into_iter()
        .find(|link| link.contains(".css"));
    let style = style.expect("has a style").trim_start_matches('.');
    let style = get(&server, style).await;
    assert!(style.header("cache-control").contains("immutable"));
}

#[tokio::test]
async fn pages_for_everyone_know_who_is_signed_in_and_say_nothing_else_of_it() {
    let server = Server::start().await;
    let (stranger, owner) = (Browser::new(&server.url), Browser::of_owner(&server).await);
    let pages = [
        "/",
        "/models",
        "/models/nano-banana",
        "/docs/api",
        "/docs/messages",
        "/docs/errors",
        "/docs/mcp",
    ];
    for path in pages {
        let (theirs, own) = (stranger.get(path).await, owner.get(path).await);
        assert_eq!((theirs.status, own.status), (200, 200), "{path}");
        for page in [&theirs, &own] {
            assert_eq!(page.headers["vary"], "cookie", "{path}");
        }
        assert_ne!(theirs.headers["etag"], own.headers["etag"], "{path}");
        let differ = theirs.text.lines().zip(own.text.lines());
        let differ: Vec<_> = differ.filter(|(theirs, own)| theirs != own).collect();
        let [(link, instead)] = differ[..] else {
            panic!("{path}: {differ:?}");
        };
        assert!(link.ends_with("signin\">Sign in</a>"), "{path}: {link}");
        assert!(
            instead.ends_with("settings/apikeys\">Settings</a>"),
            "{path}: {instead}"
        );
    }
    let headers = [("accept", "text/html")];
    for (browser, link) in [(&stranger, ">Sign in<"), (&owner, ">Settings<")] {
        let page = browser.send("GET", "/nowhere/at/all", &headers, None).await;
        assert!(
            page.status == 404 && page.text.contains(link),
            "{}",
            page.text
        );
    }
}

#[tokio::test]
async fn who_takes_gzip_is_sent_the_same_in_fewer_bytes() {
    let server = Server::start().await;
    let asked = async |path: &str, coding: &str, tag: &str| {
        let request = server
            .http("GET", path)
            .header("accept-encoding", coding)
            .header("if-none-match", tag);
        Answer::read(request.send().await.expect("the server answers")).await
    };
    let style = text(&get(&server, "/").await);
    let style = values(&style, "href")
        .into_iter()
        .find(|link| link.contains(".css"));
    let style = style.expect("has a style").trim_start_matches('.');
    for path in ["/docs/api", "/openapi.json", style] {
        let plain = asked(path, "identity", "").await;
        let packed = asked(path, "br, GZIP;q=0.5", "").await;
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        assert_eq!(packed.header("content-encoding"), "gzip", "{path}");
        for answer in [&plain, &packed] {
            let varies = answer.headers.get_all("vary").iter();
            assert!(
                varies.into_iter().any(|by| by == "accept-encoding"),
                "{path}"
            );
        }
        let mut unpacked = Vec::new();
        GzDecoder::new(packed.bytes.as_slice())
            .read_to_end(&mut unpacked)
            .expect("is gzip");
        assert_eq!(unpacked, plain.bytes, "{path}");
        assert!(packed.bytes.len() * 3 < plain.bytes.len(), "{path}");

        let tags = [plain.header("etag"), packed.header("etag")];
        assert_ne!(tags[0], tags[1], "{path}");
        for (coding, tag, status) in [
            ("gzip", tags[1], 304),
            ("gzip", tags[0], 200),
            ("gzip;q=0", tags[0], 304),
            ("gzip; q=0.000", tags[1], 200),
            ("x-gzipped", tags[0], 304),
        ] {
            let answer = asked(path, coding, tag).await;
            assert_eq!(answer.status, status, "{path}: {coding}, {tag}");
        }
    }
}

#[tokio::test]
async fn the_pages_say_what_the_api_says_and_their_examples_run() {
    let server = Server::start().await;
    let key = Some(server.live_key.as_str());
    let answer = server
        .rest(key, "GET", "/api/v1/models", &Value::Null)
        .await;
    let models = answer.envelope["data"]["models"]
        .as_array()
        .expect("a list");
    let list = text(&get(&server, "/models").await);
    let llms = text(&get(&server, "/llms.txt").await);
    let sitemap = text(&get(&server, "/sitemap.xml").await);
    for model in models {
        let slug = model["slug"].as_str().expect("is text");
        let page = text(&get(&server, &format!("/models/{slug}")).await);
        let rows = page.split("<tr>").skip(2);
        let shown: Vec<String> = rows
            .map(|row| seen(row.split("</tr>").next().unwrap_or_default()))
            .collect();
        let prices = model["prices"].as_array().expect("a list");
        assert_eq!(shown.len(), prices.len(), "{slug}");
        for (row, price) in shown.iter().zip(prices) {
            let credits = price["credits"].as_f64().expect("is a number");
            let unit = price["unit"].as_str().expect("is text");
            let end = format!(
                "{credits} a{} {unit}",
                if unit == "image" { "n" } else { "" }
            );
            assert!(row.ends_with(&end), "{slug}: {row} is not {price}");
            assert!(
                row.starts_with(price["resolution"].as_str().expect("is text")),
                "{slug}: {row}"
            );
        }
        let text = seen(&page);
        for provider in model["providers"].as_array().into_iter().flatten() {
            assert!(text.contains(provider.as_str().expect("is text")), "{slug}");
        }
        for found in [&list, &llms, &sitemap] {
            assert!(found.contains(&format!("models/{slug}")), "{slug}");
        }

        let (_, body) = text.split_once("-d '").expect("a call");
        let (body, _) = body.split_once('\'').expect("a body");
        let request: Value = serde_json::from_str(body).expect("is JSON");
        let quote = server
            .rest(Some(&server.test_key), "POST", "/api/v1/quote", &request)
            .await;
        assert_eq!(quote.status, 200, "{slug}: {:?}", quote.envelope);
        assert_eq!(quote.envelope["data"]["adjustments"], json!([]), "{slug}");
    }

    let videos = text(&get(&server, "/models?media=video&tier=premium").await);
    for model in models {
        let is_one = model["mediaType"] == "VIDEO" && model["tier"] == "PREMIUM";
        let link = format!("models/{}\"", model["slug"].as_str().expect("is text"));
        assert_eq!(videos.contains(&link), is_one, "{link}");
    }
}

#[tokio::test]
async fn other_names_lead_to_the_model_and_wrong_ones_to_near_ones() {
    let server = Server::start().await;
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let client = client.build().expect("a client");
    let asked = async |path: &str, accept: &str| {
        let request = client
            .get(format!("{}{path}", server.url))
            .header("accept", accept);
        Answer::read(request.send().await.expect("the server answers")).await
    };
    let other = asked("/models/Nano.Banana_Pro", "text/html").await;
    assert_eq!(
        (other.status, other.header("location")),
        (307, "nano-banana-pro")
    );

    let wrong = asked("/models/nano-bananna-pro%3Cscript%3E", "text/html").await;
    let page = text(&wrong);
    assert_eq!(wrong.status, 404);
    assert!(
        page.contains("href=\"../models/nano-banana-pro\""),
        "{page}"
    );
    assert_eq!(page.matches("<script").count(), 1, "{page}");

    let gone = asked("/models/sora", "text/html").await;
    let page = text(&gone);
    assert_eq!(gone.status, 410);
    assert!(page.contains("href=\"../models/seedance-2-0\""), "{page}");

    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let nowhere = asked("/no/such/page", browser).await;
    assert_eq!(
        (nowhere.status, nowhere.header("content-security-policy")),
        (404, POLICY)
    );
    assert!(text(&nowhere).contains("href=\"../../models\""));
    for accept in ["*/*", "application/json"] {
        let nowhere = asked("/no/such/page", accept).await;
        assert_eq!((nowhere.status, nowhere.reason()), (404, "PATH_NOT_FOUND"));
    }
}

#[tokio::test]
async fn words_of_the_operator_are_words() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let file = folder.path().join("models.toml");
    let title = "<img src=x onerror=alert(1)>";
    let model = format!(
        r#"
[[model]]
slug = "ours"
title = "{title}"
vendor = "<b>us</b>"
description = "{title} \" onload=\"x"
media = "image"
tier = "free"
status = "active"
resolutions = ["1K"]
aspect_ratios = ["1:1"]
max_outputs = 1
max_reference_images = 0
typical_seconds = [5, 9]
defaults = {{ resolution = "1K", aspect_ratio = "1:1" }}
routes = [{{ provider = "fal", model = "ours" }}]
price = {{ unit = "image", millicredits = {{ "1K" = 1500 }} }}
"#
    );
    std::fs::write(&file, model).expect("the file can be written");
    let server = Server::with(&[("PIOOY_CATALOG", file.to_str().expect("is text"))]).await;
    for path in ["/models", "/models/ours"] {
        let page = text(&get(&server, path).await);
        assert!(
            !page.contains("<img src=x") && !page.contains("<b>us"),
            "{path}"
        );
        assert!(!page.contains("\" onload=\""), "{path}");
        assert!(seen(&page).contains(title), "{path}");
        // In the list a price is a sentence, on the model's own page a row of a table.
        let is_priced = ["1.5 credits an image", "1.5 an image"];
        let page = seen(&page);
        assert!(is_priced.iter().any(|price| page.contains(price)), "{path}");
    }
}
