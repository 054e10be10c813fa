//! Batches: what many callers ask of the database at the same moment goes out in one statement.
//!
//! One actor for each shard of accounts; an account's jobs keep their order and never meet each
//! other's locks. An actor takes whatever queued up while its last batch was being written, so a lone
//! job leaves at once and a busy account fills its batches by itself: there is no timer. After a small
//! batch it only lets whoever was just answered run first, since what they ask next costs the next batch
//! hardly anything.
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

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::store::StoreError;

/// Jobs in a batch, at most. Beyond it a batch only takes longer without costing less for each.
const BATCH_MAX: usize = 256;
/// Jobs that wait for an actor, at most: some tenths of a second of work.
const QUEUE_MAX: usize = 8_192;
/// Below so many jobs, a batch costs hardly more for another one.
const BATCH_SMALL: usize = 32;
/// Actors for each sort of job; more than cores would only make the batches smaller.
const SHARDS: usize = 2;

/// A sort of job that the database can do many of in one statement.
pub(super) trait Batch: Send + Sync + 'static {
    /// What is asked.
    type Job: Send + Sync + 'static;
    /// What comes of it.
    type Answer: Send + 'static;

    /// Does all of `jobs`, durably, or none; one answer for each, in their order.
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
    shards: Vec<mpsc::Sender<Entry<B>>>,
}

impl<B: Batch> Batcher<B> {
    /// Starts the actors. Must be called inside a tokio runtime.
    pub fn start(batch: B) -> Self {
        let batch = Arc::new(batch);
        let start = |_| {
            let (sender, queue) = mpsc::channel(QUEUE_MAX);
            tokio::spawn(act(Arc::clone(&batch), queue));
            sender
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
        self.shard(account_id)
            .try_send(Entry { job, answer })
            .map_err(|_| StoreError::Busy)?;
        // The actor goes away without an answer only when everything does.
        let gone = || StoreError::Unavailable("the server stopped before the answer came".into());
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Account ids are made in the order of time: their low bits are the random ones.
    fn shard(&self, account_id: Uuid) -> &mpsc::Sender<Entry<B>> {
        let (_, low) = account_id.as_u64_pair();
        &self.shards[(low % SHARDS as u64) as usize]
    }
}

/// Runs batches until nobody can ask any more.
async fn act<B: Batch>(batch: Arc<B>, mut queue: mpsc::Receiver<Entry<B>>) {
    let mut entries = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut entries, BATCH_MAX).await > 0 {
        let is_small = entries.len() < BATCH_SMALL;
        let (jobs, answers): (Vec<_>, Vec<_>) = entries
            .drain(..)
            .map(|entry| (entry.job, entry.answer))
            .unzip();
        match run(&*batch, &jobs).await {
            Ok(results) => tell(answers, results.into_iter().map(Ok)),
            Err(error @ (StoreError::Database(_) | StoreError::Inconsistent(_)))
                if jobs.len() > 1 =>
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    jobs = jobs.len(),
                    "a batch was refused; its jobs are tried alone"
                );
                for (job, answer) in jobs.iter().zip(answers) {
                    let alone = run(&*batch, std::slice::from_ref(job)).await;
                    tell([answer], [alone.and_then(only)]);
                }
            }
            Err(error) => {
                let errors = (0..answers.len()).map(|_| Err(error.again()));
                tell(answers, errors);
            }
        }
        if is_small {
            tokio::task::yield_now().await;
        }
    }
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
        (Arc::new(Batcher::start(Double(Arc::clone(&sizes)))), sizes)
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
            [BATCH_MAX, 300 - BATCH_MAX]
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
