//! Trying again while the database or the store of assets is out of reach. There is no bound but
//! the task's deadline and its lease: giving up would leave credits held that nobody settles. (What
//! comes late is bounded by its grace.)

use std::error::Error;

use tokio::time::sleep;
use uuid::Uuid;

use super::super::Core;
use crate::assets::AssetError;
use crate::store::StoreError;

/// Tries until the database has answered.
pub(super) async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    core: &Core,
    task: Uuid,
    ask: impl Fn() -> F,
) -> T {
    let mut wait = core.settings.poll_wait_min;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => trying_again(task, &error),
        }
        sleep(wait).await;
        wait = core.settings.longer(wait);
    }
}

/// Tries until the store of assets has answered. An error that it answers with is about the file.
pub(super) async fn insist_on_asset<T, F: Future<Output = Result<T, AssetError>>>(
    core: &Core,
    task: Uuid,
    ask: impl Fn() -> F,
) -> Result<T, AssetError> {
    let mut wait = core.settings.poll_wait_min;
    loop {
        match ask().await {
            Err(error @ (AssetError::Storage(_) | AssetError::Interrupted(_))) => {
                trying_again(task, &error)
            }
            answer => return answer,
        }
        sleep(wait).await;
        wait = core.settings.longer(wait);
    }
}

fn trying_again(task: Uuid, error: &(dyn Error + 'static)) {
    tracing::warn!(%task, error, "trying again");
}
