//! Hearing of other nodes: news of a task that is followed here is read from its row and told to
//! everyone who follows it; news of a task that is worked on here means that another node wants it
//! canceled, or has ended it.
//!
//! Whatever has arrived by the time is looked at together, [`PAGE`] rows a statement. In case news got
//! lost, everything that is followed, and a part of what is worked on, is looked at every
//! [`look_interval`](super::super::Settings::look_interval); after the connection broke, all of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::super::Core;
use super::super::board::Live;
use super::super::news::Message;
use super::order::PAGE;
use crate::store::{Heard, StoreError};

/// Notifications that are taken in one go.
const TOGETHER_MAX: usize = 256;

/// What is to be looked at.
#[derive(Default)]
struct Hints {
    tasks: HashSet<Uuid>,
    everything: bool,
    nodes: bool,
}

/// Hears until it is dropped. A look that fails is made up for by a later one.
pub(super) async fn hear(core: Arc<Core>) {
    let mut heard = core.records.listen().ready_chunks(TOGETHER_MAX);
    let mut look = interval(core.settings.look_interval);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checked = Uuid::nil();
    loop {
        let looked = tokio::select! {
            Some(heard) = heard.next() => core.follow_up(core.hints(heard)).await,
            _ = look.tick() => core.look_around(&mut checked).await,
        };
        if let Err(error) = looked {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "could not look at the tasks of other nodes"
            );
        }
    }
}

impl Core {
    fn hints(&self, heard: Vec<Heard>) -> Hints {
        let mut hints = Hints::default();
        for heard in heard {
            match heard {
                Heard::Connected => (hints.everything, hints.nodes) = (true, true),
                Heard::Notification(payload) => match self.news.understand(&payload) {
                    Some(Message::Tasks(tasks)) => hints.tasks.extend(tasks),
                    Some(Message::Everything) => hints.everything = true,
                    Some(Message::Nodes) => hints.nodes = true,
                    None => {}
                },
            }
        }
        hints
    }

    async fn follow_up(&self, hints: Hints) -> Result<(), StoreError> {
        if hints.nodes {
            self.nodes_changed.notify_one();
        }
        if hints.everything {
            return self.look(self.board.all(), self.board.followed()).await;
        }
        let tasks: Vec<_> = hints.tasks.into_iter().collect();
        let (here, elsewhere) = self.board.named(&tasks);
        for live in &here {
            live.nudged.notify_one();
        }
        self.look(here, elsewhere).await
    }

    /// Looks at everything that is followed, and at the next few that are worked on here after
    /// `checked`, in the order of their ids.
    async fn look_around(&self, checked: &mut Uuid) -> Result<(), StoreError> {
        let mut here = self.board.all();
        here.retain(|live| live.id > *checked);
        here.sort_unstable_by_key(|live| live.id);
        here.truncate(PAGE);
        *checked = match here.last() {
            Some(last) if here.len() == PAGE => last.id,
            _ => Uuid::nil(),
        };
        self.look(here, self.board.followed()).await
    }

    /// Reads the rows of tasks that were on the board before, and of others (by account and id) that
    /// are followed, and tells whom it concerns.
    pub(super) async fn look(
        &self,
        here: Vec<Arc<Live>>,
        elsewhere: Vec<(Uuid, Uuid)>,
    ) -> Result<(), StoreError> {
        let mut here: HashMap<_, _> = here.into_iter().map(|live| (live.id, live)).collect();
        let mut tasks: Vec<_> = here
            .values()
            .map(|live| (live.account_id, live.id))
            .collect();
        tasks.extend(elsewhere);
        for page in tasks.chunks(PAGE) {
            for sight in self.records.look(page).await? {
                let Some(live) = here.remove(&sight.task.id) else {
                    self.board.tell(sight.task);
                    continue;
                };
                if sight.task.status.is_final() {
                    live.change(|task| *task = sight.task);
                    self.board.remove(&live);
                } else if sight.node != self.node {
                    self.board.remove(&live);
                } else if sight.cancel_requested {
                    live.canceled.cancel();
                }
            }
        }
        Ok(())
    }
}
