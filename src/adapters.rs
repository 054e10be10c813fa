//! The faces: gRPC, REST and MCP on one port, over one set of handlers behind one gate.
//!
//! A request meets, in this order:
//!
//! 1. [`observe`]: a request id, a log line, and an answer even when something panics.
//! 2. [`cross_origin`]: browsers learn that any page may call.
//! 3. The face, told by content type and path: [`grpc`] for `application/grpc*`, [`mcp`] for
//!    `/api/mcp/…`, [`files`] for `/files/…`, [`hooks`] for `/hooks/…`, [`rest`] for the rest of the API, and
//!    [`pages`] for people.
//! 4. [`entry`]: the credential is turned into a `Caller` and the call spends its budget.
//! 5. The method's handler in [`handlers`], the only code that knows both messages and use cases.
//!
//! REST and MCP decode JSON into the message and call the handler in process; nothing is written
//! twice. [`errors`] says which reason of the one table each room's errors have.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use http::Method;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::assets::Assets;
use crate::catalog;
use crate::gate::Gate;
use crate::generation::Generation;
use crate::people::People;
use crate::spec::method::Registry;
use crate::store::Store;

mod cross_origin;
mod discovery;
mod documents;
mod entry;
mod errors;
mod files;
mod grpc;
pub mod handlers;
mod hooks;
mod linger;
mod mcp;
mod observe;
mod pages;
pub mod progress;
mod rest;
pub mod server;
mod site;
mod uploads;

pub use mcp::{PATH as MCP_PATH, about};
pub use pages::{oidc_back, sign_in_link};

/// What the faces need beside the methods.
pub struct Parts {
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// The files that links lead to.
    pub assets: Assets,
    /// Asked by `/readyz`.
    pub store: Store,
    /// The models that MCP lists and completes.
    pub catalog: catalog::Current,
    /// Who signs in; none: there are no pages to sign in to.
    pub people: Option<People>,
    /// Told when upstreams call; none: there is nobody to tell.
    pub generation: Option<Arc<Generation>>,
    /// How the faces behave.
    pub options: Options,
    /// Comes true when the server begins to stop: what has no end of its own ends then.
    pub stop: CancellationToken,
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
    /// Whether MCP's old transport, HTTP+SSE, is served beside the new one.
    pub mcp_sse: bool,
}

/// All faces of the methods of a registry. Cheap to clone.
#[derive(Clone)]
pub struct Faces {
    grpc: Router,
    http: Router,
}

impl Faces {
    /// The faces of the methods in `registry`. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// The scope that a method names and that does not exist.
    pub fn new(registry: Registry, parts: Parts) -> Result<Self, entry::UnknownScope> {
        let (services, methods) = registry.into_parts();
        let entrances = methods
            .into_iter()
            .map(entry::Entrance::new)
            .collect::<Result<Vec<_>, _>>()?;
        let site = site::Site::of(&parts.options.public_url);
        let house = Arc::new(entry::House {
            entrances,
            parts,
            site,
        });
        let http = Router::new()
            .merge(rest::router(&house))
            .merge(mcp::router(&house))
            .merge(files::router(&house))
            .merge(hooks::router(&house))
            .merge(uploads::router(&house))
            .merge(discovery::router(&house))
            .merge(pages::router(&house))
            .fallback_service(any(pages::fallback).with_state(house.clone()))
            .method_not_allowed_fallback(rest::method_not_allowed);
        Ok(Self {
            grpc: grpc::router(services, &house),
            http,
        })
    }

    /// Answers a request. What every request meets is called here one after the other, without the
    /// boxes that layers of a router would put around each other for every request.
    pub async fn answer(self, request: Request) -> Response {
        observe::observe(request, |request| self.route(request)).await
    }

    async fn route(self, request: Request) -> Response {
        if request.method() == Method::OPTIONS {
            return cross_origin::preflight(request.headers());
        }
        // gRPC is told by content type, so that its paths and the fallbacks of the others never meet.
        let face = if grpc::is_grpc(request.headers()) {
            self.grpc
        } else {
            self.http
        };
        let mut response = match face.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        cross_origin::put_headers(response.headers_mut());
        response
    }
}

/// Answers with a failure in the envelope.
fn failed(error: &crate::spec::error::ApiError) -> Response {
    rest::failure(error, None)
}
