//! How pages for one person are sent: never kept, and never without what guards them.

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::adapters::pages::Frame;
use crate::adapters::rest;
use crate::spec::error::ApiError;

/// Nothing is loaded from elsewhere but pictures that the browser has itself (`blob:`), which are about to be sent;
/// nothing nothing is sent elsewhere, and no page of another site can be around.
const SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' blob:; media-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// A page.
pub fn page(status: StatusCode, template: &impl Template) -> Response {
    let text = template.render().expect("a String can be written to");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    *response.headers_mut() = headers();
    response
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Failure<'p> {
    frame: Frame,
    message: &'p str,
}

/// A page that says what went wrong.
pub fn failure(frame: Frame, error: &ApiError) -> Response {
    let message = &error.message;
    let mut response = page(status_of(error), &Failure { frame, message });
    rest::put_retry_after(response.headers_mut(), error);
    response
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
