//! Calls to upstreams: bounded in time and length, and honest about whether a request may have arrived.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::multipart::Part;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::job::picture_type;
use super::{Cause, PollError, SubmitFailure};
use crate::egress::{Egress, EgressError, Policy};

/// How long an upstream may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long an upstream may take to answer that does not do the work before it answers.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long an upstream may take to answer that does.
const WORK_MAX: Duration = Duration::from_secs(10 * 60);
/// How long a download may stand still.
const STILL_MAX: Duration = Duration::from_secs(60);
/// The longest answer that is read, results in base64 apart.
pub(super) const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The longest wait that an upstream may ask for.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(10 * 60);
/// How much of an upstream's own words is passed on.
const WORDS_CHARS_MAX: usize = 300;

/// The way to one upstream, which the operator chose and which may be anywhere; and from there to wherever
/// its links lead, which the upstream chose and which is on the public internet or nowhere.
#[derive(Clone)]
pub struct Connection {
    base: Url,
    /// For calls. Redirects are answers: no upstream's documentation knows any, and following one with
    /// a paid request could pay twice.
    calls: Client,
    /// For results that are with the upstream. Whoever follows redirects must see where they lead before
    /// it shows a key.
    downloads: Client,
    /// For results that are elsewhere.
    elsewhere: Egress,
    answer_max: Duration,
    work_max: Duration,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// To the upstream at `base`, whose path calls are appended to.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(base: Url) -> Result<Self, EgressError> {
        Self::through(base, Egress::new(Policy::default())?)
    }

    /// The same with another way to results that are not with the upstream.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn through(base: Url, elsewhere: Egress) -> Result<Self, EgressError> {
        let calls = Client::builder()
            .connect_timeout(CONNECT_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(EgressError::Setup)?;
        let downloads = Client::builder()
            .connect_timeout(CONNECT_MAX)
            .read_timeout(STILL_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(EgressError::Setup)?;
        Ok(Self {
            base,
            calls,
            downloads,
            elsewhere,
            answer_max: ANSWER_MAX,
            work_max: WORK_MAX,
        })
    }

    /// The same with another time for an answer, whatever the upstream does before it.
    #[must_use]
    pub fn answering_within(mut self, answer_max: Duration) -> Self {
        (self.answer_max, self.work_max) = (answer_max, answer_max);
        self
    }

    /// The address of a call; `path` begins without a slash.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{base}/{path}"));
        url.set_query(query);
        url
    }

    /// Whether an address that the upstream gave is with the upstream, so that it may see the key.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// A call that reads.
    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.calls.get(url).timeout(self.answer_max)
    }

    /// A call that sends something.
    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.calls.post(url).timeout(self.answer_max)
    }

    /// A call that is answered when the work is done.
    pub(super) fn work(&self, url: Url) -> RequestBuilder {
        self.calls.post(url).timeout(self.work_max)
    }

    /// A call that replaces or stops something.
    pub(super) fn put(&self, url: Url) -> RequestBuilder {
        self.calls.put(url).timeout(self.answer_max)
    }

    /// A call that removes something.
    pub(super) fn delete(&self, url: Url) -> RequestBuilder {
        self.calls.delete(url).timeout(self.answer_max)
    }

    /// A file that is with the upstream. It may take its time as long as it moves.
    pub(super) fn download(&self, url: Url) -> RequestBuilder {
        self.downloads.get(url)
    }

    /// The way to a file that is not.
    pub(super) fn elsewhere(&self) -> &Egress {
        &self.elsewhere
    }
}

/// A link that a file can be fetched from.
pub(super) fn link(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// A picture as a part of a form; `stem` is the file's name without what it ends in.
pub(super) fn picture_part(stem: &str, picture: &Bytes) -> Part {
    let kind = picture_type(picture);
    let ending = kind.trim_start_matches("image/");
    Part::stream(picture.clone())
        .file_name(format!("{stem}.{ending}"))
        .mime_str(kind)
        .expect("the types of pictures are media types")
}

/// What an upstream answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The request certainly never arrived.
    NotSent(String),
    /// It may have arrived.
    Lost(String),
}

impl NoAnswer {
    pub fn of(error: reqwest::Error) -> Self {
        let never_left = error.is_connect() || error.is_builder();
        let words = cause_of(&error.without_url());
        if never_left {
            Self::NotSent(words)
        } else {
            Self::Lost(words)
        }
    }

    /// The answer broke off.
    pub fn cut(error: reqwest::Error) -> Self {
        Self::Lost(cause_of(&error.without_url()))
    }

    fn words(self) -> String {
        match self {
            Self::NotSent(words) | Self::Lost(words) => words,
        }
    }
}

/// What lies at the bottom of an error, which is what says something.
fn cause_of(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(deeper) = error.source() {
        error = deeper;
    }
    error.to_string()
}

impl From<NoAnswer> for SubmitFailure {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::NotSent(words) => {
                tracing::warn!(words, "an upstream could not be reached");
                Self::refused(Cause::Unreachable, "the upstream could not be reached")
            }
            NoAnswer::Lost(words) => {
                tracing::warn!(words, "an upstream's answer was lost");
                Self::unknown("the upstream gave no answer")
            }
        }
    }
}

impl From<NoAnswer> for PollError {
    fn from(none: NoAnswer) -> Self {
        Self {
            message: none.words(),
            retry_after: None,
        }
    }
}

/// Sends a call and reads the whole answer.
pub(super) async fn ask(request: RequestBuilder) -> Result<Answer, NoAnswer> {
    let response = send(request).await?;
    read(response).await
}

/// Sends a call, for an answer that is not read at once.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, NoAnswer> {
    request.send().await.map_err(NoAnswer::of)
}

/// Sends a call whose answer may be longer than most.
pub(super) async fn ask_within(
    request: RequestBuilder,
    bytes_max: usize,
) -> Result<Answer, NoAnswer> {
    let response = send(request).await?;
    read_within(response, bytes_max).await
}

/// Reads the whole of an answer.
pub(super) async fn read(response: Response) -> Result<Answer, NoAnswer> {
    read_within(response, ANSWER_BYTES_MAX).await
}

async fn read_within(mut response: Response, bytes_max: usize) -> Result<Answer, NoAnswer> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(NoAnswer::cut)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(NoAnswer::Lost("the answer is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        headers,
        body: body.freeze(),
    })
}

impl Answer {
    /// The body, when it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// How long the upstream wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }

    /// What it means for a question about a job that the upstream did not answer it with success, where
    /// its dialect has nothing better to say.
    pub fn poll_error(&self) -> PollError {
        PollError {
            message: format!("it answered {}: {}", self.status, self.excerpt()),
            retry_after: self.retry_after(),
        }
    }

    /// What it means for a submission that the upstream refused it, or broke over it: `cause` and
    /// `words` are what its dialect says. Only what was answered by the upstream's gateway leaves a
    /// doubt (500, 502, 504 and whatever else is no refusal).
    pub fn submit_failure(&self, cause: Option<Cause>, words: Option<&str>) -> SubmitFailure {
        let status = self.status.as_u16();
        let usual = match status {
            401 | 403 => Cause::Key,
            402 => Cause::Credit,
            404 | 410 => Cause::Retired,
            429 | 503 => Cause::Busy,
            400..=499 => Cause::Input,
            _ => {
                tracing::warn!(status, excerpt = self.excerpt(), "an upstream broke");
                return SubmitFailure::unknown(format!("the upstream answered {status}"));
            }
        };
        let cause = cause.unwrap_or(usual);
        let message = match (cause, words) {
            (Cause::Policy | Cause::Input, Some(words)) => shorten(words),
            (Cause::Policy, None) => "the upstream refuses to make this".to_owned(),
            (Cause::Input, None) => "the upstream cannot take this request".to_owned(),
            (Cause::Busy, _) => "the upstream wants fewer calls".to_owned(),
            (Cause::Retired, _) => "the upstream no longer has the model".to_owned(),
            (Cause::Key | Cause::Credit, _) => "the upstream does not serve this server".to_owned(),
            (Cause::Broken | Cause::Unreachable, _) => format!("the upstream answered {status}"),
        };
        if cause.is_upstream() {
            tracing::warn!(
                status,
                ?cause,
                excerpt = self.excerpt(),
                "an upstream refused"
            );
        }
        SubmitFailure::refused(cause, message).after(self.retry_after())
    }

    /// The beginning of the body, for the log.
    pub fn excerpt(&self) -> String {
        shorten(&String::from_utf8_lossy(
            &self.body[..self.body.len().min(4 * WORDS_CHARS_MAX)],
        ))
    }
}

/// An upstream's own words, so many that callers may see them.
pub(super) fn shorten(words: &str) -> String {
    let words = words.trim();
    match words.char_indices().nth(WORDS_CHARS_MAX) {
        None => words.to_owned(),
        Some((end, _)) => format!("{}…", &words[..end]),
    }
}

/// `Retry-After` (RFC 9110 §10.2.3), in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}
