//! A place that upstreams can call: it keeps what they said.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};

use super::engine::Serving;

/// Pauses in which a test waits for calls, before it gives up.
const PAUSES_MAX: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// A call.
pub type Call = (HeaderMap, Bytes);

type Calls = Arc<Mutex<Vec<Call>>>;

/// A listener that serves.
pub struct Listener {
    calls: Calls,
    serving: Serving,
}

impl Listener {
    pub async fn start() -> Self {
        let calls = Calls::default();
        let router = Router::new().fallback(keep).with_state(Arc::clone(&calls));
        let serving = Serving::start(|_| router).await;
        Self { calls, serving }
    }

    /// Where to call.
    pub fn url(&self) -> String {
        format!("{}/hook", self.serving.url())
    }

    /// The first so many calls.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn heard(&self, many: usize) -> Vec<Call> {
        for _ in 0..PAUSES_MAX {
            let calls = self.calls.lock().expect("nobody panics here").clone();
            if calls.len() >= many {
                return calls;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("there were fewer than {many} calls");
    }
}

async fn keep(State(calls): State<Calls>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut calls = calls.lock().expect("nobody panics here");
    calls.push((headers, body));
    StatusCode::OK
}
