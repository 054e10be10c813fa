//! From what is asked to what would run: the model, the values that fit it, the price for this
//! account, the upstreams. Pure but for what the catalogue and the providers know.

use std::sync::Arc;

use super::Core;
use super::errors::SubmitError;
use super::inputs;
use super::own_keys::{OwnUpstreams, service_price};
use super::request::{Request, Work};
use super::routes::{Route, Wish, routes};
use crate::catalog::{Adjustment, Catalog, Fitted, Model, Tier, Unfit, Violation};
use crate::gate::Caller;

/// How much of a negative prompt an answer repeats.
const ECHO_CHARACTERS: usize = 60;

/// A request that could run.
pub(super) struct Prepared<'a> {
    pub model: &'a Model,
    pub fitted: Fitted,
    /// The exact price for this account.
    pub credits: i64,
    /// The upstream that would be asked first.
    pub provider: String,
    /// Without the reference pictures, which have no place yet.
    pub work: Arc<Work>,
    /// The upstream whose key of the account's own it runs with first.
    pub own_key: Option<String>,
}

/// Checks everything about a request that needs no database but the account's keys.
pub(super) fn prepare<'a>(
    core: &Core,
    catalog: &'a Catalog,
    caller: &Caller,
    own: &OwnUpstreams,
    request: &Request,
) -> Result<Prepared<'a>, SubmitError> {
    let model = catalog.get(&request.model)?;
    check_expectations(model, request)?;
    inputs::check_addresses(core, &request.reference_images)?;
    let fitted = fit(model, request)?;
    let price = model.price(&fitted)?;
    let included = caller.plan().free_tier_included && model.tier == Tier::Free;
    let mut work = Work::new(model, request, &fitted);
    let wish = Wish {
        test: caller.is_test(),
        provider: request.provider.as_deref(),
        operation: work.operation,
        resolution: &work.resolution,
        own_alone: false,
    };
    let routes = routes(
        &core.providers,
        own,
        core.settings.sandbox_for_live,
        model,
        &wish,
    )?;
    let routes = sound(core, model, routes)?;
    let first = first_able(&routes, model, &work)?;
    let provider = first.provider.name().to_owned();
    let own_key = first.own.is_some().then(|| provider.clone());
    let price = match (included, &own_key) {
        (true, _) => 0,
        (false, None) => price,
        (false, Some(_)) => service_price(price, core.settings.own_key_percent),
    };
    if own_key.is_some() {
        let ids = routes.iter().filter_map(|route| {
            let own = route.own.as_ref()?;
            Some((route.provider.name().to_owned(), own.key_id))
        });
        work.own_keys = ids.collect();
    }
    Ok(Prepared {
        model,
        fitted,
        credits: price,
        provider,
        own_key,
        work: Arc::new(work),
    })
}

/// Fits the request to the model. A negative prompt that the model does not take is left out, and a strict request
/// refused, together with whatever else the model cannot take.
fn fit(model: &Model, request: &Request) -> Result<Fitted, Unfit> {
    const FIELD: &str = "negative_prompt";
    let fitted = model.fit(&request.ask());
    let Some(text) = &request.negative_prompt else {
        return fitted;
    };
    if model.negative_prompt {
        return fitted;
    }
    let (asked, why) = (
        text.chars().take(ECHO_CHARACTERS).collect(),
        format!("{} takes no negative prompt", model.slug),
    );
    if !request.strict {
        return fitted.map(|mut fitted| {
            fitted.adjustments.push(Adjustment {
                field: FIELD,
                asked,
                used: String::new(),
                why,
            });
            fitted
        });
    }
    let mut unfit = fitted.err().unwrap_or_else(|| Unfit {
        model: model.slug.clone(),
        violations: Vec::new(),
    });
    unfit.violations.push(Violation {
        field: FIELD,
        asked,
        message: why,
        allowed: Vec::new(),
    });
    Err(unfit)
}

/// Those of the ways that nothing is wrong with.
fn sound(core: &Core, model: &Model, routes: Vec<Route>) -> Result<Vec<Route>, SubmitError> {
    let mut troubles = Vec::new();
    let mut sound = Vec::with_capacity(routes.len());
    for route in routes {
        match route.trouble(core) {
            None => sound.push(route),
            Some(condition) => troubles.push((route.provider.name().to_owned(), condition)),
        }
    }
    if !sound.is_empty() {
        return Ok(sound);
    }
    Err(SubmitError::ModelUnavailable {
        model: model.slug.clone(),
        settings: Vec::new(),
        troubles,
        sandbox: core.settings.sandbox_for_live,
    })
}

/// The first way that can do the work, as far as can be told without asking.
fn first_able<'r>(
    routes: &'r [Route],
    model: &Model,
    work: &Work,
) -> Result<&'r Route, SubmitError> {
    let mut refusal = None;
    for route in routes {
        match route.check(work, model) {
            Ok(()) => return Ok(route),
            Err(failure) => refusal = refusal.or(Some(failure)),
        }
    }
    Err(SubmitError::Refused(
        refusal.expect("there is at least one route"),
    ))
}

fn check_expectations(model: &Model, request: &Request) -> Result<(), SubmitError> {
    let expected = [request.expects, request.scene.map(super::Scene::media)];
    if let Some(expected) = expected
        .into_iter()
        .flatten()
        .find(|expected| *expected != model.media)
    {
        return Err(SubmitError::WrongMedia {
            model: model.slug.clone(),
            makes: model.media,
            expected,
        });
    }
    match request.scene {
        Some(scene) if scene.from_images() == request.reference_images.is_empty() => {
            Err(SubmitError::WrongScene { scene })
        }
        _ => Ok(()),
    }
}
