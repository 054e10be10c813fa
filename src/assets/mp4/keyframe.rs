//! Where the first picture of an H.264 track lies that can be shown without any other.
//!
//! The sample tables tell (ISO/IEC 14496-12 §8.5.2, §8.6.2, §8.7): `stss` which samples stand alone,
//! `stsc` and `stco` or `co64` in which chunk one lies and where that begins, `stsz` what lies before
//! it there. `avcC` (ISO/IEC 14496-15 §5.3.3) holds what the decoder must know first. All are in the
//! film header, whose length is bounded, and each is walked once.

use std::ops::Range;

use super::{Film, child, u32_at, u64_at};

/// Sizes before the first box in the description of a picture track.
const VISUAL_DESCRIPTION_BYTES: usize = 78;

/// The first picture that stands alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Keyframe<'film> {
    /// Where it lies in the file: units of the code, each behind its length.
    pub place: Range<u64>,
    /// How many bytes such a length has, 1 to 4.
    pub length_bytes: usize,
    /// The units that come before it: sequence and picture parameter sets.
    pub parameter_sets: Vec<&'film [u8]>,
}

impl Film {
    /// The first keyframe of the first track that has a picture; none if that is not H.264, or lies
    /// in fragments.
    #[must_use]
    pub fn keyframe(&self) -> Option<Keyframe<'_>> {
        let (track, _) = self.picture_track()?;
        let media = child(child(track, *b"mdia")?, *b"minf")?;
        let tables = child(media, *b"stbl")?;
        let configuration = configuration(child(tables, *b"stsd")?)?;
        let (length_bytes, parameter_sets) = parameter_sets(configuration)?;
        Some(Keyframe {
            place: place(tables, first_alone(tables)?)?,
            length_bytes,
            parameter_sets,
        })
    }
}

/// The content of `avcC` in the first description, which must be one of H.264.
fn configuration(descriptions: &[u8]) -> Option<&[u8]> {
    let first = descriptions.get(8..)?;
    let description = child(first, *b"avc1").or_else(|| child(first, *b"avc3"))?;
    child(description.get(VISUAL_DESCRIPTION_BYTES..)?, *b"avcC")
}

/// How long lengths are, and the parameter sets: a count and units behind two-byte lengths, twice.
fn parameter_sets(configuration: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let length_bytes = usize::from(configuration.get(4)? & 0b11) + 1;
    let mut rest = configuration.get(5..)?;
    let mut sets = Vec::new();
    for count_mask in [0b1_1111, 0xff] {
        let count = rest.first()? & count_mask;
        rest = &rest[1..];
        for _ in 0..count {
            let length = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
            let end = 2 + usize::from(length);
            sets.push(rest.get(2..end)?);
            rest = &rest[end..];
        }
    }
    Some((length_bytes, sets))
}

/// The index, from 0, of the first sample that stands alone. Without a table all do.
fn first_alone(tables: &[u8]) -> Option<u32> {
    match child(tables, *b"stss") {
        None => Some(0),
        Some(_empty @ [_, _, _, _, 0, 0, 0, 0, ..]) => None,
        Some(numbers) => u32_at(numbers, 8)?.checked_sub(1),
    }
}

/// Where a sample lies.
fn place(tables: &[u8], sample: u32) -> Option<Range<u64>> {
    let (chunk, first) = chunk_of(child(tables, *b"stsc")?, sample)?;
    let sizes = child(tables, *b"stsz")?;
    let (before, size) = match u32_at(sizes, 4)? {
        // Each sample has an entry. The sum ends with the table, whatever the numbers say.
        0 => {
            let size = |index| Some(u64::from(u32_at(sizes, entry_offset(12, index, 4)?)?));
            let before = (first..sample).map(size).sum::<Option<u64>>()?;
            (before, size(sample)?)
        }
        equal => (
            u64::from(equal) * u64::from(sample - first),
            u64::from(equal),
        ),
    };
    let start = chunk_start(tables, chunk)?.checked_add(before)?;
    Some(start..start.checked_add(size)?)
}

/// The index, from 0, of the chunk that holds a sample, and that of the chunk's first sample. Each
/// entry of the table stands for the chunks up to the next entry's: their first number, from 1, and
/// how many samples each has.
fn chunk_of(table: &[u8], sample: u32) -> Option<(u32, u32)> {
    let count = usize::try_from(u32_at(table, 4)?).ok()?;
    let entries = table.get(8..)?.chunks_exact(12).take(count);
    let mut starts = entries.clone().skip(1).map(|entry| u32_at(entry, 0));
    let mut first_sample = 0_u32;
    for entry in entries {
        let (chunk, each) = (u32_at(entry, 0)?.checked_sub(1)?, u32_at(entry, 4)?);
        let within = (sample - first_sample).checked_div(each)?;
        let chunks = match starts.next() {
            Some(start) => start?.checked_sub(1)?.checked_sub(chunk)?,
            None => u32::MAX,
        };
        if within < chunks {
            return Some((chunk.checked_add(within)?, first_sample + within * each));
        }
        // No more than `sample`, since `within` is not less than `chunks`.
        first_sample += chunks * each;
    }
    None
}

/// Where a chunk begins in the file.
fn chunk_start(tables: &[u8], chunk: u32) -> Option<u64> {
    match child(tables, *b"stco") {
        Some(starts) => Some(u32_at(starts, entry_offset(8, chunk, 4)?)?.into()),
        None => {
            let starts = child(tables, *b"co64")?;
            u64_at(starts, entry_offset(8, chunk, 8)?)
        }
    }
}

fn entry_offset(table: usize, index: u32, entry_bytes: usize) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    index.checked_mul(entry_bytes)?.checked_add(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(head: &[u8], numbers: &[u32]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
        head.iter().copied().chain(numbers).collect()
    }

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len() + 8).expect("a small box");
        [&size.to_be_bytes(), kind.as_slice(), content].concat()
    }

    #[test]
    fn a_sample_is_found_in_its_chunk() {
        // Two chunks of three samples, then chunks of two.
        let chunks = table(&[0; 4], &[2, 1, 3, 1, 3, 2, 1]);
        let expected = [
            (0, 0),
            (0, 0),
            (0, 0),
            (1, 3),
            (1, 3),
            (1, 3),
            (2, 6),
            (2, 6),
            (3, 8),
        ];
        for (sample, expected) in (0..).zip(expected) {
            assert_eq!(chunk_of(&chunks, sample), Some(expected), "{sample}");
        }
    }

    #[test]
    fn a_sample_is_placed_behind_those_before_it() {
        let tables = [
            boxed(b"stsc", &table(&[0; 4], &[1, 1, 3, 1])),
            boxed(b"stsz", &table(&[0; 4], &[0, 5, 10, 20, 30, 40, 50])),
            boxed(b"stco", &table(&[0; 4], &[2, 1000, 2000])),
        ]
        .concat();
        let places = (0..6).map(|sample| place(&tables, sample));
        let expected = [
            Some(1000..1010),
            Some(1010..1030),
            Some(1030..1060),
            Some(2000..2040),
            Some(2040..2090),
            None,
        ];
        assert!(places.eq(expected));
    }

    #[test]
    fn equal_sizes_and_wide_starts_are_read() {
        let tables = [
            boxed(b"stsc", &table(&[0; 4], &[1, 1, 4, 1])),
            boxed(b"stsz", &table(&[0; 4], &[7, 4])),
            boxed(b"co64", &table(&[0; 4], &[1, 1, 0])),
        ]
        .concat();
        let start = 1 << 32;
        assert_eq!(place(&tables, 2), Some(start + 14..start + 21));
    }

    #[test]
    fn tables_that_lie_are_no_place() {
        for entries in [
            // No chunk, no sample in a chunk, chunk 0, chunks that go backwards, and far too many.
            &[0][..],
            &[1, 1, 0, 1],
            &[1, 0, 1, 1],
            &[2, 9, 1, 1, 3, 1, 1],
            &[2, 1, u32::MAX, 1, u32::MAX, u32::MAX, 1],
        ] {
            let tables = [
                boxed(b"stsc", &table(&[0; 4], entries)),
                boxed(b"stsz", &table(&[0; 4], &[u32::MAX, 4])),
                boxed(b"stco", &table(&[0; 4], &[1, 1])),
            ]
            .concat();
            assert_eq!(place(&tables, u32::MAX), None, "{entries:?}");
        }
    }

    #[test]
    fn a_number_of_samples_beyond_all_tables_costs_nothing() {
        for sizes in [&[1, u32::MAX][..], &[0, u32::MAX, 1]] {
            let tables = [
                boxed(b"stsc", &table(&[0; 4], &[1, 1, u32::MAX, 1])),
                boxed(b"stsz", &table(&[0; 4], sizes)),
                boxed(b"stco", &table(&[0; 4], &[1, 1])),
            ]
            .concat();
            let sample = u32::MAX - 1;
            let start = 1 + u64::from(sample);
            let expected = (sizes[0] == 1).then_some(start..start + 1);
            assert_eq!(place(&tables, sample), expected);
        }
    }

    #[test]
    fn the_first_sample_that_stands_alone_is_named_or_the_first() {
        let named = |numbers: &[u32]| first_alone(&boxed(b"stss", &table(&[0; 4], numbers)));
        assert_eq!(named(&[2, 4, 9]), Some(3));
        assert_eq!(named(&[0]), None);
        assert_eq!(named(&[1, 0]), None);
        assert_eq!(first_alone(&[]), Some(0));
    }
}
