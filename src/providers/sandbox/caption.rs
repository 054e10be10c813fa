//! What stands over the landscape: the panel with the prompt, the reference tiles, the SANDBOX marks, and a clip's clock.
//!
//! Everything is measured from one text size, which follows the area of the picture and is limited by its shorter side, so that the same
//! rules give a legible caption from a thumbnail to 4K and from 1:8 to 8:1. What has no room is left out whole: first tiles, then the panel.

use image::{ImageReader, Limits, RgbaImage, imageops};
use tiny_skia::{Color, IntSize, Pixmap, Transform};

use super::palette::{Palette, alpha, hex, mix};
use super::scene::{PROMPT_CHARACTERS_MAX, Scene};
use super::shape::{Element, Fill, Outline, Shape};
use super::text::{Font, Inked, Setting, printable};

/// Height of a line of the prompt, in ems.
const LINE_EMS: f32 = 1.36;
/// Sizes that are tried for the prompt, as parts of the text size; the last one is cut if it must.
const PROMPT_SIZES: [f32; 3] = [1.0, 0.86, 0.74];
/// Smallest size of small print, in pixels.
const SMALL_PRINT_PIXELS_MIN: f32 = 8.5;
/// Most bytes that decoding one reference image may take.
const REFERENCE_DECODE_BYTES_MAX: u64 = 256 << 20;
/// Longest side of a reference image that is decoded, in pixels.
const REFERENCE_SIDE_PIXELS_MAX: u32 = 16_384;

/// Whether a picture or a clip is captioned; a clip has a clock and a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    Still,
    Clip,
}

/// The caption, furthest first, and what the landscape and the clip must know of it.
pub(super) struct Caption {
    pub(super) elements: Vec<Element>,
    /// The height from which the caption covers the picture's whole width.
    pub(super) floor: f32,
}

/// Where a clip shows its time and how far it has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    setting: Setting,
    right: f32,
    top: f32,
    height: f32,
    width: f32,
    /// Height of the progress bar along the bottom edge.
    pub(super) bar_height: f32,
    /// Colour of the progress bar.
    pub(super) accent: Color,
}

struct Page<'a> {
    scene: &'a Scene,
    font: &'a Font,
    width: f32,
    height: f32,
    text: f32,
    /// Size of small print.
    small: f32,
    /// Size of the marks in the top corners, which share the width.
    mark: f32,
    margin: f32,
    accent: Color,
    medium: Medium,
}

#[derive(Debug, Clone, Copy)]
struct Area {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
}

/// Sets the caption of a scene.
pub(super) fn caption(scene: &Scene, palette: &Palette, font: &Font, medium: Medium) -> Caption {
    let page = Page::of(scene, palette, font, medium);
    let mut elements = vec![page.watermark()];
    let mut floor = 0.92 * page.height;
    let panel = page.panel();
    if let Some((area, shapes)) = &panel {
        if area.width > 0.6 * page.width {
            floor = area.y;
        }
        elements.push(Element::still(shapes.clone()));
    }
    let tiles = Element::still(page.tiles(panel.map(|(area, _)| area)));
    if let Some(row) = tiles.bounds() {
        if row.width() > 0.4 * page.width {
            floor = floor.min(row.top());
        }
        elements.push(tiles);
    }
    elements.push(page.badge());
    if medium == Medium::Clip {
        elements.push(clock(scene, palette, font).face());
    }
    Caption { elements, floor }
}

/// The clock of a clip of this scene.
pub(super) fn clock(scene: &Scene, palette: &Palette, font: &Font) -> Clock {
    let page = Page::of(scene, palette, font, Medium::Clip);
    let setting = Setting::plain(page.mark);
    let pad = 0.75 * page.mark;
    let width = Clock::places(font, setting, "0:00.0").1 + 2.0 * pad;
    let bar_height = (0.005 * page.height.min(page.width)).max(2.0).round();
    Clock {
        setting,
        right: page.width - page.margin,
        top: page.margin,
        height: 2.0 * page.mark,
        width,
        bar_height,
        accent: page.accent,
    }
}

impl Clock {
    /// The time as it is shown: minutes, seconds and tenths.
    pub(super) fn reading(milliseconds: u64) -> String {
        format!(
            "{}:{:02}.{}",
            milliseconds / 60_000,
            milliseconds / 1000 % 60,
            milliseconds / 100 % 10
        )
    }

    /// One character of the time, at its place in the reading. Digits are equally wide, so the time does not tremble.
    pub(super) fn character(&self, font: &Font, reading: &str, place: usize) -> Option<Element> {
        let (places, width) = Self::places(font, self.setting, reading);
        let (character, x) = places.get(place).copied()?;
        let left = self.right - self.width / 2.0 - width / 2.0 + x;
        let baseline = self.top + self.height / 2.0 + Font::CAPITAL_EMS * self.setting.size / 2.0;
        let mut inked = Inked::default();
        font.ink(
            &mut inked,
            character.encode_utf8(&mut [0; 4]),
            left,
            baseline,
            self.setting,
        );
        Some(Element::still(
            inked
                .glyphs
                .fill(Fill::Solid(alpha(hex(0xffffff), 0.95)))
                .into_iter()
                .collect(),
        ))
    }

    fn places(font: &Font, setting: Setting, reading: &str) -> (Vec<(char, f32)>, f32) {
        let digit = font.width("0", setting);
        let mut pen = 0.0;
        let places = reading.chars().map(|character| {
            let own = font.width(character.encode_utf8(&mut [0; 4]), setting);
            let cell = if character.is_ascii_digit() {
                digit
            } else {
                own
            };
            let x = pen + (cell - own) / 2.0;
            pen += cell;
            (character, x)
        });
        (places.collect(), pen)
    }

    fn face(&self) -> Element {
        let pill = pill(self.right - self.width, self.top, self.width, self.height);
        Element::still(pill)
    }
}

impl<'a> Page<'a> {
    fn of(scene: &'a Scene, palette: &Palette, font: &'a Font, medium: Medium) -> Self {
        let (width, height) = (scene.width as f32, scene.height as f32);
        let short = width.min(height);
        let text = (0.0195 * (width * height).sqrt())
            .max(10.5)
            .min(0.12 * short);
        let small = (0.68 * text).max(SMALL_PRINT_PIXELS_MIN).min(text);
        let margin = (1.15 * text).min(0.06 * short).round();
        // The badge is about 9 sizes wide and the clock of a clip about 5; a picture that is no wider gets smaller marks.
        let mark = small.min(match medium {
            Medium::Still => (width - 2.0 * margin) / 9.2,
            Medium::Clip => (width - 3.0 * margin) / 14.2,
        });
        let accent = mix(palette.glow, hex(0xffffff), 0.3);
        Self {
            scene,
            font,
            width,
            height,
            text,
            small,
            mark,
            margin,
            accent,
            medium,
        }
    }

    fn badge_height(&self) -> f32 {
        2.0 * self.mark
    }

    /// The mark in the top left corner.
    fn badge(&self) -> Element {
        let setting = Setting {
            size: self.mark,
            tracking: 0.12,
        };
        let (height, dot) = (self.badge_height(), 0.24 * self.mark);
        let pad = 0.85 * self.mark;
        let width = 2.0 * pad + 3.8 * dot + self.font.width("SANDBOX", setting) - 0.12 * self.mark;
        let (x, y) = (self.margin, self.margin);
        let mut shapes = pill(x, y, width, height);
        let mut light = Outline::default();
        light.circle(x + pad + dot, y + height / 2.0, dot);
        shapes.extend(light.fill(Fill::Solid(self.accent)));
        let baseline = y + height / 2.0 + Font::CAPITAL_EMS * self.mark / 2.0;
        shapes.extend(self.line(
            "SANDBOX",
            x + pad + 3.8 * dot,
            baseline,
            setting,
            hex(0xffffff),
        ));
        Element::still(shapes)
    }

    /// The word across the whole picture, so faint that it does not disturb.
    fn watermark(&self) -> Element {
        let setting = Setting {
            size: 1.9 * self.text,
            tracking: 0.3,
        };
        let mut inked = Inked::default();
        self.font.ink(&mut inked, "SANDBOX", 0.0, 0.0, setting);
        let word = inked.glyphs.0.finish();
        let pitch_x = self.font.width("SANDBOX", setting) * 1.9;
        let pitch_y = 8.0 * self.text;
        let mut outline = Outline::default();
        let (columns, rows) = (
            (self.width / pitch_x) as i32 + 2,
            (self.height / pitch_y) as i32 + 2,
        );
        for cell in 0..columns * rows {
            let (column, row) = (cell % columns, cell / columns);
            let stagger = if row % 2 == 0 { 0.0 } else { 0.5 };
            let (x, y) = (
                (column as f32 + stagger - 0.6) * pitch_x,
                (row as f32 + 0.35) * pitch_y,
            );
            let placed = word.clone().and_then(|word| {
                word.transform(Transform::from_rotate(-18.0).post_translate(x, y))
            });
            if let Some(path) = placed {
                outline.0.push_path(&path);
            }
        }
        Element::still(
            outline
                .fill(Fill::Solid(alpha(hex(0xffffff), 0.055)))
                .into_iter()
                .collect(),
        )
    }

    /// The panel with the prompt and what was asked, or nothing when the picture is too small for it.
    fn panel(&self) -> Option<(Area, Vec<Shape>)> {
        let pad = 0.95 * self.text;
        let wide = self.width > 1.35 * self.height;
        let below = self.margin
            + if self.medium == Medium::Clip {
                0.3 * self.text
            } else {
                0.0
            };
        let width_max = self.width - 2.0 * self.margin;
        let width_max = if wide {
            width_max.min((26.0 * self.text).max(0.42 * self.width))
        } else {
            width_max
        };
        let part = if self.width > 2.6 * self.height {
            0.7
        } else {
            0.42
        };
        let height_max = (part * self.height)
            .min(self.height - self.badge_height() - self.margin - below - 0.5 * self.text);
        let inside = width_max - 2.0 * pad;

        let facts = self.facts(inside);
        let fact_line = 1.5 * self.small;
        let title_line = 1.75 * self.small;
        let rest = 2.0 * pad + title_line + 0.35 * self.text + facts.len() as f32 * fact_line;
        let prompt = printable(&self.scene.prompt, PROMPT_CHARACTERS_MAX);
        let setting = |part: f32| Setting::plain((part * self.text).max(self.small));
        let lines_max = |setting: Setting| {
            ((height_max - rest) / (LINE_EMS * setting.size))
                .floor()
                .max(0.0) as usize
        };
        let chosen = PROMPT_SIZES.map(setting).into_iter().find_map(|setting| {
            let lines = self.font.wrap(&prompt, inside, usize::MAX, setting);
            (lines.len() <= lines_max(setting)).then_some((setting, lines))
        });
        let smallest = setting(PROMPT_SIZES[PROMPT_SIZES.len() - 1]);
        let (setting, lines) = chosen.unwrap_or_else(|| {
            (
                smallest,
                self.font
                    .wrap(&prompt, inside, lines_max(smallest), smallest),
            )
        });
        if lines.is_empty() {
            return None;
        }

        let title = self.font.shorten(
            &printable(&self.scene.model_title, 200),
            inside,
            Setting::plain(self.small),
        );
        let small = Setting::plain(self.small);
        let widest = lines
            .iter()
            .map(|line| self.font.width(line, setting))
            .chain(facts.iter().map(|line| self.font.width(line, small)));
        let widest = widest.fold(self.font.width(&title, small), f32::max);
        let width = if wide {
            (widest + 2.0 * pad).max(14.0 * self.text).min(width_max)
        } else {
            width_max
        }
        .round();
        let height = (rest + lines.len() as f32 * LINE_EMS * setting.size).round();
        let area = Area {
            x: self.margin,
            y: (self.height - below - height).round(),
            width,
            height,
        };

        let mut shapes = glass(area, 0.7 * self.text);
        let x = area.x + pad;
        let mut y = area.y + pad;
        let baseline =
            |top: f32, line: f32, size: f32| top + line / 2.0 + Font::CAPITAL_EMS * size / 2.0;
        shapes.extend(self.line(
            &title,
            x,
            baseline(y, title_line, self.small) - 0.2 * self.small,
            small,
            self.accent,
        ));
        let slug_x = x + self.font.width(&title, small) + 0.7 * self.small;
        let slug = printable(&self.scene.model_slug, 200);
        if slug_x + self.font.width(&slug, small) <= area.x + area.width - pad {
            let dim = alpha(hex(0xffffff), 0.5);
            shapes.extend(self.line(
                &slug,
                slug_x,
                baseline(y, title_line, self.small) - 0.2 * self.small,
                small,
                dim,
            ));
        }
        y += title_line;
        for line in &lines {
            shapes.extend(self.line(
                line,
                x,
                baseline(y, LINE_EMS * setting.size, setting.size),
                setting,
                hex(0xffffff),
            ));
            y += LINE_EMS * setting.size;
        }
        y += 0.35 * self.text;
        for line in &facts {
            shapes.extend(self.line(
                line,
                x,
                baseline(y, fact_line, self.small) + 0.15 * self.small,
                small,
                alpha(hex(0xffffff), 0.72),
            ));
            y += fact_line;
        }
        Some((area, shapes))
    }

    /// What was asked besides the prompt, in lines that break between two facts.
    fn facts(&self, width: f32) -> Vec<String> {
        let scene = self.scene;
        let mut facts = vec![
            printable(&scene.resolution, 40),
            printable(&scene.aspect_ratio, 40),
        ];
        facts.push(format!("{}×{}", scene.width, scene.height));
        facts.push(format!("seed {}", scene.seed));
        if scene.index > 0 {
            facts.push(format!("no. {}", u64::from(scene.index) + 1));
        }
        let small = Setting::plain(self.small);
        let mut lines: Vec<String> = Vec::new();
        for fact in facts.into_iter().filter(|fact| !fact.trim().is_empty()) {
            let joined = lines.last().map(|line| format!("{line}  ·  {fact}"));
            match (joined, lines.last_mut()) {
                (Some(joined), Some(line)) if self.font.width(&joined, small) <= width => {
                    *line = joined
                }
                _ => lines.push(self.font.shorten(&fact, width, small)),
            }
        }
        lines
    }

    /// The reference images as a row of tiles, above the panel or beside it, wherever there is room.
    fn tiles(&self, panel: Option<Area>) -> Vec<Shape> {
        let count = self.scene.references.len();
        let Some(panel) = panel.filter(|_| count > 0) else {
            return Vec::new();
        };
        let side = (4.4 * self.text)
            .min(0.18 * self.width.min(self.height).max(0.3 * self.width))
            .round();
        let gap = (0.5 * self.text).round();
        let above = panel.y - gap - side;
        let (x, y) = if above > self.margin + self.badge_height() + gap {
            (panel.x, above)
        } else {
            (panel.x + panel.width + gap, panel.y + panel.height - side)
        };
        let fit = ((self.width - self.margin - x + gap) / (side + gap))
            .floor()
            .max(0.0) as usize;
        let shown = if count <= fit {
            count
        } else {
            fit.saturating_sub(1)
        };
        let place = |index: usize| Area {
            x: x + index as f32 * (side + gap),
            y,
            width: side,
            height: side,
        };
        let mut shapes: Vec<Shape> = self
            .scene
            .references
            .iter()
            .take(shown)
            .enumerate()
            .flat_map(|(index, bytes)| self.tile(place(index), bytes))
            .collect();
        if shown < count && fit > 0 {
            shapes.extend(self.empty_tile(place(shown), &format!("+{}", count - shown)));
        }
        shapes
    }

    fn tile(&self, area: Area, bytes: &[u8]) -> Vec<Shape> {
        let frame = (0.08 * self.text).max(1.0).round();
        let inner = Area {
            x: area.x + frame,
            y: area.y + frame,
            width: area.width - 2.0 * frame,
            height: area.height - 2.0 * frame,
        };
        let Some(pixels) = decode_square(bytes, inner.width as u32) else {
            return self.empty_tile(area, "?");
        };
        let radius = 0.35 * self.text;
        let mut border = Outline::default();
        border.rounded(area.x, area.y, area.width, area.height, radius);
        let mut window = Outline::default();
        window.rounded(inner.x, inner.y, inner.width, inner.height, radius - frame);
        let fill = Fill::Image {
            x: inner.x,
            y: inner.y,
            pixels,
        };
        [
            border.fill(Fill::Solid(alpha(hex(0xffffff), 0.92))),
            window.fill(fill),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn empty_tile(&self, area: Area, text: &str) -> Vec<Shape> {
        let setting = Setting::plain(1.1 * self.text);
        let mut shapes = glass(area, 0.35 * self.text);
        let x = area.x + (area.width - self.font.width(text, setting)) / 2.0;
        let baseline = area.y + area.height / 2.0 + Font::CAPITAL_EMS * setting.size / 2.0;
        shapes.extend(self.line(text, x, baseline, setting, alpha(hex(0xffffff), 0.85)));
        shapes
    }

    /// One line of text; tiles of missing characters are fainter than the letters.
    fn line(
        &self,
        text: &str,
        x: f32,
        baseline: f32,
        setting: Setting,
        color: Color,
    ) -> impl Iterator<Item = Shape> {
        let mut inked = Inked::default();
        self.font.ink(&mut inked, text, x, baseline, setting);
        let tiles = inked.tiles.fill(Fill::Solid(mix(
            alpha(color, 0.34),
            alpha(self.accent, 0.34),
            0.6,
        )));
        tiles
            .into_iter()
            .chain(inked.glyphs.fill(Fill::Solid(color)))
    }
}

/// A dark translucent plate with a hair line of light around it.
fn glass(area: Area, radius: f32) -> Vec<Shape> {
    let Area {
        x,
        y,
        width,
        height,
    } = area;
    let mut rim = Outline::default();
    rim.rounded(x - 1.0, y - 1.0, width + 2.0, height + 2.0, radius + 1.0);
    let mut plate = Outline::default();
    plate.rounded(x, y, width, height, radius);
    let rim = rim.fill(Fill::Solid(alpha(hex(0xffffff), 0.14)));
    rim.into_iter()
        .chain(plate.fill(Fill::Solid(alpha(hex(0x0a0d17), 0.8))))
        .collect()
}

fn pill(x: f32, y: f32, width: f32, height: f32) -> Vec<Shape> {
    glass(
        Area {
            x,
            y,
            width,
            height,
        },
        height / 2.0,
    )
}

/// The middle square of a reference image, or nothing when it is no PNG or JPEG within the limits.
fn decode_square(bytes: &[u8], side: u32) -> Option<Pixmap> {
    let mut reader = ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(REFERENCE_SIDE_PIXELS_MAX);
    limits.max_image_height = Some(REFERENCE_SIDE_PIXELS_MAX);
    limits.max_alloc = Some(REFERENCE_DECODE_BYTES_MAX);
    reader.limits(limits);
    let image = reader.decode().ok()?;
    let short = image.width().min(image.height());
    let square = image.crop_imm(
        (image.width() - short) / 2,
        (image.height() - short) / 2,
        short,
        short,
    );
    let mut small: RgbaImage = imageops::thumbnail(&square.to_rgba8(), side, side);
    for pixel in small.pixels_mut() {
        let [red, green, blue, opacity] = pixel.0;
        let scaled = |value: u8| ((u32::from(value) * u32::from(opacity) + 127) / 255) as u8;
        pixel.0 = [scaled(red), scaled(green), scaled(blue), opacity];
    }
    Pixmap::from_vec(small.into_raw(), IntSize::from_wh(side, side)?)
}

#[cfg(test)]
mod tests {
    use super::super::palette::Theme;
    use super::super::random::Random;
    use super::*;

    fn scene(width: u32, height: u32, prompt: &str) -> Scene {
        Scene {
            prompt: prompt.to_owned(),
            model_title: "A model".to_owned(),
            width,
            height,
            ..Scene::default()
        }
    }

    fn set(scene: &Scene, medium: Medium) -> Caption {
        let palette = Theme::of(&scene.prompt, &mut Random::of(scene)).palette;
        caption(scene, &palette, &Font::embedded(), medium)
    }

    #[test]
    fn nothing_but_the_watermark_leaves_the_picture() {
        let prompts = [
            "",
            "a fox",
            &"long words and more of them ".repeat(200),
            &"unbroken".repeat(400),
            &"狐狸🦊".repeat(600),
        ];
        for (width, height) in [
            (64, 64),
            (256, 256),
            (192, 1536),
            (1536, 192),
            (1920, 1080),
            (1080, 1920),
            (3840, 2160),
            (8192, 64),
        ] {
            for prompt in prompts {
                let mut scene = scene(width, height, prompt);
                scene.seed = u64::MAX;
                scene.references = vec![Vec::new(); 16];
                for element in set(&scene, Medium::Clip).elements.iter().skip(1) {
                    let bounds = element
                        .bounds()
                        .expect("every element of a caption shows something");
                    let within = bounds.left() >= 0.0
                        && bounds.top() >= 0.0
                        && bounds.right() <= width as f32
                        && bounds.bottom() <= height as f32;
                    assert!(within, "{bounds:?} in {width}x{height}");
                }
            }
        }
    }

    #[test]
    fn an_undecodable_reference_is_a_tile_too() {
        let mut scene = scene(1024, 1024, "a fox");
        let bare = set(&scene, Medium::Still).elements.len();
        scene.references = vec![b"not a picture".to_vec()];
        assert_eq!(set(&scene, Medium::Still).elements.len(), bare + 1);
    }

    #[test]
    fn the_clock_shows_minutes_seconds_and_tenths() {
        assert_eq!(
            [0, 9_960, 60_000].map(Clock::reading),
            ["0:00.0", "0:09.9", "1:00.0"]
        );
    }
}
