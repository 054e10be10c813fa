//! Waiting by plan: an account whose plan lets tasks wait has only so many of them begun at once; the
//! others wait here for their turn, in the order of submission.
//!
//! This is the order within one process. That the number holds over all of them is seen to where an
//! attempt begins, under the lock of the account; a task that had its turn here and finds the account's
//! turns taken elsewhere tries again every now and then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// An account, its world (test or live), and how many turns it has.
type Whose = (Uuid, bool, u32);

/// Entries beyond which those that nobody uses any more are cleared away.
const ENTRIES_TIDY: usize = 1_000;

/// The turns of accounts whose tasks wait.
#[derive(Debug, Default)]
pub(in crate::generation) struct Turns(Mutex<HashMap<Whose, Weak<Semaphore>>>);

impl Turns {
    /// Waits for a turn of the account, which lasts as long as the answer lives.
    pub async fn wait(&self, account_id: Uuid, test: bool, turns: u32) -> OwnedSemaphorePermit {
        self.of((account_id, test, turns))
            .acquire_owned()
            .await
            .expect("nobody closes the semaphore")
    }

    fn of(&self, whose: Whose) -> Arc<Semaphore> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = known.get(&whose).and_then(Weak::upgrade) {
            return turns;
        }
        if known.len() >= ENTRIES_TIDY {
            known.retain(|_, turns| turns.strong_count() > 0);
        }
        let (.., count) = whose;
        let turns = Arc::new(Semaphore::new(count as usize));
        known.insert(whose, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn turns_are_taken_in_order_and_for_each_account_and_world() {
        let turns = Turns::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = turns.wait(one, false, 1).await;
        let mut second = Box::pin(turns.wait(one, false, 1));
        let mut third = Box::pin(turns.wait(one, false, 1));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop(turns.wait(other, false, 1).await);
        drop(turns.wait(one, true, 1).await);
        drop(first);
        assert!(poll!(&mut third).is_pending(), "it came last");
        drop(second.await);
        drop(third.await);
    }
}
