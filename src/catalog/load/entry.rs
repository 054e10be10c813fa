//! Reads one `[[model]]` table.

use toml::Value;

use super::reader::Reader;
use super::{Entry, Retired, SECONDS_MAX, SIDE_MIN, capabilities, prices, routes};
use crate::catalog::model::{MediaType, Model, Status, Tier};
use crate::catalog::size::{SIDE_MAX, pixel_size};

const OUTPUTS_MAX: u32 = 100;
const REFERENCES_MAX: u32 = 100;
/// Fields that say nothing about an image.
const VIDEO_FIELDS: [&str; 4] = [
    "durations_seconds",
    "image_to_video",
    "first_last_frame",
    "audio",
];
/// Fields that say nothing about a video.
const IMAGE_FIELDS: [&str; 2] = ["max_side", "max_pixels"];

/// Reads an entry; `None` when it has a mistake, which is then noted.
pub(super) fn read(mut reader: Reader<'_>, maps: &routes::Maps) -> Option<Entry> {
    let slug = slug(&mut reader);
    if reader.flag("disabled") == Some(true) {
        return slug.map(Entry::Disabled);
    }
    let status = reader.choice(
        "status",
        &[
            ("active", Some(Status::Active)),
            ("deprecated", Some(Status::Deprecated)),
            ("retired", None),
        ],
    );
    let aliases = reader.texts("aliases");
    let replaced_by = reader.optional("replaced_by", "the slug of a model", |value| {
        value.as_str().map(str::to_owned)
    });
    if status == Some(None) {
        return Some(Entry::Retired(Retired {
            slug: slug?,
            aliases: aliases?,
            replaced_by: replaced_by?,
        }));
    }
    let model = model(reader, maps, slug, status.flatten(), aliases, replaced_by)?;
    Some(Entry::Runs(Box::new(model)))
}

fn slug(reader: &mut Reader<'_>) -> Option<String> {
    reader.required(
        "slug",
        "lowercase letters and digits with single hyphens between",
        |value| {
            let slug = value.as_str()?;
            let word = |word: &str| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            slug.split('-').all(word).then(|| slug.to_owned())
        },
    )
}

#[expect(
    clippy::option_option,
    reason = "the outer None is a mistake already noted"
)]
fn model(
    mut reader: Reader<'_>,
    maps: &routes::Maps,
    slug: Option<String>,
    status: Option<Status>,
    aliases: Option<Vec<String>>,
    replaced_by: Option<Option<String>>,
) -> Option<Model> {
    let before = reader.mistakes_count();
    let title = reader.text("title");
    let vendor = reader.text("vendor");
    let description = reader.text("description");
    let media = reader.choice("media", &MediaType::NAMED);
    let tier = reader.choice("tier", &Tier::NAMED);
    let deprecated_after = reader.optional(
        "deprecated_after",
        "a date such as 2026-11-17, without quotes",
        date,
    );
    let max_outputs = reader.number("max_outputs", 1..=OUTPUTS_MAX);
    let max_reference_images = reader.number("max_reference_images", 0..=REFERENCES_MAX);
    let seed = reader.flag("seed");
    let negative_prompt = reader.flag("negative_prompt");
    let typical_seconds = reader.numbers("typical_seconds", 1..=SECONDS_MAX);
    let typical_seconds = typical_seconds.and_then(|range| low_high(&mut reader, &range));
    // Nothing below can be judged without knowing what the model makes.
    let media = media?;
    refuse_foreign_fields(&mut reader, media);
    let resolutions = capabilities::resolutions(&mut reader, media);
    let aspect_ratios = capabilities::aspect_ratios(&mut reader);
    let durations_seconds = capabilities::durations(&mut reader, media);
    let image_to_video = reader.flag("image_to_video");
    let first_last_frame = reader.flag("first_last_frame");
    let audio = capabilities::audio(&mut reader, media);
    let size_limits = capabilities::size_limits(&mut reader);
    let routes = routes::read(&mut reader, maps, resolutions.as_deref());
    let defaults = capabilities::defaults(
        &mut reader,
        media,
        resolutions.as_deref(),
        aspect_ratios.as_deref(),
        durations_seconds.as_deref(),
    );
    let prices = match (&resolutions, &durations_seconds, audio) {
        (Some(resolutions), Some(durations), Some(audio)) => {
            prices::read(&mut reader, media, resolutions, durations, audio)
        }
        // The list at fault is named already; the table cannot be judged without it.
        _ => reader.table("price").and(None),
    };
    reader.finish();
    let model = Model {
        slug: slug?,
        title: title?,
        vendor: vendor?,
        description: description?,
        media,
        tier: tier?,
        status: status?,
        deprecated_after: deprecated_after?,
        replaced_by: replaced_by?,
        aliases: aliases?,
        resolutions: resolutions?,
        aspect_ratios: aspect_ratios?,
        durations_seconds: durations_seconds?,
        max_outputs: max_outputs?,
        max_reference_images: max_reference_images?,
        image_to_video: image_to_video?,
        first_last_frame: first_last_frame?,
        audio: audio?,
        seed: seed?,
        negative_prompt: negative_prompt?,
        typical_seconds: typical_seconds?,
        size_limits: size_limits?,
        defaults: defaults?,
        routes: routes?,
        prices: prices?,
    };
    check_sizes(&mut reader, &model);
    if model.first_last_frame && !model.image_to_video {
        reader.wrong("first_last_frame", "needs image_to_video = true beside it");
    }
    routes::check_reach(&mut reader, &model);
    (reader.mistakes_count() == before).then_some(model)
}

fn date(value: Value) -> Option<String> {
    let Value::Datetime(moment) = value else {
        return None;
    };
    let date = moment
        .date
        .filter(|_| moment.time.is_none() && moment.offset.is_none())?;
    Some(date.to_string())
}

fn low_high(reader: &mut Reader<'_>, range: &[u32]) -> Option<(u32, u32)> {
    if let [low, high] = range
        && low <= high
    {
        return Some((*low, *high));
    }
    reader.wrong(
        "typical_seconds",
        "must be the quick end and the slow end, such as [10, 40]",
    );
    None
}

fn refuse_foreign_fields(reader: &mut Reader<'_>, media: MediaType) {
    let (fields, others) = match media {
        MediaType::Image => (VIDEO_FIELDS.as_slice(), "videos"),
        MediaType::Video => (IMAGE_FIELDS.as_slice(), "images"),
    };
    for field in fields {
        if reader.drop_field(field) {
            reader.wrong(field, format!("is for {others} alone"));
        }
    }
}

fn check_sizes(reader: &mut Reader<'_>, model: &Model) {
    for resolution in &model.resolutions {
        for ratio in &model.aspect_ratios {
            let (width, height) = pixel_size(resolution, ratio, model.size_limits);
            if width.min(height) < SIDE_MIN || width.max(height) > SIDE_MAX {
                let message = format!(
                    "{resolution} at {ratio} makes {width}x{height}; sides go from {SIDE_MIN} to {SIDE_MAX}"
                );
                reader.wrong("resolutions", message);
            }
        }
    }
}
