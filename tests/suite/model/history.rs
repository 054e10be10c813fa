//! One history: random operations on an account, each of which the prediction has to explain.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use piooy::accounts::SpendingCaps;
use piooy::gate::Caller;
use uuid::Uuid;

use super::prediction::{Body, Prediction, Quoted};
use super::purse::Passed;
use super::world::{Callers, Kind, Node, World};
use asking::{Ask, Month};
use requests::Keyed;

mod asking;
mod crashes;
mod days;
mod ends;
mod requests;
mod rest;

/// How long a history waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

type Judged = Result<(), String>;

pub struct History {
    world: Arc<World>,
    random: Rng,
    crashes: bool,
    callers: Callers,
    prediction: Prediction,
    nodes: Vec<Arc<Node>>,
    /// What was killed.
    dead: Vec<Arc<Node>>,
    free_tier_included: bool,
    bodies: u32,
    keys: Vec<Keyed>,
    /// What was quoted and not asked for yet.
    quotes: Vec<(Arc<Body>, Quoted)>,
    began: SystemTime,
    /// The credits for this month, once it has begun.
    month: Option<Month>,
    /// When days passed.
    passed: Vec<Passed>,
    /// How many credits have expired, by the ledger.
    expired: i64,
    /// Whether some answer was not heard.
    silence: bool,
    /// What was done, for whoever reads a failure.
    steps: Vec<String>,
}

impl History {
    /// Plays the history of a seed.
    ///
    /// # Errors
    /// What cannot be, and everything that was done until then.
    pub async fn play(world: &Arc<World>, seed: u64) -> Judged {
        let mut random = Rng::with_seed(seed);
        let crashes = seed.is_multiple_of(4);
        let limit = if random.u8(..4) == 0 {
            1_000
        } else {
            random.usize(1..6)
        };
        let free_tier_included = random.bool();
        let caps = some_caps(&mut random);
        let name = format!("history-{seed}");
        let callers = world.account(&name, limit, free_tier_included, caps);
        let callers = callers.await;
        let mut history = Self {
            random,
            crashes,
            prediction: Prediction::new(limit, caps),
            nodes: world.nodes.clone(),
            dead: Vec::new(),
            free_tier_included,
            bodies: 0,
            keys: Vec::new(),
            quotes: Vec::new(),
            began: SystemTime::now(),
            month: None,
            passed: Vec::new(),
            expired: 0,
            silence: false,
            steps: vec![format!(
                "at most {limit} tasks, free tier included: {free_tier_included}, {caps:?}"
            )],
            world: Arc::clone(world),
            callers,
        };
        let played = history.live().await;
        let tasks = match &played {
            Ok(()) => String::new(),
            Err(_) => world.told(history.account()).await,
        };
        for node in &history.nodes {
            node.kill();
        }
        played.map_err(|failure| {
            let account = history.account();
            format!(
                "{failure}\n  account {account}\n  {}\n  {tasks}",
                history.steps.join("\n  ")
            )
        })
    }

    async fn live(&mut self) -> Judged {
        if self.crashes {
            self.nodes = vec![self.mortal(Kind::Normal).await];
            if self.random.bool() {
                let second = self.mortal(Kind::Normal).await;
                self.nodes.push(second);
            }
            if self.random.u8(..3) == 0 {
                let hasty = self.mortal(Kind::Hasty).await;
                self.nodes.push(hasty);
            }
        }
        let credits = self.random.i64(1..200);
        self.ask_at_once(vec![Ask::Grant {
            note: "start".to_owned(),
            credits,
            days: None,
            until: None,
        }])
        .await?;
        for _ in 0..self.random.u8(5..=30) {
            self.step().await?;
        }
        self.come_to_rest().await?;
        self.settle_up().await
    }

    async fn step(&mut self) -> Judged {
        match self.random.u8(..if self.crashes { 135 } else { 115 }) {
            0..28 => {
                let ask = self.submission();
                self.ask_at_once(vec![ask]).await
            }
            28..42 => {
                let asks = self.asks_together();
                self.ask_at_once(asks).await
            }
            42..52 => match self.repetition() {
                Some(ask) => self.ask_at_once(vec![ask]).await,
                None => Ok(()),
            },
            52..66 => self.complete().await,
            66..74 => self.cancel().await,
            74..80 => self.end_twice().await,
            80..84 => {
                let ask = self.grant();
                self.ask_at_once(vec![ask]).await
            }
            84..92 => self.walk_away().await,
            92..100 => self.look().await,
            100..106 => self.have_quoted().await,
            106..109 => self.hour_passes().await,
            109..112 => self.days_pass().await,
            112..115 => self.month_begins().await,
            115..129 => self.crash().await,
            _ => self.crash_in_a_trap().await,
        }
    }

    fn account(&self) -> Uuid {
        self.callers.free.account_id()
    }

    /// The key that asks for something.
    fn caller(&self, body: &Body) -> &Caller {
        if body.capped {
            &self.callers.capped
        } else {
            &self.callers.free
        }
    }

    fn tell(&mut self, step: String) {
        self.steps.push(step);
    }
}

/// What the capped key may spend, often nothing much.
fn some_caps(random: &mut Rng) -> SpendingCaps {
    let mut cap = |most| random.bool().then(|| random.i64(0..most));
    SpendingCaps {
        per_hour: cap(100),
        per_day: cap(160),
        total: cap(300),
    }
}

/// Drives a future for so many turns and then drops it, wherever it is waiting.
async fn for_turns<F: Future>(future: F, turns: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = turns;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}
