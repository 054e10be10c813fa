//! From an upstream's files to stored outputs and a charge. Upstream links die within minutes, so a
//! task counts as done only when its files are in our own store.

use super::super::Core;
use super::super::board::Live;
use super::super::request::Work;
use super::super::task::{Output, share};
use super::patience::insist_on_asset;
use crate::assets::StoredAsset;
use crate::providers::{Failure, FailureReason, Rendered};

/// Stores what the upstream delivered and answers it with the credits to charge for it. What is not
/// a picture or a video was not delivered; beyond what was asked, nothing is handed out.
///
/// # Errors
/// When nothing is left.
pub(super) async fn deliver(
    core: &Core,
    live: &Live,
    work: &Work,
    files: Vec<Rendered>,
) -> Result<(Vec<Output>, i64), Failure> {
    let mut outputs = Vec::new();
    for (index, file) in (0..work.count).zip(files) {
        let put = || {
            let (bytes, poster) = (file.bytes.clone(), file.poster.clone());
            core.assets
                .put_output(live.account_id, live.id, index, bytes, poster)
        };
        match insist_on_asset(core, live, put).await {
            Ok(stored) => outputs.push(output(stored, work)),
            Err(error) => tracing::error!(task = %live.id, index, %error, "an unusable result"),
        }
    }
    let delivered = u32::try_from(outputs.len()).expect("no more than were asked for");
    if delivered == 0 {
        let message = "the upstream delivered nothing usable";
        return Err(Failure::new(FailureReason::ProviderError, message));
    }
    let charge = share(live.task().credits.quoted, delivered, work.count);
    Ok((outputs, charge))
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
