//! Google's Gemini API.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use piooy::providers::{
    Cause, FailureReason, Gemini, Job, Operation, Poll, Provider, Rendered, Submitted,
};
use serde_json::{Value, json};

use super::conformance::{Abilities, Specimen, connection, nowhere, read};
use crate::fakes;
use crate::fakes::engine::{KEY, clip, picture};

async fn specimen(abilities: Abilities) -> Specimen {
    let fake = fakes::gemini::Gemini::start().await;
    let gemini = |url: &str, key| -> Arc<dyn Provider> {
        Arc::new(Gemini::new("gemini", connection(url), key).expect("is a key"))
    };
    let url = fake.url();
    Specimen {
        provider: gemini(&url, KEY),
        wrong_key: Some(gemini(&url, "another")),
        absent: gemini(&nowhere().await, KEY),
        engine: fake.engine.clone(),
        abilities,
        _serving: Box::new(fake),
    }
}

async fn pictures() -> Specimen {
    specimen(Abilities {
        pictures: Some("gemini-3-pro-image"),
        at_once: true,
        credit: true,
        policy: true,
        inline: true,
        models_known: true,
        ..Abilities::default()
    })
    .await
}

async fn videos() -> Specimen {
    specimen(Abilities {
        videos: Some("gemini-omni-1.2-flash"),
        stops: true,
        credit: true,
        policy: true,
        models_known: true,
        ..Abilities::default()
    })
    .await
}

mod of_pictures {
    use super::super::conformance::conformance;

    conformance!(super::pictures);
}

mod of_videos {
    use super::super::conformance::conformance;

    conformance!(super::videos);
}

/// What was sent for a job that was taken.
async fn sent(specimen: &Specimen, job: &Job) -> Value {
    specimen.provider.submit(job).await.expect("is taken");
    // The fake knows jobs by the words that it was sent.
    let known = ["", "<FIRST_FRAME> ", "<FIRST_FRAME> <LAST_FRAME> "];
    let mut found = known
        .iter()
        .filter_map(|tags| specimen.engine.job_of(&format!("{tags}{}", job.prompt)));
    found.next().expect("was taken").body
}

/// The video of a job, after as many questions as it takes.
async fn video(specimen: &Specimen, prompt: &str) -> Result<Vec<Rendered>, FailureReason> {
    let job = specimen.video(prompt);
    let Ok(Submitted::Taken(id)) = specimen.provider.submit(&job).await else {
        panic!("{prompt} is taken");
    };
    for _ in 0..10 {
        match specimen.provider.poll(&job, &id).await {
            Ok(Poll::Done(files)) => return Ok(files),
            Ok(Poll::Failed(failure)) => return Err(failure.reason),
            other => assert!(matches!(other, Ok(Poll::Running { .. })), "{other:?}"),
        }
    }
    panic!("{prompt} does not end");
}

#[tokio::test]
async fn pictures_are_asked_for_with_the_pictures_they_are_made_from() {
    let specimen = pictures().await;
    let mut job = specimen.picture("what is sent");
    job.operation = Operation::Edit;
    job.references = vec![picture(), picture()];
    let data = STANDARD.encode(picture());
    let image = json!({"inlineData": {"mimeType": "image/png", "data": data}});
    let parts = json!([image, image, {"text": "what is sent"}]);
    assert_eq!(
        sent(&specimen, &job).await,
        json!({
            "generationConfig": {
                "responseModalities": ["TEXT", "IMAGE"], "seed": 7,
                "imageConfig": {"aspectRatio": "16:9", "imageSize": "1K"}
            },
            "contents": [{"role": "user", "parts": parts}]
        })
    );
}

#[tokio::test]
async fn sizes_are_spelled_as_google_spells_them() {
    let specimen = pictures().await;
    for (resolution, size) in [("0.5K", "512"), ("2k", "2K"), ("4K", "4K")] {
        let mut job = specimen.picture(&format!("as large as {resolution}"));
        resolution.clone_into(&mut job.resolution);
        let body = sent(&specimen, &job).await;
        assert_eq!(
            body.pointer("/generationConfig/imageConfig/imageSize"),
            Some(&size.into())
        );
    }
}

#[tokio::test]
async fn videos_are_asked_for_with_a_role_for_each_picture() {
    let specimen = videos().await;
    let image =
        json!({"type": "image", "mime_type": "image/png", "data": STANDARD.encode(picture())});
    let roles = [
        (Operation::Text, 0, Some("text_to_video"), ""),
        (
            Operation::ImageToVideo,
            1,
            Some("image_to_video"),
            "<FIRST_FRAME> ",
        ),
        (
            Operation::FirstLastFrame,
            2,
            None,
            "<FIRST_FRAME> <LAST_FRAME> ",
        ),
        (
            Operation::ReferenceToVideo,
            3,
            Some("reference_to_video"),
            "",
        ),
    ];
    for (operation, images, task, tags) in roles {
        let mut job = specimen.video(&format!("what is sent for {operation:?}"));
        (job.operation, job.references) = (operation, vec![picture(); images]);
        job.resolution = "4K".to_owned();
        let body = sent(&specimen, &job).await;
        let mut content = vec![image.clone(); images];
        content.push(json!({"type": "text", "text": format!("{tags}{}", job.prompt)}));
        assert_eq!(
            body["input"],
            json!([{"type": "user_input", "content": content}])
        );
        assert_eq!(
            body.pointer("/generation_config/video_config/task")
                .and_then(Value::as_str),
            task
        );
        assert_eq!(
            body["response_format"],
            json!({
                "type": "video", "aspect_ratio": "16:9", "resolution": "4k", "duration": "5s", "delivery": "uri"
            })
        );
        assert_eq!(body["model"], "gemini-omni-1.2-flash");
    }
}

#[tokio::test]
async fn the_upstream_is_left_alone_as_long_as_it_wants() {
    for specimen in [pictures().await, videos().await] {
        let job = specimen.job("[fake:submit=busy] wait");
        let refused = specimen.provider.submit(&job).await;
        let refused = refused.expect_err("is too much");
        assert_eq!(refused.retry_after, Some(Duration::from_secs(30)));
    }
}

#[tokio::test]
async fn what_made_no_picture_by_chance_may_be_tried_again() {
    let specimen = pictures().await;
    for directive in ["failed", "empty"] {
        let job = specimen.picture(&format!("[fake:job={directive}] by chance"));
        let refused = specimen.provider.submit(&job).await;
        let refused = refused.expect_err("there is no picture");
        assert_eq!((refused.definite, refused.cause), (true, Cause::Broken));
        assert!(refused.failure.reason.is_retryable());
    }
}

#[tokio::test]
async fn videos_are_found_wherever_they_are_shown() {
    let specimen = videos().await;
    for prompt in ["at the top", "inline", "elsewhere", "after a while"] {
        let files = video(&specimen, prompt).await.expect(prompt);
        assert_eq!(files.len(), 1, "{prompt}");
        assert_eq!(read(&files[0]).await.expect(prompt), clip(), "{prompt}");
    }
}

#[tokio::test]
async fn refusals_with_errors_are_told_from_faults() {
    let specimen = videos().await;
    let refused = video(&specimen, "[fake:job=policy] with errors").await;
    assert_eq!(refused.err(), Some(FailureReason::ContentPolicy));
}
