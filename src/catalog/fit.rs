//! Fits a request to a model: reads lenient spellings, fills in defaults, moves a value to its neighbour upwards and says so, and refuses
//! the rest, every fault at once.
//!
//! | field | moves up | refused |
//! |---|---|---|
//! | `resolution` | to the next larger on the model's scale | above the largest, or not on the scale |
//! | `duration` | to the next longer | above the longest: less than asked is not what was asked |
//! | `aspect_ratio` | never: no shape is a neighbour of another | when the model does not list it |
//! | `audio` | off to on, where the model cannot be silent | on, where it cannot sound |
//! | `count`, `reference_images` | never | outside the model's bounds |
//!
//! A strict request refuses whatever would move. Spelling (`2k`, `16x9`, `5s`) is never a move. Pure: no clock, no I/O.

use std::fmt;

use super::model::Model;
use super::size::pixel_size;
use super::spelling::echo;
use crate::providers::Operation;

mod fields;

/// What a caller asks of a model. What is `None` or blank is the model's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// In any spelling that [`Resolution::parse`](super::Resolution::parse) reads.
    pub resolution: Option<String>,
    /// Such as `16:9` or `16x9`, or a word such as `portrait`; `auto` leaves the choice to the model.
    pub aspect_ratio: Option<String>,
    /// In seconds, with or without the unit.
    pub duration: Option<String>,
    /// How many results; 1 unless told otherwise.
    pub count: Option<u32>,
    /// Whether the video is to have sound; unless told otherwise it has, where the model can.
    pub audio: Option<bool>,
    /// How many images are given.
    pub reference_images: usize,
    /// Refuse instead of adjusting.
    pub strict: bool,
}

/// A request that the model can run as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// Spelled as the model lists it.
    pub resolution: String,
    /// Spelled as the model lists it.
    pub aspect_ratio: String,
    /// In pixels; even for videos.
    pub width: u32,
    /// In pixels; even for videos.
    pub height: u32,
    /// Present for videos alone.
    pub duration_seconds: Option<u32>,
    /// At least 1.
    pub count: u32,
    /// Whether the result has sound; images have none.
    pub audio: bool,
    /// What the number of images given makes of the request.
    pub operation: Operation,
    /// What was changed to make the request fit.
    pub adjustments: Vec<Adjustment>,
}

/// A value that was moved to one that the model can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The field, named as in the API.
    pub field: &'static str,
    /// The value as the caller wrote it, cut to a length fit for an answer.
    pub asked: String,
    /// The value that the run takes in its place.
    pub used: String,
    /// What the model can make, and so why the value moved, in words for the caller.
    pub why: String,
}

/// A value that the model cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, named as in the API.
    pub field: &'static str,
    /// The value as the caller wrote it, cut to a length fit for an answer.
    pub asked: String,
    /// Why it cannot be taken, in words for the caller; the field is not repeated in them.
    pub message: String,
    /// The values that would do; empty when none would.
    pub allowed: Vec<String>,
}

/// A request that the model cannot run, with every reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unfit {
    /// The slug of the model.
    pub model: String,
    /// Never empty.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field, violation.message)?;
        }
        Ok(())
    }
}

/// What was found on the way through the fields.
struct Notes {
    strict: bool,
    adjustments: Vec<Adjustment>,
    violations: Vec<Violation>,
}

impl Notes {
    fn refuse<T>(
        &mut self,
        field: &'static str,
        asked: &str,
        message: String,
        allowed: Vec<String>,
    ) -> Option<T> {
        self.violations.push(Violation {
            field,
            asked: echo(asked),
            message,
            allowed,
        });
        None
    }

    /// Takes `value` in place of what was asked, unless the caller is strict.
    fn move_to<T: ToString>(
        &mut self,
        field: &'static str,
        asked: &str,
        value: T,
        why: String,
        allowed: Vec<String>,
    ) -> Option<T> {
        if self.strict {
            return self.refuse(field, asked, why, allowed);
        }
        self.adjustments.push(Adjustment {
            field,
            asked: echo(asked),
            used: value.to_string(),
            why,
        });
        Some(value)
    }
}

impl Model {
    /// Fits a request to this model; see the head of the file for the rules.
    ///
    /// # Errors
    /// [`Unfit`] with every field that the model cannot take.
    pub fn fit(&self, ask: &Ask) -> Result<Fitted, Unfit> {
        let mut notes = Notes {
            strict: ask.strict,
            adjustments: Vec::new(),
            violations: Vec::new(),
        };
        // Every field is looked at before any verdict, so that one answer names them all.
        let fields = (
            self.fit_resolution(ask, &mut notes),
            self.fit_aspect_ratio(ask, &mut notes),
            self.fit_duration(ask, &mut notes),
            self.fit_count(ask, &mut notes),
            self.fit_audio(ask, &mut notes),
            self.fit_images(ask, &mut notes),
        );
        let (
            Some(resolution),
            Some(ratio),
            Some(duration_seconds),
            Some(count),
            Some(audio),
            Some(operation),
        ) = fields
        else {
            return Err(Unfit {
                model: self.slug.clone(),
                violations: notes.violations,
            });
        };
        let (width, height) = pixel_size(resolution, ratio, self.size_limits);
        Ok(Fitted {
            resolution: resolution.to_string(),
            aspect_ratio: ratio.to_string(),
            width,
            height,
            duration_seconds,
            count,
            audio,
            operation,
            adjustments: notes.adjustments,
        })
    }
}

#[cfg(test)]
mod tests;
