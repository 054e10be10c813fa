//! The sky of a landscape: stars, the sun or the moon, clouds, what flies, and snow.

use super::super::palette::{Land, Mood, Theme, alpha, hex, mix};
use super::super::random::Random;
use super::super::shape::{Element, Fill, Light, Motion, Outline, Shape};
use super::{Disc, Frame};
use tiny_skia::Color;

/// Most stars of one group, and most flakes of one layer.
const SPECKS_MAX: usize = 200;

pub(super) fn place_disc(theme: &Theme, frame: Frame, random: &mut Random) -> Disc {
    let above = match theme.mood {
        Mood::Sunset | Mood::Dusk => random.between(0.07, 0.13),
        Mood::Dawn | Mood::Autumn => random.between(0.14, 0.22),
        Mood::Day | Mood::Winter | Mood::Storm | Mood::Night => random.between(0.28, 0.36),
    };
    let aside = if theme.tower || theme.lighthouse {
        random.between(0.3, 0.42)
    } else {
        random.between(0.36, 0.7)
    };
    // Above the roofs, in a city.
    let above = above + if theme.land == Land::City { 0.12 } else { 0.0 };
    let radius = frame.rise * if theme.moonlit() { 0.052 } else { 0.064 };
    Disc {
        x: frame.width * aside,
        y: (frame.horizon - above * frame.rise).max(2.2 * radius),
        radius,
    }
}

pub(super) fn sky(theme: &Theme, frame: Frame, disc: Disc, random: &mut Random) -> Vec<Element> {
    let colors = &theme.palette;
    let mut backdrop = Outline::default();
    backdrop.rectangle(0.0, 0.0, frame.width, frame.height);
    let [top, upper, lower, low] = colors.sky;
    let stops = vec![(0.0, top), (0.38, upper), (0.76, lower), (1.0, low)];
    let fill = Fill::Vertical {
        top: 0.0,
        bottom: frame.horizon + 0.04 * frame.rise,
        stops,
    };
    let mut elements = vec![Element::still(backdrop.fill(fill).into_iter().collect())];
    elements.extend(stars(theme, frame, &mut random.fork()));
    elements.extend(light(theme, frame, disc));
    elements.extend(clouds(theme, frame, &mut random.fork()));
    elements.extend(flyers(theme, frame, &mut random.fork()));
    elements
}

fn stars(theme: &Theme, frame: Frame, random: &mut Random) -> Vec<Element> {
    let density = match theme.mood {
        Mood::Night => 1.0,
        Mood::Dusk => 0.45,
        _ => return Vec::new(),
    };
    let area = frame.width * frame.horizon / (frame.rise * frame.rise);
    let count = ((area * density * 60.0) as usize).clamp(8, SPECKS_MAX);
    let group = |group: usize| {
        let mut outline = Outline::default();
        for _ in 0..count {
            let height = random.unit();
            let radius = (frame.rise * random.between(0.0006, 0.0017)).max(0.6);
            outline.circle(
                random.unit() * frame.width,
                height * height * frame.horizon * 0.92,
                radius,
            );
        }
        let shapes = outline
            .fill(Fill::Solid(alpha(hex(0xfffbf0), 0.85)))
            .into_iter()
            .collect();
        let light = Light::Pulse {
            low: 0.35,
            beats: 2.0,
            phase: group as f32 / 3.0,
        };
        Element {
            shapes,
            motion: Motion::Still,
            light,
        }
    };
    (0..3).map(group).collect()
}

fn light(theme: &Theme, frame: Frame, disc: Disc) -> Vec<Element> {
    let colors = &theme.palette;
    let Disc { x, y, radius } = disc;
    let reach = radius * if theme.moonlit() { 5.0 } else { 8.0 };
    let mut halo = Outline::default();
    halo.circle(x, y, reach);
    let strength = if theme.mood == Mood::Storm {
        0.35
    } else {
        0.75
    };
    let stops = [
        (0.0, strength),
        (0.16, strength * 0.7),
        (0.35, strength * 0.34),
        (0.62, strength * 0.1),
        (1.0, 0.0),
    ];
    let stops = stops
        .map(|(at, opacity)| (at, alpha(colors.glow, opacity)))
        .to_vec();
    let mut round = Outline::default();
    round.circle(x, y, radius);
    let mut shapes: Vec<Shape> = halo
        .fill(Fill::Radial {
            x,
            y,
            radius: reach,
            stops,
        })
        .into_iter()
        .collect();
    shapes.extend(round.fill(Fill::Solid(alpha(
        colors.disc,
        if theme.mood == Mood::Storm { 0.6 } else { 1.0 },
    ))));
    if theme.moonlit() {
        let mut seas = Outline::default();
        for (dx, dy, part) in [
            (-0.3, -0.25, 0.26),
            (0.28, 0.1, 0.2),
            (-0.12, 0.38, 0.15),
            (0.2, -0.45, 0.12),
        ] {
            seas.circle(x + dx * radius, y + dy * radius, part * radius);
        }
        shapes.extend(seas.fill(Fill::Solid(alpha(hex(0x9aa4b8), 0.28))));
    }
    vec![Element::moving(
        shapes,
        Motion::Sway {
            x: frame.span * 0.004,
            y: frame.rise * -0.022,
        },
    )]
}

fn clouds(theme: &Theme, frame: Frame, random: &mut Random) -> Vec<Element> {
    let colors = &theme.palette;
    let (count, opacity) = match theme.mood {
        Mood::Night => (2, 0.10),
        Mood::Storm => (5, 0.34),
        Mood::Dusk | Mood::Sunset => (4, 0.24),
        Mood::Dawn | Mood::Day | Mood::Winter | Mood::Autumn => (3, 0.55),
    };
    let count = ((count as f32 * frame.width / frame.span).round() as usize).clamp(1, 12);
    let tone = mix(
        colors.sky[3],
        hex(0xffffff),
        if theme.moonlit() { 0.1 } else { 0.45 },
    );
    let layer = |layer: usize| {
        let drift = frame.sway(0.1 + 0.4 * layer as f32);
        let mut shapes = Vec::new();
        for slot in 0..count {
            // Every cloud has a slot of its own, and the layers take turns, so that clouds seldom pile up.
            let length = frame.span * random.between(0.12, 0.28);
            let place =
                (slot as f32 + 0.5 * layer as f32 + random.between(0.1, 0.5)) / count as f32;
            let x = place * frame.width - 0.5 * length;
            let y = frame.horizon
                * if layer == 0 {
                    random.between(0.42, 0.8)
                } else {
                    random.between(0.1, 0.4)
                };
            shapes.extend(cloud(
                x,
                y,
                length,
                alpha(tone, opacity * random.between(0.5, 1.0)),
                random,
            ));
        }
        Element::moving(
            shapes,
            Motion::Sway {
                x: if layer == 0 { drift } else { -drift },
                y: 0.0,
            },
        )
    };
    (0..2).map(layer).collect()
}

/// A flat cloud: long round bars, the widest at the bottom, as one shape so that overlaps do not show.
fn cloud(x: f32, y: f32, length: f32, color: Color, random: &mut Random) -> Option<Shape> {
    let bar = length * 0.085;
    let mut outline = Outline::default();
    for row in 0..3 {
        let row = row as f32;
        let part = 1.0 - 0.27 * row;
        let left = x + length * (1.0 - part) * random.between(0.25, 0.75);
        outline.rounded(left, y - row * bar * 0.82, length * part, bar, bar);
    }
    let stops = vec![(0.0, color), (1.0, alpha(color, color.alpha() * 0.35))];
    outline.fill(Fill::Vertical {
        top: y - 1.6 * bar,
        bottom: y + bar,
        stops,
    })
}

/// Birds that cross the sky once a loop, and balloons that bob.
fn flyers(theme: &Theme, frame: Frame, random: &mut Random) -> Vec<Element> {
    let mut elements = Vec::new();
    if !matches!(theme.mood, Mood::Night | Mood::Storm) {
        let lap = frame.width + 0.4 * frame.span;
        let mut outline = Outline::default();
        let (flock_x, flock_y) = (
            random.between(0.55, 0.85) * frame.width,
            frame.horizon * random.between(0.3, 0.5),
        );
        for bird in 0..random.pick([3, 4, 5]) {
            let step = bird as f32 * 0.03 * frame.span;
            let (x, y) = (flock_x - step, flock_y + step * random.between(-0.5, 0.5));
            let wing = frame.rise * random.between(0.009, 0.014);
            // The flock flies twice, one lap apart, so that it is there again when the loop starts anew.
            for start in [x, x - lap] {
                gull(&mut outline, start, y, wing);
            }
        }
        let shapes = outline
            .fill(Fill::Solid(alpha(theme.palette.near, 0.7)))
            .into_iter()
            .collect();
        elements.push(Element::moving(shapes, Motion::Glide { x: lap, y: 0.0 }));
    }
    if theme.balloons && !matches!(theme.land, Land::City) {
        let hues = [0xe05a4e, 0xf0b04c, 0x3f8fa8];
        for (balloon, hue) in hues.into_iter().enumerate().take(random.pick([1, 2, 3])) {
            let radius = frame.rise * random.between(0.022, 0.048);
            let x = frame.width * (0.2 + 0.28 * balloon as f32 + random.between(-0.06, 0.06));
            let y = frame.horizon * random.between(0.35, 0.6);
            let shapes = hot_air_balloon(x, y, radius, mix(hex(hue), theme.palette.mist, 0.15));
            elements.push(Element::moving(
                shapes,
                Motion::Sway {
                    x: radius * 0.4,
                    y: radius * random.between(-0.7, 0.7),
                },
            ));
        }
    }
    elements
}

fn gull(outline: &mut Outline, x: f32, y: f32, wing: f32) {
    let path = &mut outline.0;
    path.move_to(x - wing, y - wing * 0.42);
    path.quad_to(x - wing * 0.4, y - wing * 0.45, x, y);
    path.quad_to(x + wing * 0.4, y - wing * 0.45, x + wing, y - wing * 0.42);
    path.quad_to(x + wing * 0.35, y - wing * 0.22, x, y + wing * 0.2);
    path.quad_to(x - wing * 0.35, y - wing * 0.22, x - wing, y - wing * 0.42);
    path.close();
}

fn hot_air_balloon(x: f32, y: f32, radius: f32, color: Color) -> Vec<Shape> {
    let envelope = |part: f32| {
        let mut outline = Outline::default();
        let path = &mut outline.0;
        path.move_to(x, y - radius);
        path.cubic_to(
            x + 1.3 * radius * part,
            y - radius,
            x + 1.25 * radius * part,
            y + 0.5 * radius,
            x + 0.25 * radius * part,
            y + 1.3 * radius,
        );
        path.line_to(x - 0.25 * radius * part, y + 1.3 * radius);
        path.cubic_to(
            x - 1.25 * radius * part,
            y + 0.5 * radius,
            x - 1.3 * radius * part,
            y - radius,
            x,
            y - radius,
        );
        path.close();
        outline
    };
    let mut basket = Outline::default();
    basket.rounded(
        x - 0.2 * radius,
        y + 1.55 * radius,
        0.4 * radius,
        0.3 * radius,
        0.06 * radius,
    );
    let mut ropes = Outline::default();
    for side in [-1.0, 1.0] {
        ropes.rectangle(
            x + side * 0.18 * radius - 0.015 * radius,
            y + 1.28 * radius,
            0.03 * radius,
            0.3 * radius,
        );
    }
    let dark = mix(color, hex(0x201820), 0.55);
    [
        envelope(1.0).fill(Fill::Solid(color)),
        envelope(0.62).fill(Fill::Solid(mix(color, hex(0xffffff), 0.5))),
        envelope(0.26).fill(Fill::Solid(color)),
        ropes.fill(Fill::Solid(dark)),
        basket.fill(Fill::Solid(dark)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Two layers of flakes that fall once down the picture in a loop.
pub(super) fn snow(frame: Frame, random: &mut Random) -> Vec<Element> {
    let layer = |layer: usize| {
        let size = frame.rise * (0.0022 + 0.0018 * layer as f32);
        let count = ((frame.width * frame.height / (frame.rise * frame.rise) * 50.0) as usize)
            .clamp(20, SPECKS_MAX);
        let mut outline = Outline::default();
        for _ in 0..count {
            let (x, y, radius) = (
                random.unit() * frame.width,
                random.unit() * frame.height,
                (size * random.between(0.6, 1.3)).max(0.8),
            );
            outline.circle(x, y, radius);
            outline.circle(x, y - frame.height, radius);
        }
        let shapes = outline
            .fill(Fill::Solid(alpha(hex(0xffffff), 0.5 + 0.25 * layer as f32)))
            .into_iter()
            .collect();
        Element::moving(
            shapes,
            Motion::Glide {
                x: 0.0,
                y: frame.height,
            },
        )
    };
    (0..2).map(layer).collect()
}
