//! Whatever upstreams do, credits and jobs agree: two fakes that go wrong in every way they can, over
//! seeded histories with nodes that come and go.
//!
//! A history is one account, two upstreams and some tasks. `PIOOY_CHAOS=10000` plays so many, and
//! `PIOOY_CHAOS_SEED=n` plays one again.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use piooy::generation::{Generation, Settings, Status};
use piooy::providers::{Connection, Fal, Provider, Providers};

use crate::fakes;
use crate::fakes::engine::{Engine, KEY};
use crate::generation::fixture::{self, CREDITS, Fixture, PICTURE, ended, routed};

/// Histories that are played in every run.
const HISTORIES: u64 = 12;
/// Histories that are played at the same time.
const TOGETHER: usize = 4;
const TASKS: u64 = 12;
/// How long an upstream may take to answer: less than a task.
const ANSWER_MAX: Duration = Duration::from_millis(400);

/// The upstreams of a history.
struct Upstreams {
    fakes: [fakes::fal::Fal; 2],
}

impl Upstreams {
    async fn start(seed: u64) -> Self {
        let fake = |salt| fakes::fal::Fal::start_with(Engine::chaotic(seed ^ salt));
        Self {
            fakes: [fake(0x5eed).await, fake(0xfeed).await],
        }
    }

    fn providers(&self) -> Providers {
        let [first, second] = &self.fakes;
        let provider = |name, fake: &fakes::fal::Fal| -> Arc<dyn Provider> {
            let url = fake.serving.url().parse().expect("is a URL");
            let connection = Connection::new(url).expect("TLS can be set up");
            let keys = "http://127.0.0.1:9/keys".parse().expect("is a URL");
            let connection = connection.answering_within(ANSWER_MAX);
            Arc::new(Fal::new(name, connection, KEY, keys).expect("is a key"))
        };
        fixture::sandbox()
            .with(provider("fal", first))
            .with(provider("kie", second))
    }

    /// How often a prompt was taken.
    fn accepted(&self, prompt: &str) -> u32 {
        self.fakes
            .iter()
            .map(|fake| fake.engine.accepted(prompt))
            .sum()
    }
}

fn settings() -> Settings {
    Settings {
        lifetime_min: Duration::from_millis(2_500),
        lifetime_max: Duration::from_millis(2_500),
        ..fixture::settings()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_pays_twice_whatever_upstreams_do() {
    let number = |name| {
        env::var(name)
            .ok()
            .map(|text| text.parse().expect("is a number"))
    };
    let seeds = match number("PIOOY_CHAOS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PIOOY_CHAOS").unwrap_or(HISTORIES),
    };
    let play = async |seed| {
        let played = tokio::spawn(play(seed)).await;
        assert!(played.is_ok(), "PIOOY_CHAOS_SEED={seed} shows it");
    };
    stream::iter(seeds)
        .for_each_concurrent(TOGETHER, play)
        .await;
}

async fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (fixture, upstreams) = (Fixture::new().await, Upstreams::start(seed).await);
    let caller = fixture.live().await;
    let start = async || fixture.node_with(upstreams.providers(), settings()).await;
    let mut node: Generation = start().await;
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let prompt = format!("history {seed}, task {number}");
        let task = node.submit(&caller, routed(&prompt), None).await;
        tasks.push((task.expect("is accepted").id, prompt));
        if random.u8(..4) == 0 {
            let (id, _) = tasks[random.usize(..tasks.len())];
            node.cancel(&caller, id).await.expect("is known");
        }
        if random.u8(..6) == 0 {
            tokio::time::sleep(Duration::from_millis(random.u64(..60))).await;
            node.stop().await;
            node = start().await;
        }
    }
    let (mut charged, mut seen) = (0, Vec::new());
    for (id, prompt) in &tasks {
        let task = ended(&node, &caller, *id).await;
        let accepted = upstreams.accepted(prompt);
        assert!(
            accepted <= 1,
            "{prompt} was taken {accepted} times: {task:?}"
        );
        if task.status == Status::Success {
            assert_eq!((accepted, task.credits.charged), (1, PICTURE), "{task:?}");
        } else {
            assert_eq!(task.credits.charged, 0, "{task:?}");
        }
        charged += task.credits.charged;
        seen.push((*id, task.status));
    }
    let balance = fixture.balance().await;
    assert_eq!((balance.available, balance.held), (CREDITS - charged, 0));
    for (id, status) in seen {
        let task = node.get(&caller, id).await.expect("is known");
        assert_eq!(task.status, status, "an end is an end");
    }
    fixture.assert_sound().await;
    node.stop().await;
}
