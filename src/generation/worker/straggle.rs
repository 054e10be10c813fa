//! Files that come too late. When a task has failed by its deadline, and its upstream went on because
//! it could not stop, what it delivers after all is fetched and kept with the task: for nothing, since
//! the credits were given back, and the task stays FAILED.
//!
//! **Bounds.** A straggler is waited for [`grace_max`](super::super::Settings::grace_max), with at most
//! [`stragglers_max`](super::super::Settings::stragglers_max) others. It is known to this process alone:
//! when that ends, so does the wait.

use std::sync::Arc;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::super::Core;
use super::super::request::Work;
use super::deliver::{Undelivered, deliver};
use super::patience::insist;
use super::run::Reached;
use crate::providers::{Poll, Rendered};

/// A task that has failed while an upstream still worked on it.
pub(super) struct Straggler {
    pub account_id: Uuid,
    pub id: Uuid,
    pub work: Arc<Work>,
    pub reached: Reached,
}

/// Waits for a straggler, if there is room for it.
pub(super) async fn straggle(core: &Core, mut straggler: Straggler) {
    let Ok(_place) = core.stragglers.try_acquire() else {
        return;
    };
    let task = straggler.id;
    if timeout(core.settings.grace_max, straggler.wait(core))
        .await
        .is_err()
    {
        tracing::info!(%task, "the upstream did not deliver late either");
    }
}

impl Straggler {
    async fn wait(&mut self, core: &Core) {
        if self.reached.break_off().await {
            return;
        }
        let mut wait = core.settings.poll_wait_max;
        loop {
            sleep(wait).await;
            wait = core.settings.poll_wait_max;
            match self.reached.poll().await {
                Ok(Poll::Running { .. }) => {}
                Ok(Poll::Done(files)) => {
                    if self.keep(core, files).await {
                        return;
                    }
                }
                Ok(Poll::Failed(_) | Poll::Canceled) => return,
                Err(error) => wait = error.retry_after.map_or(wait, |wanted| wanted.max(wait)),
            }
        }
    }

    /// Keeps the files with the task; whether there is nothing more to be had.
    async fn keep(&self, core: &Core, files: Vec<Rendered>) -> bool {
        let (account_id, id) = (self.account_id, self.id);
        match deliver(core, (account_id, id), &self.work, files, false).await {
            Ok(outputs) => {
                let write = || core.records.late(account_id, id, &outputs);
                insist(core, id, write).await;
                tracing::info!(task = %id, files = outputs.len(), "delivered late");
                true
            }
            Err(Undelivered::NotFetched) => false,
            // It stays as it is.
            Err(Undelivered::Unusable(_)) => true,
        }
    }
}
