//! What is told from a result's file: the size and the length from its head, the small picture from
//! a decode. Everything here reads files and keeps a processor busy; it belongs on a blocking thread.

use std::{
    io::{BufRead, Cursor, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
};

use image::{ImageError, metadata::Orientation};
use sha2::{Digest, Sha256};

use super::{arrival::Body, error::AssetError, file_type::FileType, mp4::Film, picture, poster};

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Pixels across and down, as shown.
    pub size: Option<(u32, u32)>,
    /// Length of a video that says so.
    pub duration_seconds: Option<f64>,
}

/// Reads as much of a file as its measures take.
///
/// # Errors
/// [`AssetError::Damaged`] for the file; [`AssetError::Storage`] when it could not be read.
pub fn measure(body: &Body, file_type: FileType) -> Result<Measures, AssetError> {
    let mut file = body.read()?;
    let damaged = || AssetError::Damaged(file_type);
    match (file_type, picture::format(file_type)) {
        (_, Some(format)) => Ok(Measures {
            size: Some(picture::size(file, format).map_err(|_| damaged())?),
            duration_seconds: None,
        }),
        (FileType::Mp4, None) => {
            let film = Film::read(&mut file)?.ok_or_else(damaged)?;
            Ok(Measures {
                size: Some(film.size().ok_or_else(damaged)?),
                duration_seconds: film.duration_seconds(),
            })
        }
        (_, None) => Ok(Measures {
            size: None,
            duration_seconds: None,
        }),
    }
}

/// A JPEG of the picture or, for a video, of its poster. A video without a poster, or with one that
/// cannot be used, is shown by its first keyframe.
///
/// It is a courtesy: what is sound but cannot be decoded here goes without one, and so does a strange file that a
/// decoder gives up on.
pub fn thumbnail(body: &Body, file_type: FileType, poster: Option<&[u8]>) -> Option<Vec<u8>> {
    // What a decoder leaves half done is its own, and goes with it.
    let work = AssertUnwindSafe(|| small(body, file_type, poster));
    catch_unwind(work).unwrap_or_default()
}

fn small(body: &Body, file_type: FileType, poster: Option<&[u8]>) -> Option<Vec<u8>> {
    if file_type.is_picture() {
        return still(body.read().ok()?, file_type);
    }
    let given = poster.and_then(|poster| still(Cursor::new(poster), FileType::sniff(poster)?));
    given.or_else(|| match file_type {
        FileType::Mp4 => {
            let keyframe = poster::of(&mut body.read().ok()?)?;
            logged(picture::shrunk(keyframe.into(), Orientation::NoTransforms))
        }
        _ => None,
    })
}

fn still(file: impl BufRead + Seek, file_type: FileType) -> Option<Vec<u8>> {
    logged(picture::thumbnail(file, picture::format(file_type)?))
}

fn logged(thumbnail: Result<Vec<u8>, ImageError>) -> Option<Vec<u8>> {
    thumbnail
        .inspect_err(|error| tracing::warn!(%error, "a picture that cannot be made small"))
        .ok()
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Two lower-case digits a byte.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
