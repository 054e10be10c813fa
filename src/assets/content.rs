//! Everything that is told from the bytes of a result, in one pass on a blocking thread.

use sha2::{Digest, Sha256};

use super::{error::AssetError, file_type::FileType, mp4, picture};

/// What the bytes of a result say.
#[derive(Debug)]
pub struct Content {
    pub file_type: FileType,
    /// In lower-case hexadecimal.
    pub sha256: String,
    pub size: Option<(u32, u32)>,
    pub duration_seconds: Option<f64>,
    /// A JPEG, when one could be made.
    pub thumbnail: Option<Vec<u8>>,
}

/// Looks at a result and, for a video, at the still picture that stands for it.
///
/// A thumbnail is a courtesy: a picture that is sound but too large to decode goes without one.
///
/// # Errors
/// [`AssetError::UnsupportedType`] and [`AssetError::Damaged`].
pub fn examine(bytes: &[u8], poster: Option<&[u8]>) -> Result<Content, AssetError> {
    let file_type = FileType::sniff(bytes).ok_or(AssetError::UnsupportedType {
        allowed: "PNG, JPEG, WebP, GIF, MP4 and WebM",
    })?;
    let (size, duration_seconds) = measure(bytes, file_type)?;
    let still = if file_type.is_picture() {
        Some(bytes)
    } else {
        poster
    };
    Ok(Content {
        file_type,
        sha256: sha256_hex(bytes),
        size,
        duration_seconds,
        thumbnail: still.and_then(thumbnail),
    })
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

type Measures = (Option<(u32, u32)>, Option<f64>);

fn measure(bytes: &[u8], file_type: FileType) -> Result<Measures, AssetError> {
    let damaged = || AssetError::Damaged(file_type);
    match (file_type, picture::format(file_type)) {
        (_, Some(format)) => {
            let size = picture::size(bytes, format).map_err(|_| damaged())?;
            Ok((Some(size), None))
        }
        (FileType::Mp4, None) => {
            let film = mp4::measure(bytes).ok_or_else(damaged)?;
            Ok((Some((film.width, film.height)), film.duration_seconds))
        }
        (_, None) => Ok((None, None)),
    }
}

fn thumbnail(still: &[u8]) -> Option<Vec<u8>> {
    let format = picture::format(FileType::sniff(still)?)?;
    picture::thumbnail(still, format)
        .inspect_err(|error| tracing::warn!(%error, "a result goes without a thumbnail"))
        .ok()
}
