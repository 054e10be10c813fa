//! kie.ai: jobs in front of many models.
//!
//! Almost everything is answered with 200; the status is the `code` of the body. Results are a JSON text
//! within JSON. Nothing can be stopped. Pictures are taken as links only, so they are left with kie's file
//! server first, which is another host and takes the same key.
//!
//! Sources: kie's pages on its market, file upload and webhook verification (docs.kie.ai).

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::multipart::Form;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use super::failure::is_about_content;
use super::http::{Answer, Connection, NoAnswer, ask, link, picture_part, shorten};
use super::{
    Cause, Content, Failure, Hook, HookError, Inputs, Job, Poll, PollError, Probe, Provider,
    Rendered, SubmitFailure, Submitted,
};

/// How most of its models are told what to make.
const USUAL: &str = r#"{
    "prompt": "{prompt}", "negative_prompt": "{negative_prompt}", "aspect_ratio": "{aspect_ratio}",
    "resolution": "{resolution}", "seed": "{seed}", "image_input": "{images}",
    "first_frame_url": "{first_frame}", "last_frame_url": "{last_frame}", "duration": "{duration}",
    "generate_audio": "{audio}"
}"#;
/// Where pictures are left on the file server.
const UPLOAD_PATH: &str = "images";

/// kie.ai, or a server that speaks its language.
pub struct Kie {
    name: String,
    connection: Connection,
    uploads: Connection,
    authorization: HeaderValue,
    usual: Inputs,
    webhook_key: Option<Hmac<Sha256>>,
}

impl Kie {
    /// With an account's key; `uploads` is its file server. Without the key that the account signs
    /// webhooks with, it is not asked to call.
    ///
    /// # Errors
    /// When the key cannot stand in a header.
    pub fn new(
        name: &str,
        connection: Connection,
        uploads: Connection,
        key: &str,
        webhook_key: Option<&str>,
    ) -> Result<Self, reqwest::header::InvalidHeaderValue> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))?;
        authorization.set_sensitive(true);
        let webhook_key = webhook_key.map(|key| {
            Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes keys of every length")
        });
        Ok(Self {
            name: name.to_owned(),
            connection,
            uploads,
            authorization,
            usual: Inputs::builtin(USUAL),
            webhook_key,
        })
    }

    /// Sends a call; the answer's status is what its body says.
    async fn ask(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let mut answer = ask(request).await?;
        if answer.status.is_success()
            && let Some(code) = answer.json().and_then(|body| body.get("code")?.as_u64())
        {
            let status = u16::try_from(code)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok());
            // What is no status at all is as good as no answer.
            answer.status = status.unwrap_or(StatusCode::BAD_GATEWAY);
        }
        Ok(answer)
    }

    /// Leaves a picture with kie for some days; the link to it.
    async fn upload(&self, stem: &str, picture: &Bytes) -> Result<String, SubmitFailure> {
        let form = Form::new()
            .text("uploadPath", UPLOAD_PATH)
            .part("file", picture_part(stem, picture));
        let request = self
            .uploads
            .post(self.uploads.url("api/file-stream-upload"))
            .multipart(form);
        let answer = self.ask(request).await?;
        if !answer.status.is_success() {
            let no_model_is_meant = answer.status == StatusCode::NOT_FOUND;
            let cause = no_model_is_meant.then_some(Cause::Broken);
            return Err(answer.submit_failure(cause, words(&answer).as_deref()));
        }
        let link = answer.json().and_then(|body| {
            let file = body.get("data")?;
            let link = file.get("downloadUrl").or_else(|| file.get("fileUrl"))?;
            Some(link.as_str()?.to_owned())
        });
        link.ok_or_else(|| SubmitFailure::unknown("the upstream's answer could not be read"))
    }

    /// The links to the reference pictures of a job.
    async fn pictures(&self, job: &Job) -> Result<Vec<String>, SubmitFailure> {
        let mut links = Vec::with_capacity(job.references.len());
        for (index, picture) in job.references.iter().enumerate() {
            // A name that is there already would be overwritten.
            let stem = format!("{}-{}-{index}", job.task_id, job.attempt);
            let link = self.upload(&stem, picture).await;
            links.push(link.map_err(SubmitFailure::ahead)?);
        }
        Ok(links)
    }

    /// What a job ended with.
    fn files(&self, record: &Value) -> Poll {
        let result = match record.get("resultJson") {
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
            Some(result) => result.clone(),
            None => Value::Null,
        };
        let links = result.get("resultUrls").and_then(Value::as_array);
        let files: Vec<_> = links
            .into_iter()
            .flatten()
            .filter_map(|text| link(text.as_str()?))
            .map(|url| Rendered::new(Content::remote(&self.connection, url, HeaderMap::new())))
            .collect();
        if files.is_empty() {
            let message = "the upstream answered without a file";
            return Poll::Failed(Failure::of(Cause::Broken, message));
        }
        Poll::Done(files)
    }
}

/// What an answer says for people.
fn words(answer: &Answer) -> Option<String> {
    let body = answer.json()?;
    let words = body.get("msg").or_else(|| body.get("message"))?;
    Some(shorten(words.as_str()?))
}

/// How a submission was refused.
fn refusal(answer: &Answer) -> SubmitFailure {
    let words = words(answer);
    let said = words.as_deref().unwrap_or_default();
    let cause = match answer.status.as_u16() {
        400 | 422 if is_about_content(said) => Some(Cause::Policy),
        // A wrong model is answered like a wrong value.
        422 if said.contains("model name you specified is not supported") => Some(Cause::Retired),
        // The key has a limit of its own, which is used up.
        433 => Some(Cause::Credit),
        // Maintenance.
        455 => Some(Cause::Busy),
        // The feature is switched off.
        505 => {
            let message = "the upstream no longer has the model";
            return SubmitFailure::refused(Cause::Retired, message);
        }
        _ => None,
    };
    answer.submit_failure(cause, words.as_deref())
}

#[async_trait]
impl Provider for Kie {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, job: &Job) -> Result<(), Failure> {
        job.input(&self.usual, &job.stand_ins()).map(drop)
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        self.check(job)?;
        let input = job.input(&self.usual, &self.pictures(job).await?)?;
        let mut body = json!({ "model": job.upstream_model, "input": input });
        if let Some(webhook) = &job.webhook_url {
            body["callBackUrl"] = webhook.as_str().into();
        }
        let request = self
            .connection
            .post(self.connection.url("api/v1/jobs/createTask"));
        let answer = self.ask(request.json(&body)).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        let id = answer
            .json()
            .and_then(|body| Some(body.pointer("/data/taskId")?.as_str()?.to_owned()));
        let lost = || SubmitFailure::unknown("the upstream's answer could not be read");
        id.map(Submitted::Taken).ok_or_else(lost)
    }

    /// A job that is not there yet is answered like one that is no longer there (422), so that says
    /// nothing: it may have been taken a moment ago.
    async fn poll(&self, _job: &Job, id: &str) -> Result<Poll, PollError> {
        let mut url = self.connection.url("api/v1/jobs/recordInfo");
        url.query_pairs_mut().append_pair("taskId", id);
        let answer = self.ask(self.connection.get(url)).await?;
        let body = answer.json().unwrap_or_default();
        let record = &body["data"];
        match record.get("state").and_then(Value::as_str) {
            Some("success") => Ok(self.files(record)),
            Some("fail") => {
                let words = record.get("failMsg").and_then(Value::as_str);
                Ok(Poll::Failed(Failure::told(words.unwrap_or_default())))
            }
            // What is not known is not over.
            Some(_) => Ok(Poll::Running {
                progress: record
                    .get("progress")
                    .and_then(Value::as_u64)
                    .and_then(|percent| u8::try_from(percent.min(100)).ok()),
            }),
            None if answer.status == StatusCode::NOT_FOUND => {
                let message = "the upstream no longer knows the job";
                Ok(Poll::Failed(Failure::of(Cause::Broken, message)))
            }
            None => Err(answer.poll_error()),
        }
    }

    fn calls_back(&self) -> bool {
        self.webhook_key.is_some()
    }

    /// HMAC-SHA256 over the job's id and the time, joined by a full stop (docs.kie.ai, "Webhook Security
    /// Verification"). Whatever else the body says is not signed.
    async fn hear(&self, hook: &Hook<'_>) -> Result<(), HookError> {
        let mut mac = self.webhook_key.clone().ok_or(HookError::NotOffered)?;
        let header = |name| (hook.header)(name).ok_or(HookError::Signature);
        let timestamp = header("x-webhook-timestamp")?;
        let signature = STANDARD
            .decode(header("x-webhook-signature")?)
            .map_err(|_| HookError::Signature)?;
        if !hook.is_fresh(timestamp) {
            return Err(HookError::Signature);
        }
        let body: Value = serde_json::from_slice(hook.body).map_err(|_| HookError::Signature)?;
        let id = ["/data/taskId", "/data/task_id", "/taskId"]
            .into_iter()
            .find_map(|place| body.pointer(place)?.as_str())
            .ok_or(HookError::Signature)?;
        mac.update(format!("{id}.{timestamp}").as_bytes());
        mac.verify_slice(&signature)
            .map_err(|_| HookError::Signature)
    }

    fn knows_models(&self) -> bool {
        false
    }

    /// Asks for the balance; which models there are cannot be asked.
    async fn probe(&self, _upstream_model: &str) -> Probe {
        let url = self.connection.url("api/v1/chat/credit");
        match self.ask(self.connection.get(url)).await {
            Err(none) => Probe::Down(PollError::from(none).message),
            Ok(answer) => match answer.status.as_u16() {
                200..=299 => Probe::Answers,
                401 | 403 => Probe::KeyRefused,
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
    fn the_codes_of_bodies_tell_what_is_certain() {
        let refusal = |status: StatusCode, words: &str| {
            let body = json!({"code": status.as_u16(), "msg": words, "data": null});
            let refusal = refusal(&Answer {
                status,
                headers: HeaderMap::new(),
                body: body.to_string().into(),
            });
            refusal.definite.then_some(refusal.cause)
        };
        let status = |code| StatusCode::from_u16(code).expect("is a status");
        let words = "aspect_ratio is required";
        assert_eq!(refusal(status(422), words), Some(Cause::Input));
        assert_eq!(refusal(status(433), words), Some(Cause::Credit));
        assert_eq!(refusal(status(451), words), Some(Cause::Input));
        assert_eq!(refusal(status(455), words), Some(Cause::Busy));
        assert_eq!(refusal(status(505), words), Some(Cause::Retired));
        assert_eq!(refusal(status(500), words), None);
        assert_eq!(refusal(status(501), words), None);
    }
}
