//! Pictures that come inside a request as `data:` URIs (RFC 2397).
//!
//! Lenient in how base64 is spelt (standard or URL-safe, with or without padding, with line
//! breaks), strict in what it holds: one of four picture types, as declared and as found. The
//! length is checked before anything is decoded.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::file_type::FileType;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not a picture that can be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataUriError {
    /// It does not have the form of a base64 `data:` URI.
    #[error(
        "a picture must be given as an https address, as upload://…, or as data:image/png;base64,… (or jpeg, webp, gif)"
    )]
    Form,
    /// It declares a type that is not taken.
    #[error(
        "the data URI's type is not supported; allowed are image/png, image/jpeg, image/webp and image/gif"
    )]
    MediaType,
    /// What follows the comma is not base64.
    #[error("the data URI's base64 is damaged")]
    Base64,
    /// The picture is longer than its bound.
    #[error("the picture is too large; at most {bytes_max} bytes are allowed")]
    TooLarge {
        /// The bound that was passed.
        bytes_max: usize,
    },
    /// The bytes are not of the declared type.
    #[error("the data URI says {declared} but holds something else")]
    Mismatch {
        /// The type that the URI names.
        declared: &'static str,
    },
}

/// The bytes of the picture in `uri`, of which at most `bytes_max` are taken.
///
/// # Errors
/// One [`DataUriError`], see there.
pub fn decode(uri: &str, bytes_max: usize) -> Result<Vec<u8>, DataUriError> {
    let (header, encoded) = uri.trim().split_once(',').ok_or(DataUriError::Form)?;
    let declared = declared_type(header)?;
    let digits: Vec<u8> = encoded
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        // One more digit than the longest allowed text shows that the bound is passed.
        .take(bytes_max.saturating_mul(4).div_ceil(3).saturating_add(4))
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    let padding = digits.iter().rev().take_while(|&&b| b == b'=').count();
    if (digits.len() - padding) / 4 * 3 > bytes_max {
        return Err(DataUriError::TooLarge { bytes_max });
    }
    let bytes = BASE64.decode(digits).map_err(|_| DataUriError::Base64)?;
    if bytes.len() > bytes_max {
        return Err(DataUriError::TooLarge { bytes_max });
    }
    if FileType::sniff(&bytes) != Some(declared) {
        return Err(DataUriError::Mismatch {
            declared: declared.mime_type(),
        });
    }
    Ok(bytes)
}

/// Reads `data:<media type>[;parameter]…;base64`.
fn declared_type(header: &str) -> Result<FileType, DataUriError> {
    let header = header.to_ascii_lowercase();
    let (media_type, parameters) = header
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(';'))
        .ok_or(DataUriError::Form)?;
    if parameters.rsplit(';').next().map(str::trim) != Some("base64") {
        return Err(DataUriError::Form);
    }
    match media_type.trim() {
        "image/png" => Ok(FileType::Png),
        // Not registered, but widely written.
        "image/jpeg" | "image/jpg" => Ok(FileType::Jpeg),
        "image/webp" => Ok(FileType::Webp),
        "image/gif" => Ok(FileType::Gif),
        _ => Err(DataUriError::MediaType),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fourteen bytes that open like a JPEG, chosen for their `+` and `/` in base64.
    const JPEG: &[u8] = b"\xff\xd8\xff\xfb\xef\xbe\xff\xff\xfe\xfb\xef\xbe\xfb\xef";

    #[test]
    fn every_spelling_of_base64_is_taken() {
        let standard = base64::engine::general_purpose::STANDARD.encode(JPEG);
        let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(JPEG);
        assert!(standard.contains(['+', '/']) && standard.ends_with('='));
        assert!(url_safe.contains(['-', '_']));
        for uri in [
            format!("data:image/jpeg;base64,{standard}"),
            format!("data:image/jpeg;base64,{url_safe}"),
            format!("data:image/jpg;base64,{standard}"),
            format!(" DATA:Image/JPEG;Base64,{standard}\n"),
            format!("data:image/jpeg;name=a.jpg;base64,{standard}"),
            format!(
                "data:image/jpeg;base64,{}\r\n{}",
                &standard[..8],
                &standard[8..]
            ),
        ] {
            assert_eq!(decode(&uri, JPEG.len()).as_deref(), Ok(JPEG), "{uri}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let bytes_max = JPEG.len();
        let jpeg = base64::engine::general_purpose::STANDARD.encode(JPEG);
        let cases = [
            ("https://example.com/a.png".to_owned(), DataUriError::Form),
            (String::new(), DataUriError::Form),
            (format!("data:image/jpeg,{jpeg}"), DataUriError::Form),
            (
                format!("data:image/jpeg;base64;x=1,{jpeg}"),
                DataUriError::Form,
            ),
            (
                format!("data:image/svg+xml;base64,{jpeg}"),
                DataUriError::MediaType,
            ),
            (format!("data:;base64,{jpeg}"), DataUriError::MediaType),
            (
                "data:image/jpeg;base64,/9j*".to_owned(),
                DataUriError::Base64,
            ),
            (
                format!("data:image/png;base64,{jpeg}"),
                DataUriError::Mismatch {
                    declared: "image/png",
                },
            ),
            (
                "data:image/png;base64,".to_owned(),
                DataUriError::Mismatch {
                    declared: "image/png",
                },
            ),
        ];
        for (uri, expected) in cases {
            assert_eq!(decode(&uri, bytes_max), Err(expected), "{uri}");
        }
    }

    #[test]
    fn the_bound_is_exact() {
        for length in 3..12 {
            let uri = format!(
                "data:image/jpeg;base64,{}",
                base64::engine::general_purpose::STANDARD.encode(&JPEG[..length])
            );
            assert_eq!(decode(&uri, length).as_deref(), Ok(&JPEG[..length]));
            let bytes_max = length - 1;
            assert_eq!(
                decode(&uri, bytes_max),
                Err(DataUriError::TooLarge { bytes_max })
            );
        }
    }
}
