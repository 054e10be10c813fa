//! How far jobs are, from what the server tells over its WebSocket while it works.
//!
//! Nothing rests on it: whoever misses a message, or all of them, still polls. The server tells each
//! client of its own jobs only, and speaks to one connection for each client, so a provider has an id
//! of its own for every process, and one connection.
//!
//! Bounds: about [`JOBS_MAX`] jobs are followed, messages over [`MESSAGE_BYTES_MAX`] end the connection, and a
//! connection on which nothing comes for twice [`SILENCE_MAX`] is made anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use quick_cache::sync::Cache;
use reqwest::StatusCode;
use reqwest::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use serde::Deserialize;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::Server;

/// How many jobs are followed at once. Those that nobody asks for any more make room for others.
const JOBS_MAX: usize = 10_000;
/// The longest message that is read. Previews come as pictures.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long nothing may come before the server is asked whether it is still there.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long to wait before the first attempt to connect again. Each later wait is twice as long.
const RECONNECT_MIN: Duration = Duration::from_millis(500);
const RECONNECT_MAX: Duration = Duration::from_secs(60);

/// The jobs that are followed, by id.
pub(super) struct Progress {
    jobs: Cache<String, Arc<Mutex<Steps>>>,
}

/// The nodes that a job runs.
struct Steps {
    /// How much of each is done, from 0 to 1.
    done: BTreeMap<String, f64>,
    /// The one that runs.
    current: Option<String>,
}

/// What the server tells, as far as it is listened to (docs.comfy.org, "Messages").
#[derive(Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
enum Event {
    /// These nodes need not run: their results are kept from another job.
    ExecutionCached {
        prompt_id: String,
        nodes: Vec<String>,
    },
    /// This node begins; none: the job is over.
    Executing {
        prompt_id: String,
        node: Option<String>,
    },
    /// This node is so far.
    Progress {
        prompt_id: String,
        node: String,
        value: f64,
        max: f64,
    },
}

impl Steps {
    fn new(nodes: &[&str]) -> Self {
        Self {
            done: nodes.iter().map(|node| ((*node).to_owned(), 0.0)).collect(),
            current: None,
        }
    }

    /// Nodes that the workflow does not have, which others put in while they run, count for nothing.
    fn set(&mut self, node: &str, part: f64) {
        if let Some(done) = self.done.get_mut(node) {
            *done = part.clamp(*done, 1.0);
        }
    }

    fn begin(&mut self, node: Option<String>) {
        if let Some(before) = std::mem::replace(&mut self.current, node) {
            self.set(&before, 1.0);
        }
    }

    /// The last percent is for the history to tell.
    fn percent(&self) -> u8 {
        let done: f64 = self.done.values().sum();
        (99.0 * done / self.done.len() as f64) as u8
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            jobs: Cache::new(JOBS_MAX),
        }
    }
}

impl Progress {
    /// Begins to follow a job that runs these nodes.
    pub fn follow(&self, id: &str, nodes: &[&str]) {
        let steps = Arc::new(Mutex::new(Steps::new(nodes)));
        self.jobs.insert(id.to_owned(), steps);
    }

    /// Follows a job no longer.
    pub fn forget(&self, id: &str) {
        self.jobs.remove(id);
    }

    /// How far a job is, if it is followed.
    pub fn percent(&self, id: &str) -> Option<u8> {
        self.jobs.get(id).map(|steps| lock(&steps).percent())
    }

    /// Takes in what the server tells. What is not known is not listened to.
    fn hear(&self, text: &str) {
        let Ok(event) = serde_json::from_str::<Event>(text) else {
            return;
        };
        let Some(steps) = self.jobs.get(event.prompt_id()) else {
            return;
        };
        let mut steps = lock(&steps);
        match event {
            Event::ExecutionCached { nodes, .. } => {
                nodes.iter().for_each(|node| steps.set(node, 1.0));
            }
            Event::Executing { node, .. } => steps.begin(node),
            Event::Progress {
                node, value, max, ..
            } => {
                if max > 0.0 {
                    steps.set(&node, value / max);
                }
            }
        }
    }
}

fn lock(steps: &Mutex<Steps>) -> MutexGuard<'_, Steps> {
    steps.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Event {
    fn prompt_id(&self) -> &str {
        match self {
            Self::ExecutionCached { prompt_id, .. }
            | Self::Executing { prompt_id, .. }
            | Self::Progress { prompt_id, .. } => prompt_id,
        }
    }
}

/// Listens to a server for ever.
pub(super) async fn listen(server: Server, client_id: String, progress: Arc<Progress>) {
    let mut wait = RECONNECT_MIN;
    loop {
        match connect(&server, &client_id).await {
            Ok(socket) => {
                wait = RECONNECT_MIN;
                if let Err(error) = listen_to(socket, &progress).await {
                    tracing::debug!(%error, "ComfyUI's WebSocket broke off");
                }
            }
            Err(why) => tracing::debug!(why, "ComfyUI's WebSocket cannot be had"),
        }
        sleep(wait).await;
        wait = (2 * wait).min(RECONNECT_MAX);
    }
}

type Socket = WebSocketStream<reqwest::Upgraded>;

/// Opens a WebSocket (RFC 6455 §4.1) the way every other call goes.
async fn connect(server: &Server, client_id: &str) -> Result<Socket, String> {
    let key = generate_key();
    let request = server
        .get(&format!("ws?clientId={client_id}"))
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    let response = request.send().await;
    let response = response.map_err(|error| error.without_url().to_string())?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("it answered {}", response.status()));
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if accepted.is_none_or(|accepted| accepted != &derive_accept_key(key.as_bytes())) {
        return Err("its answer is none to this question".to_owned());
    }
    let upgraded = response.upgrade().await;
    let upgraded = upgraded.map_err(|error| error.without_url().to_string())?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
}

/// Listens until the server hangs up or falls silent.
async fn listen_to(mut socket: Socket, progress: &Progress) -> Result<(), tungstenite::Error> {
    let mut asked = false;
    loop {
        match timeout(SILENCE_MAX, socket.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(message)) => {
                asked = false;
                if let Message::Text(text) = message? {
                    progress.hear(&text);
                }
            }
            Err(_) if asked => return Ok(()),
            Err(_) => {
                asked = true;
                socket.send(Message::Ping(bytes::Bytes::new())).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tell(progress: &Progress, kind: &str, data: Value) {
        progress.hear(&json!({"type": kind, "data": data}).to_string());
    }

    #[test]
    fn nodes_that_are_done_and_the_one_that_runs_make_the_progress() {
        let progress = Progress::default();
        progress.follow("a", &["1", "2", "3", "4"]);
        assert_eq!(progress.percent("a"), Some(0));
        tell(
            &progress,
            "execution_cached",
            json!({"prompt_id": "a", "nodes": ["1", "x"]}),
        );
        assert_eq!(progress.percent("a"), Some(24));
        tell(
            &progress,
            "executing",
            json!({"prompt_id": "a", "node": "2"}),
        );
        let step = json!({"prompt_id": "a", "node": "2", "value": 10, "max": 20});
        tell(&progress, "progress", step);
        assert_eq!(progress.percent("a"), Some(37));
        tell(
            &progress,
            "executing",
            json!({"prompt_id": "a", "node": "3"}),
        );
        assert_eq!(progress.percent("a"), Some(49));
        tell(
            &progress,
            "executing",
            json!({"prompt_id": "a", "node": null}),
        );
        assert_eq!(progress.percent("a"), Some(74));
        progress.forget("a");
        assert_eq!(progress.percent("a"), None);
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let progress = Progress::default();
        progress.follow("a", &["1"]);
        progress.hear("not JSON");
        tell(&progress, "feature_of_tomorrow", json!({"prompt_id": "a"}));
        tell(&progress, "executing", json!({"node": "1"}));
        for (value, max) in [(1, 0), (-5, 10), (0, -1)] {
            let step = json!({"prompt_id": "a", "node": "1", "value": value, "max": max});
            tell(&progress, "progress", step);
        }
        assert_eq!(progress.percent("a"), Some(0));
        let step = json!({"prompt_id": "a", "node": "1", "value": 30, "max": 10});
        tell(&progress, "progress", step);
        assert_eq!(progress.percent("a"), Some(99));
    }
}
