//! HTTP+SSE, the transport of 2024-11-05, for clients that speak nothing newer.
//!
//! `GET /api/mcp/sse` opens a stream of events whose first, `endpoint`, says where to post messages;
//! a posted message is taken with 202, and what comes of it arrives on the stream. It is the one part
//! of the MCP surface with state: a session lives in the server that its stream is connected to, so
//! several replicas need a proxy that sends a client to the same one.
//!
//! A session belongs to the credential that opened it; for any other it does not exist. Its stream
//! owns it: when the connection ends, the stream is dropped, and with it the session and whatever was
//! still being answered on it. (Tasks go on: they are rows.) It ends with its credential, as
//! [`open_streams`](super::open_streams) has it, and when the server stops, once what was being answered
//! has been; the transport has no word for the end but the end. A request that its client cancels is
//! dropped unanswered, as one whose connection is closed is on the new transport. The old transport knows
//! no revision without `initialize`, so what `server/discover` would tell is told nowhere here.
//!
//! Bounds: those of open streams, [`CALLS_MAX`] requests at once on a session, [`QUEUE_MAX`] messages that
//! wait for a slow reader; beyond that, those who answer wait. An idle session costs about 15 KB, nearly
//! all of it the connection's own buffers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::response::sse::Event;
use axum::routing::{get, post};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::Instrument;
use url::Url;
use uuid::Uuid;

use super::calls::{Limits, Sender};
use super::era::{Era, VERSION_HEADER};
use super::open_streams::Place;
use super::wire::{Incoming, Reply, RpcError};
use super::{Mcp, failed, rest};
use crate::gate::Caller;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// Where streams are opened.
pub const PATH: &str = "/api/mcp/sse";

/// The revision that has this transport.
pub const VERSION: &str = "2024-11-05";

/// Where messages are posted.
const MESSAGES_PATH: &str = "/api/mcp/messages";

/// The names that clients have for the parameter that says which session; the first is ours.
const SESSION_PARAMETERS: [&str; 2] = ["sessionId", "session_id"];

/// The most requests of one session that are being answered at once.
const CALLS_MAX: u32 = 32;

/// The most messages that wait until the client has read those before.
const QUEUE_MAX: usize = 16;

/// The transport.
struct Transport {
    mcp: Arc<Mcp>,
    sessions: Arc<Sessions>,
    /// Where messages are posted, as a client sees it.
    messages_path: String,
}

/// The routes of the transport; none where it is switched off.
pub fn router(mcp: &Arc<Mcp>) -> Router {
    let options = &mcp.house.parts.options;
    if !options.mcp_sse {
        return Router::new();
    }
    // Behind a proxy this server may be below a path.
    let prefix = Url::parse(&options.public_url)
        .map(|url| url.path().trim_end_matches('/').to_owned())
        .unwrap_or_default();
    let transport = Transport {
        mcp: mcp.clone(),
        sessions: Arc::default(),
        messages_path: format!("{prefix}{MESSAGES_PATH}"),
    };
    Router::new()
        .route(PATH, get(open))
        .route(MESSAGES_PATH, post(take))
        .with_state(Arc::new(transport))
}

/// Opens a stream.
async fn open(State(transport): State<Arc<Transport>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let opened = async {
        let caller = transport.mcp.enter(&parts).await?;
        let place = transport.mcp.streams.take(&caller)?;
        Sessions::open(&transport.sessions, &caller, place)
    };
    match opened.await {
        Ok(opened) => rest::event_stream(opened.events(&transport.messages_path)),
        Err(error) => failed(&error),
    }
}

/// Takes a message, to answer it on the stream of its session.
async fn take(State(transport): State<Arc<Transport>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let read = async {
        let caller = transport.mcp.enter(&parts).await?;
        let session = transport.sessions.find(&parts, &caller)?;
        let bytes_max = transport.mcp.house.parts.options.body_bytes_max;
        let body = rest::read_json(&parts.headers, body, bytes_max).await?;
        Ok((caller, session, body))
    };
    let (caller, session, body) = match read.await {
        Ok(read) => read,
        Err(error) => return failed(&error),
    };
    let incoming = match Incoming::parse(&body) {
        Ok(incoming) => incoming,
        Err(error) => return Reply::failed(None, error, Era::Modern).into_response(),
    };
    if let Some(canceled) = canceled(&incoming) {
        session.running().retain(|running| running.id != canceled);
        return accepted();
    }
    let Ok(turn) = session.calls.clone().try_acquire_owned() else {
        return failed(&busy(format!(
            "At most {CALLS_MAX} requests of a session are answered at once; wait for an answer."
        )));
    };
    // A session is of one revision; a client that knows others may name them all the same.
    parts.headers.remove(VERSION_HEADER);
    // Whatever the client accepts as the answer to its post: progress goes on the stream.
    let events = HeaderValue::from_static("text/event-stream");
    parts.headers.insert(header::ACCEPT, events);
    let sender = Sender {
        headers: parts.headers,
        caller,
        limits: Limits::default(),
    };
    let canceled = incoming.id.map(|id| session.begin(id.get()));
    let answered = async move {
        let canceled = async {
            match canceled {
                // An error: its sender was dropped, for nothing is ever sent.
                Some(canceled) => drop(canceled.await),
                None => std::future::pending().await,
            }
        };
        let answering = transport.answer(sender, &body, &session.messages);
        tokio::select! {
            () = session.messages.closed() => {}
            () = canceled => {}
            () = answering => {}
        }
        drop(turn);
    };
    tokio::spawn(answered.in_current_span());
    accepted()
}

impl Transport {
    /// Answers one message, a panic included: nobody waits for an answer that never comes.
    async fn answer(&self, sender: Sender, body: &[u8], messages: &mpsc::Sender<Bytes>) {
        let Ok(incoming) = Incoming::parse(body) else {
            return;
        };
        let id = incoming.id;
        let answering = async {
            let reply = match (id, incoming.method.as_deref()) {
                (Some(id), Some(method @ "server/discover")) => {
                    Reply::failed(Some(id), RpcError::method_not_found(method), Era::Legacy)
                }
                _ => self.mcp.answer(sender, incoming).await,
            };
            send(reply, messages).await;
        };
        if AssertUnwindSafe(answering).catch_unwind().await.is_err() {
            tracing::error!("a message panicked");
            let error = RpcError::failed(&ApiError::internal());
            send(Reply::failed(id, error, Era::Legacy), messages).await;
        }
    }
}

/// Puts what comes of a message on the stream, until the client has gone.
async fn send(reply: Reply, messages: &mpsc::Sender<Bytes>) {
    let mut replies = reply.into_messages();
    while let Some(message) = replies.next().await {
        if messages.send(message).await.is_err() {
            return;
        }
    }
}

/// The id of the request that a message cancels, as its text.
fn canceled(incoming: &Incoming<'_>) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Canceled<'a> {
        #[serde(borrow)]
        request_id: &'a RawValue,
    }
    if incoming.method.as_deref() != Some("notifications/cancelled") {
        return None;
    }
    let canceled: Canceled<'_> = serde_json::from_str(incoming.params?.get()).ok()?;
    Some(canceled.request_id.get().to_owned())
}

/// A session as those who answer see it.
#[derive(Clone)]
struct Session {
    account: Uuid,
    key_id: Option<Uuid>,
    is_test: bool,
    messages: mpsc::Sender<Bytes>,
    calls: Arc<Semaphore>,
    /// The requests that are being answered, and some that have been.
    running: Arc<Mutex<Vec<Running>>>,
}

/// A request that is being answered, until this is dropped or it has been.
struct Running {
    id: String,
    going_on: oneshot::Sender<()>,
}

impl Session {
    fn is_of(&self, caller: &Caller) -> bool {
        self.account == caller.account_id()
            && self.key_id == caller.key_id()
            && self.is_test == caller.is_test()
    }

    /// Takes note of a request; what is returned ends when it is canceled.
    fn begin(&self, id: &str) -> oneshot::Receiver<()> {
        let (going_on, canceled) = oneshot::channel();
        let mut running = self.running();
        running.retain(|running| !running.going_on.is_closed());
        running.push(Running {
            id: id.to_owned(),
            going_on,
        });
        canceled
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        // Nothing in here is left half done.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All sessions of the server, by numbers that cannot be guessed. The lock is held for a look-up or a
/// change, never while waiting.
#[derive(Default)]
struct Sessions(Mutex<HashMap<u128, Session>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Session>> {
        // Nothing in here is left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(this: &Arc<Self>, caller: &Caller, place: Place) -> Result<Opened, ApiError> {
        let mut number = [0; 16];
        getrandom::fill(&mut number).map_err(|error| {
            tracing::error!(%error, "no random numbers");
            ApiError::internal()
        })?;
        let number = u128::from_ne_bytes(number);
        let (messages, received) = mpsc::channel(QUEUE_MAX);
        let calls = Arc::new(Semaphore::new(CALLS_MAX as usize));
        let session = Session {
            account: caller.account_id(),
            key_id: caller.key_id(),
            is_test: caller.is_test(),
            messages,
            calls: calls.clone(),
            running: Arc::default(),
        };
        this.lock().insert(number, session);
        Ok(Opened {
            sessions: this.clone(),
            place,
            number,
            received,
            calls,
        })
    }

    /// The session that a request names, if it is the caller's.
    fn find(&self, parts: &Parts, caller: &Caller) -> Result<Session, ApiError> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let (_, number) = form_urlencoded::parse(query)
            .find(|(name, _)| SESSION_PARAMETERS.contains(&name.as_ref()))
            .ok_or_else(|| {
                let [name, _] = SESSION_PARAMETERS;
                let message = format!("The parameter {name} is missing; GET {PATH} tells it.");
                ApiError::new(Reason::MalformedRequest, message)
            })?;
        let number = u128::from_str_radix(&number, 16).ok();
        number
            .and_then(|number| self.lock().get(&number).cloned())
            .filter(|session| session.is_of(caller))
            .ok_or_else(|| {
                let message = format!("There is no such session; GET {PATH} opens a new one.");
                ApiError::new(Reason::PathNotFound, message)
            })
    }
}

/// The end of a session that its stream holds. When it is dropped, the session is no more.
struct Opened {
    sessions: Arc<Sessions>,
    place: Place,
    number: u128,
    received: mpsc::Receiver<Bytes>,
    calls: Arc<Semaphore>,
}

impl Opened {
    fn events(self, messages_path: &str) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
        let [name, _] = SESSION_PARAMETERS;
        let endpoint = format!("{messages_path}?{name}={:032x}", self.number);
        let first = Event::default().event("endpoint").data(endpoint);
        let rest = stream::unfold(self, |mut opened| async {
            let message = opened.next().await?;
            let text = String::from_utf8_lossy(&message);
            Some((Event::default().event("message").data(text), opened))
        });
        stream::iter([first]).chain(rest).map(Ok)
    }

    /// The next message; none when the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        let last_answered = async {
            self.place.stopping().await;
            // The only failure is that the semaphore was closed, which nobody does.
            let _ = self.calls.acquire_many(CALLS_MAX).await;
        };
        tokio::select! {
            biased;
            () = self.place.refused() => None,
            message = self.received.recv() => message,
            // The last answer may have come after the look above.
            () = last_answered => self.received.try_recv().ok(),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.number);
    }
}

fn busy(message: String) -> ApiError {
    ApiError::new(Reason::Busy, message)
}

/// The answer to a posted message, in the word that the first implementations sent.
fn accepted() -> Response {
    let mut response = Response::new(Body::from("Accepted"));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
