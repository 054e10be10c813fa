//! How files arrive: whole, bounded, and without a trace when they do not.

use futures_util::{StreamExt, stream};
use object_store::{local::LocalFileSystem, memory::InMemory};
use tempfile::TempDir;

use super::*;

const BYTES_MAX: u64 = 3 * PIECE_BYTES as u64;

fn beside() -> (TempDir, Arrivals) {
    let directory = TempDir::new().expect("a directory");
    let arrivals = Arrivals::beside(directory.path()).expect("a place to wait");
    (directory, arrivals)
}

fn waiting(directory: &TempDir) -> usize {
    fs::read_dir(directory.path().join(FOLDER))
        .expect("the folder is there")
        .count()
}

/// Bytes that begin like a GIF and do not repeat soon.
fn gif(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes[..6].copy_from_slice(b"GIF89a");
    bytes
}

fn whole(bytes: &[u8]) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    stream::iter([Ok(Bytes::copy_from_slice(bytes))])
}

fn in_chunks(bytes: &[u8], length: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let chunks: Vec<_> = bytes.chunks(length).map(Bytes::copy_from_slice).collect();
    stream::iter(chunks).map(Ok)
}

#[tokio::test]
async fn a_file_is_the_same_in_whatever_chunks_it_comes() {
    let bytes = gif(2 * PIECE_BYTES + 12_345);
    let (_directory, beside) = beside();
    for arrivals in [beside, Arrivals::elsewhere()] {
        for length in [1_000, PIECE_BYTES - 1, PIECE_BYTES, bytes.len()] {
            let source = in_chunks(&bytes, length);
            let arrival = arrivals.receive(source, BYTES_MAX).await.expect("received");
            assert_eq!(arrival.file_type, FileType::Gif);
            assert_eq!(arrival.size_bytes, bytes.len() as u64);
            assert_eq!(arrival.body.sha256(), hexadecimal(&Sha256::digest(&bytes)));
            for _ in 0..2 {
                let mut received = Vec::new();
                let mut body = arrival.body.read().expect("a file");
                body.read_to_end(&mut received).expect("a file");
                assert!(received == bytes, "chunks of {length}");
            }
        }
    }
}

#[tokio::test]
async fn a_byte_too_many_is_refused_and_leaves_nothing() {
    let (directory, arrivals) = beside();
    let length = usize::try_from(BYTES_MAX).expect("fits");
    let longest = gif(length);
    let kept = arrivals
        .receive(in_chunks(&longest, 5_000), BYTES_MAX)
        .await;
    assert_eq!(kept.expect("received").size_bytes, BYTES_MAX);

    let longer = gif(length + 1);
    for source in [in_chunks(&longer, 5_000).boxed(), whole(&longer).boxed()] {
        let refused = arrivals.receive(source, BYTES_MAX).await;
        assert!(matches!(
            refused,
            Err(AssetError::TooLarge {
                bytes_max: BYTES_MAX
            })
        ));
        assert_eq!(waiting(&directory), 0);
    }
}

#[tokio::test]
async fn a_source_without_end_is_left_at_the_bound() {
    let (directory, arrivals) = beside();
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[b'G'; 1_000])));
    let source = whole(&gif(1_000)).chain(endless);
    let refused = arrivals.receive(source, BYTES_MAX).await;
    assert!(matches!(refused, Err(AssetError::TooLarge { .. })));
    assert_eq!(waiting(&directory), 0);
}

#[tokio::test]
async fn what_is_no_result_is_refused_by_its_first_piece() {
    let (directory, arrivals) = beside();
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(b"<html>")));
    let refused = arrivals.receive(endless, u64::MAX).await;
    assert!(matches!(refused, Err(AssetError::UnsupportedType { .. })));
    let empty = arrivals.receive(stream::empty(), u64::MAX).await;
    assert!(matches!(empty, Err(AssetError::UnsupportedType { .. })));
    assert_eq!(waiting(&directory), 0);
}

#[tokio::test]
async fn a_source_that_fails_is_told_from_a_bad_file_and_leaves_nothing() {
    let (directory, arrivals) = beside();
    let failure = || stream::iter([Err(io::Error::from(ErrorKind::ConnectionReset))]);
    // In the first piece and in a later one.
    for length in [100, 2 * PIECE_BYTES] {
        let source = in_chunks(&gif(length), 1_000).chain(failure());
        let broken = arrivals.receive(source, BYTES_MAX).await;
        let Err(AssetError::BrokenOff(error)) = broken else {
            panic!("broken off")
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(waiting(&directory), 0);
    }
}

#[tokio::test]
async fn a_receipt_that_is_dropped_leaves_nothing() {
    let (directory, arrivals) = beside();
    let source = in_chunks(&gif(3 * PIECE_BYTES), 1_000).chain(stream::pending());
    let mut receipt = Box::pin(arrivals.receive(source, BYTES_MAX));
    while waiting(&directory) == 0 {
        let turn = std::time::Duration::from_millis(1);
        let ended = tokio::time::timeout(turn, &mut receipt).await;
        assert!(ended.is_err(), "the source has no end");
    }
    drop(receipt);
    // A piece that is being written is let go by its thread.
    while waiting(&directory) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_start_removes_what_nobody_holds() {
    let (directory, arrivals) = beside();
    let long = gif(2 * PIECE_BYTES);
    let arrival = arrivals.receive(in_chunks(&long, 5_000), BYTES_MAX).await;
    let arrival = arrival.expect("received");
    fs::write(directory.path().join(FOLDER).join("left.part"), "left").expect("written");
    assert_eq!(waiting(&directory), 2);

    Arrivals::beside(directory.path()).expect("another server of the directory");
    assert_eq!(waiting(&directory), 1);
    let store = LocalFileSystem::new_with_prefix(directory.path()).expect("a store");
    let place = ObjectPath::from("a/b/0.gif");
    arrival.settle(&store, &place).await.expect("in place");
    assert_eq!(waiting(&directory), 0);
    let kept = directory.path().join("a/b/0.gif");
    assert!(fs::read(&kept).expect("kept") == long);

    let other = ObjectPath::from("a/b/1.gif");
    store.put(&other, gif(100).into()).await.expect("put");
    let mode = |path: &DirectoryPath| fs::metadata(path).expect("kept").permissions();
    assert_eq!(mode(&kept), mode(&directory.path().join("a/b/1.gif")));
}

#[tokio::test]
async fn a_file_that_somebody_removed_is_the_stores_failure() {
    let (directory, arrivals) = beside();
    let long = gif(2 * PIECE_BYTES);
    let arrival = arrivals.receive(in_chunks(&long, 5_000), BYTES_MAX).await;
    let arrival = arrival.expect("received");
    fs::remove_dir_all(directory.path().join(FOLDER)).expect("removed");
    let store = LocalFileSystem::new_with_prefix(directory.path()).expect("a store");
    let settled = arrival.settle(&store, &ObjectPath::from("0.gif")).await;
    assert!(matches!(settled, Err(AssetError::Storage(_))));
}

#[tokio::test]
async fn a_single_piece_waits_in_memory() {
    let (directory, arrivals) = beside();
    let bytes = gif(PIECE_BYTES - 1);
    for source in [whole(&bytes).boxed(), in_chunks(&bytes, 5_000).boxed()] {
        let arrival = arrivals.receive(source, BYTES_MAX).await.expect("received");
        assert!(matches!(arrival.body, Body::Memory(_)));
        assert_eq!(waiting(&directory), 0);
        let store = LocalFileSystem::new_with_prefix(directory.path()).expect("a store");
        arrival
            .settle(&store, &ObjectPath::from("0.gif"))
            .await
            .expect("in place");
        assert!(fs::read(directory.path().join("0.gif")).expect("kept") == bytes);
    }
}

#[tokio::test]
async fn what_waits_in_memory_has_a_bound() {
    let (directory, arrivals) = beside();
    let bytes = gif(PIECE_BYTES);
    let mut here = Vec::new();
    for _ in 0..WAITING_BYTES_MAX as usize / PIECE_BYTES {
        here.push(
            arrivals
                .receive(whole(&bytes), BYTES_MAX)
                .await
                .expect("received"),
        );
    }
    assert_eq!(waiting(&directory), 0);
    let next = arrivals.receive(whole(&bytes), BYTES_MAX).await;
    assert!(matches!(next.expect("received").body, Body::Disk { .. }));
    here.pop();
    let next = arrivals.receive(whole(&bytes), BYTES_MAX).await;
    assert!(matches!(next.expect("received").body, Body::Memory(_)));
}

#[tokio::test]
async fn other_stores_are_sent_all_of_it() {
    let store = InMemory::new();
    let part = usize::try_from(PART_BYTES).expect("fits");
    for length in [100, part, part + 1, 2 * part, 2 * part + 5] {
        let bytes = gif(length);
        let source = in_chunks(&bytes, 50_000);
        let received = Arrivals::elsewhere().receive(source, u64::MAX).await;
        let place = ObjectPath::from(format!("{length}.gif"));
        let arrival = received.expect("received");
        arrival.settle(&store, &place).await.expect("in place");
        let kept = store.get(&place).await.expect("kept").bytes().await;
        assert!(kept.expect("kept") == bytes, "{length} bytes");
    }
}
