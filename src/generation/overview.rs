//! How the server stands, for its operator: upstreams, open tasks, nodes, how tasks ended lately.
//!
//! Upstreams stand as this process has found them; everything else is the database's, so any replica tells the same.
//!
//! **Cost.** Open tasks and lost submissions have indexes, and there are never more of them than nodes take
//! ([`Settings::open_tasks_max`](super::Settings)). How tasks ended is counted from the rows of the last day, found by
//! the time of their submission: nothing is counted when tasks end, so submissions and ends pay nothing for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use tokio_postgres::Row;
use uuid::Uuid;

use super::Core;
use super::health::Condition;
use super::status::Status;
use crate::providers::SANDBOX;
use crate::store::StoreError;

/// Nodes that are told of at most.
const NODES_MAX: i64 = 100;

/// How the server stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Overview {
    /// By name; the sandbox last.
    pub upstreams: Vec<Upstream>,
    /// Open tasks.
    pub queue: Queue,
    /// Servers that live or left tasks behind, oldest first.
    pub nodes: Vec<Node>,
    /// Submissions of which nobody knows whether they arrived.
    pub unknown_submissions: u64,
    /// How the tasks ended that were submitted within the last day, by upstream.
    pub ends: BTreeMap<String, Ends>,
}

/// An upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// How it stands; none: it is not set up.
    pub standing: Option<Standing>,
    /// The setting that would set it up, where one would.
    pub missing_setting: Option<String>,
    /// Open tasks that have not begun, and go to it first.
    pub waiting: u64,
    /// Open tasks that have begun with it.
    pub running: u64,
    /// How many of this process may be there at once.
    pub places: Option<usize>,
}

/// How an upstream stands, as this process has found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In a word.
    pub condition: Condition,
    /// For how long it is left alone yet.
    pub rest: Option<Duration>,
    /// Failures in a row.
    pub failures: u32,
    /// What it last failed by, and when.
    pub last_failure: Option<(&'static str, SystemTime)>,
    /// Its ids of models that it no longer has.
    pub gone: Vec<String>,
}

/// Open tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// Not begun.
    pub waiting: u64,
    /// Begun.
    pub running: u64,
    /// Since when the oldest waits that has not begun.
    pub oldest_waiting: Option<SystemTime>,
}

/// A server process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: Uuid,
    /// Whether it was heard within its lease.
    pub is_alive: bool,
    /// Whether it is this very process.
    pub is_this: bool,
    /// Until when its word counts.
    pub leased_until: SystemTime,
    /// Open tasks that are its own.
    pub tasks: u64,
}

/// How tasks ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// Within the last hour.
    pub last_hour: Counts,
    /// Within the last day.
    pub last_day: Counts,
}

/// How many ended how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Delivered.
    pub succeeded: u64,
    /// Stopped on request.
    pub canceled: u64,
    /// Failed, by reason.
    pub failed: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, status: Status, reason: &str, tasks: u64) {
        match status {
            _ if tasks == 0 => {}
            Status::Success => self.succeeded += tasks,
            Status::Canceled => self.canceled += tasks,
            Status::Failed => *self.failed.entry(reason.to_owned()).or_default() += tasks,
            Status::Pending | Status::Processing => {}
        }
    }
}

/// Reads it all.
pub(super) async fn overview(core: &Core) -> Result<Overview, StoreError> {
    let read = async |statement, values: &[_]| core.records.read(statement, values).await;
    let open = read(include_str!("sql/overview_open.sql"), &[]).await?;
    let nodes = read(include_str!("sql/overview_nodes.sql"), &[&NODES_MAX]).await?;
    let lost = read(include_str!("sql/overview_lost.sql"), &[]).await?;
    let ended = read(include_str!("sql/overview_ends.sql"), &[]).await?;
    let (mut queue, mut upstreams) = (Queue::default(), upstreams(core));
    for row in &open {
        let (provider, tasks): (&str, _) = (row.get("provider"), count(row, "tasks"));
        let is_waiting = row.get::<_, &str>("status") == Status::Pending.as_str();
        if is_waiting {
            queue.waiting += tasks;
            let oldest: Option<SystemTime> = row.get("oldest");
            queue.oldest_waiting = [queue.oldest_waiting, oldest].into_iter().flatten().min();
        } else {
            queue.running += tasks;
        }
        let upstream = upstreams.iter_mut().find(|known| known.name == provider);
        if let Some(upstream) = upstream {
            match is_waiting {
                true => upstream.waiting += tasks,
                false => upstream.running += tasks,
            }
        }
    }
    let mut ends: BTreeMap<String, Ends> = BTreeMap::new();
    for row in &ended {
        let Some(status) = Status::parse(row.get("status")) else {
            continue;
        };
        let reason: &str = row.get("reason");
        let ends = ends.entry(row.get("provider")).or_default();
        ends.last_hour.add(status, reason, count(row, "last_hour"));
        ends.last_day.add(status, reason, count(row, "last_day"));
    }
    Ok(Overview {
        upstreams,
        queue,
        nodes: nodes.iter().map(|row| node(core, row)).collect(),
        unknown_submissions: lost.first().map_or(0, |row| count(row, "submissions")),
        ends,
    })
}

/// All upstreams that this server knows, as they stand, without their tasks.
fn upstreams(core: &Core) -> Vec<Upstream> {
    let now = Instant::now();
    let bounded: BTreeMap<&str, usize> = core.providers.bounds().collect();
    let upstream = |name: &str| Upstream {
        name: name.to_owned(),
        standing: core
            .providers
            .get(name)
            .and_then(|_| core.health.standing(name, now)),
        missing_setting: core.providers.missing_setting(name).map(str::to_owned),
        waiting: 0,
        running: 0,
        places: bounded.get(name).copied(),
    };
    let names = core.providers.names().into_iter();
    let (sandbox, others): (Vec<_>, Vec<_>) = names.partition(|name| *name == SANDBOX);
    others.into_iter().chain(sandbox).map(upstream).collect()
}

fn node(core: &Core, row: &Row) -> Node {
    let id = row.get("id");
    Node {
        id,
        is_alive: row.get("alive"),
        is_this: id == core.node,
        leased_until: row.get("leased_until"),
        tasks: count(row, "tasks"),
    }
}

fn count(row: &Row, column: &str) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or_default()
}
