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
use super::health::Health;
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
            sandbox: sandbox_for_live,
        });
    }
    Ok(reachable)
}

/// The names of the upstreams that could run a model for such a key at all, best first.
pub(super) fn reachable(
    providers: &Providers,
    own: &OwnUpstreams,
    sandbox_for_live: bool,
    model: &Model,
    test: bool,
) -> Vec<String> {
    if test {
        return vec![SANDBOX.to_owned()];
    }
    let names = model.routes.iter().map(|route| route.provider.as_str());
    let configured = names.filter(|name| own.contains_key(*name) || providers.get(name).is_some());
    owned(configured.chain(sandbox_for_live.then_some(SANDBOX)))
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
