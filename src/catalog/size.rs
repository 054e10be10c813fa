//! Resolutions, aspect ratios, and the pixel size that the two make together.
//!
//! Two scales, which never mix. Images count pixels: `1K` names about as many as a square of 1024 has, whatever the shape, and `2MP`
//! is a budget that is never exceeded, since vendors bill by it. Videos count lines: `720p` names the short side.
//!
//! | | rule |
//! |---|---|
//! | image, `K`, usual shape | Google's published table for Nano Banana (Gemini API, image generation guide): a row per shape, in proportion |
//! | image, everything else | the area kept, each side cut down to a multiple of 16 |
//! | video | the short side as named, the long side rounded to an even number |
//!
//! Bounds: no resolution names a side above [`SIDE_MAX`] and the parts of a ratio are 32 bits wide, so no arithmetic here can overflow.
//! What a model lists is bounded further by the loader: ratios to [`RATIO_MAX`] to 1, and both sides to [`SIDE_MAX`].

use std::fmt;

use super::model::MediaType;
use super::spelling;

/// The longest side that any model may make, in pixels.
pub const SIDE_MAX: u32 = 16_384;
/// The most oblong shape that any model may make, as a multiple of its short side.
pub const RATIO_MAX: u32 = 10;

/// The sides that image models and their codecs work in.
const SIDE_STEP: u64 = 16;
/// The side of the square that `1K` names.
const SIDE_1K: u64 = 1024;
const PIXELS_1MP: u64 = SIDE_1K * SIDE_1K;

/// Google's table at `1K`, the wide half: ratio, then size. The tall half mirrors it.
const GOOGLE_1K: [((u64, u64), (u64, u64)); 8] = [
    ((1, 1), (1024, 1024)),
    ((5, 4), (1152, 928)),
    ((4, 3), (1200, 896)),
    ((3, 2), (1264, 848)),
    ((16, 9), (1376, 768)),
    ((21, 9), (1584, 672)),
    ((4, 1), (2048, 512)),
    ((8, 1), (3072, 384)),
];

/// How much a resolution asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// Images: about as many pixels as a square of this side.
    Side(u64),
    /// Images: at most so many pixels.
    Pixels(u64),
    /// Videos: the short side.
    Lines(u64),
}

/// A resolution on the scale of its media type, such as `2K` or `1080p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    name: String,
    measure: Measure,
}

impl Resolution {
    /// Reads `1K`, `0.5k`, `2MP` or a bare side such as `1024` for images; `720p`, `1080`, `2k`, `4k` or `8k` for videos. `None` when
    /// the text names nothing on that scale.
    #[must_use]
    pub fn parse(media: MediaType, text: &str) -> Option<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let measure = match media {
            MediaType::Image => image_measure(&lower),
            MediaType::Video => video_measure(&lower),
        }?;
        Some(Self {
            name: text.trim().to_owned(),
            measure,
        })
    }

    /// The name as it was spelled.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The place on the scale. Equal places are the same resolution, however spelled (`1K` and `1MP`, `4k` and `2160p`); numbers from
    /// different scales do not compare.
    #[must_use]
    pub fn amount(&self) -> u64 {
        match self.measure {
            Measure::Side(side) => side * side,
            Measure::Pixels(amount) | Measure::Lines(amount) => amount,
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn image_measure(lower: &str) -> Option<Measure> {
    /// Below this a bare number is a slip, not a side.
    const BARE_SIDE_MIN: u64 = 256;
    let scaled = |number: &str, unit: u64| {
        let thousandths = spelling::thousandths(number.trim_end()).filter(|amount| *amount > 0)?;
        Some(thousandths.checked_mul(unit)? / 1000)
    };
    let side_max = u64::from(SIDE_MAX);
    if let Some(number) = lower.strip_suffix("mp") {
        let pixels = scaled(number, PIXELS_1MP)?;
        (pixels <= side_max * side_max).then_some(Measure::Pixels(pixels))
    } else if let Some(number) = lower.strip_suffix('k') {
        let side = scaled(number, SIDE_1K)?;
        (side <= side_max).then_some(Measure::Side(side))
    } else {
        let side: u64 = lower.parse().ok()?;
        (BARE_SIDE_MIN..=side_max)
            .contains(&side)
            .then_some(Measure::Side(side))
    }
}

fn video_measure(lower: &str) -> Option<Measure> {
    let lines = match lower {
        "2k" => 1440,
        "4k" => 2160,
        "8k" => 4320,
        _ => lower
            .strip_suffix('p')
            .unwrap_or(lower)
            .trim_end()
            .parse()
            .ok()?,
    };
    (1..=u64::from(SIDE_MAX))
        .contains(&lines)
        .then_some(Measure::Lines(lines))
}

/// The shape of a picture, such as `16:9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AspectRatio {
    name: String,
    width: u64,
    height: u64,
}

impl AspectRatio {
    /// Reads two whole numbers with `:`, `x`, `×` or `/` between them. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once([':', 'x', 'X', '×', '/'])?;
        let side = |digits: &str| digits.trim().parse::<u32>().ok().filter(|side| *side > 0);
        Some(Self {
            name: text.trim().to_owned(),
            width: side(width)?.into(),
            height: side(height)?.into(),
        })
    }

    /// The name as it was spelled.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whether both are the same shape, however spelled (`16:9` and `1920x1080`).
    #[must_use]
    pub fn same_shape(&self, other: &Self) -> bool {
        self.width * other.height == other.width * self.height
    }

    /// Whether the shape is too oblong for any model.
    pub(super) fn is_extreme(&self) -> bool {
        self.width.max(self.height) > u64::from(RATIO_MAX) * self.width.min(self.height)
    }
}

impl fmt::Display for AspectRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Ceilings of one image model that hold whatever the resolution is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SizeLimits {
    /// The longest side, in pixels; `None` sets no ceiling.
    pub side_max: Option<u32>,
    /// The largest area, in pixels; `None` sets no ceiling.
    pub pixels_max: Option<u64>,
}

impl SizeLimits {
    fn admit(self, (width, height): (u64, u64)) -> bool {
        self.side_max
            .is_none_or(|most| width.max(height) <= u64::from(most))
            && self.pixels_max.is_none_or(|most| width * height <= most)
    }
}

/// The width and height in pixels that a resolution and a shape make within the limits of a model.
#[must_use]
pub fn pixel_size(resolution: &Resolution, ratio: &AspectRatio, limits: SizeLimits) -> (u32, u32) {
    let (width, height) = match resolution.measure {
        Measure::Lines(lines) => video_size(lines, ratio),
        Measure::Side(side) => table_size(side, ratio)
            .filter(|size| limits.admit(*size))
            .unwrap_or_else(|| area_size(resolution.amount(), ratio, limits)),
        Measure::Pixels(pixels) => area_size(pixels, ratio, limits),
    };
    let side = |pixels: u64| u32::try_from(pixels).unwrap_or(u32::MAX);
    (side(width), side(height))
}

/// The table covers the steps that keep its sizes multiples of 8.
fn table_size(side: u64, ratio: &AspectRatio) -> Option<(u64, u64)> {
    if !side.is_multiple_of(SIDE_1K / 2) {
        return None;
    }
    let (long, short) = (ratio.width.max(ratio.height), ratio.width.min(ratio.height));
    let (_, (wide, low)) = GOOGLE_1K
        .into_iter()
        .find(|((w, h), _)| long * h == short * w)?;
    let (wide, low) = (wide * side / SIDE_1K, low * side / SIDE_1K);
    Some(if ratio.width >= ratio.height {
        (wide, low)
    } else {
        (low, wide)
    })
}

fn area_size(pixels: u64, ratio: &AspectRatio, limits: SizeLimits) -> (u64, u64) {
    let step_down = |side: u64| (side - side % SIDE_STEP).max(SIDE_STEP);
    let area = u128::from(limits.pixels_max.map_or(pixels, |most| pixels.min(most)));
    let side = |along: u64, across: u64| {
        let exact = (area * u128::from(along) / u128::from(across)).isqrt();
        u64::try_from(exact).unwrap_or(u64::MAX)
    };
    let (width, height) = (
        side(ratio.width, ratio.height),
        side(ratio.height, ratio.width),
    );
    let most = limits.side_max.map_or(u64::MAX, u64::from);
    let (width, height) = if width.max(height) <= most {
        (width, height)
    } else if ratio.width >= ratio.height {
        (most, most * ratio.height / ratio.width)
    } else {
        (most * ratio.width / ratio.height, most)
    };
    (step_down(width), step_down(height))
}

fn video_size(lines: u64, ratio: &AspectRatio) -> (u64, u64) {
    let (long, short) = (ratio.width.max(ratio.height), ratio.width.min(ratio.height));
    let nearest_even =
        |numerator: u64, denominator: u64| (numerator + denominator) / (2 * denominator) * 2;
    let (wide, low) = (nearest_even(lines * long, short), nearest_even(lines, 1));
    if ratio.width >= ratio.height {
        (wide, low)
    } else {
        (low, wide)
    }
}

#[cfg(test)]
mod tests;
