//! fal: a queue in front of many models.
//!
//! A job is known by the path of its queue entry, `{app}/requests/{id}`, as the answer to the submission
//! names it: apps have fewer segments than the ids of their endpoints. There is no state of failure: an
//! entry is COMPLETED, and its result is either there or answers with an error.
//!
//! Sources: fal's queue, webhook and error pages (docs.fal.ai), and its published clients
//! (`@fal-ai/client` 1.10, `fal_client` 1.0).

use std::borrow::Cow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::http::{Answer, Connection, ask, shorten};
use super::{
    Cancel, Cause, Content, Failure, Hook, HookError, Inputs, Job, Poll, PollError, Probe,
    Provider, Rendered, SubmitFailure, Submitted,
};

/// How most of its models are told what to make.
const USUAL: &str = r#"{
    "prompt": "{prompt}", "negative_prompt": "{negative_prompt}", "aspect_ratio": "{aspect_ratio}",
    "resolution": "{resolution}", "seed": "{seed}", "num_images": "{count}", "image_urls": "{images}",
    "image_url": "{first_frame}", "end_image_url": "{last_frame}", "duration": "{duration:text}",
    "generate_audio": "{audio}"
}"#;
/// How long the keys that sign webhooks are kept.
const KEYS_KEPT: Duration = Duration::from_secs(60 * 60);
/// The most keys that are tried.
const KEYS_MAX: usize = 16;

/// The queue of fal, or of a server that speaks its language.
pub struct Fal {
    name: String,
    connection: Connection,
    authorization: HeaderValue,
    usual: Inputs,
    keys_url: Url,
    keys: Mutex<Option<(Instant, Vec<VerifyingKey>)>>,
}

impl Fal {
    /// With an account's key; `keys_url` is the JSON Web Key Set that webhooks are signed with.
    ///
    /// # Errors
    /// When the key cannot stand in a header.
    pub fn new(
        name: &str,
        connection: Connection,
        key: &str,
        keys_url: Url,
    ) -> Result<Self, reqwest::header::InvalidHeaderValue> {
        let mut authorization = HeaderValue::try_from(format!("Key {key}"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            name: name.to_owned(),
            connection,
            authorization,
            usual: Inputs::builtin(USUAL),
            keys_url,
            keys: Mutex::default(),
        })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(AUTHORIZATION, self.authorization.clone())
    }

    async fn get(&self, path: &str) -> Result<Answer, PollError> {
        let request = self.connection.get(self.connection.url(path));
        Ok(ask(self.authorized(request)).await?)
    }

    /// The path of the queue entry that a submission was answered with.
    fn entry(&self, endpoint: &str, answer: &Value) -> Option<String> {
        let id = answer.get("request_id")?.as_str()?;
        let told = answer
            .get("response_url")
            .and_then(Value::as_str)
            .and_then(|url| self.own_path(url));
        Some(told.unwrap_or_else(|| format!("{}/requests/{id}", app(endpoint))))
    }

    /// The path of an address of the upstream's, without that of its base.
    fn own_path(&self, url: &str) -> Option<String> {
        let url = Url::parse(url).ok()?;
        if !self.connection.is_own(&url) {
            return None;
        }
        let base = self.connection.url("");
        let path = url.path().strip_prefix(base.path())?;
        Some(path.to_owned())
    }

    /// The result of an entry that is completed.
    async fn result(&self, entry: &str) -> Result<Poll, PollError> {
        let answer = self.get(entry).await?;
        match answer.status {
            status if status.is_success() => {}
            StatusCode::TOO_MANY_REQUESTS => return Err(answer.poll_error()),
            status if status.is_client_error() => return Ok(failed(&answer)),
            _ => return Err(answer.poll_error()),
        }
        let Some(result) = answer.json() else {
            return Err(answer.poll_error());
        };
        let files: Vec<_> = links(&result)
            .into_iter()
            .map(|url| Rendered::new(Content::remote(&self.connection, url, HeaderMap::new())))
            .collect();
        if files.is_empty() {
            let message = "the upstream answered without a file";
            return Ok(Poll::Failed(Failure::of(Cause::Broken, message)));
        }
        Ok(Poll::Done(files))
    }

    /// The keys that webhooks may be signed with now.
    async fn signers(&self) -> Option<Vec<VerifyingKey>> {
        let kept = || {
            self.keys
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        if let Some((at, keys)) = kept().as_ref()
            && at.elapsed() < KEYS_KEPT
        {
            return Some(keys.clone());
        }
        let answer = ask(self.connection.get(self.keys_url.clone())).await.ok()?;
        let set = answer.json().filter(|_| answer.status.is_success())?;
        let keys: Vec<_> = set
            .get("keys")?
            .as_array()?
            .iter()
            .take(KEYS_MAX)
            .filter_map(verifying_key)
            .collect();
        *kept() = Some((Instant::now(), keys.clone()));
        Some(keys)
    }
}

/// The part of an endpoint's id under which its queue stands: the first two segments, with a namespace
/// of workflows before them.
fn app(endpoint: &str) -> String {
    let segments: Vec<_> = endpoint.split('/').collect();
    let many = match segments.first() {
        Some(&("workflows" | "comfy")) => 3,
        _ => 2,
    };
    segments[..segments.len().min(many)].join("/")
}

fn verifying_key(key: &Value) -> Option<VerifyingKey> {
    let x = key.get("x")?.as_str()?;
    let bytes = URL_SAFE_NO_PAD.decode(x.trim_end_matches('=')).ok()?;
    VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok()
}

/// The links to the files of a result, in order.
fn links(result: &Value) -> Vec<Url> {
    let link = |file: &Value| Url::parse(file.get("url")?.as_str()?).ok();
    ["images", "image", "videos", "video"]
        .into_iter()
        .filter_map(|field| result.get(field))
        .flat_map(|found| match found {
            Value::Array(files) => files.iter().filter_map(link).collect(),
            file => link(file).into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

/// What an error says: `detail` is a text, or a list of what is wrong with the fields.
fn said(answer: &Answer) -> (Option<Cause>, Option<String>) {
    let Some(body) = answer.json() else {
        return (None, None);
    };
    let detail = body.get("detail");
    let first = match detail {
        Some(Value::Array(problems)) => problems.first(),
        _ => None,
    };
    let kind = first
        .and_then(|problem| problem.get("type"))
        .or_else(|| body.get("error_type"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let words = first
        .and_then(|problem| problem.get("msg"))
        .or(detail)
        .or_else(|| body.get("error"))
        .and_then(Value::as_str)
        .map(shorten);
    let cause = match kind {
        "content_policy_violation" => Some(Cause::Policy),
        _ if is_about_credit(words.as_deref().unwrap_or_default()) => Some(Cause::Credit),
        _ => None,
    };
    (cause, words)
}

/// 403 stands for a wrong key and for an empty balance; only the words differ.
fn is_about_credit(words: &str) -> bool {
    let words = words.to_lowercase();
    words.contains("balance") || words.contains("credit")
}

/// The path of an entry that is known by it, or by the bare id that fal shows to people.
fn path_of<'a>(job: &Job, entry: &'a str) -> Cow<'a, str> {
    match entry.contains('/') {
        true => entry.into(),
        false => format!("{}/requests/{entry}", app(&job.upstream_model)).into(),
    }
}

/// How a completed entry failed whose result is an error.
fn failed(answer: &Answer) -> Poll {
    let (cause, words) = said(answer);
    let is_canceled = |words: &String| words.to_lowercase().contains("cancel");
    if words.as_ref().is_some_and(is_canceled) {
        return Poll::Canceled;
    }
    // Only what is wrong with the machines has a type of its own.
    let is_infrastructure = answer
        .json()
        .is_some_and(|body| body.get("error_type").is_some());
    let cause = cause.or(is_infrastructure.then_some(Cause::Broken));
    let failure = answer.submit_failure(cause, words.as_deref());
    Poll::Failed(failure.failure)
}

#[async_trait]
impl Provider for Fal {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, job: &Job) -> Result<(), Failure> {
        job.input(&self.usual, &job.stand_ins()).map(drop)
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        let input = job.input(&self.usual, &job.data_uris())?;
        let mut url = self.connection.url(&job.upstream_model);
        if let Some(webhook) = &job.webhook_url {
            url.query_pairs_mut().append_pair("fal_webhook", webhook);
        }
        let answer = ask(self.authorized(self.connection.post(url)).json(&input)).await?;
        if !answer.status.is_success() {
            let (cause, words) = said(&answer);
            return Err(answer.submit_failure(cause, words.as_deref()));
        }
        let entry = answer
            .json()
            .and_then(|body| self.entry(&job.upstream_model, &body));
        let lost = || SubmitFailure::unknown("the upstream's answer could not be read");
        entry.map(Submitted::Taken).ok_or_else(lost)
    }

    async fn poll(&self, job: &Job, entry: &str) -> Result<Poll, PollError> {
        let entry = path_of(job, entry);
        let answer = self.get(&format!("{entry}/status")).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let message = "the upstream no longer knows the job";
            return Ok(Poll::Failed(Failure::of(Cause::Broken, message)));
        }
        let status = answer.json().filter(|_| answer.status.is_success());
        let Some(status) = status else {
            return Err(answer.poll_error());
        };
        match status.get("status").and_then(Value::as_str) {
            Some("COMPLETED") => self.result(&entry).await,
            // What is not known is not over.
            Some(_) => Ok(Poll::Running { progress: None }),
            None => Err(answer.poll_error()),
        }
    }

    async fn cancel(&self, job: &Job, entry: &str) -> Result<Cancel, PollError> {
        let entry = path_of(job, entry);
        let url = self.connection.url(&format!("{entry}/cancel"));
        let answer = ask(self.authorized(self.connection.put(url))).await?;
        match answer.status {
            // What runs already may end all the same: polling tells.
            status if status.is_success() || status.is_client_error() => Ok(Cancel::GoesOn),
            _ => Err(answer.poll_error()),
        }
    }

    fn calls_back(&self) -> bool {
        true
    }

    /// Ed25519 over the request's id, the user's id, the time, and the hash of the body, each in its
    /// line (docs.fal.ai, "Webhooks").
    async fn hear(&self, hook: &Hook<'_>) -> Result<(), HookError> {
        let header = |name| (hook.header)(name).ok_or(HookError::Signature);
        let timestamp = header("x-fal-webhook-timestamp")?;
        if !hook.is_fresh(timestamp) {
            return Err(HookError::Signature);
        }
        let message = [
            header("x-fal-webhook-request-id")?,
            header("x-fal-webhook-user-id")?,
            timestamp,
            &hex(&Sha256::digest(hook.body)),
        ]
        .join("\n");
        let signature = from_hex(header("x-fal-webhook-signature")?)
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or(HookError::Signature)?;
        let keys = self.signers().await.ok_or(HookError::Unchecked)?;
        let signed = |key: &VerifyingKey| key.verify_strict(message.as_bytes(), &signature).is_ok();
        if keys.iter().any(signed) {
            Ok(())
        } else {
            Err(HookError::Signature)
        }
    }

    fn knows_models(&self) -> bool {
        false
    }

    /// Asks for an entry that cannot be there: the key is looked at before the entry.
    async fn probe(&self, upstream_model: &str) -> Probe {
        let entry = format!(
            "{}/requests/{}/status",
            app(upstream_model),
            uuid::Uuid::nil()
        );
        match self.get(&entry).await {
            Err(error) => Probe::Down(error.message),
            Ok(answer) => match answer.status.as_u16() {
                401 | 403 => Probe::KeyRefused,
                500.. => Probe::Down(format!("it answered {}", answer.status)),
                _ => Probe::Answers,
            },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_map_is_sound_and_apps_have_two_segments() {
        assert!(!Inputs::builtin(USUAL).is_empty());
        assert_eq!(app("fal-ai/veo3.1/image-to-video"), "fal-ai/veo3.1");
        assert_eq!(app("workflows/owner/flow/more"), "workflows/owner/flow");
    }
}
