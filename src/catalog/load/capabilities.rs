//! Reads what a model can do: its resolutions, shapes, lengths, sound and limits, and its choice among them.

use super::reader::Reader;
use super::{SECONDS_MAX, SIDE_MIN};
use crate::catalog::model::{Audio, Defaults, MediaType};
use crate::catalog::size::{AspectRatio, RATIO_MAX, Resolution, SIDE_MAX, SizeLimits};

pub(super) fn resolutions(reader: &mut Reader<'_>, media: MediaType) -> Option<Vec<Resolution>> {
    const FIELD: &str = "resolutions";
    let must_be = match media {
        MediaType::Image => "a resolution such as 1K or 2MP",
        MediaType::Video => "a resolution such as 720p or 4k",
    };
    let resolutions = parsed(reader, FIELD, must_be, |name| {
        Resolution::parse(media, name)
    })?;
    if !resolutions.is_sorted_by(|a, b| a.amount() < b.amount()) {
        reader.wrong(FIELD, "must go from the smallest to the largest");
        return None;
    }
    Some(resolutions)
}

pub(super) fn aspect_ratios(reader: &mut Reader<'_>) -> Option<Vec<AspectRatio>> {
    let must_be = format!("a ratio such as 16:9, at most {RATIO_MAX}:1");
    let bounded = |name: &str| AspectRatio::parse(name).filter(|ratio| !ratio.is_extreme());
    parsed(reader, "aspect_ratios", &must_be, bounded)
}

/// Reads a list of texts that must not be empty, noting every text that cannot be read.
fn parsed<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    must_be: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let texts = reader.texts(field)?;
    if texts.is_empty() {
        reader.wrong(field, "must name at least one");
        return None;
    }
    let mut items = Vec::new();
    for text in &texts {
        let item = parse(text);
        if item.is_none() {
            reader.wrong(field, format!("\"{text}\" must be {must_be}"));
        }
        items.push(item);
    }
    items.into_iter().collect()
}

pub(super) fn durations(reader: &mut Reader<'_>, media: MediaType) -> Option<Vec<u32>> {
    const FIELD: &str = "durations_seconds";
    let durations = reader.numbers(FIELD, 1..=SECONDS_MAX)?;
    let missing = durations.is_empty() && media == MediaType::Video;
    if missing || !durations.is_sorted_by(|a, b| a < b) {
        reader.wrong(
            FIELD,
            "must name at least one, from the shortest to the longest",
        );
        return None;
    }
    Some(durations)
}

pub(super) fn audio(reader: &mut Reader<'_>, media: MediaType) -> Option<Audio> {
    match media {
        MediaType::Image => Some(Audio::None),
        MediaType::Video => reader.choice("audio", &Audio::NAMED),
    }
}

pub(super) fn size_limits(reader: &mut Reader<'_>) -> Option<SizeLimits> {
    let side_max = reader.optional_number("max_side", SIDE_MIN..=SIDE_MAX);
    let pixels_max =
        reader.optional_number("max_pixels", SIDE_MIN * SIDE_MIN..=SIDE_MAX * SIDE_MAX);
    Some(SizeLimits {
        side_max: side_max?,
        pixels_max: pixels_max?.map(u64::from),
    })
}

pub(super) fn defaults(
    reader: &mut Reader<'_>,
    media: MediaType,
    resolutions: Option<&[Resolution]>,
    ratios: Option<&[AspectRatio]>,
    durations: Option<&[u32]>,
) -> Option<Defaults> {
    let table = reader.table("defaults")?;
    let mut reader = reader.within("defaults", table);
    let resolution = reader.text("resolution");
    let aspect_ratio = reader.text("aspect_ratio");
    let duration = match media {
        MediaType::Image => Some(None),
        MediaType::Video => reader.number("duration_seconds", 1..=SECONDS_MAX).map(Some),
    };
    reader.finish();
    let aspect_ratio = listed(&mut reader, "aspect_ratio", aspect_ratio, ratios);
    let resolution = listed(&mut reader, "resolution", resolution, resolutions);
    let duration_seconds = match duration? {
        None => Some(None),
        asked => listed(&mut reader, "duration_seconds", asked, durations).map(Some),
    };
    Some(Defaults {
        resolution: resolution?,
        aspect_ratio: aspect_ratio?,
        duration_seconds: duration_seconds?,
    })
}

/// The item of a model's list that a default names. A list that could not be read has been noted where it stands.
fn listed<T: Clone + ToString>(
    reader: &mut Reader<'_>,
    field: &str,
    name: Option<impl ToString>,
    all: Option<&[T]>,
) -> Option<T> {
    let (name, all) = (name?.to_string(), all?);
    let found = all.iter().find(|item| item.to_string() == name);
    if found.is_none() {
        reader.wrong(field, "must be one of those that the model lists");
    }
    found.cloned()
}
