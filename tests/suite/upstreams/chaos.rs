//! Whatever upstreams do, credits and jobs agree: every adapter against a fake that goes wrong in all
//! the ways it can, over seeded histories with nodes that come and go.
//!
//! A history is some tasks for pictures or for clips, two upstreams out of all, and one or two nodes that
//! are stopped or die while the tasks run. What goes wrong with a job is drawn from its prompt
//! ([`Directives::any`](crate::fakes::directive::Directives::any)), what goes wrong with a call from how
//! often it was made ([`Mishap`](crate::fakes::mishap::Mishap)); webhooks come twice. Some callers cancel.
//!
//! Nothing here waits for a time-out. A task whose upstream lets us know how it ends has to end by itself,
//! in its upstream's way, and is waited for; of the others, whose upstreams keep silent, the deadline is
//! made to pass. In hasty histories deadlines are so short that they pass by themselves, and files come
//! late.
//!
//! `PIOOY_CHAOS=10000` plays so many histories, `PIOOY_CHAOS_SEED=n` plays one again, and
//! `PIOOY_CHAOS_TOGETHER=n` so many at the same time. Those that play together share a database server;
//! those that follow each other, a database, an account and the fakes.

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{self, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use piooy::gate::Caller;
use piooy::generation::{Generation, Request, Settings, Status, Task};
use piooy::providers::{
    Comfyui, Connection, Fal, Gemini, Hook, Kie, OpenAi, Provider, Providers, Replicate,
};
use piooy::store::{Store, StoreOptions};
use uuid::Uuid;

use crate::fakes::directive::{File, Job};
use crate::fakes::engine::{Engine, KEY, Serving, Taken, clip, picture};
use crate::fakes::{self, mishap, openai};
use crate::generation::fixture::{self, CREDITS, Fixture, ended};

/// Histories that are played in every run.
const HISTORIES: u64 = 16;
/// Histories that are played at the same time.
const TOGETHER: u64 = 8;
/// Histories that follow each other in one world.
const A_WORLD: u32 = 100;
const TASKS: u64 = 10;
/// Connections of the nodes of a world.
const CONNECTIONS: usize = 4;
/// What a picture costs, and a clip.
const CREDITS_EACH: i64 = 10;
/// How long an upstream may take to answer.
const ANSWER_MAX: Duration = Duration::from_millis(150);
/// How long nothing moves before nobody expects it to.
const QUIET: Duration = Duration::from_millis(500);
/// The same where a server may be asked whether something has arrived, and says no after a while.
const QUIET_AND_PATIENT: Duration = Duration::from_millis(4_000);
const PAUSE: Duration = Duration::from_millis(120);
/// How long what has to end may take to, on a machine that has much else to do.
const BOUND_MAX: Duration = Duration::from_secs(240);

/// Each model can be had everywhere, and the order of its upstreams is that of [`NAMES`], or the
/// reverse.
const MODELS: &str = r#"
[[model]]
slug = "SLUG"
title = "Model"
vendor = "test"
description = "Whatever upstreams make."
media = "MEDIA"
tier = "standard"
status = "active"
aliases = []
aspect_ratios = ["1:1"]
max_outputs = COUNT
max_reference_images = 0
typical_seconds = [1, 2]
routes = [ROUTES]
"#;
const OF_PICTURES: &str = r#"
resolutions = ["0.1K"]
defaults = { resolution = "0.1K", aspect_ratio = "1:1" }
[model.price]
unit = "image"
millicredits = { "0.1K" = 10000 }
"#;
const OF_CLIPS: &str = r#"
resolutions = ["96p"]
durations_seconds = [5]
image_to_video = false
first_last_frame = false
audio = "none"
negative_prompt = true
defaults = { resolution = "96p", aspect_ratio = "1:1", duration_seconds = 5 }
[model.price]
unit = "second"
millicredits = { "96p" = 2000 }
"#;
/// The upstreams, and their models for pictures and for clips.
const NAMES: [(&str, &str, &str); 8] = [
    ("fal", "fal-ai/nano-banana-pro", "fal-ai/veo3.1/fast"),
    ("gemini", "gemini-3-pro-image", "gemini-omni-1.2-flash"),
    ("openai", openai::PICTURES, openai::VIDEOS),
    ("sglang", openai::PICTURES, openai::VIDEOS),
    ("reseller", openai::PICTURES, openai::VIDEOS),
    ("replicate", "bytedance/seedream-4.5", "google/veo-3.1"),
    ("kie", "nano-banana-pro", "bytedance/seedance-2-5"),
    ("comfyui", "picture", "film"),
];

fn models() -> String {
    let model = |slug: &str, media: &str, backwards: bool| {
        let routes = |(name, picture, clip): (&str, &str, &str)| {
            let model = if media == "image" { picture } else { clip };
            format!("{{ provider = \"{name}\", model = \"{model}\" }}")
        };
        let mut routes: Vec<_> = NAMES.into_iter().map(routes).collect();
        if backwards {
            routes.reverse();
        }
        let (rest, count) = match media {
            "image" => (OF_PICTURES, "3"),
            _ => (OF_CLIPS, "1"),
        };
        let head = MODELS
            .replace("SLUG", slug)
            .replace("MEDIA", media)
            .replace("COUNT", count)
            .replace("ROUTES", &routes.join(", "));
        head + rest
    };
    [
        model("still", "image", false),
        model("still-backwards", "image", true),
        model("moving", "video", false),
        model("moving-backwards", "video", true),
    ]
    .concat()
}

/// An upstream of a world.
struct Upstream {
    engine: Engine,
    provider: Arc<dyn Provider>,
    _serving: Box<dyn Any + Send + Sync>,
}

impl Upstream {
    async fn start(name: &str) -> Self {
        let way = |url: &str| {
            let connection =
                Connection::through(url.parse().expect("is a URL"), crate::support::egress());
            let connection = connection.expect("TLS can be set up");
            connection.answering_within(ANSWER_MAX)
        };
        let kind = match name {
            "openai" => openai::Kind::OpenAi,
            "sglang" => openai::Kind::Sglang,
            _ => openai::Kind::Reseller,
        };
        match name {
            "fal" => {
                let fake = fakes::fal::Fal::start().await;
                let url = fake.serving.url();
                let keys = format!("{url}/.well-known/jwks.json").parse();
                let fal = Fal::new(name, way(&url), KEY, keys.expect("is a URL"));
                Self::of(&fake.engine.clone(), fal.expect("is a key"), fake)
            }
            "gemini" => {
                let fake = fakes::gemini::Gemini::start().await;
                let gemini = Gemini::new(name, way(&fake.url()), KEY);
                Self::of(&fake.engine.clone(), gemini.expect("is a key"), fake)
            }
            "replicate" => {
                let fake = fakes::replicate::Replicate::start().await;
                let replicate = Replicate::new(name, way(&fake.url()), KEY);
                Self::of(&fake.engine.clone(), replicate.expect("is a key"), fake)
            }
            "kie" => {
                let fake = fakes::kie::Kie::start().await;
                let way = way(&fake.serving.url());
                let key = Some(fakes::kie::WEBHOOK_KEY);
                let kie = Kie::new(name, way.clone(), way, KEY, key);
                Self::of(&fake.engine.clone(), kie.expect("is a key"), fake)
            }
            "comfyui" => {
                let fake = fakes::comfyui::Comfyui::start().await;
                let root = Path::new(env!("CARGO_MANIFEST_DIR"));
                let workflows = root.join("tests/suite/fakes/comfyui");
                let way = way(&fake.serving.url());
                let comfyui = Comfyui::new(name, way, Some(KEY), &workflows);
                Self::of(&fake.engine.clone(), comfyui.expect("is sound"), fake)
            }
            _ => {
                let fake = openai::OpenAi::start(kind).await;
                let key = (kind != openai::Kind::Sglang).then_some(KEY);
                let openai = OpenAi::new(name, way(&fake.url()), key);
                Self::of(&fake.engine.clone(), openai.expect("is a key"), fake)
            }
        }
    }

    fn of(
        engine: &Engine,
        provider: impl Provider + 'static,
        fake: impl Any + Send + Sync,
    ) -> Self {
        Self {
            engine: engine.clone(),
            provider: Arc::new(provider),
            _serving: Box::new(fake),
        }
    }

    fn is_comfyui(&self) -> bool {
        self.provider.name() == "comfyui"
    }

    /// Whether the work is done before the answer.
    fn is_at_once(&self, clips: bool) -> bool {
        !clips && ["gemini", "openai", "sglang", "reseller"].contains(&self.provider.name())
    }

    /// The jobs that were taken for a prompt and are to be paid. Those are not of which the answer to
    /// the submission has said that nothing comes of them, nor those that the upstream has lost where
    /// it is known to have taken them only as long as it remembers them.
    fn paid(&self, clips: bool, prompt: &str) -> Vec<Taken> {
        let mut jobs = self.engine.jobs_of(prompt);
        let is_gemini = self.provider.name() == "gemini";
        jobs.retain(|job| match job.directives.job {
            Job::Policy => !self.is_at_once(clips),
            Job::Failed | Job::Empty => !(is_gemini && self.is_at_once(clips)),
            Job::Forgotten => !self.is_comfyui(),
            Job::Done | Job::Never | Job::Odd => true,
        });
        jobs
    }

    /// How a job has to end that we know of: whether it is to be delivered, if that can be told.
    fn verdict(&self, clips: bool, job: &Taken) -> Option<Option<bool>> {
        let is_known = job.polls > 0 || self.is_comfyui();
        if self.is_at_once(clips) || !is_known || job.canceled || job.deleted {
            return None;
        }
        match job.directives.job {
            Job::Done | Job::Odd => Some(match job.directives.file {
                File::Well | File::Expired | File::Cut | File::Held => Some(true),
                File::Gone | File::Noise => Some(false),
            }),
            Job::Failed => Some(Some(false)),
            // Not every upstream refuses anything.
            Job::Policy => Some(None),
            // Some are asked again and again for what they say is there.
            Job::Empty | Job::Never | Job::Forgotten => None,
        }
    }
}

/// Where upstreams call. It passes on what it hears to all nodes.
struct Ear {
    nodes: Nodes,
    serving: Serving,
}

type Nodes = Arc<Mutex<Vec<Weak<Generation>>>>;

impl Ear {
    async fn start() -> Self {
        let nodes = Nodes::default();
        let router = Router::new()
            .route("/hooks/{provider}/{task}", post(hear))
            .with_state(Arc::clone(&nodes));
        let serving = Serving::start(|_| router).await;
        Self { nodes, serving }
    }

    fn listen_for(&self, nodes: &[Arc<Generation>]) {
        *self.nodes.lock().expect("nobody panics here") =
            nodes.iter().map(Arc::downgrade).collect();
    }
}

async fn hear(
    State(nodes): State<Nodes>,
    extract::Path((provider, task)): extract::Path<(String, Uuid)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let nodes = nodes.lock().expect("nobody panics here").clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    for node in nodes.iter().filter_map(Weak::upgrade) {
        let hook = Hook {
            header: &header,
            body: &body,
            now: SystemTime::now(),
        };
        // Keys to check it with may be out of reach.
        let _ = node.hear(&provider, task, &hook).await;
    }
    StatusCode::OK
}

/// What histories share that follow each other.
struct World {
    fixture: Fixture,
    /// For all nodes together: many worlds are at one server.
    store: Store,
    caller: Caller,
    upstreams: Vec<Upstream>,
    ear: Ear,
}

impl World {
    async fn start() -> Self {
        let fixture = Fixture::new().await.with_models(&models());
        let mut upstreams = Vec::new();
        for (name, ..) in NAMES {
            upstreams.push(Upstream::start(name).await);
        }
        let connections = StoreOptions {
            connections_max: CONNECTIONS,
        };
        let store = Store::connect(fixture.database.url(), connections).await;
        Self {
            caller: fixture.live().await,
            store: store.expect("the database is there"),
            fixture,
            upstreams,
            ear: Ear::start().await,
        }
    }
}

/// How tasks ended, and how often what.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        for (what, many) in other.0 {
            *self.0.entry(what).or_default() += many;
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_pays_twice_whatever_upstreams_do() {
    let seeds = match number("PIOOY_CHAOS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PIOOY_CHAOS").unwrap_or(HISTORIES),
    };
    let many = seeds.end - seeds.start;
    let together = number("PIOOY_CHAOS_TOGETHER").unwrap_or(TOGETHER).min(many);
    let (next, tally) = (&AtomicU64::new(seeds.start), &Mutex::new(Tally::default()));
    let begun = Instant::now();
    let play_on = |_| async move {
        loop {
            let world = Arc::new(World::start().await);
            for _ in 0..A_WORLD {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let world = Arc::clone(&world);
                let played = tokio::spawn(async move { History::new(&world, seed).play().await });
                let Ok(played) = played.await else {
                    panic!("PIOOY_CHAOS_SEED={seed} shows it");
                };
                tally.lock().expect("nobody panics here").add(played);
            }
        }
    };
    stream::iter(0..together)
        .for_each_concurrent(None, play_on)
        .await;
    let rate = many as f64 / begun.elapsed().as_secs_f64();
    let tally = &tally.lock().expect("nobody panics here").0;
    println!("{many} histories, {rate:.1} a second: {tally:?}");
}

struct History<'a> {
    world: &'a World,
    seed: u64,
    random: fastrand::Rng,
    clips: bool,
    hasty: bool,
    upstreams: [&'a Upstream; 2],
    nodes: Vec<Arc<Generation>>,
    tasks: Vec<Asked>,
    tally: Tally,
}

/// A task that was accepted.
struct Asked {
    id: Uuid,
    prompt: String,
    /// How many pictures were asked for.
    count: u32,
    canceled: bool,
    /// Whether it has to be delivered, once that can be told.
    delivers: Option<bool>,
}

impl<'a> History<'a> {
    fn new(world: &'a World, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let many = world.upstreams.len();
        let first = random.usize(..many);
        let second = (first + random.usize(1..many)) % many;
        let upstreams = [first, second].map(|index| &world.upstreams[index]);
        for upstream in upstreams {
            upstream.engine.go_mad(random.u64(..));
        }
        Self {
            world,
            seed,
            clips: random.u8(..3) == 0,
            hasty: random.u8(..4) == 0,
            upstreams,
            random,
            nodes: Vec::new(),
            tasks: Vec::new(),
            tally: Tally::default(),
        }
    }

    async fn play(mut self) -> Tally {
        let fixture = &self.world.fixture;
        fixture.grant(fixture.account.id, CREDITS).await;
        let before = fixture.balance().await.available;
        for _ in 0..self.random.u8(1..=2) {
            self.nodes.push(self.node().await);
        }
        for number in 0..TASKS {
            self.ask(number).await;
            if self.random.u8(..4) == 0 {
                self.cancel().await;
            }
            if self.random.u8(..6) == 0 {
                self.restart().await;
            }
        }
        if !self.hasty {
            self.settle().await;
        }
        let ends = self.ends().await;
        let charged = self.judge(&ends).await;
        let balance = fixture.balance().await;
        assert_eq!((balance.available, balance.held), (before - charged, 0));
        fixture.assert_sound().await;
        self.tally
    }

    fn settings(&self) -> Settings {
        let lifetime = match self.hasty {
            true => Duration::from_millis(600),
            false => Duration::from_secs(60 * 60),
        };
        Settings {
            hooks_url: Some(self.world.ear.serving.url()),
            lifetime_min: lifetime,
            lifetime_max: lifetime,
            lease: Duration::from_millis(400),
            poll_wait_min: Duration::from_millis(10),
            poll_wait_max: Duration::from_millis(160),
            ..fixture::settings()
        }
    }

    async fn node(&self) -> Arc<Generation> {
        let with = |providers: Providers, upstream: &&Upstream| {
            providers.with(Arc::clone(&upstream.provider))
        };
        let providers = self.upstreams.iter().fold(fixture::sandbox(), with);
        let (fixture, store) = (&self.world.fixture, self.world.store.clone());
        Arc::new(fixture.node_of(store, providers, self.settings()).await)
    }

    async fn ask(&mut self, number: u64) {
        self.world.ear.listen_for(&self.nodes);
        let prompt = format!("history {}, task {number}", self.seed);
        let model = match (self.clips, self.random.bool()) {
            (false, false) => "still",
            (false, true) => "still-backwards",
            (true, false) => "moving",
            (true, true) => "moving-backwards",
        };
        let count = if self.clips {
            1
        } else {
            self.random.u32(1..=3)
        };
        let request = Request {
            model: model.to_owned(),
            prompt: prompt.clone(),
            count: Some(count),
            ..Request::default()
        };
        let node = self.random.usize(..self.nodes.len());
        let task = self.nodes[node]
            .submit(&self.world.caller, request, None)
            .await;
        self.tasks.push(Asked {
            id: task.expect("is accepted").id,
            prompt,
            count,
            canceled: false,
            delivers: None,
        });
    }

    async fn cancel(&mut self) {
        let index = self.random.usize(..self.tasks.len());
        let task = &mut self.tasks[index];
        task.canceled = true;
        let canceled = self.nodes[0].cancel(&self.world.caller, task.id).await;
        canceled.expect("is known");
    }

    /// Replaces a node by another, in order or by a crash.
    async fn restart(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(..60))).await;
        let index = self.random.usize(..self.nodes.len());
        if self.random.bool() {
            self.nodes[index].stop().await;
        }
        self.tally.count("restarts");
        // The old one is dropped before the new one comes.
        self.nodes.remove(index);
        self.nodes.push(self.node().await);
        self.world.ear.listen_for(&self.nodes);
    }

    /// The task as a node has it.
    async fn task(&self, node: &Generation, task: &Asked) -> Task {
        let found = node.get(&self.world.caller, task.id).await;
        found.expect("is known")
    }

    /// Waits for what has to end by itself, and until nothing else moves; then the time of the others
    /// is up.
    async fn settle(&mut self) {
        let is_patient = self.random.u8(..8) == 0;
        let quiet = match self.upstreams.iter().any(|upstream| upstream.is_comfyui()) {
            true if is_patient => QUIET_AND_PATIENT,
            _ => QUIET,
        };
        let (begun, mut moved, mut seen) = (Instant::now(), Instant::now(), (0, 0));
        loop {
            let mut open = Vec::new();
            for task in &self.tasks {
                if !self.task(&self.nodes[0], task).await.status.is_final() {
                    open.push(task);
                }
            }
            let bound = open.iter().find(|task| self.verdict(task).is_some());
            let taken = self.tasks.iter().map(|task| self.paid(task).len()).sum();
            let awaits = |upstream: &&Upstream| upstream.engine.awaits_calls();
            if seen != (open.len(), taken) || self.upstreams.iter().any(awaits) {
                (moved, seen) = (Instant::now(), (open.len(), taken));
            }
            match bound {
                None if open.is_empty() || moved.elapsed() > quiet => break,
                None => {}
                Some(task) => assert!(
                    begun.elapsed() < BOUND_MAX,
                    "{} should have ended: {:?}",
                    task.prompt,
                    self.paid(task)
                ),
            }
            tokio::time::sleep(PAUSE).await;
        }
        // Of those that are still open, later questions are about what comes too late.
        for index in 0..self.tasks.len() {
            let task = &self.tasks[index];
            if !task.canceled && self.task(&self.nodes[0], task).await.status.is_final() {
                self.tasks[index].delivers = self.verdict(task).flatten();
            }
        }
        for node in self.nodes.drain(..) {
            node.stop().await;
        }
        let client = self.world.fixture.database.store().client().await.unwrap();
        let statement = "UPDATE tasks SET deadline_at = now() WHERE finished_at IS NULL";
        client.execute(statement, &[]).await.unwrap();
        self.nodes.push(self.node().await);
    }

    /// How all tasks ended. What ended stays so, whatever comes late.
    async fn ends(&mut self) -> Vec<Task> {
        let mut ends = Vec::new();
        for task in &self.tasks {
            ends.push(ended(&self.nodes[0], &self.world.caller, task.id).await);
        }
        if self.hasty {
            tokio::time::sleep(QUIET).await;
            for node in self.nodes.drain(..) {
                node.stop().await;
            }
            self.nodes.push(self.node().await);
        }
        for (task, end) in self.tasks.iter().zip(&ends) {
            let now = self.task(&self.nodes[0], task).await;
            if !now.late_outputs.is_empty() {
                self.tally.count("late");
                assert_eq!(now.status, Status::Failed, "{now:?}");
            }
            let end_of = |task: &Task| {
                let (status, outputs) = (task.status, task.outputs.clone());
                (status, outputs, task.failure.clone(), task.credits)
            };
            assert_eq!(end_of(&now), end_of(end), "an end is an end: {now:?}");
        }
        ends
    }

    /// Every upstream's jobs for a task that are to be paid.
    fn paid(&self, task: &Asked) -> Vec<Taken> {
        let paid = |upstream: &&Upstream| upstream.paid(self.clips, &task.prompt);
        self.upstreams.iter().flat_map(paid).collect()
    }

    fn verdict(&self, task: &Asked) -> Option<Option<bool>> {
        let verdict = |upstream: &&Upstream| {
            let paid = upstream.paid(self.clips, &task.prompt);
            paid.iter()
                .find_map(|job| upstream.verdict(self.clips, job))
        };
        self.upstreams.iter().find_map(verdict)
    }

    /// Compares ends with what upstreams know; what was charged.
    async fn judge(&mut self, ends: &[Task]) -> i64 {
        let mut charged = 0;
        for (asked, end) in self.tasks.iter().zip(ends) {
            let paid = self.paid(asked);
            assert!(
                paid.len() <= 1,
                "{} was taken {} times: {end:?}",
                asked.prompt,
                paid.len()
            );
            let is_delivered = end.status == Status::Success;
            assert_eq!(end.outputs.is_empty(), !is_delivered, "{end:?}");
            assert!(end.outputs.len() <= asked.count as usize, "{end:?}");
            assert_eq!(
                end.credits.charged,
                CREDITS_EACH * end.outputs.len() as i64,
                "{end:?}"
            );
            if is_delivered {
                assert_eq!(paid.len(), 1, "{end:?}");
                self.look_at_files(end).await;
            }
            if end.status == Status::Canceled {
                let goes_on = paid.iter().find(|job| !job.canceled && !job.deleted);
                assert!(goes_on.is_none(), "{end:?} {goes_on:?}");
            }
            if let Some(delivers) = asked.delivers {
                assert_eq!(is_delivered, delivers, "{end:?} {paid:?}");
                self.tally.count("as told");
            }
            self.written_down(end, &paid).await;
            charged += end.credits.charged;
        }
        for end in ends {
            self.tally.count(end.status.as_str());
        }
        self.tally
            .count(if self.clips { "clips" } else { "pictures" });
        charged
    }

    async fn look_at_files(&self, task: &Task) {
        let made = if self.clips { clip() } else { picture() };
        for output in &task.outputs {
            let file = self.world.fixture.assets.read_all(&output.path).await;
            assert_eq!(file.expect("is there"), made, "{task:?}");
        }
    }

    /// Whoever asks for a job has its id in the row first, unless the id is what is asked for.
    async fn written_down(&self, end: &Task, paid: &[Taken]) {
        let can_look_up = self.upstreams.iter().any(|upstream| upstream.is_comfyui());
        let job = paid.iter().find(|job| job.polls > 0 && !can_look_up);
        let Some(job) = job else {
            return;
        };
        let client = self.world.fixture.database.store().client().await.unwrap();
        let statement = "SELECT upstream_id, to_jsonb(tasks)::text FROM tasks WHERE id = $1";
        let row = client.query_one(statement, &[&end.id]).await.unwrap();
        let (written, row): (Option<&str>, &str) = (row.get(0), row.get(1));
        assert!(
            written.is_some_and(|id| id.ends_with(&job.id)),
            "{job:?} is not written down: {row} (hasty: {})",
            self.hasty
        );
    }
}

/// Nobody waits for what comes late.
const _: () = assert!(mishap::LATE.as_millis() > ANSWER_MAX.as_millis());
