//! Frames of a clip as planes of luma and chroma (4:2:0, BT.709, limited range), and the sheets that are laid over them.
//!
//! A [`Sheet`] is an element rasterised and converted once; a frame is made by laying sheets over each other at whole-pixel offsets. Rows
//! remember where they are opaque, clear or mixed: opaque runs are copied, clear ones skipped, and only edges are blended. This keeps a
//! frame far cheaper than its encoding, and whole-pixel motion is what an H.264 encoder predicts best.

use openh264::formats::YUVSource;
use tiny_skia::{Color, Pixmap};

use super::scene::RenderError;
use super::shape::{Element, Light, Motion};

/// One picture of a clip; width and height are even.
pub(super) struct Frame {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
}

impl Frame {
    /// A frame without content; the first sheet laid on it is expected to cover it.
    pub(super) fn new(width: usize, height: usize) -> Self {
        let quarter = width / 2 * (height / 2);
        Self {
            width,
            height,
            luma: vec![16; width * height],
            blue: vec![128; quarter],
            red: vec![128; quarter],
        }
    }

    /// Paints the columns before `to` of the rows from `top` on in one colour, mixed with what is there.
    pub(super) fn tint_bottom(&mut self, top: usize, to: usize, color: Color) {
        let [r, g, b, a] = [color.red(), color.green(), color.blue(), color.alpha()]
            .map(|part| (part * 255.0).round() as i32);
        let premultiplied = [r, g, b].map(|part| (part * a + 127) / 255);
        let opacity = a as u8;
        let (top, to) = (top.min(self.height) / 2 * 2, to.min(self.width) / 2 * 2);
        let (blue, red) = chroma(premultiplied.map(|part| part * 4), a * 4);
        let tint = |plane: &mut [u8], width: usize, top: usize, to: usize, value: u8| {
            for row in plane.chunks_exact_mut(width).skip(top) {
                row[..to]
                    .iter_mut()
                    .for_each(|below| *below = over(*below, value, opacity));
            }
        };
        tint(&mut self.luma, self.width, top, to, luma(premultiplied, a));
        tint(&mut self.blue, self.width / 2, top / 2, to / 2, blue);
        tint(&mut self.red, self.width / 2, top / 2, to / 2, red);
    }
}

impl YUVSource for Frame {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.luma
    }

    fn u(&self) -> &[u8] {
        &self.blue
    }

    fn v(&self) -> &[u8] {
        &self.red
    }
}

/// A stretch of a row that is not clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    start: u32,
    end: u32,
    opaque: bool,
}

/// The opacity of a plane's pixels, and its rows cut into runs.
struct Cover {
    width: usize,
    opacity: Vec<u8>,
    runs: Vec<Run>,
    /// Where the runs of each row begin; one more than there are rows.
    rows: Vec<usize>,
}

impl Cover {
    fn of(opacity: Vec<u8>, width: usize) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        let mut rows = vec![0];
        for row in opacity.chunks_exact(width) {
            let first = runs.len();
            for (x, &value) in row.iter().enumerate().filter(|(_, value)| **value > 0) {
                let (x, opaque) = (x as u32, value == 255);
                match runs[first..].last_mut() {
                    Some(run) if run.end == x && run.opaque == opaque => run.end = x + 1,
                    _ => runs.push(Run {
                        start: x,
                        end: x + 1,
                        opaque,
                    }),
                }
            }
            rows.push(runs.len());
        }
        Self {
            width,
            opacity,
            runs,
            rows,
        }
    }

    /// Lays a plane with this cover over another plane.
    fn lay(&self, values: &[u8], onto: &mut [u8], onto_width: usize, x: i32, y: i32, opacity: u16) {
        let onto_rows = onto.len() / onto_width;
        for (row, bounds) in self.rows.windows(2).enumerate() {
            let Some(onto_row) = usize::try_from(y + row as i32)
                .ok()
                .filter(|onto_row| *onto_row < onto_rows)
            else {
                continue;
            };
            let below = &mut onto[onto_row * onto_width..][..onto_width];
            let (values, cover) = (
                &values[row * self.width..][..self.width],
                &self.opacity[row * self.width..][..self.width],
            );
            for run in &self.runs[bounds[0]..bounds[1]] {
                let start = (run.start as i32 + x).clamp(0, onto_width as i32);
                let end = (run.end as i32 + x).clamp(0, onto_width as i32);
                if start >= end {
                    continue;
                }
                let from = (start - x) as usize..(end - x) as usize;
                let below = &mut below[start as usize..end as usize];
                if run.opaque && opacity == 256 {
                    below.copy_from_slice(&values[from]);
                } else if opacity == 256 {
                    for ((below, &value), &cover) in below
                        .iter_mut()
                        .zip(&values[from.clone()])
                        .zip(&cover[from])
                    {
                        *below = over(*below, value, cover);
                    }
                } else {
                    let dim = |value: u8| ((u16::from(value) * opacity) >> 8) as u8;
                    for ((below, &value), &cover) in below
                        .iter_mut()
                        .zip(&values[from.clone()])
                        .zip(&cover[from])
                    {
                        *below = over(*below, dim(value), dim(cover));
                    }
                }
            }
        }
    }
}

/// A premultiplied value laid over another.
fn over(below: u8, value: u8, cover: u8) -> u8 {
    let rest = u16::from(below) * u16::from(255 - cover) + 128;
    value.saturating_add(((rest + (rest >> 8)) >> 8) as u8)
}

/// An element in planes, ready to be laid over frames.
pub(super) struct Sheet {
    x: i32,
    y: i32,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
    full: Cover,
    half: Cover,
    motion: Motion,
    light: Light,
}

impl Sheet {
    /// Rasterises what of an element is ever seen in a frame of this size; nothing when it is never seen.
    pub(super) fn of(
        element: &Element,
        width: usize,
        height: usize,
    ) -> Result<Option<Self>, RenderError> {
        let Some(bounds) = element.bounds() else {
            return Ok(None);
        };
        let (reach_x, reach_y) = match element.motion {
            Motion::Still => ((0.0, 0.0), (0.0, 0.0)),
            Motion::Sway { x, y } => ((-x.abs(), x.abs()), (-y.abs(), y.abs())),
            Motion::Glide { x, y } => ((x.min(0.0), x.max(0.0)), (y.min(0.0), y.max(0.0))),
        };
        // The sheet starts at even places, so that its chroma falls on the frame's.
        let even = |from: f32, to: f32| {
            (
                ((from / 2.0).floor() as i32) * 2,
                ((to / 2.0).ceil() as i32) * 2,
            )
        };
        let (left, right) = even(
            bounds.left().max(-reach_x.1 - 1.0),
            bounds.right().min(width as f32 - reach_x.0 + 1.0),
        );
        let (top, bottom) = even(
            bounds.top().max(-reach_y.1 - 1.0),
            bounds.bottom().min(height as f32 - reach_y.0 + 1.0),
        );
        if left >= right || top >= bottom {
            return Ok(None);
        }
        let mut canvas =
            Pixmap::new((right - left) as u32, (bottom - top) as u32).ok_or_else(|| {
                RenderError::internal("make a layer of the clip", "the size was refused")
            })?;
        element.draw(&mut canvas.as_mut(), -left as f32, -top as f32, 1.0);
        Ok(Some(Self::convert(&canvas, left, top, element)))
    }

    fn convert(canvas: &Pixmap, x: i32, y: i32, element: &Element) -> Self {
        let width = canvas.width() as usize;
        let pixels = canvas.data();
        let part = |at: usize, channel: usize| i32::from(pixels[at * 4 + channel]);
        let count = pixels.len() / 4;
        let luma = (0..count)
            .map(|at| luma([part(at, 0), part(at, 1), part(at, 2)], part(at, 3)))
            .collect();
        let opacity = pixels.chunks_exact(4).map(|pixel| pixel[3]).collect();
        let quarter = count / 4;
        let (mut blue, mut red, mut half) = (
            Vec::with_capacity(quarter),
            Vec::with_capacity(quarter),
            Vec::with_capacity(quarter),
        );
        for top_left in (0..count)
            .step_by(2 * width)
            .flat_map(|row| (row..row + width).step_by(2))
        {
            let sum = |channel| {
                [0, 1, width, width + 1]
                    .iter()
                    .map(|step| part(top_left + step, channel))
                    .sum::<i32>()
            };
            let opacity = sum(3);
            let (b, r) = chroma([sum(0), sum(1), sum(2)], opacity);
            blue.push(b);
            red.push(r);
            half.push(((opacity + 2) / 4) as u8);
        }
        let (full, half) = (Cover::of(opacity, width), Cover::of(half, width / 2));
        Self {
            x,
            y,
            luma,
            blue,
            red,
            full,
            half,
            motion: element.motion,
            light: element.light,
        }
    }

    /// Lays the sheet over a frame, where and as bright as it is at this phase of the loop.
    pub(super) fn lay(&self, frame: &mut Frame, phase: f32) {
        let (dx, dy) = self.motion.offset(phase);
        let (x, y) = (self.x + dx.round() as i32, self.y + dy.round() as i32);
        let opacity = (self.light.opacity(phase) * 256.0).round() as u16;
        let half = frame.width / 2;
        self.full
            .lay(&self.luma, &mut frame.luma, frame.width, x, y, opacity);
        self.half.lay(
            &self.blue,
            &mut frame.blue,
            half,
            x.div_euclid(2),
            y.div_euclid(2),
            opacity,
        );
        self.half.lay(
            &self.red,
            &mut frame.red,
            half,
            x.div_euclid(2),
            y.div_euclid(2),
            opacity,
        );
    }
}

/// Luma of premultiplied RGB, premultiplied (ITU-R BT.709-6 §3, limited range, in 1/65536).
fn luma([red, green, blue]: [i32; 3], opacity: i32) -> u8 {
    ((11_966 * red + 40_254 * green + 4_064 * blue + 4_112 * opacity + 32_768) >> 16) as u8
}

/// Both chroma values of the sum of four premultiplied pixels, premultiplied.
fn chroma([red, green, blue]: [i32; 3], opacity: i32) -> (u8, u8) {
    let scale = |sum: i32| ((sum + 32_896 * opacity + 131_072) >> 18).clamp(0, 255) as u8;
    (
        scale(28_784 * blue - 6_596 * red - 22_188 * green),
        scale(28_784 * red - 26_145 * green - 2_639 * blue),
    )
}

#[cfg(test)]
mod tests {
    use super::super::palette::hex;
    use super::super::shape::{Fill, Outline};
    use super::*;

    fn rectangle(x: f32, y: f32, width: f32, height: f32, color: Color, motion: Motion) -> Sheet {
        let mut outline = Outline::default();
        outline.rectangle(x, y, width, height);
        let element = Element::moving(
            outline.fill(Fill::Solid(color)).into_iter().collect(),
            motion,
        );
        Sheet::of(&element, 16, 8)
            .expect("a small sheet")
            .expect("it is seen")
    }

    #[test]
    fn colours_become_those_of_bt_709() {
        let known = [
            (0xffffff, 235, 128, 128),
            (0x000000, 16, 128, 128),
            (0xff0000, 63, 102, 240),
            (0x00ff00, 173, 42, 26),
            (0x0000ff, 32, 240, 118),
        ];
        for (color, luma, blue, red) in known {
            let mut frame = Frame::new(16, 8);
            rectangle(0.0, 0.0, 16.0, 8.0, hex(color), Motion::Still).lay(&mut frame, 0.0);
            assert_eq!(
                (frame.luma[0], frame.blue[0], frame.red[0]),
                (luma, blue, red),
                "{color:06x}"
            );
        }
    }

    #[test]
    fn half_a_cover_is_half_a_colour() {
        let mut frame = Frame::new(16, 8);
        let mut white = hex(0xffffff);
        white.set_alpha(0.5);
        rectangle(0.0, 0.0, 16.0, 8.0, white, Motion::Still).lay(&mut frame, 0.0);
        assert!(
            frame.luma.iter().all(|luma| luma.abs_diff(126) <= 1),
            "{}",
            frame.luma[0]
        );
    }

    #[test]
    fn a_sheet_moves_and_may_leave_the_frame() {
        let lit = |phase: f32| {
            let mut frame = Frame::new(16, 8);
            let motion = Motion::Glide { x: 40.0, y: 0.0 };
            rectangle(-4.0, 2.0, 4.0, 2.0, hex(0xffffff), motion).lay(&mut frame, phase);
            (0..16)
                .filter(|x| frame.luma[2 * 16 + x] == 235)
                .collect::<Vec<_>>()
        };
        assert_eq!(lit(0.0), [0; 0]);
        assert_eq!(lit(0.05), [0, 1]);
        assert_eq!(lit(0.25), [6, 7, 8, 9]);
        assert_eq!(lit(0.45), [14, 15]);
        assert_eq!(lit(0.9), [0; 0]);
    }

    #[test]
    fn every_motion_closes_its_loop() {
        for motion in [Motion::Still, Motion::Sway { x: 3.0, y: -2.0 }] {
            let ((x0, y0), (x1, y1)) = (motion.offset(0.0), motion.offset(1.0));
            assert!((x0 - x1).abs() < 1e-4 && (y0 - y1).abs() < 1e-4);
        }
        let pulse = Light::Pulse {
            low: 0.2,
            beats: 3.0,
            phase: 0.4,
        };
        assert!((pulse.opacity(0.0) - pulse.opacity(1.0)).abs() < 1e-4);
    }

    #[test]
    fn the_progress_bar_covers_the_bottom_up_to_its_end() {
        let mut frame = Frame::new(16, 8);
        frame.tint_bottom(6, 10, hex(0xffffff));
        let lit = (0..16 * 8)
            .filter(|at| frame.luma[*at] == 235)
            .collect::<Vec<_>>();
        assert_eq!(lit, (96..106).chain(112..122).collect::<Vec<_>>());
    }
}
