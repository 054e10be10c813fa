//! From the settings to the upstreams that this server can reach, and what works of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use url::{Host, Url};

use super::Failure;
use crate::catalog::Catalog;
use crate::egress::{Egress, Policy};
use crate::providers::{
    Comfyui, Connection, Fal, Gemini, Kie, OpenAi, PROBE_MAX, Probe, Provider, Providers,
    Replicate, Sandbox,
};
use crate::settings::{Dialect, Settings, Upstream, missing_upstreams, public_upstreams};

/// Where fal tells the keys that its webhooks are signed with.
const FAL_KEYS: &str = "https://rest.fal.ai/.well-known/jwks.json";
/// Where kie.ai takes pictures.
const KIE_UPLOADS: &str = "https://kieai.redpandaai.co";
/// Where the workflows of a ComfyUI server are, in the directory of data.
const WORKFLOWS: &str = "workflows";
/// Routes that are probed at the same time.
const PROBES_MAX: usize = 8;

/// All of them.
///
/// # Errors
/// When one cannot be used as it is set up.
pub fn providers(settings: &Settings) -> Result<Providers, Failure> {
    let mut providers = Providers::new(Arc::new(Sandbox::default()));
    let egress = Egress::new(Policy {
        private_allowed: settings.egress_private,
    })?;
    for upstream in &settings.upstreams {
        let way = Way::to(upstream.clone(), &settings.data_dir, &egress)
            .map_err(|error| unusable(upstream, &error))?;
        let key = upstream.key.as_ref().map(|key| key.expose());
        let webhook_key = upstream.webhook_key.as_ref().map(|key| key.expose());
        let provider = way
            .provider(key, webhook_key)
            .map_err(|error| unusable(upstream, &error))?;
        providers = providers.with(provider);
        if let Some(jobs) = upstream.jobs {
            providers = providers.limited(&upstream.name, jobs);
        }
        // Where the operator needs a key, others may have one too.
        if key.is_some() {
            let make = move |key: &str| way.provider(Some(key), None).ok();
            providers = providers.taking_keys(&upstream.name, Arc::new(make));
        }
    }
    for (name, setting) in missing_upstreams(&settings.upstreams) {
        providers = providers.without(name, &setting);
    }
    for upstream in public_upstreams(&settings.upstreams) {
        let name = upstream.name.clone();
        let (data_dir, egress) = (settings.data_dir.clone(), egress.clone());
        // Most of them nobody ever has a key for.
        let way = LazyLock::new(move || Way::to(upstream, &data_dir, &egress).ok());
        let make = move |key: &str| way.as_ref()?.provider(Some(key), None).ok();
        providers = providers.taking_keys(&name, Arc::new(make));
    }
    Ok(providers)
}

fn unusable(upstream: &Upstream, error: &Failure) -> Failure {
    format!("the upstream {} cannot be used: {error}", upstream.name).into()
}

/// What all providers of an upstream have in common, whoever's keys they show.
struct Way {
    upstream: Upstream,
    connection: Connection,
    /// To where pictures are sent, where that is elsewhere.
    uploads: Connection,
    workflows: PathBuf,
}

impl Way {
    fn to(upstream: Upstream, data_dir: &Path, egress: &Egress) -> Result<Self, Failure> {
        let connection = Connection::through(upstream.url.clone(), egress.clone())?;
        let uploads = match upstream.dialect {
            Dialect::Kie if !upstream.is_elsewhere => {
                Connection::through(KIE_UPLOADS.parse()?, egress.clone())?
            }
            _ => connection.clone(),
        };
        let usual = || data_dir.join(WORKFLOWS);
        Ok(Self {
            workflows: upstream.workflows.clone().unwrap_or_else(usual),
            upstream,
            connection,
            uploads,
        })
    }

    /// The provider that shows this key.
    fn provider(
        &self,
        key: Option<&str>,
        webhook_key: Option<&str>,
    ) -> Result<Arc<dyn Provider>, Failure> {
        let (upstream, name) = (&self.upstream, self.upstream.name.as_str());
        let connection = self.connection.clone();
        let needed = key.unwrap_or_default();
        Ok(match upstream.dialect {
            Dialect::Fal => {
                let keys = match upstream.is_elsewhere {
                    false => FAL_KEYS.parse()?,
                    true => format!(
                        "{}/.well-known/jwks.json",
                        upstream.url.as_str().trim_end_matches('/')
                    )
                    .parse()?,
                };
                Arc::new(Fal::new(name, connection, needed, keys)?)
            }
            Dialect::Gemini => Arc::new(Gemini::new(name, connection, needed)?),
            Dialect::OpenAi => Arc::new(OpenAi::new(name, connection, key)?),
            Dialect::Replicate => Arc::new(Replicate::new(name, connection, needed)?),
            Dialect::Kie => {
                let uploads = self.uploads.clone();
                Arc::new(Kie::new(name, connection, uploads, needed, webhook_key)?)
            }
            Dialect::ComfyUi => Arc::new(Comfyui::new(name, connection, key, &self.workflows)?),
        })
    }
}

/// `piooy models check`: every route of the catalogue, whether its upstream is set up, and whether it
/// would work. Nothing is spent.
///
/// # Errors
/// When the settings or the catalogue cannot be used.
pub async fn check(settings: &Settings, catalog: &Catalog) -> Result<bool, Failure> {
    let providers = providers(settings)?;
    let routes = catalog.models().iter().flat_map(|model| {
        model.routes.iter().map(|route| {
            (
                model.slug.clone(),
                route.provider.clone(),
                route.model.clone(),
            )
        })
    });
    let probe = async |(slug, name, upstream_model): (String, String, String)| {
        let found = match providers.get(&name) {
            Some(provider) => match timeout(PROBE_MAX, provider.probe(&upstream_model)).await {
                Ok(found) => word(&found),
                Err(_) => word(&Probe::Down("it gives no answer".to_owned())),
            },
            None => match providers.missing_setting(&name) {
                Some(setting) => (None, format!("set {setting}")),
                None => (None, "not spoken by this version".to_owned()),
            },
        };
        (slug, name, upstream_model, found)
    };
    let probed: Vec<_> = stream::iter(routes)
        .map(probe)
        .buffered(PROBES_MAX)
        .collect()
        .await;
    let mut sound = true;
    println!(
        "{:<24} {:<10} {:<52} state",
        "model", "upstream", "id there"
    );
    for (slug, name, upstream_model, (works, state)) in probed {
        sound &= works != Some(false);
        println!("{slug:<24} {name:<10} {upstream_model:<52} {state}");
    }
    for (slug, replaced_by) in catalog.retired() {
        let state = match replaced_by {
            Some(successor) => format!("retired: use {successor}"),
            None => "retired".to_owned(),
        };
        println!("{slug:<24} {0:<10} {0:<52} {state}", "-");
    }
    Ok(sound)
}

/// Whether a route works, if that was asked, and how to say so.
fn word(probe: &Probe) -> (Option<bool>, String) {
    match probe {
        Probe::Ready => (Some(true), "ready".to_owned()),
        Probe::Answers => (
            Some(true),
            "the upstream answers; whether it has the model cannot be asked".to_owned(),
        ),
        Probe::KeyRefused => (Some(false), "the upstream refuses the key".to_owned()),
        Probe::ModelGone => (
            Some(false),
            "the upstream no longer has the model".to_owned(),
        ),
        Probe::Down(why) => (Some(false), format!("down: {why}")),
    }
}

/// Where upstreams reach this server: nowhere, as long as it is known by an address of this machine.
pub fn hooks_url(settings: &Settings) -> Option<String> {
    let url = Url::parse(&settings.public_url).ok()?;
    let is_public = match url.host()? {
        Host::Domain(name) => name != "localhost",
        Host::Ipv4(address) => !address.is_loopback() && !address.is_unspecified(),
        Host::Ipv6(address) => !address.is_loopback() && !address.is_unspecified(),
    };
    is_public.then(|| settings.public_url.clone())
}
