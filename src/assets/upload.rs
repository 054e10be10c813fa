//! Uploads: pictures that come on their own, ahead of the requests that name them.
//!
//! An upload is an id, a link to send one picture to, and the place where it lies then. Nothing is written down
//! when one begins: the link proves itself, and the id tells when it was made. So an upload that nobody uses
//! leaves nothing behind, and any replica can take its picture.
//!
//! A place belongs to an account and is written once. The same picture may be sent again, as after a lost
//! answer; another one is refused, since a task may already work from the first.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode};
use uuid::{NoContext, Timestamp, Uuid};

use super::content::sha256_hex;
use super::error::AssetError;
use super::path::AssetPath;
use super::{Assets, INPUT_BYTES_MAX, InputRef, Link, bounded_length, check_picture};

/// How long the link takes a picture.
pub const UPLOAD_LINK_LIFE: Duration = Duration::from_secs(15 * 60);

/// How long requests can name an upload, from when it was begun.
pub const UPLOAD_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How requests write an id before its UUID.
const SCHEME: &str = "upload://";

/// The name of an upload; it tells when the upload was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadId(Uuid);

impl UploadId {
    fn new(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        Self(Uuid::new_v7(begun))
    }

    /// Reads what its `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text.strip_prefix(SCHEME)?).ok()?;
        Some(Self(id))
    }

    /// From when on requests can no longer name it.
    #[must_use]
    pub fn expires_at(self) -> SystemTime {
        let begun = self
            .0
            .get_timestamp()
            .map_or((0, 0), |begun| begun.to_unix());
        UNIX_EPOCH + Duration::new(begun.0, begun.1) + UPLOAD_LIFE
    }

    fn path(self, account_id: Uuid) -> AssetPath {
        AssetPath::Upload {
            account_id,
            id: self.0,
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

/// An upload that may be given its picture. Only a good link, or an account that was let in, leads to one.
#[derive(Debug, Clone, Copy)]
pub struct OpenUpload {
    /// Its name.
    pub id: UploadId,
    account_id: Uuid,
}

impl Assets {
    /// Begins an upload of an account.
    #[must_use]
    pub fn begin_upload(&self, account_id: Uuid, now: SystemTime) -> OpenUpload {
        let id = UploadId::new(now);
        OpenUpload { id, account_id }
    }

    /// The link to send the picture of an upload to, without any other credential, for [`UPLOAD_LINK_LIFE`].
    #[must_use]
    pub fn upload_link(&self, upload: &OpenUpload, now: SystemTime) -> Link {
        let path = upload.id.path(upload.account_id).to_string();
        self.links.for_upload(&path, now + UPLOAD_LINK_LIFE)
    }

    /// Whether a link of an upload takes a picture now; asked before any byte is read. `path`, `expires` (Unix
    /// seconds) and `signature` are the parts of the link.
    ///
    /// # Errors
    /// [`AssetError::UploadLinkInvalid`] and [`AssetError::UploadLinkExpired`].
    pub fn open_upload(
        &self,
        path: &str,
        expires: u64,
        signature: &str,
        now: SystemTime,
    ) -> Result<OpenUpload, AssetError> {
        self.links.verify_upload(path, expires, signature, now)?;
        match AssetPath::parse(path) {
            Some(AssetPath::Upload { account_id, id }) => Ok(OpenUpload {
                id: UploadId(id),
                account_id,
            }),
            _ => Err(AssetError::UploadLinkInvalid),
        }
    }

    /// Keeps the picture of an upload.
    ///
    /// # Errors
    /// [`AssetError::TooLarge`], [`AssetError::UnsupportedType`], [`AssetError::UploadTaken`] and
    /// [`AssetError::Storage`].
    pub async fn put_upload(
        &self,
        upload: OpenUpload,
        bytes: Bytes,
    ) -> Result<InputRef, AssetError> {
        let size_bytes = bounded_length(&bytes, INPUT_BYTES_MAX)?;
        let file_type = check_picture(&bytes)?;
        let sha256 = {
            let bytes = bytes.clone();
            self.work(move || sha256_hex(&bytes)).await?
        };
        let path = upload.id.path(upload.account_id);
        let create = PutMode::Create.into();
        let written = self
            .store
            .put_opts(&(&path).into(), bytes.clone().into(), create)
            .await;
        match written {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => {
                let there = self.store.get(&(&path).into()).await?.bytes().await?;
                if there != bytes {
                    return Err(AssetError::UploadTaken);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(InputRef {
            path: path.to_string(),
            sha256,
            mime_type: file_type.mime_type(),
            size_bytes,
        })
    }

    /// The place of an account's upload, for [`Assets::read_all`].
    ///
    /// # Errors
    /// [`AssetError::UploadUnknown`] for uploads of other accounts and for those without their picture yet,
    /// [`AssetError::UploadExpired`] and [`AssetError::Storage`].
    pub async fn find_upload(
        &self,
        account_id: Uuid,
        id: UploadId,
        now: SystemTime,
    ) -> Result<String, AssetError> {
        let path = id.path(account_id);
        match self.store.head(&(&path).into()).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => return Err(AssetError::UploadUnknown),
            Err(error) => return Err(error.into()),
        }
        // Only ids that were made here have a file, so their time is ours.
        if now >= id.expires_at() {
            return Err(AssetError::UploadExpired);
        }
        Ok(path.to_string())
    }
}
