//! From an upstream's files to stored outputs. Upstream links die within minutes, so a
//! task counts as done only when its files are in our own store.

use std::io;

use uuid::Uuid;

use super::super::Core;
use super::super::request::Work;
use super::super::task::Output;
use super::patience::insist_on_asset;
use crate::assets::{AssetError, StoredAsset};
use crate::providers::{Failure, FailureReason, Rendered};

/// Why a task has no outputs.
pub(super) enum Undelivered {
    /// Files could not be had this time.
    NotFetched,
    /// What came is of no use.
    Unusable(Failure),
}

/// Stores what the upstream delivered for a task of an account. What is not a picture or a video was
/// not delivered; beyond what was asked, nothing is handed out. Files that cannot be fetched are
/// missed only when this is the last time that they are asked for.
///
/// # Errors
/// When nothing is left, or not everything could be fetched.
pub(super) async fn deliver(
    core: &Core,
    (account_id, id): (Uuid, Uuid),
    work: &Work,
    files: Vec<Rendered>,
    last: bool,
) -> Result<Vec<Output>, Undelivered> {
    let mut outputs = Vec::new();
    for (index, file) in (0..work.count).zip(files) {
        let (assets, file) = (&core.assets, &file);
        let put = || async move {
            let broken = |error| AssetError::BrokenOff(io::Error::other(error));
            let stream = file.content.open().await.map_err(broken)?;
            let poster = file.poster.clone();
            assets
                .put_output(account_id, id, index, stream, poster)
                .await
        };
        match insist_on_asset(core, id, put).await {
            Ok(stored) => outputs.push(output(stored, work)),
            Err(AssetError::BrokenOff(error)) => {
                tracing::warn!(task = %id, index, %error, "a result was not fetched");
                if !last {
                    return Err(Undelivered::NotFetched);
                }
            }
            Err(error) => tracing::error!(task = %id, index, %error, "an unusable result"),
        }
    }
    if outputs.is_empty() {
        let message = "the upstream delivered nothing usable";
        let failure = Failure::new(FailureReason::ProviderError, message);
        return Err(Undelivered::Unusable(failure));
    }
    Ok(outputs)
}

/// A stored file; what its bytes do not tell is as it was asked for.
fn output(stored: StoredAsset, work: &Work) -> Output {
    Output {
        path: stored.path,
        mime_type: stored.mime_type.to_owned(),
        width: stored.width.unwrap_or(work.width),
        height: stored.height.unwrap_or(work.height),
        duration_seconds: stored
            .duration_seconds
            .or(work.duration_seconds.map(f64::from)),
        size_bytes: stored.size_bytes,
        thumbnail_path: stored.thumbnail_path,
    }
}
