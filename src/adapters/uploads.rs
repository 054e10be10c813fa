//! Pictures sent as plain bytes: with a key to `POST /api/v1/uploads`, which begins an upload and ends it in one
//! step, or without one to the signed link that `CreateUpload` gives. These two are made by hand because their
//! bodies are no messages; who may send, how often and what may be sent is as for `CreateUpload`.
//!
//! Bounds: a body is as long as a reference picture may be, and no longer than any request.

use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::Response;
use axum::routing::{post, put};
use http::{HeaderMap, StatusCode};
use prost_types::Timestamp;
use serde_json::json;

use super::entry::{Entrance, House, Peer, Shared, allowance_of};
use super::files::parameter;
use super::{failed, rest};
use crate::assets::{INPUT_BYTES_MAX, OpenUpload};
use crate::gate::Allowance;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// The method that says who may upload.
const METHOD: &str = "CreateUpload";

/// The face; without [`METHOD`] there is nothing to upload to.
pub fn router(house: &Shared) -> Router {
    let mut entrances = house.entrances.iter();
    let Some(at) = entrances.position(|entrance| entrance.method.info.name == METHOD) else {
        return Router::new();
    };
    let with_key = move |State(house): State<Shared>, request: Request| async move {
        by_key(&house, &house.entrances[at], request).await
    };
    Router::new()
        .route("/api/v1/uploads", post(with_key))
        .route("/uploads/{*path}", put(by_link).post(by_link))
        .with_state(house.clone())
}

async fn by_key(house: &House, entrance: &Entrance, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    let admitted = match house.enter_by_rest(&parts.headers, peer, entrance).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let allowance = allowance_of(&refusal);
            return rest::failure(&refusal.into(), allowance.as_ref());
        }
    };
    let allowance = Some(&admitted.allowance);
    let account_id = admitted.caller.account_id();
    let upload = house
        .parts
        .assets
        .begin_upload(account_id, SystemTime::now());
    match keep(house, upload, &parts.headers, body, allowance).await {
        Ok(response) => response,
        Err(error) => rest::failure(&error, allowance),
    }
}

async fn by_link(
    State(house): State<Shared>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let query = query.unwrap_or_default();
    let kept = async {
        let expires = parameter(&query, "expires").parse().map_err(|_| {
            let message = "The link is not complete: it must carry expires and signature.";
            ApiError::new(Reason::LinkInvalid, message)
        })?;
        let (signature, now) = (parameter(&query, "signature"), SystemTime::now());
        let assets = &house.parts.assets;
        let upload = assets.open_upload(&path, expires, &signature, now)?;
        keep(&house, upload, &headers, body, None).await
    };
    kept.await.unwrap_or_else(|error: ApiError| failed(&error))
}

/// Reads the picture, keeps it and tells how to name it.
async fn keep(
    house: &House,
    upload: OpenUpload,
    headers: &HeaderMap,
    body: Body,
    allowance: Option<&Allowance>,
) -> Result<Response, ApiError> {
    let input_max = usize::try_from(INPUT_BYTES_MAX).unwrap_or(usize::MAX);
    let bytes_max = input_max.min(house.parts.options.body_bytes_max);
    let bytes: Bytes = rest::read_bytes(headers, body, bytes_max).await?;
    let kept = house.parts.assets.put_upload(upload, bytes).await?;
    let answer = json!({"code": 0, "message": "ok", "data": {
        "reference": upload.id.to_string(),
        "mimeType": kept.mime_type,
        "sizeBytes": kept.size_bytes,
        "expiresAt": Timestamp::from(upload.id.expires_at()).to_string(),
    }});
    Ok(rest::json(
        StatusCode::OK,
        answer.to_string().into_bytes(),
        allowance,
    ))
}
