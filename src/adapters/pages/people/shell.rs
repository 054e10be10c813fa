//! What is around every page: the layout, the headers, and the files that pages use.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::adapters::about;
use crate::adapters::documents::{Document, fingerprint};
use crate::spec::error::ApiError;

const LAYOUT_STYLE: &[u8] = include_bytes!("../../web/piooy.css");
const ICON: &[u8] = include_bytes!("../../web/icon.svg");
const STYLE: &[u8] = include_bytes!("../../web/settings.css");
const SCRIPT: &[u8] = include_bytes!("../../web/settings.js");

/// Nothing is loaded from elsewhere, nothing is sent elsewhere, and no page of another site can be around.
const SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// Files carry a fingerprint of their content in the link, so what a link leads to never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

#[derive(Template)]
#[template(path = "settings_shell.html")]
struct Shell<'p> {
    title: &'p str,
    base: &'p str,
    signed_in: bool,
    icon: String,
    style: String,
    settings_style: String,
    script: String,
    version: &'static str,
    content: String,
}

/// What a page needs to know to be framed.
pub struct Frame<'p> {
    /// What every path begins with.
    pub base: &'p str,
    /// Whether somebody is signed in, who is shown where to go.
    pub signed_in: bool,
}

impl Frame<'_> {
    /// A page.
    pub fn page(&self, status: StatusCode, title: &str, content: &impl Template) -> Response {
        let link = |name: &str, content: &[u8]| {
            format!("{}/web/{name}?v={}", self.base, fingerprint(content))
        };
        let shell = Shell {
            title,
            base: self.base,
            signed_in: self.signed_in,
            icon: link("icon.svg", ICON),
            style: link("piooy.css", LAYOUT_STYLE),
            settings_style: link("settings.css", STYLE),
            script: link("settings.js", SCRIPT),
            version: about::VERSION,
            content: content.render().expect("a String can be written to"),
        };
        let text = shell.render().expect("a String can be written to");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        *response.headers_mut() = headers();
        response
    }

    /// A page that says what went wrong.
    pub fn failure(&self, error: &ApiError) -> Response {
        let status = status_of(error);
        let mut response = self.page(
            status,
            "That did not work",
            &Failure {
                message: &error.message,
            },
        );
        crate::adapters::rest::put_retry_after(response.headers_mut(), error);
        response
    }
}

#[derive(Template)]
#[template(path = "settings_failure.html")]
struct Failure<'p> {
    message: &'p str,
}

/// The HTTP status of a failure. A page never answers 401: no browser has anything to show for that.
pub fn status_of(error: &ApiError) -> StatusCode {
    let status = StatusCode::from_u16(error.reason.row().http_status);
    match status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR) {
        StatusCode::UNAUTHORIZED => StatusCode::FORBIDDEN,
        status => status,
    }
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, SECURITY_POLICY),
        // Addresses of pages hold links that let people in. Within the server browsers say where they come from.
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("same-origin"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ])
}

/// The files that these pages use beside the layout's.
pub fn files() -> Router {
    let file = |media_type, content| Document::new(media_type, FOR_EVER, content).route();
    Router::new()
        .route("/web/settings.css", file("text/css; charset=utf-8", STYLE))
        .route(
            "/web/settings.js",
            file("text/javascript; charset=utf-8", SCRIPT),
        )
}
