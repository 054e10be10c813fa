//! What happens to calls on their way to a fake and back, whatever they ask for, when the fake has gone
//! mad ([`Engine::go_mad`]): the line breaks, or is slow, or somebody in between sends a call again.
//!
//! The same call meets no more than two mishaps in a row, so that whatever is asked for often enough is
//! answered. Files are left alone: what happens to them is up to the directives, which bound it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use tokio::time::timeout;

use super::engine::{Engine, HANG, cut};

/// How late an answer comes; whoever asks should have given up by then.
pub const LATE: Duration = Duration::from_millis(300);
/// How late a call comes; whoever made it should have asked by then what became of it.
const DELAY: Duration = Duration::from_millis(1_000);
/// Mishaps of the same call in a row.
const IN_A_ROW_MAX: u32 = 2;
/// One call in so many meets one: of those that send something, and of the others.
const RARITY: [u8; 2] = [5, 8];
/// Where files are, and the line that nobody waits for.
const SPARED: [&str; 6] = [
    "/files/",
    "/delivery/",
    "/view",
    "/content",
    ":download",
    "/ws",
];
const BODY_BYTES_MAX: usize = 64 << 20;

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It is turned away before anybody has looked at it.
    Refused,
    /// The line breaks before anybody has looked at it.
    Reset,
    /// It is done, and never answered.
    Hung,
    /// It is done, and the answer breaks off.
    Cut,
    /// It is done, and answered when nobody waits any more.
    Late,
    /// It is done when nobody waits any more.
    Delayed,
    /// It is done twice, and answered once.
    Twice,
}

/// How often each call was made, and how many mishaps the last of them were.
#[derive(Debug, Default)]
pub struct Calls(BTreeMap<String, (u32, u32)>);

impl Calls {
    /// What happens to the next call, the same for the same seed.
    pub fn mishap(&mut self, seed: u64, method: &Method, path: &str) -> Option<Mishap> {
        if SPARED.iter().any(|spared| path.contains(spared)) {
            return None;
        }
        let call = format!("{method} {path}");
        let hash = |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let seed = call.bytes().fold(seed, hash);
        let (number, in_a_row) = self.0.entry(call).or_default();
        *number += 1;
        let mut random = fastrand::Rng::with_seed(seed ^ u64::from(*number));
        let sends = method == Method::POST;
        let rarity = RARITY[usize::from(!sends)];
        if *in_a_row >= IN_A_ROW_MAX || random.u8(..rarity) > 0 {
            *in_a_row = 0;
            return None;
        }
        *in_a_row += 1;
        // The worst is drawn twice as often.
        let all = [
            Mishap::Refused,
            Mishap::Reset,
            Mishap::Hung,
            Mishap::Cut,
            Mishap::Late,
            Mishap::Delayed,
            Mishap::Delayed,
            Mishap::Twice,
        ];
        // Nobody sends again what is paid for.
        let many = all.len() - usize::from(sends);
        Some(all[random.usize(..many)])
    }
}

/// What a fake serves, with mishaps on the way.
pub fn on(engine: Engine, router: Router) -> Router {
    router.layer(middleware::from_fn_with_state(engine, meet))
}

async fn meet(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let Some(mishap) = engine.mishap(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let call = || {
        let request = Request::from_parts(head.clone(), Body::from(body.clone()));
        next.clone().run(request)
    };
    match mishap {
        Mishap::Refused => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mishap::Reset => cut(b""),
        Mishap::Hung => {
            call().await;
            tokio::time::sleep(HANG).await;
            unreachable!("nobody waits so long")
        }
        Mishap::Cut => {
            call().await;
            cut(b"{\"")
        }
        Mishap::Late => {
            let answer = call().await;
            tokio::time::sleep(LATE).await;
            answer
        }
        Mishap::Delayed => {
            let (call, under_way) = (call(), engine.is_under_way());
            // Whoever sent it has gone by then, and this with it.
            let done = tokio::spawn(async {
                tokio::time::sleep(DELAY).await;
                // By then it has arrived, though it may never be answered.
                let answer = timeout(LATE, call).await;
                drop(under_way);
                answer
            });
            let answer = done.await.expect("no fake panics");
            answer.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
        }
        Mishap::Twice => {
            call().await;
            call().await
        }
    }
}
