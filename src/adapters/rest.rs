//! The REST face: a route for each HTTP binding of the spec, answers in the envelope.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use futures_util::{Stream, StreamExt, stream};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tonic::metadata::MetadataMap;

use super::entry::{Entrance, Peer, Shared, allowance_of, put_allowance};
use crate::gate::Allowance;
use crate::spec::error::ApiError;
use crate::spec::method::{Call, Envelopes, File, HttpBinding, Input};
use crate::spec::reason::Reason;

/// How often a stream of events shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The face.
pub fn router(house: &Shared) -> Router {
    let mut router = Router::new();
    for (at, entrance) in house.entrances.iter().enumerate() {
        let Some(binding) = &entrance.method.info.http else {
            continue;
        };
        let house = house.clone();
        let handler = move |request: Request| {
            let house = house.clone();
            async move { serve(&house, &house.entrances[at], binding, request).await }
        };
        router = router.route(binding.path, on(filter(binding.verb), handler));
    }
    router
}

fn filter(verb: &str) -> MethodFilter {
    match verb {
        "GET" => MethodFilter::GET,
        "PUT" => MethodFilter::PUT,
        "DELETE" => MethodFilter::DELETE,
        "PATCH" => MethodFilter::PATCH,
        _ => MethodFilter::POST,
    }
}

async fn serve(
    house: &Shared,
    entrance: &Entrance,
    binding: &HttpBinding,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    let admitted = match house.enter_by_rest(&parts.headers, peer, entrance).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let allowance = allowance_of(&refusal);
            return failure(&refusal.into(), allowance.as_ref());
        }
    };
    let allowance = admitted.allowance;
    let input = match input(
        binding,
        &mut parts,
        body,
        house.parts.options.body_bytes_max,
    )
    .await
    {
        Ok(input) => input,
        Err(error) => return failure(&error, Some(&allowance)),
    };
    let metadata = MetadataMap::from_headers(parts.headers);
    let extensions = admitted.into_extensions();
    match &entrance.method.call {
        Call::Unary(call) => match call(input, metadata, extensions).await {
            Ok(envelope) => json(StatusCode::OK, envelope, Some(&allowance)),
            Err(error) => failure(&error, Some(&allowance)),
        },
        Call::Stream(call) => match call(input, metadata, extensions).await {
            Ok(envelopes) => events(envelopes, &allowance),
            Err(error) => failure(&error, Some(&allowance)),
        },
        Call::File(call) => {
            let file =
                async { download(call(input, metadata, extensions).await?, &allowance).await };
            file.await
                .unwrap_or_else(|error| failure(&error, Some(&allowance)))
        }
    }
}

/// The request message, from where the binding says it is.
async fn input(
    binding: &HttpBinding,
    parts: &mut Parts,
    body: Body,
    body_bytes_max: usize,
) -> Result<Input, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params =
        params.map_err(|_| ApiError::new(Reason::PathNotFound, "The path is not valid UTF-8."))?;
    let mut pairs: Vec<_> = params
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if binding.body {
        let body = read_json(&parts.headers, body, body_bytes_max).await?;
        return Ok(if pairs.is_empty() {
            Input::Json(body)
        } else {
            Input::JsonAndPairs(body, pairs)
        });
    }
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    pairs.extend(form_urlencoded::parse(query).into_owned());
    Ok(Input::Pairs(pairs))
}

/// A request that is longer than the server reads.
pub fn too_large(bytes_max: usize) -> ApiError {
    let message = format!("The body is too large: at most {bytes_max} bytes are taken.");
    ApiError::new(Reason::BodyTooLarge, message)
}

/// Reads a body that says it is JSON.
///
/// # Errors
/// Another content type, a body that is too large, or one that breaks off.
pub async fn read_json(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    let declared = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or("?"));
    let is_json = |value: &str| {
        let media = value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        media == "application/json" || media.ends_with("+json")
    };
    if let Some(declared) = declared.filter(|value| !is_json(value)) {
        let message = format!(
            "The body is declared as {declared}; send JSON with Content-Type: application/json."
        );
        return Err(ApiError::new(Reason::UnsupportedMediaType, message));
    }
    read_bytes(headers, body, bytes_max).await
}

/// Reads a body whatever it is.
///
/// # Errors
/// A body that is too large, or one that breaks off.
pub async fn read_bytes(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: usize| bytes > bytes_max) {
        return Err(too_large(bytes_max));
    }
    to_bytes(body, bytes_max).await.map_err(|error| {
        let cause = std::error::Error::source(&error);
        if cause.is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>()) {
            too_large(bytes_max)
        } else {
            ApiError::new(Reason::MalformedRequest, "The body broke off.")
        }
    })
}

/// A task's events: each message in its envelope; a failure ends the stream.
fn events(envelopes: Envelopes, allowance: &Allowance) -> Response {
    let events = envelopes.map(|envelope| {
        let (name, json) = match envelope {
            Ok(json) => ("task", json),
            Err(error) => ("error", serde_json::to_vec(&error).unwrap_or_default()),
        };
        let text = String::from_utf8(json).unwrap_or_default();
        Ok::<_, Infallible>(Event::default().event(name).data(text))
    });
    let mut response = event_stream(events);
    put_allowance(response.headers_mut(), allowance);
    response
}

/// Events as they come, on a connection that shows it is alive and that no proxy holds back.
pub fn event_stream(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A file as the body. What fails before its first part is told as any failure; later the connection breaks off, so
/// that nobody takes a part for the whole.
///
/// # Errors
/// What failed before the first part.
pub async fn download(mut file: File, allowance: &Allowance) -> Result<Response, ApiError> {
    let first = file.parts.next().await.transpose()?.unwrap_or_default();
    let media_type = HeaderValue::from_str(&first.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let rest = file.parts.map(|part| part.map(|part| part.data));
    let parts = stream::once(async { Ok(first.data) }).chain(rest);
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let disposition = file
        .metadata
        .into_headers()
        .remove(header::CONTENT_DISPOSITION);
    headers.extend(disposition.map(|value| (header::CONTENT_DISPOSITION, value)));
    put_allowance(headers, allowance);
    Ok(response)
}

/// A JSON answer.
pub fn json(status: StatusCode, body: Vec<u8>, allowance: Option<&Allowance>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(allowance) = allowance {
        put_allowance(headers, allowance);
    }
    response
}

/// A failure in the envelope, with its true status.
pub fn failure(error: &ApiError, allowance: Option<&Allowance>) -> Response {
    let row = error.reason.row();
    let status = StatusCode::from_u16(row.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(
        status,
        serde_json::to_vec(error).unwrap_or_default(),
        allowance,
    );
    let headers = response.headers_mut();
    put_retry_after(headers, error);
    if status == StatusCode::UNAUTHORIZED {
        // Bare on purpose: with a hint at OAuth, MCP clients drop the key they were configured with.
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"piooy\""),
        );
    }
    response
}

/// `Retry-After`, where there is something to wait for.
pub fn put_retry_after(headers: &mut HeaderMap, error: &ApiError) {
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// Nothing is bound to the path.
pub async fn not_found(request: Request) -> Response {
    let message = format!(
        "There is nothing at {}. The API is described at /openapi.json.",
        request.uri().path()
    );
    failure(&ApiError::new(Reason::PathNotFound, message), None)
}

/// The path is bound, but not with that method. (axum adds `Allow`.)
pub async fn method_not_allowed(request: Request) -> Response {
    let message = format!(
        "{} does not take {}; the header Allow says what it takes.",
        request.uri().path(),
        request.method()
    );
    failure(&ApiError::new(Reason::MethodNotAllowed, message), None)
}
