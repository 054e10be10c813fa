//! The open tasks of this process: what is newest about each, for whoever asks or watches, and the
//! two signals that reach its run. Beside them the tasks of other nodes that somebody here follows,
//! each once, however many do.
//!
//! A task is on the board from the moment this node took it until it has ended or belongs to
//! another node. Reading it here costs no query. What is here may lag behind the database only as
//! long as a lost lease goes unnoticed, which is less than a lease.
//!
//! One lock for both, never held across a wait: following a task finds it in one of the two places,
//! whichever way it moves meanwhile.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::task::Task;

/// An open task of this process.
pub(super) struct Live {
    pub account_id: Uuid,
    pub id: Uuid,
    state: watch::Sender<Task>,
    /// The progress that its row shows.
    written: AtomicU8,
    /// The caller wants it stopped.
    pub canceled: CancellationToken,
    /// The upstream may have news of it.
    pub nudged: Notify,
    /// It has ended, or another node works on it: stop at once and write nothing.
    pub over: CancellationToken,
    /// Its place among the open tasks of this process.
    _place: OwnedSemaphorePermit,
}

impl Live {
    pub fn new(task: Task, place: OwnedSemaphorePermit) -> Self {
        Self {
            account_id: task.account_id,
            id: task.id,
            written: AtomicU8::new(task.progress),
            state: watch::Sender::new(task),
            canceled: CancellationToken::new(),
            nudged: Notify::new(),
            over: CancellationToken::new(),
            _place: place,
        }
    }

    /// Whether an account sees it with a key of this kind.
    pub fn belongs_to(&self, account_id: Uuid, test: bool) -> bool {
        let task = self.state.borrow();
        (task.account_id, task.test) == (account_id, test)
    }

    /// The newest that is known.
    pub fn task(&self) -> Task {
        self.state.borrow().clone()
    }

    /// The progress that its row does not show yet.
    pub fn unwritten(&self) -> Option<u8> {
        let progress = self.state.borrow().progress;
        (progress > self.written.load(Ordering::Relaxed)).then_some(progress)
    }

    /// Takes note of the progress that its row shows.
    pub fn wrote(&self, progress: u8) {
        self.written.store(progress, Ordering::Relaxed);
    }

    /// Changes what is known and tells everyone who watches, if it is a change. A task that has
    /// ended stays as it is.
    pub fn change(&self, change: impl FnOnce(&mut Task)) {
        self.state.send_if_modified(|task| {
            if task.status.is_final() {
                return false;
            }
            let before = task.clone();
            change(task);
            *task != before
        });
    }
}

/// Where the changes of a task come from.
pub(super) enum Following {
    /// This process works on it.
    Here(watch::Receiver<Task>),
    /// Another node does; nothing is known of it until there is news.
    Elsewhere(watch::Receiver<Option<Task>>),
}

/// See above.
#[derive(Default)]
pub(super) struct Board {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    /// By id.
    here: HashMap<Uuid, Arc<Live>>,
    /// By id, then account: nobody's wrong guess of an id gets in another's way.
    elsewhere: BTreeMap<(Uuid, Uuid), watch::Sender<Option<Task>>>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a task up; `None` when it is there already. Whoever followed it elsewhere finds it here.
    pub fn put(&self, live: Live) -> Option<Arc<Live>> {
        let mut entries = self.lock();
        let put = match entries.here.entry(live.id) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(free) => Arc::clone(free.insert(Arc::new(live))),
        };
        entries.elsewhere.remove(&(put.id, put.account_id));
        Some(put)
    }

    /// The task of that id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Live>> {
        self.lock().here.get(&id).cloned()
    }

    /// Every task.
    pub fn all(&self) -> Vec<Arc<Live>> {
        self.lock().here.values().cloned().collect()
    }

    /// Takes an entry down: its run stops, and whoever watched it here has seen the last of it. A
    /// later entry of the same task, which this node lost and took over again, stays.
    pub fn remove(&self, live: &Live) {
        live.over.cancel();
        let mut entries = self.lock();
        if entries
            .here
            .get(&live.id)
            .is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), live))
        {
            entries.here.remove(&live.id);
        }
    }

    /// Follows a task of an account, test or live. Whether it exists is for the caller to find out;
    /// what is followed elsewhere is to be given back by [`Board::unfollow`].
    pub fn follow(&self, account_id: Uuid, test: bool, id: Uuid) -> Following {
        let mut entries = self.lock();
        let here = entries.here.get(&id);
        if let Some(live) = here.filter(|live| live.belongs_to(account_id, test)) {
            return Following::Here(live.state.subscribe());
        }
        let told = entries.elsewhere.entry((id, account_id));
        Following::Elsewhere(told.or_insert_with(|| watch::Sender::new(None)).subscribe())
    }

    /// Forgets a task elsewhere, unless somebody still follows it.
    pub fn unfollow(&self, account_id: Uuid, id: Uuid) {
        let mut entries = self.lock();
        let key = (id, account_id);
        if entries
            .elsewhere
            .get(&key)
            .is_some_and(|told| told.receiver_count() == 0)
        {
            entries.elsewhere.remove(&key);
        }
    }

    /// The tasks of other nodes that are followed here, by account and id.
    pub fn followed(&self) -> Vec<(Uuid, Uuid)> {
        let entries = self.lock();
        entries
            .elsewhere
            .keys()
            .map(|(id, account_id)| (*account_id, *id))
            .collect()
    }

    /// Those of `ids` that are worked on here, and those that are followed elsewhere (by account and
    /// id).
    pub fn named(&self, ids: &[Uuid]) -> (Vec<Arc<Live>>, Vec<(Uuid, Uuid)>) {
        let entries = self.lock();
        let here = ids.iter().filter_map(|id| entries.here.get(id).cloned());
        let elsewhere = ids.iter().flat_map(|id| {
            let accounts = entries
                .elsewhere
                .range((*id, Uuid::nil())..=(*id, Uuid::max()));
            accounts.map(|((id, account_id), _)| (*account_id, *id))
        });
        (here.collect(), elsewhere.collect())
    }

    /// Tells those who follow a task elsewhere how it stands.
    pub fn tell(&self, task: Task) {
        if let Some(told) = self.lock().elsewhere.get(&(task.id, task.account_id)) {
            told.send_replace(Some(task));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::catalog::MediaType;
    use crate::generation::{Credits, Status};

    fn task() -> Task {
        Task {
            id: Uuid::nil(),
            account_id: Uuid::nil(),
            test: false,
            status: Status::Processing,
            progress: 0,
            model: String::new(),
            media: MediaType::Image,
            outputs: Vec::new(),
            late_outputs: Vec::new(),
            failure: None,
            credits: Credits::open(1, false),
            adjustments: Vec::new(),
            provider: String::new(),
            created_at: SystemTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
        }
    }

    fn live(places: &Arc<Semaphore>) -> Live {
        let place = Arc::clone(places).try_acquire_owned();
        Live::new(task(), place.expect("there is a place"))
    }

    #[test]
    fn an_entry_that_is_over_does_not_take_down_a_later_one() {
        let places = Arc::new(Semaphore::new(3));
        let board = Board::default();
        let first = board.put(live(&places)).expect("the board is empty");
        assert!(board.put(live(&places)).is_none(), "one entry for a task");
        board.remove(&first);
        let second = board.put(live(&places)).expect("the first is gone");
        board.remove(&first);
        assert!(first.over.is_cancelled() && !second.over.is_cancelled());
        assert!(
            board
                .get(Uuid::nil())
                .is_some_and(|known| Arc::ptr_eq(&known, &second))
        );
        board.remove(&second);
        drop((first, second));
        assert_eq!(
            places.available_permits(),
            3,
            "entries give their places back"
        );
    }

    #[test]
    fn a_task_that_has_ended_never_changes() {
        let live = live(&Arc::new(Semaphore::new(1)));
        let mut told = live.state.subscribe();
        live.change(|task| task.status = Status::Canceled);
        assert!(told.has_changed().expect("the entry lives"));
        told.mark_unchanged();
        live.change(|task| task.status = Status::Processing);
        assert_eq!(live.task().status, Status::Canceled);
        assert!(!told.has_changed().expect("the entry lives"));
    }
}
