//! Paints a scene as one picture.
//!
//! The landscape comes from the prompt, the caption from what was asked; both are lists of elements that are drawn back to front on one
//! canvas and encoded as PNG, row by row. The canvas takes four bytes a pixel, so the largest picture takes 256 MiB.

use std::io::Write;

use png::{BitDepth, ColorType, Compression, Encoder, SrgbRenderingIntent};
use tiny_skia::Pixmap;

use super::caption::{Caption, Clock, Medium, caption, clock};
use super::landscape::landscape;
use super::palette::Theme;
use super::random::Random;
use super::scene::{RenderError, Scene};
use super::shape::Element;
use super::text::Font;

/// A scene as elements, furthest first.
pub(super) struct Composition {
    pub(super) elements: Vec<Element>,
    pub(super) clock: Clock,
    pub(super) font: Font,
}

/// Composes a scene whose size was checked.
pub(super) fn compose(scene: &Scene, medium: Medium) -> Composition {
    let font = Font::embedded();
    let mut random = Random::of(scene);
    let theme = Theme::of(&scene.prompt, &mut random.fork());
    let Caption {
        elements: over,
        floor,
    } = caption(scene, &theme.palette, &font, medium);
    let mut elements = landscape(
        &theme,
        scene.width as f32,
        scene.height as f32,
        floor,
        &mut random,
    );
    elements.extend(over);
    let clock = clock(scene, &theme.palette, &font);
    Composition {
        elements,
        clock,
        font,
    }
}

/// Paints a scene as PNG bytes of exactly its width and height.
///
/// # Errors
/// [`RenderError::PictureSize`] and [`RenderError::References`] when the scene is out of bounds.
pub fn picture(scene: &Scene) -> Result<Vec<u8>, RenderError> {
    scene.check_picture()?;
    png(&canvas(scene, &compose(scene, Medium::Still).elements)?)
}

/// Paints the first frame of a clip of this scene as PNG bytes.
///
/// # Errors
/// [`RenderError::ClipSize`] and [`RenderError::References`] when the scene is out of bounds.
pub fn poster(scene: &Scene) -> Result<Vec<u8>, RenderError> {
    scene.check_clip()?;
    let mut composition = compose(scene, Medium::Clip);
    let reading = Clock::reading(0);
    let digits = (0..reading.len()).filter_map(|place| {
        composition
            .clock
            .character(&composition.font, &reading, place)
    });
    composition.elements.extend(digits.collect::<Vec<_>>());
    png(&canvas(scene, &composition.elements)?)
}

fn canvas(scene: &Scene, elements: &[Element]) -> Result<Pixmap, RenderError> {
    let mut canvas = Pixmap::new(scene.width, scene.height)
        .ok_or_else(|| RenderError::internal("make a canvas", "the size was refused"))?;
    for element in elements {
        let (x, y) = element.motion.offset(0.0);
        element.draw(&mut canvas.as_mut(), x, y, element.light.opacity(0.0));
    }
    Ok(canvas)
}

/// Encodes an opaque canvas. The gradients of a landscape pack well at the fastest setting.
fn png(canvas: &Pixmap) -> Result<Vec<u8>, RenderError> {
    let failed = |error: png::EncodingError| RenderError::internal("encode the PNG", error);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, canvas.width(), canvas.height());
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_source_srgb(SrgbRenderingIntent::Perceptual);
    encoder
        .add_text_chunk("Software".to_owned(), "Piooy sandbox".to_owned())
        .map_err(failed)?;
    let mut writer = encoder.write_header().map_err(failed)?;
    let mut stream = writer.stream_writer().map_err(failed)?;
    let row_bytes = canvas.width() as usize * 4;
    let mut row = Vec::with_capacity(canvas.width() as usize * 3);
    for line in canvas.data().chunks_exact(row_bytes) {
        row.clear();
        row.extend(
            line.chunks_exact(4)
                .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]),
        );
        stream
            .write_all(&row)
            .map_err(|error| RenderError::internal("encode the PNG", error))?;
    }
    stream.finish().map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{REFERENCES_MAX, SIDE_PIXELS_MAX, SIDE_PIXELS_MIN};
    use super::*;

    fn scene(width: u32, height: u32) -> Scene {
        Scene {
            prompt: "a fox in the snow".to_owned(),
            model_title: "A model".to_owned(),
            width,
            height,
            ..Scene::default()
        }
    }

    fn decoded(png: &[u8]) -> image::RgbImage {
        image::load_from_memory_with_format(png, image::ImageFormat::Png)
            .expect("the painter writes PNG")
            .to_rgb8()
    }

    #[test]
    fn pictures_have_the_asked_size() {
        for (width, height) in [(64, 64), (256, 256), (333, 501), (96, 768), (768, 96)] {
            assert_eq!(
                decoded(&picture(&scene(width, height)).expect("in bounds")).dimensions(),
                (width, height)
            );
        }
        assert_eq!(
            decoded(&poster(&scene(320, 180)).expect("in bounds")).dimensions(),
            (320, 180)
        );
    }

    #[test]
    fn equal_scenes_are_equal_pictures_and_others_are_not() {
        let plain = scene(160, 90);
        let same = picture(&plain);
        assert_eq!(same, picture(&plain.clone()));
        let others = [
            Scene {
                seed: 1,
                ..plain.clone()
            },
            Scene {
                index: 1,
                ..plain.clone()
            },
            Scene {
                prompt: "a bear in the snow".to_owned(),
                ..plain.clone()
            },
        ];
        for other in others {
            assert_ne!(same, picture(&other), "{other:?}");
        }
    }

    #[test]
    fn every_land_and_hour_is_painted_at_every_shape() {
        for prompt in [
            "paris night dog beret",
            "lighthouse storm boat",
            "snow peaks",
            "autumn forest",
            "balloon meadow dawn",
            "dunes dusk",
        ] {
            for (width, height) in [(256, 32 * 2), (64, 256), (128, 128)] {
                let scene = Scene {
                    prompt: prompt.to_owned(),
                    ..scene(width, height)
                };
                let pixels = decoded(&picture(&scene).expect("in bounds"));
                let colors: std::collections::HashSet<_> =
                    pixels.pixels().map(|pixel| pixel.0).collect();
                assert!(
                    colors.len() > 200,
                    "{prompt} {width}x{height} has {} colours",
                    colors.len()
                );
            }
        }
    }

    #[test]
    fn references_are_shown() {
        let plain = Scene {
            prompt: "a fox".to_owned(),
            ..scene(512, 512)
        };
        let green = image::RgbImage::from_pixel(30, 20, image::Rgb([3, 250, 7]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        green
            .write_to(&mut bytes, image::ImageFormat::Png)
            .expect("a small picture encodes");
        let count = |scene: &Scene| {
            decoded(&picture(scene).expect("in bounds"))
                .pixels()
                .filter(|pixel| pixel.0 == [3, 250, 7])
                .count()
        };
        assert_eq!(count(&plain), 0);
        assert!(
            count(&Scene {
                references: vec![bytes.into_inner()],
                ..plain
            }) > 400
        );
    }

    #[test]
    fn scenes_out_of_bounds_are_refused() {
        for (width, height) in [(SIDE_PIXELS_MIN - 1, 64), (64, SIDE_PIXELS_MAX + 1), (0, 0)] {
            assert_eq!(
                picture(&scene(width, height)),
                Err(RenderError::PictureSize { width, height })
            );
        }
        let crowded = Scene {
            references: vec![Vec::new(); REFERENCES_MAX + 1],
            ..scene(64, 64)
        };
        assert_eq!(
            picture(&crowded),
            Err(RenderError::References {
                count: REFERENCES_MAX + 1
            })
        );
        assert_eq!(
            poster(&scene(65, 64)),
            Err(RenderError::ClipSize {
                width: 65,
                height: 64
            })
        );
    }
}
