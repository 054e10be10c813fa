//! kie.ai.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use piooy::providers::{Cause, HookError, Kie, Operation, Poll, Provider, Submitted};

use super::conformance::{Abilities, Specimen, conformance, connection, hear, nowhere};
use crate::fakes;
use crate::fakes::engine::{KEY, picture};
use crate::fakes::kie::WEBHOOK_KEY;
use crate::fakes::listener::Listener;

fn kie(url: &str, key: &str, webhook_key: Option<&str>) -> Arc<dyn Provider> {
    let kie = Kie::new("kie", connection(url), connection(url), key, webhook_key);
    Arc::new(kie.expect("is a key"))
}

async fn specimen() -> Specimen {
    let fake = fakes::kie::Kie::start().await;
    let url = fake.serving.url();
    Specimen {
        provider: kie(&url, KEY, Some(WEBHOOK_KEY)),
        wrong_key: Some(kie(&url, "another", None)),
        absent: kie(&nowhere().await, KEY, None),
        engine: fake.engine.clone(),
        abilities: Abilities {
            pictures: Some("nano-banana-pro"),
            videos: Some("bytedance/seedance-2-5"),
            credit: true,
            policy: true,
            models_known: true,
            vague: true,
            ..Abilities::default()
        },
        _serving: Box::new(fake),
    }
}

conformance!(specimen);

#[tokio::test]
async fn it_sends_what_is_asked_in_its_own_words_and_pictures_as_links() {
    let fake = fakes::kie::Kie::start().await;
    let specimen = specimen().await;
    let mut job = specimen.picture("what is sent");
    job.operation = Operation::Edit;
    job.references = vec![picture()];
    job.fixed.insert("quality".to_owned(), "high".to_owned());
    let url = fake.serving.url();
    let kie = kie(&url, KEY, None);
    kie.submit(&job).await.expect("is taken");
    let body = fake.engine.job_of("what is sent").expect("was taken").body;
    assert_eq!(body["model"], "nano-banana-pro");
    assert_eq!(body.get("callBackUrl"), None);
    assert_eq!(body["input"]["aspect_ratio"], "16:9");
    assert_eq!(body["input"]["quality"], "high");
    assert_eq!(
        body["input"]["image_input"][0],
        format!("{url}/uploads/1.png")
    );
    let uploads = fake.uploads.lock().expect("nobody panics here");
    let holds = |bytes: &[u8]| {
        uploads[0]
            .windows(bytes.len())
            .any(|window| window == bytes)
    };
    assert!(holds(&picture()) && holds(b"name=\"uploadPath\""));
    let name = format!("filename=\"{}-1-0.png\"", job.task_id);
    assert!(holds(name.as_bytes()), "names are never used twice");
}

#[tokio::test]
async fn a_job_whose_pictures_cannot_be_left_was_not_taken() {
    let specimen = specimen().await;
    let mut job = specimen.picture("no place for pictures");
    job.operation = Operation::Edit;
    job.references = vec![picture()];
    let refusal = specimen.absent.submit(&job).await.expect_err("not taken");
    assert_eq!(
        (refusal.definite, refusal.cause),
        (true, Cause::Unreachable)
    );
    let wrong = specimen.wrong_key.expect("there are keys");
    let refusal = wrong.submit(&job).await.expect_err("not taken");
    assert_eq!((refusal.definite, refusal.cause), (true, Cause::Key));
}

#[tokio::test]
async fn a_job_that_is_not_there_may_come() {
    let specimen = specimen().await;
    let job = specimen.picture("[fake:job=forgotten] not there");
    let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
        panic!("it is taken");
    };
    let poll = specimen.provider.poll(&job, &id).await;
    assert!(poll.is_err(), "{poll:?}");
}

#[tokio::test]
async fn it_tells_how_far_it_is() {
    let specimen = specimen().await;
    let job = specimen.picture("[fake:job=never] half-way");
    let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
        panic!("it is taken");
    };
    let poll = specimen.provider.poll(&job, &id).await;
    assert!(
        matches!(poll, Ok(Poll::Running { progress: Some(50) })),
        "{poll:?}"
    );
}

#[tokio::test]
async fn only_what_is_signed_with_the_accounts_key_is_heard() {
    let specimen = specimen().await;
    let listener = Listener::start().await;
    let mut job = specimen.picture("call me");
    job.webhook_url = Some(listener.url());
    specimen.provider.submit(&job).await.expect("is taken");
    let (kie, without_key) = (specimen.provider.as_ref(), specimen.absent.as_ref());
    assert!(kie.calls_back() && !without_key.calls_back());
    let now = SystemTime::now();
    for (headers, body) in listener.heard(2).await {
        assert_eq!(hear(kie, &headers, &body, now).await, Ok(()));
        let another_job = br#"{"data":{"taskId":"2"}}"#;
        for wrong in [b"{}".as_slice(), b"", another_job] {
            let heard = hear(kie, &headers, wrong, now).await;
            assert_eq!(heard, Err(HookError::Signature));
        }
        let late = now + Duration::from_secs(310);
        let heard = hear(kie, &headers, &body, late).await;
        assert_eq!(heard, Err(HookError::Signature));
        let heard = hear(without_key, &headers, &body, now).await;
        assert_eq!(heard, Err(HookError::NotOffered));
    }
}
