//! Renders a scene as a moving clip: MP4 with H.264.
//!
//! Every element is rasterised once; each frame lays the sheets over each other where they have moved to, adds the clock and the progress
//! bar, and goes straight to the encoder, so that one raw frame is held whatever the duration. The motion loops a whole number of times.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use openh264::encoder::{
    Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, Profile, QpRange,
    RateControlMode, UsageType, VuiConfig,
};
use openh264::{OpenH264API, Timestamp};

use super::caption::{Clock, Medium};
use super::mp4::Track;
use super::paint::{Composition, compose};
use super::palette::{alpha, hex};
use super::planar::{Frame, Sheet};
use super::scene::{CLIP_SECONDS_MAX, RenderError, Scene};

/// Frames a second up to [`SWIFT_PIXELS_MAX`] pixels.
const SWIFT_FRAMES_PER_SECOND: u32 = 24;
/// Frames a second of larger clips, whose encoding would take too long otherwise.
const STEADY_FRAMES_PER_SECOND: u32 = 15;
/// Most pixels of a clip at the swift rate: 1080p with its height in whole macroblocks.
const SWIFT_PIXELS_MAX: u32 = 1920 * 1088;
/// About how long one loop of the motion takes.
const LOOP_SECONDS: f32 = 8.0;

/// Frames a second of a clip of this size.
pub fn frames_per_second(width: u32, height: u32) -> u32 {
    if width.saturating_mul(height) <= SWIFT_PIXELS_MAX {
        SWIFT_FRAMES_PER_SECOND
    } else {
        STEADY_FRAMES_PER_SECOND
    }
}

/// Renders a scene as MP4 bytes of exactly its width, height and the asked duration.
///
/// `progress` is told the finished part, `0.0..=1.0`, after every frame; `cancelled` is asked before every frame.
///
/// # Errors
/// [`RenderError::ClipSize`], [`RenderError::ClipDuration`] and [`RenderError::References`] when the scene is out of bounds, and
/// [`RenderError::Cancelled`] when `cancelled` said so.
pub fn video(
    scene: &Scene,
    duration_seconds: u32,
    mut progress: impl FnMut(f32),
    cancelled: impl Fn() -> bool,
) -> Result<Vec<u8>, RenderError> {
    scene.check_clip()?;
    if !(1..=CLIP_SECONDS_MAX).contains(&duration_seconds) {
        return Err(RenderError::ClipDuration { duration_seconds });
    }
    let rate = frames_per_second(scene.width, scene.height);
    let frames = rate * duration_seconds;
    let loops = (duration_seconds as f32 / LOOP_SECONDS).round().max(1.0);
    let mut stage = Stage::of(scene)?;
    let mut encoder = encoder(rate)?;
    let mut track = Track::new(scene.width as u16, scene.height as u16, rate);
    for index in 0..frames {
        if cancelled() {
            return Err(RenderError::Cancelled);
        }
        let milliseconds = u64::from(index) * 1000 / u64::from(rate);
        let phase = (index as f32 * loops / frames as f32).fract();
        stage.show(phase, milliseconds, (index + 1) as f32 / frames as f32)?;
        let units = encoder
            .encode_at(&stage.frame, Timestamp::from_millis(milliseconds))
            .map_err(|error| RenderError::internal("encode a frame", error))?;
        for layer in (0..units.num_layers()).filter_map(|layer| units.layer(layer)) {
            for unit in (0..layer.nal_count()).filter_map(|unit| layer.nal_unit(unit)) {
                track.add_unit(unit)?;
            }
        }
        track.end_picture()?;
        progress((index + 1) as f32 / frames as f32);
    }
    track.finish()
}

/// An encoder of constrained baseline, which every player decodes, on one thread, with a key frame every two seconds.
///
/// The narrow range of quantizers holds the quality, whatever the bit rate: flat colours stay small, and gradients show no blocks. The
/// buffer-based mode is the one that keeps to such a range without wanting to leave out frames.
fn encoder(rate: u32) -> Result<Encoder, RenderError> {
    let config = EncoderConfig::new()
        .profile(Profile::Baseline)
        .usage_type(UsageType::CameraVideoRealTime)
        .rate_control_mode(RateControlMode::Bufferbased)
        .complexity(Complexity::Low)
        .qp(QpRange::new(18, 22))
        .max_frame_rate(FrameRate::from_hz(rate as f32))
        .intra_frame_period(IntraFramePeriod::from_num_frames(2 * rate))
        .skip_frames(false)
        .scene_change_detect(false)
        .adaptive_quantization(false)
        .background_detection(false)
        .num_threads(1)
        .vui(VuiConfig::bt709());
    Encoder::with_api_config(OpenH264API::from_source(), config)
        .map_err(|error| RenderError::internal("start the encoder", error))
}

/// The sheets of a clip and the frame they are laid on.
struct Stage {
    composition: Composition,
    sheets: Vec<Sheet>,
    /// The clock's characters at their places, rasterised when they are first shown.
    digits: HashMap<(char, usize), Option<Sheet>>,
    frame: Frame,
    width: usize,
    height: usize,
}

impl Stage {
    fn of(scene: &Scene) -> Result<Self, RenderError> {
        let (width, height) = (scene.width as usize, scene.height as usize);
        let mut composition = compose(scene, Medium::Clip);
        // Each element is let go as soon as its sheet is made: both at once would double the memory.
        let elements = std::mem::take(&mut composition.elements);
        let sheets = elements
            .into_iter()
            .filter_map(|element| Sheet::of(&element, width, height).transpose());
        let sheets = sheets.collect::<Result<_, _>>()?;
        Ok(Self {
            composition,
            sheets,
            digits: HashMap::new(),
            frame: Frame::new(width, height),
            width,
            height,
        })
    }

    /// Makes the frame of a moment.
    fn show(&mut self, phase: f32, milliseconds: u64, finished: f32) -> Result<(), RenderError> {
        for sheet in &self.sheets {
            sheet.lay(&mut self.frame, phase);
        }
        let Composition { clock, font, .. } = &self.composition;
        let reading = Clock::reading(milliseconds);
        for (place, character) in reading.chars().enumerate() {
            let sheet = match self.digits.entry((character, place)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let element = clock.character(font, &reading, place);
                    new.insert(
                        element
                            .map(|element| Sheet::of(&element, self.width, self.height))
                            .transpose()?
                            .flatten(),
                    )
                }
            };
            if let Some(sheet) = sheet {
                sheet.lay(&mut self.frame, phase);
            }
        }
        let top = self.height - (clock.bar_height as usize).next_multiple_of(2);
        self.frame
            .tint_bottom(top, self.width, alpha(hex(0x0a0d17), 0.4));
        self.frame
            .tint_bottom(top, (finished * self.width as f32) as usize, clock.accent);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use mp4_atom::{Codec, DecodeMaybe, Ftyp, Header, Moov, StszSamples};
    use openh264::decoder::Decoder;
    use openh264::formats::YUVSource;

    use super::*;

    fn scene(width: u32, height: u32) -> Scene {
        Scene {
            prompt: "a lighthouse at sunset".to_owned(),
            model_title: "A model".to_owned(),
            width,
            height,
            ..Scene::default()
        }
    }

    fn render(scene: &Scene, seconds: u32) -> Vec<u8> {
        video(scene, seconds, |_| (), || false).expect("the scene is in bounds")
    }

    /// Reads the boxes in their order, and the pictures back from where the tables say they are.
    fn read(mp4: &[u8]) -> (Moov, Vec<Vec<u8>>) {
        let mut rest = mp4;
        Ftyp::decode_maybe(&mut rest)
            .expect("readable")
            .expect("ftyp comes first");
        let moov = Moov::decode_maybe(&mut rest)
            .expect("readable")
            .expect("moov comes before the media");
        let mdat = Header::decode_maybe(&mut rest)
            .expect("readable")
            .expect("mdat comes last");
        assert_eq!(
            (mdat.kind.to_string().as_str(), mdat.size),
            ("mdat", Some(rest.len()))
        );
        let tables = &moov.trak[0].mdia.minf.stbl;
        let offset = tables.stco.as_ref().expect("one chunk").entries[0] as usize;
        assert_eq!(offset, mp4.len() - rest.len());
        let StszSamples::Different { sizes } = &tables.stsz.samples else {
            panic!("pictures differ in size")
        };
        let mut at = offset;
        let pictures = sizes.iter().map(|size| {
            at += *size as usize;
            mp4[at - *size as usize..at].to_vec()
        });
        let pictures = pictures.collect();
        assert_eq!(at, mp4.len());
        (moov, pictures)
    }

    #[test]
    fn a_clip_has_the_asked_size_and_duration() {
        let (moov, pictures) = read(&render(&scene(128, 96), 3));
        let track = &moov.trak[0];
        let tables = &track.mdia.minf.stbl;
        assert_eq!(
            (moov.mvhd.timescale, moov.mvhd.duration, track.tkhd.duration),
            (1000, 3000, 3000)
        );
        assert_eq!(
            (track.mdia.mdhd.timescale, track.mdia.mdhd.duration),
            (24_000, 72_000)
        );
        assert_eq!(
            (
                tables.stts.entries[0].sample_count,
                tables.stts.entries[0].sample_delta
            ),
            (72, 1000)
        );
        assert_eq!(
            tables.stss.as_ref().map(|starts| starts.entries.clone()),
            Some(vec![1, 49])
        );
        assert_eq!(pictures.len(), 72);
        let Codec::Avc1(entry) = &tables.stsd.codecs[0] else {
            panic!("the clip is H.264 with parameters in the header")
        };
        assert_eq!((entry.visual.width, entry.visual.height), (128, 96));
        assert_eq!(entry.avcc.avc_profile_indication, 66);
    }

    #[test]
    fn every_frame_decodes_and_the_picture_moves() {
        let (moov, pictures) = read(&render(&scene(192, 108), 1));
        let Codec::Avc1(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else {
            panic!("the clip is H.264")
        };
        let mut decoder = Decoder::new().expect("the decoder is built in");
        let parameters = entry
            .avcc
            .sequence_parameter_sets
            .iter()
            .chain(&entry.avcc.picture_parameter_sets);
        let mut stream: Vec<u8> = parameters
            .flat_map(|unit| [&[0, 0, 0, 1], &unit[..]].concat())
            .collect();
        let mut lumas = Vec::new();
        for picture in pictures {
            let mut rest = &picture[..];
            while let Some((length, unit)) = rest.split_first_chunk::<4>() {
                let (unit, after) = unit.split_at(u32::from_be_bytes(*length) as usize);
                stream.extend([&[0, 0, 0, 1], unit].concat());
                rest = after;
            }
            let decoded = decoder
                .decode(&stream)
                .expect("a valid picture")
                .expect("one picture for each sample");
            assert_eq!(decoded.dimensions(), (192, 108));
            lumas.push(decoded.y().to_vec());
            stream.clear();
        }
        let differing =
            |a: &[u8], b: &[u8]| a.iter().zip(b).filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert!(differing(&lumas[0], &lumas[12]) > lumas[0].len() / 50);
        assert!(lumas.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn equal_scenes_are_equal_clips() {
        assert_eq!(render(&scene(96, 64), 1), render(&scene(96, 64), 1));
    }

    #[test]
    fn progress_rises_to_one_and_a_cancelled_clip_stops() {
        let mut parts = Vec::new();
        video(&scene(64, 64), 1, |part| parts.push(part), || false).expect("in bounds");
        assert!(parts.is_sorted() && parts.len() == 24 && parts.last() == Some(&1.0));
        let frames = Cell::new(0);
        let stopped = video(
            &scene(64, 64),
            60,
            |_| frames.set(frames.get() + 1),
            || frames.get() == 3,
        );
        assert_eq!((stopped, frames.get()), (Err(RenderError::Cancelled), 3));
    }

    #[test]
    fn clips_out_of_bounds_are_refused() {
        for (width, height) in [(65, 64), (64, 62), (3842, 64), (2162, 2162), (1920, 1081)] {
            assert_eq!(
                video(&scene(width, height), 1, |_| (), || false),
                Err(RenderError::ClipSize { width, height })
            );
        }
        for duration_seconds in [0, 61] {
            let refused = video(&scene(64, 64), duration_seconds, |_| (), || false);
            assert_eq!(refused, Err(RenderError::ClipDuration { duration_seconds }));
        }
    }
}
