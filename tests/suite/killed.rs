//! The program, killed where it hurts: between a submission and the id that it is known by, and between
//! a result and its capture, in every kind of language. The next one does what is right by what is
//! written down: nothing is paid twice, credits stay held until there is a verdict, the books are right.

use std::path::Path;

use piooy::ledger::Balance;
use serde_json::Value;

use crate::fakes;
use crate::fakes::engine::{Engine, KEY, picture};
use crate::fakes::openai::Kind;
use crate::generation::fixture::{CREDITS, PICTURE, until};
use crate::program::{Home, Program};

/// The answer to the submission never comes.
const NO_ANSWER: &str = "[fake:submit=hang] a fox";
/// The file stands still in the middle, the first time.
const NO_FILE: &str = "[fake:file=held] a fox";

/// Has a picture made and kills the program in the middle of it, which leaves a task.
async fn killed(home: &Home, program: Program<'_>, engine: &Engine, prompt: &str) -> String {
    let task = program.submit(prompt).await;
    until("it is where it hurts", async || {
        let job = engine.job_of(prompt);
        job.is_some_and(|job| prompt == NO_ANSWER || job.fetches > 0)
    })
    .await;
    program.kill();
    let held = home.fixture.balance().await;
    assert_eq!(held, balance(CREDITS - PICTURE, PICTURE));
    task
}

fn balance(available: i64, held: i64) -> Balance {
    Balance { available, held }
}

/// The node that has a task.
async fn node(home: &Home, task: &str) -> String {
    let client = home.fixture.database.store().client().await.unwrap();
    let statement = "SELECT node_id::text FROM tasks WHERE id::text = $1";
    let row = client.query_one(statement, &[&task]).await.unwrap();
    row.get(0)
}

/// Lets a task's time pass.
async fn pass_time(home: &Home, task: &str) {
    let client = home.fixture.database.store().client().await.unwrap();
    let statement = "UPDATE tasks SET deadline_at = now() WHERE id::text = $1";
    client.execute(statement, &[&task]).await.unwrap();
}

async fn assert_delivered(home: &Home, program: &Program<'_>, task: &Value) {
    assert_eq!(task["status"], "SUCCESS", "{task}");
    assert_eq!(task["credits"]["charged"], PICTURE, "{task}");
    assert_eq!(program.file(&task["outputs"][0]).await, picture());
    let left = home.fixture.balance().await;
    assert_eq!(left, balance(CREDITS - PICTURE, 0));
    home.verify();
}

/// The upstream knows the job by an id that was not written down in time, and cannot be asked: nobody
/// submits again, and the credits come back when the time is up.
async fn assert_given_back_in_time(home: &Home, engine: &Engine, prompt: &str) {
    let task = killed(home, home.start().await, engine, prompt).await;
    let dead = node(home, &task).await;
    let next = home.start().await;
    until("it is taken over", async || node(home, &task).await != dead).await;
    let still_held = home.fixture.balance().await;
    assert_eq!(still_held, balance(CREDITS - PICTURE, PICTURE));
    next.kill();
    pass_time(home, &task).await;
    let last = home.start().await;
    let ended = last.ended(&task).await;
    assert_eq!(ended["error"]["reason"], "DEADLINE_EXCEEDED", "{ended}");
    assert_eq!(home.fixture.balance().await, balance(CREDITS, 0));
    assert_eq!(engine.accepted(prompt), 1, "nothing is submitted again");
    home.verify();
}

/// The upstream is asked on, by the id that was written down or by one that is known anyway.
async fn assert_found(home: &Home, engine: &Engine, prompt: &str) {
    let task = killed(home, home.start().await, engine, prompt).await;
    let next = home.start().await;
    assert_delivered(home, &next, &next.ended(&task).await).await;
    assert_eq!(engine.accepted(prompt), 1, "nothing is submitted again");
}

async fn fal() -> (fakes::fal::Fal, Home) {
    let fake = fakes::fal::Fal::start().await;
    let url = fake.serving.url();
    let settings = [("FAL_KEY", KEY), ("PIOOY_FAL_URL", &url)];
    let home = Home::new("fal", "fal-ai/fox", &settings).await;
    (fake, home)
}

async fn replicate() -> (fakes::replicate::Replicate, Home) {
    let fake = fakes::replicate::Replicate::start().await;
    let url = fake.url();
    let settings = [("REPLICATE_API_TOKEN", KEY), ("PIOOY_REPLICATE_URL", &url)];
    let home = Home::new("replicate", "somebody/fox", &settings).await;
    (fake, home)
}

async fn openai(kind: Kind) -> (fakes::openai::OpenAi, Home) {
    let fake = fakes::openai::OpenAi::start(kind).await;
    let url = fake.url();
    let settings = [
        ("OPENAI_API_KEY", KEY),
        ("PIOOY_OPENAI_URL", &url),
        // Its files are on another host of this machine.
        ("PIOOY_EGRESS_PRIVATE", "yes"),
    ];
    let home = Home::new("openai", fakes::openai::PICTURES, &settings).await;
    (fake, home)
}

async fn comfyui() -> (fakes::comfyui::Comfyui, Home) {
    let fake = fakes::comfyui::Comfyui::start().await;
    let workflows = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/fakes/comfyui");
    let workflows = workflows.to_str().expect("is text");
    let url = fake.serving.url();
    let settings = [
        ("PIOOY_COMFYUI_URL", url.as_str()),
        ("PIOOY_COMFYUI_WORKFLOWS", workflows),
    ];
    let home = Home::new("comfyui", "picture", &settings).await;
    let key = format!("[upstreams.comfyui]\nkey = \"{KEY}\"\n");
    std::fs::write(home.directory().join("piooy.toml"), key).expect("can be written");
    (fake, home)
}

#[tokio::test]
async fn before_the_id_of_a_queued_job_was_written_down() {
    let (fake, home) = fal().await;
    assert_given_back_in_time(&home, &fake.engine, NO_ANSWER).await;
    let (fake, home) = replicate().await;
    assert_given_back_in_time(&home, &fake.engine, NO_ANSWER).await;
}

#[tokio::test]
async fn before_the_answer_that_holds_the_picture() {
    let (fake, home) = openai(Kind::OpenAi).await;
    assert_given_back_in_time(&home, &fake.engine, NO_ANSWER).await;
}

#[tokio::test]
async fn while_the_file_of_a_queued_job_comes() {
    let (fake, home) = fal().await;
    assert_found(&home, &fake.engine, NO_FILE).await;
    let (fake, home) = replicate().await;
    assert_found(&home, &fake.engine, NO_FILE).await;
}

/// The answer that had the link died with the program.
#[tokio::test]
async fn while_a_file_comes_that_only_the_answer_knew_of() {
    let (fake, home) = openai(Kind::Reseller).await;
    assert_given_back_in_time(&home, &fake.engine, NO_FILE).await;
}

#[tokio::test]
async fn where_a_job_can_be_looked_up() {
    for prompt in [NO_ANSWER, NO_FILE] {
        let (fake, home) = comfyui().await;
        assert_found(&home, &fake.engine, prompt).await;
    }
}

/// The next program takes the task over when it is due, and the upstream, which cannot stop, delivers all
/// the same.
#[tokio::test]
async fn what_comes_too_late_is_kept_by_the_next() {
    const SLOW: &str = "[fake:delay=4000ms] a fox";
    let fake = fakes::kie::Kie::start().await;
    let url = fake.serving.url();
    let settings = [("KIE_API_KEY", KEY), ("PIOOY_KIE_URL", &url)];
    let home = Home::new("kie", "fox", &settings).await;
    let program = home.start().await;
    let task = program.submit(SLOW).await;
    until("it is asked for", async || {
        fake.engine.job_of(SLOW).is_some_and(|job| job.polls > 0)
    })
    .await;
    program.kill();
    pass_time(&home, &task).await;
    // Nobody waits for its lease to end: the task would be ended before anybody has it.
    let client = home.fixture.database.store().client().await.unwrap();
    let statement = "UPDATE nodes SET lapsed = true";
    client.execute(statement, &[]).await.unwrap();
    let next = home.start().await;
    let ended = next.ended(&task).await;
    assert_eq!(ended["error"]["reason"], "DEADLINE_EXCEEDED", "{ended}");
    assert_eq!(home.fixture.balance().await, balance(CREDITS, 0));
    let mut late = Value::Null;
    until("it has come", async || {
        late = next.task(&task).await["lateOutputs"].take();
        late = late.get(0).cloned().unwrap_or_default();
        !late.is_null()
    })
    .await;
    assert_eq!(next.file(&late).await, picture());
    assert_eq!(home.fixture.balance().await, balance(CREDITS, 0));
    assert_eq!(fake.engine.accepted(SLOW), 1);
    home.verify();
}
