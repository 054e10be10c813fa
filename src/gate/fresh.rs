//! A bounded cache whose entries live less than a second.
//!
//! What was read from the database is believed for [`LIFE`], counted from before the read, so that a change made
//! anywhere holds everywhere within a second of its commit. [`Fresh::forget`] makes a change made here hold at
//! once, reads still under way included.
//!
//! Of callers that miss the same key at the same moment one reads and the others wait for its answer. What does
//! not exist is not kept: a stranger must not be able to push out those who do.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

/// How long an entry is believed.
const LIFE: Duration = Duration::from_millis(900);
/// Entries kept, at most.
const ENTRIES_MAX: usize = 20_000;

pub(super) struct Fresh<K, V, C: Clock> {
    entries: Cache<K, Entry<V, C::Instant>>,
    /// How often everything was forgotten. An entry of an earlier count is stale.
    era: AtomicU64,
    clock: C,
}

struct Entry<V, I> {
    value: Arc<V>,
    read_at: I,
    era: u64,
}

impl<V, I: Copy> Clone for Entry<V, I> {
    fn clone(&self) -> Self {
        Entry {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<K: Eq + Hash + Clone, V, C: Clock> Fresh<K, V, C> {
    pub(super) fn new(clock: C) -> Self {
        Fresh {
            entries: Cache::new(ENTRIES_MAX),
            era: AtomicU64::new(0),
            clock,
        }
    }

    /// The value of `key`, read by `read` when there is none fresh enough. `read` is told whether there was one
    /// before.
    pub(super) async fn get<F, E>(
        &self,
        key: &K,
        read: impl FnOnce(bool) -> F,
    ) -> Result<Option<Arc<V>>, E>
    where
        F: Future<Output = Result<Option<V>, E>>,
    {
        if let Some(entry) = self.entries.get(key)
            && self.is_fresh(&entry)
        {
            return Ok(Some(entry.value));
        }
        let entry = self.entries.entry_async(key, |_, entry| {
            if self.is_fresh(entry) {
                EntryAction::Retain(Arc::clone(&entry.value))
            } else {
                EntryAction::ReplaceWithGuard
            }
        });
        let (guard, known) = match entry.await {
            EntryResult::Retained(value) => return Ok(Some(value)),
            EntryResult::Replaced(guard, _) => (guard, true),
            EntryResult::Vacant(guard) => (guard, false),
            EntryResult::Removed(..) | EntryResult::Timeout => {
                unreachable!("nothing above removes an entry, and the wait has no end")
            }
        };
        let read_at = self.clock.now();
        let era = self.era.load(Ordering::Acquire);
        let Some(value) = read(known).await?.map(Arc::new) else {
            return Ok(None);
        };
        // Refused only when the entry was pushed out meanwhile; the value is good all the same.
        let _ = guard.insert(Entry {
            value: Arc::clone(&value),
            read_at,
            era,
        });
        Ok(Some(value))
    }

    /// Makes every entry stale.
    pub(super) fn forget(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
    }

    fn is_fresh(&self, entry: &Entry<V, C::Instant>) -> bool {
        let age: Duration = self.clock.now().duration_since(entry.read_at).into();
        entry.era == self.era.load(Ordering::Acquire) && age < LIFE
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use governor::clock::FakeRelativeClock;
    use tokio::sync::Notify;

    use super::*;

    type Table = Fresh<&'static str, u32, FakeRelativeClock>;

    fn table() -> (Table, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Fresh::new(clock.clone()), clock)
    }

    async fn get(table: &Table, value: Option<u32>) -> (Option<u32>, Option<bool>) {
        let mut told = None;
        let read = |known| {
            told = Some(known);
            async move { Ok::<_, ()>(value) }
        };
        let found = table.get(&"key", read).await.expect("nothing fails");
        (found.map(|value| *value), told)
    }

    #[tokio::test]
    async fn an_entry_is_believed_for_its_life_and_no_longer() {
        let (table, clock) = table();
        assert_eq!(get(&table, Some(1)).await, (Some(1), Some(false)));
        clock.advance(LIFE - Duration::from_millis(1));
        assert_eq!(get(&table, Some(2)).await, (Some(1), None));
        clock.advance(Duration::from_millis(1));
        assert_eq!(get(&table, Some(3)).await, (Some(3), Some(true)));
    }

    #[tokio::test]
    async fn forgetting_is_immediate() {
        let (table, _) = table();
        get(&table, Some(1)).await;
        table.forget();
        assert_eq!(get(&table, Some(2)).await, (Some(2), Some(true)));
    }

    #[tokio::test]
    async fn what_does_not_exist_is_not_kept() {
        let (table, _) = table();
        assert_eq!(get(&table, None).await, (None, Some(false)));
        assert_eq!(get(&table, Some(1)).await, (Some(1), Some(false)));
    }

    #[tokio::test]
    async fn a_read_that_began_before_forgetting_is_not_kept() {
        let (table, _) = table();
        let read = |_| async {
            table.forget();
            Ok::<_, ()>(Some(1))
        };
        assert_eq!(table.get(&"key", read).await, Ok(Some(Arc::new(1))));
        assert_eq!(get(&table, Some(2)).await, (Some(2), Some(true)));
    }

    #[tokio::test]
    async fn a_slow_read_does_not_lengthen_the_life() {
        let (table, clock) = table();
        let read = |_| async {
            clock.advance(LIFE);
            Ok::<_, ()>(Some(1))
        };
        assert_eq!(table.get(&"key", read).await, Ok(Some(Arc::new(1))));
        assert_eq!(get(&table, Some(2)).await, (Some(2), Some(true)));
    }

    #[tokio::test]
    async fn concurrent_misses_read_once() {
        let (table, _) = table();
        let (reads, go) = (AtomicU32::new(0), Notify::new());
        let miss = || {
            table.get(&"key", |_| async {
                reads.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
                Ok::<_, ()>(Some(1))
            })
        };
        let release = async { go.notify_one() };
        let (one, two, three, ()) = tokio::join!(miss(), miss(), miss(), release);
        for found in [one, two, three] {
            assert_eq!(found, Ok(Some(Arc::new(1))));
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failed_read_leaves_the_next_caller_to_read() {
        let (table, _) = table();
        let failed = table.get(&"key", |_| async { Err::<Option<u32>, _>(()) });
        assert_eq!(failed.await, Err(()));
        assert_eq!(get(&table, Some(1)).await, (Some(1), Some(false)));
    }
}
