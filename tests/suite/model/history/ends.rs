//! How tasks end, and what is seen of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use piooy::generation::{Credits, Status, Task};
use piooy::ledger::Ledger;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{History, Judged, PATIENCE, for_turns};
use crate::model::prediction::{Body, CANCELED, End, Entry};
use crate::model::script::Arrival;
use crate::model::world::{Kind, Node};

impl History {
    /// The places of tasks that are known to be there and not known to have ended.
    pub fn open(&self, fits: impl Fn(&Body) -> bool) -> Vec<usize> {
        let entries = self.prediction.entries.iter().enumerate();
        entries
            .filter(|(_, entry)| {
                entry.is_certain()
                    && entry.id.is_some()
                    && entry.ended.is_none()
                    && fits(&entry.body)
            })
            .map(|(at, _)| at)
            .collect()
    }

    /// Has the upstream come to its verdict on up to `most` open tasks.
    pub fn open_gates(&mut self, most: usize) -> Vec<usize> {
        let mut open = self.open(|body| body.kind == Kind::Normal);
        self.random.shuffle(&mut open);
        open.truncate(most);
        for at in &open {
            let entry = &mut self.prediction.entries[*at];
            entry.may_end(entry.body.verdict());
            self.world.scripts.open_gate(&entry.body.prompt);
            self.steps
                .push(format!("the gate of {} opens", entry.body.prompt));
        }
        open
    }

    pub async fn complete(&mut self) -> Judged {
        let most = self.random.usize(1..=3);
        let opened = self.open_gates(most);
        if self.random.u8(..10) < 7 {
            return self.see_end(&opened).await;
        }
        Ok(())
    }

    /// Waits until these have ended.
    pub async fn see_end(&mut self, entries: &[usize]) -> Judged {
        let seen = async {
            loop {
                self.observe().await?;
                let ended = |at: &usize| self.prediction.entries[*at].ended.is_some();
                if entries.iter().all(ended) {
                    return Ok(());
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| {
            let entries = &self.prediction.entries;
            let open = entries
                .iter()
                .find(|entry| entry.is_certain() && entry.ended.is_none());
            Err(format!("waited in vain for the end of {open:?}"))
        })
    }

    pub async fn observe(&mut self) -> Judged {
        let rows = self.world.rows(self.account()).await;
        self.prediction.observe(rows)
    }

    /// A task that there is, by its place; open ones rather than others.
    pub fn some_task(&mut self) -> Option<usize> {
        let mut places = self.open(|_| true);
        if places.is_empty() || self.random.u8(..5) == 0 {
            let entries = self.prediction.entries.iter().enumerate();
            places = entries
                .filter(|(_, entry)| entry.id.is_some())
                .map(|(at, _)| at)
                .collect();
        }
        self.random.choice(&places).copied()
    }

    pub fn send_cancel(
        &self,
        node: &Node,
        at: usize,
        turns: Option<u32>,
    ) -> JoinHandle<Option<Task>> {
        let (generation, caller) = (Arc::clone(&node.generation), self.callers.free.clone());
        let id = self.prediction.entries[at]
            .id
            .expect("only tasks that are known are canceled");
        node.spawn(async move {
            let asked = generation.cancel(&caller, id);
            match turns {
                Some(turns) => for_turns(asked, turns).await?.ok(),
                None => asked.await.ok(),
            }
        })
    }

    pub async fn cancel(&mut self) -> Judged {
        let Some(at) = self.some_task() else {
            return Ok(());
        };
        let node = self.any_node();
        let answer = self.send_cancel(&node, at, None).await;
        self.canceled(at, answer.ok().flatten())?;
        let entry = &self.prediction.entries[at];
        // One that answers late hears of it late.
        let ends = entry.fates.contains(&CANCELED)
            && entry.body.script.stops
            && entry.body.script.arrival != Arrival::TakenLate;
        if ends && entry.ended.is_none() && self.random.u8(..4) == 0 {
            return self.see_end(&[at]).await;
        }
        Ok(())
    }

    /// What follows from a cancelation and its answer, if it was heard.
    pub fn canceled(&mut self, at: usize, answer: Option<Task>) -> Judged {
        let entry = &mut self.prediction.entries[at];
        let status = answer.as_ref().map(|task| task.status);
        self.steps
            .push(format!("{} is canceled ▶ {status:?}", entry.body.prompt));
        // Of what an upstream has, the upstream decides; but a node that stood still meanwhile may have
        // lost the task to one that saw the wish before it asked any.
        entry.may_end(CANCELED);
        match answer {
            Some(task) => seen(entry, &task),
            None => Ok(()),
        }
    }

    /// An end that several want at the same time.
    pub async fn end_twice(&mut self) -> Judged {
        let Some(at) = self.open_gates(1).first().copied() else {
            return Ok(());
        };
        self.prediction.entries[at].may_end(CANCELED);
        let nodes = [self.any_node(), self.any_node()];
        let canceled = join_all(nodes.map(|node| self.send_cancel(&node, at, None))).await;
        for answer in canceled {
            self.canceled(at, answer.ok().flatten())?;
        }
        self.see_end(&[at]).await
    }

    /// Something whose answer the caller does not wait for.
    pub async fn walk_away(&mut self) -> Judged {
        let turns = Some(self.random.u32(1..=6));
        let node = self.any_node();
        match self.random.u8(..8) {
            0 | 1 => {
                let Some(at) = self.some_task() else {
                    return Ok(());
                };
                let answer = self.send_cancel(&node, at, turns).await;
                return self.canceled(at, answer.ok().flatten());
            }
            2 => {
                let ask = self.grant();
                let sent = self.send(&node, ask, turns);
                let said = self.hear(vec![sent]).await?;
                return self.explain(said);
            }
            _ => {}
        }
        let ask = self.submission_to(node.kind, None);
        let sent = self.send(&node, ask.clone(), turns);
        let said = self.hear(vec![sent]).await?;
        self.explain(said)?;
        if ask.is_keyed() && self.random.bool() {
            return self.ask_at_once(vec![ask]).await;
        }
        Ok(())
    }

    /// Reads what there is to read.
    pub async fn look(&mut self) -> Judged {
        let ledger = Ledger::new(self.world.store().clone());
        let balance = ledger.balance(self.account()).await;
        let balance = balance.map_err(|error| error.to_string())?;
        self.prediction.balance((balance.available, balance.held))?;
        self.observe().await?;
        let Some(at) = self.some_task() else {
            return Ok(());
        };
        let (node, caller) = (self.any_node(), self.callers.free.clone());
        let id = self.prediction.entries[at].id.expect("the task is known");
        let generation = Arc::clone(&node.generation);
        match node
            .spawn(async move { generation.get(&caller, id).await })
            .await
        {
            Ok(Ok(task)) => seen(&mut self.prediction.entries[at], &task),
            // A busy database says so, and nothing follows.
            _ => Ok(()),
        }
    }
}

/// Holds a task that was read against what it may be. One that is shown as open may have ended at
/// another node a moment ago.
fn seen(entry: &mut Entry, task: &Task) -> Judged {
    let price = entry.price();
    let (status, charged) = (task.status, task.credits.charged);
    let held = if status.is_final() { 0 } else { price };
    let credits = Credits {
        quoted: price,
        held,
        charged,
    };
    let delivered = (status == Status::Success) != task.outputs.is_empty();
    if entry.id != Some(task.id) || task.credits != credits || !delivered {
        return Err(format!("{} is shown as {task:?}", entry.body.prompt));
    }
    if status.is_final() {
        entry.end(End { status, charged })
    } else if charged == 0 {
        Ok(())
    } else {
        Err(format!("{} is open and was charged", entry.body.prompt))
    }
}
