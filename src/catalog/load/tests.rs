//! What the operator's file can do, and how its mistakes are told.

use super::*;
use crate::catalog::LookupError;

/// A sound image model, to be changed by each test.
const PENCIL: &str = r#"
[[model]]
slug = "pencil"
title = "Pencil"
vendor = "us"
description = "Draws."
media = "image"
tier = "free"
status = "active"
resolutions = ["1K", "2K"]
aspect_ratios = ["1:1", "16:9"]
max_outputs = 4
max_reference_images = 1
typical_seconds = [1, 2]
routes = [{ provider = "fal", model = "pencil", edit = "pencil/edit" }]
defaults = { resolution = "1K", aspect_ratio = "1:1" }
price = { unit = "image", millicredits = { "1K" = 1000, "2K" = 2000 } }
"#;

fn mistakes(text: &str) -> Vec<(String, String)> {
    match Catalog::load(text) {
        Err(CatalogError::Mistakes(mistakes)) => {
            mistakes.into_iter().map(|m| (m.model, m.field)).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn slugs(catalog: &Catalog) -> Vec<&str> {
    catalog
        .models()
        .iter()
        .map(|model| model.slug.as_str())
        .collect()
}

#[test]
fn an_empty_file_changes_nothing() {
    let (builtin, loaded) = (
        Catalog::builtin(),
        Catalog::load("# nothing").expect("sound"),
    );
    assert_eq!(builtin.models(), loaded.models());
}

#[test]
fn a_new_slug_adds_at_the_end() {
    let builtin = Catalog::builtin();
    let catalog = Catalog::load(PENCIL).expect("sound");
    let mut expected = slugs(&builtin);
    expected.push("pencil");
    assert_eq!(slugs(&catalog), expected);
}

#[test]
fn a_known_slug_replaces_in_place() {
    let text = PENCIL.replace("slug = \"pencil\"", "slug = \"nano-banana-pro\"");
    let catalog = Catalog::load(&text).expect("sound");
    assert_eq!(slugs(&catalog), slugs(&Catalog::builtin()));
    assert_eq!(
        catalog.get("nano-banana-pro").expect("runs").title,
        "Pencil"
    );
}

#[test]
fn disabled_removes_the_model_and_its_names() {
    let text = "[[model]]\nslug = \"nano-banana-2-1\"\ndisabled = true";
    let catalog = Catalog::load(text).expect("sound");
    let gone = catalog.get("nano-banana-2-1").expect_err("removed");
    assert!(matches!(gone, LookupError::Unknown { .. }), "{gone}");
    // What pointed to it points to nothing now.
    assert_eq!(catalog.get("nano-banana").expect("runs").replaced_by, None);
    let gone = catalog.get("imagen-4").expect_err("retired");
    assert_eq!(gone.to_string(), "the model imagen-4 is no longer served");
}

#[test]
fn replacements_lead_past_retired_models() {
    let text = r#"
        [[model]]
        slug = "gemini-omni-1-2"
        status = "retired"
        replaced_by = "kling-4-0"
        title = "a retired entry may keep the fields of its days"
    "#;
    let catalog = Catalog::load(text).expect("sound");
    assert_eq!(
        catalog.get("veo-3-1").expect("runs").replaced_by.as_deref(),
        Some("kling-4-0")
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = r#"
        modle = 1
        [[model]]
        slug = "Pencil Two"
        vendor = ""
        description = 5
        media = "image"
        tier = "cheap"
        status = "active"
        resolutions = ["2K", "1K", "1080p"]
        aspect_ratios = ["16-9"]
        max_outputs = 0
        max_reference_images = -1
        audio = "always"
        typical_seconds = [9, 2]
        routes = [{ provider = "fal", modle = "x" }]
        defaults = { resolution = "1K", aspect_ratio = "1:1" }
        [[model]]
        slug = "gone"
        disabled = true
        [[model]]
        status = "retired"
        replaced_by = "nobody"
        [[model]]
        slug = "old"
        status = "retired"
        replaced_by = "nobody"
    "#;
    let told = mistakes(text);
    let expected = [
        ("file", "modle"),
        ("Pencil Two", "slug"),
        ("Pencil Two", "title"),
        ("Pencil Two", "vendor"),
        ("Pencil Two", "description"),
        ("Pencil Two", "tier"),
        ("Pencil Two", "max_outputs"),
        ("Pencil Two", "max_reference_images"),
        ("Pencil Two", "typical_seconds"),
        ("Pencil Two", "audio"),
        ("Pencil Two", "resolutions"),
        ("Pencil Two", "aspect_ratios"),
        ("Pencil Two", "routes.1.model"),
        ("Pencil Two", "routes.1.modle"),
        ("Pencil Two", "price"),
        ("model 3", "slug"),
        ("gone", "disabled"),
        ("old", "replaced_by"),
    ];
    let told: Vec<(&str, &str)> = told.iter().map(|(m, f)| (m.as_str(), f.as_str())).collect();
    assert_eq!(told, expected);
}

/// Each change of the sound model makes exactly one mistake, told at its field.
#[test]
fn each_mistake_is_told_at_its_field() {
    for (was, is, field) in [
        ("slug = \"pencil\"", "slug = \"pencil--2\"", "slug"),
        ("media = \"image\"", "media = \"sound\"", "media"),
        ("\"1K\", \"2K\"]", "\"2K\", \"1K\"]", "resolutions"),
        ("\"1:1\", \"16:9\"]", "\"1:1\", \"99:1\"]", "aspect_ratios"),
        (
            "aspect_ratio = \"1:1\"",
            "aspect_ratio = \"4:3\"",
            "defaults.aspect_ratio",
        ),
        (
            "resolution = \"1K\"",
            "resolution = \"4K\"",
            "defaults.resolution",
        ),
        ("\"1K\" = 1000", "\"1K\" = 0", "price.millicredits.1K"),
        ("\"1K\" = 1000", "\"1K\" = 1.5", "price.millicredits.1K"),
        ("\"1K\" = 1000", "\"3K\" = 1000", "price.millicredits.3K"),
        ("unit = \"image\"", "unit = \"second\"", "price.unit"),
        (
            "unit = \"image\"",
            "unit = \"image\", without_audio = {}",
            "price.without_audio",
        ),
        (", edit = \"pencil/edit\"", "", "routes"),
        (
            "edit = \"pencil/edit\"",
            "edit = \"e\", resolutions = [\"1K\"]",
            "routes",
        ),
        (
            "edit = \"pencil/edit\"",
            "edit = \"e\", resolutions = [\"1K\", \"2K\", \"3K\"]",
            "routes.1.resolutions",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\nmax_output = 4",
            "max_output",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\ndeprecated_after = \"soon\"",
            "deprecated_after",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\naliases = [\"veo 3.1\"]",
            "aliases",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\naliases = [\"--\"]",
            "aliases",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\nreplaced_by = \"nobody\"",
            "replaced_by",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\nreplaced_by = \"pencil\"",
            "replaced_by",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\nmax_side = 16",
            "max_side",
        ),
        (
            "max_outputs = 4",
            "max_outputs = 4\ndurations_seconds = [4]",
            "durations_seconds",
        ),
    ] {
        assert!(PENCIL.contains(was), "{was}");
        let told = mistakes(&PENCIL.replace(was, is));
        let fields: Vec<&str> = told.iter().map(|(_, field)| field.as_str()).collect();
        assert_eq!(fields, [field], "{is}");
    }
}

#[test]
fn two_of_a_name_are_refused() {
    assert_eq!(
        mistakes(&format!("{PENCIL}{PENCIL}"))[0],
        ("pencil".into(), "slug".into())
    );
    let almost = PENCIL.replace("slug = \"pencil\"", "slug = \"pen-cil\"");
    assert_eq!(
        mistakes(&format!("{PENCIL}{almost}")),
        [("pen-cil".into(), "slug".into())]
    );
}

#[test]
fn replacements_in_a_circle_are_refused() {
    let text = r#"
        [[model]]
        slug = "one"
        status = "retired"
        replaced_by = "two"
        [[model]]
        slug = "two"
        status = "retired"
        replaced_by = "one"
    "#;
    let expected = [("one", "replaced_by"), ("two", "replaced_by")];
    assert_eq!(
        mistakes(text),
        expected.map(|(m, f)| (m.to_owned(), f.to_owned()))
    );
}

#[test]
fn the_text_of_the_error_names_model_and_field() {
    let text = PENCIL.replace("max_outputs", "max_output");
    let error = Catalog::load(&text).expect_err("two mistakes");
    assert_eq!(
        error.to_string(),
        "the model file has mistakes:\
         \n  pencil: max_outputs: is missing; it must be a whole number from 1 to 100\
         \n  pencil: max_output: is not known here; did you mean max_outputs?"
    );
    let broken = Catalog::load("[[model").expect_err("no TOML");
    assert!(matches!(broken, CatalogError::Syntax(_)), "{broken}");
}
