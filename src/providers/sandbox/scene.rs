//! What a sandbox render is asked for, and why it may be refused.
//!
//! A [`Scene`] is the whole input of the painter: two equal scenes give equal bytes. Its limits are stated here once, and every entry
//! point ([`picture`](super::paint::picture), [`poster`](super::paint::poster), [`video`](super::clip::video)) checks them before it
//! allocates anything that depends on them.

/// Shortest side of a picture or a clip, in pixels. Below it nothing of the caption could be read.
pub const SIDE_PIXELS_MIN: u32 = 64;
/// Longest side of a picture, in pixels.
pub const SIDE_PIXELS_MAX: u32 = 8192;
/// Longest side of a clip, in pixels; the other side goes up to [`CLIP_SHORT_SIDE_PIXELS_MAX`] (H.264 level 5.2 as OpenH264 encodes it).
pub const CLIP_LONG_SIDE_PIXELS_MAX: u32 = 3840;
/// Longest shorter side of a clip, in pixels.
pub const CLIP_SHORT_SIDE_PIXELS_MAX: u32 = 2160;
/// Longest clip, in seconds.
pub const CLIP_SECONDS_MAX: u32 = 60;
/// Most reference images that are looked at; the caller's model limits are lower.
pub const REFERENCES_MAX: usize = 16;
/// Most characters of a prompt that are laid out; the panel shows far fewer.
pub const PROMPT_CHARACTERS_MAX: usize = 4_000;

/// Everything a sandbox picture or clip depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scene {
    /// The prompt, without sandbox directives. It is printed on the picture and chooses what is painted.
    pub prompt: String,
    /// The model's human title, for example `Nano Banana Pro`.
    pub model_title: String,
    /// The model's slug, for example `nano-banana-pro`.
    pub model_slug: String,
    /// Width in pixels, [`SIDE_PIXELS_MIN`]..=[`SIDE_PIXELS_MAX`]; even for a clip.
    pub width: u32,
    /// Height in pixels, with the same limits as the width.
    pub height: u32,
    /// The resolution as it was asked for, for example `2K`; printed as it is, and left out when empty.
    pub resolution: String,
    /// The aspect ratio as it was asked for, for example `16:9`; printed as it is, and left out when empty.
    pub aspect_ratio: String,
    /// The seed that varies the composition of one prompt.
    pub seed: u64,
    /// Which of several outputs of one generation this is, from 0.
    pub index: u32,
    /// PNG or JPEG bytes of reference images, shown as small framed tiles. What cannot be decoded shows as an empty tile.
    pub references: Vec<Vec<u8>>,
}

/// Why a scene was not rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A side of the picture is out of bounds.
    #[error(
        "the sandbox paints pictures of {SIDE_PIXELS_MIN} to {SIDE_PIXELS_MAX} pixels a side, not {width}x{height}"
    )]
    PictureSize { width: u32, height: u32 },
    /// The size of the clip is out of bounds or odd.
    #[error(
        "the sandbox renders clips of even width and height, {SIDE_PIXELS_MIN} pixels or more a side and up to \
         {CLIP_LONG_SIDE_PIXELS_MAX}x{CLIP_SHORT_SIDE_PIXELS_MAX} or {CLIP_SHORT_SIDE_PIXELS_MAX}x{CLIP_LONG_SIDE_PIXELS_MAX}, \
         not {width}x{height}"
    )]
    ClipSize { width: u32, height: u32 },
    /// The duration of the clip is out of bounds.
    #[error("the sandbox renders clips of 1 to {CLIP_SECONDS_MAX} seconds, not {duration_seconds}")]
    ClipDuration { duration_seconds: u32 },
    /// More reference images than are looked at.
    #[error("the sandbox shows up to {REFERENCES_MAX} reference images, not {count}")]
    References { count: usize },
    /// The caller's `cancelled` said so between two frames.
    #[error("the render was cancelled")]
    Cancelled,
    /// A library refused work that the checks above let through.
    #[error("the sandbox could not {step}: {detail}")]
    Internal { step: &'static str, detail: String },
}

impl RenderError {
    /// Wraps a library's refusal of `step` (a verb phrase, such as `encode the PNG`).
    pub(super) fn internal(step: &'static str, detail: impl ToString) -> Self {
        Self::Internal {
            step,
            detail: detail.to_string(),
        }
    }
}

impl Scene {
    /// Whether this can be painted as a picture.
    pub(super) fn check_picture(&self) -> Result<(), RenderError> {
        let sides = SIDE_PIXELS_MIN..=SIDE_PIXELS_MAX;
        if !sides.contains(&self.width) || !sides.contains(&self.height) {
            return Err(RenderError::PictureSize {
                width: self.width,
                height: self.height,
            });
        }
        if self.references.len() > REFERENCES_MAX {
            return Err(RenderError::References {
                count: self.references.len(),
            });
        }
        Ok(())
    }

    /// Whether this can be rendered as a clip.
    pub(super) fn check_clip(&self) -> Result<(), RenderError> {
        let (long, short) = (self.width.max(self.height), self.width.min(self.height));
        let fits = (SIDE_PIXELS_MIN..=CLIP_SHORT_SIDE_PIXELS_MAX).contains(&short)
            && long <= CLIP_LONG_SIDE_PIXELS_MAX;
        if !fits || !self.width.is_multiple_of(2) || !self.height.is_multiple_of(2) {
            return Err(RenderError::ClipSize {
                width: self.width,
                height: self.height,
            });
        }
        self.check_picture()
    }
}
