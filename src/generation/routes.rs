//! Which upstreams may run a request, for whom.
//!
//! | key | asked for | routes |
//! |---|---|---|
//! | test | anything | the sandbox: a test key never touches a real upstream |
//! | live | nothing | the model's routes that this server can reach, in the catalogue's order |
//! | live | one by name | that one |
//! | live | the sandbox | the sandbox, if this server lets live keys use it |
//!
//! A route that the account has a key of its own for runs with that, and is reachable without the operator's;
//! see [`own_keys`](super::own_keys).

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Core;
use super::errors::SubmitError;
use super::health::{Condition, Health};
use super::own_keys::{OwnUpstream, OwnUpstreams};
use super::request::Work;
use crate::catalog::Model;
use crate::providers::{Failure, Inputs, Operation, Provider, Providers, SANDBOX};

/// One way to run a request.
#[derive(Clone)]
pub(super) struct Route {
    pub provider: Arc<dyn Provider>,
    /// The account's own key, if it runs with that.
    pub own: Option<Arc<OwnUpstream>>,
    /// The upstream's id for the model and the operation.
    pub upstream_model: String,
    pub inputs: Option<Arc<Inputs>>,
    pub fixed: BTreeMap<String, String>,
}

impl Route {
    /// Whether it is worth asking.
    pub fn health<'a>(&'a self, core: &'a Core) -> &'a Health {
        self.own.as_ref().map_or(&core.health, |own| &own.health)
    }

    /// What is wrong with it, if anything is.
    pub fn trouble(&self, core: &Core) -> Option<Condition> {
        let health = self.health(core);
        health.trouble(self.provider.name(), &self.upstream_model)
    }

    /// Whether it can do the work, as far as can be told without asking.
    ///
    /// # Errors
    /// What would certainly be the end of it.
    pub fn check(&self, work: &Work, model: &Model) -> Result<(), Failure> {
        self.provider.check(&work.job(Uuid::nil(), 1, model, self))
    }
}

/// Who asks for which way, and for what.
pub(super) struct Wish<'a> {
    pub test: bool,
    /// The upstream asked for by name.
    pub provider: Option<&'a str>,
    pub operation: Operation,
    pub resolution: &'a str,
    /// Whether it runs with the account's own keys or not at all.
    pub own_alone: bool,
}

/// The ways to run it, best first; never empty.
///
/// # Errors
/// What the caller, or the operator of the server, would have to change.
pub(super) fn routes(
    providers: &Providers,
    own: &OwnUpstreams,
    sandbox_for_live: bool,
    model: &Model,
    wish: &Wish<'_>,
) -> Result<Vec<Route>, SubmitError> {
    if let Some(name) = wish.provider
        && !providers.names().contains(&name)
    {
        return Err(SubmitError::UnknownProvider {
            asked: name.to_owned(),
            known: owned(providers.names()),
        });
    }
    let wants_sandbox = wish.provider == Some(SANDBOX);
    if wants_sandbox && !wish.test && !sandbox_for_live {
        return Err(SubmitError::SandboxNotAllowed);
    }
    if wants_sandbox || wish.test {
        return Ok(vec![sandbox(providers, model)]);
    }
    let offered: Vec<_> = model
        .routes_for(wish.operation, wish.resolution)
        .filter(|(route, _)| wish.provider.is_none_or(|name| name == route.provider))
        .collect();
    let reachable: Vec<_> = offered
        .iter()
        .filter_map(|(route, upstream_model)| {
            let own = own.get(&route.provider);
            let operators = || providers.get(&route.provider).filter(|_| !wish.own_alone);
            let provider = own.map(|own| &own.provider).or_else(operators)?;
            Some(Route {
                provider: Arc::clone(provider),
                own: own.cloned(),
                upstream_model: (*upstream_model).to_owned(),
                inputs: route.inputs.clone(),
                fixed: route.fixed.clone(),
            })
        })
        .collect();
    if reachable.is_empty() {
        let settings = offered
            .iter()
            .filter_map(|(route, _)| providers.missing_setting(&route.provider))
            .map(str::to_owned)
            .collect();
        return Err(SubmitError::ModelUnavailable {
            model: model.slug.clone(),
            settings,
            troubles: Vec::new(),
            sandbox: sandbox_for_live,
        });
    }
    Ok(reachable)
}

/// How an upstream stands that could run a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// Its name.
    pub provider: String,
    /// Whether it would run the model now.
    pub reach: Reach,
}

/// Whether an upstream would run a model now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It is set up; how it stands, of its ways to the model the best.
    SetUp(Condition),
    /// It is not set up; the setting that it lacks, if any would do.
    NotSetUp(Option<String>),
}

impl Availability {
    /// Whether it can be asked now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.reach == Reach::SetUp(Condition::Ready)
    }
}

/// How the upstreams stand that could run a model for such a key at all, best first. `stands` tells of the
/// upstream of that name and its id for the model; of none that is not set up.
pub(super) fn availability(
    providers: &Providers,
    sandbox_for_live: bool,
    model: &Model,
    test: bool,
    stands: impl Fn(&str, &str) -> Option<Condition>,
) -> Vec<Availability> {
    let mut all: Vec<Availability> = Vec::new();
    for route in model.routes.iter().filter(|_| !test) {
        let name = route.provider.as_str();
        let reach = match stands(name, &route.model) {
            Some(condition) => Reach::SetUp(condition),
            None => Reach::NotSetUp(providers.missing_setting(name).map(str::to_owned)),
        };
        match all.iter_mut().find(|known| known.provider == name) {
            Some(known) if known.is_ready() => {}
            Some(known) => known.reach = reach,
            None => all.push(Availability {
                provider: name.to_owned(),
                reach,
            }),
        }
    }
    if test || sandbox_for_live {
        all.push(Availability {
            provider: SANDBOX.to_owned(),
            reach: Reach::SetUp(Condition::Ready),
        });
    }
    all
}

fn owned<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn sandbox(providers: &Providers, model: &Model) -> Route {
    Route {
        provider: Arc::clone(providers.sandbox()),
        own: None,
        upstream_model: model.slug.clone(),
        inputs: None,
        fixed: BTreeMap::new(),
    }
}
