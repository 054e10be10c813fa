//! What needs no key: the OpenAPI document, what MCP clients and catalogues find a server by, and
//! whether the server is well.
//!
//! Nothing is said of OAuth, anywhere below `/.well-known`: a client that finds such a document goes
//! through a login that does not exist here, and forgets the key that it was configured with.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{StatusCode, header};

use super::documents::{Document, KEEP_AN_HOUR};
use super::entry::Shared;
use super::mcp::{self, about};
use super::{failed, rest};
use crate::spec::OPENAPI;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// The face.
pub fn router(house: &Shared) -> Router {
    let options = &house.parts.options;
    let openapi = Document::new("application/json", KEEP_AN_HOUR, OPENAPI);
    let card = found_by_pages(about::CARD_TYPE, about::server_card(options).to_string());
    let catalog = found_by_pages(about::CATALOG_TYPE, about::catalog(options).to_string());
    Router::new()
        .route("/openapi.json", openapi.route())
        .route("/.well-known/mcp/server-card.json", card.clone().route())
        .route(&format!("{}{}", mcp::PATH, about::CARD_PATH), card.route())
        .route("/.well-known/ai-catalog.json", catalog.route())
        .route("/healthz", get(|| async { well() }))
        .route("/readyz", get(ready))
        .with_state(house.clone())
}

/// A document that scripts of any page may ask for, told as SEP-2127 ("Server Cards") has it.
fn found_by_pages(media_type: &'static str, text: String) -> Document {
    Document::new(media_type, KEEP_AN_HOUR, text)
        .with(header::ACCESS_CONTROL_ALLOW_METHODS, "GET")
        .with(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Content-Type, If-None-Match",
        )
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
