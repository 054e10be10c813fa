//! Requests that fit, that are moved, and that are refused.

use crate::catalog::{Adjustment, Ask, Catalog, Fitted, Operation, Unfit};

fn fit(slug: &str, ask: &Ask) -> Result<Fitted, Unfit> {
    let catalog = Catalog::builtin();
    catalog.get(slug).expect("a model").fit(ask)
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// An ask of resolution, aspect ratio and duration; empty texts are left out.
fn ask(resolution: &str, aspect_ratio: &str, duration: &str) -> Ask {
    Ask {
        resolution: text(resolution),
        aspect_ratio: text(aspect_ratio),
        duration: text(duration),
        ..Ask::default()
    }
}

/// The one field refused and what is allowed in it.
fn refused(slug: &str, ask: &Ask) -> (&'static str, Vec<String>) {
    let unfit = fit(slug, ask).expect_err("a request that does not fit");
    assert_eq!(unfit.violations.len(), 1, "{unfit}");
    (
        unfit.violations[0].field,
        unfit.violations[0].allowed.clone(),
    )
}

#[test]
fn an_image_as_asked() {
    let fitted = fit("nano-banana-pro", &ask("2K", "16:9", "")).expect("fits");
    assert_eq!(
        fitted,
        Fitted {
            resolution: "2K".to_owned(),
            aspect_ratio: "16:9".to_owned(),
            width: 2752,
            height: 1536,
            duration_seconds: None,
            count: 1,
            audio: false,
            operation: Operation::Text,
            adjustments: Vec::new(),
        }
    );
}

#[test]
fn a_video_moved_to_the_next_length() {
    let fitted = fit("veo-3-1", &ask("1080p", "", "5")).expect("fits");
    assert_eq!(
        fitted,
        Fitted {
            resolution: "1080p".to_owned(),
            aspect_ratio: "16:9".to_owned(),
            width: 1920,
            height: 1080,
            duration_seconds: Some(6),
            count: 1,
            audio: true,
            operation: Operation::Text,
            adjustments: vec![Adjustment {
                field: "duration",
                asked: "5".to_owned(),
                used: "6".to_owned(),
                why: "veo-3-1 makes videos of 4, 6 or 8 seconds; 6 is the next longer".to_owned(),
            }],
        }
    );
}

#[test]
fn spellings_are_no_adjustments() {
    for (slug, asked, expected) in [
        (
            "nano-banana-pro",
            ask("2k", "16x9", ""),
            ("2K", "16:9", None),
        ),
        (
            "nano-banana-pro",
            ask("2048", "1920x1080", ""),
            ("2K", "16:9", None),
        ),
        ("flux-2-pro", ask("1K", "square", ""), ("1MP", "1:1", None)),
        ("gpt-image-2", ask("", "portrait", ""), ("1K", "9:16", None)),
        (
            "veo-3-1",
            ask("1080P", "16/9", "6s"),
            ("1080p", "16:9", Some(6)),
        ),
        (
            "veo-3-1",
            ask("4K", "landscape", "8.0"),
            ("4k", "16:9", Some(8)),
        ),
        (
            "veo-3-1",
            ask("1080", "Vertical", "8 seconds"),
            ("1080p", "9:16", Some(8)),
        ),
        (
            "ltx-2-3",
            ask("4k", "auto", " "),
            ("2160p", "16:9", Some(6)),
        ),
        ("veo-3-1", ask("", "", ""), ("720p", "16:9", Some(8))),
    ] {
        let strict = Ask {
            strict: true,
            ..asked
        };
        let fitted = fit(slug, &strict).expect("fits, even strictly");
        let found = (
            fitted.resolution.as_str(),
            fitted.aspect_ratio.as_str(),
            fitted.duration_seconds,
        );
        assert_eq!(found, expected, "{slug} {strict:?}");
        assert_eq!(fitted.adjustments, [], "{slug} {strict:?}");
    }
}

#[test]
fn values_move_up_and_strictness_refuses_that() {
    let silent = Ask {
        audio: Some(false),
        ..Ask::default()
    };
    for (slug, asked, field, used) in [
        ("veo-3-1", ask("", "", "1"), "duration", "4"),
        ("veo-3-1", ask("", "", "6.5"), "duration", "8"),
        ("wan-3-0", ask("", "", "11s"), "duration", "15"),
        ("veo-3-1", ask("480p", "", ""), "resolution", "720p"),
        ("veo-3-1", ask("2k", "", ""), "resolution", "4k"),
        ("seedream-4-5", ask("1K", "", ""), "resolution", "2K"),
        ("seedream-4-5", ask("3K", "", ""), "resolution", "4K"),
        ("gemini-omni-1-2", silent, "audio", "true"),
    ] {
        let fitted = fit(slug, &asked).expect("moves");
        let moves: Vec<_> = fitted
            .adjustments
            .iter()
            .map(|adjustment| (adjustment.field, adjustment.used.as_str()))
            .collect();
        assert_eq!(moves, [(field, used)], "{slug} {asked:?}");
        let strict = Ask {
            strict: true,
            ..asked
        };
        assert_eq!(refused(slug, &strict).0, field, "{slug} {strict:?}");
    }
}

#[test]
fn what_has_no_neighbour_upwards_is_refused() {
    let veo = |field: &'static str, allowed: &[&str]| {
        (field, allowed.iter().map(ToString::to_string).collect())
    };
    for (asked, expected) in [
        (ask("", "", "9"), veo("duration", &["4", "6", "8"])),
        (ask("", "", "soon"), veo("duration", &["4", "6", "8"])),
        (ask("", "", "0"), veo("duration", &["4", "6", "8"])),
        (
            ask("8k", "", ""),
            veo("resolution", &["720p", "1080p", "4k"]),
        ),
        (
            ask("1K", "", ""),
            veo("resolution", &["720p", "1080p", "4k"]),
        ),
        (ask("", "4:3", ""), veo("aspect_ratio", &["16:9", "9:16"])),
        (
            ask("", "square", ""),
            veo("aspect_ratio", &["16:9", "9:16"]),
        ),
        (ask("", "wild", ""), veo("aspect_ratio", &["16:9", "9:16"])),
    ] {
        assert_eq!(refused("veo-3-1", &asked), expected, "{asked:?}");
    }
}

#[test]
fn sound_is_given_where_the_model_can() {
    let with = |audio| Ask {
        audio,
        ..Ask::default()
    };
    for (slug, asked, expected) in [
        ("veo-3-1", None, true),
        ("veo-3-1", Some(false), false),
        ("veo-3-1", Some(true), true),
        ("kling-2-5-turbo", None, false),
        ("kling-2-5-turbo", Some(false), false),
        ("wan-2-6", None, true),
        ("wan-2-6", Some(true), true),
    ] {
        let fitted = fit(slug, &with(asked)).expect("fits");
        assert_eq!(fitted.audio, expected, "{slug} {asked:?}");
        assert_eq!(fitted.adjustments, [], "{slug} {asked:?}");
    }
    let allowed = vec!["false".to_owned()];
    assert_eq!(
        refused("kling-2-5-turbo", &with(Some(true))),
        ("audio", allowed)
    );
}

#[test]
fn images_have_neither_length_nor_sound() {
    assert_eq!(
        refused("nano-banana-pro", &ask("", "", "5")),
        ("duration", Vec::new())
    );
    let sounding = Ask {
        audio: Some(true),
        ..Ask::default()
    };
    assert_eq!(refused("nano-banana-pro", &sounding), ("audio", Vec::new()));
}

#[test]
fn counts_have_bounds() {
    let counted = |count| Ask {
        count: Some(count),
        ..Ask::default()
    };
    assert_eq!(fit("gpt-image-2", &counted(10)).expect("fits").count, 10);
    let allowed = vec!["1 to 10".to_owned()];
    assert_eq!(
        refused("gpt-image-2", &counted(0)),
        ("count", allowed.clone())
    );
    assert_eq!(refused("gpt-image-2", &counted(11)), ("count", allowed));
    assert_eq!(
        refused("veo-3-1", &counted(2)),
        ("count", vec!["1".to_owned()])
    );
}

#[test]
fn images_given_tell_the_operation() {
    let given = |images| Ask {
        reference_images: images,
        ..Ask::default()
    };
    for (slug, images, expected) in [
        ("nano-banana-pro", 0, Operation::Text),
        ("nano-banana-pro", 14, Operation::Edit),
        ("veo-3-1", 1, Operation::ImageToVideo),
        ("veo-3-1", 3, Operation::ReferenceToVideo),
        ("kling-2-5-turbo", 2, Operation::FirstLastFrame),
        ("hailuo-2-3", 1, Operation::ImageToVideo),
    ] {
        assert_eq!(
            fit(slug, &given(images)).expect("fits").operation,
            expected,
            "{slug} {images}"
        );
    }
    for (slug, images, allowed) in [
        ("nano-banana-pro", 15, "0 to 14"),
        ("z-image-turbo", 1, "0"),
        ("kling-2-5-turbo", 3, "0 to 2"),
        ("hailuo-2-3", usize::MAX, "0 to 1"),
    ] {
        let expected = ("reference_images", vec![allowed.to_owned()]);
        assert_eq!(refused(slug, &given(images)), expected, "{slug} {images}");
    }
}

#[test]
fn one_answer_names_every_fault() {
    let wrong = Ask {
        resolution: text("1080p"),
        aspect_ratio: text("5:1"),
        duration: text(&"9".repeat(500)),
        count: Some(99),
        audio: Some(true),
        reference_images: 99,
        strict: false,
    };
    let unfit = fit("nano-banana-pro", &wrong).expect_err("nothing fits");
    let fields: Vec<_> = unfit
        .violations
        .iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(
        fields,
        [
            "resolution",
            "aspect_ratio",
            "duration",
            "count",
            "audio",
            "reference_images"
        ]
    );
    assert!(
        unfit
            .violations
            .iter()
            .all(|violation| violation.asked.len() <= 64)
    );
    let told = unfit.to_string();
    assert!(
        told.starts_with("resolution: not a resolution of this model: nano-banana-pro makes 1K, 2K or 4K; aspect_ratio: "),
        "{told}"
    );
}
