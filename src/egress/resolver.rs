//! From a name to the addresses that may be called, in the one place where connections get theirs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Policy;
use super::error::NoAddress;

/// Where the addresses of names come from.
#[async_trait::async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of a host.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own names.
pub struct System;

#[async_trait::async_trait]
impl Resolver for System {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// Gives connections only what the policy allows. Literal addresses in a URL never come here; they are
/// checked with the URL.
pub(super) struct Checked {
    pub policy: Policy,
    pub resolver: Arc<dyn Resolver>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, resolver) = (self.policy, Arc::clone(&self.resolver));
        Box::pin(async move {
            let found = resolver.lookup(name.as_str()).await.unwrap_or_default();
            let allowed = found.into_iter().filter(|address| policy.allows(*address));
            // The port 0 stands for that of the URL.
            let allowed: Vec<_> = allowed.map(|address| SocketAddr::new(address, 0)).collect();
            if allowed.is_empty() {
                return Err(NoAddress.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
