//! What a prompt asks the painter for: the time of day, the kind of land, what stands in it, and the colours of it all.
//!
//! A few plain English words are understood, as whole words; whatever they leave open is drawn from the scene's random stream. This is
//! decoration that makes a rehearsal pleasant, not an attempt to depict the prompt.

use tiny_skia::Color;

use super::random::Random;

/// The kind of land that is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Land {
    Hills,
    Mountains,
    Forest,
    City,
    Ocean,
    Desert,
}

/// The hour or weather that chooses the colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Dawn,
    Day,
    Sunset,
    Dusk,
    Night,
    Storm,
    Winter,
    Autumn,
}

/// Colours and their roles in a landscape.
#[derive(Debug, Clone)]
pub(super) struct Palette {
    /// The sky from the top of the picture down to the horizon.
    pub(super) sky: [Color; 4],
    /// The disc of the sun or the moon.
    pub(super) disc: Color,
    /// The light around it, on clouds and on water.
    pub(super) glow: Color,
    /// The furthest land.
    pub(super) far: Color,
    /// The nearest land.
    pub(super) near: Color,
    /// The haze that far land fades into.
    pub(super) mist: Color,
}

/// Everything the painter takes from the words of a prompt.
#[derive(Debug, Clone)]
pub(super) struct Theme {
    pub(super) land: Land,
    pub(super) mood: Mood,
    pub(super) palette: Palette,
    pub(super) tower: bool,
    pub(super) lighthouse: bool,
    pub(super) dog: bool,
    pub(super) beret: bool,
    pub(super) boat: bool,
    pub(super) balloons: bool,
    pub(super) snowfall: bool,
}

const MOODS: [(Mood, &[&str]); 8] = [
    (
        Mood::Night,
        &[
            "night",
            "midnight",
            "moon",
            "moonlit",
            "moonlight",
            "star",
            "starry",
            "galaxy",
            "space",
            "neon",
            "dark",
            "aurora",
        ],
    ),
    (
        Mood::Sunset,
        &["sunset", "evening", "dramatic", "fire", "lava", "romantic"],
    ),
    (
        Mood::Dusk,
        &[
            "dusk",
            "twilight",
            "cyberpunk",
            "vaporwave",
            "purple",
            "violet",
        ],
    ),
    (
        Mood::Dawn,
        &[
            "dawn", "sunrise", "morning", "pastel", "pink", "dreamy", "misty", "foggy",
        ],
    ),
    (
        Mood::Storm,
        &[
            "storm", "stormy", "rain", "rainy", "thunder", "cloudy", "grey", "gray", "gloomy",
            "noir",
        ],
    ),
    (
        Mood::Winter,
        &[
            "snow",
            "snowy",
            "winter",
            "ice",
            "icy",
            "frozen",
            "arctic",
            "glacier",
            "christmas",
        ],
    ),
    (
        Mood::Autumn,
        &["autumn", "fall", "harvest", "october", "vintage"],
    ),
    (
        Mood::Day,
        &[
            "day", "noon", "sunny", "summer", "spring", "bright", "tropical", "sunlit",
        ],
    ),
];

const LANDS: [(Land, &[&str]); 6] = [
    (
        Land::Ocean,
        &[
            "ocean",
            "sea",
            "beach",
            "coast",
            "lighthouse",
            "island",
            "wave",
            "lake",
            "boat",
            "ship",
            "sail",
            "harbor",
            "harbour",
            "whale",
            "surfer",
            "underwater",
            "fish",
        ],
    ),
    (
        Land::City,
        &[
            "city",
            "skyline",
            "street",
            "downtown",
            "paris",
            "tokyo",
            "london",
            "york",
            "urban",
            "skyscraper",
            "cyberpunk",
            "building",
            "car",
            "neon",
            "cafe",
            "eiffel",
        ],
    ),
    (
        Land::Forest,
        &[
            "forest", "wood", "tree", "pine", "jungle", "fox", "deer", "bear", "cabin", "mushroom",
        ],
    ),
    (
        Land::Desert,
        &[
            "desert", "dune", "sand", "camel", "sahara", "mars", "pyramid", "canyon",
        ],
    ),
    (
        Land::Mountains,
        &[
            "mountain", "alps", "peak", "hiker", "glacier", "himalaya", "volcano", "valley",
            "fjord", "dragon", "snow", "winter", "ski",
        ],
    ),
    (
        Land::Hills,
        &[
            "hill",
            "meadow",
            "field",
            "countryside",
            "farm",
            "flower",
            "garden",
            "balloon",
            "village",
            "vineyard",
            "tuscany",
        ],
    ),
];

const TINTS: [(u32, &[&str]); 11] = [
    (0xd93a3a, &["red", "crimson", "scarlet", "ruby"]),
    (0xf28a2e, &["orange", "amber", "copper"]),
    (0xf8a43c, &["gold", "golden", "honey"]),
    (0xf0bc4a, &["yellow", "lemon"]),
    (0x4ca85a, &["green", "emerald", "lime", "jade"]),
    (0x2fa8a5, &["teal", "turquoise", "cyan", "aqua"]),
    (0x3a78d8, &["blue", "azure", "sapphire", "indigo", "cobalt"]),
    (0x8a52c8, &["purple", "violet", "lavender", "magenta"]),
    (0xf082b0, &["pink", "rose", "cherry"]),
    (0x9a6a42, &["brown", "sepia", "chocolate"]),
    (0x90949a, &["grey", "gray", "monochrome", "silver", "black"]),
];

impl Theme {
    /// Reads a prompt's words and draws what they leave open.
    pub(super) fn of(prompt: &str, random: &mut Random) -> Self {
        let words: Vec<String> = prompt
            .to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
            .map(str::to_owned)
            .collect();
        // A plural is its singular with an s, which is all that the word lists need.
        let says = |list: &[&str]| {
            words.iter().any(|word| {
                list.iter()
                    .any(|known| word == known || word.strip_suffix('s') == Some(*known))
            })
        };
        let drawn_mood = random.pick([
            Mood::Dawn,
            Mood::Day,
            Mood::Sunset,
            Mood::Dusk,
            Mood::Night,
            Mood::Sunset,
            Mood::Autumn,
        ]);
        let drawn_land = random.pick([
            Land::Hills,
            Land::Mountains,
            Land::Forest,
            Land::Ocean,
            Land::Hills,
            Land::Desert,
        ]);
        let mood = MOODS
            .iter()
            .find(|(_, list)| says(list))
            .map_or(drawn_mood, |(mood, _)| *mood);
        let land = LANDS
            .iter()
            .find(|(_, list)| says(list))
            .map_or(drawn_land, |(land, _)| *land);
        let tint = TINTS
            .iter()
            .find(|(_, list)| says(list))
            .map(|(tint, _)| hex(*tint));
        let fair = !matches!(mood, Mood::Night | Mood::Storm | Mood::Winter);
        Self {
            land,
            mood,
            palette: palette(mood, land, tint),
            tower: says(&["paris", "eiffel"]),
            lighthouse: says(&["lighthouse"]),
            dog: says(&[
                "dog",
                "puppy",
                "retriever",
                "labrador",
                "corgi",
                "terrier",
                "spaniel",
            ]),
            beret: says(&["beret"]),
            boat: says(&["boat", "ship", "sail", "sailboat", "yacht"]) || random.chance(0.6),
            balloons: says(&["balloon"]) || (fair && random.chance(0.4)),
            snowfall: says(&[
                "snow",
                "snowy",
                "snowfall",
                "winter",
                "blizzard",
                "christmas",
            ]),
        }
    }

    /// Whether the light comes from the moon.
    pub(super) fn moonlit(&self) -> bool {
        self.mood == Mood::Night
    }
}

fn palette(mood: Mood, land: Land, tint: Option<Color>) -> Palette {
    // Sky from top to horizon, disc, glow, far land, near land, mist.
    let hues: [u32; 9] = match mood {
        Mood::Dawn => [
            0x567fbd, 0x9fb2dc, 0xf3c3bb, 0xffe9cc, 0xfff6de, 0xffdcb0, 0xb49dbd, 0x2c3455,
            0xf8dacf,
        ],
        Mood::Day => [
            0x2a78cc, 0x5ca9e6, 0xa9d6f0, 0xf6f3e6, 0xfffdee, 0xfff5cc, 0x8cbbcb, 0x1c5548,
            0xd9efef,
        ],
        Mood::Sunset => [
            0x2a2352, 0x7b3a6b, 0xe87058, 0xffcd82, 0xfff0c2, 0xffb86b, 0xa5506c, 0x1b132e,
            0xf2a078,
        ],
        Mood::Dusk => [
            0x131a42, 0x3b3474, 0x985892, 0xf2a892, 0xffe6c8, 0xffa99a, 0x634d86, 0x110e26,
            0xc688a6,
        ],
        Mood::Night => [
            0x05091d, 0x0c1a3e, 0x1b3868, 0x3f6a96, 0xf6f3e2, 0xa9c6ee, 0x2d4d78, 0x050916,
            0x4b76a0,
        ],
        Mood::Storm => [
            0x28313f, 0x485666, 0x768491, 0xb2babd, 0xe9ecea, 0xd6dcdc, 0x6b7a86, 0x171e26,
            0xa6b0b6,
        ],
        Mood::Winter => [
            0x6f98c4, 0x9fc0dc, 0xd0e1ee, 0xf8f3ec, 0xfffcf2, 0xfff2dc, 0xb2c8dc, 0x34506e,
            0xf0f5f8,
        ],
        Mood::Autumn => [
            0x628aa8, 0xaebcb4, 0xf0d6a4, 0xfceac6, 0xfff6dc, 0xffdc9a, 0xcb8d5c, 0x442016,
            0xf5d5a2,
        ],
    };
    let land_hue = match land {
        Land::Forest => Some((0x1f4a38, 0.38)),
        Land::Desert => Some((0xc9824a, 0.78)),
        Land::Hills => Some((0x3f7a4a, 0.22)),
        Land::City => Some((0x4e4c7c, 0.5)),
        Land::Mountains | Land::Ocean => None,
    };
    let [sky0, sky1, sky2, sky3, disc, glow, far, near, mist] = hues.map(hex);
    let tinted = |color: Color, amount: f32| {
        tint.map_or(color, |tint| {
            mix(color, at_lightness(tint, lightness(color)), amount)
        })
    };
    let landed = |color: Color| {
        land_hue.map_or(color, |(hue, amount)| {
            mix(color, at_lightness(hex(hue), lightness(color)), amount)
        })
    };
    Palette {
        // The zenith keeps its hue: a golden prompt should not get a green sky.
        sky: [
            tinted(sky0, 0.08),
            tinted(sky1, 0.12),
            tinted(sky2, 0.2),
            tinted(sky3, 0.38),
        ],
        disc,
        glow: tinted(glow, 0.25),
        far: tinted(landed(far), 0.18),
        near: tinted(landed(near), 0.1),
        mist: tinted(mist, 0.25),
    }
}

/// An opaque colour from `0xRRGGBB`.
pub(super) fn hex(rgb: u32) -> Color {
    let [_, red, green, blue] = rgb.to_be_bytes();
    Color::from_rgba8(red, green, blue, 255)
}

/// The colour with another opacity, `0.0..=1.0`.
pub(super) fn alpha(color: Color, opacity: f32) -> Color {
    let mut color = color;
    color.set_alpha(opacity);
    color
}

/// A colour between two, `0.0` for the first and `1.0` for the second.
pub(super) fn mix(from: Color, to: Color, part: f32) -> Color {
    let blend = |a: f32, b: f32| (a + (b - a) * part).clamp(0.0, 1.0);
    rgba(
        blend(from.red(), to.red()),
        blend(from.green(), to.green()),
        blend(from.blue(), to.blue()),
        blend(from.alpha(), to.alpha()),
    )
}

fn rgba(red: f32, green: f32, blue: f32, alpha: f32) -> Color {
    let within = |value: f32| value.clamp(0.0, 1.0);
    Color::from_rgba(within(red), within(green), within(blue), within(alpha))
        .expect("every part was brought within 0 and 1")
}

fn lightness(color: Color) -> f32 {
    0.2126 * color.red() + 0.7152 * color.green() + 0.0722 * color.blue()
}

/// The hue brought to another colour's lightness: darkened by scaling, lightened by fading towards white.
fn at_lightness(hue: Color, wanted: f32) -> Color {
    let own = lightness(hue);
    if wanted > own {
        return mix(hue, hex(0xffffff), (wanted - own) / (1.0 - own).max(0.01));
    }
    let scale = wanted / own.max(0.01);
    rgba(
        hue.red() * scale,
        hue.green() * scale,
        hue.blue() * scale,
        1.0,
    )
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    fn theme(prompt: &str) -> Theme {
        Theme::of(prompt, &mut Random::of(&Scene::default()))
    }

    #[test]
    fn words_choose_land_and_hour() {
        let prompts = [
            (
                "drone shot of a lighthouse at sunset, 16:9, cinematic",
                Land::Ocean,
                Mood::Sunset,
            ),
            ("PARIS by night", Land::City, Mood::Night),
            ("Snowy mountains", Land::Mountains, Mood::Winter),
            ("foggy pine-woods", Land::Forest, Mood::Dawn),
            ("two camels, harvest", Land::Desert, Mood::Autumn),
        ];
        for (prompt, land, mood) in prompts {
            let theme = theme(prompt);
            assert_eq!((theme.land, theme.mood), (land, mood), "{prompt}");
        }
    }

    #[test]
    fn only_whole_words_count() {
        assert!(theme("a dog").dog && theme("dogs").dog);
        assert!(!theme("a dogma").dog && !theme("underdog").dog);
    }

    #[test]
    fn a_colour_word_tints_the_palette() {
        let [plain, red] =
            ["a sunny hill", "a red sunny hill"].map(|prompt| theme(prompt).palette.sky[3]);
        assert!(red.red() - red.green() > plain.red() - plain.green());
    }
}
