//! Sizes and thumbnails of pictures.
//!
//! A size costs a header. A thumbnail costs a decode, which is refused before it starts when the
//! picture would not fit in [`DECODED_BYTES_MAX`], and sees no more than [`ENCODED_BYTES_MAX`] of the
//! file. All of it is CPU work for a blocking thread.

use std::io::{BufRead, Seek};

use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::jpeg::JpegEncoder,
    error::{LimitError, LimitErrorKind},
    metadata::Orientation,
};

use super::file_type::FileType;

/// The longest side of a thumbnail in pixels.
pub const THUMBNAIL_SIDE_MAX: u32 = 512;

/// The longest side of a picture whose size is believed, in pixels.
const SIDE_MAX: u32 = 32_768;

/// The most memory that decoding one picture may take: 8 bits × RGBA of an 8K square.
const DECODED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most of a file that is decoded; some decoders take all of it into memory.
const ENCODED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most of a JPEG that is searched for its header, since the decoder takes all that it is given
/// into memory. The blocks before the frame header have at most 64 KiB each (ITU-T T.81 §B.2.4).
const JPEG_HEADER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// 0 to 100; at the size of a thumbnail more only costs bytes.
const JPEG_QUALITY: u8 = 80;

/// Width and height in pixels as shown, that is after the turn that its metadata asks for.
///
/// # Errors
/// When the header cannot be read or names a side beyond [`SIDE_MAX`].
pub fn size(file: impl BufRead + Seek, format: ImageFormat) -> Result<(u32, u32), ImageError> {
    let bytes_max = match format {
        ImageFormat::Jpeg => JPEG_HEADER_BYTES_MAX,
        // WebP keeps its orientation at the end of the file.
        _ => u64::MAX,
    };
    let mut decoder = decoder(file.take(bytes_max), format)?;
    let (width, height) = decoder.dimensions();
    Ok(match decoder.orientation()? {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (width, height),
    })
}

/// A JPEG whose longest side is [`THUMBNAIL_SIDE_MAX`] or, for a smaller picture, its own.
/// Of a moving picture the first frame is shown; what is transparent becomes white.
///
/// # Errors
/// When the picture cannot be decoded or would take more than [`DECODED_BYTES_MAX`].
pub fn thumbnail(file: impl BufRead + Seek, format: ImageFormat) -> Result<Vec<u8>, ImageError> {
    let mut decoder = decoder(file.take(ENCODED_BYTES_MAX), format)?;
    if decoder.total_bytes() > DECODED_BYTES_MAX {
        return Err(ImageError::Limits(LimitError::from_kind(
            LimitErrorKind::InsufficientMemory,
        )));
    }
    let orientation = decoder.orientation()?;
    shrunk(DynamicImage::from_decoder(decoder)?, orientation)
}

/// [`thumbnail`] of a picture that is decoded, turned as asked.
///
/// # Errors
/// When JPEG cannot hold the picture: one of its sides is 0.
pub fn shrunk(picture: DynamicImage, orientation: Orientation) -> Result<Vec<u8>, ImageError> {
    let longest_side = picture.width().max(picture.height());
    let mut small = if longest_side > THUMBNAIL_SIDE_MAX {
        picture.thumbnail(THUMBNAIL_SIDE_MAX, THUMBNAIL_SIDE_MAX)
    } else {
        picture
    };
    small.apply_orientation(orientation);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode(
        &on_white(&small),
        small.width(),
        small.height(),
        ExtendedColorType::Rgb8,
    )?;
    Ok(jpeg)
}

/// The decoder for a stored type, if it is a picture.
#[must_use]
pub fn format(file_type: FileType) -> Option<ImageFormat> {
    match file_type {
        FileType::Png => Some(ImageFormat::Png),
        FileType::Jpeg => Some(ImageFormat::Jpeg),
        FileType::Webp => Some(ImageFormat::WebP),
        FileType::Gif => Some(ImageFormat::Gif),
        FileType::Mp4 | FileType::Webm => None,
    }
}

fn decoder<'a>(
    file: impl BufRead + Seek + 'a,
    format: ImageFormat,
) -> Result<impl ImageDecoder + 'a, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let mut reader = ImageReader::with_format(file, format);
    reader.limits(limits);
    reader.into_decoder()
}

/// The picture's RGB bytes, painted over a white ground.
fn on_white(picture: &DynamicImage) -> Vec<u8> {
    picture
        .to_rgba8()
        .pixels()
        .flat_map(|pixel| {
            let [red, green, blue, alpha] = pixel.0.map(u16::from);
            [red, green, blue].map(|channel| {
                u8::try_from((channel * alpha + 255 * (255 - alpha)) / 255)
                    .expect("a mean of two bytes is a byte")
            })
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use image::{Rgba, RgbaImage};

    use super::*;

    /// A picture of one colour in the given format.
    pub fn sample(width: u32, height: u32, colour: [u8; 4], format: ImageFormat) -> Vec<u8> {
        let picture = DynamicImage::from(RgbaImage::from_pixel(width, height, Rgba(colour)));
        let picture = match format {
            ImageFormat::Jpeg => DynamicImage::from(picture.to_rgb8()),
            _ => picture,
        };
        let mut bytes = Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, format)
            .expect("a sample is written");
        bytes.into_inner()
    }

    const FORMATS: [ImageFormat; 4] = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
    ];

    /// The sample with an Exif block behind its first marker that asks for a quarter turn.
    fn turned(jpeg: &[u8]) -> Vec<u8> {
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        [&jpeg[..2], exif, &jpeg[2..]].concat()
    }

    #[test]
    fn sizes_are_read_from_every_format() {
        for format in FORMATS {
            let bytes = sample(40, 30, [200, 30, 30, 255], format);
            assert_eq!(
                size(Cursor::new(&bytes), format).expect("a size"),
                (40, 30),
                "{format:?}"
            );
            assert!(
                size(Cursor::new(&bytes[..8]), format).is_err(),
                "{format:?}"
            );
        }
    }

    #[test]
    fn thumbnails_keep_the_shape_and_never_grow() {
        for format in FORMATS {
            for (asked, expected) in [((1024, 256), (512, 128)), ((40, 30), (40, 30))] {
                let bytes = sample(asked.0, asked.1, [200, 30, 30, 255], format);
                let small = thumbnail(Cursor::new(&bytes), format).expect("a thumbnail");
                assert_eq!(
                    size(Cursor::new(&small), ImageFormat::Jpeg).expect("a JPEG"),
                    expected,
                    "{format:?}"
                );
            }
        }
    }

    #[test]
    fn pictures_are_measured_and_shown_the_way_they_are_turned() {
        let bytes = turned(&sample(1024, 256, [200, 30, 30, 255], ImageFormat::Jpeg));
        assert_eq!(
            size(Cursor::new(&bytes), ImageFormat::Jpeg).expect("a size"),
            (256, 1024)
        );
        let small = thumbnail(Cursor::new(&bytes), ImageFormat::Jpeg).expect("a thumbnail");
        assert_eq!(
            size(Cursor::new(&small), ImageFormat::Jpeg).expect("a JPEG"),
            (128, 512)
        );
    }

    #[test]
    fn what_is_transparent_becomes_white() {
        let bytes = sample(16, 16, [0, 0, 0, 0], ImageFormat::Png);
        let small = thumbnail(Cursor::new(&bytes), ImageFormat::Png).expect("a thumbnail");
        let shown = image::load_from_memory(&small).expect("a JPEG").to_rgb8();
        assert!(shown.pixels().all(|pixel| pixel.0.iter().all(|&c| c > 250)));
    }

    #[test]
    fn a_picture_too_large_to_decode_is_refused_by_its_header() {
        // The header alone promises 16384 × 16384 pixels, a gibibyte when decoded.
        let mut bytes = sample(1, 1, [0, 0, 0, 255], ImageFormat::Png);
        bytes[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
        let checksum = crc32fast::hash(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(
            size(Cursor::new(&bytes), ImageFormat::Png).expect("a size"),
            (16384, 16384)
        );
        assert!(matches!(
            thumbnail(Cursor::new(&bytes), ImageFormat::Png),
            Err(ImageError::Limits(_))
        ));
    }
}
