//! Calls from upstreams that something has changed. They are only believed so far that the upstream is
//! asked at once; a call that nobody knows the sender of wakes nobody.

use uuid::Uuid;

use super::{Core, Generation};
use crate::providers::{Hook, HookError, Provider};

/// The path below which upstreams call, followed by the provider's name and the task's id.
pub const HOOKS_PATH: &str = "/hooks";

impl Generation {
    /// Takes a call that says it comes from an upstream and concerns a task.
    ///
    /// # Errors
    /// [`HookError`] when it is not known to come from there.
    pub async fn hear(
        &self,
        provider: &str,
        task_id: Uuid,
        hook: &Hook<'_>,
    ) -> Result<(), HookError> {
        let provider = self.core.providers.get(provider);
        provider.ok_or(HookError::NotOffered)?.hear(hook).await?;
        self.core.nudge(task_id).await;
        Ok(())
    }
}

impl Core {
    /// Where an upstream may call about a task.
    pub(super) fn hook_url(&self, provider: &dyn Provider, task_id: Uuid) -> Option<String> {
        let base = self.settings.hooks_url.as_deref()?;
        let name = provider.name();
        provider
            .calls_back()
            .then(|| format!("{base}{HOOKS_PATH}/{name}/{task_id}"))
    }

    /// Has the upstream of a task asked soon, on whichever node. A hint may get lost: the upstream is
    /// asked now and then anyway.
    async fn nudge(&self, task_id: Uuid) {
        match self.board.get(task_id) {
            Some(live) => live.nudged.notify_one(),
            None => self.records.tell([task_id]).await,
        }
    }
}
