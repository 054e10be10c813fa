//! The size and the length of an MP4 video, read from its boxes.
//!
//! Of the file, the headers of the outermost boxes are read until the film header (`moov`) is found,
//! wherever it stands, and then that box alone, of at most [`FILM_BYTES_MAX`]. Within it only
//! `mvhd` and `trak/tkhd` are looked at (ISO/IEC 14496-12 §8.2.2 and §8.3.2), each by its fixed
//! layout, and for a poster what `keyframe` tells. The walk is flat, never recursive, and every
//! container gives up after [`BOXES_MAX`] boxes.

mod keyframe;

use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

pub use self::keyframe::Keyframe;

/// How many boxes of one container are looked at.
const BOXES_MAX: usize = 1024;

/// The longest film header that is read. It has some 20 bytes for each picture and piece of sound:
/// this is enough for hours.
const FILM_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The longest header of a box: size, kind and a wide size.
const HEADER_BYTES_MAX: u64 = 16;

/// The content of a file's film header.
#[derive(Debug)]
pub struct Film(Vec<u8>);

impl Film {
    /// Finds the film header; none if the file has no readable one.
    ///
    /// # Errors
    /// When the file could not be read.
    pub fn read(file: &mut (impl Read + Seek)) -> io::Result<Option<Self>> {
        let end = file.seek(SeekFrom::End(0))?;
        let mut start = 0;
        for _ in 0..BOXES_MAX {
            file.seek(SeekFrom::Start(start))?;
            let mut header = Vec::new();
            file.by_ref()
                .take(HEADER_BYTES_MAX)
                .read_to_end(&mut header)?;
            let Some((kind, content)) = box_header(&header, end - start) else {
                return Ok(None);
            };
            let place = start + content.start..start + content.end;
            if kind == *b"moov" {
                return Ok(part(file, place, FILM_BYTES_MAX)?.map(Self));
            }
            start = place.end;
        }
        Ok(None)
    }

    /// Pixels across and down of the first track that has a picture.
    #[must_use]
    pub fn size(&self) -> Option<(u32, u32)> {
        self.picture_track().map(|(_, size)| size)
    }

    /// The content and the size of the first track that has a picture.
    fn picture_track(&self) -> Option<(&[u8], (u32, u32))> {
        Boxes(&self.0)
            .take(BOXES_MAX)
            .filter(|(kind, _)| kind == b"trak")
            .filter_map(|(_, track)| Some((track, track_size(child(track, *b"tkhd")?)?)))
            .find(|&(_, (width, height))| width > 0 && height > 0)
    }

    /// Length in seconds; absent when the film leaves it open, as a fragmented one does.
    #[must_use]
    pub fn duration_seconds(&self) -> Option<f64> {
        duration_seconds(child(&self.0, *b"mvhd")?)
    }
}

/// A part of a file of at most `bytes_max`; none if it is longer or not there.
pub fn part(
    file: &mut (impl Read + Seek),
    place: Range<u64>,
    bytes_max: u64,
) -> io::Result<Option<Vec<u8>>> {
    let length = place.end.saturating_sub(place.start);
    if length > bytes_max {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(place.start))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == length).then_some(bytes))
}

/// `mvhd`: version and flags, two times, then the units per second and the length in units.
fn duration_seconds(header: &[u8]) -> Option<f64> {
    let (units_per_second, units) = match header.first()? {
        0 => match u32_at(header, 16)? {
            u32::MAX => return None,
            units => (u32_at(header, 12)?, u64::from(units)),
        },
        1 => match u64_at(header, 24)? {
            u64::MAX => return None,
            units => (u32_at(header, 20)?, units),
        },
        _ => return None,
    };
    if units == 0 || units_per_second == 0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 units are centuries at any units per second in use"
    )]
    let units = units as f64;
    Some(units / f64::from(units_per_second))
}

/// `tkhd` ends in width and height as 16.16 fixed-point numbers; sound has zeros there.
fn track_size(header: &[u8]) -> Option<(u32, u32)> {
    let offset = match header.first()? {
        0 => 76,
        1 => 88,
        _ => return None,
    };
    Some((
        u32_at(header, offset)? >> 16,
        u32_at(header, offset + 4)? >> 16,
    ))
}

/// The content of the first box of this kind.
fn child(container: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    Boxes(container)
        .take(BOXES_MAX)
        .find(|(found, _)| *found == kind)
        .map(|(_, content)| content)
}

/// The boxes that follow one another in these bytes: kind and content. Ends at the first box that
/// is cut short.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, place) = box_header(self.0, self.0.len() as u64)?;
        let (start, end) = (
            usize::try_from(place.start).ok()?,
            usize::try_from(place.end).ok()?,
        );
        let content = self.0.get(start..end)?;
        self.0 = &self.0[end..];
        Some((kind, content))
    }
}

/// The kind of the box that begins here and where its content lies in the `available` bytes; none
/// if it is cut short.
fn box_header(start: &[u8], available: u64) -> Option<([u8; 4], Range<u64>)> {
    let kind = start.get(4..8)?.try_into().ok()?;
    let (header_bytes, size) = match u32_at(start, 0)? {
        // The last box reaches to the end.
        0 => (8, available),
        1 => (16, u64_at(start, 8)?),
        size => (8, u64::from(size)),
    };
    (header_bytes <= size && size <= available).then_some((kind, header_bytes..size))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(
        bytes.get(offset..offset + 8)?.try_into().ok()?,
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::assets::poster::tests::CLIP;

    /// The size and the length of a film.
    type Measures = ((u32, u32), Option<f64>);

    fn measure(bytes: &[u8]) -> Option<Measures> {
        let film = Film::read(&mut Cursor::new(bytes)).expect("memory can be read")?;
        Some((film.size()?, film.duration_seconds()))
    }

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).expect("a small box");
        [&size.to_be_bytes(), kind.as_slice(), content].concat()
    }

    fn film_header(units_per_second: u32, units: u32) -> Vec<u8> {
        let mut content = vec![0; 100];
        content[12..16].copy_from_slice(&units_per_second.to_be_bytes());
        content[16..20].copy_from_slice(&units.to_be_bytes());
        boxed(b"mvhd", &content)
    }

    fn track(width: u16, height: u16) -> Vec<u8> {
        let mut content = vec![0; 84];
        content[76..78].copy_from_slice(&width.to_be_bytes());
        content[80..82].copy_from_slice(&height.to_be_bytes());
        boxed(b"trak", &boxed(b"tkhd", &content))
    }

    /// A file with a sound track and a picture track, its film header last.
    pub fn sample() -> Vec<u8> {
        let film = [film_header(600, 3900), track(0, 0), track(1280, 720)].concat();
        [
            boxed(b"ftyp", b"isom\0\0\x02\0isomiso2mp41"),
            boxed(b"mdat", &[0; 100]),
            boxed(b"moov", &film),
        ]
        .concat()
    }

    #[test]
    fn size_and_length_are_read() {
        assert_eq!(measure(&sample()), Some(((1280, 720), Some(6.5))));
    }

    #[test]
    fn wide_headers_and_sizes_are_read() {
        let mut header = vec![0; 112];
        header[0] = 1;
        header[20..24].copy_from_slice(&1000_u32.to_be_bytes());
        header[24..32].copy_from_slice(&5_000_000_000_u64.to_be_bytes());
        let mut track = vec![0; 96];
        track[0] = 1;
        track[88..90].copy_from_slice(&640_u16.to_be_bytes());
        track[92..94].copy_from_slice(&360_u16.to_be_bytes());
        let film = [
            boxed(b"mvhd", &header),
            boxed(b"trak", &boxed(b"tkhd", &track)),
        ]
        .concat();
        // A 64-bit size before the film, and a film that reaches to the end of the file.
        let file = [
            b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x14data".as_slice(),
            b"\0\0\0\0moov",
            &film,
        ]
        .concat();
        assert_eq!(measure(&file), Some(((640, 360), Some(5_000_000.0))));
    }

    #[test]
    fn an_open_length_is_absent() {
        for (units_per_second, units) in [(600, 0), (600, u32::MAX), (0, 600)] {
            let film = [film_header(units_per_second, units), track(16, 16)].concat();
            let measures = measure(&boxed(b"moov", &film));
            assert_eq!(measures, Some(((16, 16), None)));
        }
    }

    #[test]
    fn damage_is_no_measure_and_no_panic() {
        let whole = sample();
        for length in 0..whole.len() {
            assert_eq!(measure(&whole[..length]), None, "cut at {length}");
        }
        for whole in [whole.as_slice(), CLIP] {
            for position in 0..whole.len() {
                for value in [0, 1, 7, 0xff] {
                    let mut changed = whole.to_vec();
                    changed[position] = value;
                    let film = Film::read(&mut Cursor::new(&changed));
                    if let Some(film) = film.expect("memory can be read") {
                        let _ = (film.size(), film.duration_seconds(), film.keyframe());
                    }
                }
            }
        }
        assert_eq!(measure(&boxed(b"moov", &film_header(600, 600))), None);
    }
}
