//! From the text of model files to a [`Catalog`], or to every mistake in them at once.
//!
//! The operator's file has the form of the built-in one. An entry with a known slug replaces that entry whole and keeps its place, a new
//! slug is added at the end, and `disabled = true` removes. What needs the whole catalogue is checked after the merge: that names are
//! unique whatever their punctuation, and that replacements exist.

use std::collections::BTreeSet;
use std::sync::Arc;

use toml::{Table, Value};

use super::model::Model;
use super::{Catalog, Retired};
use reader::Reader;

mod capabilities;
mod entry;
mod merge;
mod prices;
mod reader;
mod routes;

/// The built-in model file.
const BUILTIN: &str = include_str!("models.toml");

/// The most entries that one file may hold.
pub const MODELS_MAX: usize = 500;
/// The longest video and the slowest run, in seconds.
const SECONDS_MAX: u32 = 3600;
/// The shortest side that any model may make, in pixels.
const SIDE_MIN: u32 = 64;

/// A model file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The text is no TOML.
    #[error("the model file is not valid TOML: {0}")]
    Syntax(String),
    /// The text is TOML, but not a catalogue.
    #[error("the model file has mistakes:{}", listed(.0))]
    Mistakes(Vec<Mistake>),
}

/// One mistake in a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The slug, or the place in the file (`model 3`) when the entry has none.
    pub model: String,
    /// The field, with dots between levels; empty when it concerns the entry as a whole.
    pub field: String,
    /// What is wrong or what would be right, in words for the operator.
    pub message: String,
}

fn listed(mistakes: &[Mistake]) -> String {
    mistakes
        .iter()
        .map(|mistake| match mistake.field.as_str() {
            "" => format!("\n  {}: {}", mistake.model, mistake.message),
            field => format!("\n  {}: {field}: {}", mistake.model, mistake.message),
        })
        .collect()
}

/// One `[[model]]` of a file.
enum Entry {
    Runs(Box<Model>),
    Retired(Retired),
    Disabled(String),
}

impl Entry {
    fn slug(&self) -> &str {
        match self {
            Self::Runs(model) => &model.slug,
            Self::Retired(retired) => &retired.slug,
            Self::Disabled(slug) => slug,
        }
    }

    fn aliases(&self) -> &[String] {
        match self {
            Self::Runs(model) => &model.aliases,
            Self::Retired(retired) => &retired.aliases,
            Self::Disabled(_) => &[],
        }
    }

    fn replaced_by(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::Runs(model) => Some(&mut model.replaced_by),
            Self::Retired(retired) => Some(&mut retired.replaced_by),
            Self::Disabled(_) => None,
        }
    }
}

impl Catalog {
    /// The built-in models.
    #[must_use]
    pub fn builtin() -> Self {
        Self::load("").expect("the built-in model file is sound; a test reads it")
    }

    /// The built-in models as the operator's file changes them. An empty text changes nothing.
    ///
    /// # Errors
    /// [`CatalogError`] with every mistake in the file.
    pub fn load(override_toml: &str) -> Result<Self, CatalogError> {
        let mut mistakes = Vec::new();
        let builtin = entries(BUILTIN, &mut mistakes)?;
        let overrides = entries(override_toml, &mut mistakes)?;
        let mut merged = merge::merge(builtin, overrides, &mut mistakes);
        let places = merge::name_places(&merged, &mut mistakes);
        merge::resolve_replacements(&mut merged, &mut mistakes);
        if mistakes.is_empty() {
            Ok(merge::assemble(merged, &places))
        } else {
            Err(CatalogError::Mistakes(mistakes))
        }
    }
}

/// The sound entries of one file.
fn entries(text: &str, mistakes: &mut Vec<Mistake>) -> Result<Vec<Entry>, CatalogError> {
    let mut file: Table = text
        .parse()
        .map_err(|error: toml::de::Error| CatalogError::Syntax(error.to_string()))?;
    let mut wrong =
        |model: &str, field: &str, message: String| mistakes.push(mistake(model, field, message));
    let tables = match file.remove("model") {
        None => Vec::new(),
        Some(Value::Array(tables)) if tables.len() <= MODELS_MAX => tables,
        Some(_) => {
            wrong(
                "file",
                "model",
                format!("must be at most {MODELS_MAX} tables, each headed [[model]]"),
            );
            Vec::new()
        }
    };
    let maps = maps(file.remove("inputs"), &mut wrong);
    for field in file.keys() {
        wrong(
            "file",
            field,
            "is not known here; a model file holds [[model]] and [inputs.…] tables alone"
                .to_owned(),
        );
    }
    let mut sound: Vec<Entry> = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, table) in tables.into_iter().enumerate() {
        let place = format!("model {}", index + 1);
        let Value::Table(table) = table else {
            mistakes.push(mistake(
                &place,
                "",
                "must be a table, headed [[model]]".to_owned(),
            ));
            continue;
        };
        let slug = table
            .get("slug")
            .and_then(Value::as_str)
            .unwrap_or(&place)
            .to_owned();
        if !seen.insert(slug.clone()) {
            mistakes.push(mistake(
                &slug,
                "slug",
                "stands twice in the file".to_owned(),
            ));
        }
        sound.extend(entry::read(Reader::new(slug, table, mistakes), &maps));
    }
    Ok(sound)
}

/// The `[inputs.…]` of a file, by name.
fn maps(value: Option<Value>, wrong: &mut impl FnMut(&str, &str, String)) -> routes::Maps {
    let tables = match value {
        None => return routes::Maps::new(),
        Some(Value::Table(tables)) => tables,
        Some(_) => {
            wrong(
                "file",
                "inputs",
                "must be tables, each headed [inputs.…]".to_owned(),
            );
            return routes::Maps::new();
        }
    };
    let mut maps = routes::Maps::new();
    for (name, table) in tables {
        let field = format!("inputs.{name}");
        match table {
            Value::Table(table) => match routes::parse(table) {
                Ok(inputs) => drop(maps.insert(name, Arc::new(inputs))),
                Err(error) => wrong("file", &field, error.to_string()),
            },
            _ => wrong("file", &field, "must be a table".to_owned()),
        }
    }
    maps
}

fn mistake(model: &str, field: &str, message: String) -> Mistake {
    Mistake {
        model: model.to_owned(),
        field: field.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests;
