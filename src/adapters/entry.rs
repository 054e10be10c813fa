//! The way in, the same for every face: headers and address to a `Caller` and what is left of its
//! budget.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use super::Parts;
use super::site::Site;
use crate::accounts::Scope;
use crate::gate::{Allowance, Caller, Refusal, credential_from};
use crate::spec::method::{Method, MethodInfo};

/// The address that a connection came from; put into each request by the server.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The spec names a scope that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{method} needs the scope {scope}, which does not exist")]
pub struct UnknownScope {
    method: &'static str,
    scope: &'static str,
}

/// A method with what the gate asks of its callers.
pub struct Entrance {
    /// The method and its handler.
    pub method: Method,
    scope: Scope,
}

impl Entrance {
    /// The entrance to a method.
    ///
    /// # Errors
    /// When its scope does not exist.
    pub fn new(method: Method) -> Result<Self, UnknownScope> {
        let MethodInfo { name, scope, .. } = *method.info;
        let known = Scope::from_str(scope).map_err(|_| UnknownScope {
            method: name,
            scope,
        })?;
        Ok(Self {
            method,
            scope: known,
        })
    }
}

/// Every entrance, and what the faces need beside.
pub struct House {
    /// The entrances, in the order of the spec.
    pub entrances: Vec<Entrance>,
    /// What the faces need beside.
    pub parts: Parts,
    /// This server as browsers see it.
    pub site: Site,
}

/// A caller that was let in.
pub struct Admitted {
    /// Who it is.
    pub caller: Caller,
    /// What is left of its budget.
    pub allowance: Allowance,
}

impl Admitted {
    /// The extensions of the request that the handler gets.
    pub fn into_extensions(self) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(self.caller);
        extensions
    }
}

impl House {
    /// The positions of the entrances by some name of their methods.
    pub fn index<K: std::hash::Hash + Eq>(
        &self,
        name: impl Fn(&'static MethodInfo) -> Option<K>,
    ) -> HashMap<K, usize> {
        let named = |(at, entrance): (usize, &Entrance)| Some((name(entrance.method.info)?, at));
        self.entrances
            .iter()
            .enumerate()
            .filter_map(named)
            .collect()
    }

    /// Who sends these headers from there.
    ///
    /// # Errors
    /// Why the credential is refused.
    pub async fn caller(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<Caller, Refusal> {
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or_default())
        };
        let credential = credential_from(header)?;
        let from = self.client_address(headers, peer);
        self.parts
            .gate
            .authenticate(credential, from, SystemTime::now())
            .await
    }

    /// Lets a known caller make one call.
    ///
    /// # Errors
    /// A missing scope, or a budget that is spent.
    pub fn admit(&self, caller: Caller, entrance: &Entrance) -> Result<Admitted, Refusal> {
        let allowance =
            self.parts
                .gate
                .admit(&caller, entrance.scope, entrance.method.info.budget)?;
        Ok(Admitted { caller, allowance })
    }

    /// Lets in whoever sends these headers.
    ///
    /// # Errors
    /// Those of [`House::caller`] and [`House::admit`].
    pub async fn enter(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
        entrance: &Entrance,
    ) -> Result<Admitted, Refusal> {
        let caller = self.caller(headers, peer).await?;
        self.admit(caller, entrance)
    }

    /// Lets in whoever sends these headers, over REST: a key as everywhere, or else the session of somebody who is
    /// signed in, from the pages of this server alone.
    ///
    /// # Errors
    /// Those of [`House::enter`], and a session that another site's page would borrow.
    pub async fn enter_by_rest(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
        entrance: &Entrance,
    ) -> Result<Admitted, Refusal> {
        let shows_key = headers.contains_key("authorization") || headers.contains_key("x-api-key");
        let Some(access) = self.site.access(headers).filter(|_| !shows_key) else {
            return self.enter(headers, peer, entrance).await;
        };
        if !self.site.is_own(headers) {
            return Err(Refusal::ForeignPage);
        }
        let gate = &self.parts.gate;
        let caller = gate.authenticate_session(access, SystemTime::now()).await?;
        self.admit(caller, entrance)
    }

    /// The client's address. Behind a trusted proxy it is the last one the proxy wrote: those before
    /// it are the client's own words.
    pub fn client_address(&self, headers: &HeaderMap, peer: Option<Peer>) -> IpAddr {
        let direct = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        if !self.parts.options.trusted_proxy {
            return direct;
        }
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
        let last =
            forwarded.and_then(|list| list.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        last.unwrap_or(direct)
    }
}

/// What is left of the budget, where the refusal is about that.
pub fn allowance_of(refusal: &Refusal) -> Option<Allowance> {
    match refusal {
        Refusal::RateLimited { allowance, .. } => Some(*allowance),
        _ => None,
    }
}

/// `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds).
pub fn put_allowance(headers: &mut HeaderMap, allowance: &Allowance) {
    let values = [
        ("ratelimit-limit", u64::from(allowance.limit)),
        ("ratelimit-remaining", u64::from(allowance.remaining)),
        ("ratelimit-reset", allowance.reset_seconds),
    ];
    for (name, value) in values {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}

/// The house as the state of a face.
pub type Shared = Arc<House>;
