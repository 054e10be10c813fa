//! `/files/…`: finished files, by signed links. Players ask for ranges, browsers for changes.

use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::entry::Shared;
use super::failed;
use crate::assets::{Conditions, Decision, OpenedAsset, decide};
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// The face.
pub fn router(house: &Shared) -> Router {
    Router::new()
        .route("/files/{*path}", get(serve))
        .with_state(house.clone())
}

async fn serve(
    State(house): State<Shared>,
    method: Method,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match answer(
        &house,
        &method,
        &path,
        query.as_deref().unwrap_or_default(),
        &headers,
    )
    .await
    {
        Ok(response) => response,
        Err(error) => failed(&error),
    }
}

async fn answer(
    house: &Shared,
    method: &Method,
    path: &str,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let parameter = |name: &str| parameter(query, name);
    let expires = parameter("expires").parse().map_err(|_| {
        ApiError::new(
            Reason::LinkInvalid,
            "The link is not complete: it must carry expires and signature.",
        )
    })?;
    let asset = house
        .parts
        .assets
        .open(path, expires, &parameter("signature"), SystemTime::now())
        .await?;
    let header = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let conditions = Conditions {
        range: header(header::RANGE),
        if_none_match: header(header::IF_NONE_MATCH),
        if_range: header(header::IF_RANGE),
    };
    let decision = decide(&conditions, &asset.etag, asset.size_bytes);
    let (status, range) = match &decision {
        Decision::Full => (StatusCode::OK, Some(0..asset.size_bytes)),
        Decision::Partial(range) => (StatusCode::PARTIAL_CONTENT, Some(range.clone())),
        Decision::NotModified => (StatusCode::NOT_MODIFIED, None),
        Decision::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    describe(response.headers_mut(), &asset);
    if !parameter("download").is_empty() {
        save_as_file(response.headers_mut(), path);
    }
    if let Some(range) = decision
        .content_range(asset.size_bytes)
        .and_then(|text| HeaderValue::from_str(&text).ok())
    {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    if let Some(range) = range {
        response.headers_mut().insert(
            header::CONTENT_LENGTH,
            HeaderValue::from(range.end - range.start),
        );
        if method != Method::HEAD {
            *response.body_mut() = Body::from_stream(asset.read(Some(range)).await?);
        }
    }
    Ok(response)
}

/// A parameter of a query; empty where there is none.
pub fn parameter(query: &str, name: &str) -> String {
    let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Has browsers save the file, named after its task and place, instead of showing it.
fn save_as_file(headers: &mut HeaderMap, path: &str) {
    let mut parts = path.rsplit('/');
    let (place, task) = (parts.next(), parts.next());
    let name = format!("{}-{}", task.unwrap_or("piooy"), place.unwrap_or_default());
    let how = format!("attachment; filename=\"{name}\"");
    if let Ok(how) = HeaderValue::try_from(how) {
        headers.insert(header::CONTENT_DISPOSITION, how);
    }
}

/// What is true of the file whichever part of it is sent. It never changes under its path.
fn describe(headers: &mut HeaderMap, asset: &OpenedAsset) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(asset.mime_type),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=86400, immutable"),
    );
    // A result is shown, never run: not as a page, not as a script.
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        headers.insert(header::ETAG, etag);
    }
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(asset.last_modified)) {
        headers.insert(header::LAST_MODIFIED, date);
    }
}
