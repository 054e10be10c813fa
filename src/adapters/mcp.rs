//! The MCP face: Streamable HTTP at `/api/mcp/mcp`, stateless, for every public revision of that
//! transport.
//!
//! One endpoint serves two eras. *Legacy* clients (2025-03-26 to 2025-11-25) begin with `initialize`;
//! no session is minted, so any replica can answer any request. *Modern* clients (2026-07-28) send
//! their version with each request, in a header and in `_meta`.
//!
//! ```text
//! request ─▶ serve ─▶ Incoming ─▶ Params ─▶ Era ─▶ Mcp::outcome ─▶ Reply ─▶ JSON, or events
//!            door     wire        params    era    one line per    wire     stream
//!                                                  method
//! ```
//!
//! | file | holds |
//! |---|---|
//! | [`wire`], [`params`] | JSON-RPC, read without copying |
//! | [`era`] | which era, and what a modern request must bring, in the order of the specification |
//! | [`stream`] | answers of several messages, and progress |
//! | [`lists`] | what is written once, when the server starts or the models change |
//! | [`calls`] | calls of the spec's methods on behalf of a sender |
//! | [`tools`], [`resources`], [`prompts`], [`completion`] | what they say |
//! | [`tasks`] | our tasks as tasks of the protocol |
//! | [`listen`] | streams of news |
//! | [`open_streams`] | how many streams are open, and until when |
//! | [`about`] | what the server says of itself |
//!
//! | what | legacy | modern |
//! |---|---|---|
//! | JSON-RPC error | HTTP 200 | 404 unknown method, 400 bad envelope, 200 bad params |
//! | result | as it is | with `resultType`, and `serverInfo` in `_meta` |
//! | list | as it is | with `ttlMs` and `cacheScope` |
//!
//! What is refused before it is looked at (who asks, from where, how much) is a JSON-RPC error too, in
//! both eras with the HTTP status that REST has for it. Answers carry REST's headers: what is left of the
//! budget that was spent, and when to come back.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::entry::{Peer, Shared};
use super::{failed, rest};
use crate::gate::Caller;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

pub mod about;
mod calls;
mod completion;
mod era;
#[cfg(feature = "conformance")]
mod fixtures;
mod listen;
mod lists;
mod open_streams;
mod params;
mod prompts;
mod resources;
mod results;
pub mod sse;
mod stream;
mod tasks;
mod tools;
pub mod viewer;
mod wire;

use calls::{Calls, Limits, Sender};
use completion::Completion;
use era::Era;
use lists::{Keep, List};
use open_streams::OpenStreams;
use params::Params;
use resources::Resources;
use tools::Tools;
use wire::{Incoming, Outcome, Reply, RpcError};

/// Where the endpoint is.
pub const PATH: &str = "/api/mcp/mcp";

/// The most messages in a batch; only 2025-03-26 has batches.
const BATCH_MAX: usize = 50;

/// The longest body, in bytes, that is read of a request which is refused whatever it says: to answer
/// under its id.
const REFUSED_BYTES_MAX: usize = 64 * 1024;

/// How long such a body may take to come.
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(1);

/// The words for how grave a log message is (RFC 5424, "Severity").
const LOG_LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// The face's state.
pub struct Mcp {
    house: Shared,
    calls: Calls,
    tools: Tools,
    resources: Resources,
    prompts: List,
    completion: Completion,
    streams: Arc<OpenStreams>,
    #[cfg(feature = "conformance")]
    fixtures: fixtures::Fixtures,
}

/// A request that was read: who asks for what, in which era.
struct Ask<'m> {
    id: &'m RawValue,
    method: &'m str,
    params: Params<'m>,
    era: Era,
    sender: Sender,
}

/// The face.
pub fn router(house: &Shared) -> Router {
    // GET and DELETE are for sessions and their streams: without them 405 is the answer that every
    // revision provides for.
    let mcp = Arc::new(Mcp::new(house));
    Router::new()
        .route(PATH, post(serve))
        .with_state(Arc::clone(&mcp))
        .merge(sse::router(&mcp))
}

async fn serve(State(mcp): State<Arc<Mcp>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let caller = match mcp.enter(&parts).await {
        Ok(caller) => caller,
        Err(error) => {
            let reading = rest::read_json(&parts.headers, body, REFUSED_BYTES_MAX);
            let read = timeout(REFUSED_WAIT_MAX, reading).await;
            let body = read.ok().and_then(Result::ok).unwrap_or_default();
            return refused(&error, &body);
        }
    };
    let bytes_max = mcp.house.parts.options.body_bytes_max;
    let body = match rest::read_json(&parts.headers, body, bytes_max).await {
        Ok(body) => body,
        Err(error) => return refused(&error, &[]),
    };
    let limits = Limits::default();
    let sender = Sender {
        headers: parts.headers,
        caller,
        limits: limits.clone(),
    };
    let mut response = if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        mcp.batch(&sender, &body).await
    } else {
        match Incoming::parse(&body) {
            Ok(incoming) => mcp.answer(sender, incoming).await.into_response(),
            Err(error) => Reply::failed(None, error, Era::Modern).into_response(),
        }
    };
    limits.put(response.headers_mut());
    response
}

/// Refuses a message that was not looked at. The status and the headers are those of REST; the body is
/// JSON-RPC, which is where clients of MCP look for words.
fn refused(error: &ApiError, body: &[u8]) -> Response {
    let id = Incoming::parse(body).ok().and_then(|incoming| incoming.id);
    let message = RpcError::failed(error).to_message(id.map_or("null", RawValue::get));
    let mut response = failed(error);
    *response.body_mut() = message.into();
    response
}

impl Mcp {
    fn new(house: &Shared) -> Self {
        #[cfg(not(feature = "conformance"))]
        let (tools, resources, templates, prompts) = Default::default();
        #[cfg(feature = "conformance")]
        let (tools, resources, templates, prompts) = fixtures::lists();
        let catalog = &house.parts.catalog;
        Self {
            calls: Calls::new(house),
            tools: Tools::new(house, tools),
            resources: Resources::new(catalog.clone(), resources, templates),
            prompts: prompts::list(prompts),
            completion: Completion::new(catalog.clone()),
            streams: OpenStreams::new(house.parts.gate.clone(), house.parts.stop.clone()),
            #[cfg(feature = "conformance")]
            fixtures: fixtures::Fixtures::default(),
            house: house.clone(),
        }
    }

    /// Who sends this, if this server is meant and may be asked.
    async fn enter(&self, parts: &Parts) -> Result<Caller, ApiError> {
        era::check_origin(&parts.headers, &parts.uri, &self.house.parts.options)?;
        let peer = parts.extensions.get::<Peer>().copied();
        Ok(self.house.caller(&parts.headers, peer).await?)
    }

    /// Answers one message.
    async fn answer(&self, sender: Sender, incoming: Incoming<'_>) -> Reply {
        let (Some(id), Some(method)) = (incoming.id, incoming.method.as_deref()) else {
            // A notification, or the answer to a question. Only fixtures ask any.
            #[cfg(feature = "conformance")]
            self.fixtures.hear(&incoming);
            return Reply::Accepted;
        };
        let params = Params::read(incoming.params);
        let era = {
            let unread = Params::default();
            era::of(&sender.headers, method, params.as_ref().unwrap_or(&unread))
        };
        let era = match era {
            Ok(era) => era,
            Err(error) => return Reply::failed(Some(id), error, Era::Modern),
        };
        let params = match params {
            Ok(params) => params,
            Err(error) => return Reply::failed(Some(id), error, era),
        };
        let ask = Ask {
            id,
            method,
            params,
            era,
            sender,
        };
        #[cfg(feature = "conformance")]
        if let Some(outcome) = self.fixtures.outcome(&ask, incoming.params).await {
            return Reply::to(id, outcome, era);
        }
        Reply::to(id, self.outcome(ask).await, era)
    }

    /// What comes of a request.
    async fn outcome(&self, ask: Ask<'_>) -> Result<Outcome, RpcError> {
        use Era::{Legacy, Modern};
        let (era, params) = (ask.era, &ask.params);
        Ok(Outcome::Result(match (era, ask.method) {
            (Modern, "server/discover") => about::discover(),
            (Legacy, "initialize") => about::initialize(params.protocol_version.as_deref()),
            (Legacy, "ping") => lists::result("", era, Keep::Unsaid),
            (Legacy, "logging/setLevel") => set_level(&ask)?,
            (_, "tools/list") => self.tools.list.page(era, params)?,
            (_, "tools/call") => return self.call_tool(ask).await,
            (_, "resources/list") => self.resources.list().page(era, params)?,
            (_, "resources/templates/list") => self.resources.templates.page(era, params)?,
            (_, "resources/read") => self.read(ask).await?,
            (_, "prompts/list") => self.prompts.page(era, params)?,
            (_, "prompts/get") => self.prompt(&ask)?,
            (_, "completion/complete") => self.completion.complete(&ask)?,
            (Modern, "subscriptions/listen") => return self.listen(ask).await,
            (Modern, "tasks/get" | "tasks/update" | "tasks/cancel") => self.task(ask).await?,
            (_, method) => return Err(RpcError::method_not_found(method)),
        }))
    }

    /// Answers a batch, one message after another. The 2025-03-26 revision alone has them.
    async fn batch(&self, sender: &Sender, body: &Bytes) -> Response {
        let messages = match era::batch(&sender.headers, body, BATCH_MAX) {
            Ok(messages) => messages,
            Err(error) => return Reply::failed(None, error, Era::Modern).into_response(),
        };
        let mut text = vec![b'['];
        for message in messages {
            let reply = match Incoming::parse(message.get().as_bytes()) {
                Ok(incoming) => self.answer(sender.clone(), incoming).await,
                Err(error) => Reply::failed(None, error, Era::Legacy),
            };
            // Answers alone: a list has no place for what comes before them.
            if let Some(answer) = reply.into_messages().fold(None, last).await {
                if text.len() > 1 {
                    text.push(b',');
                }
                text.extend_from_slice(&answer);
            }
        }
        if text.len() == 1 {
            return Reply::Accepted.into_response();
        }
        text.push(b']');
        json(StatusCode::OK, text.into())
    }
}

async fn last(_: Option<Bytes>, message: Bytes) -> Option<Bytes> {
    Some(message)
}

/// Takes note of what a legacy client wants to be logged to it. It is told everything in results, so
/// there is nothing to remember, only a level to check.
fn set_level(ask: &Ask<'_>) -> Result<Bytes, RpcError> {
    let level = params::needed(&ask.params.level, "level")?;
    if !LOG_LEVELS.contains(&level) {
        return Err(RpcError::invalid_params(format!(
            "There is no level {level}; there are {}.",
            LOG_LEVELS.join(", ")
        )));
    }
    Ok(lists::result("", ask.era, Keep::Unsaid))
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
