//! ComfyUI: the promises on the fake, and the same adapter on a real server where there is one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use piooy::providers::{
    Cancel, Cause, Comfyui, FailureReason, Inputs, Job, Lookup, Operation, Poll, Probe, Provider,
    Rendered, Submitted,
};
use serde_json::json;

use super::conformance::{Abilities, Specimen, conformance, connection, nowhere, read};
use crate::fakes;
use crate::fakes::engine::{Engine, KEY, picture};

/// Waits that a test is ready to take.
const WAITS_MAX: u32 = 2_000;
const PAUSE: Duration = Duration::from_millis(10);

/// A directory of workflows, from that of the tests.
fn workflows(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/suite")
        .join(path)
}

fn comfyui(url: &str, key: &str) -> Arc<dyn Provider> {
    let workflows = workflows("fakes/comfyui");
    Arc::new(Comfyui::new("comfyui", connection(url), Some(key), &workflows).expect("is sound"))
}

async fn specimen_of(fake: &fakes::comfyui::Comfyui) -> Specimen {
    let url = fake.serving.url();
    Specimen {
        provider: comfyui(&url, KEY),
        wrong_key: Some(comfyui(&url, "another")),
        absent: comfyui(&nowhere().await, KEY),
        engine: fake.engine.clone(),
        abilities: Abilities {
            pictures: Some("picture"),
            videos: Some("film"),
            stops: true,
            models_known: true,
            ..Abilities::default()
        },
        _serving: Box::new(()),
    }
}

async fn specimen() -> Specimen {
    let fake = fakes::comfyui::Comfyui::start().await;
    let mut specimen = specimen_of(&fake).await;
    specimen._serving = Box::new(fake);
    specimen
}

conformance!(specimen);

fn edit(specimen: &Specimen, prompt: &str) -> Job {
    let mut job = specimen.picture(prompt);
    job.upstream_model = "edit".to_owned();
    job.operation = Operation::Edit;
    job.references = vec![picture()];
    job
}

async fn taken(provider: &dyn Provider, job: &Job) -> String {
    match provider.submit(job).await {
        Ok(Submitted::Taken(id)) => id,
        other => panic!("{}: {other:?}", job.prompt),
    }
}

/// Polls a job to its end.
async fn end(provider: &dyn Provider, job: &Job, id: &str) -> Poll {
    for _ in 0..WAITS_MAX {
        match provider.poll(job, id).await.expect("can be asked") {
            Poll::Running { .. } => tokio::time::sleep(PAUSE).await,
            ended => return ended,
        }
    }
    panic!("{}: it never ends", job.prompt);
}

async fn files(provider: &dyn Provider, job: &Job) -> Vec<Rendered> {
    let id = taken(provider, job).await;
    match end(provider, job, &id).await {
        Poll::Done(files) => files,
        other => panic!("{}: {other:?}", job.prompt),
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..WAITS_MAX {
        if is_so().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn it_sends_what_is_asked_to_the_places_of_its_workflow() {
    let fake = fakes::comfyui::Comfyui::start().await;
    let specimen = specimen_of(&fake).await;
    let mut job = edit(&specimen, "what is sent");
    let route = json!({"3.inputs.steps": 4, "3.inputs.cfg": "{width}"});
    let route = Inputs::parse(route.as_object().expect("is a table")).expect("is sound");
    job.inputs = Some(Arc::new(route));
    job.fixed
        .insert("3.inputs.cfg".to_owned(), "1.5".to_owned());
    specimen.provider.check(&job).expect("can be asked");
    let files = files(&*specimen.provider, &job).await;
    assert_eq!(read(&files[0]).await.expect("is there"), picture());
    let body = fake.engine.job_of("what is sent").expect("was taken").body;
    let graph = &body["prompt"];
    assert_eq!(graph["6"]["inputs"]["text"], "what is sent");
    assert_eq!(graph["7"]["inputs"]["text"], "text, watermark");
    let sampler = &graph["3"]["inputs"];
    assert_eq!(
        (&sampler["seed"], &sampler["steps"], &sampler["cfg"]),
        (&json!(7), &json!(4), &json!("1.5"))
    );
    assert_eq!(body["partial_execution_targets"], json!(["9"]));
    let name = graph["11"]["inputs"]["image"].as_str().expect("is a name");
    assert!(
        name.starts_with("piooy/") && name.ends_with(".png"),
        "{name}"
    );
    assert_eq!(fake.upload(name).expect("was uploaded"), picture());
}

#[tokio::test]
async fn all_files_of_the_named_nodes_are_the_result() {
    let specimen = specimen().await;
    let mut job = specimen.picture("three at once");
    job.count = 3;
    assert_eq!(files(&*specimen.provider, &job).await.len(), 3);
}

#[tokio::test]
async fn whoever_asks_for_no_seed_gets_another_one_each_time() {
    let specimen = specimen().await;
    let mut seeds = Vec::new();
    for prompt in ["by chance", "by chance again"] {
        let mut job = specimen.picture(prompt);
        job.seed = None;
        taken(&*specimen.provider, &job).await;
        let body = specimen.engine.job_of(prompt).expect("was taken").body;
        seeds.push(body["prompt"]["3"]["inputs"]["seed"].clone());
    }
    assert!(
        seeds.iter().all(|seed| seed.is_u64()) && seeds[0] != seeds[1],
        "{seeds:?}"
    );
}

#[tokio::test]
async fn whether_a_lost_submission_arrived_can_be_asked() {
    let specimen = specimen().await;
    let provider = &*specimen.provider;
    for directive in ["hang", "cut", "garbled"] {
        let job = specimen.job(&format!("[fake:submit={directive}] lost"));
        provider.submit(&job).await.expect_err("its answer is lost");
        let Lookup::Found(id) = provider.lookup(&job).await else {
            panic!("{directive}: it arrived");
        };
        let ended = end(provider, &job, &id).await;
        assert!(matches!(ended, Poll::Done(_)), "{directive}: {ended:?}");
        let found = provider.lookup(&job).await;
        assert_eq!(found, Lookup::Found(id), "it is in the history");
    }
}

#[tokio::test]
async fn only_what_is_certainly_not_there_was_not_submitted() {
    let specimen = specimen().await;
    let provider = &*specimen.provider;
    let broken = specimen.job("[fake:submit=broken] lost");
    provider.submit(&broken).await.expect_err("it breaks");
    let first = specimen.job("the first attempt arrives");
    taken(provider, &first).await;
    let second = Job {
        attempt: 2,
        ..first
    };
    let late = specimen.job("on its way");
    let arrives = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        taken(provider, &late).await
    };
    let (broken_found, second_found, late_found, id) = tokio::join!(
        provider.lookup(&broken),
        provider.lookup(&second),
        provider.lookup(&late),
        arrives
    );
    assert_eq!(broken_found, Lookup::NotSubmitted);
    assert_eq!(second_found, Lookup::NotSubmitted);
    assert_eq!(late_found, Lookup::Found(id));
    assert_eq!(specimen.absent.lookup(&late).await, Lookup::CannotTell);
    let wrong_key = specimen.wrong_key.as_ref().expect("there are keys");
    assert_eq!(wrong_key.lookup(&late).await, Lookup::CannotTell);
}

#[tokio::test]
async fn a_server_that_makes_its_own_ids_is_not_believed_when_it_knows_none() {
    let fake = fakes::comfyui::Comfyui::start_as("0.3.44", true).await;
    let specimen = specimen_of(&fake).await;
    let job = specimen.job("an old server");
    assert_eq!(files(&*specimen.provider, &job).await.len(), 1);
    assert_eq!(specimen.provider.lookup(&job).await, Lookup::CannotTell);
}

#[tokio::test]
async fn what_runs_is_interrupted_and_what_waits_is_taken_out() {
    let specimen = specimen().await;
    let provider = &*specimen.provider;
    let job = specimen.job("[fake:job=never] for ever");
    let id = taken(provider, &job).await;
    assert_eq!(provider.cancel(&job, &id).await, Ok(Cancel::GoesOn));
    assert!(matches!(end(provider, &job, &id).await, Poll::Canceled));
    let job = specimen.job("[fake:delay=60000ms] in the queue");
    let id = taken(provider, &job).await;
    assert_eq!(provider.cancel(&job, &id).await, Ok(Cancel::Stopped));
    let ended = end(provider, &job, &id).await;
    assert!(
        matches!(ended, Poll::Failed(_)),
        "nothing is left of it: {ended:?}"
    );
}

#[tokio::test]
async fn the_progress_is_heard_again_after_the_line_broke() {
    let fake = fakes::comfyui::Comfyui::start().await;
    let specimen = specimen_of(&fake).await;
    let provider = &*specimen.provider;
    taken(provider, &specimen.job("begins to listen")).await;
    for turn in ["first", "second"] {
        until("somebody listens", async || fake.listeners() == 1).await;
        let job = specimen.job(&format!("[fake:job=never] {turn}"));
        let id = taken(provider, &job).await;
        // Of the seven nodes that the result needs, four are done and one is half done.
        let is_told = async || {
            let poll = provider.poll(&job, &id).await;
            matches!(poll, Ok(Poll::Running { progress: Some(63) }))
        };
        until("the progress is heard", is_told).await;
        fake.hang_up();
    }
}

#[tokio::test]
async fn without_a_line_everything_works() {
    let fake = fakes::comfyui::Comfyui::start_as(fakes::comfyui::VERSION, false).await;
    let specimen = specimen_of(&fake).await;
    let job = specimen.job("[fake:delay=200ms] in silence");
    assert_eq!(files(&*specimen.provider, &job).await.len(), 1);
}

#[tokio::test]
async fn a_wrong_value_is_the_callers_and_a_misfit_the_operators() {
    let specimen = specimen().await;
    let provider = &*specimen.provider;
    let mut job = specimen.picture("far too wide");
    job.width = 20_000;
    let refused = provider.submit(&job).await.expect_err("it is too wide");
    assert_eq!((refused.definite, refused.cause), (true, Cause::Input));
    assert_eq!(
        refused.failure.message,
        "width: Value 20000 bigger than max of 16384"
    );
    for model in ["misfit", "strange", "missing"] {
        let mut job = specimen.picture("a lighthouse");
        job.upstream_model = model.to_owned();
        let refused = provider.submit(&job).await.expect_err(model);
        assert_eq!(
            (refused.definite, refused.cause),
            (true, Cause::Retired),
            "{model}"
        );
        assert_eq!(provider.probe(model).await, Probe::ModelGone, "{model}");
    }
    assert_eq!(provider.probe("picture").await, Probe::Ready);
    assert_eq!(specimen.engine.accepted("a lighthouse"), 0);
}

#[tokio::test]
async fn what_cannot_be_asked_is_known_before_anything_is_sent() {
    let specimen = specimen().await;
    let provider = &*specimen.provider;
    let mut job = specimen.picture("with a picture");
    job.operation = Operation::Edit;
    let refused = provider.check(&job).expect_err("has no place for it");
    assert_eq!(refused.reason, FailureReason::InvalidInput);
    let mut job = edit(&specimen, "with two pictures");
    job.references.push(fakes::engine::clip());
    let refused = provider.check(&job).expect_err("has one place");
    assert_eq!(refused.reason, FailureReason::InvalidInput);
    let mut job = specimen.picture("misspelt");
    job.fixed
        .insert("3.inputs.stepps".to_owned(), "4".to_owned());
    let refused = provider.check(&job).expect_err("there is no such place");
    assert_eq!(refused.reason, FailureReason::ProviderError);
}

#[tokio::test]
async fn a_job_that_broke_tells_nothing_of_the_inside() {
    let specimen = specimen().await;
    let job = specimen.job("[fake:job=failed] in vain");
    let id = taken(&*specimen.provider, &job).await;
    let Poll::Failed(failure) = end(&*specimen.provider, &job, &id).await else {
        panic!("it fails");
    };
    assert_eq!(failure.message, "the upstream broke over the job");
}

/// A real server, whose address is in the environment. Its workflows need no weights of models.
fn real() -> Specimen {
    let url = std::env::var("PIOOY_COMFYUI_URL");
    let url = url.expect("PIOOY_COMFYUI_URL is the address of a ComfyUI server");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let provider = |url: &str| -> Arc<dyn Provider> {
        let connection = connection(url).answering_within(Duration::from_secs(60));
        let workflows = workflows("upstreams/comfyui");
        Arc::new(Comfyui::new("comfyui", connection, None, &workflows).expect("is sound"))
    };
    Specimen {
        provider: provider(&url),
        wrong_key: None,
        absent: provider("http://127.0.0.1:9"),
        engine: Engine::default(),
        abilities: Abilities {
            pictures: Some("paint"),
            videos: Some("film"),
            ..Abilities::default()
        },
        _serving: Box::new(()),
    }
}

/// A job for a workflow, with a color that no other has, so that nothing of it is kept from another.
fn real_job(specimen: &Specimen, workflow: &str) -> Job {
    let mut job = specimen.picture(workflow);
    job.upstream_model = workflow.to_owned();
    job.seed = Some(fastrand::u32(..0x100_0000));
    job
}

fn decoded(bytes: &[u8]) -> image::RgbImage {
    image::load_from_memory(bytes)
        .expect("is a picture")
        .to_rgb8()
}

#[tokio::test]
#[ignore = "needs a ComfyUI server at PIOOY_COMFYUI_URL"]
async fn a_real_server_makes_pictures_and_films() {
    let specimen = real();
    let provider = &*specimen.provider;
    let mut job = real_job(&specimen, "paint");
    (job.width, job.height, job.count) = (320, 180, 2);
    let color = job.seed.expect("has one").to_be_bytes();
    assert_eq!(provider.lookup(&job).await, Lookup::NotSubmitted);
    let made = files(provider, &job).await;
    assert_eq!(made.len(), 2);
    for file in &made {
        let painted = decoded(&read(file).await.expect("is there"));
        assert_eq!(painted.dimensions(), (320, 180));
        assert_eq!(painted.get_pixel(100, 100).0, color[1..]);
    }
    assert!(matches!(provider.lookup(&job).await, Lookup::Found(_)));

    let mut job = real_job(&specimen, "change");
    job.operation = Operation::Edit;
    job.references = vec![picture()];
    (job.width, job.height) = (192, 128);
    let made = files(provider, &job).await;
    let changed = decoded(&read(&made[0]).await.expect("is there"));
    assert_eq!(changed.dimensions(), (192, 128));
    let before = decoded(&picture()).get_pixel(20, 30).0;
    assert_eq!(changed.get_pixel(40, 60).0, before.map(|part| 255 - part));

    let made = files(provider, &real_job(&specimen, "film")).await;
    let film = read(&made[0]).await.expect("is there");
    assert_eq!(&film[4..8], b"ftyp");
}

#[tokio::test]
#[ignore = "needs a ComfyUI server at PIOOY_COMFYUI_URL"]
async fn a_real_server_tells_its_progress_and_stops() {
    let specimen = real();
    let provider = &*specimen.provider;
    // The line is there when the second begins.
    files(provider, &real_job(&specimen, "paint")).await;
    let (running, waiting) = (real_job(&specimen, "slow"), real_job(&specimen, "slow"));
    let running_id = taken(provider, &running).await;
    let waiting_id = taken(provider, &waiting).await;
    let is_told = async || {
        let poll = provider.poll(&running, &running_id).await;
        matches!(
            poll,
            Ok(Poll::Running {
                progress: Some(1..)
            })
        )
    };
    until("the progress is heard", is_told).await;
    assert_eq!(
        provider.cancel(&waiting, &waiting_id).await,
        Ok(Cancel::Stopped)
    );
    assert_eq!(
        provider.cancel(&running, &running_id).await,
        Ok(Cancel::GoesOn)
    );
    let ended = end(provider, &running, &running_id).await;
    assert!(matches!(ended, Poll::Canceled), "{ended:?}");
    assert_eq!(
        provider.cancel(&running, &running_id).await,
        Ok(Cancel::GoesOn)
    );
}

#[tokio::test]
#[ignore = "needs a ComfyUI server at PIOOY_COMFYUI_URL"]
async fn a_real_server_says_what_is_wrong() {
    let specimen = real();
    let provider = &*specimen.provider;
    let mut job = real_job(&specimen, "paint");
    job.width = 20_000;
    let refused = provider.submit(&job).await.expect_err("it is too wide");
    assert_eq!((refused.definite, refused.cause), (true, Cause::Input));
    assert_eq!(
        refused.failure.message,
        "width: Value 20000 bigger than max of 16384"
    );
    assert_eq!(provider.lookup(&job).await, Lookup::NotSubmitted);

    let mut job = real_job(&specimen, "change");
    job.operation = Operation::Edit;
    job.references = vec![bytes::Bytes::from_static(b"\x89PNG and no picture")];
    let id = taken(provider, &job).await;
    let ended = end(provider, &job, &id).await;
    assert!(
        matches!(&ended, Poll::Failed(failure) if failure.reason == FailureReason::ProviderError),
        "{ended:?}"
    );

    let refused = provider.submit(&real_job(&specimen, "misfit")).await;
    assert_eq!(refused.expect_err("it has no models").cause, Cause::Retired);
    assert_eq!(provider.probe("misfit").await, Probe::ModelGone);
    for workflow in ["paint", "change", "film", "slow"] {
        assert_eq!(provider.probe(workflow).await, Probe::Ready, "{workflow}");
    }
    assert!(matches!(
        specimen.absent.probe("paint").await,
        Probe::Down(_)
    ));
}
