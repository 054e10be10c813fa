//! Answers of more than one message: server-sent events on the response of the request that asked for
//! them.
//!
//! A stream is pulled by its connection and holds everything that feeds it. When the client goes away
//! the connection drops it, and with it whatever it waited for: nothing runs for nobody, and nothing
//! has to be told to stop. A task that was started goes on; it is a row, not a stream.

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Bytes;
use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, header};
use serde_json::Value;
use tokio::sync::watch;

use super::wire::{Outcome, RpcError, notification, response as carrying};
use crate::adapters::progress::Progress;
use crate::adapters::rest;

/// JSON-RPC messages as they come.
pub type Messages = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The result of a request, still to come.
type Coming = Pin<Box<dyn Future<Output = Result<Bytes, RpcError>> + Send>>;

/// Sends messages as events.
pub fn response(messages: Messages) -> Response {
    let events = messages.map(|text| {
        let text = String::from_utf8_lossy(&text);
        Ok::<_, Infallible>(Event::default().event("message").data(text))
    });
    rest::event_stream(events)
}

/// Whether a client takes events. One that does not say is taken at what its protocol demands.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted.any(|value| {
            value
                .to_str()
                .is_ok_and(|list| list.contains("text/event-stream") || list.contains("*/*"))
        })
}

/// Waits for a result. If there is progress before it is there, the answer becomes a stream that tells
/// it; otherwise it is one message.
///
/// # Errors
/// Those of the result, while it is the only message.
pub async fn with_progress(
    id: &str,
    token: &str,
    mut coming: Coming,
    mut progress: watch::Receiver<Progress>,
) -> Result<Outcome, RpcError> {
    tokio::select! {
        biased;
        result = &mut coming => return result.map(Outcome::Result),
        Ok(()) = progress.changed() => {}
    }
    progress.mark_changed();
    let telling = Telling {
        id: id.to_owned(),
        token: token.to_owned(),
        coming: Some(coming),
        progress: Some(progress),
        told: None,
    };
    Ok(Outcome::Stream(
        stream::unfold(telling, Telling::next).boxed(),
    ))
}

/// A request whose progress is told.
struct Telling {
    id: String,
    token: String,
    /// `None` once it has been answered.
    coming: Option<Coming>,
    /// `None` once nobody reports any more.
    progress: Option<watch::Receiver<Progress>>,
    /// The last percentage: each must be greater than the one before.
    told: Option<u32>,
}

impl Telling {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let coming = self.coming.as_mut()?;
            let reported = async {
                match &mut self.progress {
                    Some(progress) => progress.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = coming => {
                    self.coming = None;
                    return Some((last(&self.id, result), self));
                }
                changed = reported => match changed {
                    Err(_) => self.progress = None,
                    Ok(()) => if let Some(text) = self.report() {
                        return Some((text, self));
                    }
                }
            }
        }
    }

    /// The latest report, if it is further than the one before.
    fn report(&mut self) -> Option<Bytes> {
        let Progress { percent, message } = self.progress.as_mut()?.borrow_and_update().clone();
        if self.told.is_some_and(|told| told >= percent) {
            return None;
        }
        self.told = Some(percent);
        let token = &self.token;
        let mut params = format!(r#"{{"progressToken":{token},"progress":{percent},"total":100"#);
        if !message.is_empty() {
            params.push_str(r#","message":"#);
            params.push_str(&Value::from(message).to_string());
        }
        params.push('}');
        Some(notification("notifications/progress", &params))
    }
}

/// The last message of a stream.
fn last(id: &str, result: Result<Bytes, RpcError>) -> Bytes {
    match result {
        Ok(result) => carrying(id, &result),
        Err(error) => error.to_message(id),
    }
}
