//! Prompts: ways of working with pictures and videos that a person can pick in their client, each a
//! message that makes an agent use the tools well.
//!
//! A prompt is a text file in `prompts/` with `{argument}` where an argument goes. What a person does
//! not fill in has its default words there.

use std::collections::HashMap;

use axum::body::Bytes;
use serde_json::{Value, json};

use super::completion::Suggest;
use super::lists::{self, Keep, List};
use super::params::needed;
use super::wire::{RpcError, Text};
use super::{Ask, Mcp};

/// A prompt.
pub struct Prompt {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// What a person fills in.
    pub arguments: &'static [Argument],
    text: &'static str,
}

/// What a person fills in.
pub struct Argument {
    /// Its name, in the text between braces.
    pub name: &'static str,
    description: &'static str,
    /// The words for who leaves it out; none: it must be given.
    default: Option<&'static str>,
    /// What is proposed for it.
    pub suggest: Suggest,
}

/// The longest argument, in characters.
const ARGUMENT_CHARACTERS_MAX: usize = 4_000;

const ANY_IMAGE_MODEL: Argument = Argument {
    name: "model",
    description: "The image model to use. Left out: the agent picks one that fits.",
    default: Some("the image model that fits best (list_models tells what each is good at)"),
    suggest: Suggest::ImageModels,
};

/// Every prompt.
pub static PROMPTS: [Prompt; 5] = [
    Prompt {
        name: "product_shot",
        title: "Product shot",
        description: "A studio photograph of a product, ready for a shop page, and two more for the same page.",
        arguments: &[
            Argument {
                name: "product",
                description: "What it is: form, material, colour, what is written on it.",
                default: None,
                suggest: Suggest::Nothing,
            },
            Argument {
                name: "setting",
                description: "Where it stands.",
                default: Some("a seamless, softly graded studio background"),
                suggest: Suggest::Words(&[
                    "a seamless, softly graded studio background",
                    "a sunlit kitchen counter, out of focus behind",
                    "wet black slate with a low key light",
                    "raw linen and dried flowers, from above",
                    "a concrete plinth in hard afternoon sun",
                ]),
            },
            Argument {
                name: "aspect_ratio",
                description: "The shape of the picture, as width:height.",
                default: Some("4:5"),
                suggest: Suggest::AspectRatios,
            },
            ANY_IMAGE_MODEL,
        ],
        text: include_str!("prompts/product_shot.md"),
    },
    Prompt {
        name: "storyboard",
        title: "Storyboard",
        description: "A short story as a row of shots: drawn as stills first, filmed once you like them.",
        arguments: &[
            Argument {
                name: "story",
                description: "What happens, in a few sentences.",
                default: None,
                suggest: Suggest::Nothing,
            },
            Argument {
                name: "shots",
                description: "How many shots.",
                default: Some("6"),
                suggest: Suggest::Words(&["3", "4", "6", "8"]),
            },
            Argument {
                name: "style",
                description: "How it looks.",
                default: Some("cinematic, natural light, 35 mm film"),
                suggest: Suggest::Words(&[
                    "cinematic, natural light, 35 mm film",
                    "ink and wash, loose lines",
                    "hand-painted animation, warm palette",
                    "black and white noir, hard shadows",
                    "clay stop motion on a table-top set",
                ]),
            },
            Argument {
                name: "video_model",
                description: "The video model for the filmed shots.",
                default: Some(
                    "a video model that starts from a picture (list_models tells which do)",
                ),
                suggest: Suggest::VideoModels,
            },
        ],
        text: include_str!("prompts/storyboard.md"),
    },
    Prompt {
        name: "character_sheet",
        title: "Character sheet",
        description: "One character, the same from every side and in every mood, to draw all later pictures from.",
        arguments: &[
            Argument {
                name: "character",
                description: "Who it is: age, build, face, hair, clothes, what they carry.",
                default: None,
                suggest: Suggest::Nothing,
            },
            Argument {
                name: "style",
                description: "How it is drawn.",
                default: Some("clean animation model sheet, flat light, plain grey background"),
                suggest: Suggest::Words(&[
                    "clean animation model sheet, flat light, plain grey background",
                    "semi-realistic concept art",
                    "children's book watercolour",
                    "photographic, studio light",
                ]),
            },
            ANY_IMAGE_MODEL,
        ],
        text: include_str!("prompts/character_sheet.md"),
    },
    Prompt {
        name: "animate_picture",
        title: "Animate a picture",
        description: "A picture that moves: a short clip that begins with exactly that picture.",
        arguments: &[
            Argument {
                name: "picture",
                description: "The picture: its link, its task, or the words \"the last one\".",
                default: None,
                suggest: Suggest::Nothing,
            },
            Argument {
                name: "motion",
                description: "What moves, and how the camera does.",
                default: Some("small, natural movement of what is alive in it, and a slow push-in"),
                suggest: Suggest::Words(&[
                    "small, natural movement of what is alive in it, and a slow push-in",
                    "the camera circles the subject, which holds still",
                    "wind through hair, cloth and leaves; the camera is fixed",
                    "a seamless loop",
                ]),
            },
            Argument {
                name: "model",
                description: "The video model to use. Left out: the agent picks one that starts from a picture.",
                default: Some(
                    "a video model that starts from a picture (list_models tells which do)",
                ),
                suggest: Suggest::VideoModels,
            },
        ],
        text: include_str!("prompts/animate_picture.md"),
    },
    Prompt {
        name: "compare_models",
        title: "Compare models",
        description: "The same prompt through several models, side by side with price and time, within a budget.",
        arguments: &[
            Argument {
                name: "prompt",
                description: "What to make.",
                default: None,
                suggest: Suggest::Nothing,
            },
            Argument {
                name: "budget",
                description: "The most credits to spend on it all.",
                default: Some("50"),
                suggest: Suggest::Words(&["10", "25", "50", "100"]),
            },
            Argument {
                name: "media",
                description: "Pictures or videos.",
                default: Some("image"),
                suggest: Suggest::Words(&["image", "video"]),
            },
        ],
        text: include_str!("prompts/compare_models.md"),
    },
];

/// The list of all prompts, and of `more` of other origin.
pub fn list(more: Vec<Value>) -> List {
    let own = PROMPTS.iter().map(|prompt| {
        let arguments: Vec<Value> = prompt
            .arguments
            .iter()
            .map(|argument| {
                json!({
                    "name": argument.name,
                    "description": argument.description,
                    "required": argument.default.is_none(),
                })
            })
            .collect();
        json!({
            "name": prompt.name,
            "title": prompt.title,
            "description": prompt.description,
            "arguments": arguments,
        })
    });
    List::new("prompts", own.chain(more).collect())
}

/// The prompt of that name.
pub fn find(name: &str) -> Option<&'static Prompt> {
    PROMPTS.iter().find(|prompt| prompt.name == name)
}

type Given<'a> = HashMap<Text<'a>, Text<'a>>;

impl Mcp {
    /// Answers `prompts/get`.
    ///
    /// # Errors
    /// A prompt that is not there, or arguments that it does not take.
    pub(super) fn prompt(&self, ask: &Ask<'_>) -> Result<Bytes, RpcError> {
        let name = needed(&ask.params.name, "name")?;
        let prompt = find(name).ok_or_else(|| {
            let known: Vec<&str> = PROMPTS.iter().map(|prompt| prompt.name).collect();
            let known = known.join(", ");
            RpcError::invalid_params(format!("There is no prompt {name}; there are {known}."))
        })?;
        let given: Given<'_> = match ask.params.arguments {
            None => Given::new(),
            Some(arguments) => serde_json::from_str(arguments.get()).map_err(|error| {
                RpcError::invalid_params(format!("The arguments could not be read: {error}."))
            })?,
        };
        let text = prompt.fill(&given)?;
        let fields = format!(
            r#""description":{},"messages":[{{"role":"user","content":{{"type":"text","text":{}}}}}]"#,
            Value::from(prompt.description),
            Value::from(text),
        );
        Ok(lists::result(&fields, ask.era, Keep::Unsaid))
    }
}

impl Prompt {
    /// The text with its arguments in their places.
    fn fill(&self, given: &Given<'_>) -> Result<String, RpcError> {
        let takes = |name: &str| self.arguments.iter().any(|argument| argument.name == name);
        if let Some(unknown) = given.keys().find(|name| !takes(name)) {
            let known: Vec<&str> = self
                .arguments
                .iter()
                .map(|argument| argument.name)
                .collect();
            return Err(RpcError::invalid_params(format!(
                "{} has no argument {}; it has {}.",
                self.name,
                &**unknown,
                known.join(", ")
            )));
        }
        let mut text = String::with_capacity(self.text.len() * 2);
        let mut rest = self.text;
        // One pass: braces in what a person wrote are their own.
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').expect("braces come in pairs");
            text.push_str(before);
            text.push_str(self.value(name, given)?);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }

    fn value<'g>(&self, name: &str, given: &'g Given<'_>) -> Result<&'g str, RpcError> {
        let argument = self.arguments.iter().find(|argument| argument.name == name);
        let argument = argument.expect("the text names no other");
        let value = given
            .iter()
            .find_map(|(given, value)| (&**given == name).then_some(value.trim()))
            .filter(|value| !value.is_empty());
        match (value, argument.default) {
            (Some(value), _) if value.chars().count() > ARGUMENT_CHARACTERS_MAX => {
                Err(RpcError::invalid_params(format!(
                    "The argument {name} is too long: at most {ARGUMENT_CHARACTERS_MAX} characters are taken."
                )))
            }
            (Some(value), _) | (None, Some(value)) => Ok(value),
            (None, None) => Err(RpcError::invalid_params(format!(
                "{} needs the argument {name}.",
                self.name
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn given<'a>(pairs: &[(&'a str, &'a str)]) -> Given<'a> {
        let text = |text: &'a str| Text(Cow::Borrowed(text));
        pairs
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    #[test]
    fn every_prompt_fills_and_uses_each_of_its_arguments() {
        for prompt in &PROMPTS {
            for argument in prompt.arguments {
                let place = format!("{{{}}}", argument.name);
                assert!(prompt.text.contains(&place), "{} {place}", prompt.name);
            }
            let all: Vec<(&str, &str)> = prompt
                .arguments
                .iter()
                .map(|argument| (argument.name, "a {curly} word"))
                .collect();
            let text = prompt.fill(&given(&all)).expect("all is given");
            assert!(text.contains("a {curly} word"));
            let needed: Vec<(&str, &str)> = prompt
                .arguments
                .iter()
                .filter(|argument| argument.default.is_none())
                .map(|argument| (argument.name, "x"))
                .collect();
            let text = prompt.fill(&given(&needed)).expect("the rest has defaults");
            assert!(!text.contains('{'), "{text}");
            assert!(
                prompt.fill(&given(&[])).is_err(),
                "{} needs something",
                prompt.name
            );
            assert!(prompt.fill(&given(&[("colour", "red")])).is_err());
        }
    }
}
