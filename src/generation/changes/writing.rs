//! The one statement that writes what a batch comes to: what it takes, section by section as columns, and
//! what it answers. See `tasks_write` in `V17__less_for_each_batch.sql`; the order here is the order there.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::decide::{Decided, Ended};
use super::{Begun, Change, Ending, Submission, What};
use crate::generation::key::{Key, places};
use crate::store::{Columns, StoreError};

/// What a use of the statement writes; a section of no changes is passed over.
pub(super) struct Writing<'b> {
    pub node: Uuid,
    /// How long an idempotency key is remembered.
    pub key_lifetime: Duration,
    /// The changes that were worked out beforehand: their keys must have led to nothing, and if they end
    /// tasks, all of those must be open.
    pub expected: &'b [Change],
    /// The changes whose attempts begin or arrive and whose tasks end, where that may be.
    pub moved: &'b [Change],
    /// The changes that submit, of which those are inserted that were accepted.
    pub submitted: &'b [Change],
    /// The weeks, as idempotency keys count them, from which keys still count, up to this one.
    pub weeks: RangeInclusive<i64>,
    pub decided: &'b Decided,
    /// For the other nodes.
    pub news: Option<String>,
}

/// What was written.
pub(super) struct Written {
    /// When the transaction began.
    pub at: SystemTime,
    /// Attempts that began, or may not yet; nothing is said of the others.
    pub begun: HashMap<Uuid, Begun>,
    /// The tasks that were open, and are not any more.
    pub ended: HashMap<Uuid, Ended>,
}

impl Writing<'_> {
    /// The parameters of the statement.
    pub fn columns(&self) -> Columns<'_> {
        let chains = &self.decided.chains;
        let mut columns: Columns<'_> = vec![Box::new(self.node)];
        columns.extend(chains.resumed());
        columns.extend(self.unused());
        columns.extend(self.begins());
        columns.extend(self.arrivals());
        columns.extend(self.endings());
        columns.extend(self.tasks());
        columns.extend(chains.entries());
        columns.push(Box::new(&self.news));
        columns
    }

    /// A key whose task is inserted is seen to be unused in this week by that.
    fn unused(&self) -> Columns<'_> {
        let keys = || submissions(self.expected).filter_map(|(job, s)| Some((job.id, s.key?)));
        let (first, last) = (*self.weeks.start(), *self.weeks.end());
        let codes = keys().flat_map(|(id, key)| {
            let inserted = self.decided.accepted.contains(&id);
            let weeks = first..last + i64::from(!inserted);
            weeks.flat_map(move |week| key.codes(week))
        });
        let codes: Vec<_> = codes.collect();
        let any = keys().next().is_some();
        vec![
            column(&codes, |code| *code),
            Box::new(self.key_lifetime.as_secs_f64()),
            Box::new(any.then_some(first)),
            Box::new(any.then_some(last)),
        ]
    }

    fn begins(&self) -> Columns<'_> {
        let begins = |job| match job {
            &Change {
                account_id,
                id,
                what:
                    What::Begin {
                        attempt,
                        ref provider,
                    },
            } => Some((account_id, id, attempt, provider)),
            _ => None,
        };
        let rows: Vec<_> = self.moved.iter().filter_map(begins).collect();
        vec![
            column(&rows, |(account_id, ..)| *account_id),
            column(&rows, |(_, id, ..)| *id),
            column(&rows, |(_, _, attempt, _)| number(*attempt)),
            column(&rows, |(.., provider)| provider.as_str()),
        ]
    }

    fn arrivals(&self) -> Columns<'_> {
        let arrivals = |job| match job {
            &Change {
                account_id,
                id,
                what:
                    What::Arrive {
                        attempt,
                        ref upstream_id,
                    },
            } => Some((account_id, id, attempt, upstream_id)),
            _ => None,
        };
        let rows: Vec<_> = self.moved.iter().filter_map(arrivals).collect();
        vec![
            column(&rows, |(account_id, ..)| *account_id),
            column(&rows, |(_, id, ..)| *id),
            column(&rows, |(_, _, attempt, _)| number(*attempt)),
            column(&rows, |(.., upstream_id)| upstream_id.as_str()),
        ]
    }

    /// Of several endings of one task in the batch, the first counts.
    fn endings(&self) -> Columns<'_> {
        let mut seen = HashSet::new();
        let endings = |job| match job {
            &Change {
                account_id,
                id,
                what: What::Finish(ref ending),
            } if seen.insert(id) => Some((account_id, id, ending)),
            _ => None,
        };
        let rows: Vec<(_, _, &Ending)> = self.moved.iter().filter_map(endings).collect();
        let outputs = |ending: &Ending| (!ending.outputs.is_empty()).then(|| json(&ending.outputs));
        vec![
            column(&rows, |(account_id, ..)| *account_id),
            column(&rows, |(_, id, _)| *id),
            column(&rows, |(.., ending)| ending.status.as_str()),
            column(&rows, |(.., ending)| ending.charge),
            column(&rows, |(.., ending)| outputs(ending)),
            column(&rows, |(.., ending)| ending.failure.as_ref().map(json)),
            Box::new(!self.expected.is_empty()),
        ]
    }

    fn tasks(&self) -> Columns<'_> {
        let accepted = |(job, _): &(&Change, _)| self.decided.accepted.contains(&job.id);
        let rows: Vec<_> = submissions(self.submitted).filter(accepted).collect();
        let keys = rows.iter().map(|(_, s)| s.key);
        let codes = places(keys, *self.weeks.end(), self.decided.taken.clone());
        vec![
            column(&rows, |(job, _)| job.account_id),
            column(&rows, |(job, _)| job.id),
            column(&rows, |(_, s)| milliseconds(s.lifetime)),
            column(&rows, |(_, s)| s.quoted),
            column(&codes, |code| *code),
            column(&rows, |(_, s)| s.key.map(Key::to_bytes)),
            column(&rows, |(_, s)| s.test),
            column(&rows, |(_, s)| s.key_id),
            column(&rows, |(_, s)| s.media.as_str()),
            column(&rows, |(_, s)| s.model.as_str()),
            column(&rows, |(_, s)| s.provider.as_str()),
            column(&rows, |(_, s)| json(&*s.work)),
            column(&rows, |(_, s)| s.to_webhooks.then_some(true)),
            column(&rows, |(_, s)| s.webhook_url.as_deref()),
        ]
    }
}

impl Written {
    /// From the rows of the statement: the first says when, of the others those are of tasks that ended
    /// that say whether they are tests.
    pub fn read(rows: &[Row]) -> Result<Self, StoreError> {
        let mut written = Self {
            at: SystemTime::UNIX_EPOCH,
            begun: HashMap::new(),
            ended: HashMap::new(),
        };
        for row in rows {
            let (id, at): (Option<Uuid>, Option<SystemTime>) = (row.try_get(0)?, row.try_get(1)?);
            match (id, row.try_get(2)?, at) {
                (None, _, at) => written.at = at.unwrap_or(written.at),
                (Some(id), None, at) => {
                    let begun = at.map_or(Begun::NotNow, Begun::At);
                    written.begun.insert(id, begun);
                }
                (Some(id), Some(test), at) => {
                    let ended = Ended {
                        test,
                        quoted: row.try_get(3)?,
                        charged: row.try_get(4)?,
                        key_id: row.try_get(5)?,
                        created_at: row.try_get(6)?,
                        finished_at: at.unwrap_or(written.at),
                        owes: row.try_get(7)?,
                    };
                    written.ended.insert(id, ended);
                }
            }
        }
        Ok(written)
    }
}

/// The submissions among the changes.
pub(super) fn submissions(jobs: &[Change]) -> impl Iterator<Item = (&Change, &Submission)> {
    jobs.iter().filter_map(|job| match &job.what {
        What::Submit(submission) => Some((job, submission)),
        _ => None,
    })
}

/// One value of every row. Without rows it is NULL, which PostgreSQL need not read as an array.
fn column<'c, T, V: ToSql + Send + Sync + 'c>(
    rows: &[T],
    value: impl Fn(&T) -> V,
) -> Box<dyn ToSql + Send + Sync + 'c> {
    let values = rows.iter().map(value).collect::<Vec<V>>();
    Box::new((!values.is_empty()).then_some(values))
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn number(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values with text keys always serialize")
}
