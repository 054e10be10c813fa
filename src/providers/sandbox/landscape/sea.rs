//! The sea: water with the light on it, islands, a boat, and a lighthouse on its headland.

use std::f32::consts::TAU;

use super::super::palette::{Mood, Theme, alpha, hex, mix};
use super::super::random::Random;
use super::super::shape::{Element, Fill, Light, Motion, Outline, Shape};
use super::{Disc, Frame, Ridge, land_below};

pub(super) fn ocean(theme: &Theme, frame: Frame, disc: Disc, random: &mut Random) -> Vec<Element> {
    let colors = &theme.palette;
    let horizon = frame.horizon + 0.06 * frame.rise;
    let depth_of_water = frame.floor - horizon;
    let mut sea = Outline::default();
    sea.rectangle(0.0, horizon, frame.width, frame.height - horizon);
    let shallow = mix(colors.sky[3], mix(colors.sky[2], colors.far, 0.4), 0.6);
    let deep = mix(mix(colors.far, colors.sky[0], 0.6), colors.near, 0.45);
    let stops = vec![
        (0.0, shallow),
        (0.25, mix(shallow, deep, 0.45)),
        (1.0, deep),
    ];
    let sea = Element::still(
        sea.fill(Fill::Vertical {
            top: horizon,
            bottom: frame.floor + 0.1 * frame.rise,
            stops,
        })
        .into_iter()
        .collect(),
    );

    let isles = {
        let sway = frame.sway(0.0);
        let ridge = Ridge::smooth(
            horizon + 0.012 * frame.rise,
            0.03 * frame.rise,
            0.5 * frame.span,
            random,
        );
        let line = ridge
            .line(-sway - 4.0, frame.width + sway + 4.0, frame.span / 220.0)
            .map(|(x, y)| (x, y.min(horizon + 0.002 * frame.rise)));
        let mut outline = Outline::default();
        outline.polygon(line.chain([
            (frame.width + sway + 4.0, horizon + 1.0),
            (-sway - 4.0, horizon + 1.0),
        ]));
        let shapes = outline
            .fill(Fill::Solid(mix(colors.far, colors.mist, 0.25)))
            .into_iter()
            .collect();
        Element::moving(shapes, Motion::Sway { x: sway, y: 0.0 })
    };
    let mut elements = vec![sea, isles];
    if theme.boat {
        let size = frame.rise * random.between(0.05, 0.07);
        let place = if theme.lighthouse {
            random.between(0.14, 0.22)
        } else {
            random.between(0.42, 0.56)
        };
        let shapes = sailboat(
            frame.width * place,
            horizon + depth_of_water * 0.22,
            size,
            theme,
        );
        elements.push(Element::moving(
            shapes,
            Motion::Sway {
                x: frame.span * 0.05,
                y: frame.rise * 0.004,
            },
        ));
    }
    if theme.lighthouse {
        elements.extend(lighthouse(theme, frame, horizon, random));
    }
    for layer in 0..3 {
        let depth = 0.35 + 0.3 * layer as f32;
        let sway = frame.sway(depth) * if layer % 2 == 0 { 1.0 } else { -1.0 };
        let base = horizon + depth_of_water * (0.4 + 0.24 * layer as f32);
        let ridge = Ridge::smooth(
            base,
            0.008 * frame.rise * (1.0 + depth),
            0.34 * frame.span,
            random,
        );
        let crest = mix(mix(deep, shallow, 0.28), colors.near, 0.3 * depth);
        let line = ridge
            .line(
                -sway.abs() - 4.0,
                frame.width + sway.abs() + 4.0,
                frame.span / 220.0,
            )
            .collect();
        let shape = land_below(
            line,
            frame,
            vec![(0.0, crest), (0.7, mix(deep, colors.near, 0.4 * depth))],
        );
        elements.push(Element::moving(
            shape.into_iter().collect(),
            Motion::Sway {
                x: sway,
                y: 0.004 * frame.rise,
            },
        ));
    }
    elements.extend(glitter(theme, frame, disc, horizon, random));
    elements
}

/// The path of light on the water, in three groups that twinkle in turn.
fn glitter(
    theme: &Theme,
    frame: Frame,
    disc: Disc,
    horizon: f32,
    random: &mut Random,
) -> Vec<Element> {
    let reach = frame.floor - horizon;
    let group = |group: usize| {
        let mut outline = Outline::default();
        for _ in 0..26 {
            let down = random.unit().powf(1.4);
            let spread = disc.radius * (0.5 + 2.2 * down);
            let length = disc.radius * random.between(0.25, 1.0) * (0.5 + down);
            let thick = (frame.rise * (0.0016 + 0.0036 * down)).max(1.0);
            let x = disc.x + spread * (random.unit() + random.unit() - 1.0) - length / 2.0;
            outline.rounded(
                x,
                horizon + reach * (0.02 + 0.75 * down),
                length,
                thick,
                thick,
            );
        }
        let shapes = outline
            .fill(Fill::Solid(alpha(theme.palette.glow, 0.6)))
            .into_iter()
            .collect();
        let light = Light::Pulse {
            low: 0.25,
            beats: 3.0,
            phase: group as f32 / 3.0,
        };
        Element {
            shapes,
            motion: Motion::Sway {
                x: frame.span * 0.004,
                y: 0.0,
            },
            light,
        }
    };
    (0..3).map(group).collect()
}

fn sailboat(x: f32, y: f32, size: f32, theme: &Theme) -> Vec<Shape> {
    let mut hull = Outline::default();
    hull.polygon([
        (x - 0.5 * size, y - 0.14 * size),
        (x + 0.56 * size, y - 0.14 * size),
        (x + 0.38 * size, y + 0.06 * size),
        (x - 0.36 * size, y + 0.06 * size),
    ]);
    let mut sails = Outline::default();
    sails.polygon([
        (x + 0.02 * size, y - 1.2 * size),
        (x + 0.46 * size, y - 0.2 * size),
        (x + 0.02 * size, y - 0.2 * size),
    ]);
    sails.polygon([
        (x - 0.04 * size, y - 1.05 * size),
        (x - 0.04 * size, y - 0.2 * size),
        (x - 0.4 * size, y - 0.2 * size),
    ]);
    let canvas = mix(hex(0xfffaf0), theme.palette.mist, 0.3);
    [
        sails.fill(Fill::Solid(canvas)),
        hull.fill(Fill::Solid(theme.palette.near)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A headland at the right with a lighthouse on it, whose two beams shine in turn.
fn lighthouse(theme: &Theme, frame: Frame, horizon: f32, random: &mut Random) -> Vec<Element> {
    let colors = &theme.palette;
    let sway = frame.sway(0.45);
    let motion = Motion::Sway { x: sway, y: 0.0 };
    let x = frame.width * 0.7;
    let reach = 0.34 * frame.span.min(frame.width);
    let top = horizon - 0.045 * frame.rise;
    let foot = horizon + 0.19 * frame.rise;
    let phase = random.between(0.0, TAU);
    // The cliff rises from the water, carries the tower and runs on beyond the right edge.
    let end = (frame.width + sway + 4.0).max(x + reach);
    let line = (0..=80).map(|step| {
        let at = x - reach + (end - x + reach) * step as f32 / 80.0;
        let rising = ((at - x + reach) / (reach * 0.86)).clamp(0.0, 1.0);
        let height = rising * rising * (3.0 - 2.0 * rising);
        let rough = 0.006
            * frame.rise
            * ((at * 34.0 / frame.span + phase).sin() + (at * 71.0 / frame.span).sin())
            * height;
        (at, foot + (top - foot) * height + rough)
    });
    let mut cliff = Outline::default();
    cliff.polygon(line.chain([(end, foot)]));
    let rock = mix(colors.far, colors.near, 0.72);
    let stops = vec![
        (0.0, mix(rock, colors.glow, 0.12)),
        (1.0, mix(rock, colors.near, 0.6)),
    ];
    let mut shapes: Vec<Shape> = cliff
        .fill(Fill::Vertical {
            top,
            bottom: foot,
            stops,
        })
        .into_iter()
        .collect();

    let height = 0.3 * frame.rise;
    let wall = |t: f32| height * (0.085 - 0.03 * t);
    let band = |from: f32, to: f32| {
        [
            (x - wall(from), top - height * from),
            (x - wall(to), top - height * to),
            (x + wall(to), top - height * to),
            (x + wall(from), top - height * from),
        ]
    };
    let dim = if matches!(theme.mood, Mood::Day | Mood::Dawn | Mood::Winter) {
        0.1
    } else {
        0.34
    };
    let mut white = Outline::default();
    white.polygon(band(-0.06, 0.78));
    shapes.extend(white.fill(Fill::Solid(mix(hex(0xfff8ec), colors.far, dim))));
    let mut red = Outline::default();
    for from in [0.1, 0.36, 0.62] {
        red.polygon(band(from, from + 0.13));
    }
    shapes.extend(red.fill(Fill::Solid(mix(hex(0xc83834), colors.near, dim * 0.8))));
    let mut shade = Outline::default();
    shade.polygon([
        (x + wall(0.0) * 0.25, top + 0.06 * height),
        (x + wall(0.78) * 0.25, top - 0.78 * height),
        (x + wall(0.78), top - 0.78 * height),
        (x + wall(-0.06), top + 0.06 * height),
    ]);
    shapes.extend(shade.fill(Fill::Solid(alpha(colors.near, 0.28))));
    let lamp = (x, top - 0.865 * height);
    let mut room = Outline::default();
    room.rectangle(
        x - 0.045 * height,
        top - 0.93 * height,
        0.09 * height,
        0.14 * height,
    );
    shapes.extend(room.fill(Fill::Solid(hex(0xffeeb4))));
    let mut iron = Outline::default();
    iron.rounded(
        x - 0.08 * height,
        top - 0.8 * height,
        0.16 * height,
        0.032 * height,
        0.01 * height,
    );
    iron.polygon([
        (x - 0.065 * height, top - 0.925 * height),
        (x, top - 1.03 * height),
        (x + 0.065 * height, top - 0.925 * height),
    ]);
    for bar in [-0.045, -0.004, 0.037] {
        iron.rectangle(
            x + bar * height,
            top - 0.93 * height,
            0.008 * height,
            0.14 * height,
        );
    }
    shapes.extend(iron.fill(Fill::Solid(mix(colors.near, hex(0x401818), 0.3))));

    let beam = |side: f32| {
        let length = 0.62 * frame.span;
        let mut cone = Outline::default();
        cone.polygon([
            lamp,
            (lamp.0 + side * length, lamp.1 - 0.13 * length),
            (lamp.0 + side * length, lamp.1 + 0.05 * length),
        ]);
        let glow = mix(hex(0xfff2c8), colors.glow, 0.3);
        let stops = vec![
            (0.0, alpha(glow, 0.7)),
            (0.25, alpha(glow, 0.3)),
            (1.0, alpha(glow, 0.0)),
        ];
        let shapes = cone
            .fill(Fill::Radial {
                x: lamp.0,
                y: lamp.1,
                radius: length,
                stops,
            })
            .into_iter()
            .collect();
        Element {
            shapes,
            motion,
            light: Light::Pulse {
                low: 0.0,
                beats: 2.0,
                phase: if side < 0.0 { 0.0 } else { 0.5 },
            },
        }
    };
    vec![beam(-1.0), beam(1.0), Element::moving(shapes, motion)]
}
