//! Submissions of which nobody knows whether they reached their upstream, shown to the operator, who can
//! look where this server cannot: into the upstream's own list of jobs, or its bill.
//!
//! The node that runs the task writes down that it does not know ([`worker`](super::worker)); from then on
//! it waits for the upstream or for the operator's word, whoever comes first. The word is given under the
//! locks of the account and of the task, and only while the task still stands where the operator saw it:
//!
//! | word | what follows |
//! |---|---|
//! | [`Word::NotSubmitted`] | as after a refusal: the next route or attempt is tried, or the task fails and its credits are released |
//! | [`Word::Arrived`] | the upstream is polled for that id |
//! | [`Word::GiveUp`] | the task fails and its credits are released, by the time the call is answered |
//!
//! Whoever gives it need not be the node that runs the task, nor a node at all: nodes are told, and whichever
//! takes a task over finds the word in the row. A word is given once, for one attempt; given again, it is
//! answered again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deadpool_postgres::Transaction;
use tokio::sync::Notify;
use uuid::Uuid;

use super::changes::{Changes, Ending};
use super::news::News;
use super::records::Records;
use super::status::Status;
use crate::providers::{Failure, FailureReason};
use crate::store::{Store, StoreError};

/// A submission of which nobody knows whether it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The task.
    pub task_id: Uuid,
    /// Which of the task's attempts, from 1.
    pub attempt: u32,
    /// The name of the account.
    pub account: String,
    /// Whether it was made with a test key.
    pub test: bool,
    /// The slug of the model.
    pub model: String,
    /// The upstream.
    pub provider: String,
    /// The upstream's name for the model, where a route to it is still set up.
    pub upstream_model: Option<String>,
    /// Since when nobody knows.
    pub since: SystemTime,
    /// When the task fails unless somebody knows by then.
    pub deadline_at: SystemTime,
    /// The credits that are held meanwhile.
    pub held: i64,
}

/// The operator's word on a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It never arrived.
    NotSubmitted,
    /// It arrived; this is the upstream's id for it.
    Arrived(String),
    /// Whether or not: the task is to fail.
    GiveUp,
}

impl Word {
    /// The word as the API and the database have it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotSubmitted => "NOT_SUBMITTED",
            Self::Arrived(_) => "ARRIVED",
            Self::GiveUp => "GIVE_UP",
        }
    }

    /// The upstream's id.
    #[must_use]
    pub fn upstream_id(&self) -> Option<&str> {
        match self {
            Self::Arrived(upstream_id) => Some(upstream_id),
            Self::NotSubmitted | Self::GiveUp => None,
        }
    }

    /// Reads it; `None` unless there is an id just where there must be one.
    #[must_use]
    pub fn parse(verdict: &str, upstream_id: Option<String>) -> Option<Self> {
        match (verdict, upstream_id) {
            ("NOT_SUBMITTED", None) => Some(Self::NotSubmitted),
            ("ARRIVED", Some(upstream_id)) => Some(Self::Arrived(upstream_id)),
            ("GIVE_UP", None) => Some(Self::GiveUp),
            _ => None,
        }
    }
}

/// Why a word was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Nobody waits for a word on it.
    #[error(
        "nobody waits for a word on submission {attempt} of the task {task_id}: there is no such submission, or its upstream has told"
    )]
    NotLost {
        /// The task.
        task_id: Uuid,
        /// The attempt.
        attempt: u32,
    },
    /// Another word was given.
    #[error("this submission was settled as {} before", .0.as_str())]
    Settled(Word),
    /// The task has ended.
    #[error("the task has ended; there is nothing left to settle")]
    Ended,
    /// The upstream has told about it, or the task has gone on with another one.
    #[error("this submission is known by now; there is nothing left to settle")]
    Known,
    /// The store could not be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A word that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The task.
    pub task_id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The name of the account.
    pub account: String,
    /// When the word was given.
    pub at: SystemTime,
    /// Whether it was given just now, not before.
    pub is_first: bool,
}

/// The failure of a task that the operator gave up.
pub(super) fn given_up() -> Failure {
    Failure::new(
        FailureReason::ProviderError,
        "the upstream never said whether it has the task, and the operator of this server gave it up",
    )
}

/// Where the operator sees and settles them. It runs no tasks, so there may be any number.
pub struct LostSubmissions {
    store: Store,
    records: Records,
    changes: Changes,
}

impl LostSubmissions {
    /// Over a database that servers may be working on.
    #[must_use]
    pub fn new(store: Store) -> Self {
        // Not a node that registers, but one that all others hear.
        let node = Uuid::now_v7();
        let news = News::new(node);
        news.learn(true);
        let nobody = Arc::new(Notify::new());
        Self {
            // It submits nothing, so no idempotency key is ever looked for.
            changes: Changes::start(store.clone(), node, news.clone(), nobody, Duration::ZERO),
            records: Records::new(store.clone(), news),
            store,
        }
    }

    /// At most `limit`, oldest task first, of tasks after `after`; and where the next page begins, if there
    /// is one.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn list(
        &self,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<(Vec<Lost>, Option<Uuid>), StoreError> {
        let mut page = self.records.lost(after, limit.saturating_add(1)).await?;
        let more = page.len() > limit as usize;
        page.truncate(limit as usize);
        let next = page.last().filter(|_| more).map(|lost| lost.task_id);
        Ok((page, next))
    }

    /// Gives the operator's word on an attempt, on behalf of `who`, and answers when it was given. It is
    /// durable by then, and a task that was given up has ended.
    ///
    /// # Errors
    /// [`SettleError`]; nothing has changed then.
    pub async fn settle(
        &self,
        task_id: Uuid,
        attempt: u32,
        word: &Word,
        who: &str,
    ) -> Result<SystemTime, SettleError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await.map_err(StoreError::from)?;
        let settled = self
            .settle_within(&transaction, task_id, attempt, word, who)
            .await?;
        transaction.commit().await.map_err(StoreError::from)?;
        drop(client);
        self.carry_out(&settled, word).await?;
        Ok(settled.at)
    }

    /// Gives the word within a transaction of the caller's that holds no lock yet. Once that is committed, the word is
    /// to be carried out.
    ///
    /// # Errors
    /// [`SettleError`]; the transaction is then to be undone.
    pub async fn settle_within(
        &self,
        transaction: &Transaction<'_>,
        task_id: Uuid,
        attempt: u32,
        word: &Word,
        who: &str,
    ) -> Result<Settled, SettleError> {
        let not_lost = || SettleError::NotLost { task_id, attempt };
        let settling = Records::settle(transaction, task_id, attempt, word, who).await?;
        let settling = settling.ok_or_else(not_lost)?;
        match (settling.refused.as_deref(), settling.word) {
            (None, _) => {}
            (Some("ENDED"), _) => return Err(SettleError::Ended),
            (Some(_), Some(other)) => return Err(SettleError::Settled(other)),
            (Some(_), None) => return Err(SettleError::Known),
        }
        tracing::info!(
            task = %task_id,
            attempt,
            verdict = word.as_str(),
            upstream_id = word.upstream_id(),
            who,
            "an operator settled a submission"
        );
        Ok(Settled {
            task_id,
            account_id: settling.account_id,
            account: settling.account,
            at: settling.settled_at.ok_or_else(not_lost)?,
            is_first: settling.is_first,
        })
    }

    /// Does what follows of a word that is durable by now. Whoever runs the task would find it in the row too.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn carry_out(&self, settled: &Settled, word: &Word) -> Result<(), StoreError> {
        let Settled {
            account_id,
            task_id,
            ..
        } = *settled;
        if *word == Word::GiveUp {
            let ending = Ending {
                failure: Some(given_up()),
                ..Ending::empty(Status::Failed)
            };
            // The first one ends it: this, or the node that has found the word by now.
            self.changes.finish(account_id, task_id, ending).await?;
        }
        self.records.tell([task_id]).await;
        Ok(())
    }
}
