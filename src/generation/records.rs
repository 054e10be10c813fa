//! The only door to the task tables: one function a statement, rows in, values out. Nothing is
//! decided here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::batcher::Batch;
use super::errors::TaskError;
use super::news::{self, News};
use super::request::Work;
use super::status::Status;
use super::task::{Adjustment, Credits, Output, Task};
use crate::catalog::MediaType;
use crate::providers::Failure;
use crate::store::{Listener, Store, StoreError};

/// The task tables.
#[derive(Clone)]
pub(super) struct Records {
    store: Store,
    news: News,
}

/// A submission as the database takes it.
pub(super) struct Submission {
    pub account_id: Uuid,
    pub id: Uuid,
    pub test: bool,
    pub model: String,
    pub media: MediaType,
    pub provider: &'static str,
    pub work: Arc<Work>,
    pub quoted: i64,
    /// The most tasks that the account may have open.
    pub limit: u32,
    pub lifetime: Duration,
    /// The idempotency key.
    pub key: Option<String>,
    /// What the key stands for.
    pub hash: Vec<u8>,
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
    Insufficient {
        available: i64,
    },
}

/// How a task ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    pub status: Status,
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
            charge: 0,
            outputs: Vec::new(),
            failure: None,
        }
    }
}

/// What came of ending a task that was still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    pub charged: i64,
    pub finished_at: SystemTime,
}

/// An open task that this node took over, or found to be its own.
pub(super) struct Claimed {
    pub task: Task,
    pub work: Work,
    pub attempt: u32,
    pub upstream_id: Option<String>,
    pub deadline_at: SystemTime,
    pub cancel_requested: bool,
}

/// What came of a batch of taking over.
pub(super) struct Taken {
    /// Those that can be gone on with; what cannot be read is left to its deadline.
    pub tasks: Vec<Claimed>,
    /// How many were taken, whether they can be read or not.
    pub count: usize,
    /// The latest of their deadlines.
    pub until: Option<SystemTime>,
}

/// What a node hears when it renews its lease.
pub(super) struct Renewed {
    /// Whether everything that was the node's still is. Otherwise it has to register.
    pub valid: bool,
    /// Whether there are other nodes to tell.
    pub company: bool,
    /// The node's tasks that are to be canceled.
    pub canceling: Vec<Uuid>,
}

/// An open task that names this node.
pub(super) struct Owned {
    pub account_id: Uuid,
    pub id: Uuid,
    pub deadline_at: SystemTime,
    pub cancel_requested: bool,
}

/// A task as its row tells it, whoever works on it.
pub(super) struct Sight {
    pub task: Task,
    pub node: Uuid,
    pub cancel_requested: bool,
}

impl Records {
    pub fn new(store: Store, news: News) -> Self {
        Self { store, news }
    }

    /// Hears what other nodes tell.
    pub fn listen(&self) -> Listener {
        self.store.listen(news::CHANNEL)
    }

    /// Tells the other nodes, if there are any, that tasks have changed. They find out anyhow, only
    /// later, so a failure is no more than a pity.
    pub async fn tell(&self, tasks: impl IntoIterator<Item = Uuid>) {
        if let Some(payload) = self.news.payload(tasks) {
            self.notify(&payload).await;
        }
    }

    /// Tells the other nodes that this one is there.
    pub async fn announce(&self) {
        self.notify(&self.news.presence()).await;
    }

    async fn notify(&self, payload: &str) {
        let told = self
            .execute(include_str!("sql/tell.sql"), &[&payload])
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "the other nodes were not told");
        }
    }

    async fn query(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.store.client().await?;
        let statement = client.prepare_cached(statement).await?;
        Ok(client.query(&statement, values).await?)
    }

    async fn execute(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(), StoreError> {
        self.query(statement, values).await.map(drop)
    }

    /// Takes submissions, each on its own merits; the outcomes come in their order. Durable when it
    /// answers.
    pub async fn submit(
        &self,
        node: Uuid,
        batch: &[Submission],
    ) -> Result<Vec<Outcome>, StoreError> {
        let rows = self
            .query(
                include_str!("sql/submit.sql"),
                &[
                    &node,
                    &column(batch, |s| s.account_id),
                    &column(batch, |s| s.id),
                    &column(batch, |s| s.test),
                    &column(batch, |s| s.model.as_str()),
                    &column(batch, |s| s.media.as_str()),
                    &column(batch, |s| s.provider),
                    &column(batch, |s| Json(&*s.work)),
                    &column(batch, |s| s.quoted),
                    &column(batch, |s| i64::from(s.limit)),
                    &column(batch, |s| milliseconds(s.lifetime)),
                    &column(batch, |s| s.key.as_deref()),
                    &column(batch, |s| s.hash.as_slice()),
                ],
            )
            .await?;
        let mut outcomes: Vec<(i64, Outcome)> =
            rows.iter().map(outcome).collect::<Result<_, _>>()?;
        outcomes.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Ends tasks, each at most once whoever else tries, and settles their holds; `None` for those
    /// that had ended already.
    pub async fn finish(
        &self,
        batch: &[(Uuid, Uuid, Ending)],
    ) -> Result<Vec<Option<Finished>>, StoreError> {
        let rows = self
            .query(
                include_str!("sql/finish.sql"),
                &[
                    &column(batch, |(account_id, ..)| *account_id),
                    &column(batch, |(_, id, _)| *id),
                    &column(batch, |(.., ending)| ending.status.as_str()),
                    &column(batch, |(.., ending)| ending.charge),
                    &column(batch, |(.., ending)| Json(&ending.outputs)),
                    &column(batch, |(.., ending)| ending.failure.as_ref().map(Json)),
                ],
            )
            .await?;
        let mut finished = vec![None; batch.len()];
        for row in rows {
            let place = usize::try_from(row.try_get::<_, i64>("ordinal")? - 1).ok();
            if let Some(slot) = place.and_then(|place| finished.get_mut(place)) {
                *slot = Some(Finished {
                    charged: row.try_get("charged")?,
                    finished_at: row.try_get("finished_at")?,
                });
            }
        }
        self.tell(batch.iter().map(|(_, id, _)| *id)).await;
        Ok(finished)
    }

    /// One task of an account, test or live.
    pub async fn get(
        &self,
        account_id: Uuid,
        id: Uuid,
        test: bool,
    ) -> Result<Option<Task>, TaskError> {
        let rows = self
            .query(include_str!("sql/get.sql"), &[&account_id, &id, &test])
            .await?;
        rows.first().map(task).transpose()
    }

    /// A page of an account's tasks, newest first, all older than `before`.
    pub async fn list(
        &self,
        account_id: Uuid,
        test: bool,
        before: Option<Uuid>,
        status: Option<Status>,
        limit: u32,
    ) -> Result<Vec<Task>, TaskError> {
        let status = status.map(Status::as_str);
        let rows = self
            .query(
                include_str!("sql/list.sql"),
                &[&account_id, &test, &before, &status, &i64::from(limit)],
            )
            .await?;
        rows.iter().map(task).collect()
    }

    /// Asks for an open task to be stopped and answers it as it then stands; `None` when it is not
    /// open or not there.
    pub async fn request_cancel(
        &self,
        account_id: Uuid,
        id: Uuid,
        test: bool,
    ) -> Result<Option<Task>, TaskError> {
        let rows = self
            .query(
                include_str!("sql/request_cancel.sql"),
                &[&account_id, &id, &test],
            )
            .await?;
        self.tell([id]).await;
        rows.first().map(task).transpose()
    }

    /// Writes down that an upstream is about to be asked, and answers when work on the task began;
    /// `None` when that is not this node's to do any more.
    pub async fn begin(
        &self,
        node: Uuid,
        account_id: Uuid,
        id: Uuid,
        attempt: u32,
        provider: &str,
    ) -> Result<Option<SystemTime>, StoreError> {
        let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
        let rows = self
            .query(
                include_str!("sql/begin.sql"),
                &[&account_id, &id, &node, &attempt, &provider],
            )
            .await?;
        self.tell([id]).await;
        Ok(rows
            .first()
            .map(|row| row.try_get("started_at"))
            .transpose()?)
    }

    /// Records the upstream's id for an attempt.
    pub async fn submitted(
        &self,
        account_id: Uuid,
        id: Uuid,
        attempt: u32,
        upstream_id: &str,
    ) -> Result<(), StoreError> {
        let attempt = i32::try_from(attempt).unwrap_or(i32::MAX);
        self.execute(
            include_str!("sql/submitted.sql"),
            &[&account_id, &id, &attempt, &upstream_id],
        )
        .await
    }

    /// Writes down how far tasks are, and answers for which that was done: not for rows that are
    /// locked, nor for tasks of others.
    pub async fn progress(
        &self,
        node: Uuid,
        batch: &[(Uuid, Uuid, u8)],
    ) -> Result<Vec<Uuid>, StoreError> {
        let payload = self.news.payload(batch.iter().map(|(_, id, _)| *id));
        let values: [&(dyn ToSql + Sync); 5] = [
            &node,
            &column(batch, |(account_id, ..)| *account_id),
            &column(batch, |(_, id, _)| *id),
            &column(batch, |(.., progress)| i16::from(*progress)),
            &payload,
        ];
        let rows = self
            .query(include_str!("sql/progress.sql"), &values)
            .await?;
        Ok(rows
            .iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, _>>()?)
    }

    /// Keeps files that came after a task had failed.
    pub async fn late(
        &self,
        account_id: Uuid,
        id: Uuid,
        outputs: &[Output],
    ) -> Result<(), StoreError> {
        let outputs = serde_json::to_string(outputs).expect("outputs are plain data");
        self.execute(include_str!("sql/late.sql"), &[&account_id, &id, &outputs])
            .await
    }

    /// Renews the lease of a node.
    pub async fn renew(&self, node: Uuid, lease: Duration) -> Result<Renewed, StoreError> {
        let lease_ms = milliseconds(lease) as f64;
        let rows = self
            .query(include_str!("sql/renew.sql"), &[&node, &lease_ms])
            .await?;
        let Some(row) = rows.first() else {
            return Err(StoreError::Unavailable("a renewal gave no answer".into()));
        };
        Ok(Renewed {
            valid: row.try_get("renewed")?,
            company: row.try_get("company")?,
            canceling: row.try_get("canceling")?,
        })
    }

    /// Begins the lease of a node. Whatever names it when this has answered stays its own.
    pub async fn register(&self, node: Uuid, lease: Duration) -> Result<(), StoreError> {
        let lease_ms = milliseconds(lease) as f64;
        self.execute(include_str!("sql/register.sql"), &[&node, &lease_ms])
            .await
    }

    /// At most `limit` of the open tasks that name a node, those after `last` (deadline and id), in
    /// this order.
    pub async fn owned(
        &self,
        node: Uuid,
        last: (SystemTime, Uuid),
        limit: usize,
    ) -> Result<Vec<Owned>, StoreError> {
        let (deadline_at, id) = last;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values: [&(dyn ToSql + Sync); 4] = [&node, &deadline_at, &id, &limit];
        let rows = self.query(include_str!("sql/owned.sql"), &values).await?;
        rows.iter()
            .map(|row| {
                Ok(Owned {
                    account_id: row.try_get("account_id")?,
                    id: row.try_get("id")?,
                    deadline_at: row.try_get("deadline_at")?,
                    cancel_requested: row.try_get("cancel_requested")?,
                })
            })
            .collect()
    }

    /// Declares the leases over that have run out, and answers the dead nodes that left something.
    pub async fn lapsed(&self) -> Result<Vec<Uuid>, StoreError> {
        let rows = self.query(include_str!("sql/lapsed.sql"), &[]).await?;
        Ok(rows
            .iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, _>>()?)
    }

    /// Takes over at most `limit` open tasks of a dead node, the most urgent first, from the deadline
    /// `from` on.
    pub async fn claim(
        &self,
        node: Uuid,
        dead: Uuid,
        from: SystemTime,
        limit: usize,
    ) -> Result<Taken, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values: [&(dyn ToSql + Sync); 4] = [&node, &dead, &from, &limit];
        let rows = self.query(include_str!("sql/claim.sql"), &values).await?;
        let deadlines = rows
            .iter()
            .filter_map(|row| row.try_get("deadline_at").ok());
        Ok(Taken {
            until: deadlines.max(),
            count: rows.len(),
            tasks: readable(&rows),
        })
    }

    /// Those of the tasks, by account and id, that are open and a node's own.
    pub async fn adopt(
        &self,
        node: Uuid,
        tasks: &[(Uuid, Uuid)],
    ) -> Result<Vec<Claimed>, StoreError> {
        let values: [&(dyn ToSql + Sync); 3] = [
            &node,
            &column(tasks, |(account_id, _)| *account_id),
            &column(tasks, |(_, id)| *id),
        ];
        let rows = self.query(include_str!("sql/adopt.sql"), &values).await?;
        Ok(readable(&rows))
    }

    /// How tasks stand, by account and id; those that are not there are left out, and so are those
    /// that cannot be read.
    pub async fn look(&self, tasks: &[(Uuid, Uuid)]) -> Result<Vec<Sight>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [
            &column(tasks, |(account_id, _)| *account_id),
            &column(tasks, |(_, id)| *id),
        ];
        let rows = self.query(include_str!("sql/look.sql"), &values).await?;
        let sight = |row| {
            Some(Sight {
                task: task(row).ok()?,
                node: row.try_get("node_id").ok()?,
                cancel_requested: row.try_get("cancel_requested").ok()?,
            })
        };
        Ok(rows.iter().filter_map(sight).collect())
    }

    /// At most `limit` open tasks whose time is up, by account and id.
    pub async fn overdue(&self, limit: i64) -> Result<Vec<(Uuid, Uuid)>, StoreError> {
        let rows = self
            .query(include_str!("sql/overdue.sql"), &[&limit])
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("account_id")?, row.try_get("id")?)))
            .collect()
    }

    /// Ends the lease of a node and tells the others.
    pub async fn release_node(&self, node: Uuid) -> Result<(), StoreError> {
        let payload = self.news.presence();
        self.execute(include_str!("sql/release_node.sql"), &[&node, &payload])
            .await
    }

    /// Removes nodes that ended long ago.
    pub async fn forget_nodes(&self) -> Result<(), StoreError> {
        self.execute(include_str!("sql/forget_nodes.sql"), &[])
            .await
    }
}

/// Submissions, for a batcher.
pub(super) struct Submissions {
    pub records: Records,
    /// The node that the tasks belong to.
    pub node: Uuid,
}

impl Batch for Submissions {
    type Job = Submission;
    type Answer = Outcome;

    async fn run(&self, jobs: &[Submission]) -> Result<Vec<Outcome>, StoreError> {
        self.records.submit(self.node, jobs).await
    }
}

/// Endings of tasks (account, task, how), for a batcher.
pub(super) struct Endings {
    pub records: Records,
}

impl Batch for Endings {
    type Job = (Uuid, Uuid, Ending);
    type Answer = Option<Finished>;

    async fn run(&self, jobs: &[Self::Job]) -> Result<Vec<Self::Answer>, StoreError> {
        self.records.finish(jobs).await
    }
}

/// One value of every element: PostgreSQL takes a batch as columns.
fn column<'a, T, V>(batch: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    batch.iter().map(value).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn outcome(row: &Row) -> Result<(i64, Outcome), tokio_postgres::Error> {
    let outcome = match row.try_get("outcome")? {
        "ACCEPTED" => Outcome::Accepted {
            created_at: row.try_get("created_at")?,
            deadline_at: row.try_get("deadline_at")?,
        },
        "REPLAYED" => Outcome::Replayed(row.try_get("task_id")?),
        "KEY_REUSED" => Outcome::KeyReused,
        "TOO_MANY" => Outcome::TooMany,
        _ => Outcome::Insufficient {
            available: row.try_get("available")?,
        },
    };
    Ok((row.try_get("ordinal")?, outcome))
}

fn task(row: &Row) -> Result<Task, TaskError> {
    read_task(row).ok().flatten().ok_or(TaskError::Damaged)
}

fn read_task(row: &Row) -> Result<Option<Task>, tokio_postgres::Error> {
    let Some(status) = Status::parse(row.try_get("status")?) else {
        return Ok(None);
    };
    let Some(media) = media(row.try_get("media_type")?) else {
        return Ok(None);
    };
    let Ok(progress) = u8::try_from(row.try_get::<_, i16>("progress")?) else {
        return Ok(None);
    };
    let (test, quoted) = (row.try_get("test")?, row.try_get("quoted")?);
    let charged: Option<i64> = row.try_get("charged")?;
    let Json(outputs): Json<Vec<Output>> = row.try_get("outputs")?;
    let late_outputs = row
        .try_get::<_, Option<&str>>("late_outputs")?
        .map_or(Ok(Vec::new()), serde_json::from_str);
    let Ok(late_outputs) = late_outputs else {
        return Ok(None);
    };
    let Json(adjustments): Json<Vec<Adjustment>> = row.try_get("adjustments")?;
    let failure: Option<Json<Failure>> = row.try_get("failure")?;
    Ok(Some(Task {
        id: row.try_get("id")?,
        account_id: row.try_get("account_id")?,
        test,
        status,
        progress,
        model: row.try_get("model")?,
        media,
        outputs,
        late_outputs,
        failure: failure.map(|Json(failure)| failure),
        credits: charged.map_or_else(
            || Credits::open(quoted, test),
            |charged| Credits::settled(quoted, charged),
        ),
        adjustments,
        provider: row.try_get("provider")?,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
    }))
}

fn media(word: &str) -> Option<MediaType> {
    MediaType::NAMED
        .into_iter()
        .find_map(|(name, media)| (name == word).then_some(media))
}

/// The tasks that can be read; the others are left to their deadlines.
fn readable(rows: &[Row]) -> Vec<Claimed> {
    let readable = |row: &Row| {
        let id = row.try_get::<_, Uuid>("id").ok();
        claimed(row)
            .inspect_err(|error| tracing::error!(%error, task = ?id, "not taken over"))
            .ok()
    };
    rows.iter().filter_map(readable).collect()
}

fn claimed(row: &Row) -> Result<Claimed, TaskError> {
    let task = task(row)?;
    let read = || -> Result<_, tokio_postgres::Error> {
        let Json(work) = row.try_get("request")?;
        let attempt: i32 = row.try_get("attempt")?;
        Ok(Claimed {
            task,
            work,
            attempt: u32::try_from(attempt).unwrap_or_default(),
            upstream_id: row.try_get("upstream_id")?,
            deadline_at: row.try_get("deadline_at")?,
            cancel_requested: row.try_get("cancel_requested")?,
        })
    };
    read().map_err(|_| TaskError::Damaged)
}
