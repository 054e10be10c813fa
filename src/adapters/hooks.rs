//! `/hooks/{provider}/{task}`: where upstreams call when something has changed. Whatever they say, it is
//! only taken as a reason to ask them.

use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use uuid::Uuid;

use super::entry::Shared;
use crate::generation::HOOKS_PATH;
use crate::providers::{Hook, HookError};

/// The longest call that is read. Some upstreams send the whole result along.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The face.
pub fn router(house: &Shared) -> Router {
    Router::new()
        .route(&format!("{HOOKS_PATH}/{{provider}}/{{task}}"), post(hear))
        .with_state(house.clone())
}

async fn hear(
    State(house): State<Shared>,
    Path((provider, task)): Path<(String, Uuid)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let body = body.to_bytes();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let hook = Hook {
        header: &header,
        body: &body,
        now: SystemTime::now(),
    };
    let heard = match &house.parts.generation {
        Some(generation) => generation.hear(&provider, task, &hook).await,
        None => Err(HookError::NotOffered),
    };
    match heard {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(HookError::NotOffered) => StatusCode::NOT_FOUND,
        Err(HookError::Signature) => StatusCode::UNAUTHORIZED,
        Err(HookError::Unchecked) => StatusCode::SERVICE_UNAVAILABLE,
    }
    .into_response()
}
