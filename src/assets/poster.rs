//! A still picture for a video that comes without one: its first keyframe, where that is H.264 in MP4.
//!
//! One picture is read and decoded, however long the video. Bounds: [`KEYFRAME_BYTES_MAX`] for the
//! code; for the picture those of the decoder, which refuses more than 36,864 blocks of 16 × 16
//! pixels (level 5.2 of ITU-T H.264 table A-1), that is 4096 × 2304. Whatever is strange about the
//! video just means no poster.

use std::io::{Read, Seek};

use image::RgbImage;
use openh264::{decoder::Decoder, formats::YUVSource};

use super::mp4::{Film, Keyframe, part};

/// The longest code of a picture that is read; more than its pixels would take without any code.
const KEYFRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What comes before each unit of the code when it is not in a file (ITU-T H.264 annex B).
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The first keyframe of an MP4 file. Its colours are taken for those of BT.601, which is off by a
/// shade for others.
pub fn of(file: &mut (impl Read + Seek)) -> Option<RgbImage> {
    let film = Film::read(file).ok()??;
    let keyframe = film.keyframe()?;
    let units = part(file, keyframe.place.clone(), KEYFRAME_BYTES_MAX).ok()??;
    decode(&code(&keyframe, &units)?)
}

/// The parameter sets and the picture's units as the decoder takes them; none if a unit is cut short.
fn code(keyframe: &Keyframe, mut units: &[u8]) -> Option<Vec<u8>> {
    let mut code = Vec::with_capacity(units.len() + 1024);
    for set in &keyframe.parameter_sets {
        code.extend_from_slice(&START_CODE);
        code.extend_from_slice(set);
    }
    while !units.is_empty() {
        let (length, rest) = units.split_at_checked(keyframe.length_bytes)?;
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at_checked(length)?;
        code.extend_from_slice(&START_CODE);
        code.extend_from_slice(unit);
        units = rest;
    }
    Some(code)
}

fn decode(code: &[u8]) -> Option<RgbImage> {
    let mut decoder = Decoder::new().ok()?;
    let picture = decoder.decode(code).ok()??;
    let (width, height) = picture.dimensions();
    let mut pixels = vec![0; picture.rgb8_len()];
    picture.write_rgb8(&mut pixels);
    RgbImage::from_raw(width.try_into().ok()?, height.try_into().ok()?, pixels)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    /// Colour bars, 160 × 90 pixels in 1.5 seconds with sound, by ffmpeg 5.1 and x264: high profile,
    /// pictures out of order, several chunks a track, the film header last.
    pub const CLIP: &[u8] = include_bytes!("../../tests/fixtures/clip.mp4");

    #[test]
    fn the_first_keyframe_is_shown() {
        let picture = of(&mut Cursor::new(CLIP)).expect("a picture");
        assert_eq!(picture.dimensions(), (160, 90));
        // Grey, yellow, cyan, green, magenta, red, blue at three quarters of their full strength
        // (SMPTE EG 1).
        let bars = [
            [191, 191, 191],
            [191, 191, 0],
            [0, 191, 191],
            [0, 191, 0],
            [191, 0, 191],
            [191, 0, 0],
            [0, 0, 191],
        ];
        for (bar, expected) in (0..).zip(bars) {
            let shown = picture.get_pixel(bar * 160 / 7 + 11, 20).0;
            let off = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 12;
            assert!(!shown.iter().zip(&expected).any(off), "{bar}: {shown:?}");
        }
    }

    #[test]
    fn damage_is_no_picture_and_no_panic() {
        let found = |clip: &[u8]| of(&mut Cursor::new(clip)).is_some();
        let film = CLIP.windows(4).position(|kind| kind == b"moov");
        let film = film.expect("a film header");
        assert!(found(CLIP) && !found(b"") && !found(&CLIP[..film]));
        // A decode a change takes its time; the tables alone are spoilt byte by byte in `mp4`.
        for position in (film..CLIP.len()).step_by(17) {
            for value in [0, 0xff] {
                let mut changed = CLIP.to_vec();
                changed[position] = value;
                found(&changed);
            }
        }
        for needed in [b"avc1", b"avcC", b"stsc", b"stsz", b"stco"] {
            let place = CLIP[film..].windows(4).position(|kind| kind == needed);
            let mut changed = CLIP.to_vec();
            changed[film + place.expect("is there")] = b'X';
            assert!(!found(&changed), "{needed:?}");
        }
    }
}
