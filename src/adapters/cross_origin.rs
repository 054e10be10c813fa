//! Pages of other origins (Fetch standard, "CORS protocol"). Any page may call the API with a key. The
//! cookies of those who are signed in are no use to a foreign page: browsers keep them from it, answers
//! never allow credentials, and [`entry`](super::entry) takes them from this server's own pages alone.
//! (MCP checks origins on top.)
//!
//! What browsers are told depends on nothing but the headers that a preflight asks for, so the values
//! are constants: they are on every answer.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, VARY,
};
use http::{HeaderMap, HeaderValue};

const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PUT,PATCH,DELETE");

/// How long an answer to a preflight may be kept, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("3600");

/// The headers of answers that scripts may read beyond those that they always may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag,accept-ranges,content-range,retry-after,www-authenticate,x-request-id,\
     ratelimit-limit,ratelimit-remaining,ratelimit-reset,\
     grpc-status,grpc-message,grpc-status-details-bin",
);

/// For caches between us and a browser.
const VARIES_BY: HeaderValue = HeaderValue::from_static(
    "origin, access-control-request-method, access-control-request-headers",
);

/// The answer to a preflight: every header that it asks for is allowed. A star would not allow
/// Authorization (Fetch standard, "CORS-preflight fetch").
pub fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    put_origin(headers);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Lets pages read an answer.
pub fn put_headers(headers: &mut HeaderMap) {
    put_origin(headers);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

fn put_origin(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.append(VARY, VARIES_BY);
}
