//! Finding out whether a submission arrived that nobody answered: from the upstream, which may have its own
//! record of it, or from the operator ([`lost`](super::super::super::lost)).

use tokio::time::{sleep, timeout};

use super::super::super::lost::{Word, given_up};
use super::super::Standing;
use super::super::patience::insist;
use super::{Run, Stop, lost_key};
use crate::providers::{Failure, Lookup};

impl Run<'_> {
    /// Finds out whether an attempt arrived: from its upstream or from the operator, whoever tells first.
    pub(super) async fn find_out(&self, attempt: u32, refusals: u32) -> Result<Standing, Stop> {
        let (core, id) = (self.core, self.live.id);
        let found = tokio::select! {
            biased;
            found = self.look_up(attempt) => found?,
            word = self.operators_word(attempt) => {
                return match word {
                    Word::Arrived(upstream_id) => Ok(Standing::Asked { attempt, upstream_id }),
                    // An upstream that loses submissions is passed by like one that refuses them.
                    Word::NotSubmitted => Ok(Standing::Unasked {
                        attempts: attempt,
                        refusals: refusals + 1,
                    }),
                    Word::GiveUp => Err(given_up().into()),
                };
            }
        };
        let standing = match found {
            Some(upstream_id) => self.arrived(attempt, upstream_id).await,
            None => Standing::Unasked {
                attempts: attempt,
                refusals: 0,
            },
        };
        insist(core, id, || core.records.lost_told(id, attempt)).await;
        Ok(standing)
    }

    /// Asks the upstream whether an attempt arrived, until it can tell: its id, if it did.
    async fn look_up(&self, attempt: u32) -> Result<Option<String>, Failure> {
        let (route, job) = self.attempted(attempt).await?;
        let mut wait = self.core.settings.poll_wait_min;
        loop {
            if let Some(gone) = lost_key(self.core, self.live, route.own.as_deref()).await {
                return Err(gone);
            }
            match route.provider.lookup(&job).await {
                Lookup::Found(upstream_id) => return Ok(Some(upstream_id)),
                Lookup::NotSubmitted => return Ok(None),
                Lookup::CannotTell => {}
            }
            sleep(wait).await;
            wait = self.core.settings.longer(wait);
        }
    }

    /// Shows the operator that nobody knows of an attempt, and waits for the word on it.
    async fn operators_word(&self, attempt: u32) -> Word {
        let (core, live) = (self.core, self.live);
        let name = live.task().provider;
        let routes = self.routes().await.map(|(_, routes)| routes);
        let routes = routes.unwrap_or_default();
        let route = routes.iter().find(|route| route.provider.name() == name);
        let model = route.map(|route| route.upstream_model.as_str());
        let lose = || {
            core.records
                .lose(live.account_id, live.id, attempt, &name, model)
        };
        let mut word = insist(core, live.id, lose).await;
        loop {
            if let Some(word) = word {
                return word;
            }
            let _ = timeout(core.settings.look_interval, live.nudged.notified()).await;
            word = insist(core, live.id, || core.records.lost_word(live.id, attempt)).await;
        }
    }
}
