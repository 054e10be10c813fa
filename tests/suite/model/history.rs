//! One history: random operations on an account, each of which the prediction has to explain.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use piooy::catalog::MediaType;
use piooy::gate::Caller;
use piooy::generation::{Credits, Request, Status, SubmitError, Task, TaskError};
use piooy::ledger::{EntryFilter, Kind as Movement, Ledger};
use piooy::providers::FailureReason;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::prediction::{Answer, Body, CANCELED, End, Entry, Prediction};
use super::script::{Arrival, Script, Trap, Verdict};
use super::world::{Kind, Node, World, grant};

/// How long a history waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

type Judged = Result<(), String>;

pub struct History {
    world: Arc<World>,
    random: Rng,
    crashes: bool,
    caller: Caller,
    prediction: Prediction,
    nodes: Vec<Arc<Node>>,
    /// What was killed.
    dead: Vec<Arc<Node>>,
    free_tier_included: bool,
    bodies: u32,
    keys: Vec<(String, Arc<Body>)>,
    /// Whether some answer was not heard.
    silence: bool,
    /// What was done, for whoever reads a failure.
    steps: Vec<String>,
}

/// Something that is asked of a node.
#[derive(Clone)]
enum Ask {
    Submit {
        body: Arc<Body>,
        key: Option<String>,
    },
    Grant {
        note: String,
        credits: i64,
    },
}

/// What is heard of it, if anything.
#[derive(Debug, Clone, Copy)]
enum Heard {
    Submitted(Answer),
    Granted { available: i64, held: i64 },
    Nothing,
}

/// How a node meets its end.
#[derive(Debug, Clone, Copy)]
enum Doom {
    /// It is killed.
    Killed,
    /// Its sessions in the database end.
    Terminated,
    /// It is killed while the database holds its batches back, and then lets them through.
    KilledInBatch,
    /// Its sessions end while the database holds its batches back.
    TerminatedInBatch,
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
        let caller = world
            .account(&format!("history-{seed}"), limit, free_tier_included)
            .await;
        let mut history = Self {
            random,
            crashes,
            prediction: Prediction::new(limit),
            nodes: world.nodes.clone(),
            dead: Vec::new(),
            free_tier_included,
            bodies: 0,
            keys: Vec::new(),
            silence: false,
            steps: vec![format!(
                "at most {limit} tasks, free tier included: {free_tier_included}"
            )],
            world: Arc::clone(world),
            caller,
        };
        let played = history.live().await;
        let tasks = match &played {
            Ok(()) => String::new(),
            Err(_) => world.told(history.caller.account_id()).await,
        };
        for node in &history.nodes {
            node.kill();
        }
        played.map_err(|failure| {
            let account = history.caller.account_id();
            format!(
                "{failure}\n  account {account}\n  {}\n  {tasks}",
                history.steps.join("\n  ")
            )
        })
    }

    async fn live(&mut self) -> Judged {
        if self.crashes {
            self.nodes = vec![self.world.mortal(Kind::Normal).await];
            if self.random.bool() {
                self.nodes.push(self.world.mortal(Kind::Normal).await);
            }
            if self.random.u8(..3) == 0 {
                self.nodes.push(self.world.mortal(Kind::Hasty).await);
            }
        }
        let credits = self.random.i64(1..200);
        self.ask_at_once(vec![Ask::Grant {
            note: "start".to_owned(),
            credits,
        }])
        .await?;
        for _ in 0..self.random.u8(5..=30) {
            self.step().await?;
        }
        self.come_to_rest().await?;
        self.settle_up().await
    }

    async fn step(&mut self) -> Judged {
        match self.random.u8(..if self.crashes { 120 } else { 100 }) {
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
            100..114 => self.crash().await,
            _ => self.crash_in_a_trap().await,
        }
    }

    fn tell(&mut self, step: String) {
        self.steps.push(step);
    }

    // What is asked.

    /// A request that was never made before.
    fn body(&mut self, kind: Kind, trap: Option<Trap>) -> Arc<Body> {
        self.bodies += 1;
        let prompt = format!("{}: {}", self.caller.account_name(), self.bodies);
        let mut request = Request {
            prompt: prompt.clone(),
            ..Request::default()
        };
        let (mut count, price) = match self.random.u8(..10) {
            0..6 => {
                "tiny".clone_into(&mut request.model);
                request.count = Some(self.random.u32(1..=4));
                let large = self.random.u8(..4) == 0;
                request.resolution = large.then(|| "0.2K".to_owned());
                (request.count, if large { 20 } else { 10 })
            }
            6..9 => {
                "tiny-free".clone_into(&mut request.model);
                (None, if self.free_tier_included { 0 } else { 3 })
            }
            _ => {
                "tiny-clip".clone_into(&mut request.model);
                request.expects = Some(MediaType::Video);
                request.duration = Some("2".to_owned());
                (None, 40)
            }
        };
        let count = *count.get_or_insert(1);
        let script = self.script(kind, count, trap);
        self.world.scripts.write(&prompt, script.clone());
        Arc::new(Body {
            prompt,
            request,
            price: price * i64::from(count),
            count,
            script,
            kind,
        })
    }

    fn script(&mut self, kind: Kind, count: u32, trap: Option<Trap>) -> Script {
        let random = &mut self.random;
        let mut script = Script {
            arrival: match random.u8(..20) {
                _ if trap.is_some() => Arrival::Taken,
                0 => Arrival::TakenLate,
                1 => Arrival::RefusedOnce,
                2 => Arrival::Refused(FailureReason::ContentPolicy),
                3 => Arrival::Refused(FailureReason::ProviderError),
                4 | 5 => Arrival::Found,
                6 | 7 => Arrival::NotFound,
                _ => Arrival::Taken,
            },
            verdict: match random.u8(..10) {
                0 | 1 => Verdict::Deliver(random.u32(0..=count)),
                2 => Verdict::Deliver(count + 1),
                3 => Verdict::DeliverNoise,
                4 => Verdict::Fail,
                _ => Verdict::Deliver(count),
            },
            stops: random.bool(),
            trap,
        };
        match kind {
            Kind::Normal => {}
            // Whoever's time is soon up waits for it.
            Kind::Hasty if random.bool() => script.arrival = Arrival::Unknowable,
            Kind::Hasty => script.verdict = Verdict::Never,
            // No upstream ever hears of it.
            Kind::Idle => script.arrival = Arrival::Taken,
        }
        script
    }

    fn submission(&mut self) -> Ask {
        let kinds: Vec<_> = self.nodes.iter().map(|node| node.kind).collect();
        let kind = match self.random.u8(..6) {
            0 if kinds.contains(&Kind::Hasty) => Kind::Hasty,
            1 if kinds.contains(&Kind::Idle) => Kind::Idle,
            _ => Kind::Normal,
        };
        self.submission_to(kind, None)
    }

    fn submission_to(&mut self, kind: Kind, trap: Option<Trap>) -> Ask {
        let body = self.body(kind, trap);
        let key = self
            .random
            .bool()
            .then(|| format!("key {}", self.keys.len()));
        self.with_key(body, key)
    }

    fn with_key(&mut self, body: Arc<Body>, key: Option<String>) -> Ask {
        if let Some(key) = &key {
            self.keys.push((key.clone(), Arc::clone(&body)));
        }
        Ask::Submit { body, key }
    }

    /// A key again, mostly with the request that it was used for.
    fn repetition(&mut self) -> Option<Ask> {
        let (key, body) = self.random.choice(&self.keys)?.clone();
        if self.random.u8(..4) > 0 {
            return Some(Ask::Submit {
                body,
                key: Some(key),
            });
        }
        let other = self.body(body.kind, None);
        Some(self.with_key(other, Some(key)))
    }

    fn grant(&mut self) -> Ask {
        Ask::Grant {
            note: format!("grant {}", self.steps.len()),
            credits: self.random.i64(1..80),
        }
    }

    /// Two to four things to ask at the same time, some of them the same.
    fn asks_together(&mut self) -> Vec<Ask> {
        let mut asks = vec![self.submission()];
        let mut grants = 0;
        for _ in 0..self.random.u8(1..4) {
            let ask = match self.random.u8(..10) {
                0..5 => self.submission(),
                5..8 => asks[0].clone(),
                8 => self.repetition().unwrap_or_else(|| self.submission()),
                _ if grants == 0 => {
                    grants += 1;
                    self.grant()
                }
                _ => self.submission(),
            };
            let unkeyed = |ask: &Ask| matches!(ask, Ask::Submit { key: None, .. });
            // The same request twice without a key would be two tasks of one prompt.
            if asks
                .iter()
                .any(|known| unkeyed(known) && known.is_same_as(&ask))
            {
                continue;
            }
            asks.push(ask);
        }
        asks
    }

    // How it is asked.

    fn node(&mut self, kind: Kind) -> Arc<Node> {
        let of_kind: Vec<_> = self.nodes.iter().filter(|node| node.kind == kind).collect();
        let node = self
            .random
            .choice(&of_kind)
            .expect("there is a node of each kind asked for");
        Arc::clone(node)
    }

    fn any_node(&mut self) -> Arc<Node> {
        let node = self.random.choice(&self.nodes);
        Arc::clone(node.expect("there is a node"))
    }

    /// The node that something is for.
    fn node_for(&mut self, ask: &Ask) -> Arc<Node> {
        match ask {
            Ask::Submit { body, .. } => self.node(body.kind),
            Ask::Grant { .. } => self.any_node(),
        }
    }

    /// Asks a node, and listens for so many turns, or until it answers.
    fn send(
        &self,
        node: &Node,
        ask: &Ask,
        turns: Option<u32>,
    ) -> JoinHandle<Result<Heard, String>> {
        let (generation, ledger) = (Arc::clone(&node.generation), node.ledger.clone());
        let (caller, ask) = (self.caller.clone(), ask.clone());
        node.spawn(async move {
            let asked = async {
                match &ask {
                    Ask::Submit { body, key } => {
                        let request = body.request.clone();
                        let answer = generation.submit(&caller, request, key.as_deref()).await;
                        answer_to_submission(body, answer)
                    }
                    Ask::Grant { note, credits } => {
                        let granted = grant(&ledger, caller.account_id(), *credits, note).await;
                        Ok(granted.map_or(Heard::Nothing, |balance| Heard::Granted {
                            available: balance.available,
                            held: balance.held,
                        }))
                    }
                }
            };
            match turns {
                Some(turns) => for_turns(asked, turns).await.unwrap_or(Ok(Heard::Nothing)),
                None => asked.await,
            }
        })
    }

    /// Asks several things at the same moment, of any nodes, and has the answers explained.
    async fn ask_at_once(&mut self, asks: Vec<Ask>) -> Judged {
        let sent: Vec<_> = asks
            .into_iter()
            .map(|ask| {
                let node = self.node_for(&ask);
                let sent = self.send(&node, &ask, None);
                (ask, sent)
            })
            .collect();
        let heard = self.hear(sent).await?;
        self.explain(heard)
    }

    async fn hear(
        &mut self,
        sent: Vec<(Ask, JoinHandle<Result<Heard, String>>)>,
    ) -> Result<Vec<(Ask, Heard)>, String> {
        let mut all = Vec::new();
        for (ask, sent) in sent {
            let heard = match sent.await {
                Ok(heard) => heard?,
                Err(ended) if ended.is_cancelled() => Heard::Nothing,
                Err(panic) => return Err(panic.to_string()),
            };
            self.silence |= matches!(heard, Heard::Nothing);
            self.tell(format!("{ask} ▶ {heard:?}"));
            all.push((ask, heard));
        }
        Ok(all)
    }

    /// Finds an order in which all of it makes sense.
    fn explain(&mut self, heard: Vec<(Ask, Heard)>) -> Judged {
        let (silent, said): (Vec<_>, Vec<_>) = heard
            .into_iter()
            .partition(|(_, heard)| matches!(heard, Heard::Nothing));
        for (ask, heard) in silent {
            ask.judge(heard, &mut self.prediction)?;
        }
        self.prediction = in_some_order(&self.prediction, &said)?;
        Ok(())
    }

    // How tasks end.

    /// The places of tasks that are known to be there and not known to have ended.
    fn open(&self, fits: impl Fn(&Body) -> bool) -> Vec<usize> {
        let entries = self.prediction.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| {
                entry.is_certain()
                    && entry.id.is_some()
                    && entry.ended.is_none()
                    && fits(&entry.body)
            })
            .map(|(at, _)| at)
            .collect()
    }

    /// Has the upstream come to its verdict on up to `most` open tasks.
    fn open_gates(&mut self, most: usize) -> Vec<usize> {
        let mut open = self.open(|body| body.kind == Kind::Normal);
        self.random.shuffle(&mut open);
        open.truncate(most);
        for at in &open {
            let entry = &mut self.prediction.entries[*at];
            entry.may_end(entry.body.verdict());
            self.world.scripts.open_gate(&entry.body.prompt);
            self.steps
                .push(format!("the gate of {} opens", entry.body.prompt));
        }
        open
    }

    async fn complete(&mut self) -> Judged {
        let most = self.random.usize(1..=3);
        let opened = self.open_gates(most);
        if self.random.u8(..10) < 7 {
            return self.see_end(&opened).await;
        }
        Ok(())
    }

    /// Waits until these have ended.
    async fn see_end(&mut self, entries: &[usize]) -> Judged {
        let seen = async {
            loop {
                self.observe().await?;
                let ended = |at: &usize| self.prediction.entries[*at].ended.is_some();
                if entries.iter().all(ended) {
                    return Ok(());
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| {
            let entries = &self.prediction.entries;
            let open = entries
                .iter()
                .find(|entry| entry.is_certain() && entry.ended.is_none());
            Err(format!("waited in vain for the end of {open:?}"))
        })
    }

    async fn observe(&mut self) -> Judged {
        let rows = self.world.rows(self.caller.account_id()).await;
        self.prediction.observe(rows)
    }

    /// A task that there is, by its place; open ones rather than others.
    fn some_task(&mut self) -> Option<usize> {
        let mut places = self.open(|_| true);
        if places.is_empty() || self.random.u8(..5) == 0 {
            let entries = self.prediction.entries.iter().enumerate();
            places = entries
                .filter(|(_, entry)| entry.id.is_some())
                .map(|(at, _)| at)
                .collect();
        }
        self.random.choice(&places).copied()
    }

    fn send_cancel(&self, node: &Node, at: usize, turns: Option<u32>) -> JoinHandle<Option<Task>> {
        let (generation, caller) = (Arc::clone(&node.generation), self.caller.clone());
        let id = self.prediction.entries[at]
            .id
            .expect("only tasks that are known are canceled");
        node.spawn(async move {
            let asked = generation.cancel(&caller, id);
            match turns {
                Some(turns) => for_turns(asked, turns).await?.ok(),
                None => asked.await.ok(),
            }
        })
    }

    async fn cancel(&mut self) -> Judged {
        let Some(at) = self.some_task() else {
            return Ok(());
        };
        let node = self.any_node();
        let answer = self.send_cancel(&node, at, None).await;
        self.canceled(at, answer.ok().flatten())?;
        let entry = &self.prediction.entries[at];
        // One that answers late hears of it late.
        let ends = entry.ends.contains(&CANCELED)
            && entry.body.script.stops
            && entry.body.script.arrival != Arrival::TakenLate;
        if ends && entry.ended.is_none() && self.random.u8(..4) == 0 {
            return self.see_end(&[at]).await;
        }
        Ok(())
    }

    /// What follows from a cancelation and its answer, if it was heard.
    fn canceled(&mut self, at: usize, answer: Option<Task>) -> Judged {
        let entry = &mut self.prediction.entries[at];
        let status = answer.as_ref().map(|task| task.status);
        self.steps
            .push(format!("{} is canceled ▶ {status:?}", entry.body.prompt));
        // Of what an upstream has, the upstream decides; but a node that stood still meanwhile may have
        // lost the task to one that saw the wish before it asked any.
        entry.may_end(CANCELED);
        match answer {
            Some(task) => seen(entry, &task),
            None => Ok(()),
        }
    }

    /// An end that several want at the same time.
    async fn end_twice(&mut self) -> Judged {
        let Some(at) = self.open_gates(1).first().copied() else {
            return Ok(());
        };
        self.prediction.entries[at].may_end(CANCELED);
        let nodes = [self.any_node(), self.any_node()];
        let canceled = join_all(nodes.map(|node| self.send_cancel(&node, at, None))).await;
        for answer in canceled {
            self.canceled(at, answer.ok().flatten())?;
        }
        self.see_end(&[at]).await
    }

    /// Something whose answer the caller does not wait for.
    async fn walk_away(&mut self) -> Judged {
        let turns = Some(self.random.u32(1..=6));
        let node = self.any_node();
        match self.random.u8(..8) {
            0 | 1 => {
                let Some(at) = self.some_task() else {
                    return Ok(());
                };
                let answer = self.send_cancel(&node, at, turns).await;
                return self.canceled(at, answer.ok().flatten());
            }
            2 => {
                let ask = self.grant();
                let sent = self.send(&node, &ask, turns);
                let heard = self.hear(vec![(ask, sent)]).await?;
                return self.explain(heard);
            }
            _ => {}
        }
        let ask = self.submission_to(node.kind, None);
        let sent = self.send(&node, &ask, turns);
        let heard = self.hear(vec![(ask.clone(), sent)]).await?;
        self.explain(heard)?;
        if matches!(ask, Ask::Submit { key: Some(_), .. }) && self.random.bool() {
            return self.ask_at_once(vec![ask]).await;
        }
        Ok(())
    }

    /// Reads what there is to read.
    async fn look(&mut self) -> Judged {
        let ledger = Ledger::new(self.world.store().clone());
        let balance = ledger.balance(self.caller.account_id()).await;
        let balance = balance.map_err(|error| error.to_string())?;
        self.prediction.balance((balance.available, balance.held))?;
        self.observe().await?;
        let Some(at) = self.some_task() else {
            return Ok(());
        };
        let (node, caller) = (self.any_node(), self.caller.clone());
        let id = self.prediction.entries[at].id.expect("the task is known");
        let generation = Arc::clone(&node.generation);
        match node
            .spawn(async move { generation.get(&caller, id).await })
            .await
        {
            Ok(Ok(task)) => seen(&mut self.prediction.entries[at], &task),
            // A busy database says so, and nothing follows.
            _ => Ok(()),
        }
    }

    // How nodes end.

    /// A node meets its end while it does several things.
    async fn crash(&mut self) -> Judged {
        let victim = self.any_node();
        let doom = *self
            .random
            .choice(&[
                Doom::Killed,
                Doom::Terminated,
                Doom::KilledInBatch,
                Doom::TerminatedInBatch,
            ])
            .expect("there are four");
        let held_back = match doom {
            Doom::Killed | Doom::Terminated => None,
            Doom::KilledInBatch | Doom::TerminatedInBatch => {
                Some(self.world.stop_writers(self.caller.account_id()).await)
            }
        };
        let mut asks: Vec<_> = (0..self.random.u8(1..=3))
            .map(|_| self.submission_to(victim.kind, None))
            .collect();
        match self.random.u8(..6) {
            0 => asks.push(self.grant()),
            1 | 2 if matches!(asks[0], Ask::Submit { key: Some(_), .. }) => {
                asks.push(asks[0].clone());
            }
            _ => {}
        }
        let most = self.random.usize(..=3);
        self.open_gates(most);
        let canceled = if self.random.bool() {
            self.some_task()
        } else {
            None
        };
        let sent: Vec<_> = asks
            .iter()
            .map(|ask| (ask.clone(), self.send(&victim, ask, None)))
            .collect();
        let canceling = canceled.map(|at| {
            // What else was sent may already see it.
            self.prediction.entries[at].may_end(CANCELED);
            (at, self.send_cancel(&victim, at, None))
        });

        sleep(Duration::from_micros(self.random.u64(..12_000))).await;
        self.tell(format!("{doom:?}"));
        match doom {
            Doom::Killed | Doom::KilledInBatch => victim.kill(),
            Doom::Terminated | Doom::TerminatedInBatch => self.world.terminate(&victim).await,
        }
        if let Some(held_back) = held_back {
            held_back.go_on().await;
        }
        let heard = self.hear(sent).await?;
        self.explain(heard.clone())?;
        if let Some((at, canceling)) = canceling {
            self.canceled(at, canceling.await.ok().flatten())?;
        }
        if matches!(doom, Doom::Killed | Doom::KilledInBatch) {
            self.replace(&victim).await;
        }
        for (ask, heard) in heard {
            let keyed = matches!(ask, Ask::Submit { key: Some(_), .. });
            if keyed && matches!(heard, Heard::Nothing) && self.random.u8(..5) > 0 {
                self.ask_at_once(vec![ask]).await?;
            }
        }
        Ok(())
    }

    /// A node dies between two steps of a task.
    async fn crash_in_a_trap(&mut self) -> Judged {
        let victim = self.node(Kind::Normal);
        let traps = [Trap::BeforeArrival, Trap::AfterArrival, Trap::Poll];
        let trap = *self.random.choice(&traps).expect("there are three");
        let ask = self.submission_to(Kind::Normal, Some(trap));
        let sent = self.send(&victim, &ask, None);
        let heard = self.hear(vec![(ask.clone(), sent)]).await?;
        self.explain(heard.clone())?;
        let (Ask::Submit { body, .. }, Heard::Submitted(Answer::Task(_))) = (&ask, heard[0].1)
        else {
            // A repetition is not to walk into it.
            if let Ask::Submit { body, .. } = &ask {
                self.world.scripts.release_trap(&body.prompt);
            }
            return Ok(());
        };
        let sprung = async {
            while !self.world.scripts.is_trap_sprung(&body.prompt) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let sprung = timeout(PATIENCE, sprung).await;
        sprung.map_err(|_| format!("{} never came to its trap", body.prompt))?;
        self.tell(format!("killed at {trap:?}"));
        victim.kill();
        self.world.scripts.release_trap(&body.prompt);
        self.replace(&victim).await;
        Ok(())
    }

    async fn replace(&mut self, victim: &Arc<Node>) {
        self.nodes.retain(|node| !Arc::ptr_eq(node, victim));
        self.nodes.push(self.world.mortal(victim.kind).await);
        self.dead.push(Arc::clone(victim));
    }

    // How it all ends.

    /// Lets everything end that is under way.
    async fn come_to_rest(&mut self) -> Judged {
        self.tell("all comes to rest".to_owned());
        for node in &self.dead {
            self.world.is_over(node).await;
        }
        // What was sent and not waited for comes before what is sent now.
        let nodes = if self.silence {
            self.nodes.clone()
        } else {
            Vec::new()
        };
        for node in nodes {
            let ask = self.submission_to(node.kind, None);
            let sent = self.send(&node, &ask, None);
            let heard = self.hear(vec![(ask, sent)]).await?;
            self.explain(heard)?;
        }
        self.observe().await?;
        for at in self.open(|body| body.kind == Kind::Idle) {
            let node = self.node(Kind::Idle);
            while self.prediction.entries[at].ended.is_none() {
                let answer = self.send_cancel(&node, at, None).await;
                self.canceled(at, answer.ok().flatten())?;
            }
        }
        self.open_gates(usize::MAX);
        let all: Vec<_> = (0..self.prediction.entries.len())
            .filter(|at| self.prediction.entries[*at].is_certain())
            .collect();
        self.see_end(&all).await
    }

    /// Compares everything there is with what has to be.
    async fn settle_up(&mut self) -> Judged {
        let account = self.caller.account_id();
        let ledger = Ledger::new(self.world.store().clone());
        let everything = EntryFilter::default();
        let page = ledger.entries(account, &everything, None, usize::MAX);
        let mut entries = page.await.map_err(|error| error.to_string())?.entries;
        entries.reverse();
        let granted: Vec<_> = entries
            .iter()
            .filter(|entry| entry.kind == Movement::Grant)
            .collect();
        for grant in &mut self.prediction.grants {
            let of_it = granted
                .iter()
                .filter(|entry| (&entry.note, entry.amount) == (&grant.note, grant.credits));
            match of_it.count() {
                0 if grant.certain => return Err(format!("{grant:?} is gone")),
                0 => {}
                1 => grant.certain = true,
                _ => return Err(format!("{grant:?} was given twice")),
            }
        }
        self.prediction.rest();
        self.observe().await?;
        if self.prediction.grants.len() != granted.len() {
            return Err(format!("{granted:?} are not {:?}", self.prediction.grants));
        }
        // Where not even the first grant was heard, there may be none.
        let last = entries.last();
        let (available, held) = last.map_or((0, 0), |last| (last.available, last.held));
        let states: Vec<_> = self.prediction.states().into_iter().collect();
        if states != [(available, held, 0)] {
            return Err(format!(
                "the ledger ends with {last:?}, not with {states:?}"
            ));
        }

        let mut expected = self.prediction.movements();
        for entry in &entries {
            let Some(task) = entry.task_id else { continue };
            let movement = format!("{} {}", entry.kind.name(), entry.amount);
            match expected.get_mut(&task) {
                Some(left) if left.first() == Some(&movement) => drop(left.remove(0)),
                left => return Err(format!("{task} has {movement} where {left:?} should be")),
            }
        }
        if let Some((task, left)) = expected.iter().find(|(_, left)| !left.is_empty()) {
            return Err(format!("{task} lacks {left:?}"));
        }
        for entry in &self.prediction.entries {
            let taken = self.world.scripts.times_taken(&entry.body.prompt);
            if taken > 1 {
                return Err(format!("{} was taken {taken} times", entry.body.prompt));
            }
        }
        self.repeat_everything().await
    }

    /// However often everything is sent again: nothing comes of it.
    async fn repeat_everything(&mut self) -> Judged {
        for (key, body) in self.keys.clone() {
            let key = Some(key);
            let mut entries = self.prediction.entries.iter();
            if entries.any(|entry| entry.is_certain() && entry.key == key) {
                self.ask_at_once(vec![Ask::Submit { body, key }]).await?;
            }
        }
        let ledger = Ledger::new(self.world.store().clone());
        let balance = ledger.balance(self.caller.account_id()).await;
        let balance = balance.map_err(|error| error.to_string())?;
        self.prediction.balance((balance.available, balance.held))
    }
}

impl Ask {
    /// Whether both are submissions of one request.
    fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Submit { body, .. }, Self::Submit { body: other, .. }) => {
                Arc::ptr_eq(body, other)
            }
            _ => false,
        }
    }

    /// Holds what was heard against a prediction.
    fn judge(&self, heard: Heard, prediction: &mut Prediction) -> Judged {
        match self {
            Self::Submit { body, key } => {
                let answer = match heard {
                    Heard::Submitted(answer) => Some(answer),
                    Heard::Granted { .. } | Heard::Nothing => None,
                };
                prediction.submit(body, key.as_deref(), answer)
            }
            Self::Grant { note, credits } => {
                let balance = match heard {
                    Heard::Granted { available, held } => Some((available, held)),
                    Heard::Submitted(_) | Heard::Nothing => None,
                };
                prediction.grant(note, *credits, balance)
            }
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submit { body, key } => {
                let Body {
                    prompt,
                    price,
                    script,
                    ..
                } = &**body;
                write!(f, "{prompt} for {price} with {key:?}, {script:?}")
            }
            Self::Grant { note, credits } => write!(f, "{note} of {credits}"),
        }
    }
}

/// The prediction after all of `said`, in the first order that explains it.
fn in_some_order(prediction: &Prediction, said: &[(Ask, Heard)]) -> Result<Prediction, String> {
    let mut failure = String::new();
    for first in 0..said.len() {
        let mut next = prediction.clone();
        let mut others = said.to_vec();
        let (ask, heard) = others.remove(first);
        let judged = ask.judge(heard, &mut next);
        match judged.and_then(|()| in_some_order(&next, &others)) {
            Ok(explained) => return Ok(explained),
            Err(reason) => failure = reason,
        }
    }
    if said.is_empty() {
        return Ok(prediction.clone());
    }
    Err(failure)
}

/// What came of a submission; nothing when the database could not be asked.
fn answer_to_submission(body: &Body, answer: Result<Task, SubmitError>) -> Result<Heard, String> {
    let answer = match answer {
        Ok(task) if task.credits.quoted == body.price => Answer::Task(task.id),
        Err(SubmitError::IdempotencyKeyReused) => Answer::KeyReused,
        Err(SubmitError::TooManyTasks { .. }) => Answer::TooMany,
        Err(SubmitError::InsufficientCredits { needed, available }) if needed == body.price => {
            Answer::Insufficient { available }
        }
        Err(SubmitError::Store(_) | SubmitError::Replay(TaskError::Store(_))) => {
            return Ok(Heard::Nothing);
        }
        answer => return Err(format!("{} got {answer:?}", body.prompt)),
    };
    Ok(Heard::Submitted(answer))
}

/// Holds a task that was read against what it may be. One that is shown as open may have ended at
/// another node a moment ago.
fn seen(entry: &mut Entry, task: &Task) -> Judged {
    let price = entry.body.price;
    let (status, charged) = (task.status, task.credits.charged);
    let held = if status.is_final() { 0 } else { price };
    let credits = Credits {
        quoted: price,
        held,
        charged,
    };
    let delivered = (status == Status::Success) != task.outputs.is_empty();
    if entry.id != Some(task.id) || task.credits != credits || !delivered {
        return Err(format!("{} is shown as {task:?}", entry.body.prompt));
    }
    if status.is_final() {
        entry.end(End { status, charged })
    } else if charged == 0 {
        Ok(())
    } else {
        Err(format!("{} is open and was charged", entry.body.prompt))
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
