//! The catalogue: which models there are, what each can do, what it costs and which upstreams serve it.
//!
//! Models are data (`catalog/models.toml`, built in, and a file of the operator's that replaces, adds and removes entries). The room
//! answers three questions about a model and knows nothing else: does a request [fit](Model::fit), what does it
//! [cost](Model::price), and [which routes](Model::routes_for) can run it. It is pure: no clock, no I/O, no other room; whoever starts
//! the server hands in the text of the operator's file. A catalogue never changes once loaded; to change it, load another and put it in
//! the place of the [current](Current) one.
//!
//! Bounds: a model file holds at most 500 entries; its lists, counts, sizes and prices are bounded by the loader, so arithmetic on
//! loaded data cannot overflow.

use std::collections::BTreeMap;

mod current;
mod fit;
mod load;
mod model;
mod price;
mod size;
mod spelling;

pub use crate::providers::Operation;
pub use current::Current;
pub use fit::{Adjustment, Ask, Fitted, Unfit, Violation};
pub use load::{CatalogError, Mistake};
pub use model::{Audio, Defaults, MediaType, Model, Route, Status, Tier};
pub use price::{NoPrice, PriceRow, Unit};
pub use size::{AspectRatio, Resolution, SizeLimits};

/// How many near matches an unknown name is answered with.
const NEAR_MAX: usize = 5;
/// How alike two names must be (Jaro-Winkler, 0 to 1) to count as near.
const NEAR_ENOUGH: f64 = 0.8;

/// Every model that the server knows.
#[derive(Debug, Clone)]
pub struct Catalog {
    models: Vec<Model>,
    retired: Vec<Retired>,
    /// From [`name_key`] of every slug and alias.
    places: BTreeMap<String, Place>,
}

/// A model that no longer runs, kept so that callers hear where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Retired {
    slug: String,
    aliases: Vec<String>,
    replaced_by: Option<String>,
}

/// Where a name leads.
#[derive(Debug, Clone, Copy)]
enum Place {
    Model(usize),
    Retired(usize),
}

/// Why a name leads to no model that runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No model has this name.
    #[error("there is no model \"{asked}\"{}", suggestion(near))]
    Unknown {
        /// What was asked for, trimmed and cut to a length fit for an answer.
        asked: String,
        /// The slugs that look most like it, nearest first; at most five.
        near: Vec<String>,
    },
    /// The model has been switched off.
    #[error("the model {model} is no longer served{}", successor(replaced_by.as_deref()))]
    Retired {
        /// The slug of the retired model.
        model: String,
        /// The slug of the model to use instead.
        replaced_by: Option<String>,
    },
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() {
        "; list the models to see those that are served".to_owned()
    } else {
        format!("; did you mean {}?", spelling::either(near))
    }
}

fn successor(replaced_by: Option<&str>) -> String {
    replaced_by.map_or_else(String::new, |slug| format!("; use {slug} instead"))
}

/// What is left of a name when case and punctuation are put aside: `Nano.Banana_Pro`, `nano banana pro` and `nano-banana-pro` are one.
fn name_key(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

impl Catalog {
    /// The models that can run, in the order of the files: the built-in ones, then those that the operator added.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The models that no longer run, each with the one to use instead.
    pub fn retired(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.retired
            .iter()
            .map(|retired| (retired.slug.as_str(), retired.replaced_by.as_deref()))
    }

    /// The model of that name. Case and punctuation do not count, and aliases do.
    ///
    /// # Errors
    /// [`LookupError::Unknown`] with near matches, or [`LookupError::Retired`] with the replacement.
    pub fn get(&self, name: &str) -> Result<&Model, LookupError> {
        match self.places.get(&name_key(name)) {
            Some(Place::Model(index)) => Ok(&self.models[*index]),
            Some(Place::Retired(index)) => {
                let retired = &self.retired[*index];
                Err(LookupError::Retired {
                    model: retired.slug.clone(),
                    replaced_by: retired.replaced_by.clone(),
                })
            }
            None => {
                let asked = spelling::echo(name.trim());
                let near = self.near(&name_key(&asked));
                Err(LookupError::Unknown { asked, near })
            }
        }
    }

    fn near(&self, key: &str) -> Vec<String> {
        let likeness = |model: &Model| {
            model
                .aliases
                .iter()
                .chain([&model.slug])
                .map(|name| strsim::jaro_winkler(key, &name_key(name)))
                .fold(0.0, f64::max)
        };
        let mut near: Vec<(f64, &str)> = self
            .models
            .iter()
            .map(|model| (likeness(model), model.slug.as_str()))
            .filter(|(likeness, _)| *likeness >= NEAR_ENOUGH)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.iter()
            .take(NEAR_MAX)
            .map(|(_, slug)| (*slug).to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests;
