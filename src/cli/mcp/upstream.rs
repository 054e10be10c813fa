//! One message to the server over Streamable HTTP, and the lines that come back.
//!
//! A server that is being replaced is waited for: what could not be delivered, or broke off, is sent
//! again with growing pauses, for [`PATIENCE_MAX`]; a stream that has told something begins to count
//! anew. That is safe for everything that Piooy does, since reading changes nothing and every call
//! carries an idempotency key, so one that had arrived is not made a second time.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use sse_stream::SseByteStream;
use tokio::sync::{mpsc, watch};
use url::Url;

use super::message::{self, INTERNAL_ERROR, Message, VERSION_HEADER};
use crate::cli::Failure;
use crate::settings::Secret;

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long the server may say nothing. It waits for results for less, and streams show that they are
/// alive every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// How long a server may be away. Clients wait for about a minute.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// The pause before the second attempt; each that follows is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The server behind the bridge.
pub struct Upstream {
    client: Client,
    url: Url,
    /// What `initialize` agreed on last; modern clients never do.
    agreed: watch::Sender<Option<HeaderValue>>,
}

/// Why a message has not been answered.
enum Fault {
    /// It may be by trying again; why, in words that follow the address of the server.
    Passing(String),
    /// It never will be; the code, the words and what else the server said.
    Lasting(i64, String, Option<Value>),
}

/// Why the server did not look at a message.
#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
    data: Option<Value>,
}

impl Refusal {
    /// A JSON-RPC error, perhaps under no id; from what is not the endpoint, REST's failure envelope.
    fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Carried {
            error: Refusal,
        }
        if let Ok(Carried { error }) = serde_json::from_slice(body) {
            return Some(error);
        }
        let envelope: Refusal = serde_json::from_slice(body).ok()?;
        Some(Self {
            data: serde_json::from_slice(body).ok(),
            ..envelope
        })
    }
}

/// What shows which message this is.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<IgnoredAny>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Agreement<'a> {
    #[serde(rename = "protocolVersion")]
    version: &'a str,
}

impl Upstream {
    /// The server whose endpoint is at `url`, asked with `key`.
    pub fn new(url: Url, key: &Secret) -> Result<Self, Failure> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
            .map_err(|_| "the API key has characters that no key has")?;
        authorization.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, authorization),
            (
                header::ACCEPT,
                HeaderValue::from_static("application/json, text/event-stream"),
            ),
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            ),
        ]);
        let client = Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_MAX)
            .read_timeout(SILENCE_MAX)
            .build()?;
        Ok(Self {
            client,
            url,
            agreed: watch::Sender::new(None),
        })
    }

    /// Sends a message until it is answered or there is no hope, and tells what comes back, line by
    /// line. A request gets an answer whatever happens.
    pub async fn tell(&self, message: &Message, lines: &mpsc::Sender<Bytes>) {
        let mut patience = Patience::new();
        let (code, said, data) = loop {
            match self.attempt(message, lines, &mut patience).await {
                Ok(()) => return,
                Err(Fault::Lasting(code, said, data)) => break (code, said, data),
                Err(Fault::Passing(why)) => match patience.pause(Instant::now()) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => break (INTERNAL_ERROR, format!("{} {why}.", self.place()), None),
                },
            }
        };
        match &message.id {
            Some(id) => {
                let line = message::error(id, code, &said, data.as_ref());
                // The only failure is that nobody reads any more.
                let _ = lines.send(line).await;
            }
            None => tracing::warn!("a notification was not taken: {said}"),
        }
    }

    async fn attempt(
        &self,
        message: &Message,
        lines: &mpsc::Sender<Bytes>,
        patience: &mut Patience,
    ) -> Result<(), Fault> {
        let mut headers = message.headers.clone();
        if !message.initializes
            && !headers.contains_key(VERSION_HEADER)
            && let Some(agreed) = self.agreed.borrow().clone()
        {
            headers.insert(VERSION_HEADER, agreed);
        }
        let request = self.client.post(self.url.clone()).headers(headers);
        let sent = request.body(message.text.clone()).send().await;
        let answer = sent.map_err(|error| Fault::Passing(broken(&error)))?;
        let media_type = answer.headers().get(header::CONTENT_TYPE);
        if media_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream")) {
            return self.events(answer, message, lines, patience).await;
        }
        let status = answer.status();
        let body = answer.bytes().await;
        let body = body.map_err(|error| Fault::Passing(broken(&error)))?;
        let Some(id) = message.id.as_deref() else {
            return refusal(status, &body).map_or(Ok(()), Err);
        };
        // A refusal may be under no id, and one that passes is not to be told yet.
        let answers = status.is_success() || (is_answer(&body, id) && !is_passing(status));
        if answers && is_json_rpc(&body) {
            self.note(message, id, &body);
            let _ = lines.send(one_line(body)).await;
            return Ok(());
        }
        if status == StatusCode::ACCEPTED && id == "null" {
            // A batch of notifications.
            return Ok(());
        }
        Err(refusal(status, &body).unwrap_or_else(|| {
            let said = format!(
                "{} answers {status} without JSON-RPC; is it Piooy?",
                self.place()
            );
            Fault::Lasting(INTERNAL_ERROR, said, None)
        }))
    }

    /// Tells the messages of a stream as they come.
    async fn events(
        &self,
        answer: Response,
        message: &Message,
        lines: &mpsc::Sender<Bytes>,
        patience: &mut Patience,
    ) -> Result<(), Fault> {
        let mut events = SseByteStream::new(answer.bytes_stream());
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| Fault::Passing(format!("broke off: {error}")))?;
            let Some(text) = event.data.filter(|data| !data.is_empty()) else {
                continue;
            };
            patience.renew();
            let text = Bytes::from(text);
            let answered = message.id.as_deref().is_some_and(|id| {
                self.note(message, id, &text);
                is_answer(&text, id)
            });
            let _ = lines.send(one_line(text)).await;
            if answered {
                return Ok(());
            }
        }
        match message.id {
            Some(_) => Err(Fault::Passing("broke off".to_owned())),
            None => Ok(()),
        }
    }

    /// Remembers which revision was agreed on.
    fn note(&self, message: &Message, id: &str, text: &[u8]) {
        if !message.initializes || !is_answer(text, id) {
            return;
        }
        let agreed = serde_json::from_slice::<Outline<'_>>(text)
            .ok()
            .and_then(|outline| {
                let agreement: Agreement<'_> = serde_json::from_str(outline.result?.get()).ok()?;
                HeaderValue::from_str(agreement.version).ok()
            });
        self.agreed.send_replace(agreed);
    }

    fn place(&self) -> String {
        let origin = self.url.origin().ascii_serialization();
        format!("The server at {origin}")
    }
}

/// How long one message is tried.
struct Patience {
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self {
            since: None,
            pause: PAUSE_MIN,
        }
    }

    /// Counts anew: the server is there.
    fn renew(&mut self) {
        *self = Self::new();
    }

    /// How long to wait before the next attempt, if there is to be one.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= PATIENCE_MAX {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        Some(pause)
    }
}

/// Whether a server that answers so may soon answer otherwise.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// What an answer that is none means; nothing for success.
fn refusal(status: StatusCode, body: &[u8]) -> Option<Fault> {
    if status.is_success() {
        return None;
    }
    Some(match Refusal::read(body) {
        Some(told) if is_passing(status) => {
            Fault::Passing(format!("says: {}", told.message.trim_end_matches('.')))
        }
        None if is_passing(status) => Fault::Passing(format!("answers {status}")),
        Some(told) => Fault::Lasting(told.code, told.message, told.data),
        None => Fault::Lasting(
            INTERNAL_ERROR,
            format!("The server answers {status}; is it Piooy?"),
            None,
        ),
    })
}

/// What happened to a request, without the address, which may hold anything.
fn broken(error: &reqwest::Error) -> String {
    if error.is_connect() {
        return "could not be reached (is it running?)".to_owned();
    }
    if error.is_timeout() {
        return "did not answer in time".to_owned();
    }
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    cause.map_or("broke off".to_owned(), |cause| {
        format!("broke off: {cause}")
    })
}

fn is_json_rpc(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Marked {
        #[allow(dead_code, reason = "it is there or it is not")]
        jsonrpc: IgnoredAny,
    }
    serde_json::from_slice::<Marked>(body).is_ok()
        || serde_json::from_slice::<Vec<Marked>>(body).is_ok_and(|list| !list.is_empty())
}

fn is_answer(text: &[u8], id: &str) -> bool {
    serde_json::from_slice::<Outline<'_>>(text).is_ok_and(|outline| {
        outline.method.is_none() && outline.id.is_some_and(|raw| raw.get() == id)
    })
}

/// A message on one line. Line ends in JSON are white space between tokens; inside strings they are
/// escaped (RFC 8259 §7).
fn one_line(text: Bytes) -> Bytes {
    if !text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return text;
    }
    let mut text = Vec::from(text);
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_and_begins_anew() {
        let begun = Instant::now();
        let mut patience = Patience::new();
        let pauses: Vec<_> = (0..7)
            .map_while(|_| patience.pause(begun))
            .map(|pause| pause.as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(patience.pause(begun + PATIENCE_MAX), None);
        patience.renew();
        assert_eq!(patience.pause(begun + PATIENCE_MAX), Some(PAUSE_MIN));
    }

    #[test]
    fn a_message_is_one_line() {
        let pretty = Bytes::from_static(b"{\r\n  \"a\": \"b\\n\"\n}");
        assert_eq!(one_line(pretty), "{    \"a\": \"b\\n\" }");
        assert_eq!(one_line(Bytes::from_static(b"{}")), "{}");
    }

    #[test]
    fn a_refusal_is_read_in_either_form() {
        let envelope = r#"{"code":16,"message":"No.","reason":"KEY_MISSING"}"#;
        let error = format!(
            r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":16,"message":"No.","data":{envelope}}}}}"#
        );
        for body in [envelope, &error] {
            let Some(Fault::Lasting(16, said, Some(data))) =
                refusal(StatusCode::UNAUTHORIZED, body.as_bytes())
            else {
                panic!("{body} is read as something else");
            };
            assert_eq!(
                (said.as_str(), &data["reason"]),
                ("No.", &"KEY_MISSING".into())
            );
            let passing = refusal(StatusCode::SERVICE_UNAVAILABLE, body.as_bytes());
            assert!(matches!(passing, Some(Fault::Passing(said)) if said == "says: No"));
        }
    }

    #[test]
    fn answers_are_told_from_other_messages() {
        assert!(is_answer(
            br#"{"jsonrpc":"2.0","id":"a","result":{}}"#,
            "\"a\""
        ));
        assert!(is_answer(br#"{"jsonrpc":"2.0","id":1,"error":{}}"#, "1"));
        assert!(!is_answer(
            br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            "1"
        ));
        assert!(!is_answer(br#"{"jsonrpc":"2.0","id":2,"result":{}}"#, "1"));
        assert!(!is_answer(
            br#"{"jsonrpc":"2.0","method":"notifications/progress"}"#,
            "1"
        ));
        assert!(is_json_rpc(br#"[{"jsonrpc":"2.0","id":1}]"#) && !is_json_rpc(b"[]"));
        assert!(!is_json_rpc(br#"{"code":16}"#) && !is_json_rpc(b"<html>"));
    }
}
