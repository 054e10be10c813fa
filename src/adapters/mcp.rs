//! The MCP face: Streamable HTTP at `/api/mcp/mcp`, stateless, for every public revision of that
//! transport.
//!
//! One endpoint serves two eras. *Legacy* clients (2025-03-26 to 2025-11-25) begin with `initialize`;
//! no session is minted, so any replica can answer any request. *Modern* clients (2026-07-28) send
//! their version with each request, in a header and in `_meta`. [`era`] tells them apart and checks
//! what the modern revision wants checked, in the order in which it wants it; [`wire`] is JSON-RPC;
//! [`tools`] lists and calls the spec's tools. Tool lists are written once, when the server starts.
//!
//! | what | legacy | modern |
//! |---|---|---|
//! | JSON-RPC error | HTTP 200 | 404 unknown method, 400 bad envelope, 200 bad params |
//! | result | as it is | with `resultType`, and `serverInfo` in `_meta` |
//! | list | as it is | with `ttlMs` and `cacheScope` |

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::value::RawValue;

use super::entry::{Peer, Shared};
use super::{failed, rest};
use crate::gate::Caller;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

pub mod about;
mod era;
pub mod sse;
mod tools;
mod wire;

use era::Era;
use tools::ToolLists;
use wire::{Incoming, Reply, RpcError};

/// Where the endpoint is.
pub const PATH: &str = "/api/mcp/mcp";

/// The most messages in a batch; only 2025-03-26 has batches.
const BATCH_MAX: usize = 50;

/// The face's state.
pub struct Mcp {
    house: Shared,
    tools: HashMap<&'static str, usize>,
    lists: ToolLists,
}

/// The face.
pub fn router(house: &Shared) -> Router {
    let tools = house.index(|info| info.tool.as_ref().map(|tool| tool.name));
    let mcp = Arc::new(Mcp {
        house: house.clone(),
        tools,
        lists: ToolLists::new(house),
    });
    // GET and DELETE are for sessions and their streams: without them 405 is the answer that every
    // revision provides for.
    Router::new()
        .route(PATH, post(serve))
        .with_state(mcp.clone())
        .merge(sse::router(&mcp))
}

async fn serve(State(mcp): State<Arc<Mcp>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let options = &mcp.house.parts.options;
    if let Err(error) = era::check_origin(&parts.headers, &parts.uri, options) {
        return failed(&error);
    }
    let peer = parts.extensions.get::<Peer>().copied();
    let caller = match mcp.house.caller(&parts.headers, peer).await {
        Ok(caller) => caller,
        Err(refusal) => return failed(&refusal.into()),
    };
    let body = match rest::read_json(&parts.headers, body, options.body_bytes_max).await {
        Ok(body) => body,
        Err(error) => return failed(&error),
    };
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return mcp.batch(&parts.headers, &caller, &body).await;
    }
    match Incoming::parse(&body) {
        Ok(incoming) => mcp
            .answer(parts.headers, caller, incoming)
            .await
            .into_response(),
        Err(error) => Reply::failed(None, error, Era::Modern).into_response(),
    }
}

impl Mcp {
    /// Answers one message.
    async fn answer(&self, headers: HeaderMap, caller: Caller, incoming: Incoming<'_>) -> Reply {
        let (Some(id), Some(method)) = (incoming.id, incoming.method.as_deref()) else {
            // A notification, or the answer to a question that was never asked.
            return Reply::Accepted;
        };
        let era = match era::of(&headers, method, incoming.params) {
            Ok(era) => era,
            Err(error) => return Reply::failed(Some(id), error, Era::Modern),
        };
        let result = self
            .result(headers, caller, era, method, incoming.params)
            .await;
        match result {
            Ok(result) => Reply::Result {
                id: id.get().to_owned(),
                result,
            },
            Err(error) => Reply::failed(Some(id), error, era),
        }
    }

    /// The `result` of a request, as JSON text.
    async fn result(
        &self,
        headers: HeaderMap,
        caller: Caller,
        era: Era,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Bytes, RpcError> {
        match (era, method) {
            (Era::Modern, "server/discover") => Ok(about::discover()),
            (Era::Legacy, "initialize") => Ok(about::initialize(params)),
            (Era::Legacy, "ping") => Ok(Bytes::from_static(b"{}")),
            (_, "tools/list") => Ok(self.lists.of(era)),
            (_, "tools/call") => self.call(headers, caller, era, params).await,
            _ => Err(RpcError::method_not_found(method)),
        }
    }

    /// Answers a batch, one message after another. The 2025-03-26 revision alone has them.
    async fn batch(&self, headers: &HeaderMap, caller: &Caller, body: &Bytes) -> Response {
        let messages = match era::batch(headers, body, BATCH_MAX) {
            Ok(messages) => messages,
            Err(error) => return Reply::failed(None, error, Era::Modern).into_response(),
        };
        let mut replies = Vec::new();
        for message in messages {
            let reply = match Incoming::parse(message.get().as_bytes()) {
                Ok(incoming) => self.answer(headers.clone(), caller.clone(), incoming).await,
                Err(error) => Reply::failed(None, error, Era::Legacy),
            };
            replies.extend(reply.into_json());
        }
        if replies.is_empty() {
            return Reply::Accepted.into_response();
        }
        json(StatusCode::OK, format!("[{}]", replies.join(",")).into())
    }
}

/// A JSON answer of this face.
fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The refusal of a web page or host that this server does not serve.
fn not_allowed(message: String) -> ApiError {
    ApiError::new(Reason::OriginNotAllowed, message)
}
