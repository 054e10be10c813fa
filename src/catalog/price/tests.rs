//! Prices of built-in models, the one rounding, and refusals.

use crate::catalog::{Ask, Catalog};

fn ask(resolution: &str, duration: Option<&str>) -> Ask {
    Ask {
        resolution: Some(resolution.to_owned()),
        duration: duration.map(str::to_owned),
        ..Ask::default()
    }
}

fn credits(slug: &str, ask: &Ask) -> i64 {
    let catalog = Catalog::builtin();
    let model = catalog.get(slug).expect("a model");
    let fitted = model.fit(ask).expect("a request that fits");
    model.price(&fitted).expect("a price")
}

#[test]
fn a_price_is_the_list_price_and_fifteen_percent_rounded_up_once() {
    // In comments: US cents by the list, times 1.15.
    let four = Ask {
        count: Some(4),
        ..ask("1K", None)
    };
    let silent = Ask {
        audio: Some(false),
        ..ask("1080p", Some("8"))
    };
    for (slug, ask, expected) in [
        ("nano-banana-pro", ask("2K", None), 16),        // 15.41
        ("nano-banana-pro", ask("4K", None), 28),        // 27.6
        ("z-image-turbo", ask("1K", None), 1),           // 0.575
        ("z-image-turbo", four, 3),                      // 2.3, not 4
        ("veo-3-1", ask("1080p", Some("6")), 276),       // 40 × 6 × 1.15
        ("veo-3-1", silent, 184),                        // 20 × 8 × 1.15
        ("gemini-omni-1-2", ask("360p", Some("3")), 14), // 13.455
        ("hailuo-2-3", ask("768p", Some("6")), 33),      // 32.2
        ("hailuo-2-3", ask("768p", Some("10")), 65),     // 64.4
    ] {
        assert_eq!(credits(slug, &ask), expected, "{slug} {ask:?}");
    }
}

#[test]
fn a_part_of_a_request_costs_its_part() {
    let catalog = Catalog::builtin();
    let model = catalog.get("gpt-image-2").expect("a model");
    let whole = model
        .fit(&Ask {
            count: Some(10),
            ..Ask::default()
        })
        .expect("ten are allowed");
    let part = crate::catalog::Fitted {
        count: 3,
        ..whole.clone()
    };
    assert_eq!(model.price(&whole), Ok(61)); // 60.95
    assert_eq!(model.price(&part), Ok(19)); // 18.285
}

#[test]
fn what_has_no_price_does_not_run() {
    let without_4k = r#"
        [[model]]
        slug = "unpriced"
        title = "Unpriced"
        vendor = "nobody"
        description = "Has no price for 4K."
        media = "image"
        tier = "free"
        status = "active"
        resolutions = ["1K", "4K"]
        aspect_ratios = ["1:1"]
        max_outputs = 4
        max_reference_images = 0
        typical_seconds = [1, 2]
        routes = [{ provider = "fal", model = "x" }]
        defaults = { resolution = "1K", aspect_ratio = "1:1" }
        price = { unit = "image", millicredits = { "1K" = 1 } }
    "#;
    let catalog = Catalog::load(without_4k).expect("a sound file");
    let model = catalog.get("unpriced").expect("a model");
    let priced = |ask: &Ask| model.price(&model.fit(ask).expect("a request that fits"));
    assert_eq!(
        priced(&ask("1K", None)),
        Ok(1),
        "the smallest price is one credit"
    );
    let refused = priced(&ask("4K", None)).expect_err("no price, no run");
    assert_eq!(
        refused.to_string(),
        "the model unpriced has no price for 1 × 4K, so it cannot run that way"
    );
}

#[test]
fn the_price_table_is_shown_smallest_first() {
    let catalog = Catalog::builtin();
    let rows = catalog.get("veo-3-1").expect("a model").price_rows();
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.resolution.as_str(), row.audio, row.millicredits))
        .collect();
    assert_eq!(
        shown,
        [
            ("720p", Some(true), 46_000),
            ("720p", Some(false), 23_000),
            ("1080p", Some(true), 46_000),
            ("1080p", Some(false), 23_000),
            ("4k", Some(true), 69_000),
            ("4k", Some(false), 46_000),
        ]
    );
}
