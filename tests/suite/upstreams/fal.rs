//! fal.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ed25519_dalek::SigningKey;
use piooy::providers::{Fal, Hook, HookError, Operation, Provider};

use super::conformance::{Abilities, Specimen, conformance, connection, nowhere};
use crate::fakes;
use crate::fakes::engine::KEY;

async fn specimen() -> Specimen {
    let fake = fakes::fal::Fal::start().await;
    let fal = |url: &str, key| -> Arc<dyn Provider> {
        let keys = format!("{url}/.well-known/jwks.json")
            .parse()
            .expect("is a URL");
        Arc::new(Fal::new("fal", connection(url), key, keys).expect("is a key"))
    };
    let url = fake.serving.url();
    Specimen {
        provider: fal(&url, KEY),
        wrong_key: Some(fal(&url, "another")),
        absent: fal(&nowhere().await, KEY),
        engine: fake.engine.clone(),
        abilities: Abilities {
            pictures: Some("fal-ai/nano-banana-pro"),
            videos: Some("fal-ai/veo3.1/fast"),
            stops: true,
            credit: true,
            policy: true,
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
    job.references = vec![fakes::engine::picture()];
    job.fixed.insert("quality".to_owned(), "high".to_owned());
    specimen.provider.submit(&job).await.expect("is taken");
    let body = specimen
        .engine
        .job_of("what is sent")
        .expect("was taken")
        .body;
    assert_eq!(body["aspect_ratio"], "16:9");
    assert_eq!(body["seed"], 7);
    assert_eq!(body["quality"], "high");
    let image = body["image_urls"][0].as_str().expect("is a text");
    assert!(image.starts_with("data:image/png;base64,"), "{image:.40}");
}

#[tokio::test]
async fn only_what_is_signed_by_fal_and_fresh_is_heard() {
    let specimen = specimen().await;
    let now = SystemTime::now();
    let body = br#"{"request_id":"1","status":"OK"}"#;
    let key = SigningKey::from_bytes(&[7; 32]);
    let hear = async |signer: &SigningKey, signed: &[u8], at: SystemTime| {
        let headers = fakes::fal::signed(signer, "1", signed, at);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let hook = Hook {
            header: &header,
            body,
            now,
        };
        specimen.provider.hear(&hook).await
    };
    assert_eq!(hear(&key, body, now).await, Ok(()));
    assert_eq!(hear(&key, b"{}", now).await, Err(HookError::Signature));
    let another = SigningKey::from_bytes(&[8; 32]);
    assert_eq!(hear(&another, body, now).await, Err(HookError::Signature));
    let old = now - Duration::from_secs(301);
    assert_eq!(hear(&key, body, old).await, Err(HookError::Signature));
    let none = Hook {
        header: &|_| None,
        body,
        now,
    };
    assert_eq!(
        specimen.provider.hear(&none).await,
        Err(HookError::Signature)
    );
}
