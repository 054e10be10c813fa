//! Replicate: predictions by model.
//!
//! A model is `{owner}/{name}`, or `{owner}/{name}:{version}` for models that are not kept running by
//! Replicate and have to be asked for by version. Results are deleted an hour after they are there, and
//! say so by being gone.
//!
//! Sources: Replicate's HTTP API reference and its pages on predictions, input files and webhooks
//! (replicate.com/docs), and its published client (`replicate` 1.4 on npm).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::multipart::Form;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::http::{Answer, Connection, ask, link, picture_part, shorten};
use super::standard_webhooks::{Secret, Signed};
use super::{
    Cancel, Cause, Content, Failure, Hook, HookError, Inputs, Job, Poll, PollError, Probe,
    Provider, Rendered, SubmitFailure, Submitted,
};

/// How most of its models are told what to make.
const USUAL: &str = r#"{
    "prompt": "{prompt}", "negative_prompt": "{negative_prompt}", "aspect_ratio": "{aspect_ratio}",
    "resolution": "{resolution}", "seed": "{seed}", "image_input": "{images}", "image": "{first_frame}",
    "last_frame": "{last_frame}", "duration": "{duration}", "generate_audio": "{audio}"
}"#;
/// How much of pictures is sent with the job. As data URIs they are a third longer, and Replicate asks
/// for less than a megabyte of those.
const INLINE_BYTES_MAX: usize = 512 * 1024;
/// How long the secret that signs webhooks is kept.
const SECRET_KEPT: Duration = Duration::from_secs(60 * 60);
/// The fields of an output that hold the files, where there are others as well.
const FILE_FIELDS: [&str; 5] = ["images", "image", "videos", "video", "url"];

/// Replicate, or a server that speaks its language.
pub struct Replicate {
    name: String,
    connection: Connection,
    authorization: HeaderValue,
    usual: Inputs,
    secret: Mutex<Option<(Instant, Secret)>>,
}

impl Replicate {
    /// With an account's token.
    ///
    /// # Errors
    /// When the token cannot stand in a header.
    pub fn new(
        name: &str,
        connection: Connection,
        token: &str,
    ) -> Result<Self, reqwest::header::InvalidHeaderValue> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            name: name.to_owned(),
            connection,
            authorization,
            usual: Inputs::builtin(USUAL),
            secret: Mutex::default(),
        })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(AUTHORIZATION, self.authorization.clone())
    }

    async fn get(&self, path: &str) -> Result<Answer, PollError> {
        let request = self.connection.get(self.connection.url(path));
        Ok(ask(self.authorized(request)).await?)
    }

    /// What stands for the reference pictures of a job.
    async fn pictures(&self, job: &Job) -> Result<Vec<String>, SubmitFailure> {
        let bytes: usize = job.references.iter().map(Bytes::len).sum();
        if bytes <= INLINE_BYTES_MAX {
            return Ok(job.data_uris());
        }
        let mut links = Vec::with_capacity(job.references.len());
        for picture in &job.references {
            links.push(self.upload(picture).await.map_err(SubmitFailure::ahead)?);
        }
        Ok(links)
    }

    /// Leaves a picture with Replicate for a day; the link to it.
    async fn upload(&self, picture: &Bytes) -> Result<String, SubmitFailure> {
        let form = Form::new().part("content", picture_part("reference", picture));
        let request = self.connection.post(self.connection.url("files"));
        let answer = ask(self.authorized(request).multipart(form)).await?;
        if !answer.status.is_success() {
            let (cause, words) = said(&answer);
            let no_model_is_meant = answer.status == StatusCode::NOT_FOUND;
            let cause = cause.or(no_model_is_meant.then_some(Cause::Broken));
            return Err(answer.submit_failure(cause, words.as_deref()));
        }
        let link = answer
            .json()
            .and_then(|file| Some(file.pointer("/urls/get")?.as_str()?.to_owned()));
        link.ok_or_else(|| SubmitFailure::unknown("the upstream's answer could not be read"))
    }

    /// What a prediction ended with.
    fn files(&self, prediction: &Value) -> Poll {
        let links = prediction.get("output").map(links).unwrap_or_default();
        let files: Vec<_> = links
            .into_iter()
            .map(|url| Rendered::new(Content::remote(&self.connection, url, HeaderMap::new())))
            .collect();
        if files.is_empty() {
            let message = "the upstream answered without a file";
            return Poll::Failed(Failure::of(Cause::Broken, message));
        }
        Poll::Done(files)
    }

    /// What webhooks are signed with now.
    async fn secret(&self) -> Option<Secret> {
        let kept = || self.secret.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, secret)) = kept().as_ref()
            && at.elapsed() < SECRET_KEPT
        {
            return Some(secret.clone());
        }
        let answer = self.get("webhooks/default/secret").await.ok()?;
        let told = answer.json().filter(|_| answer.status.is_success())?;
        let secret = Secret::parse(told.get("key")?.as_str()?)?;
        *kept() = Some((Instant::now(), secret.clone()));
        Some(secret)
    }
}

/// The links to files in an output: a text, a list, or a table.
fn links(output: &Value) -> Vec<Url> {
    match output {
        Value::String(text) => link(text).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(links).collect(),
        Value::Object(fields) => {
            let named: Vec<_> = FILE_FIELDS
                .into_iter()
                .filter_map(|field| fields.get(field))
                .flat_map(links)
                .collect();
            match named.is_empty() {
                false => named,
                true => fields.values().flat_map(links).collect(),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// What an error says.
fn said(answer: &Answer) -> (Option<Cause>, Option<String>) {
    let Some(body) = answer.json() else {
        return (None, None);
    };
    let text = |field| body.get(field).and_then(Value::as_str);
    // A version that is gone is answered like a wrong value; the title alone tells.
    let is_version = text("title").is_some_and(|title| title.contains("Invalid version"));
    let cause = is_version.then_some(Cause::Retired);
    (cause, text("detail").or(text("title")).map(shorten))
}

#[async_trait]
impl Provider for Replicate {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, job: &Job) -> Result<(), Failure> {
        job.input(&self.usual, &job.stand_ins()).map(drop)
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        self.check(job)?;
        let input = job.input(&self.usual, &self.pictures(job).await?)?;
        let mut body = json!({ "input": input });
        if let Some(webhook) = &job.webhook_url {
            body["webhook"] = webhook.as_str().into();
            body["webhook_events_filter"] = json!(["completed"]);
        }
        let path = match job.upstream_model.split_once(':') {
            None => format!("models/{}/predictions", job.upstream_model),
            Some((_, version)) => {
                body["version"] = version.into();
                "predictions".to_owned()
            }
        };
        let request = self.connection.post(self.connection.url(&path));
        let answer = ask(self.authorized(request).json(&body)).await?;
        if !answer.status.is_success() {
            let (cause, words) = said(&answer);
            return Err(answer.submit_failure(cause, words.as_deref()));
        }
        let id = answer
            .json()
            .and_then(|prediction| Some(prediction.get("id")?.as_str()?.to_owned()));
        let lost = || SubmitFailure::unknown("the upstream's answer could not be read");
        id.map(Submitted::Taken).ok_or_else(lost)
    }

    async fn poll(&self, _job: &Job, id: &str) -> Result<Poll, PollError> {
        let answer = self.get(&format!("predictions/{id}")).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let message = "the upstream no longer knows the job";
            return Ok(Poll::Failed(Failure::of(Cause::Broken, message)));
        }
        let prediction = answer.json().filter(|_| answer.status.is_success());
        let Some(prediction) = prediction else {
            return Err(answer.poll_error());
        };
        match prediction.get("status").and_then(Value::as_str) {
            Some("succeeded") => Ok(self.files(&prediction)),
            // An aborted one waited so long that it was never begun.
            Some("failed" | "aborted") => {
                let words = prediction.get("error").and_then(Value::as_str);
                Ok(Poll::Failed(Failure::told(words.unwrap_or_default())))
            }
            Some("canceled") => Ok(Poll::Canceled),
            // What is not known is not over.
            Some(_) => Ok(Poll::Running { progress: None }),
            None => Err(answer.poll_error()),
        }
    }

    async fn cancel(&self, _job: &Job, id: &str) -> Result<Cancel, PollError> {
        let url = self.connection.url(&format!("predictions/{id}/cancel"));
        let answer = ask(self.authorized(self.connection.post(url))).await?;
        match answer.status {
            StatusCode::TOO_MANY_REQUESTS => Err(answer.poll_error()),
            // What runs already may end all the same, and is paid for: polling tells.
            status if status.is_success() || status.is_client_error() => Ok(Cancel::GoesOn),
            _ => Err(answer.poll_error()),
        }
    }

    fn calls_back(&self) -> bool {
        true
    }

    async fn hear(&self, hook: &Hook<'_>) -> Result<(), HookError> {
        let signed = Signed::of(hook)?;
        let secret = self.secret().await.ok_or(HookError::Unchecked)?;
        match signed.is_by(&secret) {
            true => Ok(()),
            false => Err(HookError::Signature),
        }
    }

    /// Asks for the model's description.
    async fn probe(&self, upstream_model: &str) -> Probe {
        let path = match upstream_model.split_once(':') {
            None => format!("models/{upstream_model}"),
            Some((model, version)) => format!("models/{model}/versions/{version}"),
        };
        match self.get(&path).await {
            Err(error) => Probe::Down(error.message),
            Ok(answer) => match answer.status.as_u16() {
                200..=299 => Probe::Ready,
                401 | 403 => Probe::KeyRefused,
                404 | 410 => Probe::ModelGone,
                _ => Probe::Down(format!("it answered {}", answer.status)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_map_is_sound() {
        assert!(!Inputs::builtin(USUAL).is_empty());
    }

    #[test]
    fn outputs_come_in_every_shape() {
        let found = |output: Value| {
            let links = links(&output);
            links.iter().map(Url::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found(json!("https://a/1")), ["https://a/1"]);
        assert_eq!(
            found(json!(["https://a/1", {"url": "https://a/2"}])),
            ["https://a/1", "https://a/2"]
        );
        let among_others = json!({"thumbnail": "https://a/t", "video": "https://a/1", "seed": 7});
        assert_eq!(found(among_others), ["https://a/1"]);
        assert_eq!(found(json!({"upscaled": "https://a/1"})), ["https://a/1"]);
        let none = json!([null, "words", "data:image/png;base64,AA", {}]);
        assert!(found(none).is_empty());
    }
}
