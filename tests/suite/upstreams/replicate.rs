//! Replicate.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use bytes::Bytes;
use piooy::providers::{
    Cause, HookError, Inputs, Operation, Poll, Probe, Provider, Replicate, Submitted,
};
use serde_json::json;

use super::conformance::{Abilities, Specimen, conformance, connection, hear, nowhere};
use crate::fakes;
use crate::fakes::engine::{KEY, picture};
use crate::fakes::listener::Listener;
use crate::fakes::replicate::{NOBODY, SECRET};

fn replicate(url: &str, token: &str) -> Arc<dyn Provider> {
    Arc::new(Replicate::new("replicate", connection(url), token).expect("is a token"))
}

async fn specimen() -> Specimen {
    let fake = fakes::replicate::Replicate::start().await;
    Specimen {
        provider: replicate(&fake.url(), KEY),
        wrong_key: Some(replicate(&fake.url(), "another")),
        absent: replicate(&nowhere().await, KEY),
        engine: fake.engine.clone(),
        abilities: Abilities {
            pictures: Some("google/nano-banana-pro"),
            videos: Some("google/veo-3.1"),
            stops: true,
            credit: true,
            policy: true,
            policy_late: true,
            models_known: true,
            ..Abilities::default()
        },
        _serving: Box::new(fake),
    }
}

conformance!(specimen);

#[tokio::test]
async fn it_sends_what_is_asked_in_its_own_words() {
    let specimen = specimen().await;
    let mut job = specimen.picture("what is sent");
    job.operation = Operation::Edit;
    job.references = vec![picture()];
    job.fixed.insert("quality".to_owned(), "high".to_owned());
    specimen.provider.submit(&job).await.expect("is taken");
    let taken = specimen.engine.job_of("what is sent").expect("was taken");
    assert_eq!(taken.body["model"], "google/nano-banana-pro");
    assert_eq!(taken.body.get("webhook"), None);
    let input = &taken.body["input"];
    assert_eq!(input["aspect_ratio"], "16:9");
    assert_eq!(input["seed"], 7);
    assert_eq!(input["quality"], "high");
    let image = input["image_input"][0].as_str().expect("is a text");
    assert!(image.starts_with("data:image/png;base64,"), "{image:.40}");
}

#[tokio::test]
async fn large_pictures_are_left_there_first() {
    let fake = fakes::replicate::Replicate::start().await;
    let specimen = specimen().await;
    let mut large = picture().to_vec();
    large.resize(600 * 1024, b'x');
    let mut job = specimen.picture("large pictures");
    job.operation = Operation::Edit;
    job.references = vec![large.clone().into(), picture()];
    let replicate = replicate(&fake.url(), KEY);
    replicate.submit(&job).await.expect("is taken");
    let taken = fake.engine.job_of("large pictures").expect("was taken");
    let link = |id: u32| format!("{}/files/{id}", fake.url());
    assert_eq!(
        taken.body["input"]["image_input"],
        json!([link(1), link(2)])
    );
    let uploads = fake.uploads.lock().expect("nobody panics here");
    assert!(holds(&uploads[0], &large) && holds(&uploads[1], &picture()));
    assert!(holds(&uploads[0], b"name=\"content\""));
}

fn holds(form: &Bytes, bytes: &[u8]) -> bool {
    form.windows(bytes.len()).any(|window| window == bytes)
}

#[tokio::test]
async fn a_model_may_be_asked_for_by_version() {
    let specimen = specimen().await;
    let mut job = specimen.picture("by version");
    job.upstream_model = "somebody/model:5c7d".to_owned();
    specimen.provider.submit(&job).await.expect("is taken");
    let taken = specimen.engine.job_of("by version").expect("was taken");
    assert_eq!(taken.body["version"], "5c7d");
    assert_eq!(
        specimen.provider.probe(&job.upstream_model).await,
        Probe::Ready
    );
    job.prompt = "[fake:submit=gone] by version".to_owned();
    let refusal = specimen.provider.submit(&job).await.expect_err("is gone");
    assert_eq!((refusal.definite, refusal.cause), (true, Cause::Retired));
    let gone = specimen.provider.probe(&format!("{NOBODY}/model")).await;
    assert_eq!(gone, Probe::ModelGone);
}

#[tokio::test]
async fn an_output_is_a_text_a_list_or_a_table() {
    let specimen = specimen().await;
    let map = json!({"prompt": "{prompt}", "max_images": "{count}"});
    let inputs = Inputs::parse(map.as_object().expect("is a table")).expect("is sound");
    let models = [
        ("google/nano-banana-pro", 1),
        ("bytedance/seedream-4.5", 3),
        ("tables/model", 1),
    ];
    for (model, many) in models {
        let mut job = specimen.picture(model);
        job.inputs = Some(Arc::new(inputs.clone()));
        job.upstream_model = model.to_owned();
        job.count = 3;
        let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
            panic!("it is taken");
        };
        match specimen.provider.poll(&job, &id).await {
            Ok(Poll::Done(files)) => assert_eq!(files.len(), many, "{model}"),
            other => panic!("{model}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn only_what_replicate_signed_is_heard() {
    let specimen = specimen().await;
    let listener = Listener::start().await;
    let mut job = specimen.picture("call me");
    job.webhook_url = Some(listener.url());
    specimen.provider.submit(&job).await.expect("is taken");
    let taken = specimen.engine.job_of("call me").expect("was taken");
    assert_eq!(taken.body["webhook_events_filter"], json!(["completed"]));
    let replicate = specimen.provider.as_ref();
    let now = SystemTime::now();
    for (headers, body) in listener.heard(2).await {
        assert_eq!(hear(replicate, &headers, &body, now).await, Ok(()));
        let heard = hear(replicate, &headers, b"{}", now).await;
        assert_eq!(heard, Err(HookError::Signature));
        let late = now + Duration::from_secs(310);
        let heard = hear(replicate, &headers, &body, late).await;
        assert_eq!(heard, Err(HookError::Signature));
    }
}

#[tokio::test]
async fn without_the_secret_nobody_can_tell() {
    let specimen = specimen().await;
    let now = SystemTime::now();
    let signed = fakes::replicate::signed(SECRET, "1", b"{}", now);
    let (replicate, absent) = (specimen.provider.as_ref(), specimen.absent.as_ref());
    assert_eq!(hear(replicate, &signed, b"{}", now).await, Ok(()));
    let heard = hear(absent, &signed, b"{}", now).await;
    assert_eq!(heard, Err(HookError::Unchecked));
    let heard = hear(absent, &HeaderMap::new(), b"{}", now).await;
    assert_eq!(heard, Err(HookError::Signature));
}
