//! The outermost layer: every request has an id and an answer.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

use super::{failed, grpc};
use crate::spec::error::ApiError;

/// The header that carries a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that a caller may bring, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Gives the request an id (the caller's own, if it is a sane one), runs it, turns a panic into
/// `INTERNAL`, and writes a line of log. Neither headers nor bodies are logged.
pub async fn observe<F: Future<Output = Response>>(
    mut request: Request,
    run: impl FnOnce(Request) -> F,
) -> Response {
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .filter(|id| {
            id.len() <= REQUEST_ID_BYTES_MAX && id.as_bytes().iter().all(u8::is_ascii_graphic)
        })
        .cloned()
        .unwrap_or_else(|| {
            let mut text = Uuid::encode_buffer();
            let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
            HeaderValue::from_str(id).unwrap_or(HeaderValue::from_static("none"))
        });
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let is_grpc = grpc::is_grpc(request.headers());
    let started = Instant::now();
    // What is logged on the way can be found by the id that the caller was told.
    let span = tracing::error_span!("request", id = ?id);
    let run = AssertUnwindSafe(run(request)).catch_unwind();
    let mut response = match run.instrument(span).await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(%method, path = uri.path(), id = ?id, "a request panicked");
            let error = ApiError::internal();
            if is_grpc {
                tonic::Status::from(error).into_http()
            } else {
                failed(&error)
            }
        }
    };
    response.headers_mut().insert(REQUEST_ID, id.clone());
    let (status, took) = (response.status().as_u16(), started.elapsed());
    if status >= 500 {
        tracing::warn!(%method, path = uri.path(), status, ?took, id = ?id, "answered");
    } else {
        tracing::debug!(%method, path = uri.path(), status, ?took, id = ?id, "answered");
    }
    response
}
