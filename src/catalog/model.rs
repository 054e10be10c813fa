//! What a model is: its capabilities, its prices and its routes, as plain data.
//!
//! Only the loader makes a [`Model`], and it checks everything that the rest of the room relies on: lists are not empty and
//! ascend, defaults stand in their lists, sizes are bounded. Fields are public because every face shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::price::{PriceRow, Unit};
use super::size::{AspectRatio, Resolution, SizeLimits};
use crate::providers::{Inputs, Operation};

/// What a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// Still pictures: no duration, no sound.
    Image,
    /// Clips, each of one of the lengths that the model lists.
    Video,
}

impl MediaType {
    /// Every media type, as the model file spells it.
    pub const NAMED: [(&'static str, Self); 2] = [("image", Self::Image), ("video", Self::Video)];
}

/// The price class of a model. Plans attach their rules to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Costs nothing on plans that include this tier; on the others it has a price like any model.
    Free,
    /// Paid for on every plan.
    Standard,
    /// Paid for on every plan; for strong and dear models.
    Premium,
}

impl Tier {
    /// Every tier, as the model file spells it.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("free", Self::Free),
        ("standard", Self::Standard),
        ("premium", Self::Premium),
    ];
}

/// Whether a model is here to stay. Retired models are no [`Model`]: they cannot run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Runs, and no end has been announced.
    Active,
    /// Still runs; its vendor has announced the end.
    Deprecated,
}

/// How a model treats sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audio {
    /// Its videos are silent; images too.
    None,
    /// The caller chooses; sound unless told otherwise, as the vendors do.
    Toggle,
    /// Every video has sound.
    Always,
    /// Every video has sound: the caller's track, or one that the model makes up.
    InputOrAuto,
}

impl Audio {
    /// Every way of treating sound, as the model file spells it.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("none", Self::None),
        ("toggle", Self::Toggle),
        ("always", Self::Always),
        ("input_or_auto", Self::InputOrAuto),
    ];
}

/// Spells a value as the model file does, by its `NAMED`.
macro_rules! named {
    ($($type:ty),+) => {$(
        impl $type {
            /// The name used in the model file and in answers.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                Self::NAMED
                    .iter()
                    .find_map(|(name, value)| (*value == self).then_some(*name))
                    .expect("NAMED lists every value")
            }
        }
    )+};
}
named!(MediaType, Tier, Audio, Unit);

/// One upstream that serves a model. Routes are tried in the order in which the model lists them.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The name of the provider, such as `fal`.
    pub provider: String,
    /// The upstream's id for [`Operation::Text`].
    pub model: String,
    /// [`Route::model`] is the id for every other operation, too.
    pub one_id: bool,
    /// The upstream's ids for the other operations; one without any is not offered by this route.
    pub operations: Vec<(Operation, String)>,
    /// The only resolutions that this route makes; empty means all that the model lists.
    pub resolutions: Vec<String>,
    /// How this upstream wants to be told what is asked; `None`: in its dialect's usual way.
    pub inputs: Option<Arc<Inputs>>,
    /// Upstream inputs that never vary, because the price rests on them.
    pub fixed: BTreeMap<String, String>,
}

impl Route {
    /// The upstream's id for an operation at a resolution, spelled as the model lists it; `None` when the route does not offer it.
    #[must_use]
    pub fn id_for(&self, operation: Operation, resolution: &str) -> Option<&str> {
        let reachable =
            self.resolutions.is_empty() || self.resolutions.iter().any(|name| name == resolution);
        self.operation_id(operation).filter(|_| reachable)
    }

    /// Every id by which the upstream is asked, perhaps some of them twice.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let own = self.operations.iter().map(|(_, id)| id.as_str());
        std::iter::once(self.model.as_str()).chain(own)
    }

    /// The upstream's id for an operation, at whatever resolution.
    pub(super) fn operation_id(&self, operation: Operation) -> Option<&str> {
        let own = self
            .operations
            .iter()
            .find_map(|(offered, id)| (*offered == operation).then_some(id.as_str()));
        let shared = self.one_id || operation == Operation::Text;
        own.or_else(|| shared.then_some(self.model.as_str()))
    }
}

/// What a model uses where the caller leaves the choice open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// One of [`Model::resolutions`].
    pub resolution: Resolution,
    /// One of [`Model::aspect_ratios`].
    pub aspect_ratio: AspectRatio,
    /// Present for videos alone.
    pub duration_seconds: Option<u32>,
}

/// A model that can run.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The canonical name: lowercase letters, digits and single hyphens.
    pub slug: String,
    /// The name to show to people, such as `Nano Banana Pro`.
    pub title: String,
    /// Who made the model, such as `google`; not who serves it, see [`Model::routes`].
    pub vendor: String,
    /// What the model is best at, for whoever has to choose one.
    pub description: String,
    /// Which scale its resolutions are on, and whether length and sound apply.
    pub media: MediaType,
    /// Decides whether a plan may include it free of charge.
    pub tier: Tier,
    /// Whether its vendor has announced its end.
    pub status: Status,
    /// The day (ISO 8601) after which the vendor may stop it.
    pub deprecated_after: Option<String>,
    /// The slug of the model to move to.
    pub replaced_by: Option<String>,
    /// Other names by which it is found.
    pub aliases: Vec<String>,
    /// Ascending; never empty.
    pub resolutions: Vec<Resolution>,
    /// Never empty.
    pub aspect_ratios: Vec<AspectRatio>,
    /// Ascending; empty for images alone.
    pub durations_seconds: Vec<u32>,
    /// The most results that one request may ask for; at least 1.
    pub max_outputs: u32,
    /// The most images that it edits or takes subjects from; frames are apart, see [`Model::input_images_max`].
    pub max_reference_images: u32,
    /// Takes a first frame.
    pub image_to_video: bool,
    /// Takes a last frame beside the first.
    pub first_last_frame: bool,
    /// Whether its videos have sound, and who decides.
    pub audio: Audio,
    /// At least one route is known to honour a seed.
    pub seed: bool,
    /// At least one route is known to honour a negative prompt.
    pub negative_prompt: bool,
    /// How long a run usually takes, from the quick end to the slow one, in seconds.
    pub typical_seconds: (u32, u32),
    /// Ceilings on the pixel size of images; videos have none.
    pub size_limits: SizeLimits,
    /// What a request gets that leaves the choice open.
    pub defaults: Defaults,
    /// Never empty.
    pub routes: Vec<Route>,
    pub(super) prices: Vec<PriceRow>,
}

impl Model {
    /// The routes that offer an operation at a resolution (spelled as the model lists it), in order of preference, each with the
    /// upstream's id for it.
    pub fn routes_for(
        &self,
        operation: Operation,
        resolution: &str,
    ) -> impl Iterator<Item = (&Route, &str)> {
        self.routes
            .iter()
            .filter_map(move |route| Some((route, route.id_for(operation, resolution)?)))
    }

    /// What a number of images given with the prompt amounts to; `None` when the model does not take so many.
    ///
    /// Images on an image model are to be edited or drawn upon. On a video model a single one is the frame to start from, where the model
    /// does that, and several are subjects to show; where it knows no subjects, two are the first frame and the last.
    #[must_use]
    pub fn operation_for(&self, images: usize) -> Option<Operation> {
        let referable =
            u32::try_from(images).is_ok_and(|number| number <= self.max_reference_images);
        match (self.media, images) {
            (_, 0) => Some(Operation::Text),
            (MediaType::Image, _) => referable.then_some(Operation::Edit),
            (MediaType::Video, 1) if self.image_to_video => Some(Operation::ImageToVideo),
            (MediaType::Video, _) if referable => Some(Operation::ReferenceToVideo),
            (MediaType::Video, 2) if self.first_last_frame => Some(Operation::FirstLastFrame),
            (MediaType::Video, _) => None,
        }
    }

    /// The most images that a request may give, in whatever role.
    #[must_use]
    pub fn input_images_max(&self) -> u32 {
        let frames = if self.first_last_frame {
            2
        } else {
            u32::from(self.image_to_video)
        };
        self.max_reference_images.max(frames)
    }
}
