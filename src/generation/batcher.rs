//! Batches: what many callers ask of the database at the same moment goes out in one statement.
//!
//! One actor for each shard of accounts; an account's jobs keep their order and never meet each
//! other's locks. An actor takes whatever queued up while its last batch was being written, so a lone
//! job leaves at once and a busy account fills its batches by itself: there is no timer. After a small
//! batch it only lets whoever was just answered run first, since what they ask next costs the next batch
//! hardly anything. When very many queued up, their batch follows the last one without waiting for it, so
//! that the database always has work: while it writes one batch, the answers to the one before are
//! turned into the next.
//!
//! - **Every job is answered on its own**, after its batch is durable, never before.
//! - **One poisoned job fails alone**: a batch that the database refuses is run again job by job.
//! - **Callers that go away** stop nothing: their job is done with its batch.
//! - **Bounds**: [`BATCH_MAX`] jobs a batch, [`QUEUE_MAX`] waiting for each actor; whoever comes
//!   beyond is told that the server is busy.
//! - **Locks**: a batch takes those of all its accounts in the ledger's order, in its one statement;
//!   batches of other actors and of other servers can delay it but not deadlock with it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use crate::store::StoreError;

/// Jobs in a batch, at most. Beyond it a batch only takes longer without costing less for each.
const BATCH_MAX: usize = 128;
/// Jobs that wait for an actor, at most: some tenths of a second of work.
const QUEUE_MAX: usize = 8_192;
/// Below so many jobs, a batch costs hardly more for another one.
const BATCH_SMALL: usize = 32;
/// From so many jobs on, a batch is sent although the last one is not done yet.
const BATCH_LARGE: usize = 64;
/// Batches of an actor that are under way, at most: one that the database works at, one that waits for it.
const UNDER_WAY_MAX: usize = 2;
/// Actors for each sort of job; more than cores would only make the batches smaller.
const SHARDS: usize = 2;

/// A sort of job that the database can do many of in one statement.
pub(super) trait Batch: Send + Sync + 'static {
    /// What is asked.
    type Job: Send + Sync + 'static;
    /// What comes of it.
    type Answer: Send + 'static;

    /// Does all of `jobs`, durably, or none; one answer for each, in their order. It may be asked
    /// before the last one is done.
    fn run(
        &self,
        jobs: &[Self::Job],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;
}

struct Entry<B: Batch> {
    job: B::Job,
    answer: oneshot::Sender<Result<B::Answer, StoreError>>,
}

/// The actors of one sort of job. They end when it is dropped, after the batches under way.
pub(super) struct Batcher<B: Batch> {
    shards: Vec<Shard<B>>,
}

struct Shard<B: Batch> {
    sender: mpsc::Sender<Entry<B>>,
    /// Told when enough wait for a large batch.
    many: Arc<Notify>,
}

impl<B: Batch> Batcher<B> {
    /// Starts the actors, each with what `batch` makes for it. Must be called inside a tokio runtime.
    pub fn start(batch: impl Fn() -> B) -> Self {
        let start = |_| {
            let (sender, queue) = mpsc::channel(QUEUE_MAX);
            let many = Arc::new(Notify::new());
            tokio::spawn(act(batch(), queue, Arc::clone(&many)));
            Shard { sender, many }
        };
        Self {
            shards: (0..SHARDS).map(start).collect(),
        }
    }

    /// Has a job of an account done with the next batch.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many wait already, otherwise what the database said.
    pub async fn ask(&self, account_id: Uuid, job: B::Job) -> Result<B::Answer, StoreError> {
        let (answer, answered) = oneshot::channel();
        let Shard { sender, many } = self.shard(account_id);
        sender
            .try_send(Entry { job, answer })
            .map_err(|_| StoreError::Busy)?;
        if QUEUE_MAX - sender.capacity() >= BATCH_LARGE {
            many.notify_one();
        }
        // The actor goes away without an answer only when everything does.
        let gone = || StoreError::Unavailable("the server stopped before the answer came".into());
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Account ids are made in the order of time: their low bits are the random ones.
    fn shard(&self, account_id: Uuid) -> &Shard<B> {
        let (_, low) = account_id.as_u64_pair();
        &self.shards[(low % SHARDS as u64) as usize]
    }
}

/// Runs batches until nobody can ask any more.
async fn act<B: Batch>(batch: B, mut queue: mpsc::Receiver<Entry<B>>, many: Arc<Notify>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        let another = under_way.len() < UNDER_WAY_MAX;
        if under_way.is_empty() || another && queue.len() >= BATCH_LARGE {
            let mut entries = Vec::new();
            if queue.recv_many(&mut entries, BATCH_MAX).await == 0 {
                return;
            }
            under_way.push(answer(&batch, entries));
        }
        let another = under_way.len() < UNDER_WAY_MAX;
        tokio::select! {
            // A batch is sent when it is polled first: in their order.
            biased;
            Some(size) = under_way.next() => {
                if size < BATCH_SMALL && under_way.is_empty() {
                    tokio::task::yield_now().await;
                }
            }
            () = std::future::ready(()), if another && queue.len() >= BATCH_LARGE => {}
            () = many.notified(), if another => {}
        }
    }
}

/// Runs a batch and answers it; says how large it was.
async fn answer<B: Batch>(batch: &B, entries: Vec<Entry<B>>) -> usize {
    let size = entries.len();
    let (jobs, answers): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .map(|entry| (entry.job, entry.answer))
        .unzip();
    match run(batch, &jobs).await {
        Ok(results) => tell(answers, results.into_iter().map(Ok)),
        Err(error @ (StoreError::Database(_) | StoreError::Inconsistent(_))) if size > 1 => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                jobs = size,
                "a batch was refused; its jobs are tried alone"
            );
            for (job, answer) in jobs.iter().zip(answers) {
                let alone = run(batch, std::slice::from_ref(job)).await;
                tell([answer], [alone.and_then(only)]);
            }
        }
        Err(error) => {
            let errors = (0..size).map(|_| Err(error.again()));
            tell(answers, errors);
        }
    }
    size
}

/// Runs a batch. A panic is a fault of ours in one batch and must not end the actor.
async fn run<B: Batch>(batch: &B, jobs: &[B::Job]) -> Result<Vec<B::Answer>, StoreError> {
    let panicked = |_| Err(StoreError::Unavailable("a batch panicked".into()));
    AssertUnwindSafe(batch.run(jobs))
        .catch_unwind()
        .await
        .unwrap_or_else(panicked)
}

/// The answer to a batch of one.
fn only<A>(answers: Vec<A>) -> Result<A, StoreError> {
    let missing = || StoreError::Unavailable("a batch gave no answer".into());
    answers.into_iter().next().ok_or_else(missing)
}

/// Answers whoever still waits.
fn tell<A>(
    answers: impl IntoIterator<Item = oneshot::Sender<Result<A, StoreError>>>,
    results: impl IntoIterator<Item = Result<A, StoreError>>,
) {
    for (answer, result) in answers.into_iter().zip(results) {
        // Whoever went away does not need it.
        let _ = answer.send(result);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    use super::*;

    /// A job that makes its batch panic.
    const BAD: u32 = u32::MAX;

    /// Sizes of the batches that were run.
    type Sizes = Arc<Mutex<Vec<usize>>>;

    /// Doubles numbers; remembers its batches. Panics at [`BAD`].
    struct Double(Sizes);

    impl Batch for Double {
        type Job = u32;
        type Answer = u32;

        async fn run(&self, jobs: &[u32]) -> Result<Vec<u32>, StoreError> {
            self.0.lock().expect("is not poisoned").push(jobs.len());
            assert!(!jobs.contains(&BAD), "a bad job");
            Ok(jobs.iter().map(|job| job * 2).collect())
        }
    }

    fn double() -> (Arc<Batcher<Double>>, Sizes) {
        let sizes = Sizes::default();
        (
            Arc::new(Batcher::start(|| Double(Arc::clone(&sizes)))),
            sizes,
        )
    }

    #[tokio::test]
    async fn what_has_queued_up_is_one_batch_and_each_gets_its_answer() {
        let (batcher, sizes) = double();
        let answers = join_all((0..300).map(|job| batcher.ask(Uuid::nil(), job))).await;
        for (job, answer) in (0..).zip(answers) {
            assert_eq!(answer.expect("is answered"), job * 2);
        }
        assert_eq!(
            *sizes.lock().expect("is not poisoned"),
            [BATCH_MAX, BATCH_MAX, 300 - 2 * BATCH_MAX]
        );
    }

    #[tokio::test]
    async fn a_panic_fails_its_batch_and_no_later_one() {
        let (batcher, _) = double();
        assert!(matches!(
            batcher.ask(Uuid::nil(), BAD).await,
            Err(StoreError::Unavailable(_))
        ));
        assert_eq!(
            batcher.ask(Uuid::nil(), 4).await.expect("the actor lives"),
            8
        );
    }

    /// Remembers its batches when they begin; ends one for each permit.
    struct Slow(Sizes, Arc<Semaphore>);

    impl Batch for Slow {
        type Job = ();
        type Answer = ();

        async fn run(&self, jobs: &[()]) -> Result<Vec<()>, StoreError> {
            self.0.lock().expect("is not poisoned").push(jobs.len());
            self.1.acquire().await.expect("is open").forget();
            Ok(jobs.to_vec())
        }
    }

    #[tokio::test]
    async fn a_large_batch_follows_one_that_is_under_way_and_a_small_one_waits() {
        let sizes = Sizes::default();
        let permits = Arc::new(Semaphore::new(0));
        let slow = || Slow(Arc::clone(&sizes), Arc::clone(&permits));
        let batcher = Arc::new(Batcher::start(slow));
        let begun = || sizes.lock().expect("is not poisoned").clone();
        let settle = async || {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        let mut asked = JoinSet::new();
        let mut ask = |count| {
            for _ in 0..count {
                let batcher = Arc::clone(&batcher);
                asked.spawn(async move { batcher.ask(Uuid::nil(), ()).await });
            }
        };
        ask(1);
        settle().await;
        ask(BATCH_LARGE - 1);
        settle().await;
        assert_eq!(begun(), [1]);
        ask(1);
        settle().await;
        assert_eq!(begun(), [1, BATCH_LARGE]);
        ask(BATCH_LARGE);
        settle().await;
        assert_eq!(begun(), [1, BATCH_LARGE], "no third beside two");
        permits.add_permits(3);
        while let Some(answer) = asked.join_next().await {
            answer.expect("does not panic").expect("is answered");
        }
        assert_eq!(begun(), [1, BATCH_LARGE, BATCH_LARGE]);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_stops_nothing() {
        let (batcher, sizes) = double();
        let mut gone = Box::pin(batcher.ask(Uuid::nil(), 1));
        // Polled once, it stands in the queue.
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        assert_eq!(batcher.ask(Uuid::nil(), 2).await.expect("is answered"), 4);
        assert_eq!(*sizes.lock().expect("is not poisoned"), [2]);
    }
}
