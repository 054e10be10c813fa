//! Results of generations and the reference pictures they start from: kept in an object store,
//! given out by signed links that expire.
//!
//! What is written never changes: a result's path names its task and its place, an upload's its id, an
//! input's path is its content's hash, and writing either again with the same bytes changes nothing that a reader
//! can see. Writes are atomic; a path is handed out only after its bytes are durable.
//!
//! Results come as streams, and long ones lie on the disk while they are looked at; how, and
//! what becomes of one that is broken off, `arrival` tells. Reference pictures are short and are held
//! whole.
//!
//! Bounds: [`OUTPUT_BYTES_MAX`] and [`INPUT_BYTES_MAX`] for lengths, a piece's memory in `arrival`, a
//! decode's in `picture`, and as many contents examined at once as there are processors.
//! Examining is CPU work and runs on blocking threads; others wait their turn without holding a
//! thread.

mod arrival;
mod conditions;
mod content;
pub mod data_uri;
mod error;
mod file_type;
mod link;
mod mp4;
mod path;
mod picture;
mod poster;
mod preview;
mod upload;

use std::{
    io, ops::Range, path::Path as DirectoryPath, sync::Arc, thread::available_parallelism,
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, local::LocalFileSystem,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::{
    arrival::Arrivals, content::sha256_hex, file_type::SNIFF_BYTES, link::Links, path::AssetPath,
    preview::Previews,
};
pub use self::{
    conditions::{Conditions, Decision, decide},
    error::AssetError,
    file_type::FileType,
    link::Link,
    preview::PREVIEW_BYTES_MAX,
    upload::{OpenUpload, UPLOAD_LIFE, UPLOAD_LINK_LIFE, UploadId},
};

/// The longest result that is kept.
pub const OUTPUT_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The longest reference picture that is kept, and the most that [`Assets::read_all`] reads.
pub const INPUT_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A result that is kept. Sizes are those shown, in pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAsset {
    /// Its place, for [`Assets::link`].
    pub path: String,
    /// Told from the bytes.
    pub mime_type: &'static str,
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the bytes in lower-case hexadecimal.
    pub sha256: String,
    /// Pixels across; absent for WebM.
    pub width: Option<u32>,
    /// Pixels down; absent for WebM.
    pub height: Option<u32>,
    /// Length of an MP4 video that says so.
    pub duration_seconds: Option<f64>,
    /// The place of its small JPEG, if there is one.
    pub thumbnail_path: Option<String>,
}

/// A reference picture that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRef {
    /// Its place, for [`Assets::link`] and [`Assets::read_all`].
    pub path: String,
    /// SHA-256 of the bytes in lower-case hexadecimal.
    pub sha256: String,
    /// Told from the bytes.
    pub mime_type: &'static str,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// The one door to stored files. Cheap to clone.
#[derive(Clone)]
pub struct Assets {
    store: Arc<dyn ObjectStore>,
    arrivals: Arrivals,
    links: Links,
    previews: Arc<Previews>,
    work_permits: Arc<Semaphore>,
}

impl Assets {
    /// Assets in any object store; results wait among the system's temporary files until they are
    /// sent there. `secret` signs the links, and all replicas share it; `public_url` is where callers
    /// reach this server.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, secret: [u8; 32], public_url: &str) -> Self {
        Self::with_arrivals(store, Arrivals::elsewhere(), secret, public_url)
    }

    fn with_arrivals(
        store: Arc<dyn ObjectStore>,
        arrivals: Arrivals,
        secret: [u8; 32],
        public_url: &str,
    ) -> Self {
        Self {
            store,
            arrivals,
            links: Links::new(&secret, public_url),
            previews: Arc::new(preview::none()),
            work_permits: Arc::new(Semaphore::new(
                available_parallelism().map_or(1, usize::from),
            )),
        }
    }

    /// Assets in a directory, which is made if it is missing. Writes are flushed to the disk before
    /// they count, and what a killed process left unfinished is removed. Servers may share it.
    ///
    /// # Errors
    /// When the directory cannot be made or opened.
    pub fn local(
        directory: &DirectoryPath,
        secret: [u8; 32],
        public_url: &str,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let store = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
        let arrivals = Arrivals::beside(directory)?;
        Ok(Self::with_arrivals(
            Arc::new(store),
            arrivals,
            secret,
            public_url,
        ))
    }

    /// Receives one result of a task and keeps it with its thumbnail. A video's thumbnail is made
    /// from `poster`, a still picture in any stored format, or from its first keyframe, which is
    /// possible for H.264 in MP4. Repeating the call is harmless. When it fails or is dropped,
    /// nothing of the file stays.
    ///
    /// # Errors
    /// [`AssetError::BrokenOff`] when `file` ends in an error;
    /// [`AssetError::TooLarge`], [`AssetError::UnsupportedType`] and [`AssetError::Damaged`] for
    /// the bytes; [`AssetError::Storage`] when they could not be written. What is wrong with a
    /// poster only costs the thumbnail.
    pub async fn put_output(
        &self,
        account_id: Uuid,
        task_id: Uuid,
        index: u32,
        file: impl Stream<Item = io::Result<Bytes>> + Send,
        poster: Option<Bytes>,
    ) -> Result<StoredAsset, AssetError> {
        let arrival = self.arrivals.receive(file, OUTPUT_BYTES_MAX).await?;
        let (file_type, body) = (arrival.file_type, arrival.body.clone());
        let looked_at = self.work(move || {
            let measures = content::measure(&body, file_type)?;
            let thumbnail = content::thumbnail(&body, file_type, poster.as_deref());
            Ok::<_, AssetError>((measures, thumbnail, body.sha256()))
        });
        let (measures, thumbnail, sha256) = looked_at.await??;
        let thumbnail_path = match thumbnail {
            None => None,
            Some(jpeg) => {
                let path = AssetPath::Thumbnail {
                    account_id,
                    task_id,
                    index,
                };
                self.store.put(&(&path).into(), jpeg.into()).await?;
                Some(path.to_string())
            }
        };
        let path = AssetPath::Output {
            account_id,
            task_id,
            index,
            file_type,
        };
        let stored = StoredAsset {
            path: path.to_string(),
            mime_type: file_type.mime_type(),
            size_bytes: arrival.size_bytes,
            sha256,
            width: measures.size.map(|(width, _)| width),
            height: measures.size.map(|(_, height)| height),
            duration_seconds: measures.duration_seconds,
            thumbnail_path,
        };
        arrival.settle(&*self.store, &(&path).into()).await?;
        Ok(stored)
    }

    /// Keeps a reference picture under its account and its hash; the same picture is kept once.
    ///
    /// # Errors
    /// [`AssetError::TooLarge`], [`AssetError::UnsupportedType`] and [`AssetError::Storage`].
    pub async fn put_input(&self, account_id: Uuid, bytes: Bytes) -> Result<InputRef, AssetError> {
        let size_bytes = bounded_length(&bytes, INPUT_BYTES_MAX)?;
        let file_type = check_picture(&bytes)?;
        let sha256 = {
            let bytes = bytes.clone();
            self.work(move || sha256_hex(&bytes)).await?
        };
        let path = AssetPath::Input {
            account_id,
            sha256: sha256.clone(),
        };
        let written = self
            .store
            .put_opts(&(&path).into(), bytes.into(), PutMode::Create.into())
            .await;
        match written {
            // The name is the content's hash: what is there is the same.
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(InputRef {
                path: path.to_string(),
                sha256,
                mime_type: file_type.mime_type(),
                size_bytes,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a kept file of at most [`INPUT_BYTES_MAX`] whole.
    ///
    /// # Errors
    /// [`AssetError::NotFound`], [`AssetError::TooLarge`] and [`AssetError::Storage`].
    pub async fn read_all(&self, path: &str) -> Result<Bytes, AssetError> {
        let path = AssetPath::parse(path).ok_or(AssetError::NotFound)?;
        let found = self.store.get(&(&path).into()).await?;
        check_length(found.meta.size, INPUT_BYTES_MAX)?;
        Ok(found.bytes().await?)
    }

    /// Whether an address is that of one of our own files, which [`Assets::read_link`] reads without a request.
    #[must_use]
    pub fn is_own_link(&self, url: &str) -> bool {
        self.links.is_own(url)
    }

    /// Reads the kept file of at most [`INPUT_BYTES_MAX`] that a link leads to.
    ///
    /// # Errors
    /// [`AssetError::LinkInvalid`], [`AssetError::LinkExpired`] and those of [`Assets::read_all`].
    pub async fn read_link(&self, url: &str, now: SystemTime) -> Result<Bytes, AssetError> {
        self.read_all(self.links.follow(url, now)?).await
    }

    /// A link to a kept file. Links made within the same hour are identical; each lives for at
    /// least 24 hours from `now`.
    #[must_use]
    pub fn link(&self, path: &str, now: SystemTime) -> Link {
        self.links.link(path, now)
    }

    /// Opens the file that a link points to. `path`, `expires` (Unix seconds) and `signature` are
    /// the parts of the link.
    ///
    /// # Errors
    /// [`AssetError::LinkInvalid`], [`AssetError::LinkExpired`], [`AssetError::NotFound`] and
    /// [`AssetError::Storage`].
    pub async fn open(
        &self,
        path: &str,
        expires: u64,
        signature: &str,
        now: SystemTime,
    ) -> Result<OpenedAsset, AssetError> {
        self.links.verify(path, expires, signature, now)?;
        let path = AssetPath::parse(path).ok_or(AssetError::NotFound)?;
        let meta = self.store.head(&(&path).into()).await?;
        let file_type = match &path {
            AssetPath::Output { file_type, .. } => *file_type,
            AssetPath::Thumbnail { .. } => FileType::Jpeg,
            AssetPath::Input { .. } | AssetPath::Upload { .. } => self.sniff_stored(&meta).await?,
        };
        Ok(OpenedAsset {
            mime_type: file_type.mime_type(),
            size_bytes: meta.size,
            etag: strong_etag(&meta),
            last_modified: meta.last_modified.into(),
            store: Arc::clone(&self.store),
            meta,
        })
    }

    async fn sniff_stored(&self, meta: &ObjectMeta) -> Result<FileType, AssetError> {
        let end = meta.size.min(SNIFF_BYTES as u64);
        let start = self.store.get_range(&meta.location, 0..end).await?;
        FileType::sniff(&start).ok_or(AssetError::NotFound)
    }

    /// Does CPU work on a blocking thread when its turn has come.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AssetError> {
        let permit = Arc::clone(&self.work_permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        tokio::task::spawn_blocking(move || {
            // Held to the end of the work, even when nobody waits for it any more.
            let _permit = permit;
            work()
        })
        .await
        .map_err(AssetError::Interrupted)
    }
}

/// A file whose link was good.
#[derive(Debug)]
pub struct OpenedAsset {
    /// The media type.
    pub mime_type: &'static str,
    /// Length in bytes.
    pub size_bytes: u64,
    /// A strong entity tag with its quotes.
    pub etag: String,
    /// When it was written.
    pub last_modified: SystemTime,
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
}

impl OpenedAsset {
    /// The bytes, all or those of a range that [`decide`] gave.
    ///
    /// # Errors
    /// [`AssetError::Storage`] at once or midway, also when the file was written anew after it was
    /// opened, so that parts of two writes never mix.
    pub async fn read(
        &self,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, AssetError>>, AssetError> {
        let options = GetOptions {
            if_match: self.meta.e_tag.clone(),
            range: range.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.meta.location, options).await?;
        Ok(found.into_stream().map_err(AssetError::from).boxed())
    }
}

/// The type of a picture to work from.
fn check_picture(bytes: &[u8]) -> Result<FileType, AssetError> {
    FileType::sniff(bytes)
        .filter(|file_type| file_type.is_picture())
        .ok_or(AssetError::UnsupportedType {
            allowed: "PNG, JPEG, WebP and GIF",
        })
}

/// The store's own tag when it is strong; else one made of time and length, which is as good for
/// files that are written once.
fn strong_etag(meta: &ObjectMeta) -> String {
    match &meta.e_tag {
        Some(tag) if !tag.starts_with("W/") => format!("\"{}\"", tag.trim_matches('"')),
        _ => format!(
            "\"{:x}-{:x}\"",
            meta.last_modified.timestamp_micros(),
            meta.size
        ),
    }
}

fn bounded_length(bytes: &Bytes, bytes_max: u64) -> Result<u64, AssetError> {
    let length = bytes.len() as u64;
    check_length(length, bytes_max)?;
    Ok(length)
}

fn check_length(length: u64, bytes_max: u64) -> Result<(), AssetError> {
    if length > bytes_max {
        return Err(AssetError::TooLarge { bytes_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
