//! The one or two round trips of a batch: everything in one statement where it can be worked out
//! beforehand, otherwise a look first.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, Notify, RwLock};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::decide::{Decided, Ended, Found, decide};
use super::spending::Spending;
use super::writing::{Writing, Written, submissions};
use super::{Answer, Begun, Change, Outcome, What};
use crate::generation::batcher::Batch;
use crate::generation::key::{Hash, Key};
use crate::generation::news::News;
use crate::ledger::{Chains, Ends};
use crate::store::{Client, Line, Store, StoreError, parameters};

const BY_KEYS: &str = include_str!("../sql/by_keys.sql");
const OPEN_TESTS: &str = include_str!("../sql/open_tests.sql");
const SPENDING: &str = include_str!("../sql/spending.sql");
const WRITE: &str = include_str!("../sql/write.sql");
const SPEND: &str = include_str!("../sql/spend.sql");
const GIVE_BACK: &str = include_str!("../sql/give_back.sql");
/// The index in which each idempotency key has a place of its own: whoever uses one again finds it taken.
const BY_KEY: &str = "tasks_by_key";
/// All of them: a statement that had to be prepared on the way would lose its place in the pipeline.
const STATEMENTS: [&str; 6] = [BY_KEYS, OPEN_TESTS, SPENDING, WRITE, SPEND, GIVE_BACK];

/// Writes batches of changes to the tasks of a node, for one shard of the accounts.
pub(super) struct Writer {
    store: Store,
    node: Uuid,
    news: News,
    /// Told when somebody is to be told of an end.
    owed: Arc<Notify>,
    /// How long an idempotency key is remembered.
    key_lifetime: Duration,
    /// Where the chains of accounts end when what this writer has sent is committed.
    ends: Ends,
    /// Where batches that are worked out beforehand follow each other, while there are any. Locked while it is made: two
    /// of them must not make one each.
    line: Mutex<Weak<Line>>,
    /// Such batches go beside each other; one that looks first goes alone. Beside it another would be worked out
    /// from what it is about to change, would be refused, and would do the same to the next.
    turns: RwLock<()>,
}

impl Batch for Writer {
    type Job = Change;
    type Answer = Answer;

    async fn run(&self, jobs: &[Change]) -> Result<Vec<Answer>, StoreError> {
        let accounts = || jobs.iter().map(|job| job.account_id);
        let beside = self.turns.read().await;
        let answers = self.run_remembered(jobs).await;
        if answers.is_err() {
            self.ends.forget(accounts());
        }
        match answers {
            // Nothing was written: there was nothing to go by, or it did not hold, or could not even be gone on from.
            Ok(None) | Err(StoreError::Inconsistent(_)) => {}
            Err(error) if error.is_outdated() || error.constraint() == Some(BY_KEY) => {}
            Ok(Some(answers)) => return Ok(answers),
            Err(error) => return Err(error),
        }
        drop(beside);
        let _alone = self.turns.write().await;
        self.run_anew(jobs)
            .await
            .inspect_err(|_| self.ends.forget(accounts()))
    }
}

impl Writer {
    /// For the tasks of a node, whose idempotency keys live so long.
    pub fn new(
        store: Store,
        node: Uuid,
        news: News,
        owed: Arc<Notify>,
        key_lifetime: Duration,
    ) -> Self {
        Self {
            store,
            node,
            news,
            owed,
            key_lifetime,
            ends: Ends::default(),
            line: Mutex::default(),
            turns: RwLock::default(),
        }
    }

    /// A connection of its own.
    async fn line(&self) -> Result<Line, StoreError> {
        let line = self.store.line().await?;
        Chains::prepare(&*line).await?;
        for statement in STATEMENTS {
            line.prepare_cached(statement).await?;
        }
        Ok(line)
    }

    /// The connection that the last batch went out on, if that is still under way.
    async fn shared_line(&self) -> Result<Arc<Line>, StoreError> {
        let mut shared = self.line.lock().await;
        if let Some(line) = shared.upgrade().filter(|line| line.is_sound()) {
            return Ok(line);
        }
        let line = Arc::new(self.line().await?);
        *shared = Arc::downgrade(&line);
        Ok(line)
    }

    /// What a batch will most likely find; `None` when that cannot be said.
    fn remember(&self, jobs: &[Change]) -> Option<Found> {
        let mut ended = HashMap::new();
        for job in jobs {
            match &job.what {
                // Open test tasks and what capped keys have spent are not remembered.
                What::Submit(submission) => {
                    if submission.test || submission.capped_key().is_some() {
                        return None;
                    }
                }
                What::Begin { .. } | What::Arrive { .. } => {}
                What::Finish(ending) => {
                    let (quoted, test) = ending.of?;
                    // A key gets credits back, and only the row knows which key.
                    if !test && ending.charge < quoted {
                        return None;
                    }
                    let charged = if test { 0 } else { quoted };
                    ended.entry(job.id).or_insert(Ended {
                        test,
                        quoted,
                        charged,
                        key_id: None,
                        created_at: SystemTime::UNIX_EPOCH,
                        finished_at: SystemTime::UNIX_EPOCH,
                        owes: false,
                    });
                }
            }
        }
        Some(Found {
            chains: self.ends.recall(jobs.iter().map(|job| job.account_id))?,
            keys: HashMap::new(),
            taken: HashSet::new(),
            open_tests: HashMap::new(),
            spending: HashMap::new(),
            begun: HashMap::new(),
            ended,
        })
    }

    /// Works the batch out first and does everything in one statement, which may be sent before that of the
    /// last batch is done: if that one fails, this one does not find what it expects and fails too. `None` when it
    /// cannot be worked out first.
    ///
    /// # Errors
    /// [`StoreError::is_outdated`] when something is not as it was remembered; nothing was written then.
    async fn run_remembered(&self, jobs: &[Change]) -> Result<Option<Vec<Answer>>, StoreError> {
        let line = self.shared_line().await?;
        let statement = line.prepare_cached(WRITE).await?;
        // From here on until it is sent nothing is waited for: another batch would go by the same as this one.
        let Some(found) = self.remember(jobs) else {
            return Ok(None);
        };
        let mut decided = decide(found, jobs)?;
        self.ends.remember(&decided.chains);
        let batch = Writing {
            expected: jobs,
            moved: jobs,
            submitted: jobs,
            weeks: weeks(SystemTime::now(), self.key_lifetime),
            ..self.writing(&decided, jobs)
        };
        let rows = line.alone(&statement, &batch.columns()).await?;
        let Written { at, begun, ended } = Written::read(&rows)?;
        if ended.values().any(|ended| ended.owes) {
            self.owed.notify_one();
        }
        for (job, answer) in jobs.iter().zip(&mut decided.answers) {
            match (answer, &job.what) {
                (Answer::Submitted(outcome @ Outcome::Accepted { .. }), What::Submit(asked)) => {
                    *outcome = asked.accepted(at);
                }
                (Answer::Begun(whether), _) => {
                    *whether = begun.get(&job.id).copied().unwrap_or(Begun::Never);
                }
                (Answer::Finished(Some(finished)), _) => {
                    if let Some(ended) = ended.get(&job.id) {
                        finished.finished_at = ended.finished_at;
                    }
                }
                _ => {}
            }
        }
        Ok(Some(decided.answers))
    }

    /// Looks first, then decides, then writes.
    async fn run_anew(&self, jobs: &[Change]) -> Result<Vec<Answer>, StoreError> {
        let write = async |client: &Client, found: Found| {
            let decided = decide(found, jobs)?;
            let batch = Writing {
                submitted: jobs,
                weeks: weeks(decided.chains.at(), self.key_lifetime),
                ..self.writing(&decided, jobs)
            };
            futures_util::try_join!(
                write(client, &batch),
                spend(client, &decided),
                give_back(client, &decided),
            )?;
            Ok(decided)
        };
        let line = self.line().await?;
        let done =
            line.transaction_in_two(async |client: &Client| self.look(client, jobs).await, write);
        let decided = done.await?;
        self.ends.remember(&decided.chains);
        if decided.owes {
            self.owed.notify_one();
        }
        Ok(decided.answers)
    }

    /// The first round trip: locks, then reads, and writes what needs no decision.
    async fn look(&self, client: &Client, jobs: &[Change]) -> Result<Found, StoreError> {
        let accounts: Vec<_> = jobs.iter().map(|job| job.account_id).collect();
        let nothing = Decided::default();
        let moves = Writing {
            moved: jobs,
            news: None,
            ..self.writing(&nothing, jobs)
        };
        let (chains, (keys, taken), open_tests, spending, written) = futures_util::try_join!(
            Chains::lock(client, &accounts),
            keys(client, jobs, self.key_lifetime),
            open_tests(client, jobs),
            spending(client, jobs),
            write(client, &moves),
        )?;
        Ok(Found {
            chains,
            keys,
            taken,
            open_tests,
            spending,
            begun: written.begun,
            ended: written.ended,
        })
    }

    /// Nothing yet but the entries that were decided on, and news for the other nodes.
    fn writing<'b>(&self, decided: &'b Decided, jobs: &[Change]) -> Writing<'b> {
        let moved = |job: &Change| match job.what {
            What::Begin { .. } | What::Finish(_) => Some(job.id),
            What::Submit(_) | What::Arrive { .. } => None,
        };
        Writing {
            node: self.node,
            key_lifetime: self.key_lifetime,
            expected: &[],
            moved: &[],
            submitted: &[],
            weeks: 0..=0,
            decided,
            news: self.news.payload(jobs.iter().filter_map(moved)),
        }
    }
}

async fn query(
    client: &Client,
    statement: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, StoreError> {
    let statement = client.prepare_cached(statement).await?;
    Ok(client.query(&statement, values).await?)
}

async fn write(client: &Client, batch: &Writing<'_>) -> Result<Written, StoreError> {
    let columns = batch.columns();
    Written::read(&query(client, WRITE, &parameters(&columns)).await?)
}

/// The tasks that the batch's idempotency keys led to before, by key, with what was asked then; and where keys
/// were found, also others that share a place with them.
async fn keys(
    client: &Client,
    jobs: &[Change],
    lifetime: Duration,
) -> Result<(HashMap<Hash, (Key, Uuid)>, HashSet<i64>), StoreError> {
    let bits: Vec<_> = submissions(jobs)
        .filter_map(|(_, submission)| submission.key.as_ref().map(Key::bits))
        .flatten()
        .collect();
    if bits.is_empty() {
        return Ok(Default::default());
    }
    let rows = query(client, BY_KEYS, &[&bits, &lifetime.as_secs_f64()]).await?;
    let mut keys = HashMap::with_capacity(rows.len());
    let mut taken = HashSet::with_capacity(rows.len());
    for row in rows {
        taken.insert(row.try_get(2)?);
        if let Some(key) = Key::from_bytes(row.try_get(1)?) {
            keys.insert(key.hash, (key, row.try_get(0)?));
        }
    }
    Ok((keys, taken))
}

/// How many tasks each account has open in the world of test keys.
async fn open_tests(client: &Client, jobs: &[Change]) -> Result<HashMap<Uuid, u32>, StoreError> {
    let accounts: Vec<_> = submissions(jobs)
        .filter(|(_, submission)| submission.test)
        .map(|(job, _)| job.account_id)
        .collect();
    if accounts.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = query(client, OPEN_TESTS, &[&accounts]).await?;
    let count = |row: &Row| {
        let open: i64 = row.try_get(1)?;
        Ok((row.try_get(0)?, u32::try_from(open).unwrap_or(u32::MAX)))
    };
    rows.iter().map(count).collect()
}

/// What the capped keys of the batch have spent.
async fn spending(client: &Client, jobs: &[Change]) -> Result<HashMap<Uuid, Spending>, StoreError> {
    let keys: Vec<_> = submissions(jobs)
        .filter_map(|(_, submission)| submission.capped_key())
        .collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = query(client, SPENDING, &[&keys]).await?;
    let read = |row: &Row| {
        let spending = Spending {
            hour: row.try_get(1)?,
            in_hour: row.try_get(2)?,
            day: row.try_get(3)?,
            in_day: row.try_get(4)?,
            in_all: row.try_get(5)?,
        };
        Ok((row.try_get(0)?, spending))
    };
    rows.iter().map(read).collect()
}

/// Writes what capped keys have spent by now.
async fn spend(client: &Client, decided: &Decided) -> Result<(), StoreError> {
    let spent: Vec<_> = decided.spent.iter().collect();
    if spent.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 7] = [
        &column(&spent, |(key_id, _)| **key_id),
        &column(&spent, |(_, (account_id, _))| *account_id),
        &column(&spent, |(_, (_, spending))| spending.hour),
        &column(&spent, |(_, (_, spending))| spending.in_hour),
        &column(&spent, |(_, (_, spending))| spending.day),
        &column(&spent, |(_, (_, spending))| spending.in_day),
        &column(&spent, |(_, (_, spending))| spending.in_all),
    ];
    query(client, SPEND, &values).await.map(drop)
}

/// Takes what ended tasks gave back off what their keys have spent.
async fn give_back(client: &Client, decided: &Decided) -> Result<(), StoreError> {
    let given = &decided.given_back;
    if given.is_empty() {
        return Ok(());
    }
    let values: [&(dyn ToSql + Sync); 3] = [
        &column(given, |given| given.key_id),
        &column(given, |given| given.credits),
        &column(given, |given| given.spent_at),
    ];
    query(client, GIVE_BACK, &values).await.map(drop)
}

/// One value of every element: PostgreSQL takes a batch as columns.
fn column<'a, T, V>(batch: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    batch.iter().map(value).collect()
}

/// The weeks, counted as `tasks_by_keys` does, from which keys count at a moment, up to its own.
fn weeks(moment: SystemTime, key_lifetime: Duration) -> RangeInclusive<i64> {
    const SECONDS: u64 = 7 * 24 * 60 * 60;
    let since = moment.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    let week = |since: Duration| (since.as_secs() / SECONDS).cast_signed();
    week(since.saturating_sub(key_lifetime))..=week(since)
}
