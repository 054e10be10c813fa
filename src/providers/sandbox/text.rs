//! Text as outlines, from one embedded font.
//!
//! The font covers Latin, Greek and Cyrillic. A character it lacks (an ideograph, an emoji) is drawn as a soft tile of its width, so that
//! any prompt keeps its rhythm and nothing fails. There is no shaping: right-to-left and joining scripts are not in the font anyway.

use ttf_parser::{Face, GlyphId, OutlineBuilder};
use unicode_segmentation::UnicodeSegmentation;

use super::shape::Outline;

/// Inter Medium, cut down; its source and licence stand beside it.
const FONT: &[u8] = include_bytes!("font/inter-medium-subset.ttf");
/// Width of the tile of a missing character, in ems; its ink leaves a margin on both sides.
const TILE_EMS: f32 = 0.96;
const ELLIPSIS: char = '…';

/// The embedded font, ready to measure and to outline.
pub(super) struct Font {
    face: Face<'static>,
    units_per_em: f32,
}

/// Outlined text: what the font has, and the tiles of what it lacks, to be filled more softly.
#[derive(Debug, Default)]
pub(super) struct Inked {
    pub(super) glyphs: Outline,
    pub(super) tiles: Outline,
}

/// How a piece of text is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// Pixels per em.
    pub(super) size: f32,
    /// Extra space after every character, in ems.
    pub(super) tracking: f32,
}

impl Setting {
    /// Text of this size with its natural spacing.
    pub(super) fn plain(size: f32) -> Self {
        Self {
            size,
            tracking: 0.0,
        }
    }
}

impl Font {
    /// Height of capital letters, in ems.
    pub(super) const CAPITAL_EMS: f32 = 0.727;

    /// Reads the embedded font's tables; no outline is touched yet.
    pub(super) fn embedded() -> Self {
        let face = Face::parse(FONT, 0)
            .expect("the embedded font is part of the build and was checked by a test");
        let units_per_em = f32::from(face.units_per_em());
        Self { face, units_per_em }
    }

    /// Width of a text in pixels.
    pub(super) fn width(&self, text: &str, setting: Setting) -> f32 {
        text.graphemes(true)
            .map(|cluster| self.advance(cluster, setting))
            .sum()
    }

    fn advance(&self, cluster: &str, setting: Setting) -> f32 {
        let ems = match self.glyphs(cluster) {
            Some(glyphs) => {
                let units: u32 = glyphs
                    .map(|glyph| u32::from(self.face.glyph_hor_advance(glyph).unwrap_or(0)))
                    .sum();
                units as f32 / self.units_per_em
            }
            None => TILE_EMS,
        };
        (ems + setting.tracking) * setting.size
    }

    /// The glyphs of a cluster when the font has the letter it is built on; marks that the font lacks are left off.
    fn glyphs(&self, cluster: &str) -> Option<impl Iterator<Item = GlyphId>> {
        let base = cluster
            .chars()
            .next()
            .and_then(|first| self.face.glyph_index(first))?;
        let rest = cluster
            .chars()
            .skip(1)
            .filter_map(|mark| self.face.glyph_index(mark));
        Some(std::iter::once(base).chain(rest.collect::<Vec<_>>()))
    }

    /// Outlines a line of text that starts at `x` and stands on `baseline`.
    pub(super) fn ink(
        &self,
        into: &mut Inked,
        text: &str,
        x: f32,
        baseline: f32,
        setting: Setting,
    ) {
        let mut pen = x;
        for cluster in text.graphemes(true) {
            let advance = self.advance(cluster, setting);
            match self.glyphs(cluster) {
                Some(glyphs) => {
                    let mut glyph_pen = pen;
                    for glyph in glyphs {
                        let scale = setting.size / self.units_per_em;
                        self.face.outline_glyph(
                            glyph,
                            &mut Placed {
                                outline: &mut into.glyphs,
                                x: glyph_pen,
                                baseline,
                                scale,
                            },
                        );
                        glyph_pen +=
                            f32::from(self.face.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
                    }
                }
                None => tile(&mut into.tiles, cluster, pen, baseline, setting.size),
            }
            pen += advance;
        }
    }

    /// Breaks a text into at most `lines_max` lines of at most `width` pixels; what does not fit is cut with an ellipsis.
    ///
    /// Lines break at white space; a word that is wider than a line, or that the font lacks (scripts without spaces), breaks anywhere
    /// between two characters.
    pub(super) fn wrap(
        &self,
        text: &str,
        width: f32,
        lines_max: usize,
        setting: Setting,
    ) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut used = 0.0;
        let space = self.width(" ", setting);
        for word in text.split_whitespace() {
            let word_width = self.width(word, setting);
            let lead = if used > 0.0 { space } else { 0.0 };
            if used + lead + word_width <= width {
                push(&mut lines, lead > 0.0, word);
                used += lead + word_width;
                continue;
            }
            let breakable = word_width > width
                || word
                    .chars()
                    .all(|character| self.face.glyph_index(character).is_none());
            if !breakable {
                lines.push(word.to_owned());
                used = word_width;
            } else {
                let mut lead = lead;
                for cluster in word.graphemes(true) {
                    let advance = self.advance(cluster, setting);
                    if used > 0.0 && used + lead + advance > width {
                        lines.push(String::new());
                        (used, lead) = (0.0, 0.0);
                    }
                    push(&mut lines, lead > 0.0, cluster);
                    used += lead + advance;
                    lead = 0.0;
                }
            }
            if lines.len() > lines_max {
                break;
            }
        }
        if lines.len() > lines_max {
            lines.truncate(lines_max);
            if let Some(last) = lines.last_mut() {
                *last = self.shorten(&format!("{last}{ELLIPSIS}"), width, setting);
            }
        }
        lines
    }

    /// The text, cut with an ellipsis so that it is at most `width` pixels wide.
    pub(super) fn shorten(&self, text: &str, width: f32, setting: Setting) -> String {
        if self.width(text, setting) <= width {
            return text.to_owned();
        }
        let mut kept: Vec<&str> = text.trim_end_matches(ELLIPSIS).graphemes(true).collect();
        loop {
            kept.pop();
            let short = format!("{}{ELLIPSIS}", kept.concat().trim_end());
            if kept.is_empty() || self.width(&short, setting) <= width {
                return short;
            }
        }
    }
}

fn push(lines: &mut [String], spaced: bool, text: &str) {
    if let Some(line) = lines.last_mut() {
        if spaced {
            line.push(' ');
        }
        line.push_str(text);
    }
}

/// A round tile for a pictograph, a square one for any other missing character.
fn tile(outline: &mut Outline, cluster: &str, x: f32, baseline: f32, size: f32) {
    let pictograph = cluster
        .chars()
        .any(|character| matches!(u32::from(character), 0x2600..=0x27bf | 0x1f000..=0x1faff));
    let side = size * 0.8;
    let (left, top) = (
        x + size * (TILE_EMS - 0.8) / 2.0,
        baseline - side + size * 0.04,
    );
    let radius = if pictograph { side / 2.0 } else { side * 0.2 };
    outline.rounded(left, top, side, side, radius);
}

/// Text to be printed, with what has no width and could only disturb taken out.
pub(super) fn printable(text: &str, characters_max: usize) -> String {
    let invisible = |character: char| matches!(u32::from(character), 0x200b | 0x200e..=0x200f | 0x202a..=0x202e | 0x2060..=0x2069 | 0xfeff);
    text.chars()
        .take(characters_max)
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .filter(|&character| !invisible(character))
        .collect()
}

/// Writes font units, whose y grows upwards, into picture pixels.
struct Placed<'a> {
    outline: &'a mut Outline,
    x: f32,
    baseline: f32,
    scale: f32,
}

impl Placed<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.baseline - y * self.scale)
    }
}

impl OutlineBuilder for Placed<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.outline.0.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.outline.0.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.outline.0.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.outline.0.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.outline.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting = Setting {
        size: 10.0,
        tracking: 0.0,
    };

    #[test]
    fn the_font_covers_what_it_says() {
        let font = Font::embedded();
        let missing = |text: &str| {
            text.chars()
                .filter(|character| font.face.glyph_index(*character).is_none())
                .collect::<String>()
        };
        assert_eq!(
            missing("The quick fox 0123456789 «ÀÉîøß ŁŐšž» ΑΩαω АЯаяЁёЇїЎў “—…” €₽ × ·"),
            ""
        );
        assert_eq!(missing("a狐🦊b"), "狐🦊");
    }

    #[test]
    fn lines_keep_their_width_and_their_words() {
        let font = Font::embedded();
        let prompts = [
            "one two  three\nfour five six",
            "Donaudampfschifffahrtsgesellschaft",
            "狐狸在雪地里奔跑 and then 休息",
            "👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧",
        ];
        for prompt in prompts {
            let lines = font.wrap(prompt, 60.0, usize::MAX, SETTING);
            assert!(
                lines.iter().all(|line| font.width(line, SETTING) <= 60.0),
                "{lines:?}"
            );
            let letters = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(prompt));
        }
    }

    #[test]
    fn what_does_not_fit_ends_with_an_ellipsis() {
        let font = Font::embedded();
        let lines = font.wrap(&"word ".repeat(100), 60.0, 3, SETTING);
        assert_eq!(lines.len(), 3);
        assert!(
            lines[2].ends_with(ELLIPSIS) && font.width(&lines[2], SETTING) <= 60.0,
            "{lines:?}"
        );
        assert!(font.wrap("word", 60.0, 0, SETTING).is_empty());
    }

    #[test]
    fn control_and_direction_characters_are_not_printed() {
        assert_eq!(printable("a\u{202e}b\tc\u{0}\u{200b}d", 100), "ab c d");
        assert_eq!(printable("abcdef", 3), "abc");
    }
}
