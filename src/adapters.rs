//! The faces: gRPC, REST and MCP on one port, over one set of handlers behind one gate.
//!
//! A request meets, in this order:
//!
//! 1. [`observe`]: a request id, a log line, and an answer even when something panics.
//! 2. The face, told by content type and path: [`grpc`] for `application/grpc*`, [`mcp`] for
//!    `/api/mcp/…`, [`files`] for `/files/…`, [`rest`] for the rest of the API.
//! 3. [`entry`]: the credential is turned into a `Caller` and the call spends its budget.
//! 4. The method's handler in [`handlers`], the only code that knows both messages and use cases.
//!
//! REST and MCP decode JSON into the message and call the handler in process; nothing is written
//! twice. [`errors`] says which reason of the one table each room's errors have.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use crate::assets::Assets;
use crate::gate::Gate;
use crate::spec::method::Registry;
use crate::store::Store;

mod discovery;
mod entry;
mod errors;
mod files;
mod grpc;
pub mod handlers;
mod mcp;
mod observe;
mod rest;
pub mod server;

/// What the faces need beside the methods.
pub struct Parts {
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// The files that links lead to.
    pub assets: Assets,
    /// Asked by `/readyz`.
    pub store: Store,
    /// How the faces behave.
    pub options: Options,
}

/// How the faces behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address of this server as callers see it, without a final slash.
    pub public_url: String,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Whether the client's address is the last one of `X-Forwarded-For`.
    pub trusted_proxy: bool,
    /// The hosts that MCP requests may name, without ports.
    pub allowed_hosts: Vec<String>,
    /// The web origins that MCP requests may come from.
    pub allowed_origins: Vec<String>,
}

/// All faces of the methods in `registry`. Must run inside a tokio runtime.
///
/// # Errors
/// The scope that a method names and that does not exist.
pub fn router(registry: Registry, parts: Parts) -> Result<Router, entry::UnknownScope> {
    let (services, methods) = registry.into_parts();
    let entrances = methods
        .into_iter()
        .map(entry::Entrance::new)
        .collect::<Result<Vec<_>, _>>()?;
    let house = Arc::new(entry::House { entrances, parts });
    let grpc = grpc::router(services, &house);
    let http = Router::new()
        .merge(rest::router(&house))
        .merge(mcp::router(&house))
        .merge(files::router(&house))
        .merge(discovery::router(&house))
        .fallback(rest::not_found)
        .method_not_allowed_fallback(rest::method_not_allowed);
    // gRPC is told by content type, so that its paths and the fallbacks above never meet.
    let by_content_type = from_fn(move |request: Request, next: Next| {
        let grpc = grpc.clone();
        async move {
            if grpc::is_grpc(request.headers()) {
                grpc::serve(grpc, request).await
            } else {
                next.run(request).await
            }
        }
    });
    Ok(http
        .layer(by_content_type)
        .layer(entry::cross_origin())
        .layer(from_fn(observe::observe)))
}

/// Answers with a failure in the envelope.
fn failed(error: &crate::spec::error::ApiError) -> Response {
    rest::failure(error, None)
}
