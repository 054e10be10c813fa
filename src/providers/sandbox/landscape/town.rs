//! The city: rows of houses with their windows, and the tower of Paris.

use std::f32::consts::PI;

use tiny_skia::Color;

use super::super::palette::{Mood, Theme, alpha, hex, mix};
use super::super::random::Random;
use super::super::shape::{Element, Fill, Motion, Outline, Shape};
use super::Frame;

pub(super) fn city(theme: &Theme, frame: Frame, random: &mut Random) -> Vec<Element> {
    let colors = &theme.palette;
    let layers = 4;
    let lit = matches!(
        theme.mood,
        Mood::Night | Mood::Dusk | Mood::Sunset | Mood::Storm
    );
    let tallest = if theme.tower { 0.12 } else { 0.3 };
    let layer = |layer: usize| {
        let depth = layer as f32 / (layers - 1) as f32;
        let sway = frame.sway(depth * 0.8);
        let base = frame.horizon + (frame.floor - frame.horizon) * (0.3 + 0.7 * depth);
        let color = mix(colors.far, colors.near, 0.15 + 0.75 * depth);
        let foot = mix(color, colors.mist, 0.5 * (1.0 - depth));
        let height = frame.rise * tallest * (1.0 - 0.35 * depth);
        let (walls, windows) = buildings(
            -sway - 4.0,
            frame.width + sway + 4.0,
            base,
            height,
            frame,
            theme.tower,
            random,
        );
        let stops = vec![(0.0, color), (1.0, foot)];
        let mut shapes = Vec::new();
        if theme.tower && layer == 1 {
            shapes.extend(tower(
                frame.width * 0.62,
                base - 0.07 * frame.rise,
                0.54 * frame.rise,
                mix(color, colors.near, 0.35),
            ));
        }
        shapes.extend(walls.fill(Fill::Vertical {
            top: base - height,
            bottom: base + 0.3 * frame.rise,
            stops,
        }));
        let glass = if lit {
            alpha(hex(0xffd98a), 0.25 + 0.5 * depth)
        } else {
            alpha(mix(colors.sky[3], color, 0.45), 0.5)
        };
        shapes.extend(windows.fill(Fill::Solid(glass)));
        Element::moving(shapes, Motion::Sway { x: sway, y: 0.0 })
    };
    (0..layers).map(layer).collect()
}

/// A row of houses, as their walls and their windows.
fn buildings(
    left: f32,
    right: f32,
    base: f32,
    height: f32,
    frame: Frame,
    mansards: bool,
    random: &mut Random,
) -> (Outline, Outline) {
    let (mut walls, mut windows) = (Outline::default(), Outline::default());
    // Gaps between houses end at a wall, lest the haze behind shows through down to the bottom.
    walls.rectangle(
        left,
        base - 0.3 * height,
        right - left,
        frame.height - base + 0.3 * height + 2.0,
    );
    let mut x = left;
    while x < right {
        let width = frame.span * random.between(0.028, 0.062);
        let top = base - height * random.between(0.35, 1.0);
        if mansards {
            let roof = width * 0.22;
            walls.polygon([
                (x, top),
                (x + 0.12 * width, top - roof),
                (x + 0.88 * width, top - roof),
                (x + width, top),
            ]);
            walls.rectangle(x + 0.2 * width, top - 1.7 * roof, 0.1 * width, roof);
        } else if random.chance(0.3) {
            walls.rectangle(
                x + 0.47 * width,
                top - 0.09 * height,
                0.06 * width,
                0.1 * height,
            );
        }
        walls.rectangle(x, top, width + 1.0, frame.height - top + 2.0);
        let pane = frame.span * 0.0058;
        let (columns, rows) = (
            (width / (2.3 * pane)) as usize,
            ((base - top) / (3.0 * pane)) as usize + 2,
        );
        let margin = (width - columns as f32 * 2.3 * pane + 1.3 * pane) / 2.0;
        for cell in 0..columns * rows {
            if random.chance(0.42) {
                let (column, row) = ((cell % columns) as f32, (cell / columns) as f32);
                windows.rectangle(
                    x + margin + column * 2.3 * pane,
                    top + (1.2 + row * 3.0) * pane,
                    pane,
                    1.7 * pane,
                );
            }
        }
        x += width
            + if random.chance(0.2) {
                frame.span * 0.008
            } else {
                0.0
            };
    }
    (walls, windows)
}

/// A wrought-iron tower on four legs, standing at `(x, foot)`.
pub(super) fn tower(x: f32, foot: f32, height: f32, color: Color) -> Vec<Shape> {
    let outer = |t: f32| height * (0.19 * (1.0 - t).powf(2.9) + 0.009);
    let inner = |t: f32| (outer(t) - height * (0.072 - 0.09 * t)).max(0.0);
    let y = |t: f32| foot - height * t;
    let steps =
        |from: f32, to: f32| (0..=14).map(move |step| from + (to - from) * step as f32 / 14.0);
    let mut outline = Outline::default();
    for side in [-1.0, 1.0] {
        let rising = steps(0.0, 0.4).map(|t| (x + side * outer(t), y(t)));
        let falling = steps(0.4, 0.0).map(|t| (x + side * inner(t), y(t)));
        outline.polygon(rising.chain(falling));
    }
    let rising = steps(0.36, 0.95).map(|t| (x + outer(t), y(t)));
    let falling = steps(0.95, 0.36).map(|t| (x - outer(t), y(t)));
    outline.polygon(rising.chain(falling));
    for (t, wider, thick) in [(0.185, 1.12, 0.022), (0.37, 1.22, 0.018), (0.9, 1.5, 0.012)] {
        outline.rectangle(
            x - outer(t) * wider,
            y(t),
            2.0 * outer(t) * wider,
            height * thick,
        );
    }
    outline.rectangle(x - height * 0.003, y(1.0), height * 0.006, height * 0.06);
    // The arch between the legs: a half ring under the first platform.
    let (span, crown) = (inner(0.0) * 1.02, 0.165);
    let arc = |part: f32| {
        (0..=16)
            .map(move |step| PI * step as f32 / 16.0)
            .map(move |a| (a.cos() * part, a.sin() * part))
    };
    let ring = arc(1.0).chain(arc(0.84).collect::<Vec<_>>().into_iter().rev());
    outline.polygon(ring.map(|(dx, dy)| (x + span * dx, y(crown * dy))));
    let stops = vec![(0.0, mix(color, hex(0x000000), 0.2)), (1.0, color)];
    outline
        .fill(Fill::Vertical {
            top: y(1.0),
            bottom: foot,
            stops,
        })
        .into_iter()
        .collect()
}
