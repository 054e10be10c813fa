//! The pictures that a request starts from: where they are given, and how they come into the store of assets.
//!
//! They are fetched after everything else about a request was found good and before anything is held, so a
//! picture that cannot be had costs nothing. A task then works from our own copy alone: neither another attempt
//! nor another node asks the address again.
//!
//! What identifies a picture, for idempotency keys and quotes, is what the caller gave: the bytes of an inline
//! one, the text of an address, the id of an upload. So a call that is repeated with its key gets its task
//! though the link is dead by now, and the same picture given in two ways makes two different requests.
//!
//! A link to a file of ours, such as the result of an earlier task, is read from the store, wherever we are: whoever
//! has it may read the file.
//!
//! Bounds: [`FETCH_MAX`] for all pictures of a request together, [`AT_ONCE`] of them at the same time, each as
//! long as an input may be.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::Core;
use super::errors::SubmitError;
use crate::assets::{INPUT_BYTES_MAX, UploadId};
use crate::egress::Limits;

/// The longest that fetching the pictures of one request may take.
const FETCH_MAX: Duration = Duration::from_secs(20);

/// How many pictures of one request are fetched at the same time.
const AT_ONCE: usize = 4;

/// The most redirects on the way to a picture.
const REDIRECTS_MAX: usize = 5;

/// A picture to work from, as a caller gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picture {
    /// The picture itself.
    Inline(Bytes),
    /// Where it is on the web.
    Url(Url),
    /// An upload of the account.
    Upload(UploadId),
}

impl Picture {
    /// What stands for it where a request is compared with another.
    pub(super) fn identity(&self) -> [u8; 32] {
        match self {
            Self::Inline(bytes) => Sha256::digest(bytes),
            Self::Url(url) => Sha256::digest(url.as_str()),
            Self::Upload(id) => Sha256::digest(id.to_string()),
        }
        .into()
    }

    /// Whether it is somewhere else and may be gone when it is asked for again.
    pub(super) fn can_vanish(&self) -> bool {
        !matches!(self, Self::Inline(_))
    }
}

/// Says what can be said of addresses without asking them.
///
/// # Errors
/// [`SubmitError::ReferenceAddress`].
pub(super) fn check_addresses(core: &Core, pictures: &[Picture]) -> Result<(), SubmitError> {
    for (at, picture) in pictures.iter().enumerate() {
        if let Picture::Url(url) = picture
            && !core.assets.is_own_link(url.as_str())
        {
            let checked = core.egress.check_url(url);
            checked.map_err(|error| SubmitError::ReferenceAddress {
                number: at + 1,
                error,
            })?;
        }
    }
    Ok(())
}

/// Brings the pictures into the store and answers with their paths, in order. What a refused submission
/// stores is named by its content, so a repeated one stores nothing new.
///
/// # Errors
/// [`SubmitError::ReferenceAddress`] and [`SubmitError::ReferenceImage`].
pub(super) async fn keep(
    core: &Core,
    account_id: Uuid,
    pictures: Vec<Picture>,
) -> Result<Vec<String>, SubmitError> {
    let deadline = Instant::now() + FETCH_MAX;
    let numbered = (1..).zip(pictures);
    stream::iter(numbered)
        .map(|(number, picture)| keep_one(core, account_id, number, picture, deadline))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn keep_one(
    core: &Core,
    account_id: Uuid,
    number: usize,
    picture: Picture,
    deadline: Instant,
) -> Result<String, SubmitError> {
    let unusable = |error| SubmitError::ReferenceImage { number, error };
    let bytes = match picture {
        Picture::Inline(bytes) => bytes,
        Picture::Url(url) if core.assets.is_own_link(url.as_str()) => {
            let read = core.assets.read_link(url.as_str(), SystemTime::now());
            read.await.map_err(unusable)?
        }
        Picture::Url(url) => {
            let limits = Limits {
                bytes_max: usize::try_from(INPUT_BYTES_MAX).unwrap_or(usize::MAX),
                time_max: deadline.saturating_duration_since(Instant::now()),
                redirects_max: REDIRECTS_MAX,
            };
            let fetched = core.egress.get(&url, limits).await;
            let fetched =
                fetched.map_err(|error| SubmitError::ReferenceAddress { number, error })?;
            fetched.bytes
        }
        Picture::Upload(id) => {
            let found = core.assets.find_upload(account_id, id, SystemTime::now());
            return found.await.map_err(unusable);
        }
    };
    let kept = core.assets.put_input(account_id, bytes).await;
    Ok(kept.map_err(unusable)?.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_what_the_caller_gave() {
        let url = |text| Picture::Url(Url::parse(text).expect("a URL"));
        let upload = |text| Picture::Upload(UploadId::parse(text).expect("an id"));
        let pictures = [
            Picture::Inline(Bytes::from_static(b"a")),
            Picture::Inline(Bytes::from_static(b"b")),
            url("https://a.example/1.png"),
            url("https://a.example/2.png"),
            upload("upload://01890a5d-ac96-774b-bcce-b302099a8057"),
            upload("upload://01890a5d-ac96-774b-bcce-b302099a8058"),
        ];
        for (at, one) in pictures.iter().enumerate() {
            assert_eq!(one.identity(), one.clone().identity());
            for other in &pictures[at + 1..] {
                assert_ne!(one.identity(), other.identity());
            }
        }
        let before = Sha256::digest(b"a");
        assert_eq!(pictures[0].identity(), <[u8; 32]>::from(before));
    }
}
