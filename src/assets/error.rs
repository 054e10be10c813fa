//! What can go wrong with assets, free of any transport.
//!
//! Texts are meant for callers: they name no path and no store.

use std::io;

use super::file_type::FileType;

/// Why an asset could not be kept or given out.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// No asset has this path.
    #[error("there is no such file")]
    NotFound,
    /// The signature does not belong to the path and the time in the link.
    #[error("the link is not valid; read the task again for a fresh one")]
    LinkInvalid,
    /// The signature is right and its time is over.
    #[error("the link has expired; read the task again for a fresh one")]
    LinkExpired,
    /// The signature does not belong to the upload and the time in the link.
    #[error("the upload link is not valid; create another upload")]
    UploadLinkInvalid,
    /// The signature is right and its time is over.
    #[error("the upload link has expired; create another upload")]
    UploadLinkExpired,
    /// The upload has its picture, and it is another one.
    #[error("this upload has another picture already; create another upload")]
    UploadTaken,
    /// The account has no upload of that id with a picture.
    #[error("the account has no such upload, or its picture was not sent yet")]
    UploadUnknown,
    /// The upload is too old to be named.
    #[error("this upload has expired; upload the picture again")]
    UploadExpired,
    /// The content is longer than its bound.
    #[error("the file is too large; at most {bytes_max} bytes are allowed")]
    TooLarge {
        /// The bound that was passed.
        bytes_max: u64,
    },
    /// The bytes are of no type that is stored here.
    #[error("the file's type is not supported; allowed are {allowed}")]
    UnsupportedType {
        /// The types that are taken in this place, for people.
        allowed: &'static str,
    },
    /// The type is known but the part that tells its size cannot be read.
    #[error("the {} file is damaged", .0.mime_type())]
    Damaged(FileType),
    /// The source failed before the file's end, which says nothing about the file: whoever can get
    /// it again may try. (The content is refused by [`TooLarge`](Self::TooLarge),
    /// [`UnsupportedType`](Self::UnsupportedType) and [`Damaged`](Self::Damaged) alone.)
    #[error("the file was broken off before its end")]
    BrokenOff(#[source] io::Error),
    /// The work on the content was broken off.
    #[error("the file could not be examined")]
    Interrupted(#[source] tokio::task::JoinError),
    /// The store behind could not be read or written.
    #[error("the file store is not available; try again")]
    Storage(#[source] object_store::Error),
}

impl From<object_store::Error> for AssetError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            other => Self::Storage(other),
        }
    }
}

/// Files that wait to be stored are part of the store.
impl From<io::Error> for AssetError {
    fn from(error: io::Error) -> Self {
        Self::Storage(object_store::Error::Generic {
            store: "incoming files",
            source: error.into(),
        })
    }
}
