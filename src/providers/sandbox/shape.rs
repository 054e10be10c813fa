//! A retained drawing: shapes with fills, gathered into elements that know how they move.
//!
//! Stills and clips are made from the same list of [`Element`]s. A still draws every element once, where it stands at the start of the
//! loop; a clip rasterises each element once and then only moves the result. Coordinates are pixels of the finished picture.

use tiny_skia::{
    Color, FillRule, FilterQuality, GradientStop, LinearGradient, Paint, Path, PathBuilder,
    Pattern, Pixmap, PixmapMut, Point, RadialGradient, Rect, Shader, SpreadMode, Transform,
};

use std::f32::consts::TAU;

/// How the inside of a shape is coloured.
#[derive(Debug, Clone)]
pub(super) enum Fill {
    Solid(Color),
    /// Colours down the picture from `top` to `bottom`, with stops in `0.0..=1.0`.
    Vertical {
        top: f32,
        bottom: f32,
        stops: Vec<(f32, Color)>,
    },
    /// Colours outwards from a centre, with stops in `0.0..=1.0` of the radius.
    Radial {
        x: f32,
        y: f32,
        radius: f32,
        stops: Vec<(f32, Color)>,
    },
    /// A picture whose top left corner stands at the given place.
    Image {
        x: f32,
        y: f32,
        pixels: Pixmap,
    },
}

/// One filled path (non-zero winding).
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) path: Path,
    pub(super) fill: Fill,
}

/// How an element moves during one loop, whose phase goes from 0 to 1. Every motion ends where it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Motion {
    Still,
    /// To one side and back, at rest at both ends; this is the most it strays either way.
    Sway {
        x: f32,
        y: f32,
    },
    /// Straight on by this much; the element repeats itself at that distance, so the loop closes.
    Glide {
        x: f32,
        y: f32,
    },
}

impl Motion {
    /// How far the element stands from where it was drawn.
    pub(super) fn offset(self, phase: f32) -> (f32, f32) {
        match self {
            Self::Still => (0.0, 0.0),
            Self::Sway { x, y } => {
                let swing = -(TAU * phase).cos();
                (x * swing, y * swing)
            }
            Self::Glide { x, y } => (x * phase, y * phase),
        }
    }
}

/// How brightly an element shines during one loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Light {
    Steady,
    /// Between `low` and full, `beats` times a loop, starting at `phase`.
    Pulse {
        low: f32,
        beats: f32,
        phase: f32,
    },
}

impl Light {
    /// The opacity at a phase of the loop, `0.0..=1.0`.
    pub(super) fn opacity(self, phase: f32) -> f32 {
        match self {
            Self::Steady => 1.0,
            Self::Pulse {
                low,
                beats,
                phase: start,
            } => low + (1.0 - low) * (0.5 + 0.5 * (TAU * (beats * phase + start)).cos()),
        }
    }
}

/// Shapes that move and shine together.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) shapes: Vec<Shape>,
    pub(super) motion: Motion,
    pub(super) light: Light,
}

impl Element {
    /// Shapes that stay where they are.
    pub(super) fn still(shapes: Vec<Shape>) -> Self {
        Self::moving(shapes, Motion::Still)
    }

    /// Shapes that move at a steady light.
    pub(super) fn moving(shapes: Vec<Shape>, motion: Motion) -> Self {
        Self {
            shapes,
            motion,
            light: Light::Steady,
        }
    }

    /// The smallest rectangle around all shapes, or nothing when there are none.
    pub(super) fn bounds(&self) -> Option<Rect> {
        self.shapes
            .iter()
            .map(|shape| shape.path.bounds())
            .reduce(|a, b| a.join(&b).unwrap_or(a))
    }

    /// Draws all shapes, shifted by `(x, y)`.
    pub(super) fn draw(&self, canvas: &mut PixmapMut<'_>, x: f32, y: f32, opacity: f32) {
        for shape in &self.shapes {
            let paint = Paint {
                shader: shader(&shape.fill, opacity),
                ..Paint::default()
            };
            canvas.fill_path(
                &shape.path,
                &paint,
                FillRule::Winding,
                Transform::from_translate(x, y),
                None,
            );
        }
    }
}

fn shader(fill: &Fill, opacity: f32) -> Shader<'_> {
    let dim = |color: Color| {
        let mut color = color;
        color.apply_opacity(opacity);
        color
    };
    let ramp = |stops: &[(f32, Color)]| {
        stops
            .iter()
            .map(|&(at, color)| GradientStop::new(at, dim(color)))
            .collect::<Vec<_>>()
    };
    // A degenerate gradient (no length) has no shader of its own and is filled with its last colour.
    let last = |stops: &[(f32, Color)]| {
        Shader::SolidColor(stops.last().map_or(Color::TRANSPARENT, |stop| dim(stop.1)))
    };
    match fill {
        Fill::Solid(color) => Shader::SolidColor(dim(*color)),
        Fill::Vertical { top, bottom, stops } => LinearGradient::new(
            Point::from_xy(0.0, *top),
            Point::from_xy(0.0, *bottom),
            ramp(stops),
            SpreadMode::Pad,
            Transform::identity(),
        )
        .unwrap_or_else(|| last(stops)),
        Fill::Radial {
            x,
            y,
            radius,
            stops,
        } => {
            let centre = Point::from_xy(*x, *y);
            RadialGradient::new(
                centre,
                0.0,
                centre,
                *radius,
                ramp(stops),
                SpreadMode::Pad,
                Transform::identity(),
            )
            .unwrap_or_else(|| last(stops))
        }
        Fill::Image { x, y, pixels } => Pattern::new(
            pixels.as_ref(),
            SpreadMode::Pad,
            FilterQuality::Nearest,
            opacity,
            Transform::from_translate(*x, *y),
        ),
    }
}

/// Several figures that become one shape.
#[derive(Debug, Default)]
pub(super) struct Outline(pub(super) PathBuilder);

impl Outline {
    /// A closed polygon. It is wound clockwise whichever way it was given, so that overlapping figures never cancel out.
    pub(super) fn polygon(&mut self, points: impl IntoIterator<Item = (f32, f32)>) -> &mut Self {
        let mut points: Vec<(f32, f32)> = points.into_iter().collect();
        let following = points.iter().cycle().skip(1);
        let doubled_area: f32 = points
            .iter()
            .zip(following)
            .map(|(a, b)| a.0 * b.1 - b.0 * a.1)
            .sum();
        if doubled_area < 0.0 {
            points.reverse();
        }
        let mut points = points.into_iter();
        if let Some((x, y)) = points.next() {
            self.0.move_to(x, y);
            points.for_each(|(x, y)| self.0.line_to(x, y));
            self.0.close();
        }
        self
    }

    /// A rectangle.
    pub(super) fn rectangle(&mut self, x: f32, y: f32, width: f32, height: f32) -> &mut Self {
        self.polygon([
            (x, y),
            (x + width, y),
            (x + width, y + height),
            (x, y + height),
        ])
    }

    /// A rectangle with round corners.
    pub(super) fn rounded(
        &mut self,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        radius: f32,
    ) -> &mut Self {
        let r = radius.min(width / 2.0).min(height / 2.0);
        // The control points of a quarter circle lie this part of the radius before the corner.
        let k = r * 0.447_715_25;
        let (right, bottom) = (x + width, y + height);
        let path = &mut self.0;
        path.move_to(x + r, y);
        path.line_to(right - r, y);
        path.cubic_to(right - k, y, right, y + k, right, y + r);
        path.line_to(right, bottom - r);
        path.cubic_to(right, bottom - k, right - k, bottom, right - r, bottom);
        path.line_to(x + r, bottom);
        path.cubic_to(x + k, bottom, x, bottom - k, x, bottom - r);
        path.line_to(x, y + r);
        path.cubic_to(x, y + k, x + k, y, x + r, y);
        path.close();
        self
    }

    /// An ellipse around a centre.
    pub(super) fn ellipse(&mut self, x: f32, y: f32, radius_x: f32, radius_y: f32) -> &mut Self {
        if let Some(oval) = Rect::from_ltrb(x - radius_x, y - radius_y, x + radius_x, y + radius_y)
        {
            self.0.push_oval(oval);
        }
        self
    }

    /// A circle around a centre.
    pub(super) fn circle(&mut self, x: f32, y: f32, radius: f32) -> &mut Self {
        self.ellipse(x, y, radius, radius)
    }

    /// The figures as one shape; nothing when there are none.
    pub(super) fn fill(self, fill: Fill) -> Option<Shape> {
        self.0.finish().map(|path| Shape { path, fill })
    }
}
