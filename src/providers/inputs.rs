//! How an upstream's model wants to be told what is asked: data of the catalogue, not code.
//!
//! A map has the upstream's own field names. Its values are
//!
//! | value | becomes |
//! |---|---|
//! | `"{seed}"` | what is asked, in its own type |
//! | `"{duration}s"`, `"{duration:text}"` | a text with it inside; `:lower` and `:upper` change the case |
//! | `{ pick = "aspect_ratio", "16:9" = "landscape_16_9", else = … }` | one of several, by what is asked |
//! | a table or a list | the same with each value inside |
//! | anything else | itself, always |
//!
//! What is not asked for leaves its field out, and a table or list that is left empty too. What a
//! `pick` does not list, and has no `else` for, the upstream cannot do.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{Failure, FailureReason, Job, Operation};

/// What can be asked, by its name in a map.
const NAMES: [(&str, Name); 19] = [
    ("model", Name::Model),
    ("operation", Name::Operation),
    ("prompt", Name::Prompt),
    ("negative_prompt", Name::NegativePrompt),
    ("resolution", Name::Resolution),
    ("aspect_ratio", Name::AspectRatio),
    ("width", Name::Width),
    ("height", Name::Height),
    ("size", Name::Size),
    ("duration", Name::Duration),
    ("count", Name::Count),
    ("audio", Name::Audio),
    ("seed", Name::Seed),
    ("image", Name::Image),
    ("images", Name::Images),
    ("frame", Name::Frame),
    ("first_of_two", Name::FirstOfTwo),
    ("first_frame", Name::FirstFrame),
    ("last_frame", Name::LastFrame),
];

/// A map from what is asked to what is sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inputs {
    fields: Vec<(String, Template)>,
}

/// What is wrong with a map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InputMistake {
    /// The field, with dots between levels.
    pub field: String,
    /// What is wrong, or what would be right.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// The upstream's id for the model.
    Model,
    /// What kind of work it is: `text`, `edit`, `image_to_video`, `first_last_frame` or
    /// `reference_to_video`.
    Operation,
    Prompt,
    NegativePrompt,
    /// As the model lists it: `2K`, `720p`.
    Resolution,
    /// `16:9`.
    AspectRatio,
    Width,
    Height,
    /// `1024x768`.
    Size,
    /// Seconds.
    Duration,
    Count,
    Audio,
    Seed,
    /// The one picture to work from, or the first of several.
    Image,
    /// The pictures to edit or to take subjects from; none where the picture is a frame.
    Images,
    /// The first frame where there is no last.
    Frame,
    /// The first frame where there is a last.
    FirstOfTwo,
    /// The first frame, whether there is a last or not.
    FirstFrame,
    LastFrame,
}

impl Name {
    fn is_picture(self) -> bool {
        matches!(
            self,
            Self::Image
                | Self::Images
                | Self::Frame
                | Self::FirstOfTwo
                | Self::FirstFrame
                | Self::LastFrame
        )
    }

    /// What a job asks for; `None` when it leaves that open.
    fn of(self, job: &Job, images: &[String]) -> Option<Value> {
        let is_frame = matches!(
            job.operation,
            Operation::ImageToVideo | Operation::FirstLastFrame
        );
        let image = |index: usize| images.get(index).cloned().map(Value::String);
        match self {
            Self::Model => Some(job.upstream_model.as_str().into()),
            Self::Operation => serde_json::to_value(job.operation).ok(),
            Self::Prompt => Some(job.prompt.as_str().into()),
            Self::NegativePrompt => job.negative_prompt.as_deref().map(Value::from),
            Self::Resolution => Some(job.resolution.as_str().into()),
            Self::AspectRatio => Some(job.aspect_ratio.as_str().into()),
            Self::Width => Some(job.width.into()),
            Self::Height => Some(job.height.into()),
            Self::Size => Some(format!("{}x{}", job.width, job.height).into()),
            Self::Duration => job.duration_seconds.map(Value::from),
            Self::Count => Some(job.count.into()),
            Self::Audio => job.duration_seconds.map(|_| job.audio.into()),
            Self::Seed => job.seed.map(Value::from),
            Self::Image => image(0),
            Self::Images if is_frame || images.is_empty() => None,
            Self::Images => Some(images.into()),
            Self::Frame if job.operation == Operation::ImageToVideo => image(0),
            Self::FirstOfTwo if job.operation == Operation::FirstLastFrame => image(0),
            Self::FirstFrame if is_frame => image(0),
            Self::LastFrame if is_frame => image(1),
            Self::Frame | Self::FirstOfTwo | Self::FirstFrame | Self::LastFrame => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    AsIs,
    Lower,
    Upper,
}

#[derive(Debug, Clone, PartialEq)]
enum Template {
    Constant(Value),
    Whole(Name),
    Text(Vec<Piece>),
    Pick {
        name: Name,
        among: Vec<(String, Template)>,
        otherwise: Option<Box<Template>>,
    },
    Table(Vec<(String, Template)>),
    List(Vec<Template>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(String),
    Asked(Name, Case),
}

impl Inputs {
    /// Reads a map.
    ///
    /// # Errors
    /// The first [`InputMistake`] in it.
    pub fn parse(map: &Map<String, Value>) -> Result<Self, InputMistake> {
        Ok(Self {
            fields: fields(map, "")?,
        })
    }

    /// The map of a JSON text that this program carries.
    pub(super) fn builtin(json: &str) -> Self {
        let map = serde_json::from_str(json).expect("a built-in map is JSON");
        Self::parse(&map).expect("a built-in map is sound; a test reads it")
    }

    /// With a field that always has this value, in place of whatever it had.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.fields.retain(|(known, _)| known != field);
        self.fields
            .push((field.to_owned(), Template::Constant(value)));
        self
    }

    /// With the fields of another map, in place of its own where both have one.
    pub(super) fn overlaid(&self, over: &Self) -> Self {
        let own = self.fields.iter().filter(|(field, _)| !over.has(field));
        let fields = own.chain(&over.fields).cloned().collect();
        Self { fields }
    }

    /// Whether a field is mapped.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields().any(|known| known == field)
    }

    /// The upstream's names of what is mapped.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(field, _)| field.as_str())
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What is sent for a job. `images` stand for [`Job::references`], as links or data URIs.
    ///
    /// # Errors
    /// What the upstream's model cannot do.
    pub(super) fn fill(&self, job: &Job, images: &[String]) -> Result<Map<String, Value>, Failure> {
        let cannot = |what: String| {
            let message = format!("{} cannot be asked for {what}", job.upstream_model);
            Failure::new(FailureReason::InvalidInput, message)
        };
        if job.operation != Operation::Text && !self.fields.iter().any(|(_, t)| t.takes_pictures())
        {
            return Err(cannot("anything with pictures".to_owned()));
        }
        table(&self.fields, job, images).map_err(cannot)
    }
}

impl Template {
    fn parse(value: &Value, path: &str) -> Result<Self, InputMistake> {
        match value {
            Value::String(text) => {
                pieces(text)
                    .map_err(|message| mistake(path, message))
                    .map(|pieces| match pieces.as_slice() {
                        [] | [Piece::Literal(_)] => Self::Constant(value.clone()),
                        [Piece::Asked(name, Case::AsIs)] if !text.contains(':') => {
                            Self::Whole(*name)
                        }
                        _ => Self::Text(pieces),
                    })
            }
            Value::Object(map) => match map.get("pick") {
                Some(by) => pick(by, map, path),
                None => fields(map, path).map(Self::Table),
            },
            Value::Array(items) => items
                .iter()
                .map(|item| Self::parse(item, path))
                .collect::<Result<_, _>>()
                .map(Self::List),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Self::Constant(value.clone())),
        }
    }

    /// What is sent; `None` when nothing of it is asked for.
    fn fill(&self, job: &Job, images: &[String]) -> Result<Option<Value>, String> {
        Ok(match self {
            Self::Constant(value) => Some(value.clone()),
            Self::Whole(name) => name.of(job, images),
            Self::Text(pieces) => text(pieces, job, images).map(Value::String),
            Self::Pick {
                name,
                among,
                otherwise,
            } => {
                let Some(asked) = name.of(job, images).map(|value| plain(&value)) else {
                    return Ok(None);
                };
                let listed = among.iter().find(|(known, _)| *known == asked);
                match (listed, otherwise) {
                    (Some((_, template)), _) => template.fill(job, images)?,
                    (None, Some(template)) => template.fill(job, images)?,
                    (None, None) => return Err(asked),
                }
            }
            Self::Table(fields) => {
                let filled = table(fields, job, images)?;
                (!filled.is_empty()).then_some(Value::Object(filled))
            }
            Self::List(items) => {
                let mut filled = Vec::with_capacity(items.len());
                for item in items {
                    filled.extend(item.fill(job, images)?);
                }
                (!filled.is_empty()).then_some(Value::Array(filled))
            }
        })
    }

    fn takes_pictures(&self) -> bool {
        let any = |fields: &[(String, Self)]| fields.iter().any(|(_, t)| t.takes_pictures());
        match self {
            Self::Constant(_) => false,
            Self::Whole(name) => name.is_picture(),
            Self::Text(pieces) => pieces
                .iter()
                .any(|piece| matches!(piece, Piece::Asked(name, _) if name.is_picture())),
            Self::Pick {
                among, otherwise, ..
            } => any(among) || otherwise.as_ref().is_some_and(|t| t.takes_pictures()),
            Self::Table(fields) => any(fields),
            Self::List(items) => items.iter().any(Self::takes_pictures),
        }
    }
}

fn mistake(field: &str, message: String) -> InputMistake {
    InputMistake {
        field: field.to_owned(),
        message,
    }
}

fn fields(map: &Map<String, Value>, path: &str) -> Result<Vec<(String, Template)>, InputMistake> {
    map.iter()
        .map(|(field, value)| {
            let path = match path {
                "" => field.clone(),
                path => format!("{path}.{field}"),
            };
            Ok((field.clone(), Template::parse(value, &path)?))
        })
        .collect()
}

fn pick(by: &Value, map: &Map<String, Value>, path: &str) -> Result<Template, InputMistake> {
    let name = by
        .as_str()
        .and_then(named)
        .ok_or_else(|| mistake(path, format!("pick must be one of {}", names())))?;
    let mut among = Vec::new();
    let mut otherwise = None;
    for (field, template) in fields(map, path)? {
        match field.as_str() {
            "pick" => {}
            "else" => otherwise = Some(Box::new(template)),
            _ => among.push((field, template)),
        }
    }
    Ok(Template::Pick {
        name,
        among,
        otherwise,
    })
}

fn table(
    fields: &[(String, Template)],
    job: &Job,
    images: &[String],
) -> Result<Map<String, Value>, String> {
    let mut filled = Map::new();
    for (field, template) in fields {
        let value = template.fill(job, images).map_err(|asked| match template {
            Template::Pick { .. } => format!("{field} {asked}"),
            _ => asked,
        })?;
        if let Some(value) = value {
            filled.insert(field.clone(), value);
        }
    }
    Ok(filled)
}

/// A text whose every part is asked for.
fn text(pieces: &[Piece], job: &Job, images: &[String]) -> Option<String> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Asked(name, case) => {
                let asked = plain(&name.of(job, images)?);
                let asked = match case {
                    Case::AsIs => asked,
                    Case::Lower => asked.to_lowercase(),
                    Case::Upper => asked.to_uppercase(),
                };
                write!(text, "{asked}").expect("a String can be written to");
            }
        }
    }
    Some(text)
}

/// A text as it is, everything else as JSON writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn named(word: &str) -> Option<Name> {
    let found = NAMES.iter().find(|(known, _)| *known == word)?;
    Some(found.1)
}

fn names() -> String {
    NAMES.map(|(name, _)| name).join(", ")
}

/// The parts of a text with placeholders in braces.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after
            .split_once('}')
            .ok_or_else(|| "a brace is not closed".to_owned())?;
        let (word, case) = match inside.split_once(':') {
            None => (inside, Case::AsIs),
            Some((word, "text")) => (word, Case::AsIs),
            Some((word, "lower")) => (word, Case::Lower),
            Some((word, "upper")) => (word, Case::Upper),
            Some((_, other)) => return Err(format!("{other} is none of text, lower and upper")),
        };
        let name = named(word).ok_or_else(|| format!("{word} is none of {}", names()))?;
        if !before.is_empty() {
            pieces.push(Piece::Literal(before.to_owned()));
        }
        pieces.push(Piece::Asked(name, case));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::job::tests::job;
    use super::*;

    fn inputs(map: Value) -> Inputs {
        Inputs::parse(map.as_object().expect("is a table")).expect("is sound")
    }

    fn filled(map: Value, job: &Job, images: &[&str]) -> Value {
        let images: Vec<_> = images.iter().map(|image| (*image).to_owned()).collect();
        inputs(map).fill(job, &images).expect("can be asked").into()
    }

    #[test]
    fn what_is_asked_keeps_its_type_and_texts_hold_it() {
        let mut job = job();
        (job.duration_seconds, job.seed) = (Some(8), Some(7));
        let map = json!({
            "prompt": "{prompt}", "seconds": "{duration:text}", "length": "{duration}s", "n": "{duration}",
            "seed": "{seed}", "tier": "{resolution:lower}", "size": {"width": "{width}", "height": "{height}"},
            "generate_audio": "{audio}", "safety": 3
        });
        assert_eq!(
            filled(map, &job, &[]),
            json!({
                "prompt": "a lighthouse", "seconds": "8", "length": "8s", "n": 8, "seed": 7, "tier": "1k",
                "size": {"width": 1024, "height": 1024}, "generate_audio": false, "safety": 3
            })
        );
    }

    #[test]
    fn what_is_not_asked_for_leaves_nothing_behind() {
        let map = json!({
            "prompt": "{prompt}", "seed": "{seed}", "negative": "{negative_prompt}", "image_urls": "{images}",
            "frames": {"first": "{first_frame}", "last": ["{last_frame}"]}, "length": "{duration}s"
        });
        assert_eq!(filled(map, &job(), &[]), json!({"prompt": "a lighthouse"}));
    }

    #[test]
    fn pictures_go_where_their_role_is() {
        let map = json!({
            "images": "{images}", "first": "{first_frame}", "last": "{last_frame}", "any": "{image}",
            "only": "{frame}", "of_two": "{first_of_two}"
        });
        let mut job = job();
        job.operation = Operation::FirstLastFrame;
        assert_eq!(
            filled(map.clone(), &job, &["a", "b"]),
            json!({"first": "a", "last": "b", "any": "a", "of_two": "a"})
        );
        job.operation = Operation::ImageToVideo;
        assert_eq!(
            filled(map.clone(), &job, &["a"]),
            json!({"first": "a", "any": "a", "only": "a"})
        );
        job.operation = Operation::Edit;
        assert_eq!(
            filled(map, &job, &["a", "b"]),
            json!({"images": ["a", "b"], "any": "a"})
        );
    }

    #[test]
    fn pictures_are_never_dropped_in_silence() {
        let mut job = job();
        job.operation = Operation::Edit;
        let refused = inputs(json!({"prompt": "{prompt}"})).fill(&job, &["a".to_owned()]);
        assert_eq!(
            refused.expect_err("has no place for it").reason,
            FailureReason::InvalidInput
        );
    }

    #[test]
    fn a_pick_takes_what_it_lists() {
        let map = json!({"image_size": {"pick": "aspect_ratio", "1:1": "square_hd", "16:9": "landscape_16_9"}});
        let mut job = job();
        assert_eq!(
            filled(map.clone(), &job, &[]),
            json!({"image_size": "square_hd"})
        );
        job.aspect_ratio = "5:4".to_owned();
        let refused = inputs(map).fill(&job, &[]).expect_err("does not list it");
        assert_eq!(
            refused.message,
            "up/stream cannot be asked for image_size 5:4"
        );
        let map = json!({"image_size": {"pick": "aspect_ratio", "1:1": "square_hd", "else": {"width": "{width}"}}});
        assert_eq!(
            filled(map, &job, &[]),
            json!({"image_size": {"width": 1024}})
        );
    }

    #[test]
    fn the_kind_of_work_can_be_picked_by() {
        let map = json!({"images": "{images}", "task": {
            "pick": "operation", "text": "make", "edit": "change", "first_last_frame": []
        }});
        let mut job = job();
        assert_eq!(filled(map.clone(), &job, &[]), json!({"task": "make"}));
        job.operation = Operation::Edit;
        let edit = filled(map.clone(), &job, &["a"]);
        assert_eq!(edit, json!({"images": ["a"], "task": "change"}));
        job.operation = Operation::FirstLastFrame;
        assert_eq!(filled(map.clone(), &job, &["a", "b"]), json!({}));
        job.operation = Operation::ReferenceToVideo;
        let refused = inputs(map).fill(&job, &["a".to_owned()]);
        let refused = refused.expect_err("does not list it").message;
        assert!(refused.ends_with("cannot be asked for task reference_to_video"));
    }

    #[test]
    fn mistakes_name_their_place() {
        let wrong =
            |map: Value| Inputs::parse(map.as_object().expect("is a table")).expect_err("is wrong");
        assert_eq!(
            wrong(json!({"a": {"b": "{prompts}"}})).to_string(),
            format!("a.b: prompts is none of {}", names())
        );
        assert_eq!(
            wrong(json!({"a": "{prompt"})).to_string(),
            "a: a brace is not closed"
        );
        assert_eq!(
            wrong(json!({"a": "{prompt:big}"})).to_string(),
            "a: big is none of text, lower and upper"
        );
        assert!(
            wrong(json!({"a": {"pick": "x"}}))
                .to_string()
                .starts_with("a: pick must be")
        );
    }
}
