//! One function for each field of a request: the value that the model will use, or `None` with the reason noted.

use super::{Ask, Notes};
use crate::catalog::model::{Audio, MediaType, Model};
use crate::catalog::size::{AspectRatio, Resolution};
use crate::catalog::spelling::{either, given, milliseconds, shapes_called};
use crate::providers::Operation;

impl Model {
    pub(super) fn fit_resolution(&self, ask: &Ask, notes: &mut Notes) -> Option<&Resolution> {
        const FIELD: &str = "resolution";
        let Some(text) = given(ask.resolution.as_deref()) else {
            return Some(&self.defaults.resolution);
        };
        let allowed = names(&self.resolutions);
        let makes = format!("{} makes {}", self.slug, either(&allowed));
        let Some(asked) = Resolution::parse(self.media, text) else {
            return notes.refuse(
                FIELD,
                text,
                format!("not a resolution of this model: {makes}"),
                allowed,
            );
        };
        let amount = asked.amount();
        match self
            .resolutions
            .iter()
            .find(|listed| listed.amount() >= amount)
        {
            Some(listed) if listed.amount() == amount => Some(listed),
            Some(listed) => {
                let why = format!("{makes}; {listed} is the next larger");
                notes.move_to(FIELD, text, listed, why, allowed)
            }
            None => notes.refuse(
                FIELD,
                text,
                format!("larger than the model can make: {makes}"),
                allowed,
            ),
        }
    }

    pub(super) fn fit_aspect_ratio(&self, ask: &Ask, notes: &mut Notes) -> Option<&AspectRatio> {
        let Some(text) =
            given(ask.aspect_ratio.as_deref()).filter(|text| !text.eq_ignore_ascii_case("auto"))
        else {
            return Some(&self.defaults.aspect_ratio);
        };
        let shapes: &[&str] = match shapes_called(text) {
            [] => &[text],
            shapes => shapes,
        };
        let listed = shapes.iter().find_map(|shape| {
            let shape = AspectRatio::parse(shape)?;
            self.aspect_ratios
                .iter()
                .find(|listed| listed.same_shape(&shape))
        });
        listed.or_else(|| {
            let allowed = names(&self.aspect_ratios);
            let message = format!("{} makes only {}", self.slug, either(&allowed));
            notes.refuse("aspect_ratio", text, message, allowed)
        })
    }

    /// The inner `None` is an image.
    pub(super) fn fit_duration(&self, ask: &Ask, notes: &mut Notes) -> Option<Option<u32>> {
        const FIELD: &str = "duration";
        let Some(text) = given(ask.duration.as_deref()) else {
            return Some(self.defaults.duration_seconds);
        };
        if self.media == MediaType::Image {
            let message = format!(
                "{} makes images, which have no duration; leave it out",
                self.slug
            );
            return notes.refuse(FIELD, text, message, Vec::new());
        }
        let allowed = names(&self.durations_seconds);
        let makes = format!(
            "{} makes videos of {} seconds",
            self.slug,
            lengths(&self.durations_seconds)
        );
        let Some(milliseconds) = milliseconds(text) else {
            return notes.refuse(
                FIELD,
                text,
                format!("not a number of seconds: {makes}"),
                allowed,
            );
        };
        let in_milliseconds = |seconds: u32| u64::from(seconds) * 1000;
        let listed = self.durations_seconds.iter().copied();
        match listed
            .clone()
            .find(|seconds| in_milliseconds(*seconds) >= milliseconds)
        {
            Some(seconds) if in_milliseconds(seconds) == milliseconds => Some(Some(seconds)),
            Some(seconds) => {
                let why = format!("{makes}; {seconds} is the next longer");
                notes.move_to(FIELD, text, seconds, why, allowed).map(Some)
            }
            None => notes.refuse(
                FIELD,
                text,
                format!("longer than the model can make: {makes}"),
                allowed,
            ),
        }
    }

    pub(super) fn fit_count(&self, ask: &Ask, notes: &mut Notes) -> Option<u32> {
        let count = ask.count.unwrap_or(1);
        if (1..=self.max_outputs).contains(&count) {
            return Some(count);
        }
        let allowed = up_to(1, self.max_outputs);
        let message = format!("{} makes {allowed} at a time", self.slug);
        notes.refuse("count", &count.to_string(), message, vec![allowed])
    }

    pub(super) fn fit_audio(&self, ask: &Ask, notes: &mut Notes) -> Option<bool> {
        const FIELD: &str = "audio";
        let sounds = self.audio != Audio::None;
        let Some(audio) = ask.audio else {
            return Some(sounds);
        };
        let asked = audio.to_string();
        if self.media == MediaType::Image {
            let message = format!(
                "{} makes images, which have no sound; leave it out",
                self.slug
            );
            return notes.refuse(FIELD, &asked, message, Vec::new());
        }
        if self.audio == Audio::Toggle || audio == sounds {
            return Some(audio);
        }
        let allowed = vec![sounds.to_string()];
        if sounds {
            let why = format!("every video by {} has sound", self.slug);
            notes.move_to(FIELD, &asked, true, why, allowed)
        } else {
            notes.refuse(
                FIELD,
                &asked,
                format!("videos by {} are silent", self.slug),
                allowed,
            )
        }
    }

    pub(super) fn fit_images(&self, ask: &Ask, notes: &mut Notes) -> Option<Operation> {
        self.operation_for(ask.reference_images).or_else(|| {
            let most = self.input_images_max();
            let message = match most {
                0 => format!("{} takes no images", self.slug),
                1 => format!("{} takes one image at most", self.slug),
                _ => format!("{} takes at most {most} images", self.slug),
            };
            notes.refuse(
                "reference_images",
                &ask.reference_images.to_string(),
                message,
                vec![up_to(0, most)],
            )
        })
    }
}

fn names<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn up_to(least: u32, most: u32) -> String {
    if least == most {
        least.to_string()
    } else {
        format!("{least} to {most}")
    }
}

/// The lengths in words; a long unbroken run of them by its ends.
fn lengths(seconds: &[u32]) -> String {
    match seconds {
        [first, .., last] if seconds.len() > 3 && seconds.is_sorted_by(|a, b| a + 1 == *b) => {
            up_to(*first, *last)
        }
        _ => either(&names(seconds)),
    }
}
