//! Completions: what can stand in an argument of a prompt or in the address of a resource. Models,
//! shapes and resolutions are those of the catalogue; once a model is chosen, they are that model's.

use std::collections::{BTreeSet, HashMap};

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::lists::{self, Keep};
use super::wire::{RpcError, Text};
use super::{Ask, prompts, resources};
use crate::catalog::{Catalog, Current, MediaType, Model};

/// The most values in one answer (MCP, "Completion").
const VALUES_MAX: usize = 100;

/// What is proposed for an argument.
pub enum Suggest {
    /// Nothing: it is the person's own words.
    Nothing,
    /// Slugs of models.
    Models,
    /// Slugs of models that make pictures.
    ImageModels,
    /// Slugs of models that make videos.
    VideoModels,
    /// Shapes, as width:height.
    AspectRatios,
    /// These.
    Words(&'static [&'static str]),
}

#[derive(Deserialize)]
#[serde(expecting = "a ref")]
struct Reference<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    uri: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an argument")]
struct Argument<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, expecting = "a context")]
struct Context<'a> {
    #[serde(borrow)]
    arguments: HashMap<Text<'a>, Text<'a>>,
}

/// Proposes values.
pub struct Completion {
    catalog: Current,
}

impl Completion {
    /// From the catalogue that holds when it is asked.
    pub fn new(catalog: Current) -> Self {
        Self { catalog }
    }

    /// Answers `completion/complete`.
    ///
    /// # Errors
    /// Something to complete that is not there.
    pub fn complete(&self, ask: &Ask<'_>) -> Result<Bytes, RpcError> {
        let reference: Reference<'_> = part(ask.params.reference, "ref")?;
        let argument: Argument<'_> = part(ask.params.argument, "argument")?;
        let context: Context<'_> = match ask.params.context {
            None => Context::default(),
            given => part(given, "context")?,
        };
        let catalog = self.catalog.get();
        let model = context.arguments.iter().find_map(|(name, value)| {
            let is_model = matches!(&**name, "model" | "video_model");
            is_model.then(|| catalog.get(value).ok()).flatten()
        });
        let proposed = values(&catalog, suggest(&reference, &argument.name)?, model);
        Ok(lists::result(
            &matching(&proposed, &argument.value),
            ask.era,
            Keep::Unsaid,
        ))
    }
}

/// What is proposed, by that catalogue.
fn values<'c>(catalog: &'c Catalog, suggest: &Suggest, chosen: Option<&'c Model>) -> Vec<&'c str> {
    let models = || catalog.models().iter();
    let of = |media| {
        models()
            .filter(move |model| model.media == media)
            .map(|model| model.slug.as_str())
            .collect()
    };
    match suggest {
        Suggest::Nothing => Vec::new(),
        Suggest::Models => models().map(|model| model.slug.as_str()).collect(),
        Suggest::ImageModels => of(MediaType::Image),
        Suggest::VideoModels => of(MediaType::Video),
        Suggest::Words(words) => words.to_vec(),
        Suggest::AspectRatios => {
            let among = chosen.map_or(catalog.models(), std::slice::from_ref);
            let all: BTreeSet<&str> = among
                .iter()
                .flat_map(|model| model.aspect_ratios.iter().map(|ratio| ratio.as_str()))
                .collect();
            all.into_iter().collect()
        }
    }
}

/// A parameter that the method needs, read.
fn part<'a, T: Deserialize<'a>>(param: Option<&'a RawValue>, name: &str) -> Result<T, RpcError> {
    let param =
        param.ok_or_else(|| RpcError::invalid_params(format!("params.{name} is missing.")))?;
    serde_json::from_str(param.get()).map_err(|error| {
        RpcError::invalid_params(format!("params.{name} could not be read: {error}."))
    })
}

/// What is proposed for that argument.
fn suggest(reference: &Reference<'_>, argument: &str) -> Result<&'static Suggest, RpcError> {
    let found = match &*reference.kind {
        "ref/prompt" => reference.name.as_deref().and_then(|name| {
            let arguments = prompts::find(name)?.arguments;
            let argument = arguments.iter().find(|known| known.name == argument);
            Some(argument.map_or(&Suggest::Nothing, |argument| &argument.suggest))
        }),
        "ref/resource" => reference.uri.as_deref().and_then(resource_template),
        _ => None,
    };
    found.ok_or_else(|| {
        let message = "There is no such prompt or resource template to complete.";
        RpcError::invalid_params(message)
    })
}

fn resource_template(uri: &str) -> Option<&'static Suggest> {
    if uri.starts_with(resources::MODEL) {
        Some(&Suggest::Models)
    } else if uri.starts_with(resources::TASK) {
        Some(&Suggest::Nothing)
    } else {
        None
    }
}

/// The inside of the result: those values that fit what was typed. Those that begin with it come
/// first, then those that have it further on.
fn matching(values: &[&str], typed: &str) -> String {
    let typed = typed.trim().to_lowercase();
    let mut found: Vec<(bool, &str)> = values
        .iter()
        .filter_map(|value| {
            let lower = value.to_lowercase();
            lower
                .contains(&typed)
                .then(|| (!lower.starts_with(&typed), *value))
        })
        .collect();
    found.sort_by_key(|(later, _)| *later);
    let total = found.len();
    let values: Vec<&str> = found
        .into_iter()
        .take(VALUES_MAX)
        .map(|(_, value)| value)
        .collect();
    let more = total > values.len();
    let completion = json!({"values": values, "total": total, "hasMore": more});
    format!(r#""completion":{completion}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_the_words_comes_first() {
        let values = ["wan-video", "veo-3-1", "new-video-1"];
        let found = |typed| {
            let text = format!("{{{}}}", matching(&values, typed));
            let result: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
            result["completion"]["values"].clone()
        };
        assert_eq!(found("V"), json!(["veo-3-1", "wan-video", "new-video-1"]));
        assert_eq!(found("new"), json!(["new-video-1"]));
        assert_eq!(found(""), json!(values));
        assert_eq!(found("x"), json!([]));
    }
}
