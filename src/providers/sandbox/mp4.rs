//! Wraps H.264 access units as an MP4 file that plays while it loads.
//!
//! One video track, one chunk, constant frame duration, the `moov` box before the media (ISO/IEC 14496-12 and 14496-15). No time of
//! creation is written, so equal clips are equal files.

use mp4_atom::{
    Avc1, Avcc, Codec, Colr, Compressor, Dinf, Dref, DrefEntry, Encode, FourCC, Ftyp, Hdlr, Matrix,
    Mdhd, Mdia, Minf, Moov, Mvhd, Pasp, Stbl, Stco, Stsc, StscEntry, Stsd, Stss, Stsz, StszSamples,
    Stts, SttsEntry, Tkhd, Trak, Url, Visual, Vmhd,
};

use super::scene::RenderError;

/// Ticks a frame lasts in the media's own time.
const FRAME_TICKS: u32 = 1000;
/// Ticks a second in the movie's time.
const MOVIE_TICKS_PER_SECOND: u32 = 1000;

/// Encoded pictures as they come from the encoder, in memory of the size of the finished file.
#[derive(Default)]
pub(super) struct Track {
    width: u16,
    height: u16,
    frames_per_second: u32,
    sequence_parameters: Vec<u8>,
    picture_parameters: Vec<u8>,
    media: Vec<u8>,
    /// Length of the media up to the last picture that was ended.
    ended: usize,
    sizes: Vec<u32>,
    /// Numbers, from 1, of the pictures that a player can start at.
    starts: Vec<u32>,
}

impl Track {
    /// A track without pictures.
    pub(super) fn new(width: u16, height: u16, frames_per_second: u32) -> Self {
        Self {
            width,
            height,
            frames_per_second,
            ..Self::default()
        }
    }

    /// Adds one NAL unit of the current picture, with or without its start code (ITU-T H.264 §7.3.1 and annex B).
    pub(super) fn add_unit(&mut self, unit: &[u8]) -> Result<(), RenderError> {
        let unit = without_start_code(unit);
        match unit.first().map(|header| header & 0x1f) {
            Some(7) => self.sequence_parameters = unit.to_vec(),
            Some(8) => self.picture_parameters = unit.to_vec(),
            Some(kind) => {
                let number = size(self.sizes.len() + 1)?;
                if kind == 5 && self.starts.last() != Some(&number) {
                    self.starts.push(number);
                }
                self.media
                    .extend_from_slice(&size(unit.len())?.to_be_bytes());
                self.media.extend_from_slice(unit);
            }
            None => {}
        }
        Ok(())
    }

    /// Ends the current picture; every picture has at least one unit of its own.
    pub(super) fn end_picture(&mut self) -> Result<(), RenderError> {
        if self.media.len() == self.ended {
            return Err(RenderError::internal(
                "encode a frame",
                "the encoder left it out",
            ));
        }
        self.sizes.push(size(self.media.len() - self.ended)?);
        self.ended = self.media.len();
        Ok(())
    }

    /// The finished file.
    pub(super) fn finish(self) -> Result<Vec<u8>, RenderError> {
        let mut head = Vec::new();
        let brands = [b"isom", b"iso2", b"avc1", b"mp41"].map(FourCC::new);
        let ftyp = Ftyp {
            major_brand: FourCC::new(b"isom"),
            minor_version: 512,
            compatible_brands: brands.to_vec(),
        };
        ftyp.encode(&mut head).map_err(refused)?;
        // The place of the media depends on the length of `moov`, which does not depend on the place.
        let mut measured = Vec::new();
        self.moov(0)?.encode(&mut measured).map_err(refused)?;
        let mdat_header = 8;
        let offset = size(head.len() + measured.len() + mdat_header)?;
        self.moov(offset)?.encode(&mut head).map_err(refused)?;
        head.extend_from_slice(&size(self.media.len() + mdat_header)?.to_be_bytes());
        head.extend_from_slice(b"mdat");
        head.reserve_exact(self.media.len());
        head.extend_from_slice(&self.media);
        Ok(head)
    }

    fn moov(&self, media_offset: u32) -> Result<Moov, RenderError> {
        let frames = size(self.sizes.len())?;
        let seconds_in =
            |ticks: u32| u64::from(frames) * u64::from(ticks) / u64::from(self.frames_per_second);
        let duration = seconds_in(MOVIE_TICKS_PER_SECOND);
        let mvhd = Mvhd {
            creation_time: 0,
            modification_time: 0,
            timescale: MOVIE_TICKS_PER_SECOND,
            duration,
            rate: 1.into(),
            volume: 1.into(),
            matrix: Matrix::default(),
            next_track_id: 2,
        };
        let tkhd = Tkhd {
            track_id: 1,
            duration,
            enabled: true,
            in_movie: true,
            width: self.width.into(),
            height: self.height.into(),
            ..Tkhd::default()
        };
        let mdhd = Mdhd {
            timescale: self.frames_per_second * FRAME_TICKS,
            duration: u64::from(frames) * u64::from(FRAME_TICKS),
            language: "und".to_owned(),
            ..Mdhd::default()
        };
        let stbl = Stbl {
            stsd: Stsd {
                codecs: vec![Codec::Avc1(self.sample_entry()?)],
            },
            stts: Stts {
                entries: vec![SttsEntry {
                    sample_count: frames,
                    sample_delta: FRAME_TICKS,
                }],
            },
            stss: Some(Stss {
                entries: self.starts.clone(),
            }),
            stsc: Stsc {
                entries: vec![StscEntry {
                    first_chunk: 1,
                    samples_per_chunk: frames,
                    sample_description_index: 1,
                }],
            },
            stsz: Stsz {
                samples: StszSamples::Different {
                    sizes: self.sizes.clone(),
                },
            },
            stco: Some(Stco {
                entries: vec![media_offset],
            }),
            ..Stbl::default()
        };
        let minf = Minf {
            vmhd: Some(Vmhd::default()),
            dinf: Dinf {
                dref: Dref {
                    entries: vec![DrefEntry::Url(Url::default())],
                },
            },
            stbl,
            ..Minf::default()
        };
        let hdlr = Hdlr {
            handler: FourCC::new(b"vide"),
            name: "Piooy sandbox".to_owned(),
        };
        let trak = Trak {
            tkhd,
            mdia: Mdia { mdhd, hdlr, minf },
            ..Trak::default()
        };
        Ok(Moov {
            mvhd,
            trak: vec![trak],
            ..Moov::default()
        })
    }

    fn sample_entry(&self) -> Result<Avc1, RenderError> {
        let [_, profile, compatibility, level, ..] = self.sequence_parameters[..] else {
            return Err(RenderError::internal(
                "write the MP4",
                "the encoder gave no sequence parameters",
            ));
        };
        let visual = Visual {
            data_reference_index: 1,
            width: self.width,
            height: self.height,
            compressor: Compressor::from("Piooy sandbox"),
            ..Visual::default()
        };
        let avcc = Avcc {
            configuration_version: 1,
            avc_profile_indication: profile,
            profile_compatibility: compatibility,
            avc_level_indication: level,
            length_size: 4,
            sequence_parameter_sets: vec![self.sequence_parameters.clone()],
            picture_parameter_sets: vec![self.picture_parameters.clone()],
            ext: None,
        };
        // BT.709 for all three (ITU-T H.273 tables 2 to 4), limited range, square pixels.
        let colr = Colr::Nclx {
            colour_primaries: 1,
            transfer_characteristics: 1,
            matrix_coefficients: 1,
            full_range_flag: false,
        };
        Ok(Avc1 {
            visual,
            avcc,
            colr: Some(colr),
            pasp: Some(Pasp {
                h_spacing: 1,
                v_spacing: 1,
            }),
            ..Avc1::default()
        })
    }
}

fn without_start_code(unit: &[u8]) -> &[u8] {
    let zeros = unit.iter().take_while(|byte| **byte == 0).count();
    match unit.get(zeros) {
        Some(1) if zeros >= 2 => &unit[zeros + 1..],
        _ => unit,
    }
}

fn size(length: usize) -> Result<u32, RenderError> {
    u32::try_from(length)
        .map_err(|_| RenderError::internal("write the MP4", "it would be larger than 4 GiB"))
}

fn refused(error: mp4_atom::Error) -> RenderError {
    RenderError::internal("write the MP4", error)
}
