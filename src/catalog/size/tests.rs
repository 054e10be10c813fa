//! Sizes against published tables, and the bounds that upstreams set.

use super::*;

fn size(media: MediaType, resolution: &str, ratio: &str, limits: SizeLimits) -> (u32, u32) {
    let resolution = Resolution::parse(media, resolution).expect("a resolution");
    let ratio = AspectRatio::parse(ratio).expect("a ratio");
    pixel_size(&resolution, &ratio, limits)
}

#[test]
fn images_follow_the_published_table() {
    for (resolution, ratio, expected) in [
        ("1K", "1:1", (1024, 1024)),
        ("2K", "16:9", (2752, 1536)),
        ("2K", "9:16", (1536, 2752)),
        ("4K", "21:9", (6336, 2688)),
        ("1K", "2:3", (848, 1264)),
        ("4K", "4:5", (3712, 4608)),
        ("0.5K", "3:2", (632, 424)),
        ("512", "1:1", (512, 512)),
        ("4K", "1:8", (1536, 12288)),
        ("3K", "1:1", (3072, 3072)),
    ] {
        let made = size(MediaType::Image, resolution, ratio, SizeLimits::default());
        assert_eq!(made, expected, "{resolution} {ratio}");
    }
}

#[test]
fn images_off_the_table_keep_the_area() {
    for (resolution, ratio, expected) in [
        ("1K", "7:5", (1200, 864)),
        ("1K", "1:2", (720, 1440)),
        ("1.5K", "1:1", (1536, 1536)),
        ("1MP", "16:9", (1360, 768)),
        ("4MP", "1:1", (2048, 2048)),
        ("2MP", "1:1", (1440, 1440)),
    ] {
        let made = size(MediaType::Image, resolution, ratio, SizeLimits::default());
        assert_eq!(made, expected, "{resolution} {ratio}");
    }
}

#[test]
fn ceilings_of_a_model_keep_the_shape() {
    // OpenAI, image generation guide: sides are multiples of 16 up to 3840, at most 8,294,400 pixels.
    let limits = SizeLimits {
        side_max: Some(3840),
        pixels_max: Some(8_294_400),
    };
    for (resolution, ratio, expected) in [
        ("1K", "1:1", (1024, 1024)),
        ("4K", "1:1", (2880, 2880)),
        ("4K", "16:9", (3840, 2160)),
        ("4K", "1:3", (1280, 3840)),
    ] {
        let made = size(MediaType::Image, resolution, ratio, limits);
        assert_eq!(made, expected, "{resolution} {ratio}");
    }
}

#[test]
fn videos_name_the_short_side() {
    for (resolution, ratio, expected) in [
        ("720p", "16:9", (1280, 720)),
        ("720p", "9:16", (720, 1280)),
        ("720p", "1:1", (720, 720)),
        ("720p", "21:9", (1680, 720)),
        ("1080p", "16:9", (1920, 1080)),
        ("480p", "16:9", (854, 480)),
        ("480p", "9:16", (480, 854)),
        ("360p", "16:9", (640, 360)),
        ("768p", "16:9", (1366, 768)),
        ("2k", "16:9", (2560, 1440)),
        ("4k", "16:9", (3840, 2160)),
        ("2160p", "16:9", (3840, 2160)),
    ] {
        let made = size(MediaType::Video, resolution, ratio, SizeLimits::default());
        assert_eq!(made, expected, "{resolution} {ratio}");
    }
}

#[test]
fn one_resolution_has_many_spellings() {
    let amount =
        |media, text: &str| Resolution::parse(media, text).map(|resolution| resolution.amount());
    for (media, one, other) in [
        (MediaType::Image, "2K", "2k"),
        (MediaType::Image, "2K", "2048"),
        (MediaType::Image, "1K", "1 MP"),
        (MediaType::Image, "2K", "4MP"),
        (MediaType::Image, "2K", "2.0K"),
        (MediaType::Video, "1080p", "1080P"),
        (MediaType::Video, "1080p", "1080"),
        (MediaType::Video, "4K", "2160p"),
        (MediaType::Video, "2k", "1440p"),
    ] {
        assert!(amount(media, one).is_some(), "{one}");
        assert_eq!(amount(media, one), amount(media, other), "{one} {other}");
    }
}

#[test]
fn what_is_not_on_the_scale_is_no_resolution() {
    for text in [
        "",
        "K",
        "0K",
        "-1K",
        "2",
        "1080p",
        "huge",
        "1e3K",
        "17K",
        "99999999999999999999K",
        "999999MP",
    ] {
        assert_eq!(Resolution::parse(MediaType::Image, text), None, "{text}");
    }
    for text in ["", "p", "0p", "-720p", "1K", "2MP", "720i", "99999p"] {
        assert_eq!(Resolution::parse(MediaType::Video, text), None, "{text}");
    }
}

#[test]
fn nothing_that_parses_can_overflow() {
    let limits = [
        SizeLimits::default(),
        SizeLimits {
            side_max: Some(64),
            pixels_max: Some(4096),
        },
    ];
    for (media, resolution) in [
        (MediaType::Image, "16K"),
        (MediaType::Image, "256MP"),
        (MediaType::Image, "0.001K"),
        (MediaType::Video, "16384p"),
    ] {
        for ratio in ["4294967295:1", "1:4294967295", "4294967295:4294967294"] {
            for limits in limits {
                let (width, height) = size(media, resolution, ratio, limits);
                assert!(width > 0 && height > 0, "{resolution} {ratio}");
            }
        }
    }
}

#[test]
fn shapes_are_the_same_however_written() {
    let shape = |text: &str| AspectRatio::parse(text).expect("a ratio");
    for text in ["16x9", "16/9", "16 : 9", "32:18", "1920x1080"] {
        assert!(shape("16:9").same_shape(&shape(text)), "{text}");
    }
    assert!(!shape("16:9").same_shape(&shape("9:16")));
    for text in ["16", "16:", ":9", "0:9", "a:b", "1.78:1", "16:9:1", "-16:9"] {
        assert_eq!(AspectRatio::parse(text), None, "{text}");
    }
}
