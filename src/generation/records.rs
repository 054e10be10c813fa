//! The task tables, but for what happens to tasks, which [`changes`](super::changes) writes: one function
//! a statement, rows in, values out. Nothing is decided here.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use deadpool_postgres::Transaction;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::errors::TaskError;
use super::key::Key;
use super::lost::{Lost, Word};
use super::news::{self, News};
use super::request::{Asked, Work};
use super::status::Status;
use super::task::{Adjustment, Credits, Filter, Output, Task};
use crate::catalog::MediaType;
use crate::store::{Listener, Store, StoreError};

/// The task tables.
#[derive(Clone)]
pub(super) struct Records {
    store: Store,
    news: News,
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

/// What stands of a submission after the operator's word was given on it.
pub(super) struct Settling {
    pub account_id: Uuid,
    pub account: String,
    /// The word that stands.
    pub word: Option<Word>,
    pub settled_at: Option<SystemTime>,
    /// Whether it was given in this transaction.
    pub is_first: bool,
    /// Why this word was not taken: `SETTLED`, `ENDED` or `KNOWN`.
    pub refused: Option<String>,
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

    /// The rows of a statement that only reads.
    pub async fn read(
        &self,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.query(statement, values).await
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

    /// The task that an idempotency key led to, and what was asked then, as far back as keys are
    /// remembered.
    pub async fn key_use(
        &self,
        key: &Key,
        lifetime: Duration,
    ) -> Result<Option<(Key, Uuid)>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&key.bits().to_vec(), &lifetime.as_secs_f64()];
        let rows = self.query(include_str!("sql/by_keys.sql"), &values).await?;
        for row in rows {
            if let Some(known) = Key::from_bytes(row.try_get(1)?)
                && known.hash == key.hash
            {
                return Ok(Some((known, row.try_get(0)?)));
            }
        }
        Ok(None)
    }

    /// A page of an account's tasks, newest first, all older than `before`.
    pub async fn list(
        &self,
        account_id: Uuid,
        test: bool,
        before: Option<Uuid>,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Task>, TaskError> {
        let values: [&(dyn ToSql + Sync); 7] = [
            &account_id,
            &test,
            &before,
            &filter.status.map(Status::as_str),
            &filter.media.map(media_word),
            &filter.model,
            &i64::from(limit),
        ];
        let rows = self.query(include_str!("sql/list.sql"), &values).await?;
        rows.iter().map(task).collect()
    }

    /// What was asked of those of the tasks that are there and can be read.
    pub async fn asked(
        &self,
        account_id: Uuid,
        test: bool,
        tasks: &[Uuid],
    ) -> Result<HashMap<Uuid, Asked>, StoreError> {
        let values: [&(dyn ToSql + Sync); 3] = [&account_id, &tasks, &test];
        let rows = self.query(include_str!("sql/asked.sql"), &values).await?;
        let mut asked = HashMap::with_capacity(rows.len());
        for row in rows {
            if let Some(work) = json(row.try_get("request")?) {
                asked.insert(row.try_get("id")?, Asked::of(row.try_get("model")?, work));
            }
        }
        Ok(asked)
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

    /// Writes down that nobody knows whether an attempt arrived, and answers the operator's word on it.
    pub async fn lose(
        &self,
        account_id: Uuid,
        id: Uuid,
        attempt: u32,
        provider: &str,
        upstream_model: Option<&str>,
    ) -> Result<Option<Word>, StoreError> {
        let attempt = number(attempt);
        let values: [&(dyn ToSql + Sync); 5] =
            [&account_id, &id, &attempt, &provider, &upstream_model];
        let rows = self.query(include_str!("sql/lose.sql"), &values).await?;
        Ok(rows.first().map(word).transpose()?.flatten())
    }

    /// The operator's word on an attempt that nobody knew about.
    pub async fn lost_word(&self, id: Uuid, attempt: u32) -> Result<Option<Word>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&id, &number(attempt)];
        let rows = self
            .query(include_str!("sql/lost_word.sql"), &values)
            .await?;
        Ok(rows.first().map(word).transpose()?.flatten())
    }

    /// Takes an attempt off those that nobody knows about, since its upstream told.
    pub async fn lost_told(&self, id: Uuid, attempt: u32) -> Result<(), StoreError> {
        self.execute(include_str!("sql/lost_told.sql"), &[&id, &number(attempt)])
            .await
    }

    /// At most `limit` submissions that nobody knows about, of tasks after `after`.
    pub async fn lost(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Lost>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&after, &i64::from(limit)];
        let rows = self
            .query(include_str!("sql/lost_list.sql"), &values)
            .await?;
        rows.iter().map(|row| Ok(lost(row)?)).collect()
    }

    /// Gives the operator's word on an attempt; `None` when there is nothing of it to be settled.
    pub async fn settle(
        transaction: &Transaction<'_>,
        id: Uuid,
        attempt: u32,
        word: &Word,
        who: &str,
    ) -> Result<Option<Settling>, StoreError> {
        let values: [&(dyn ToSql + Sync); 5] = [
            &id,
            &number(attempt),
            &word.as_str(),
            &word.upstream_id(),
            &who,
        ];
        let row = transaction
            .query_opt(include_str!("sql/lost_settle.sql"), &values)
            .await?;
        Ok(row.as_ref().map(settling).transpose()?)
    }

    /// Removes what nobody settled of tasks that have ended.
    pub async fn forget_lost(&self) -> Result<(), StoreError> {
        self.execute(include_str!("sql/lost_forget.sql"), &[]).await
    }
}

/// One value of every element: PostgreSQL takes a batch as columns.
fn column<'a, T, V>(batch: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    batch.iter().map(value).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn number(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

fn word(row: &Row) -> Result<Option<Word>, tokio_postgres::Error> {
    let (verdict, upstream_id): (Option<&str>, _) =
        (row.try_get("verdict")?, row.try_get("upstream_id")?);
    Ok(verdict.and_then(|verdict| Word::parse(verdict, upstream_id)))
}

fn lost(row: &Row) -> Result<Lost, tokio_postgres::Error> {
    let test = row.try_get("test")?;
    let attempt: i32 = row.try_get("attempt")?;
    Ok(Lost {
        task_id: row.try_get("task_id")?,
        attempt: u32::try_from(attempt).unwrap_or_default(),
        account: row.try_get("account")?,
        test,
        model: row.try_get("model")?,
        provider: row.try_get("provider")?,
        upstream_model: row.try_get("upstream_model")?,
        since: row.try_get("since")?,
        deadline_at: row.try_get("deadline_at")?,
        held: Credits::open(row.try_get("quoted")?, test).held,
    })
}

fn settling(row: &Row) -> Result<Settling, tokio_postgres::Error> {
    Ok(Settling {
        account_id: row.try_get("account_id")?,
        account: row.try_get("account")?,
        is_first: row.try_get("is_first")?,
        word: word(row)?,
        settled_at: row.try_get("settled_at")?,
        refused: row.try_get("refused")?,
    })
}

fn task(row: &Row) -> Result<Task, TaskError> {
    read_task(row).ok().flatten().ok_or(TaskError::Damaged)
}

/// The part of a task's work that callers see.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    adjustments: Vec<Adjustment>,
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
    let Some(Shown { adjustments }) = json(row.try_get("request")?) else {
        return Ok(None);
    };
    let outputs: Option<&str> = row.try_get("outputs")?;
    let Some(outputs) = outputs.map_or(Some(Vec::new()), json) else {
        return Ok(None);
    };
    let failure: Option<&str> = row.try_get("failure")?;
    let Some(failure) = failure.map_or(Some(None), json) else {
        return Ok(None);
    };
    let (test, quoted) = (row.try_get("test")?, row.try_get("quoted")?);
    let charged: Option<i64> = row.try_get("charged")?;
    let late_outputs: Option<&str> = row.try_get("late_outputs")?;
    let Some(late_outputs) = late_outputs.map_or(Some(Vec::new()), json) else {
        return Ok(None);
    };
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
        failure,
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

/// JSON as the rows keep it; none when it is not what was expected.
fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn media_word(media: MediaType) -> &'static str {
    match media {
        MediaType::Image => "image",
        MediaType::Video => "video",
    }
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
    let work = row.try_get("request").ok().and_then(json);
    let work = work.ok_or(TaskError::Damaged)?;
    let read = || -> Result<_, tokio_postgres::Error> {
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
