//! Submission: everything that can be refused without the database first, then one statement that
//! decides the rest.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::Core;
use super::board::Live;
use super::changes::{CapReached, Outcome, Submission};
use super::errors::{IDEMPOTENCY_KEY_CHARACTERS_MAX, SubmitError};
use super::inputs::{self, Picture};
use super::key::Key;
use super::prepare::{Prepared, prepare};
use super::quote::{self, QuoteError};
use super::request::{Request, Work};
use super::status::Status;
use super::task::{Credits, Task};
use super::worker::{Assignment, Standing};
use crate::gate::Caller;

/// See [`Generation::submit`](super::Generation::submit).
pub(super) async fn submit(
    core: &Core,
    caller: &Caller,
    request: Request,
    key: Option<&str>,
) -> Result<Task, SubmitError> {
    if key.is_some_and(|key| key.is_empty() || key.chars().count() > IDEMPOTENCY_KEY_CHARACTERS_MAX)
    {
        return Err(SubmitError::IdempotencyKeyLength);
    }
    let catalog = core.catalog.get();
    let own = core.own_upstreams(caller).await?;
    let mut prepared = match prepare(core, &catalog, caller, &own, &request) {
        // What was accepted while its upstream was well is answered again.
        Err(SubmitError::ModelUnavailable { model, .. })
            if let Some(task) = core.repeated(caller, &request, &model, key).await? =>
        {
            return Ok(task);
        }
        prepared => prepared?,
    };
    let hash = request.hash(&prepared.model.slug);
    let (account_id, id) = (caller.account_id(), Uuid::now_v7());
    let key = key.map(|key| Key::new(account_id, caller.is_test(), key, &hash));
    match quote::redeem(core, caller, &request, &mut prepared, SystemTime::now()) {
        // What was accepted while the quote held is answered again.
        Err(QuoteError::Expired) if let Some(task) = core.accepted_before(caller, key).await? => {
            return Ok(task);
        }
        redeemed => redeemed?,
    }
    // A call that is repeated needs its pictures no more, and some of them may be gone.
    if request.reference_images.iter().any(Picture::can_vanish)
        && let Some(task) = core.accepted_before(caller, key).await?
    {
        return Ok(task);
    }
    let place = Arc::clone(&core.places)
        .try_acquire_owned()
        .map_err(|_| SubmitError::Busy)?;
    let webhook_url = request.webhook_url.clone();
    let references = inputs::keep(core, account_id, request.reference_images).await?;
    Arc::make_mut(&mut prepared.work).references = references;

    let plan = caller.plan();
    let (limit, queued) = (plan.concurrent_tasks.get(), plan.queued_tasks);
    let submission = Submission {
        test: caller.is_test(),
        key_id: caller.key_id(),
        caps: caller.spending_caps(),
        model: prepared.model.slug.clone(),
        media: prepared.model.media,
        provider: prepared.provider.clone(),
        work: Arc::clone(&prepared.work),
        quoted: prepared.credits,
        limit: limit.saturating_add(queued),
        lifetime: core.settings.lifetime(prepared.model.typical_seconds.1),
        key,
        to_webhooks: caller.has_webhooks(),
        webhook_url,
    };
    let unsure = core.doubt.until_settled();
    let outcome = core.changes.submit(account_id, id, submission).await?;
    unsure.settle();
    match outcome {
        Outcome::Accepted {
            created_at,
            deadline_at,
        } => {
            let task = accepted(caller, id, &prepared, created_at);
            let turns = (queued > 0).then_some(limit);
            dispatch(core, task.clone(), prepared.work, deadline_at, place, turns);
            Ok(task)
        }
        Outcome::Replayed(earlier) => core.replayed(caller, earlier).await,
        Outcome::KeyReused => Err(SubmitError::IdempotencyKeyReused),
        Outcome::TooMany => Err(SubmitError::TooManyTasks { limit, queued }),
        Outcome::CapReached(CapReached {
            cap,
            window,
            spent,
            resets_at,
        }) => Err(SubmitError::SpendingCapReached {
            needed: prepared.credits,
            cap,
            window,
            spent,
            resets_at,
        }),
        Outcome::Insufficient { available } => Err(SubmitError::InsufficientCredits {
            needed: prepared.credits,
            available,
        }),
    }
}

fn accepted(caller: &Caller, id: Uuid, prepared: &Prepared<'_>, created_at: SystemTime) -> Task {
    Task {
        id,
        account_id: caller.account_id(),
        test: caller.is_test(),
        status: Status::Pending,
        progress: 0,
        model: prepared.model.slug.clone(),
        media: prepared.model.media,
        outputs: Vec::new(),
        late_outputs: Vec::new(),
        failure: None,
        credits: Credits::open(prepared.credits, caller.is_test()),
        adjustments: prepared.work.adjustments.clone(),
        provider: prepared.provider.clone(),
        created_at,
        started_at: None,
        finished_at: None,
    }
}

/// Hands a task that was just accepted to the worker, unless the worker found the row before we
/// came to it.
fn dispatch(
    core: &Core,
    task: Task,
    work: Arc<Work>,
    deadline_at: SystemTime,
    place: OwnedSemaphorePermit,
    turns: Option<u32>,
) {
    if let Some(live) = core.board.put(Live::new(task, place)) {
        core.assign(Assignment {
            live,
            work,
            standing: Standing::Unasked {
                attempts: 0,
                refusals: 0,
            },
            deadline_at,
            turns,
        });
    }
}

impl Core {
    /// The task that the same request led to before, under the same idempotency key.
    ///
    /// # Errors
    /// [`SubmitError::IdempotencyKeyReused`] when the key stands for another request.
    async fn accepted_before(
        &self,
        caller: &Caller,
        key: Option<Key>,
    ) -> Result<Option<Task>, SubmitError> {
        let Some(key) = key else { return Ok(None) };
        let known = self.records.key_use(&key, self.settings.key_lifetime);
        match known.await? {
            Some((known, id)) if known == key => self.replayed(caller, id).await.map(Some),
            Some(_) => Err(SubmitError::IdempotencyKeyReused),
            None => Ok(None),
        }
    }

    /// The task of a call that came before with the same key, when this one cannot be prepared any more.
    async fn repeated(
        &self,
        caller: &Caller,
        request: &Request,
        slug: &str,
        key: Option<&str>,
    ) -> Result<Option<Task>, SubmitError> {
        let (account_id, hash) = (caller.account_id(), request.hash(slug));
        let key = key.map(|key| Key::new(account_id, caller.is_test(), key, &hash));
        self.accepted_before(caller, key).await
    }

    /// The task that an idempotency key stands for.
    async fn replayed(&self, caller: &Caller, id: Uuid) -> Result<Task, SubmitError> {
        self.task(caller.account_id(), caller.is_test(), id)
            .await
            .map_err(SubmitError::Replay)
    }
}
