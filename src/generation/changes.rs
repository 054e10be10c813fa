//! What happens to tasks, written in batches: submissions, attempts, upstreams' ids and endings of
//! many callers in one transaction, one or two round trips long.
//!
//! ```text
//! lock the accounts, see where their chains end ─┐
//! look up idempotency keys                       ├─▶ decide, in memory ─▶ insert tasks   ─┐
//! end tasks, begin attempts, note upstreams' ids ┘   one after the other  append entries ─┴▶ COMMIT
//! ```
//!
//! - **Lock order**: all accounts of the batch by one call (`Chains::lock`), then task rows. Under the
//!   locks nobody else submits for these accounts or settles their tasks, so what is decided in
//!   memory holds when it is written. Statements elsewhere that take several task rows without their
//!   accounts skip the locked ones.
//! - **Each submission is accepted or refused on its own**, in the order they came; a refused one takes
//!   no place, no credits and no key.
//! - **A task ends once**: of all that try, the first that finds the row open; its money is settled in
//!   the same transaction.
//! - Usually one round trip does: what the first would find is remembered from the last batch, and
//!   everything goes out at once behind a check that it still holds. If it does not, nothing was written
//!   and the two round trips follow.
//! - Nothing is answered before the commit. Other nodes, if there are any, are told of a batch once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use uuid::Uuid;

use super::batcher::Batcher;
use super::key::Key;
use super::news::News;
use super::request::Work;
use super::status::Status;
use super::task::Output;
use crate::accounts::SpendingCaps;
use crate::catalog::MediaType;
use crate::providers::Failure;
use crate::store::{Store, StoreError};

mod decide;
mod spending;
mod writer;
mod writing;

pub(super) use spending::CapReached;

use writer::Writer;

/// Something that happens to a task of an account.
pub(super) struct Change {
    pub account_id: Uuid,
    pub id: Uuid,
    pub what: What,
}

/// What happens.
pub(super) enum What {
    /// It is submitted.
    Submit(Submission),
    /// An upstream is about to be asked.
    Begin {
        /// The number of the attempt, from 1.
        attempt: u32,
        provider: String,
    },
    /// An upstream answered an attempt with an id.
    Arrive { attempt: u32, upstream_id: String },
    /// It ends.
    Finish(Ending),
}

/// A submission, checked as far as it can be without the database.
pub(super) struct Submission {
    pub test: bool,
    /// The API key that was shown, and what it may spend.
    pub key_id: Option<Uuid>,
    pub caps: SpendingCaps,
    pub model: String,
    pub media: MediaType,
    pub provider: String,
    pub work: Arc<Work>,
    pub quoted: i64,
    /// The most tasks that the account may have open.
    pub limit: u32,
    pub lifetime: Duration,
    pub key: Option<Key>,
    /// Whether the account's webhooks are to be told of the end …
    pub to_webhooks: bool,
    /// … and which other address.
    pub webhook_url: Option<String>,
}

impl Submission {
    /// Its acceptance at a time.
    fn accepted(&self, created_at: SystemTime) -> Outcome {
        Outcome::Accepted {
            created_at,
            deadline_at: created_at + self.lifetime,
        }
    }

    /// The key whose spending is limited.
    fn capped_key(&self) -> Option<Uuid> {
        self.key_id.filter(|_| !self.test && !self.caps.is_none())
    }
}

/// How a task ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub status: Status,
    /// The price of the task, and whether it is a test task, where whoever ends it knows.
    pub of: Option<(i64, bool)>,
    /// For a live task; a test task is charged nothing.
    pub charge: i64,
    pub outputs: Vec<Output>,
    pub failure: Option<Failure>,
}

impl Ending {
    /// An end that delivers nothing and charges nothing.
    pub fn empty(status: Status) -> Self {
        Self {
            status,
            of: None,
            charge: 0,
            outputs: Vec::new(),
            failure: None,
        }
    }
}

/// The answer to one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted {
        created_at: SystemTime,
        deadline_at: SystemTime,
    },
    /// The key and the request are those of this earlier task.
    Replayed(Uuid),
    KeyReused,
    TooMany,
    /// The API key may not spend that much.
    CapReached(CapReached),
    Insufficient {
        available: i64,
    },
}

/// Whether an attempt begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It does; work on the task began then.
    At(SystemTime),
    /// The account has as many tasks begun as its plan allows at once.
    NotNow,
    /// It is not this node's to begin any more.
    Never,
}

/// What came of ending a task that was still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    pub charged: i64,
    pub finished_at: SystemTime,
}

/// The answer to a change, of the same sort.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Submitted(Outcome),
    Begun(Begun),
    Arrived,
    /// None when it had ended already.
    Finished(Option<Finished>),
}

/// Takes changes, in batches.
pub(super) struct Changes(Batcher<Writer>);

impl Changes {
    /// For the tasks of a node, whose idempotency keys live so long; `owed` is told of ends that somebody
    /// is to be told of.
    pub fn start(
        store: Store,
        node: Uuid,
        news: News,
        owed: Arc<Notify>,
        key_lifetime: Duration,
    ) -> Self {
        Self(Batcher::start(|| {
            let (store, news, owed) = (store.clone(), news.clone(), Arc::clone(&owed));
            Writer::new(store, node, news, owed, key_lifetime)
        }))
    }

    async fn ask(&self, account_id: Uuid, id: Uuid, what: What) -> Result<Answer, StoreError> {
        let change = Change {
            account_id,
            id,
            what,
        };
        self.0.ask(account_id, change).await
    }

    /// Takes a submission; durable when it answers.
    pub async fn submit(
        &self,
        account_id: Uuid,
        id: Uuid,
        submission: Submission,
    ) -> Result<Outcome, StoreError> {
        match self.ask(account_id, id, What::Submit(submission)).await? {
            Answer::Submitted(outcome) => Ok(outcome),
            _ => Err(other_answer()),
        }
    }

    /// Writes down that an upstream is about to be asked, if it may be.
    pub async fn begin(
        &self,
        account_id: Uuid,
        id: Uuid,
        attempt: u32,
        provider: &str,
    ) -> Result<Begun, StoreError> {
        let what = What::Begin {
            attempt,
            provider: provider.to_owned(),
        };
        match self.ask(account_id, id, what).await? {
            Answer::Begun(begun) => Ok(begun),
            _ => Err(other_answer()),
        }
    }

    /// Records the upstream's id for an attempt.
    pub async fn arrive(
        &self,
        account_id: Uuid,
        id: Uuid,
        attempt: u32,
        upstream_id: &str,
    ) -> Result<(), StoreError> {
        let what = What::Arrive {
            attempt,
            upstream_id: upstream_id.to_owned(),
        };
        self.ask(account_id, id, what).await.map(drop)
    }

    /// Ends a task, at most once whoever else tries, and settles its hold; `None` when it had ended
    /// already.
    pub async fn finish(
        &self,
        account_id: Uuid,
        id: Uuid,
        ending: Ending,
    ) -> Result<Option<Finished>, StoreError> {
        match self.ask(account_id, id, What::Finish(ending)).await? {
            Answer::Finished(finished) => Ok(finished),
            _ => Err(other_answer()),
        }
    }
}

fn other_answer() -> StoreError {
    StoreError::Unavailable("a batch answered something else".into())
}
