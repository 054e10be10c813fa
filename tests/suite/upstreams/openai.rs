//! Servers that speak as OpenAI does.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use piooy::providers::{
    Cancel, Cause, Content, FailureReason, Inputs, Job, OpenAi, Operation, Poll, Probe, Provider,
    Submitted,
};
use serde_json::{Value, json};

use super::conformance::{Abilities, Specimen, connection, nowhere, read};
use crate::fakes::engine::{KEY, clip, picture};
use crate::fakes::openai::{Kind, PICTURES, VIDEOS, large};

async fn specimen(kind: Kind, abilities: Abilities) -> Specimen {
    let fake = crate::fakes::openai::OpenAi::start(kind).await;
    let openai = |url: &str, key| -> Arc<dyn Provider> {
        Arc::new(OpenAi::new("openai", connection(url), key).expect("is a key"))
    };
    let key = (kind != Kind::Sglang).then_some(KEY);
    let url = fake.url();
    Specimen {
        provider: openai(&url, key),
        wrong_key: key.map(|_| openai(&url, Some("another"))),
        absent: openai(&nowhere().await, key),
        engine: fake.engine.clone(),
        abilities,
        _serving: Box::new(fake),
    }
}

/// One that makes both, for what a server has of its own.
async fn both(kind: Kind) -> Specimen {
    let abilities = Abilities {
        pictures: Some(PICTURES),
        videos: Some(VIDEOS),
        ..Abilities::default()
    };
    specimen(kind, abilities).await
}

mod pictures {
    use super::super::conformance::{Abilities, Specimen, conformance};
    use super::{Kind, PICTURES};

    async fn specimen() -> Specimen {
        let abilities = Abilities {
            pictures: Some(PICTURES),
            at_once: true,
            credit: true,
            policy: true,
            inline: true,
            models_known: true,
            ..Abilities::default()
        };
        super::specimen(Kind::OpenAi, abilities).await
    }

    conformance!(specimen);
}

mod videos {
    use super::super::conformance::{Abilities, Specimen, conformance};
    use super::{Kind, VIDEOS};

    async fn specimen() -> Specimen {
        let abilities = Abilities {
            videos: Some(VIDEOS),
            stops: true,
            credit: true,
            policy: true,
            models_known: true,
            files_apart: true,
            ..Abilities::default()
        };
        super::specimen(Kind::OpenAi, abilities).await
    }

    conformance!(specimen);
}

/// A map of a route.
fn inputs(map: &Value) -> Option<Arc<Inputs>> {
    let map = map.as_object().expect("is a table");
    Some(Arc::new(Inputs::parse(map).expect("is sound")))
}

/// What the fake was sent for a job that it takes.
async fn sent(specimen: &Specimen, job: &Job) -> Value {
    specimen.provider.check(job).expect("can be done");
    specimen.provider.submit(job).await.expect("is taken");
    specimen.engine.job_of(&job.prompt).expect("was taken").body
}

/// A picture as the fake notes the files of a form.
fn as_file() -> Value {
    json!(["image.png", "image/png", STANDARD.encode(picture())])
}

#[tokio::test]
async fn it_sends_what_is_asked_in_openais_words() {
    let specimen = both(Kind::OpenAi).await;
    let mut job = specimen.picture("a lighthouse, from words");
    job.fixed.insert("quality".to_owned(), "low".to_owned());
    assert_eq!(
        sent(&specimen, &job).await,
        json!({
            "model": PICTURES, "prompt": "a lighthouse, from words", "n": 1, "size": "1280x720", "quality": "low"
        })
    );
    assert_eq!(
        sent(&specimen, &specimen.video("a storm, from words")).await,
        json!({"model": VIDEOS, "prompt": "a storm, from words", "seconds": "5", "size": "1280x720"})
    );
}

#[tokio::test]
async fn pictures_are_files_of_a_form() {
    let specimen = both(Kind::OpenAi).await;
    let mut job = specimen.picture("brighter \"ü\"\r\n--");
    job.operation = Operation::Edit;
    job.references = vec![picture(), picture()];
    assert_eq!(
        sent(&specimen, &job).await,
        json!({
            "model": PICTURES, "prompt": "brighter \"ü\"\r\n--", "n": "1", "size": "1280x720",
            "image[]": [as_file(), as_file()]
        })
    );
    let mut job = specimen.video("it moves");
    job.operation = Operation::ImageToVideo;
    job.references = vec![picture()];
    assert_eq!(sent(&specimen, &job).await["input_reference"], as_file());
}

#[tokio::test]
async fn pictures_are_data_uris_where_the_map_says_so() {
    let specimen = both(Kind::Sglang).await;
    let uri = format!("data:image/png;base64,{}", STANDARD.encode(picture()));
    let mut job = specimen.video("it moves, in JSON");
    job.operation = Operation::ImageToVideo;
    job.references = vec![picture()];
    job.inputs = inputs(&json!({
        "prompt": "{prompt}", "seconds": "{duration}", "width": "{width}", "seed": "{seed}",
        "input_reference": {"image_url": "{image}"}
    }));
    assert_eq!(
        sent(&specimen, &job).await,
        json!({
            "prompt": "it moves, in JSON", "seconds": 5, "width": 1280, "seed": 7, "input_reference": {"image_url": uri}
        })
    );
    let mut job = specimen.picture("two, in JSON");
    job.operation = Operation::Edit;
    job.references = vec![picture(), picture()];
    job.inputs = inputs(&json!({"prompt": "{prompt}", "ref_images": "{images}"}));
    assert_eq!(sent(&specimen, &job).await["ref_images"], json!([uri, uri]));
}

#[tokio::test]
async fn no_picture_is_left_out_in_silence() {
    let specimen = both(Kind::OpenAi).await;
    let mut job = specimen.video("from here to there");
    job.operation = Operation::FirstLastFrame;
    let refused = specimen
        .provider
        .check(&job)
        .expect_err("has no last frame");
    assert_eq!(refused.reason, FailureReason::InvalidInput);
    job.references = vec![picture(), picture()];
    let refused = specimen.provider.submit(&job).await;
    let refused = refused.expect_err("has no last frame");
    assert_eq!((refused.definite, refused.cause), (true, Cause::Input));
    assert_eq!(specimen.engine.accepted(&job.prompt), 0);
}

#[tokio::test]
async fn large_pictures_come_by_the_disk() {
    for kind in [Kind::OpenAi, Kind::Sglang] {
        let specimen = both(kind).await;
        let mut job = specimen.picture("three large ones");
        job.count = 3;
        job.fixed.insert("quality".to_owned(), "high".to_owned());
        let Ok(Submitted::Done(files)) = specimen.provider.submit(&job).await else {
            panic!("they are made");
        };
        assert_eq!(files.len(), 3);
        for file in files {
            assert!(matches!(file.content, Content::File(_)), "{kind:?}");
            assert_eq!(read(&file).await.expect("is there"), large(), "{kind:?}");
        }
    }
}

/// The fake refuses whoever shows the key at the links.
#[tokio::test]
async fn links_are_followed_wherever_they_lead_and_only_the_upstream_sees_the_key() {
    for kind in [Kind::Sglang, Kind::Reseller] {
        let specimen = both(kind).await;
        let job = specimen.picture("a picture in some way");
        let Ok(Submitted::Done(files)) = specimen.provider.submit(&job).await else {
            panic!("it is made");
        };
        assert_eq!(read(&files[0]).await.expect("is there"), picture());
        let job = specimen.video("[fake:delay=50ms,job=odd] behind a link");
        let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
            panic!("it is taken");
        };
        let files = loop {
            match specimen.provider.poll(&job, &id).await {
                Ok(Poll::Done(files)) => break files,
                Ok(Poll::Running { progress }) => assert_eq!(progress, Some(40)),
                other => panic!("{kind:?}: {other:?}"),
            }
        };
        assert!(matches!(files[0].content, Content::Remote(_)));
        assert_eq!(read(&files[0]).await.expect("is there"), clip());
    }
}

#[tokio::test]
async fn refusals_are_understood_in_every_form() {
    for kind in [Kind::Sglang, Kind::Reseller] {
        let specimen = both(kind).await;
        let refused = async |directive: &str| {
            let job = specimen.video(&format!("[fake:submit={directive}] refused"));
            let refused = specimen.provider.submit(&job).await;
            refused.expect_err(directive)
        };
        let input = refused("input").await;
        assert_eq!((input.definite, input.cause), (true, Cause::Input));
        assert_eq!(input.failure.message, "Invalid value: '7x7'.");
        assert_eq!(refused("gone").await.cause, Cause::Retired);
        assert_eq!(refused("busy").await.cause, Cause::Busy);
        let job = specimen.video("[fake:job=failed] in vain");
        let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
            panic!("it is taken");
        };
        match specimen.provider.poll(&job, &id).await {
            Ok(Poll::Failed(failure)) => {
                assert_eq!(failure.reason, FailureReason::ProviderError);
                assert_eq!(failure.message, "the upstream failed to make this");
            }
            other => panic!("{kind:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_for_policy_does_not_send_callers_to_the_vendor() {
    let specimen = both(Kind::OpenAi).await;
    let job = specimen.picture("[fake:submit=policy] refused");
    let refused = specimen.provider.submit(&job).await;
    let refused = refused.expect_err("it is refused");
    assert_eq!(refused.failure.message, "the upstream refuses to make this");
}

#[tokio::test]
async fn what_is_deleted_was_canceled_and_what_cannot_be_goes_on() {
    for kind in [Kind::Sglang, Kind::Reseller] {
        let specimen = both(kind).await;
        let job = specimen.video("[fake:delay=60000ms] stop me");
        let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
            panic!("it is taken");
        };
        let canceled = specimen.provider.cancel(&job, &id).await;
        let poll = specimen.provider.poll(&job, &id).await;
        match kind {
            Kind::Reseller => {
                assert_eq!(canceled, Ok(Cancel::GoesOn));
                assert!(matches!(poll, Ok(Poll::Running { .. })), "{poll:?}");
            }
            _ => {
                assert_eq!(canceled, Ok(Cancel::Stopped));
                assert!(matches!(poll, Ok(Poll::Canceled)), "{poll:?}");
            }
        }
    }
}

#[tokio::test]
async fn only_a_server_that_says_so_has_lost_a_model() {
    let probe = async |kind, model: &str| both(kind).await.provider.probe(model).await;
    assert_eq!(probe(Kind::OpenAi, PICTURES).await, Probe::Ready);
    assert_eq!(probe(Kind::OpenAi, "gpt-image-1").await, Probe::ModelGone);
    assert_eq!(probe(Kind::Sglang, VIDEOS).await, Probe::Ready);
    assert_eq!(probe(Kind::Sglang, "another/one").await, Probe::Answers);
}

/// A real server of somebody else's, whose address, down to `/v1`, is in the environment. It makes at
/// least one picture of any size, whatever the model is called.
#[tokio::test]
#[ignore = "needs a server that speaks as OpenAI does at PIOOY_OPENAI_IMAGES_URL"]
async fn a_real_server_makes_pictures() {
    let url = std::env::var("PIOOY_OPENAI_IMAGES_URL");
    let url = url.expect("PIOOY_OPENAI_IMAGES_URL is the address of a server");
    let model = std::env::var("PIOOY_OPENAI_IMAGES_MODEL").unwrap_or("gpt-image-1".to_owned());
    let mut job = both(Kind::OpenAi).await.picture("a fox in the snow");
    (job.upstream_model, job.count) = (model, 2);
    (job.width, job.height) = (1024, 1024);
    let connection = connection(&url).answering_within(Duration::from_secs(600));
    let server = OpenAi::new("openai", connection, Some("a-key")).expect("is a key");
    let probe = server.probe(&job.upstream_model).await;
    assert!(matches!(probe, Probe::Ready | Probe::Answers), "{probe:?}");
    let Ok(Submitted::Done(files)) = server.submit(&job).await else {
        panic!("they are made");
    };
    assert!((1..=2).contains(&files.len()), "{files:?}");
    for file in &files {
        let made = read(file).await.expect("is there");
        image::load_from_memory(&made).expect("is a picture");
    }
}
