//! What is refused before anything is held, and what the refusals say.

use bytes::Bytes;
use piooy::catalog::{LookupError, MediaType};
use piooy::generation::{Picture, Request, Scene, Settings, Status, SubmitError};
use piooy::providers::{FailureReason, Providers};

use super::fixture::{CREDITS, Fixture, picture, refused, routed, run, sandbox, settings};
use super::upstream::{Upstream, providers};

#[tokio::test]
async fn refusals_say_what_would_do() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let model = |model: &str| Request {
        model: model.to_owned(),
        ..picture("a fox")
    };
    let table = [
        (model("tinny"), "did you mean"),
        (
            Request {
                resolution: Some("9K".to_owned()),
                ..picture("a fox")
            },
            "0.2K",
        ),
        (
            Request {
                count: Some(9),
                ..picture("a fox")
            },
            "count",
        ),
        (
            Request {
                expects: Some(MediaType::Video),
                ..picture("a fox")
            },
            "tiny makes images, not videos",
        ),
        (
            Request {
                scene: Some(Scene::TextToVideo),
                ..picture("a fox")
            },
            "tiny makes images, not videos",
        ),
        (
            Request {
                scene: Some(Scene::ImageToImage),
                ..picture("a fox")
            },
            "give at least one in reference_images",
        ),
        (
            Request {
                provider: Some("fall".to_owned()),
                ..picture("a fox")
            },
            "this server knows sandbox",
        ),
        (
            Request {
                reference_images: vec![Picture::Inline(Bytes::from_static(b"no picture"))],
                ..picture("a fox")
            },
            "reference image 1",
        ),
        (picture("[sandbox:explode] a fox"), "[sandbox:crash]"),
    ];
    for (request, says) in table {
        let error = refused(&node, &caller, request).await.to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(
        fixture.balance().await.available,
        CREDITS,
        "nothing was held"
    );
    let error = refused(
        &node,
        &fixture.stranger().await,
        Request {
            count: Some(3),
            ..picture("a fox")
        },
    )
    .await
    .to_string();
    assert!(
        error.contains("this costs 30 credits and 0 are available"),
        "{error}"
    );
}

#[tokio::test]
async fn unknown_models_come_with_near_matches() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let error = refused(
        &node,
        &caller,
        Request {
            model: "nano-bananna-pro".to_owned(),
            ..picture("a fox")
        },
    )
    .await;
    let SubmitError::Model(LookupError::Unknown { near, .. }) = error else {
        panic!("{error}")
    };
    assert!(near.contains(&"nano-banana-pro".to_owned()));
}

#[tokio::test]
async fn directives_count_only_where_the_sandbox_runs() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal");
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    let caller = fixture.live().await;
    let error = refused(&node, &caller, picture("[sandbox:explode]")).await;
    assert!(
        matches!(&error, SubmitError::Refused(failure) if failure.reason == FailureReason::InvalidInput),
        "{error}"
    );
    assert_eq!(
        run(&node, &caller, routed("[sandbox:explode]"))
            .await
            .status,
        Status::Success
    );
}

#[tokio::test]
async fn live_keys_reach_the_sandbox_only_where_that_is_allowed_and_asked_for() {
    let fixture = Fixture::new().await;
    let strict = Settings {
        sandbox_for_live: false,
        ..settings()
    };
    let half: Providers = sandbox()
        .without("kie", "KIE_API_KEY")
        .without("fal", "FAL_KEY");
    let node = fixture.node_with(half.clone(), strict).await;
    let (live, test) = (fixture.live().await, fixture.test().await);
    assert!(matches!(
        refused(&node, &live, picture("a fox")).await,
        SubmitError::SandboxNotAllowed
    ));
    let unavailable = refused(&node, &live, routed("a fox")).await;
    assert!(
        matches!(&unavailable, SubmitError::ModelUnavailable { settings, .. } if *settings == ["FAL_KEY", "KIE_API_KEY"])
    );
    assert!(
        unavailable.to_string().contains("FAL_KEY or KIE_API_KEY"),
        "{unavailable}"
    );
    assert!(
        !unavailable.to_string().contains("sandbox"),
        "{unavailable}"
    );
    let allowing = fixture.node_with(half, settings()).await;
    let unavailable = refused(&allowing, &live, routed("a fox")).await.to_string();
    assert!(
        unavailable.contains("provider \"sandbox\""),
        "{unavailable}"
    );
    assert_eq!(
        run(&allowing, &live, picture("a fox"))
            .await
            .credits
            .charged,
        10
    );
    assert_eq!(fixture.balance().await.available, CREDITS - 10);

    // A test key runs the sandbox whatever it asks for.
    for request in [
        routed("a fox"),
        picture("a fox"),
        Request {
            provider: Some("fal".to_owned()),
            ..routed("a fox")
        },
    ] {
        let task = run(&node, &test, request).await;
        assert_eq!(
            (task.status, task.provider.as_str()),
            (Status::Success, "sandbox")
        );
    }
}

#[tokio::test]
async fn a_test_key_never_touches_an_upstream() {
    let fixture = Fixture::new().await;
    let upstream = Upstream::new("fal");
    let node = fixture.node_with(providers(&[&upstream]), settings()).await;
    assert_eq!(
        run(&node, &fixture.test().await, routed("a fox"))
            .await
            .provider,
        "sandbox"
    );
    assert_eq!(upstream.submissions(), 0);
}

#[tokio::test]
async fn an_upstream_that_was_asked_for_must_run_it() {
    let fixture = Fixture::new().await;
    let (first, second) = (Upstream::new("fal"), Upstream::new("kie"));
    let node = fixture
        .node_with(providers(&[&first, &second]), settings())
        .await;
    let caller = fixture.live().await;
    let request = Request {
        provider: Some("kie".to_owned()),
        ..routed("a fox")
    };
    assert_eq!(run(&node, &caller, request.clone()).await.provider, "kie");
    assert_eq!(first.submissions(), 0);
    // It has no way to work from pictures.
    let picture = Bytes::from_static(b"\x89PNG\r\n\x1a\n");
    let error = refused(
        &node,
        &caller,
        Request {
            reference_images: vec![Picture::Inline(picture)],
            ..request
        },
    )
    .await;
    assert!(
        matches!(error, SubmitError::ModelUnavailable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn adjustments_are_told_and_kept() {
    let fixture = Fixture::new().await;
    let (node, caller) = (fixture.node().await, fixture.live().await);
    let request = Request {
        resolution: Some("0.15K".to_owned()),
        ..picture("a fox")
    };
    let quote = node.quote(&caller, &request).await.unwrap();
    assert_eq!(
        (
            quote.credits,
            quote.fitted.resolution.as_str(),
            quote.fitted.adjustments.len()
        ),
        (20, "0.2K", 1)
    );
    let task = run(&node, &caller, request.clone()).await;
    let [adjustment] = task.adjustments.as_slice() else {
        panic!("one adjustment")
    };
    assert_eq!(
        (
            adjustment.field.as_str(),
            adjustment.asked.as_str(),
            adjustment.used.as_str()
        ),
        ("resolution", "0.15K", "0.2K")
    );
    assert_eq!(task.credits.charged, quote.credits);
    assert_eq!(
        fixture.node().await.get(&caller, task.id).await.unwrap(),
        task
    );
    let error = refused(
        &node,
        &caller,
        Request {
            strict: true,
            ..request
        },
    )
    .await;
    assert!(matches!(error, SubmitError::Unfit(_)), "{error}");
}

#[tokio::test]
async fn a_full_server_says_so_and_recovers() {
    let fixture = Fixture::new().await;
    let node = fixture
        .node_with(
            sandbox(),
            Settings {
                open_tasks_max: 1,
                ..settings()
            },
        )
        .await;
    let caller = fixture.live().await;
    let task = node
        .submit(&caller, picture("[sandbox:delay=10m] a fox"), None)
        .await
        .unwrap();
    assert!(matches!(
        refused(&node, &caller, picture("a fox")).await,
        SubmitError::Busy
    ));
    node.cancel(&caller, task.id).await.unwrap();
    super::fixture::ended(&node, &caller, task.id).await;
    super::fixture::until("the place is free", async || {
        node.submit(&caller, picture("a fox"), None).await.is_ok()
    })
    .await;
}
