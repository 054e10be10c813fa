//! Google's Gemini API: pictures and videos by two languages of one server, each in its file. What a
//! model makes decides which it is asked in: pictures come with the answer ([`pictures`]), videos are
//! asked for again and again ([`videos`]).
//!
//! The map of a route is the body of the request, except that `prompt` and `images` (a text, or texts in
//! lists) are what is said and shown, which the two languages wrap differently.
//!
//! Sources: Google's pages "Image generation", "Gemini Omni", "Interactions API", "API errors" and
//! "Troubleshooting" (ai.google.dev/gemini-api), and its published client (`google-genai` 3.4.0).

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::http::{Answer, Connection, ask, read, send};
use super::spill::{Bounds, Spilled, read_json};
use super::{
    Cancel, Cause, Failure, FailureReason, Inputs, Job, Poll, PollError, Probe, Provider,
    SubmitFailure, Submitted,
};
use said::Said;

mod pictures;
mod said;
mod videos;

const KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// What answers may weigh that can hold files: pictures of 4K with sketches on the way to them.
const BOUNDS: Bounds = Bounds {
    answer_bytes_max: 256 * 1024 * 1024,
    file_bytes_max: 128 * 1024 * 1024,
};
/// How long a video that is said to be done and is not there is waited for each time it is asked for.
/// Google's forum knows such answers, and not whether they last.
const MISSING_WAITS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// The Gemini API with an API key, or a server that speaks its language.
pub struct Gemini {
    name: String,
    connection: Connection,
    /// With every call, and with downloads from the same origin.
    headers: HeaderMap,
    pictures: Inputs,
    videos: Inputs,
}

impl Gemini {
    /// With a project's key; the base of the connection ends with the version, `v1beta`.
    ///
    /// # Errors
    /// When the key cannot stand in a header.
    pub fn new(name: &str, connection: Connection, key: &str) -> Result<Self, InvalidHeaderValue> {
        let mut key = HeaderValue::try_from(key)?;
        key.set_sensitive(true);
        Ok(Self {
            name: name.to_owned(),
            connection,
            headers: HeaderMap::from_iter([(KEY, key)]),
            pictures: Inputs::builtin(pictures::USUAL),
            videos: Inputs::builtin(videos::USUAL),
        })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.headers(self.headers.clone())
    }

    fn usual(&self, job: &Job) -> &Inputs {
        match job.duration_seconds {
            Some(_) => &self.videos,
            None => &self.pictures,
        }
    }

    async fn make_pictures(&self, job: &Job, asked: Asked) -> Result<Submitted, SubmitFailure> {
        let path = format!("models/{}:generateContent", job.upstream_model);
        let request = self.connection.work(self.connection.url(&path));
        let response = send(self.authorized(request).json(&pictures::body(asked))).await?;
        if !response.status().is_success() {
            return Err(said::submit_failure(&read(response).await?));
        }
        let answer = read_json(response, BOUNDS).await?;
        pictures::files(&answer).map(Submitted::Done)
    }

    async fn begin_video(&self, asked: Asked) -> Result<Submitted, SubmitFailure> {
        let request = self.connection.post(self.connection.url("interactions"));
        let request = self.authorized(request).headers(videos::headers());
        let answer = ask(request.json(&videos::body(asked))).await?;
        if !answer.status.is_success() {
            return Err(said::submit_failure(&answer));
        }
        let id = answer.json().and_then(|body| videos::id(&body));
        let lost = || SubmitFailure::unknown("the upstream's answer could not be read");
        id.map(Submitted::Taken).ok_or_else(lost)
    }

    /// An interaction as it is now. `Err` of the inner result is the end of a job that the upstream no
    /// longer knows.
    async fn interaction(&self, id: &str) -> Result<Result<Spilled, Failure>, PollError> {
        let url = self.connection.url(&format!("interactions/{id}"));
        let request = self.authorized(self.connection.get(url));
        let response = send(request.headers(videos::headers())).await?;
        if response.status().is_success() {
            return Ok(Ok(read_json(response, BOUNDS).await?));
        }
        let answer = read(response).await?;
        if videos::is_unknown(&answer) {
            let message = "the upstream no longer knows the job";
            return Ok(Err(Failure::of(Cause::Broken, message)));
        }
        Err(said::poll_error(&answer))
    }
}

/// What is said and shown, and the rest of the body.
struct Asked {
    prompt: Option<String>,
    /// As data URIs.
    images: Vec<String>,
    rest: Map<String, Value>,
}

impl Asked {
    fn of(job: &Job, usual: &Inputs) -> Result<Self, Failure> {
        let mut rest = job.input(usual, &job.data_uris())?;
        let prompt = match rest.shift_remove("prompt") {
            Some(Value::String(prompt)) => Some(prompt),
            _ => None,
        };
        let images = rest.shift_remove("images").map(texts).unwrap_or_default();
        Ok(Self {
            prompt,
            images,
            rest,
        })
    }

    /// The pictures in order, then the words, in the words of a language: `image` is told the media type
    /// and the base64 of a picture.
    fn parts(
        images: &[String],
        prompt: Option<String>,
        image: impl Fn(&str, &str) -> Value,
        text: impl Fn(String) -> Value,
    ) -> Value {
        let images = images.iter().filter_map(|uri| {
            let (kind, base64) = uri.strip_prefix("data:")?.split_once(";base64,")?;
            Some(image(kind, base64))
        });
        images.chain(prompt.map(text)).collect()
    }
}

/// The texts of a value, in order.
fn texts(value: Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.into_iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[async_trait]
impl Provider for Gemini {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, job: &Job) -> Result<(), Failure> {
        if job.count > 1 {
            let message = format!("{} makes one file at a time", job.upstream_model);
            return Err(Failure::new(FailureReason::InvalidInput, message));
        }
        job.input(self.usual(job), &job.stand_ins()).map(drop)
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        let asked = Asked::of(job, self.usual(job))?;
        match job.duration_seconds {
            Some(_) => self.begin_video(asked).await,
            None => self.make_pictures(job, asked).await,
        }
    }

    async fn poll(&self, _job: &Job, id: &str) -> Result<Poll, PollError> {
        let mut waits = MISSING_WAITS.iter();
        loop {
            let interaction = match self.interaction(id).await? {
                Ok(interaction) => interaction,
                Err(failure) => return Ok(Poll::Failed(failure)),
            };
            let stand = videos::stand(&interaction, &self.connection, &self.headers)?;
            match (stand, waits.next()) {
                (Some(poll), _) => return Ok(poll),
                (None, Some(wait)) => sleep(*wait).await,
                (None, None) => {
                    let message = "the upstream ended the job without a file";
                    return Ok(Poll::Failed(Failure::of(Cause::Broken, message)));
                }
            }
        }
    }

    async fn cancel(&self, _job: &Job, id: &str) -> Result<Cancel, PollError> {
        let url = self.connection.url(&format!("interactions/{id}/cancel"));
        // Google's servers want to be told that there is no body.
        let request = self.authorized(self.connection.post(url)).body("");
        let answer = ask(request.headers(videos::headers())).await?;
        match answer.status {
            status if status.is_success() && videos::is_canceled(&answer) => Ok(Cancel::Stopped),
            StatusCode::TOO_MANY_REQUESTS => Err(said::poll_error(&answer)),
            // It may have ended meanwhile: polling tells.
            status if status.is_success() || status.is_client_error() => Ok(Cancel::GoesOn),
            _ => Err(said::poll_error(&answer)),
        }
    }

    /// Asks for the facts of the model.
    async fn probe(&self, upstream_model: &str) -> Probe {
        let url = self.connection.url(&format!("models/{upstream_model}"));
        match ask(self.authorized(self.connection.get(url))).await {
            Err(none) => Probe::Down(PollError::from(none).message),
            Ok(answer) if answer.status.is_success() => Probe::Ready,
            Ok(answer) => found(&answer),
        }
    }
}

/// What it means that the facts of a model are refused.
fn found(answer: &Answer) -> Probe {
    match (Said::in_answer(answer).cause, answer.status.as_u16()) {
        (Some(Cause::Key), _) | (None, 401 | 403) => Probe::KeyRefused,
        (_, 404) => Probe::ModelGone,
        _ => Probe::Down(format!("it answered {}", answer.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::job;
    use super::*;

    fn gemini() -> Gemini {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = "https://gemini.test/v1beta".parse().expect("is a URL");
        let connection = Connection::new(url).expect("TLS can be set up");
        Gemini::new("gemini", connection, "key").expect("is a key")
    }

    #[test]
    fn what_it_cannot_do_is_known_before() {
        let (gemini, mut job) = (gemini(), job());
        gemini.check(&job).expect("can be asked");
        job.count = 2;
        let refused = gemini.check(&job).expect_err("is one too many");
        assert_eq!(refused.reason, FailureReason::InvalidInput);
    }

    #[test]
    fn pictures_may_be_in_lists_of_lists() {
        let value = serde_json::json!(["a", ["b", ["c"]], 7, null]);
        assert_eq!(texts(value), ["a", "b", "c"]);
    }
}
