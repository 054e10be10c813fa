//! From an upstream's files to stored outputs. Upstream links die within minutes, so a
//! task counts as done only when its files are in our own store.

use futures_util::stream;
use uuid::Uuid;

use super::super::Core;
use super::super::request::Work;
use super::super::task::Output;
use super::patience::insist_on_asset;
use crate::assets::StoredAsset;
use crate::providers::{Failure, FailureReason, Rendered};

/// Stores what the upstream delivered for a task of an account. What is not a picture or a video was
/// not delivered; beyond what was asked, nothing is handed out.
///
/// # Errors
/// When nothing is left.
pub(super) async fn deliver(
    core: &Core,
    (account_id, id): (Uuid, Uuid),
    work: &Work,
    files: Vec<Rendered>,
) -> Result<Vec<Output>, Failure> {
    let mut outputs = Vec::new();
    for (index, file) in (0..work.count).zip(files) {
        let put = || {
            let bytes = stream::iter([Ok(file.bytes.clone())]);
            core.assets
                .put_output(account_id, id, index, bytes, file.poster.clone())
        };
        match insist_on_asset(core, id, put).await {
            Ok(stored) => outputs.push(output(stored, work)),
            Err(error) => tracing::error!(task = %id, index, %error, "an unusable result"),
        }
    }
    if outputs.is_empty() {
        let message = "the upstream delivered nothing usable";
        return Err(Failure::new(FailureReason::ProviderError, message));
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
