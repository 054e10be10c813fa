//! What needs no key: the OpenAPI document, the MCP server card, and whether the server is well.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use super::entry::Shared;
use super::mcp::{self, about};
use super::{failed, rest};
use crate::spec::OPENAPI;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// How long a document may be kept, in seconds.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// A document that is the same for everyone until the server is replaced.
#[derive(Clone)]
struct Document {
    media_type: HeaderValue,
    etag: HeaderValue,
    text: bytes::Bytes,
}

impl Document {
    fn new(media_type: &'static str, text: String) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let short: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let etag = HeaderValue::from_str(&format!("\"{short}\""))
            .unwrap_or(HeaderValue::from_static("\"0\""));
        Self {
            media_type: HeaderValue::from_static(media_type),
            etag,
            text: text.into(),
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| {
            let known = known.to_str().unwrap_or_default();
            known
                .split(',')
                .any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == self.etag.as_bytes())
        });
        let body = if known {
            Body::empty()
        } else {
            Body::from(self.text.clone())
        };
        let mut response = Response::new(body);
        *response.status_mut() = if known {
            StatusCode::NOT_MODIFIED
        } else {
            StatusCode::OK
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.media_type.clone());
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, CACHE);
        response
    }
}

/// The face.
pub fn router(house: &Shared) -> Router {
    let card = about::server_card(&house.parts.options.public_url);
    let card = Document::new("application/mcp-server-card+json", card.to_string());
    let openapi = Document::new("application/json", OPENAPI.to_owned());
    let serve = |document: Document| {
        get(move |headers: HeaderMap| async move { document.answer(&headers) })
    };
    Router::new()
        .route("/openapi.json", serve(openapi))
        .route("/.well-known/mcp/server-card.json", serve(card.clone()))
        .route(&format!("{}/server-card", mcp::PATH), serve(card))
        .route("/healthz", get(|| async { well() }))
        .route("/readyz", get(ready))
        .with_state(house.clone())
}

fn well() -> Response {
    rest::json(
        StatusCode::OK,
        br#"{"code":0,"message":"ok"}"#.to_vec(),
        None,
    )
}

/// Whether calls can be served: the database answers.
async fn ready(State(house): State<Shared>) -> Response {
    match house.parts.store.ping().await {
        Ok(()) => well(),
        Err(error) => {
            tracing::warn!(?error, "not ready");
            failed(&ApiError::new(
                Reason::Unavailable,
                "The database does not answer.",
            ))
        }
    }
}
