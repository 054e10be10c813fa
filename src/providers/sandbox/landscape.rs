//! The landscape behind the caption: sky, light, clouds, land in layers, and what stands in it.
//!
//! Every layer is an [`Element`], furthest first. Nearer layers sway further, which is the parallax of a clip; each layer is drawn as much
//! wider than the picture as it sways. Lengths are parts of two measures, so that a composition holds in any shape: `span` for widths and
//! `rise` for heights, both limited by the shorter side.

mod sea;
mod sky;
mod town;

use std::f32::consts::TAU;

use tiny_skia::Color;

use self::sea::ocean;
use self::sky::{place_disc, sky, snow};
use self::town::{city, tower};
use super::palette::{Land, Theme, hex, mix};
use super::random::Random;
use super::shape::{Element, Fill, Motion, Outline, Shape};

/// The frame of a composition, in pixels.
#[derive(Debug, Clone, Copy)]
struct Frame {
    width: f32,
    height: f32,
    /// Unit of widths.
    span: f32,
    /// Unit of heights.
    rise: f32,
    /// Where the land begins.
    horizon: f32,
    /// Down to where the land should be interesting; the caption may cover what lies below.
    floor: f32,
}

/// Where the sun or the moon stands.
#[derive(Debug, Clone, Copy)]
struct Disc {
    x: f32,
    y: f32,
    radius: f32,
}

/// Composes the landscape of a theme; `floor` is the height from which the caption covers the whole width.
pub(super) fn landscape(
    theme: &Theme,
    width: f32,
    height: f32,
    floor: f32,
    random: &mut Random,
) -> Vec<Element> {
    let short = width.min(height);
    let span = (width * height).sqrt().min(1.6 * short);
    let rise = span.min(height);
    let frame = Frame {
        width,
        height,
        span,
        rise,
        horizon: (floor - 0.36 * rise).max(0.3 * height),
        floor,
    };
    let disc = place_disc(theme, frame, random);
    let mut elements = sky(theme, frame, disc, random);
    let land = &mut random.fork();
    match theme.land {
        Land::Ocean => elements.extend(ocean(theme, frame, disc, land)),
        Land::City => elements.extend(city(theme, frame, land)),
        Land::Hills | Land::Mountains | Land::Forest | Land::Desert => {
            elements.extend(hills(theme, frame, land))
        }
    }
    if theme.dog {
        elements.push(dog(theme, frame));
    }
    if theme.snowfall {
        elements.extend(snow(frame, &mut random.fork()));
    }
    elements
}

impl Frame {
    /// How far a layer sways at a depth from 0 (far) to 1 (near).
    fn sway(self, depth: f32) -> f32 {
        self.span * (0.008 + 0.052 * depth)
    }
}

/// The height of a ridge at every place: a few sines of unrelated lengths.
struct Ridge {
    base: f32,
    waves: [(f32, f32, f32); 4],
}

impl Ridge {
    fn smooth(base: f32, amplitude: f32, length: f32, random: &mut Random) -> Self {
        let mut wave = |part: f32, ratio: f32| {
            (
                amplitude * part,
                TAU * ratio / length,
                random.between(0.0, TAU),
            )
        };
        Self {
            base,
            waves: [
                wave(1.0, 1.0),
                wave(0.5, 2.13),
                wave(0.2, 4.41),
                wave(0.06, 9.7),
            ],
        }
    }

    fn at(&self, x: f32) -> f32 {
        self.base
            + self
                .waves
                .iter()
                .map(|(amplitude, rate, phase)| amplitude * (rate * x + phase).sin())
                .sum::<f32>()
    }

    /// The ridge from `left` to `right` in steps that are fine enough to look smooth.
    fn line(&self, left: f32, right: f32, step: f32) -> impl Iterator<Item = (f32, f32)> {
        let steps = ((right - left) / step).ceil().max(1.0) as usize;
        (0..=steps).map(move |index| {
            let x = left + (right - left) * index as f32 / steps as f32;
            (x, self.at(x))
        })
    }
}

/// Land below a line of points, fading into the mist at its foot.
fn land_below(line: Vec<(f32, f32)>, frame: Frame, stops: Vec<(f32, Color)>) -> Option<Shape> {
    let top = line
        .iter()
        .map(|point| point.1)
        .fold(f32::INFINITY, f32::min);
    let (first, last) = (line.first()?.0, line.last()?.0);
    let mut outline = Outline::default();
    outline.polygon(
        line.into_iter()
            .chain([(last, frame.height + 2.0), (first, frame.height + 2.0)]),
    );
    outline.fill(Fill::Vertical {
        top,
        bottom: top + 0.42 * frame.rise,
        stops,
    })
}

fn hills(theme: &Theme, frame: Frame, random: &mut Random) -> Vec<Element> {
    let layers = 5;
    let colors = &theme.palette;
    let layer = |layer: usize| {
        let depth = layer as f32 / (layers - 1) as f32;
        let sway = frame.sway(depth);
        let (left, right) = (-sway - 4.0, frame.width + sway + 4.0);
        let color = mix(colors.far, colors.near, depth.powf(1.15));
        let foot = mix(color, colors.mist, 0.62 * (1.0 - depth) + 0.06);
        let base = frame.horizon + (frame.floor - frame.horizon) * depth.powf(1.25) * 0.92;
        let ridge = Ridge::smooth(
            base,
            frame.rise * (0.034 + 0.02 * depth),
            frame.span * (0.62 + 0.5 * depth),
            random,
        );
        let jagged = theme.land == Land::Mountains && layer < 3;
        let (line, stops) = if jagged {
            let height = frame.rise * (0.24 - 0.06 * layer as f32);
            let snow = mix(hex(0xffffff), colors.mist, 0.25);
            let cap = mix(color, snow, 0.72 - 0.2 * layer as f32);
            (
                peaks(&ridge, left, right, height, frame.span * 0.2, random),
                vec![(0.0, cap), (0.2, cap), (0.42, color), (1.0, foot)],
            )
        } else {
            (
                ridge.line(left, right, frame.span / 220.0).collect(),
                vec![(0.0, color), (1.0, foot)],
            )
        };
        let mut shapes = Vec::new();
        if theme.land == Land::Forest || (theme.land == Land::Mountains && layer >= 3) {
            shapes.extend(
                conifers(&ridge, left, right, frame, depth, random).fill(Fill::Solid(color)),
            );
        }
        shapes.extend(land_below(line, frame, stops));
        if theme.land == Land::Hills && layer >= 2 {
            shapes.extend(
                bushes(&ridge, left, right, frame, depth, random).fill(Fill::Solid(mix(
                    color,
                    hex(0x000000),
                    0.12,
                ))),
            );
        }
        Element::moving(shapes, Motion::Sway { x: sway, y: 0.0 })
    };
    let mut elements: Vec<Element> = (0..layers).map(layer).collect();
    if theme.tower {
        let sway = frame.sway(0.25);
        let color = mix(colors.far, colors.near, 0.5);
        let shapes = tower(
            frame.width * 0.66,
            frame.horizon + 0.1 * frame.rise,
            0.5 * frame.rise,
            color,
        );
        elements.insert(2, Element::moving(shapes, Motion::Sway { x: sway, y: 0.0 }));
    }
    elements
}

/// A broken line of summits and saddles above a ridge.
fn peaks(
    ridge: &Ridge,
    left: f32,
    right: f32,
    height: f32,
    pitch: f32,
    random: &mut Random,
) -> Vec<(f32, f32)> {
    let mut line = Vec::new();
    let mut x = left - pitch;
    while x < right + pitch {
        let summit = height * random.between(0.45, 1.0);
        let width = pitch * random.between(0.7, 1.3);
        // One flank of a mountain: rough steps from the saddle to the summit, then down again.
        for (part, lift) in [
            (0.0, 0.12),
            (0.14, 0.3),
            (0.22, 0.44),
            (0.3, 0.52),
            (0.41, 0.86),
            (0.5, 1.0),
            (0.57, 0.84),
            (0.69, 0.64),
            (0.76, 0.42),
            (0.9, 0.26),
        ] {
            let rough = random.between(-0.05, 0.05);
            let at = x + width * part;
            line.push((at, ridge.at(at) - summit * (lift + rough)));
        }
        x += width;
    }
    line
}

fn conifers(
    ridge: &Ridge,
    left: f32,
    right: f32,
    frame: Frame,
    depth: f32,
    random: &mut Random,
) -> Outline {
    let mut outline = Outline::default();
    let size = frame.rise * (0.03 + 0.085 * depth);
    let mut x = left;
    while x < right {
        let height = size * random.between(0.6, 1.25);
        let foot = ridge.at(x) + 0.12 * height;
        for (base, tip, half) in [(0.0, 0.55, 0.24), (0.26, 0.8, 0.18), (0.52, 1.0, 0.12)] {
            outline.polygon([
                (x - half * height, foot - base * height),
                (x, foot - tip * height),
                (x + half * height, foot - base * height),
            ]);
        }
        x += height * random.between(0.22, 0.62);
    }
    outline
}

fn bushes(
    ridge: &Ridge,
    left: f32,
    right: f32,
    frame: Frame,
    depth: f32,
    random: &mut Random,
) -> Outline {
    let mut outline = Outline::default();
    let size = frame.rise * (0.006 + 0.02 * depth);
    let mut x = left;
    while x < right {
        let radius = size * random.between(0.6, 1.2);
        outline.ellipse(x, ridge.at(x) - 0.45 * radius, radius * 0.8, radius);
        outline.rectangle(x - 0.08 * radius, ridge.at(x), 0.16 * radius, 0.8 * radius);
        x += radius
            * if random.chance(0.6) {
                random.between(1.0, 2.2)
            } else {
                random.between(6.0, 16.0)
            };
    }
    outline
}

/// A sitting dog, seen from the front, at the right of the foreground.
fn dog(theme: &Theme, frame: Frame) -> Element {
    let size = 0.44 * frame.rise.min(frame.width);
    let (x, foot) = (frame.width * 0.835, frame.floor + 0.05 * frame.rise);
    let shade = if theme.moonlit() { 0.4 } else { 0.12 };
    let tone = |rgb: u32| mix(hex(rgb), theme.palette.near, shade);
    let at = |dx: f32, dy: f32| (x + dx * size, foot - dy * size);
    let mut shapes = Vec::new();
    let mut paint = |rgb: u32, ovals: &[(f32, f32, f32, f32)]| {
        let mut outline = Outline::default();
        for &(dx, dy, rx, ry) in ovals {
            let (cx, cy) = at(dx, dy);
            outline.ellipse(cx, cy, rx * size, ry * size);
        }
        shapes.extend(outline.fill(Fill::Solid(tone(rgb))));
    };
    // Tail and haunches, body, chest, legs and paws, ears behind, head, muzzle, face.
    paint(
        0xb97a34,
        &[
            (0.27, 0.1, 0.13, 0.045),
            (-0.17, 0.11, 0.12, 0.13),
            (0.17, 0.11, 0.12, 0.13),
        ],
    );
    paint(0xd29648, &[(0.0, 0.26, 0.19, 0.27)]);
    paint(0xeabd76, &[(0.0, 0.34, 0.115, 0.17)]);
    paint(
        0xdda456,
        &[
            (-0.075, 0.15, 0.05, 0.16),
            (0.075, 0.15, 0.05, 0.16),
            (-0.08, 0.015, 0.066, 0.036),
            (0.08, 0.015, 0.066, 0.036),
        ],
    );
    paint(0xd89d4e, &[(0.0, 0.63, 0.165, 0.155)]);
    paint(
        0xb37430,
        &[(-0.162, 0.58, 0.058, 0.13), (0.162, 0.58, 0.058, 0.13)],
    );
    paint(
        0xf0cb8c,
        &[(0.0, 0.555, 0.092, 0.074), (0.0, 0.66, 0.034, 0.09)],
    );
    paint(0xd06a6a, &[(0.0, 0.497, 0.026, 0.036)]);
    paint(
        0xf0cb8c,
        &[(-0.036, 0.536, 0.046, 0.034), (0.036, 0.536, 0.046, 0.034)],
    );
    paint(
        0x2a1c18,
        &[
            (0.0, 0.585, 0.032, 0.023),
            (-0.07, 0.655, 0.02, 0.024),
            (0.07, 0.655, 0.02, 0.024),
        ],
    );
    paint(
        0xffffff,
        &[
            (-0.064, 0.663, 0.0065, 0.0065),
            (0.076, 0.663, 0.0065, 0.0065),
        ],
    );
    if theme.beret {
        paint(0x8e222e, &[(0.0, 0.757, 0.15, 0.034)]);
        paint(
            0xb8303c,
            &[(0.035, 0.792, 0.185, 0.062), (0.03, 0.858, 0.012, 0.022)],
        );
    }
    Element::moving(
        shapes,
        Motion::Sway {
            x: frame.sway(0.9),
            y: 0.0,
        },
    )
}
