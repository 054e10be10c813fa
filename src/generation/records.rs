//! The task tables, but for what happens to tasks, which [`changes`](super::changes) writes: one function
//! a statement, rows in, values out. Nothing is decided here.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::errors::TaskError;
use super::request::Work;
use super::status::Status;
use super::task::{Adjustment, Credits, Task};
use crate::catalog::MediaType;
use crate::store::{Store, StoreError};

/// The task tables.
#[derive(Clone)]
pub(super) struct Records {
    store: Store,
}

/// An open task that this node took over.
pub(super) struct Claimed {
    pub task: Task,
    pub work: Work,
    pub attempt: u32,
    pub upstream_id: Option<String>,
    pub deadline_at: SystemTime,
    pub cancel_requested: bool,
}

/// An open task that names this node.
pub(super) struct Owned {
    pub id: Uuid,
    pub cancel_requested: bool,
}

impl Records {
    pub fn new(store: Store) -> Self {
        Self { store }
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
        rows.first().map(task).transpose()
    }

    /// Writes down how far tasks are.
    pub async fn progress(&self, node: Uuid, batch: &[(Uuid, Uuid, u8)]) -> Result<(), StoreError> {
        let values: [&(dyn ToSql + Sync); 4] = [
            &node,
            &column(batch, |(account_id, ..)| *account_id),
            &column(batch, |(_, id, _)| *id),
            &column(batch, |(.., progress)| i16::from(*progress)),
        ];
        self.execute(include_str!("sql/progress.sql"), &values)
            .await
    }

    /// Renews the lease of a node and answers the open tasks that it covers.
    pub async fn heartbeat(&self, node: Uuid, lease: Duration) -> Result<Vec<Owned>, StoreError> {
        let lease_ms = milliseconds(lease) as f64;
        let rows = self
            .query(include_str!("sql/heartbeat.sql"), &[&node, &lease_ms])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Owned {
                    id: row.try_get("id")?,
                    cancel_requested: row.try_get("cancel_requested")?,
                })
            })
            .collect()
    }

    /// Takes over at most `limit` open tasks that nobody works on, the most urgent first; `known`
    /// are those of `node` that it works on. A row that cannot be read is left to its deadline.
    pub async fn claim(
        &self,
        node: Uuid,
        known: &[Uuid],
        limit: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .query(include_str!("sql/claim.sql"), &[&node, &known, &limit])
            .await?;
        let readable = |row: &Row| {
            let id = row.try_get::<_, Uuid>("id").ok();
            claimed(row)
                .inspect_err(|error| tracing::error!(%error, task = ?id, "not taken over"))
                .ok()
        };
        Ok(rows.iter().filter_map(readable).collect())
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

    /// Ends the lease of a node.
    pub async fn release_node(&self, node: Uuid) -> Result<(), StoreError> {
        self.execute(include_str!("sql/release_node.sql"), &[&node])
            .await
    }

    /// Removes nodes that ended long ago.
    pub async fn forget_nodes(&self) -> Result<(), StoreError> {
        self.execute(include_str!("sql/forget_nodes.sql"), &[])
            .await
    }
}

/// One value of every element: PostgreSQL takes a batch as columns.
fn column<'a, T, V>(batch: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    batch.iter().map(value).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
    Ok(Some(Task {
        id: row.try_get("id")?,
        account_id: row.try_get("account_id")?,
        test,
        status,
        progress,
        model: row.try_get("model")?,
        media,
        outputs,
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

fn media(word: &str) -> Option<MediaType> {
    MediaType::NAMED
        .into_iter()
        .find_map(|(name, media)| (name == word).then_some(media))
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
