//! Asks upstreams how they are, without spending anything: when this process starts, again every few
//! minutes, and soon after one has failed.
//!
//! - One task for each upstream, which asks one thing at a time; so there are never more questions under way
//!   than upstreams. None of them takes a job's place, and none can be anything but a question
//!   ([`Provider::probe`]).
//! - A bad finding counts when it is found a second time in a row: one lost answer says nothing.
//! - An upstream is in trouble when nothing that it was asked was answered well. It may refuse to speak of one
//!   model, or break over it, and be well otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Core;
use super::health::{Condition, Findings};
use crate::catalog::Catalog;
use crate::providers::{PROBE_MAX, Probe, Provider};

/// Questions that go wrong one after the other, with none that went well before, and no more are asked.
const WRONG_MAX: usize = 3;

/// Begins to ask. Ends when it is dropped.
pub(super) fn start(core: &Arc<Core>) -> AbortOnDropHandle<()> {
    let core = Arc::clone(core);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut upstreams = JoinSet::new();
        for provider in core.providers.configured() {
            upstreams.spawn(follow(Arc::clone(&core), Arc::clone(provider)));
        }
        while let Some(ended) = upstreams.join_next().await {
            if ended.is_err() {
                tracing::error!("asking an upstream how it is ended in a panic");
            }
        }
    }))
}

/// Asks one upstream again and again.
async fn follow(core: Arc<Core>, provider: Arc<dyn Provider>) {
    let name = provider.name();
    let mut changes = core.catalog.changes();
    let mut before = Findings::default();
    let mut bad_rounds = 0;
    loop {
        let models = models(&core.catalog.get(), name);
        let now = ask(provider.as_ref(), &models, &before.gone).await;
        let confirmed = confirmed(&before, &now);
        let is_settled = confirmed == now;
        let has_trouble = now.trouble.is_some();
        core.health.found(name, confirmed);
        before = now;
        bad_rounds = if has_trouble || !is_settled {
            bad_rounds + 1
        } else {
            0
        };
        let wait = match bad_rounds {
            0 => jittered(core.settings.probe_interval),
            rounds => core.health.rest_after(rounds - 1),
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = core.health.doubted(name) => sleep(core.health.rest_after(0)).await,
            Ok(()) = changes.changed() => {}
        }
    }
}

/// What is found twice.
fn confirmed(before: &Findings, now: &Findings) -> Findings {
    Findings {
        trouble: before.trouble.and(now.trouble),
        gone: before.gone.intersection(&now.gone).cloned().collect(),
    }
}

/// The ids of all models that routes of the catalogue ask this upstream for.
fn models(catalog: &Catalog, name: &str) -> BTreeSet<String> {
    let routes = catalog.models().iter().flat_map(|model| &model.routes);
    routes
        .filter(|route| route.provider == name)
        .flat_map(|route| route.ids())
        .map(str::to_owned)
        .collect()
}

/// One round of questions. Of models that it did not come to, what was found before holds.
async fn ask(
    provider: &dyn Provider,
    models: &BTreeSet<String>,
    gone_before: &BTreeSet<String>,
) -> Findings {
    let enough = if provider.knows_models() {
        models.len()
    } else {
        1
    };
    let mut gone = BTreeSet::new();
    let mut trouble = None;
    let (mut wrong, mut well) = (0, 0);
    for model in models.iter().take(enough) {
        match timeout(PROBE_MAX, provider.probe(model)).await {
            Ok(Probe::Ready | Probe::Answers) => well += 1,
            Ok(Probe::ModelGone) => {
                well += 1;
                gone.insert(model.clone());
            }
            Ok(Probe::KeyRefused) => {
                wrong += 1;
                trouble = Some(Condition::Refused);
            }
            Ok(Probe::Down(why)) => {
                tracing::debug!(
                    upstream = provider.name(),
                    model,
                    why,
                    "an upstream is down"
                );
                wrong += 1;
                trouble = trouble.or(Some(Condition::Down));
            }
            Err(_elapsed) => {
                wrong += 1;
                trouble = trouble.or(Some(Condition::Down));
            }
        }
        if well == 0 && wrong == WRONG_MAX {
            break;
        }
    }
    if well == 0 && trouble.is_some() {
        return Findings {
            trouble,
            gone: gone_before.clone(),
        };
    }
    Findings {
        trouble: None,
        gone,
    }
}

/// A fifth more or less, so that replicas do not ask all at once.
fn jittered(wait: Duration) -> Duration {
    let part = getrandom::u32().unwrap_or_default() % 400;
    wait * (800 + part) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_once_does_not_count() {
        let found = |trouble, gone: &[&str]| Findings {
            trouble,
            gone: gone.iter().map(|model| (*model).to_owned()).collect(),
        };
        let well = found(None, &[]);
        let down = found(Some(Condition::Down), &["a"]);
        assert_eq!(confirmed(&well, &down), well);
        assert_eq!(confirmed(&down, &well), well);
        assert_eq!(confirmed(&down, &down), down);
        let refused = found(Some(Condition::Refused), &["a", "b"]);
        assert_eq!(
            confirmed(&down, &refused),
            found(Some(Condition::Refused), &["a"])
        );
    }

    #[test]
    fn waits_vary_by_a_fifth() {
        let wait = Duration::from_secs(1_000);
        for _ in 0..100 {
            let jittered = jittered(wait).as_secs();
            assert!((800..1_200).contains(&jittered), "{jittered}");
        }
    }
}
