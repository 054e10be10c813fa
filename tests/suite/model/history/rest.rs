//! How it all ends: everything there is, compared with what has to be.

use std::time::SystemTime;

use piooy::ledger::{Entry, EntryFilter, Kind as Movement, Ledger};

use super::days::MONTHLY;
use super::{History, Judged};
use crate::model::purse::Purse;
use crate::model::world::{DAY, Kind};

impl History {
    /// Lets everything end that is under way.
    pub async fn come_to_rest(&mut self) -> Judged {
        self.tell("all comes to rest".to_owned());
        for node in &self.dead {
            self.world.is_over(node).await;
        }
        // What was sent and not waited for comes before what is sent now.
        let nodes = if self.silence {
            self.nodes.clone()
        } else {
            Vec::new()
        };
        for node in nodes {
            let ask = self.submission_to(node.kind, None);
            let sent = self.send(&node, ask, None);
            let said = self.hear(vec![sent]).await?;
            self.explain(said)?;
        }
        self.observe().await?;
        for at in self.open(|body| body.kind == Kind::Idle) {
            let node = self.node(Kind::Idle);
            while self.prediction.entries[at].ended.is_none() {
                let answer = self.send_cancel(&node, at, None).await;
                self.canceled(at, answer.ok().flatten())?;
            }
        }
        self.open_gates(usize::MAX);
        let all: Vec<_> = (0..self.prediction.entries.len())
            .filter(|at| self.prediction.entries[*at].is_certain())
            .collect();
        self.see_end(&all).await
    }

    /// Compares everything there is with what has to be.
    pub async fn settle_up(&mut self) -> Judged {
        let account = self.account();
        let ledger = Ledger::new(self.world.store().clone());
        let everything = EntryFilter::default();
        let page = ledger.entries(account, &everything, None, usize::MAX);
        let mut entries = page.await.map_err(|error| error.to_string())?.entries;
        entries.reverse();
        let granted: Vec<_> = entries
            .iter()
            .filter(|entry| entry.kind == Movement::Grant)
            .collect();
        for grant in &mut self.prediction.grants {
            let of_it = granted
                .iter()
                .filter(|entry| (&entry.note, entry.amount) == (&grant.note, grant.credits));
            match of_it.count() {
                0 if grant.certain => return Err(format!("{grant:?} is gone")),
                0 => {}
                1 => grant.certain = true,
                _ => return Err(format!("{grant:?} was given twice")),
            }
        }
        self.prediction.rest();
        self.observe().await?;
        if self.prediction.grants.len() != granted.len() {
            return Err(format!("{granted:?} are not {:?}", self.prediction.grants));
        }
        // Where not even the first grant was heard, there may be none.
        let last = entries.last();
        let (available, held) = last.map_or((0, 0), |last| (last.available, last.held));
        let states = self.prediction.states(SystemTime::now()).into_iter();
        let states: Vec<_> = states
            .map(|state| (state.available, state.held, state.open))
            .collect();
        if states != [(available, held, 0)] {
            return Err(format!(
                "the ledger ends with {last:?}, not with {states:?}"
            ));
        }

        self.compare_movements(&entries)?;
        self.compare_lots(&entries).await?;
        for entry in &self.prediction.entries {
            let taken = self.world.scripts.times_taken(&entry.body.prompt);
            if taken > 1 {
                return Err(format!("{} was taken {taken} times", entry.body.prompt));
            }
        }
        self.repeat_everything().await
    }

    fn compare_movements(&self, entries: &[Entry]) -> Judged {
        let mut expected = self.prediction.movements();
        for entry in entries {
            let Some(task) = entry.task_id else { continue };
            let movement = format!("{} {}", entry.kind.name(), entry.amount);
            match expected.get_mut(&task) {
                Some(left) if left.first() == Some(&movement) => drop(left.remove(0)),
                left => return Err(format!("{task} has {movement} where {left:?} should be")),
            }
        }
        if let Some((task, left)) = expected.iter().find(|(_, left)| !left.is_empty()) {
            return Err(format!("{task} lacks {left:?}"));
        }
        Ok(())
    }

    /// Compares what expired, and what has yet to, with what has to be.
    async fn compare_lots(&self, entries: &[Entry]) -> Judged {
        let grants = self.prediction.grants.iter().enumerate();
        let granted = grants
            .map(|(number, grant)| {
                // Months end at midnight, and so before whatever else ends on that day.
                let number = if grant.note.starts_with(MONTHLY) {
                    0
                } else {
                    number + 1
                };
                (grant.note.as_str(), (number, grant.days))
            })
            .collect();
        let purses = Purse::follow(entries, &granted, &self.passed)?;
        let ledger = Ledger::new(self.world.store().clone());
        let lots = ledger.lots(self.account()).await;
        let lots = lots.map_err(|error| error.to_string())?;
        let left: Vec<_> = lots.iter().map(|lot| lot.remaining).collect();
        if purses.iter().any(|purse| purse.left() == left) {
            return Ok(());
        }
        Err(format!(
            "{left:?} have yet to expire, which is none of {purses:?}"
        ))
    }

    /// However often everything is sent again, by either key, at whatever price it was quoted once:
    /// nothing comes of it.
    async fn repeat_everything(&mut self) -> Judged {
        self.age_quotes(DAY);
        for keyed in self.keys.clone() {
            let key = Some(&keyed.key);
            let mut entries = self.prediction.entries.iter();
            if !entries.any(|entry| entry.is_certain() && entry.key.as_ref() == key) {
                continue;
            }
            let node = self.node(keyed.body.kind);
            let callers = [&self.callers.free, &self.callers.capped];
            let caller = callers[self.random.usize(..2)].clone();
            let sent = self.send_from(caller, &node, keyed.into(), None);
            let said = self.hear(vec![sent]).await?;
            self.explain(said)?;
        }
        let ledger = Ledger::new(self.world.store().clone());
        let balance = ledger.balance(self.account()).await;
        let balance = balance.map_err(|error| error.to_string())?;
        self.prediction.balance((balance.available, balance.held))
    }
}
