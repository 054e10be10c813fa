//! Servers that speak as OpenAI does: OpenAI itself, SGLang, vLLM-Omni, LocalAI, stable-diffusion.cpp, and
//! most of those who resell models.
//!
//! Pictures are made before the answer comes (`/images/generations`, `/images/edits`); videos are jobs
//! (`/videos`) that are asked for until they end. What the servers differ in is found out where possible:
//!
//! | servers differ in | and so |
//! |---|---|
//! | files in base64, as data URIs or behind links | each is taken as it comes |
//! | videos behind a link, or at `/videos/{id}/content` | the link is taken where there is one |
//! | the words for the states of a video | all known ones are understood; others are no end |
//! | the form of errors | `error` as a table or a text, or `detail` |
//! | whether a video can be deleted while it is made | where it cannot, it goes on |
//! | the names of fields, `response_format`, `seed` | the map of the route says (`inputs`) |
//!
//! How pictures are sent is in the map as well. In a field of a form, that is `input_reference` or one
//! whose name ends in `[]`, they are sent as files, in a form, and pictures are then edits. Anywhere else
//! they are data URIs in JSON.
//!
//! Sources: OpenAI's API reference and published client (`openai` 3.54), and those of the servers
//! (SGLang 0.5.23, vLLM-Omni 0.30, LocalAI and stable-diffusion.cpp of August 2026).

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::http::{Answer, Connection, ask, read, send};
use super::spill::{Bounds, Spilled, read_json};
use super::{
    Cancel, Cause, Content, Failure, FailureReason, Inputs, Job, Poll, PollError, Probe, Provider,
    Rendered, SubmitFailure, Submitted,
};

/// How OpenAI's models for pictures are told what to make. They refuse fields that they do not know.
const USUAL_PICTURES: &str = r#"{
    "model": "{model}", "prompt": "{prompt}", "n": "{count}", "size": "{size}", "image[]": "{images}"
}"#;
/// How most servers' models for videos are.
const USUAL_VIDEOS: &str = r#"{
    "model": "{model}", "prompt": "{prompt}", "seconds": "{duration:text}", "size": "{size}",
    "input_reference": "{image}"
}"#;
/// Ten pictures of the largest size that is known, uncompressed and in base64, are shorter.
const BOUNDS: Bounds = Bounds {
    answer_bytes_max: 512 * 1024 * 1024,
    file_bytes_max: 128 * 1024 * 1024,
};

/// A server that speaks as OpenAI does.
pub struct OpenAi {
    name: String,
    connection: Connection,
    /// The key; empty where there is none.
    authorization: HeaderMap,
    usual_pictures: Inputs,
    usual_videos: Inputs,
}

impl OpenAi {
    /// The server at the base of `connection`, which ends in `/v1` with most, and the key if it wants one.
    ///
    /// # Errors
    /// When the key cannot stand in a header.
    pub fn new(
        name: &str,
        connection: Connection,
        key: Option<&str>,
    ) -> Result<Self, reqwest::header::InvalidHeaderValue> {
        let mut authorization = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))?;
            value.set_sensitive(true);
            authorization.insert(AUTHORIZATION, value);
        }
        Ok(Self {
            name: name.to_owned(),
            connection,
            authorization,
            usual_pictures: Inputs::builtin(USUAL_PICTURES),
            usual_videos: Inputs::builtin(USUAL_VIDEOS),
        })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.headers(self.authorization.clone())
    }

    /// What is sent for a job; `pictures` are data URIs.
    fn input(&self, job: &Job, pictures: &[String]) -> Result<Map<String, Value>, Failure> {
        let usual = match job.duration_seconds {
            Some(_) => &self.usual_videos,
            None => &self.usual_pictures,
        };
        let filled = job.input(usual, pictures)?;
        if filled.values().map(pictures_in).sum::<usize>() < pictures.len() {
            let message = format!("{} cannot be given so many pictures", job.upstream_model);
            return Err(Failure::new(FailureReason::InvalidInput, message));
        }
        Ok(filled)
    }

    /// The address of what is below a path under this id.
    fn item(&self, path: &str, id: &str) -> Url {
        let mut url = self.connection.url(path);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(id);
        }
        url
    }

    /// Has pictures made, which takes until the answer comes.
    async fn pictures(&self, input: &Map<String, Value>) -> Result<Submitted, SubmitFailure> {
        let call = |path| self.connection.work(self.connection.url(path));
        let request = match form(input) {
            Some(form) => call("images/edits").multipart(form),
            None => call("images/generations").json(input),
        };
        let response = send(self.authorized(request)).await?;
        if !response.status().is_success() {
            return Err(refusal(&read(response).await?));
        }
        let answer = read_json(response, BOUNDS).await?;
        let files: Vec<_> = match answer.value.get("data") {
            Some(Value::Array(data)) => data
                .iter()
                .filter_map(|made| self.file(made, &answer))
                .collect(),
            _ => Vec::new(),
        };
        if files.is_empty() {
            let message = "the upstream answered without a file";
            return Err(SubmitFailure::unknown(message));
        }
        Ok(Submitted::Done(files))
    }

    /// Begins a video.
    async fn video(&self, input: &Map<String, Value>) -> Result<Submitted, SubmitFailure> {
        let request = self.connection.post(self.connection.url("videos"));
        let request = match form(input) {
            Some(form) => request.multipart(form),
            None => request.json(input),
        };
        let answer = ask(self.authorized(request)).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        let body = answer.json().unwrap_or_default();
        match body.get("id").and_then(Value::as_str) {
            Some(id) if !id.is_empty() => Ok(Submitted::Taken(id.to_owned())),
            _ => {
                let message = "the upstream's answer could not be read";
                Err(SubmitFailure::unknown(message))
            }
        }
    }

    /// A picture of an answer.
    fn file(&self, made: &Value, answer: &Spilled) -> Option<Rendered> {
        let carried = |field| answer.content(made.get(field)?);
        let content = carried("b64_json")
            .or_else(|| self.link(made.get("url")))
            .or_else(|| carried("url"))?;
        Some(Rendered::new(content))
    }

    /// The file behind a link, which may leave out where the upstream is. Data URIs are none.
    fn link(&self, link: Option<&Value>) -> Option<Content> {
        let link = link?.as_str()?;
        let is_link = ["/", "http://", "https://"];
        if !is_link.iter().any(|begin| link.starts_with(begin)) {
            return None;
        }
        let url = self.connection.url("").join(link).ok()?;
        Some(self.remote(url))
    }

    fn remote(&self, url: Url) -> Content {
        let headers = if self.connection.is_own(&url) {
            self.authorization.clone()
        } else {
            HeaderMap::new()
        };
        Content::remote(&self.connection, url, headers)
    }

    /// The file of a video that is done.
    fn done(&self, id: &str, video: &Value) -> Poll {
        let content = ["url", "video_url"]
            .into_iter()
            .find_map(|field| self.link(video.get(field)))
            .unwrap_or_else(|| {
                let mut url = self.item("videos", id);
                url.set_path(&format!("{}/content", url.path()));
                self.remote(url)
            });
        Poll::Done(vec![Rendered::new(content)])
    }

    /// Asks for a video; `None` when the upstream does not know it.
    async fn state(&self, id: &str) -> Result<Option<(State, Value)>, PollError> {
        let request = self.connection.get(self.item("videos", id));
        let answer = ask(self.authorized(request)).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        let video = answer.json().filter(|_| answer.status.is_success());
        let told = video.and_then(|video| {
            let state = State::of(video.get("status")?.as_str()?);
            Some((state, video))
        });
        match told {
            Some(told) => Ok(Some(told)),
            None => Err(answer.poll_error()),
        }
    }

    /// Whether the models that the upstream lists have this one among them.
    async fn lists(&self, model: &str) -> Result<bool, Probe> {
        let request = self.connection.get(self.connection.url("models"));
        let answer = self.asked(request).await?;
        let listed = answer.json().unwrap_or_default();
        let mut models = listed
            .get("data")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Ok(models.any(|known| known.get("id").and_then(Value::as_str) == Some(model)))
    }

    async fn asked(&self, request: RequestBuilder) -> Result<Answer, Probe> {
        let answer = ask(self.authorized(request)).await;
        let answer = answer.map_err(|none| Probe::Down(PollError::from(none).message))?;
        match answer.status.as_u16() {
            401 | 403 => Err(Probe::KeyRefused),
            500.. => Err(Probe::Down(format!("it answered {}", answer.status))),
            _ => Ok(answer),
        }
    }
}

/// How a video stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// And whatever no one knows: what is not known is not over.
    Underway,
    Done,
    Failed,
    /// It was deleted, which is how it is stopped.
    Stopped,
}

impl State {
    fn of(status: &str) -> Self {
        match status.to_ascii_lowercase().as_str() {
            "completed" | "succeeded" | "success" => Self::Done,
            "failed" | "failure" | "error" | "expired" => Self::Failed,
            "deleted" | "cancelled" | "canceled" => Self::Stopped,
            _ => Self::Underway,
        }
    }
}

/// How many pictures, as data URIs, a value has inside.
fn pictures_in(value: &Value) -> usize {
    match value {
        Value::String(text) => usize::from(text.starts_with("data:")),
        Value::Array(items) => items.iter().map(pictures_in).sum(),
        Value::Object(fields) => fields.values().map(pictures_in).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The form in which files are sent (RFC 7578); none: there are none to send.
fn form(input: &Map<String, Value>) -> Option<Form> {
    let mut form = Form::new();
    let mut has_files = false;
    for (field, value) in input {
        if let Some(files) = files(field, value) {
            has_files = true;
            for file in files {
                form = form.part(field.clone(), file);
            }
        } else {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            form = form.text(field.clone(), text);
        }
    }
    has_files.then_some(form)
}

/// The files of a field that takes files.
fn files(field: &str, value: &Value) -> Option<Vec<Part>> {
    if !field.ends_with("[]") && field != "input_reference" {
        return None;
    }
    match value {
        Value::Array(pictures) => pictures.iter().map(file).collect(),
        picture => file(picture).map(|file| vec![file]),
    }
}

/// A file from a data URI.
fn file(picture: &Value) -> Option<Part> {
    let (kind, encoded) = picture
        .as_str()?
        .strip_prefix("data:")?
        .split_once(";base64,")?;
    let name = kind.replace('/', ".");
    let part = Part::bytes(STANDARD.decode(encoded).ok()?).file_name(name);
    part.mime_str(kind).ok()
}

fn refusal(answer: &Answer) -> SubmitFailure {
    let body = answer.json().unwrap_or_default();
    let (cause, words) = said(&body);
    // The sentence of a refusal for policy sends the reader to the vendor.
    let words = words.filter(|_| cause != Some(Cause::Policy));
    answer.submit_failure(cause, words)
}

/// What an error says, in the forms that servers give it: OpenAI's, a text, or FastAPI's.
fn said(body: &Value) -> (Option<Cause>, Option<&str>) {
    let error = body
        .get("error")
        .or_else(|| body.get("detail"))
        .unwrap_or(body);
    let error = match error {
        Value::Array(problems) => problems.first().unwrap_or(error),
        error => error,
    };
    let text = |field: &str| error.get(field).and_then(Value::as_str);
    let cause = text("code")
        .and_then(cause)
        .or_else(|| text("type").and_then(cause));
    let words = error
        .as_str()
        .or_else(|| text("message"))
        .or_else(|| text("msg"));
    (cause, words)
}

/// What the codes and types of errors stand for that say more than the status.
fn cause(code: &str) -> Option<Cause> {
    match code {
        "insufficient_quota"
        | "insufficient_user_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active" => Some(Cause::Credit),
        "rate_limit_exceeded" => Some(Cause::Busy),
        "model_not_found" => Some(Cause::Retired),
        "invalid_api_key" => Some(Cause::Key),
        code if [
            "moderation",
            "content_policy",
            "content_filter",
            "SensitiveContent",
        ]
        .iter()
        .any(|word| code.contains(word)) =>
        {
            Some(Cause::Policy)
        }
        _ => None,
    }
}

/// How a video failed. The upstream's own words are for the log.
fn failed(video: &Value) -> Poll {
    let (cause, words) = said(video);
    tracing::warn!(words, "an upstream failed to make a video");
    Poll::Failed(match cause {
        Some(Cause::Policy) => Failure::of(Cause::Policy, "the upstream refuses to make this"),
        _ => Failure::of(Cause::Broken, "the upstream failed to make this"),
    })
}

/// In percent.
fn progress(video: &Value) -> Option<u8> {
    let percent = video.get("progress")?.as_f64()?;
    Some(percent.clamp(0.0, 100.0) as u8)
}

#[async_trait]
impl Provider for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, job: &Job) -> Result<(), Failure> {
        let stand_ins = vec!["data:".to_owned(); job.stand_ins().len()];
        self.input(job, &stand_ins).map(drop)
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        let input = self.input(job, &job.data_uris())?;
        match job.duration_seconds {
            Some(_) => self.video(&input).await,
            None => self.pictures(&input).await,
        }
    }

    async fn poll(&self, _job: &Job, id: &str) -> Result<Poll, PollError> {
        let Some((state, video)) = self.state(id).await? else {
            let message = "the upstream no longer knows the job";
            return Ok(Poll::Failed(Failure::of(Cause::Broken, message)));
        };
        Ok(match state {
            State::Underway => Poll::Running {
                progress: progress(&video),
            },
            State::Done => self.done(id, &video),
            State::Failed => failed(&video),
            State::Stopped => Poll::Canceled,
        })
    }

    /// Deletes a video, unless it has ended: its file would be deleted too.
    async fn cancel(&self, _job: &Job, id: &str) -> Result<Cancel, PollError> {
        let Some((State::Underway, _)) = self.state(id).await? else {
            return Ok(Cancel::GoesOn);
        };
        let request = self.connection.delete(self.item("videos", id));
        let answer = ask(self.authorized(request)).await?;
        match answer.status {
            status if status.is_success() => Ok(Cancel::Stopped),
            // Not every server can, and it may have ended meanwhile.
            status if status.is_client_error() => Ok(Cancel::GoesOn),
            StatusCode::NOT_IMPLEMENTED => Ok(Cancel::GoesOn),
            _ => Err(answer.poll_error()),
        }
    }

    /// Looks for the model among those that are listed. Not all servers list all that they have: only
    /// one that says of the model itself that it is not there has lost it.
    async fn probe(&self, upstream_model: &str) -> Probe {
        match self.lists(upstream_model).await {
            Ok(true) => return Probe::Ready,
            Ok(false) => {}
            Err(probe) => return probe,
        }
        let request = self.connection.get(self.item("models", upstream_model));
        match self.asked(request).await {
            Ok(answer) if answer.status.is_success() => Probe::Ready,
            Ok(answer) => match said(&answer.json().unwrap_or_default()).0 {
                Some(Cause::Retired) => Probe::ModelGone,
                _ => Probe::Answers,
            },
            Err(probe) => probe,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_usual_maps_are_sound() {
        for map in [USUAL_PICTURES, USUAL_VIDEOS] {
            assert!(!Inputs::builtin(map).is_empty());
        }
    }

    #[test]
    fn errors_are_understood_in_every_form() {
        let all = [
            (
                json!({"error": {"code": "moderation_blocked", "message": "no"}}),
                Some(Cause::Policy),
                Some("no"),
            ),
            (
                json!({"error": {"code": null, "type": "insufficient_quota"}}),
                Some(Cause::Credit),
                None,
            ),
            (
                json!({"error": {"code": 500, "message": "broken", "type": ""}}),
                None,
                Some("broken"),
            ),
            (json!({"error": "broken"}), None, Some("broken")),
            (json!({"detail": "Not Found"}), None, Some("Not Found")),
            (
                json!({"detail": [{"loc": ["body"], "msg": "Field required", "type": "missing"}]}),
                None,
                Some("Field required"),
            ),
            (
                json!({"code": "model_not_found", "message": "gone"}),
                Some(Cause::Retired),
                Some("gone"),
            ),
            (Value::Null, None, None),
        ];
        for (body, cause, words) in all {
            assert_eq!(said(&body), (cause, words), "{body}");
        }
    }
}
