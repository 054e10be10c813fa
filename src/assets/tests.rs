//! The room as its callers see it, on a directory of its own.

use std::{
    io::Cursor,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::stream;
use image::ImageFormat;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::*;

const ACCOUNT: Uuid = Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057);
const TASK: Uuid = Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8058);
const RED: [u8; 4] = [200, 30, 30, 255];

fn assets() -> (TempDir, Assets) {
    let directory = TempDir::new().expect("a directory");
    let assets = Assets::local(
        &directory.path().join("assets"),
        [7; 32],
        "https://piooy.test",
    )
    .expect("a store");
    (directory, assets)
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn png(width: u32, height: u32) -> Bytes {
    picture::tests::sample(width, height, RED, ImageFormat::Png).into()
}

/// A file that comes in small chunks.
fn chunks(bytes: &Bytes) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let chunks: Vec<_> = bytes.chunks(1000).map(Bytes::copy_from_slice).collect();
    stream::iter(chunks.into_iter().map(Ok))
}

const NOTHING: [PathBuf; 0] = [];

/// Every file in a directory and below, in order.
fn files(directory: &DirectoryPath) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Follows a link the way a face does.
async fn follow(assets: &Assets, link: &Link) -> Result<OpenedAsset, AssetError> {
    let rest = link
        .url
        .strip_prefix("https://piooy.test/files/")
        .expect("the address");
    let (path, query) = rest.split_once("?expires=").expect("expires");
    let (expires, signature) = query.split_once("&signature=").expect("signature");
    let expires = expires.parse().expect("a number");
    assets.open(path, expires, signature, now()).await
}

async fn read(opened: &OpenedAsset, range: Option<Range<u64>>) -> Vec<u8> {
    let stream = opened.read(range).await.expect("a stream");
    let parts: Vec<Bytes> = stream.try_collect().await.expect("all parts");
    parts.concat()
}

#[tokio::test]
async fn a_picture_is_kept_measured_and_given_out() {
    let (_directory, assets) = assets();
    let bytes = png(1024, 256);
    let stored = assets
        .put_output(ACCOUNT, TASK, 0, chunks(&bytes), None)
        .await
        .expect("kept");
    assert_eq!(stored.path, format!("{ACCOUNT}/{TASK}/0.png"));
    assert_eq!(stored.mime_type, "image/png");
    assert_eq!(stored.size_bytes, bytes.len() as u64);
    assert_eq!(stored.sha256, sha256_hex(&bytes));
    assert_eq!((stored.width, stored.height), (Some(1024), Some(256)));
    assert_eq!(stored.duration_seconds, None);

    let opened = follow(&assets, &assets.link(&stored.path, now()))
        .await
        .expect("opened");
    assert_eq!(opened.mime_type, "image/png");
    assert_eq!(opened.size_bytes, stored.size_bytes);
    assert!(opened.etag.len() > 2 && opened.etag.starts_with('"') && opened.etag.ends_with('"'));
    assert_eq!(read(&opened, None).await, bytes);
    assert_eq!(read(&opened, Some(3..9)).await, bytes[3..9]);

    let thumbnail_path = stored.thumbnail_path.clone().expect("a thumbnail");
    assert_eq!(thumbnail_path, format!("{ACCOUNT}/{TASK}/0.thumb.jpg"));
    let thumbnail = follow(&assets, &assets.link(&thumbnail_path, now()))
        .await
        .expect("opened");
    assert_eq!(thumbnail.mime_type, "image/jpeg");
    let jpeg = read(&thumbnail, None).await;
    assert_eq!(
        picture::size(Cursor::new(jpeg), ImageFormat::Jpeg).expect("a JPEG"),
        (512, 128)
    );

    let again = assets
        .put_output(ACCOUNT, TASK, 0, chunks(&bytes), None)
        .await;
    assert_eq!(again.expect("kept again"), stored);
}

#[tokio::test]
async fn a_video_is_measured_and_shown_by_its_poster() {
    let (_directory, assets) = assets();
    let video = Bytes::from(mp4::tests::sample());
    let stored = assets
        .put_output(ACCOUNT, TASK, 1, chunks(&video), Some(png(640, 360)))
        .await
        .expect("kept");
    assert_eq!(stored.path, format!("{ACCOUNT}/{TASK}/1.mp4"));
    assert_eq!((stored.width, stored.height), (Some(1280), Some(720)));
    assert_eq!(stored.duration_seconds, Some(6.5));
    assert!(stored.thumbnail_path.is_some());

    for poster in [None, Some(Bytes::from_static(b"not a picture"))] {
        let stored = assets
            .put_output(ACCOUNT, TASK, 2, chunks(&video), poster)
            .await
            .expect("kept");
        assert_eq!(stored.thumbnail_path, None);
    }
}

#[tokio::test]
async fn a_video_without_a_poster_is_shown_by_its_first_keyframe() {
    let (_directory, assets) = assets();
    let video = Bytes::from_static(poster::tests::CLIP);
    for poster in [None, Some(Bytes::from_static(b"not a picture"))] {
        let stored = assets
            .put_output(ACCOUNT, TASK, 0, chunks(&video), poster)
            .await
            .expect("kept");
        assert_eq!((stored.width, stored.height), (Some(160), Some(90)));
        assert_eq!(stored.duration_seconds, Some(1.5));
        let thumbnail = stored.thumbnail_path.expect("a thumbnail");
        let jpeg = assets.read_all(&thumbnail).await.expect("kept");
        assert_eq!(
            picture::size(Cursor::new(jpeg), ImageFormat::Jpeg).expect("a JPEG"),
            (160, 90)
        );
    }
}

#[tokio::test]
async fn bytes_that_are_no_result_are_refused() {
    let (directory, assets) = assets();
    let put = |bytes: Bytes| assets.put_output(ACCOUNT, TASK, 0, chunks(&bytes), None);
    assert!(matches!(
        put(Bytes::from_static(b"<html>")).await,
        Err(AssetError::UnsupportedType { .. })
    ));
    assert!(matches!(
        put(png(4, 4).slice(..20)).await,
        Err(AssetError::Damaged(FileType::Png))
    ));
    assert!(matches!(
        put(Bytes::from_static(b"\0\0\0\x0cftypisom")).await,
        Err(AssetError::Damaged(FileType::Mp4))
    ));
    assert_eq!(files(directory.path()), NOTHING);
}

#[tokio::test]
async fn an_input_is_kept_once_and_read_whole() {
    let (_directory, assets) = assets();
    let bytes = png(8, 8);
    let input = assets
        .put_input(ACCOUNT, bytes.clone())
        .await
        .expect("kept");
    assert_eq!(
        input.path,
        format!("{ACCOUNT}/inputs/{}", sha256_hex(&bytes))
    );
    assert_eq!(input.mime_type, "image/png");
    assert_eq!(
        assets
            .put_input(ACCOUNT, bytes.clone())
            .await
            .expect("kept again"),
        input
    );
    assert_eq!(assets.read_all(&input.path).await.expect("read"), bytes);
    let opened = follow(&assets, &assets.link(&input.path, now()))
        .await
        .expect("opened");
    assert_eq!(opened.mime_type, "image/png");

    let video = Bytes::from(mp4::tests::sample());
    assert!(matches!(
        assets.put_input(ACCOUNT, video).await,
        Err(AssetError::UnsupportedType { .. })
    ));
}

#[tokio::test]
async fn bounds_are_kept() {
    let (_directory, assets) = assets();
    let length = usize::try_from(INPUT_BYTES_MAX).expect("fits") + 1;
    let mut long = png(4, 4).to_vec();
    long.resize(length, 0);
    let long = Bytes::from(long);
    assert!(matches!(
        assets.put_input(ACCOUNT, long.clone()).await,
        Err(AssetError::TooLarge {
            bytes_max: INPUT_BYTES_MAX
        })
    ));
    // As a result it may be kept, and is streamed rather than read whole.
    let stored = assets
        .put_output(ACCOUNT, TASK, 0, chunks(&long), None)
        .await
        .expect("kept");
    assert!(matches!(
        assets.read_all(&stored.path).await,
        Err(AssetError::TooLarge {
            bytes_max: INPUT_BYTES_MAX
        })
    ));
}

#[tokio::test]
async fn a_result_that_is_broken_off_leaves_nothing_and_can_be_put_again() {
    let (directory, assets) = assets();
    let video = Bytes::from_static(poster::tests::CLIP);
    let failure = io::Error::from(io::ErrorKind::UnexpectedEof);
    let broken = chunks(&video.slice(..4000)).chain(stream::iter([Err(failure)]));
    let put = assets.put_output(ACCOUNT, TASK, 0, broken, None).await;
    assert!(matches!(put, Err(AssetError::BrokenOff(_))));
    assert_eq!(files(directory.path()), NOTHING);

    let again = assets.put_output(ACCOUNT, TASK, 0, chunks(&video), None);
    let stored = again.await.expect("kept");
    assert_eq!(assets.read_all(&stored.path).await.expect("kept"), video);
    assert_eq!(
        files(directory.path()).len(),
        2,
        "the clip and its thumbnail"
    );
}

#[tokio::test]
async fn a_store_that_is_no_directory_keeps_the_same() {
    let (_directory, assets) = assets();
    let store = Arc::new(InMemory::new());
    let elsewhere = Assets::new(store, [7; 32], "https://piooy.test");
    let video = Bytes::from_static(poster::tests::CLIP);
    let put = async |assets: &Assets| {
        let stored = assets.put_output(ACCOUNT, TASK, 0, chunks(&video), None);
        let stored = stored.await.expect("kept");
        let read = assets.read_all(&stored.path).await.expect("kept");
        (stored, read)
    };
    assert_eq!(put(&elsewhere).await, put(&assets).await);
}

/// Runs in a process of its own, since the others share their memory's high-water mark.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_long_video_leaves_memory_flat() {
    const ALONE: &str = "PIOOY_TEST_MEMORY_ALONE";
    const GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
    if std::env::var_os(ALONE).is_none() {
        let suite = std::env::current_exe().expect("this program");
        let test = "assets::tests::a_long_video_leaves_memory_flat";
        let alone = std::process::Command::new(suite)
            .args(["--exact", test, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && told.contains("1 passed"),
            "{alone:?}"
        );
        return;
    }
    let (_directory, assets) = assets();
    let put = async |media_bytes| {
        let (length, video) = long_video(media_bytes);
        let stored = assets.put_output(ACCOUNT, TASK, 0, video, None).await;
        let stored = stored.expect("kept");
        assert_eq!(stored.size_bytes, length);
        assert_eq!(stored.duration_seconds, Some(1.5));
        assert!(stored.thumbnail_path.is_some());
    };
    put(1).await;
    let before = memory_bytes_max();
    put(200).await;
    let growth = memory_bytes_max() - before;
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more");
}

/// The clip with so many more MiB of media before its film header, made as it is read, and its length.
#[cfg(target_os = "linux")]
fn long_video(media_mib: u32) -> (u64, impl Stream<Item = io::Result<Bytes>> + Send) {
    const MIB: usize = 1024 * 1024;
    let clip = Bytes::from_static(poster::tests::CLIP);
    let film = clip
        .windows(4)
        .position(|kind| kind == b"moov")
        .expect("a film header")
        - 4;
    let (head, film) = (clip.slice(..film), clip.slice(film..));
    let box_bytes = media_mib * u32::try_from(MIB).expect("fits") + 8;
    let header = [box_bytes.to_be_bytes(), *b"mdat"].concat();
    let length = clip.len() as u64 + u64::from(box_bytes);
    let media = stream::iter(0..media_mib * 16).map(|number| {
        let chunk = u8::try_from(number % 251).expect("less than 256");
        Bytes::from(vec![chunk; MIB / 16])
    });
    let video = stream::iter([head, header.into()])
        .chain(media)
        .chain(stream::iter([film]));
    (length, video.map(Ok))
}

/// The most memory that this process has had (proc_pid_status(5), `VmHWM`).
#[cfg(target_os = "linux")]
fn memory_bytes_max() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}

#[tokio::test]
async fn no_path_leads_elsewhere() {
    let (directory, assets) = assets();
    std::fs::write(directory.path().join("secret"), "secret").expect("written");
    // Even a link that this server signed itself is read by the grammar of paths.
    for path in ["../secret", "..%2fsecret", "/secret", ""] {
        let opened = follow(&assets, &assets.link(path, now())).await;
        assert!(matches!(opened, Err(AssetError::NotFound)), "{path}");
        let read = assets.read_all(path).await;
        assert!(matches!(read, Err(AssetError::NotFound)), "{path}");
    }
    let missing = assets.link(&format!("{ACCOUNT}/{TASK}/9.png"), now());
    assert!(matches!(
        follow(&assets, &missing).await,
        Err(AssetError::NotFound)
    ));
}

#[tokio::test]
async fn a_file_written_anew_does_not_mix_with_the_old() {
    let (_directory, assets) = assets();
    let put = |bytes: Bytes| assets.put_output(ACCOUNT, TASK, 0, chunks(&bytes), None);
    let stored = put(png(8, 8)).await.expect("kept");
    let opened = follow(&assets, &assets.link(&stored.path, now()))
        .await
        .expect("opened");
    put(png(9, 9)).await.expect("kept");
    assert!(matches!(
        opened.read(Some(0..4)).await,
        Err(AssetError::Storage(_))
    ));
}
