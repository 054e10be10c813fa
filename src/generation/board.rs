//! The open tasks of this process: what is newest about each, for whoever asks or watches, and the
//! two signals that reach its run.
//!
//! A task is on the board from the moment this node took it until it has ended or belongs to
//! another node. Reading it here costs no query. What is here may lag behind the database only as
//! long as a lost lease goes unnoticed, which is less than a lease.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::task::Task;

/// An open task of this process.
pub(super) struct Live {
    pub account_id: Uuid,
    pub id: Uuid,
    state: watch::Sender<Task>,
    /// The caller wants it stopped.
    pub canceled: CancellationToken,
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
            state: watch::Sender::new(task),
            canceled: CancellationToken::new(),
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

/// The open tasks of this process, by id.
#[derive(Default)]
pub(super) struct Board {
    by_id: Mutex<HashMap<Uuid, Arc<Live>>>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Live>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a task up; `None` when it is there already.
    pub fn put(&self, live: Live) -> Option<Arc<Live>> {
        match self.lock().entry(live.id) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => Some(Arc::clone(free.insert(Arc::new(live)))),
        }
    }

    /// The task of that id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Live>> {
        self.lock().get(&id).cloned()
    }

    /// Follows the task of that id.
    pub fn watch(&self, id: Uuid) -> Option<watch::Receiver<Task>> {
        self.lock().get(&id).map(|live| live.state.subscribe())
    }

    /// Every task.
    pub fn all(&self) -> Vec<Arc<Live>> {
        self.lock().values().cloned().collect()
    }

    /// Takes an entry down: its run stops, and whoever watched it here has seen the last of it. A
    /// later entry of the same task, which this node lost and took over again, stays.
    pub fn remove(&self, live: &Live) {
        live.over.cancel();
        let mut by_id = self.lock();
        if by_id
            .get(&live.id)
            .is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), live))
        {
            by_id.remove(&live.id);
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
