//! ComfyUI: a server of one's own that runs graphs of nodes.
//!
//! The models of its routes are workflows: files of a directory on this side ([`workflow`]), so that
//! what a server can do is data. A submission carries the whole graph and an id that is made from the
//! task and the attempt; whether it arrived can therefore be asked at any time.
//!
//! A server keeps its jobs in memory: those that wait and the one that runs in its queue, those that
//! ended in its history. A job goes from one to the next and never back, so whoever looks for it looks
//! in that order; one that is in neither is not there. After a restart none is, and the work is lost
//! with them.
//!
//! One provider is one server: two behind one address would each deny the jobs of the other. The server
//! itself knows no keys; a proxy before it may want one. Reference pictures are uploaded to its folder
//! `input/piooy`, which nobody but its operator empties, and `SaveImage` writes the graph into the
//! pictures that it saves unless the server runs with `--disable-metadata`.
//!
//! Sources: ComfyUI's `server.py` and `execution.py` (0.3.64 and 0.36), docs.comfy.org ("Routes",
//! "Messages"). Ids of the client's choice came with 0.3.45.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, InvalidHeaderValue};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::http::{Answer, Connection, ask, ask_within, shorten};
use super::job::picture_type;
use super::{
    Cancel, Cause, Content, Failure, Job, Lookup, Poll, PollError, Probe, Provider, Rendered,
    SubmitFailure, Submitted,
};
use progress::{Progress, listen};
use workflow::Workflow;

mod progress;
mod workflow;

/// The longest queue that is read. Every job in it comes with its whole graph.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The subfolder of the server's inputs for reference pictures.
const SUBFOLDER: &str = "piooy";
/// The fields of a node's output that list files: of ComfyUI's own nodes, of VideoHelperSuite's, and of
/// others that save videos.
const FILES: [&str; 4] = ["images", "gifs", "videos", "video"];
/// The first version that takes ids of the client's choice.
const VERSION_MIN: [u32; 3] = [0, 3, 45];

/// How long a submission that was sent may take to be in the queue. Of 8 MB, 0.3.64 makes that within a
/// second.
const ARRIVAL_MAX: Duration = Duration::from_secs(3);
/// What callers are told when a workflow, or what it needs, is not there.
const RETIRED: &str = "the upstream no longer has the model";

/// A ComfyUI server.
pub struct Comfyui {
    name: String,
    server: Server,
    workflows: BTreeMap<String, Workflow>,
    /// Whom the server tells the progress of jobs.
    client_id: String,
    progress: Arc<Progress>,
    /// Begins with the first submission.
    listener: OnceLock<AbortOnDropHandle<()>>,
}

/// The way to a server.
#[derive(Clone)]
struct Server {
    connection: Connection,
    /// Holds the key, where there is one.
    headers: HeaderMap,
}

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
pub enum ComfyuiError {
    /// The key cannot stand in a header.
    #[error("the key has characters that cannot stand in a header")]
    Key(#[from] InvalidHeaderValue),
    /// There is no such directory, or it cannot be read.
    #[error("the directory of workflows {}: {error}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Everything that is wrong with the workflows, each with its file.
    #[error("{}", .0.join("\n"))]
    Workflows(Vec<String>),
}

/// Where a job is at the server.
enum Place {
    Waiting,
    Running,
    /// It ended; its entry in the history.
    Ended(Value),
    Nowhere,
}

/// The jobs that have not ended, each a list: its number, its id, its graph, and more.
#[derive(Deserialize)]
struct Queue<'a> {
    #[serde(borrow)]
    queue_running: Vec<Vec<&'a RawValue>>,
    #[serde(borrow)]
    queue_pending: Vec<Vec<&'a RawValue>>,
}

impl Comfyui {
    /// With the workflows of a directory, and the key that a proxy before the server wants, if any, as
    /// a bearer token.
    ///
    /// # Errors
    /// [`ComfyuiError`] with every mistake in any of the workflows.
    pub fn new(
        name: &str,
        connection: Connection,
        key: Option<&str>,
        workflows: &Path,
    ) -> Result<Self, ComfyuiError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))?;
            authorization.set_sensitive(true);
            headers.insert(AUTHORIZATION, authorization);
        }
        Ok(Self {
            name: name.to_owned(),
            server: Server {
                connection,
                headers,
            },
            workflows: workflow::load(workflows)?,
            client_id: Uuid::now_v7().to_string(),
            progress: Arc::default(),
            listener: OnceLock::new(),
        })
    }

    /// The workflow of a job, unless its route does not fit it.
    fn workflow(&self, job: &Job) -> Option<&Workflow> {
        let workflow = self.workflows.get(&job.upstream_model)?;
        match workflow.mistake(job) {
            None => Some(workflow),
            Some(mistake) => {
                let workflow = &job.upstream_model;
                tracing::warn!(workflow, mistake, "a route does not fit its workflow");
                None
            }
        }
    }

    fn listen(&self) {
        self.listener.get_or_init(|| {
            let progress = Arc::clone(&self.progress);
            let listening = listen(self.server.clone(), self.client_id.clone(), progress);
            AbortOnDropHandle::new(tokio::spawn(listening))
        });
    }

    /// What a job's end came to.
    fn ended(&self, job: &Job, id: &str, entry: &Value) -> Poll {
        let status = entry.pointer("/status/status_str").and_then(Value::as_str);
        let poll = match status {
            Some("error") => failed(entry),
            Some("success") | None => self.result(job, entry),
            // What is not known is not over.
            Some(_) => return Poll::Running { progress: None },
        };
        self.progress.forget(id);
        poll
    }

    fn result(&self, job: &Job, entry: &Value) -> Poll {
        let Some(workflow) = self.workflows.get(&job.upstream_model) else {
            return Poll::Failed(Failure::of(Cause::Retired, RETIRED));
        };
        let outputs = workflow.outputs().iter();
        let files: Vec<_> = outputs
            .filter_map(|node| entry.get("outputs")?.get(node))
            .flat_map(|output| FILES.into_iter().filter_map(|field| output.get(field)))
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|file| self.server.file(file))
            .collect();
        if files.is_empty() {
            let message = "the upstream answered without a file";
            return Poll::Failed(Failure::of(Cause::Broken, message));
        }
        Poll::Done(files)
    }

    /// Whether the server has all that a workflow needs.
    async fn fits(&self, workflow: &Workflow) -> Result<bool, PollError> {
        let classes = |(_, node): (_, &Value)| Some(node.get("class_type")?.as_str()?.to_owned());
        let classes: BTreeSet<String> = workflow.nodes().filter_map(classes).collect();
        let mut known = BTreeMap::new();
        for class in classes {
            let Some(info) = self.server.class(&class).await? else {
                return Ok(false);
            };
            known.insert(class, info);
        }
        Ok(workflow.nodes().all(|(id, node)| {
            let info = node
                .get("class_type")
                .and_then(Value::as_str)
                .and_then(|class| known.get(class));
            let inputs = node.get("inputs").and_then(Value::as_object);
            inputs.into_iter().flatten().all(|(input, value)| {
                workflow.is_open(id, input) || info.is_none_or(|info| offers(info, input, value))
            })
        }))
    }
}

impl Server {
    fn get(&self, path: &str) -> RequestBuilder {
        let request = self.connection.get(self.connection.url(path));
        request.headers(self.headers.clone())
    }

    fn post(&self, path: &str) -> RequestBuilder {
        let request = self.connection.post(self.connection.url(path));
        request.headers(self.headers.clone())
    }

    /// Sends something for which there is no answer but that it was done.
    async fn tell(&self, path: &str, body: &Value) -> Result<(), PollError> {
        let answer = ask(self.post(path).json(body)).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(answer.poll_error()),
        }
    }

    /// The entry of a job that ended.
    async fn history(&self, id: &str) -> Result<Option<Value>, PollError> {
        let answer = ask(self.get(&format!("history/{id}"))).await?;
        let body = answer.json().filter(|_| answer.status.is_success());
        let entries = body.as_ref().and_then(Value::as_object);
        let entries = entries.ok_or_else(|| answer.poll_error())?;
        Ok(entries.get(id).cloned())
    }

    /// Where a job is that has not ended.
    async fn queued(&self, id: &str) -> Result<Option<Place>, PollError> {
        let answer = ask_within(self.get("queue"), QUEUE_BYTES_MAX).await?;
        let queue: Option<Queue> = serde_json::from_slice(&answer.body).ok();
        let queue = queue.filter(|_| answer.status.is_success());
        let queue = queue.ok_or_else(|| answer.poll_error())?;
        let is_it = |job: &Vec<&RawValue>| {
            let job_id = job
                .get(1)
                .map(|id| serde_json::from_str::<String>(id.get()));
            job_id.is_some_and(|job_id| job_id.is_ok_and(|job_id| job_id == id))
        };
        Ok(if queue.queue_running.iter().any(is_it) {
            Some(Place::Running)
        } else if queue.queue_pending.iter().any(is_it) {
            Some(Place::Waiting)
        } else {
            None
        })
    }

    /// Where a job is. Looks into the queue before the history, since that is the way that jobs go.
    async fn place(&self, id: &str) -> Result<Place, PollError> {
        if let Some(place) = self.queued(id).await? {
            return Ok(place);
        }
        let ended = self.history(id).await?;
        Ok(ended.map_or(Place::Nowhere, Place::Ended))
    }

    async fn system(&self) -> Result<Answer, PollError> {
        Ok(ask(self.get("system_stats")).await?)
    }

    /// Whether the server takes ids of the client's choice. An older one makes its own, and would deny
    /// whatever it has.
    async fn takes_ids(&self) -> bool {
        let stats = self.system().await.ok().and_then(|answer| answer.json());
        let version = stats.as_ref().and_then(|stats| {
            let version = stats.pointer("/system/comfyui_version")?.as_str()?;
            let parts = version.trim_start_matches('v').split('.').take(3);
            parts
                .map(|part| part.parse().ok())
                .collect::<Option<Vec<u32>>>()
        });
        version.is_some_and(|version| version.as_slice() >= VERSION_MIN.as_slice())
    }

    /// What a class of nodes takes; `None` when the server does not have it.
    async fn class(&self, class: &str) -> Result<Option<Value>, PollError> {
        let mut url = self.connection.url("object_info");
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(class);
        }
        let answer = ask(self.connection.get(url).headers(self.headers.clone())).await?;
        let body = answer.json().filter(|_| answer.status.is_success());
        let known = body.as_ref().and_then(Value::as_object);
        let known = known.ok_or_else(|| answer.poll_error())?;
        Ok(known.get(class).cloned())
    }

    /// Gives a reference picture to the server and answers with its name there. It is named by what is
    /// in it, so that the server keeps one copy of what is asked for again.
    async fn upload(&self, picture: &Bytes) -> Result<String, SubmitFailure> {
        let kind = picture_type(picture);
        let extension = kind.trim_start_matches("image/");
        let digest = Sha256::digest(picture);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = Part::stream(picture.clone())
            .file_name(format!("{digest}.{extension}"))
            .mime_str(kind)
            .map_err(|_| not_uploaded())?;
        let form = Form::new()
            .text("type", "input")
            .text("subfolder", SUBFOLDER)
            .part("image", part);
        // Whatever goes wrong: nothing was submitted yet.
        let answer = ask(self.post("upload/image").multipart(form)).await;
        let answer = answer.map_err(|none| SubmitFailure {
            definite: true,
            cause: Cause::Unreachable,
            ..SubmitFailure::from(none)
        })?;
        if !answer.status.is_success() {
            return Err(SubmitFailure {
                definite: true,
                ..answer.submit_failure(None, None)
            });
        }
        let uploaded = answer.json();
        let field = |name| uploaded.as_ref()?.get(name)?.as_str();
        match (field("subfolder"), field("name")) {
            (None | Some(""), Some(name)) => Ok(name.to_owned()),
            (Some(subfolder), Some(name)) => Ok(format!("{subfolder}/{name}")),
            (_, None) => Err(not_uploaded()),
        }
    }

    /// A file of a node's output.
    fn file(&self, file: &Value) -> Option<Rendered> {
        let filename = file.get("filename")?.as_str()?;
        let mut url = self.connection.url("view");
        url.query_pairs_mut().append_pair("filename", filename);
        for field in ["subfolder", "type"] {
            if let Some(value) = file.get(field).and_then(Value::as_str) {
                url.query_pairs_mut().append_pair(field, value);
            }
        }
        let content = Content::remote(&self.connection, url, self.headers.clone());
        Some(Rendered::new(content))
    }
}

fn not_uploaded() -> SubmitFailure {
    SubmitFailure::refused(Cause::Broken, "the upstream did not take a picture")
}

/// The id of an attempt at the server: always the same for it, and no other's (RFC 9562 §5.8).
fn prompt_id(job: &Job) -> String {
    let mut digest = Sha256::new();
    digest.update(job.task_id.as_bytes());
    digest.update(job.attempt.to_be_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    id.to_string()
}

/// The job with a seed: an export has one, and whoever asks for none wants another picture each time.
fn seeded(job: &Job, id: &str) -> Job {
    let by_chance = || crc32fast::hash(id.as_bytes());
    let mut job = job.clone();
    job.seed = Some(job.seed.unwrap_or_else(by_chance));
    job
}

/// Whether a node's class offers a value among those that it lists, such as the files of models. What
/// is uploaded is not listed in full.
fn offers(info: &Value, input: &str, value: &Value) -> bool {
    let declared = ["required", "optional"]
        .into_iter()
        .find_map(|kind| info.get("input")?.get(kind)?.get(input)?.as_array());
    let Some(declared) = declared else {
        return true;
    };
    let config = declared.get(1).and_then(Value::as_object);
    let is_uploaded =
        config.is_some_and(|config| config.keys().any(|key| key.ends_with("_upload")));
    let listed = match declared.first() {
        Some(Value::Array(listed)) => Some(listed),
        Some(Value::String(kind)) if kind == "COMBO" => {
            config.and_then(|config| config.get("options")?.as_array())
        }
        _ => None,
    };
    // A link takes its value from another node.
    value.is_array() || is_uploaded || listed.is_none_or(|listed| listed.contains(value))
}

/// How a job failed.
fn failed(entry: &Value) -> Poll {
    let messages = entry.pointer("/status/messages").and_then(Value::as_array);
    let messages = || messages.into_iter().flatten();
    let is = |message: &&Value, kind: &str| message.get(0).is_some_and(|known| known == kind);
    if messages().any(|message| is(&message, "execution_interrupted")) {
        return Poll::Canceled;
    }
    let error = messages().find(|message| is(message, "execution_error"));
    let said = |field: &str| {
        let said = error.and_then(|error| error.get(1)?.get(field)?.as_str());
        shorten(said.unwrap_or_default())
    };
    tracing::warn!(
        node = said("node_type"),
        exception = said("exception_type"),
        message = said("exception_message"),
        "a workflow broke"
    );
    Poll::Failed(Failure::of(
        Cause::Broken,
        "the upstream broke over the job",
    ))
}

/// What a refusal is about: a value of the job's, or a workflow that does not fit the server.
fn refused(workflow: &Workflow, job: &Job, answer: &Answer) -> SubmitFailure {
    let body = answer.json();
    let is_told = body
        .as_ref()
        .is_some_and(|body| body.pointer("/error/type").is_some());
    if answer.status != StatusCode::BAD_REQUEST || !is_told {
        return answer.submit_failure(None, None);
    }
    let nodes = body
        .as_ref()
        .and_then(|body| body.get("node_errors")?.as_object());
    let mut asked = nodes.into_iter().flatten().flat_map(|(node, errors)| {
        let errors = errors.get("errors").and_then(Value::as_array);
        errors.into_iter().flatten().filter_map(move |error| {
            let input = error.pointer("/extra_info/input_name")?.as_str()?;
            let message = error.get("message")?.as_str()?;
            let is_asked = workflow.is_asked(job, node, input);
            is_asked.then(|| format!("{input}: {message}"))
        })
    });
    match asked.next() {
        Some(words) => answer.submit_failure(Some(Cause::Input), Some(&words)),
        None => answer.submit_failure(Some(Cause::Retired), None),
    }
}

#[async_trait]
impl Provider for Comfyui {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, job: &Job) -> Result<(), Failure> {
        let retired = || Failure::of(Cause::Retired, RETIRED);
        let workflow = self.workflow(job).ok_or_else(retired)?;
        let many = job.references.len().max(job.stand_ins().len());
        let names: Vec<_> = (0..many).map(|index| format!("<{index}>")).collect();
        workflow.fill(job, &names).map(drop)
    }

    async fn submit(&self, job: &Job) -> Result<Submitted, SubmitFailure> {
        let retired = || SubmitFailure::refused(Cause::Retired, RETIRED);
        let workflow = self.workflow(job).ok_or_else(retired)?;
        let mut pictures = Vec::with_capacity(job.references.len());
        for picture in &job.references {
            pictures.push(self.server.upload(picture).await?);
        }
        let id = prompt_id(job);
        let graph = workflow.fill(&seeded(job, &id), &pictures)?;
        let body = json!({
            "prompt": graph,
            "prompt_id": id,
            "client_id": self.client_id,
            // What else the graph saves or shows is not asked for.
            "partial_execution_targets": workflow.outputs(),
        });
        self.listen();
        self.progress.follow(&id, &workflow.steps());
        let answer = ask(self.server.post("prompt").json(&body)).await;
        let answer = answer.inspect_err(|_| self.progress.forget(&id))?;
        if !answer.status.is_success() {
            self.progress.forget(&id);
            return Err(refused(workflow, job, &answer));
        }
        let taken = answer.json();
        let taken = taken
            .as_ref()
            .and_then(|body| body.get("prompt_id")?.as_str());
        let lost = || SubmitFailure::unknown("the upstream's answer could not be read");
        taken
            .map(|id| Submitted::Taken(id.to_owned()))
            .ok_or_else(lost)
    }

    async fn poll(&self, job: &Job, id: &str) -> Result<Poll, PollError> {
        if let Some(entry) = self.server.history(id).await? {
            return Ok(self.ended(job, id, &entry));
        }
        Ok(match self.server.place(id).await? {
            Place::Waiting => Poll::Running { progress: None },
            Place::Running => Poll::Running {
                progress: self.progress.percent(id),
            },
            Place::Ended(entry) => self.ended(job, id, &entry),
            Place::Nowhere => {
                self.progress.forget(id);
                let message = "the upstream no longer knows the job";
                Poll::Failed(Failure::of(Cause::Broken, message))
            }
        })
    }

    /// What waits is taken out of the queue, what runs is interrupted between two steps.
    async fn cancel(&self, _job: &Job, id: &str) -> Result<Cancel, PollError> {
        self.server
            .tell("queue", &json!({ "delete": [id] }))
            .await?;
        Ok(match self.server.place(id).await? {
            Place::Running => {
                // Servers before 0.3.57 interrupt whatever runs, which a moment ago was this.
                let body = json!({ "prompt_id": id });
                self.server.tell("interrupt", &body).await?;
                Cancel::GoesOn
            }
            Place::Waiting | Place::Ended(_) => Cancel::GoesOn,
            Place::Nowhere => {
                self.progress.forget(id);
                Cancel::Stopped
            }
        })
    }

    /// A large graph takes the server a moment to read, even when whoever sent it has gone, so what is
    /// nowhere is looked for twice.
    async fn lookup(&self, job: &Job) -> Lookup {
        let id = prompt_id(job);
        let mut place = self.server.place(&id).await;
        if let Ok(Place::Nowhere) = place {
            if !self.server.takes_ids().await {
                return Lookup::CannotTell;
            }
            sleep(ARRIVAL_MAX).await;
            place = self.server.place(&id).await;
        }
        match place {
            Ok(Place::Nowhere) => Lookup::NotSubmitted,
            Ok(Place::Waiting | Place::Running | Place::Ended(_)) => Lookup::Found(id),
            Err(_) => Lookup::CannotTell,
        }
    }

    async fn probe(&self, upstream_model: &str) -> Probe {
        let answer = match self.server.system().await {
            Err(error) => return Probe::Down(error.message),
            Ok(answer) => answer,
        };
        if matches!(answer.status.as_u16(), 401 | 403) {
            return Probe::KeyRefused;
        }
        if !answer.status.is_success() {
            return Probe::Down(format!("it answered {}", answer.status));
        }
        let Some(workflow) = self.workflows.get(upstream_model) else {
            return Probe::ModelGone;
        };
        match self.fits(workflow).await {
            Ok(true) => Probe::Ready,
            Ok(false) => Probe::ModelGone,
            Err(error) => Probe::Down(error.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::job;
    use super::*;

    #[test]
    fn an_attempt_always_has_the_same_id_and_no_other_has_it() {
        let first = job();
        assert_eq!(prompt_id(&first), prompt_id(&first));
        let id = Uuid::parse_str(&prompt_id(&first)).expect("is a UUID");
        assert_eq!(id.get_version_num(), 8);
        let second = Job {
            attempt: 2,
            ..first.clone()
        };
        assert_ne!(prompt_id(&first), prompt_id(&second));
    }

    #[test]
    fn a_seed_that_is_asked_for_stays() {
        let open = job();
        assert_eq!(seeded(&open, "a").seed, seeded(&open, "a").seed);
        assert_ne!(seeded(&open, "a").seed, seeded(&open, "b").seed);
        let fixed = Job {
            seed: Some(7),
            ..open
        };
        assert_eq!(seeded(&fixed, "a").seed, Some(7));
    }

    #[test]
    fn a_class_offers_what_it_lists() {
        let info = json!({"input": {
            "required": {
                "ckpt_name": [["a.safetensors"], {"tooltip": "which"}], "image": [[], {"image_upload": true}],
                "steps": ["INT", {"min": 1}]
            },
            "optional": {"codec": ["COMBO", {"options": ["h264"]}]}
        }});
        for (input, value, offered) in [
            ("ckpt_name", json!("a.safetensors"), true),
            ("ckpt_name", json!("b.safetensors"), false),
            ("ckpt_name", json!(["4", 0]), true),
            ("image", json!("b.png"), true),
            ("steps", json!(20), true),
            ("codec", json!("h264"), true),
            ("codec", json!("vp9"), false),
            ("unknown", json!(1), true),
        ] {
            assert_eq!(offers(&info, input, &value), offered, "{input} {value}");
        }
    }
}
