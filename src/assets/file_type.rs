//! The types of files that are stored, told from their first bytes.
//!
//! A name or a header that came with the bytes is never believed. The patterns are those of the
//! WHATWG MIME Sniffing standard §6; the MP4 brands are from the MP4 Registration Authority.

/// How many leading bytes are enough to tell every type.
pub const SNIFF_BYTES: usize = 64;

/// A type of file that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// PNG picture.
    Png,
    /// JPEG picture.
    Jpeg,
    /// WebP picture, still or moving.
    Webp,
    /// GIF picture, still or moving.
    Gif,
    /// MP4 video.
    Mp4,
    /// WebM video.
    Webm,
}

impl FileType {
    /// Every type, in no particular order.
    pub const ALL: [Self; 6] = [
        Self::Png,
        Self::Jpeg,
        Self::Webp,
        Self::Gif,
        Self::Mp4,
        Self::Webm,
    ];

    /// The type of `bytes`, of which no more than the first 64 are looked at.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Self::Webp),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] if is_mp4_brand(brand) => {
                Some(Self::Mp4)
            }
            [0x1a, 0x45, 0xdf, 0xa3, header @ ..] if is_webm_header(header) => Some(Self::Webm),
            _ => None,
        }
    }

    /// The type that [`FileType::extension`] stands for.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|file_type| file_type.extension() == extension)
    }

    /// The registered media type, such as `image/png`.
    #[must_use]
    pub fn mime_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
        }
    }

    /// The ending of a file's name, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
        }
    }

    /// Whether this is a picture rather than a video.
    #[must_use]
    pub fn is_picture(self) -> bool {
        match self {
            Self::Png | Self::Jpeg | Self::Webp | Self::Gif => true,
            Self::Mp4 | Self::Webm => false,
        }
    }
}

/// `ftyp` also opens AVIF, HEIC and QuickTime files; the major brand tells them from MP4.
fn is_mp4_brand(brand: &[u8]) -> bool {
    matches!(
        brand,
        [b'i', b's', b'o', b'm' | b'2'..=b'9' | b'a'..=b'c', ..]
            | [b'm', b'p', b'4', b'1' | b'2', ..]
            | [b'a', b'v', b'c', b'1', ..]
            | [b'd', b'a', b's', b'h', ..]
            | [b'M', b'4', b'V', _, ..]
            | [b'M', b'S', b'N', b'V', ..]
    )
}

/// WebM and Matroska share the EBML mark; the document type, near the start, tells them apart.
fn is_webm_header(header: &[u8]) -> bool {
    // DocType is element 0x4282, followed by its length (4, as a one-byte variable integer).
    const DOC_TYPE: &[u8] = b"\x42\x82\x84webm";
    header
        .get(..header.len().min(SNIFF_BYTES))
        .is_some_and(|start| start.windows(DOC_TYPE.len()).any(|part| part == DOC_TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_from_their_bytes() {
        let cases: [(&[u8], Option<FileType>); 14] = [
            (b"\x89PNG\r\n\x1a\n....", Some(FileType::Png)),
            (b"\x89PNG\n\n\x1a\n....", None),
            (b"\xff\xd8\xff\xe0", Some(FileType::Jpeg)),
            (b"RIFF\x10\0\0\0WEBPVP8 ", Some(FileType::Webp)),
            (b"RIFF\x10\0\0\0WAVEfmt ", None),
            (b"GIF89a", Some(FileType::Gif)),
            (b"GIF88a", None),
            (b"\0\0\0\x20ftypisom\0\0\x02\0", Some(FileType::Mp4)),
            (b"\0\0\0\x20ftypmp42\0\0\0\0", Some(FileType::Mp4)),
            (b"\0\0\0\x20ftypavif\0\0\0\0", None),
            (b"\0\0\0\x14ftypqt  \0\0\0\0", None),
            (
                b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm",
                Some(FileType::Webm),
            ),
            (b"\x1a\x45\xdf\xa3\xa3\x42\x82\x88matroska", None),
            (b"<html><img src=x>", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(FileType::sniff(bytes), expected, "{bytes:02x?}");
        }
        assert_eq!(FileType::sniff(b""), None);
    }

    #[test]
    fn extensions_lead_back_to_their_type() {
        for file_type in FileType::ALL {
            assert_eq!(
                FileType::from_extension(file_type.extension()),
                Some(file_type)
            );
        }
        assert_eq!(FileType::from_extension("svg"), None);
    }
}
