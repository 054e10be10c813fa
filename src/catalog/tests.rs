//! The built-in catalogue as a whole, and finding models by name.

use super::*;
use size::{SIDE_MAX, pixel_size};

#[test]
fn names_are_found_however_written() {
    let catalog = Catalog::builtin();
    for (name, slug) in [
        ("nano-banana-pro", "nano-banana-pro"),
        ("Nano.Banana_Pro", "nano-banana-pro"),
        (" nano banana pro ", "nano-banana-pro"),
        ("gemini-3-pro-image", "nano-banana-pro"),
        ("veo 3.1", "veo-3-1"),
        ("veo3.1", "veo-3-1"),
        ("VEO_3_1_FAST", "veo-3-1-fast"),
        ("gpt-image-2.5", "gpt-image-2-5-flare"),
    ] {
        let found = catalog.get(name).map(|model| model.slug.as_str());
        assert_eq!(found, Ok(slug), "{name}");
    }
}

#[test]
fn unknown_names_are_answered_with_near_ones() {
    let catalog = Catalog::builtin();
    let near = |name: &str| match catalog.get(name) {
        Err(LookupError::Unknown { near, .. }) => near,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(near("nano-bananna-pro")[0], "nano-banana-pro");
    assert_eq!(near("veo-3-2")[0], "veo-3-1");
    assert!(near("seedance-9").len() <= NEAR_MAX);
    assert_eq!(near("?!"), Vec::<String>::new());
    assert_eq!(near(""), Vec::<String>::new());
    let told = catalog.get("klinng-4").expect_err("unknown").to_string();
    assert!(
        told.starts_with("there is no model \"klinng-4\"; did you mean kling-4-0"),
        "{told}"
    );
    let told = catalog
        .get(&"x".repeat(9000))
        .expect_err("unknown")
        .to_string();
    assert!(told.len() < 200, "{told}");
}

#[test]
fn retired_models_name_their_replacement() {
    let catalog = Catalog::builtin();
    for name in ["sora-2", "Sora 2", "sora-2-pro"] {
        let gone = catalog.get(name).expect_err("retired");
        assert_eq!(
            gone.to_string(),
            "the model sora-2 is no longer served; use seedance-2-0 instead"
        );
    }
    assert!(catalog.models().iter().all(|model| model.slug != "sora-2"));
}

#[test]
fn deprecated_models_still_run() {
    let catalog = Catalog::builtin();
    let veo = catalog.get("veo-3-1").expect("runs");
    assert_eq!(veo.status, Status::Deprecated);
    assert_eq!(veo.deprecated_after.as_deref(), Some("2026-11-17"));
    assert_eq!(veo.replaced_by.as_deref(), Some("gemini-omni-1-2"));
}

#[test]
fn every_request_that_a_model_lists_has_a_size_and_a_price() {
    let catalog = Catalog::builtin();
    assert!(catalog.models().len() >= 24);
    for model in catalog.models() {
        let lengths: Vec<Option<String>> = match model.media {
            MediaType::Image => vec![None],
            MediaType::Video => model
                .durations_seconds
                .iter()
                .map(|s| Some(s.to_string()))
                .collect(),
        };
        for resolution in &model.resolutions {
            for ratio in &model.aspect_ratios {
                for duration in &lengths {
                    let ask = Ask {
                        resolution: Some(resolution.to_string()),
                        aspect_ratio: Some(ratio.to_string()),
                        duration: duration.clone(),
                        strict: true,
                        ..Ask::default()
                    };
                    check(model, &ask);
                }
            }
        }
    }
}

fn check(model: &Model, ask: &Ask) {
    let context = format!("{} {ask:?}", model.slug);
    let fitted = model.fit(ask).expect(&context);
    match model.price(&fitted) {
        Ok(price) => assert!(price >= 1, "{context}"),
        // A clip of one length may cost nothing because there is none.
        Err(_) => assert_eq!(model.price_rows()[0].unit, Unit::Clip, "{context}"),
    }
    assert!(
        fitted.width.is_multiple_of(2) && fitted.height.is_multiple_of(2),
        "{context}"
    );
    assert!((64..=SIDE_MAX).contains(&fitted.width), "{context}");
    assert!((64..=SIDE_MAX).contains(&fitted.height), "{context}");
    let ratio = AspectRatio::parse(&fitted.aspect_ratio).expect(&context);
    let resolution = Resolution::parse(model.media, &fitted.resolution).expect(&context);
    let size = pixel_size(&resolution, &ratio, model.size_limits);
    assert_eq!((fitted.width, fitted.height), size, "{context}");
    assert!(
        model
            .routes_for(Operation::Text, &fitted.resolution)
            .next()
            .is_some(),
        "{context}"
    );
}

#[test]
fn larger_resolutions_never_cost_less() {
    for model in Catalog::builtin().models() {
        let costs: Vec<i64> = model
            .resolutions
            .iter()
            .map(|resolution| {
                let ask = Ask {
                    resolution: Some(resolution.to_string()),
                    ..Ask::default()
                };
                model
                    .fit(&ask)
                    .map(|fitted| model.price(&fitted))
                    .expect("fits")
                    .expect("priced")
            })
            .collect();
        assert!(costs.is_sorted(), "{} {costs:?}", model.slug);
    }
}

#[test]
fn routes_are_offered_where_they_reach() {
    let catalog = Catalog::builtin();
    let ids = |slug: &str, operation, resolution: &str| -> Vec<String> {
        let model = catalog.get(slug).expect("a model");
        let routes = model.routes_for(operation, resolution);
        routes
            .map(|(route, id)| format!("{} {id}", route.provider))
            .collect()
    };
    assert_eq!(
        ids("hailuo-2-3", Operation::ImageToVideo, "1080p")[0],
        "fal fal-ai/minimax/hailuo-2.3/pro/image-to-video"
    );
    let subjects = ids("veo-3-1", Operation::ReferenceToVideo, "4k");
    assert_eq!(subjects, ["fal fal-ai/veo3.1/reference-to-video"]);
    assert!(ids("z-image-turbo", Operation::Edit, "1K").is_empty());
}

#[test]
fn there_is_a_free_model_of_each_kind() {
    let catalog = Catalog::builtin();
    for media in [MediaType::Image, MediaType::Video] {
        let free = |model: &&Model| model.media == media && model.tier == Tier::Free;
        assert!(
            catalog.models().iter().any(|model| free(&model)),
            "{}",
            media.as_str()
        );
    }
}
