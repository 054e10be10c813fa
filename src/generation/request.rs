//! What a caller asks for, and the part of it that is written down with the task.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::inputs::Picture;
use super::task::Adjustment;
use crate::catalog::{Ask, Fitted, MediaType, Model};
use crate::providers::{Job, Operation};

/// What a caller asks for. What is `None` is the model's choice.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The name of the model, in any of its spellings.
    pub model: String,
    /// What to make, in words.
    pub prompt: String,
    /// How large.
    pub resolution: Option<String>,
    /// The shape.
    pub aspect_ratio: Option<String>,
    /// Videos: how long, in seconds, with or without the unit.
    pub duration: Option<String>,
    /// How many files to make.
    pub count: Option<u32>,
    /// Videos: whether it has sound.
    pub audio: Option<bool>,
    /// A number that makes a result repeatable on models that support it.
    pub seed: Option<u32>,
    /// What must not be seen, in words.
    pub negative_prompt: Option<String>,
    /// Pictures to work from.
    pub reference_images: Vec<Picture>,
    /// The upstream that must run it.
    pub provider: Option<String>,
    /// What the caller expects the model to make.
    pub expects: Option<MediaType>,
    /// The kind of work that the caller expects.
    pub scene: Option<Scene>,
    /// Refuse instead of adjusting.
    pub strict: bool,
    /// The quote whose price is to hold.
    pub quote: Option<String>,
    /// An address that is to be told of the end, checked already.
    pub webhook_url: Option<String>,
}

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scene {
    /// A picture from the prompt alone.
    TextToImage,
    /// A picture from pictures.
    ImageToImage,
    /// A video from the prompt alone.
    TextToVideo,
    /// A video from pictures.
    ImageToVideo,
}

impl Scene {
    /// Every kind of work.
    pub const ALL: [Self; 4] = [
        Self::TextToImage,
        Self::ImageToImage,
        Self::TextToVideo,
        Self::ImageToVideo,
    ];

    /// What it makes.
    #[must_use]
    pub fn media(self) -> MediaType {
        match self {
            Self::TextToImage | Self::ImageToImage => MediaType::Image,
            Self::TextToVideo | Self::ImageToVideo => MediaType::Video,
        }
    }

    /// Whether it starts from pictures.
    #[must_use]
    pub fn from_images(self) -> bool {
        match self {
            Self::TextToImage | Self::TextToVideo => false,
            Self::ImageToImage | Self::ImageToVideo => true,
        }
    }

    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TextToImage => "text-to-image",
            Self::ImageToImage => "image-to-image",
            Self::TextToVideo => "text-to-video",
            Self::ImageToVideo => "image-to-video",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scene| scene.as_str() == name)
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Request {
    /// The question for the catalogue.
    pub(super) fn ask(&self) -> Ask {
        Ask {
            resolution: self.resolution.clone(),
            aspect_ratio: self.aspect_ratio.clone(),
            duration: self.duration.clone(),
            count: self.count,
            audio: self.audio,
            reference_images: self.reference_images.len(),
            strict: self.strict,
        }
    }

    /// SHA-256 of everything that was asked, the model by its slug: what an idempotency key stands
    /// for. A quote is not part of it: it is how the caller pays, not what for.
    pub(super) fn hash(&self, slug: &str) -> [u8; 32] {
        self.digest(slug, self.expects, self.scene, self.webhook_url.as_deref())
    }

    /// The same without what changes nothing of what runs, which is what the caller expects of the model
    /// and who is told: what a quote stands for.
    pub(super) fn hash_of_work(&self, slug: &str) -> [u8; 32] {
        self.digest(slug, None, None, None)
    }

    fn digest(
        &self,
        slug: &str,
        expects: Option<MediaType>,
        scene: Option<Scene>,
        webhook_url: Option<&str>,
    ) -> [u8; 32] {
        #[derive(Serialize)]
        struct Asked<'a> {
            model: &'a str,
            prompt: &'a str,
            resolution: Option<&'a str>,
            aspect_ratio: Option<&'a str>,
            duration: Option<&'a str>,
            count: Option<u32>,
            audio: Option<bool>,
            seed: Option<u32>,
            // Left out where it is not given, so that what was asked before it existed has its hash still.
            #[serde(skip_serializing_if = "Option::is_none")]
            negative_prompt: Option<&'a str>,
            reference_images: Vec<[u8; 32]>,
            provider: Option<&'a str>,
            expects: Option<&'static str>,
            scene: Option<Scene>,
            strict: bool,
            // Left out when there is none: so old hashes hold.
            #[serde(skip_serializing_if = "Option::is_none")]
            webhook_url: Option<&'a str>,
        }
        let asked = Asked {
            model: slug,
            prompt: &self.prompt,
            resolution: self.resolution.as_deref(),
            aspect_ratio: self.aspect_ratio.as_deref(),
            duration: self.duration.as_deref(),
            count: self.count,
            audio: self.audio,
            seed: self.seed,
            negative_prompt: self.negative_prompt.as_deref(),
            reference_images: self
                .reference_images
                .iter()
                .map(Picture::identity)
                .collect(),
            provider: self.provider.as_deref(),
            expects: expects.map(MediaType::as_str),
            scene,
            strict: self.strict,
            webhook_url,
        };
        let text =
            serde_json::to_vec(&asked).expect("plain values with text keys always serialize");
        Sha256::digest(text).into()
    }
}

/// What a task is to do, as its row keeps it: fitted values, never the bytes of pictures. What is
/// usual is left out: rows are many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    pub prompt: String,
    pub resolution: String,
    pub aspect_ratio: String,
    pub width: u32,
    pub height: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u32>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub audio: bool,
    #[serde(default = "from_text", skip_serializing_if = "is_from_text")]
    pub operation: Operation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// The paths of the reference pictures among the assets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// The upstream that the caller asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<Adjustment>,
    /// The account's own keys that it runs with, by upstream; none: it runs with the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own_keys: BTreeMap<String, Uuid>,
}

/// What was asked of a task, as it fits the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The model's slug.
    pub model: String,
    /// What to make, in words.
    pub prompt: String,
    /// How large.
    pub resolution: String,
    /// The shape.
    pub aspect_ratio: String,
    /// Videos: how long, in seconds.
    pub duration_seconds: Option<u32>,
    /// How many files.
    pub count: u32,
    /// Videos: whether it has sound.
    pub audio: bool,
    /// The seed, where one was given.
    pub seed: Option<u32>,
    /// What must not be seen, where anything was named.
    pub negative_prompt: Option<String>,
    /// The paths of the reference pictures among the assets.
    pub references: Vec<String>,
    /// The upstream that had to run it.
    pub provider: Option<String>,
}

impl Asked {
    pub(super) fn of(model: String, work: Work) -> Self {
        Self {
            model,
            prompt: work.prompt,
            resolution: work.resolution,
            aspect_ratio: work.aspect_ratio,
            duration_seconds: work.duration_seconds,
            count: work.count,
            audio: work.audio,
            seed: work.seed,
            negative_prompt: work.negative_prompt,
            references: work.references,
            provider: work.provider,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn one() -> u32 {
    1
}

fn is_one(count: &u32) -> bool {
    *count == 1
}

fn from_text() -> Operation {
    Operation::Text
}

fn is_from_text(operation: &Operation) -> bool {
    *operation == Operation::Text
}

impl Work {
    pub fn new(model: &Model, request: &Request, fitted: &Fitted) -> Self {
        Self {
            prompt: request.prompt.clone(),
            resolution: fitted.resolution.clone(),
            aspect_ratio: fitted.aspect_ratio.clone(),
            width: fitted.width,
            height: fitted.height,
            duration_seconds: fitted.duration_seconds,
            count: fitted.count,
            audio: fitted.audio,
            operation: fitted.operation,
            seed: request.seed,
            negative_prompt: request
                .negative_prompt
                .clone()
                .filter(|_| model.negative_prompt),
            references: Vec::new(),
            provider: request.provider.clone(),
            adjustments: fitted.adjustments.iter().map(Adjustment::from).collect(),
            own_keys: BTreeMap::new(),
        }
    }

    /// The work as an attempt, on one route.
    pub fn job(
        &self,
        task_id: Uuid,
        attempt: u32,
        model: &Model,
        route: &super::routes::Route,
    ) -> Job {
        Job {
            task_id,
            attempt,
            model: model.slug.clone(),
            model_title: model.title.clone(),
            upstream_model: route.upstream_model.clone(),
            inputs: route.inputs.clone(),
            fixed: route.fixed.clone(),
            operation: self.operation,
            prompt: self.prompt.clone(),
            resolution: self.resolution.clone(),
            aspect_ratio: self.aspect_ratio.clone(),
            width: self.width,
            height: self.height,
            duration_seconds: self.duration_seconds,
            count: self.count,
            audio: self.audio,
            seed: self.seed,
            negative_prompt: self.negative_prompt.clone(),
            references: Vec::new(),
            webhook_url: None,
        }
    }
}
