//! Small pictures for answers that carry them inside: the thumbnails, found by their links and kept in
//! memory, since whoever follows a task asks for the same one more than once.
//!
//! Bounds: [`PREVIEW_BYTES_MAX`] for one, [`KEPT_BYTES_MAX`] for all that are kept. Of callers that miss
//! the same one together one reads it.

use std::time::SystemTime;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use quick_cache::{Weighter, sync::Cache};

use super::{Assets, check_length, error::AssetError, path::AssetPath};

/// The longest thumbnail that is put into answers. Most have a third of it.
pub const PREVIEW_BYTES_MAX: u64 = 128 * 1024;

/// All that is kept in memory.
const KEPT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How many that usually are.
const KEPT_USUALLY: usize = 400;

/// The thumbnails that were asked for last, by path.
pub(super) type Previews = Cache<String, Bytes, ByLength>;

/// Counts an entry by what it takes.
#[derive(Clone)]
pub(super) struct ByLength;

impl Weighter<String, Bytes> for ByLength {
    fn weight(&self, path: &String, jpeg: &Bytes) -> u64 {
        (path.len() + jpeg.len()) as u64
    }
}

/// None yet.
pub(super) fn none() -> Previews {
    Cache::with_weighter(KEPT_USUALLY, KEPT_BYTES_MAX, ByLength)
}

impl Assets {
    /// The JPEG behind a thumbnail's link.
    ///
    /// # Errors
    /// [`AssetError::LinkInvalid`], also for a link to anything else, [`AssetError::LinkExpired`],
    /// [`AssetError::NotFound`], [`AssetError::TooLarge`] beyond [`PREVIEW_BYTES_MAX`], and
    /// [`AssetError::Storage`].
    pub async fn preview(&self, url: &str, now: SystemTime) -> Result<Bytes, AssetError> {
        let path = self.links.follow(url, now)?;
        let thumbnail = AssetPath::parse(path)
            .filter(|path| matches!(path, AssetPath::Thumbnail { .. }))
            .ok_or(AssetError::LinkInvalid)?;
        let read = async {
            let found = self.store.get(&(&thumbnail).into()).await?;
            check_length(found.meta.size, PREVIEW_BYTES_MAX)?;
            Ok(found.bytes().await?)
        };
        self.previews.get_or_insert_async(path, read).await
    }
}
