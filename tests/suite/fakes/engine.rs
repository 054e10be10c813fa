//! What all fakes have in common: the jobs they took, the time their work takes, the files they give
//! out, and the ways in which a call goes wrong below the language of an upstream.
//!
//! A fake counts what it takes by prompt, which is how a test finds out whether something was paid for
//! twice.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::net::TcpListener;

use super::directive::{self, Directives};
use super::mishap::{Calls, Mishap};

/// How many answers about a job go wrong before one is right.
const WRONG_ANSWERS: u32 = 2;
/// A call that nobody answers.
pub const HANG: Duration = Duration::from_secs(3_600);

/// Any port of this machine.
pub const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The key that every fake takes.
pub const KEY: &str = "fake-key";

/// A job that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    pub id: String,
    pub prompt: String,
    /// The body of the submission, as JSON.
    pub body: Value,
    pub directives: Directives,
    /// Whether somebody asked for it to be stopped before it was done.
    pub canceled: bool,
    /// Whether somebody had it deleted when it was done: it was made, and nobody finds it any more.
    pub deleted: bool,
    /// How often it was asked for.
    pub polls: u32,
    /// How often its files were asked for.
    pub fetches: u32,
    taken_at: Instant,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Queued,
    Running,
    /// Of this kind.
    Ended(directive::Job),
    Canceled,
}

/// What a fake remembers.
#[derive(Clone, Default)]
pub struct Engine {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Where whatever goes wrong comes from, instead of the prompts.
    chaos: Option<u64>,
    calls: Calls,
    /// Given to each call that is still to arrive.
    under_way: Arc<()>,
    jobs: BTreeMap<String, Taken>,
    /// Submissions taken, by prompt.
    accepted: BTreeMap<String, u32>,
    next: u32,
}

impl State {
    /// A job that can be found.
    fn find(&mut self, id: &str) -> Option<&mut Taken> {
        self.jobs.get_mut(id).filter(|job| !job.deleted)
    }
}

impl Engine {
    /// Forgets everything; from now on anything goes wrong, as this seed has it.
    pub fn go_mad(&self, seed: u64) {
        *self.lock() = State {
            chaos: Some(seed),
            ..State::default()
        };
    }

    pub fn is_mad(&self) -> bool {
        self.lock().chaos.is_some()
    }

    /// What goes wrong with a prompt.
    pub fn directives(&self, prompt: &str) -> Directives {
        match self.lock().chaos {
            None => Directives::of(prompt),
            Some(seed) => Directives::any(prompt, seed),
        }
    }

    /// Says that a call is still to arrive, as long as the answer lives.
    pub fn is_under_way(&self) -> Arc<()> {
        Arc::clone(&self.lock().under_way)
    }

    /// Whether calls are still to arrive.
    pub fn awaits_calls(&self) -> bool {
        Arc::strong_count(&self.lock().under_way) > 1
    }

    /// What happens to a call on its way.
    pub fn mishap(&self, method: &Method, path: &str) -> Option<Mishap> {
        let mut state = self.lock();
        let seed = state.chaos?;
        state.calls.mishap(seed, method, path)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no fake panics while it counts")
    }

    /// Takes a job; what its prompt asks for is in the answer.
    pub fn take(&self, prompt: &str, body: Value) -> Taken {
        let directives = self.directives(prompt);
        let mut state = self.lock();
        state.next += 1;
        // What is still on its way from an earlier time must not find a job of this one.
        let id = match state.chaos {
            None => format!("{:08}-fake", state.next),
            Some(seed) => format!("{:08}-{seed:016x}", state.next),
        };
        *state.accepted.entry(prompt.to_owned()).or_default() += 1;
        let taken = Taken {
            id: id.clone(),
            prompt: prompt.to_owned(),
            body,
            directives,
            canceled: false,
            deleted: false,
            polls: 0,
            fetches: 0,
            taken_at: Instant::now(),
        };
        state.jobs.insert(id, taken.clone());
        taken
    }

    /// Takes a job under an id that the caller chose.
    pub fn take_as(&self, id: &str, prompt: &str, body: Value) -> Taken {
        let mut taken = self.take(prompt, body);
        let mut state = self.lock();
        state.jobs.remove(&taken.id);
        taken.id = id.to_owned();
        state.jobs.insert(id.to_owned(), taken.clone());
        taken
    }

    /// How often a prompt was taken.
    pub fn accepted(&self, prompt: &str) -> u32 {
        self.lock()
            .accepted
            .get(prompt)
            .copied()
            .unwrap_or_default()
    }

    /// The last job that was taken for a prompt.
    pub fn job_of(&self, prompt: &str) -> Option<Taken> {
        self.jobs_of(prompt).pop()
    }

    /// The jobs that were taken for a prompt, also those that were deleted.
    pub fn jobs_of(&self, prompt: &str) -> Vec<Taken> {
        let state = self.lock();
        let jobs = state.jobs.values().filter(|job| job.prompt == prompt);
        jobs.cloned().collect()
    }

    /// A job by its id.
    pub fn job(&self, id: &str) -> Option<Taken> {
        self.lock().find(id).cloned()
    }

    /// Asks how a job stands; `None` when the fake does not know it, or has forgotten it. `Err` is an
    /// answer that is wrong on the way.
    pub fn poll(&self, id: &str) -> Result<Option<(Taken, Stage)>, Box<Response>> {
        let job = {
            let mut state = self.lock();
            let Some(job) = state.find(id) else {
                return Ok(None);
            };
            job.polls += 1;
            job.clone()
        };
        match job.directives.poll {
            directive::Poll::Well => {}
            directive::Poll::Flapping if job.polls % 2 == 0 => {}
            directive::Poll::Flapping => {
                return Err(Box::new(StatusCode::BAD_GATEWAY.into_response()));
            }
            _ if job.polls > WRONG_ANSWERS => {}
            directive::Poll::Garbled => return Err(Box::new(garbled())),
            directive::Poll::Cut => return Err(Box::new(cut(b"{\"status\":"))),
        }
        if job.directives.job == directive::Job::Forgotten {
            return Ok(None);
        }
        let stage = job.stage();
        Ok(Some((job, stage)))
    }

    /// The jobs that wait or run, in the order of their ids, without those that were forgotten.
    pub fn open(&self) -> Vec<(Taken, Stage)> {
        let state = self.lock();
        let kept = |job: &&Taken| job.directives.job != directive::Job::Forgotten;
        let jobs = state.jobs.values().filter(kept);
        jobs.map(|job| (job.clone(), job.stage()))
            .filter(|(_, stage)| matches!(stage, Stage::Queued | Stage::Running))
            .collect()
    }

    /// Stops a job that is not done; whether it was stopped.
    pub fn cancel(&self, id: &str) -> bool {
        let mut state = self.lock();
        let Some(job) = state.find(id) else {
            return false;
        };
        if let Stage::Ended(_) = job.stage() {
            return false;
        }
        job.canceled = true;
        true
    }

    /// Deletes a job that is done, and its files.
    pub fn delete(&self, id: &str) {
        if let Some(job) = self.lock().find(id) {
            job.deleted = true;
        }
    }

    /// Gives out a job's file; `video` says of which kind.
    pub fn file(&self, id: &str, video: bool) -> Response {
        let job = {
            let mut state = self.lock();
            let Some(job) = state.find(id) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            job.fetches += 1;
            job.clone()
        };
        let bytes = if video { clip() } else { picture() };
        // What it says it is does not count.
        let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
        match job.directives.file {
            directive::File::Gone => StatusCode::NOT_FOUND.into_response(),
            directive::File::Expired if job.fetches == 1 => StatusCode::FORBIDDEN.into_response(),
            directive::File::Cut if job.fetches == 1 => cut(&bytes[..bytes.len() / 2]),
            directive::File::Held if job.fetches == 1 => held(&bytes[..bytes.len() / 2]),
            directive::File::Noise => "<html>sorry</html>".into_response(),
            _ => (kind, bytes).into_response(),
        }
    }
}

impl Taken {
    fn stage(&self) -> Stage {
        let (delay, waited) = (self.directives.delay, self.taken_at.elapsed());
        if self.canceled {
            Stage::Canceled
        } else if waited < delay / 2 {
            Stage::Queued
        } else if waited < delay || self.directives.job == directive::Job::Never {
            Stage::Running
        } else {
            Stage::Ended(self.directives.job)
        }
    }

    /// How the answer to its submission goes wrong on the way, if it does.
    pub async fn wrong_answer(&self) -> Option<Response> {
        match self.directives.submit {
            directive::Submit::Hang => {
                tokio::time::sleep(HANG).await;
                None
            }
            directive::Submit::Cut => Some(cut(b"{\"id\":")),
            directive::Submit::Garbled => Some(garbled()),
            _ => None,
        }
    }
}

/// An answer in JSON.
pub fn json(status: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, body.to_string()).into_response()
}

/// An answer that says it is JSON and is not.
pub fn garbled() -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, "{\"status\": \"COMPL<!doctype html>").into_response()
}

/// An answer that breaks off after these bytes.
pub fn cut(bytes: &[u8]) -> Response {
    let begun = Ok(Bytes::copy_from_slice(bytes));
    let broken = Err(std::io::Error::other("the fake cuts the line"));
    Body::from_stream(stream::iter([begun, broken])).into_response()
}

/// An answer that stands still after these bytes.
fn held(bytes: &[u8]) -> Response {
    let begun = Ok::<_, std::io::Error>(Bytes::copy_from_slice(bytes));
    let begun = stream::iter([begun]).chain(stream::pending());
    Body::from_stream(begun).into_response()
}

/// A picture that is none of any size that can be asked for.
pub fn picture() -> Bytes {
    static PICTURE: OnceLock<Bytes> = OnceLock::new();
    let paint = || {
        let mut bytes = Cursor::new(Vec::new());
        image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([x as u8, y as u8, 90]))
            .write_to(&mut bytes, image::ImageFormat::Png)
            .expect("memory takes everything");
        bytes.into_inner().into()
    };
    PICTURE.get_or_init(paint).clone()
}

/// A second of H.264, 128 by 96.
pub fn clip() -> Bytes {
    Bytes::from_static(include_bytes!("clip.mp4"))
}

/// Serves a fake on a free port of this machine until it is dropped.
pub struct Serving {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// On any port.
    pub async fn start(router: impl FnOnce(SocketAddr) -> Router) -> Self {
        Self::start_at(ANYWHERE, router).await
    }

    /// At an address, which `router` is told, for links to itself.
    pub async fn start_at(address: SocketAddr, router: impl FnOnce(SocketAddr) -> Router) -> Self {
        // Adapters find it installed by the program that they run in.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("it is bound");
        let router = router(address);
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { address, task }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
