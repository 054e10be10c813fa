//! How nodes end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::asking::{Ask, Heard, Said};
use super::{History, Judged, PATIENCE};
use crate::model::prediction::{Answer, CANCELED};
use crate::model::script::Trap;
use crate::model::world::{Kind, Node};

/// How a node meets its end.
#[derive(Debug, Clone, Copy)]
enum Doom {
    /// It is killed.
    Killed,
    /// Its sessions in the database end.
    Terminated,
    /// It is killed while the database holds its batches back, and then lets them through.
    KilledInBatch,
    /// Its sessions end while the database holds its batches back.
    TerminatedInBatch,
}

impl History {
    /// A node meets its end while it does several things.
    pub async fn crash(&mut self) -> Judged {
        let victim = self.any_node();
        let doom = *self
            .random
            .choice(&[
                Doom::Killed,
                Doom::Terminated,
                Doom::KilledInBatch,
                Doom::TerminatedInBatch,
            ])
            .expect("there are four");
        let days = self.random.u8(..4) == 0;
        if days {
            self.let_days_pass().await?;
        }
        let held_back = match doom {
            Doom::Killed | Doom::Terminated => None,
            Doom::KilledInBatch | Doom::TerminatedInBatch => {
                Some(self.world.stop_writers(self.account()).await)
            }
        };
        let mut asks: Vec<_> = (0..self.random.u8(1..=3))
            .map(|_| self.submission_to(victim.kind, None))
            .collect();
        match self.random.u8(..6) {
            0 => asks.push(self.grant()),
            1 | 2 if asks[0].is_keyed() => asks.push(asks[0].clone()),
            _ => {}
        }
        if days {
            asks.insert(self.random.usize(..=asks.len()), Ask::Sweep);
        }
        if self.random.u8(..4) == 0 {
            asks.extend(self.month().await);
        }
        let most = self.random.usize(..=3);
        self.open_gates(most);
        let canceled = if self.random.bool() {
            self.some_task()
        } else {
            None
        };
        let sent: Vec<_> = asks
            .into_iter()
            .map(|ask| self.send(&victim, ask, None))
            .collect();
        let canceling = canceled.map(|at| {
            // What else was sent may already see it.
            self.prediction.entries[at].may_end(CANCELED);
            (at, self.send_cancel(&victim, at, None))
        });

        sleep(Duration::from_micros(self.random.u64(..12_000))).await;
        self.tell(format!("{doom:?}"));
        match doom {
            Doom::Killed | Doom::KilledInBatch => victim.kill(),
            Doom::Terminated | Doom::TerminatedInBatch => self.world.terminate(&victim).await,
        }
        if let Some(held_back) = held_back {
            held_back.go_on().await;
        }
        let said = self.hear(sent).await?;
        self.explain(said.clone())?;
        if let Some((at, canceling)) = canceling {
            self.canceled(at, canceling.await.ok().flatten())?;
        }
        if matches!(doom, Doom::Killed | Doom::KilledInBatch) {
            self.replace(&victim).await;
        }
        for Said { ask, heard, .. } in said {
            if ask.is_keyed() && matches!(heard, Heard::Nothing) && self.random.u8(..5) > 0 {
                self.ask_at_once(vec![ask]).await?;
            }
        }
        Ok(())
    }

    /// A node dies between two steps of a task.
    pub async fn crash_in_a_trap(&mut self) -> Judged {
        let victim = self.node(Kind::Normal);
        let traps = [Trap::BeforeArrival, Trap::AfterArrival, Trap::Poll];
        let trap = *self.random.choice(&traps).expect("there are three");
        let ask = self.submission_to(Kind::Normal, Some(trap));
        let sent = self.send(&victim, ask.clone(), None);
        let said = self.hear(vec![sent]).await?;
        let heard = said[0].heard;
        self.explain(said)?;
        let (Ask::Submit { body, .. }, Heard::Submitted(Answer::Task { .. })) = (&ask, heard)
        else {
            // A repetition is not to walk into it.
            if let Ask::Submit { body, .. } = &ask {
                self.world.scripts.release_trap(&body.prompt);
            }
            return Ok(());
        };
        let sprung = async {
            while !self.world.scripts.is_trap_sprung(&body.prompt) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let sprung = timeout(PATIENCE, sprung).await;
        sprung.map_err(|_| format!("{} never came to its trap", body.prompt))?;
        self.tell(format!("killed at {trap:?}"));
        victim.kill();
        self.world.scripts.release_trap(&body.prompt);
        self.replace(&victim).await;
        Ok(())
    }

    /// A node that can be killed, with one price list or the other.
    pub async fn mortal(&mut self, kind: Kind) -> Arc<Node> {
        let price_list = self.random.usize(..2);
        self.world.mortal(kind, price_list).await
    }

    async fn replace(&mut self, victim: &Arc<Node>) {
        self.nodes.retain(|node| !Arc::ptr_eq(node, victim));
        let next = self.mortal(victim.kind).await;
        self.nodes.push(next);
        self.dead.push(Arc::clone(victim));
    }
}
