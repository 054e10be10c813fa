//! `piooy serve`: wires the rooms together, serves until it is told to stop, and stops in order.
//!
//! Start: listen (so that a taken port is told before anything else happens), database, first start,
//! worker, faces. Stop: faces first, so that nothing new comes in; then the worker lets go of its
//! tasks, which the next start goes on with; the private PostgreSQL last.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::{Failure, catalog, monthly, upstreams};
use crate::accounts::{Accounts, FirstKeys, SealingSecrets, secrets};
use crate::adapters::handlers::{Api, TaskMessages};
use crate::adapters::{Faces, Options, Parts, oidc_back, server, sign_in_link};
use crate::assets::Assets;
use crate::catalog::Current;
use crate::egress::{self, Egress};
use crate::gate::{Gate, JwtSettings, KeySetOrigin};
use crate::generation::{self, Generation, LostSubmissions};
use crate::ledger::Ledger;
use crate::operator::{AuditLog, Desk};
use crate::people::{Issuer, IssuerSettings, People};
use crate::settings::{JwksSource, SandboxForLive, Settings};
use crate::spec;
use crate::spec::method::Registry;
use crate::store::Store;
use crate::webhooks::{self, Deliverer, Webhooks};

/// The credits of the account that a first start makes.
const FIRST_CREDITS: i64 = 1_000;

/// The note that those credits have in the statement.
const FIRST_NOTE: &str = "first start";

/// The name of the secret that signs links to results.
const LINK_SECRET: &str = "asset-links";

/// The name of the secret that signs quotes.
const QUOTE_SECRET: &str = "quotes";

/// A server that runs.
pub struct Running {
    database: Database,
    generation: Arc<Generation>,
    deliverer: Deliverer,
    stop: CancellationToken,
    faces: tokio::task::JoinHandle<()>,
    monthly: tokio::task::JoinHandle<()>,
    follower: Option<tokio::task::JoinHandle<()>>,
    sign_in_link: Option<String>,
}

impl Running {
    /// The link that signs in the first person of all; none: somebody has signed in before, or could have.
    pub fn sign_in_link(&self) -> Option<&str> {
        self.sign_in_link.as_deref()
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.faces.await.is_err() {
            tracing::error!("the faces ended in a panic");
        }
        if self.monthly.await.is_err() {
            tracing::error!("granting monthly credits ended in a panic");
        }
        if let Some(follower) = self.follower
            && follower.await.is_err()
        {
            tracing::error!("following the model file ended in a panic");
        }
        self.deliverer.stop().await;
        self.generation.stop().await;
        drop(self.generation);
        self.database.close().await;
    }
}

/// Serves until a signal says stop.
pub async fn run(settings: Settings) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    allow_many_connections();
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        format!(
            "cannot listen on {}: {error}; PIOOY_LISTEN chooses another place",
            settings.listen
        )
    })?;
    // A signal during the start ends it: whatever was begun is undone as it is dropped.
    let running = tokio::select! {
        running = start(&settings, listener, &|keys| tell_keys(keys)) => running?,
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
    };
    tell_place(&settings, begun);
    if let Some(link) = running.sign_in_link() {
        tell_link(link);
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("Stopping…");
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Takes as many open files as the system allows: every connection is one, and clients of streams keep
/// theirs. What programs are given without asking is often 1,024.
fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Starts everything on a listener that is open already.
///
/// # Errors
/// What keeps the server from running.
pub async fn start(
    settings: &Settings,
    listener: TcpListener,
    show: &(impl Fn(&FirstKeys) + Sync),
) -> Result<Running, Failure> {
    let catalog = Current::new(catalog::load(settings)?);
    let database = Database::own(settings).await?;
    let stop = CancellationToken::new();
    let follower = catalog::follow(settings, catalog.clone(), stop.clone())?;
    match assemble(settings, &database, catalog, &stop, show).await {
        Ok(House {
            faces,
            generation,
            deliverer,
            sign_in_link,
        }) => {
            let serving = tokio::spawn(server::serve(
                listener,
                faces,
                stop.clone().cancelled_owned(),
            ));
            let monthly = tokio::spawn(monthly::run(database.store.clone(), stop.clone()));
            Ok(Running {
                database,
                generation,
                deliverer,
                stop,
                faces: serving,
                monthly,
                follower,
                sign_in_link,
            })
        }
        Err(error) => {
            database.close().await;
            Err(error)
        }
    }
}

/// The rooms, put together.
struct House {
    faces: Faces,
    generation: Arc<Generation>,
    deliverer: Deliverer,
    sign_in_link: Option<String>,
}

/// Puts the rooms together.
async fn assemble(
    settings: &Settings,
    database: &Database,
    catalog: Current,
    stop: &CancellationToken,
    show: &(impl Fn(&FirstKeys) + Sync),
) -> Result<House, Failure> {
    let store = database.store.clone();
    let (accounts, ledger) = (Accounts::new(store.clone()), Ledger::new(store.clone()));
    if let Some(dev) = accounts.first_start(show).await? {
        ledger.open(dev.id, FIRST_CREDITS, FIRST_NOTE).await?;
    }
    let mut people = People::open(store.clone()).await?;
    if let Some(issuer) = issuer(settings)? {
        people = people.with_issuer(issuer);
    }
    let sign_in_link = first_sign_in(&accounts, &people, &settings.public_url).await?;
    let assets = Assets::local(
        &settings.data_dir.join("assets"),
        secret(&store, LINK_SECRET).await?,
        &settings.public_url,
    )
    .map_err(|error| {
        format!(
            "cannot keep results in {}: {error}",
            settings.data_dir.display()
        )
    })?;
    let gate = Gate::new(accounts.clone(), tokens(settings)?)?.with_people(people.clone());
    let gate = Arc::new(gate);
    let parts = generation::Parts {
        store: store.clone(),
        ledger: ledger.clone(),
        catalog: catalog.clone(),
        providers: upstreams::providers(settings)?,
        assets: assets.clone(),
        egress: Egress::new(egress::Policy {
            private_allowed: settings.egress_private,
        })?,
        quote_secret: secret(&store, QUOTE_SECRET).await?,
    };
    let bounds = generation::Settings {
        sandbox_for_live: match settings.sandbox_for_live {
            SandboxForLive::Auto => database.is_private(),
            SandboxForLive::Yes => true,
            SandboxForLive::No => false,
        },
        upstream_keys_secrets: SealingSecrets::new(
            settings.upstream_keys_secrets.expose().to_vec(),
        ),
        own_key_percent: settings.own_key_percent,
        hooks_url: upstreams::hooks_url(settings),
        lease: settings.lease,
        lifetime_max: settings.task_deadline,
        ..generation::Settings::default()
    };
    let generation = Arc::new(Generation::start(parts, bounds).await?);
    // An egress of their own: receivers that are slow to answer take no turns from pictures that are fetched.
    let egress = Egress::new(egress::Policy {
        private_allowed: settings.egress_private,
    })?;
    let webhooks = Webhooks::new(store.clone(), egress, generation.owed());
    let messages = TaskMessages::new(generation.clone(), assets.clone());
    let deliverer = Deliverer::start(
        webhooks.clone(),
        Arc::new(messages),
        webhooks::Settings::default(),
    );
    let api = Api {
        accounts,
        audit_log: AuditLog::new(store.clone()),
        assets: assets.clone(),
        catalog: catalog.clone(),
        desk: Desk::new(store.clone()),
        gate: gate.clone(),
        generation: generation.clone(),
        ledger,
        lost_submissions: Arc::new(LostSubmissions::new(store.clone())),
        people: people.clone(),
        public_url: settings.public_url.clone(),
        webhooks,
        stop: stop.clone(),
    };
    let mut registry = Registry::new(settings.body_bytes_max);
    spec::v1::register(api, &mut registry);
    let options = Options {
        public_url: settings.public_url.clone(),
        body_bytes_max: settings.body_bytes_max,
        trusted_proxy: settings.trusted_proxy,
        allowed_hosts: settings.allowed_hosts.clone(),
        allowed_origins: settings.allowed_origins.clone(),
        mcp_sse: settings.mcp_sse,
    };
    let faces = Faces::new(
        registry,
        Parts {
            gate,
            assets,
            store,
            catalog,
            people: Some(people),
            generation: Some(generation.clone()),
            options,
            stop: stop.clone(),
        },
    )?;
    Ok(House {
        faces,
        generation,
        deliverer,
        sign_in_link,
    })
}

/// The link for the first person of all, who owns the account of the first start and runs the server.
async fn first_sign_in(
    accounts: &Accounts,
    people: &People,
    public_url: &str,
) -> Result<Option<String>, Failure> {
    let Some(founding) = accounts.founding().await? else {
        return Ok(None);
    };
    let link = people.first_link(founding.id, SystemTime::now()).await?;
    Ok(link.map(|token| sign_in_link(public_url, &token)))
}

/// A secret that all replicas share.
async fn secret(store: &Store, name: &str) -> Result<[u8; 32], Failure> {
    let secret = secrets::get_or_create(store, name, 32).await?;
    secret
        .try_into()
        .map_err(|_| format!("the secret {name} in the database has a wrong length").into())
}

fn issuer(settings: &Settings) -> Result<Option<Issuer>, Failure> {
    let Some(oidc) = &settings.oidc else {
        return Ok(None);
    };
    let secret = oidc.client_secret.as_ref();
    let issuer = Issuer::new(IssuerSettings {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: secret.map(|secret| secret.expose().to_owned()),
        name: oidc.name.clone(),
        back: oidc_back(&settings.public_url),
    });
    Ok(Some(issuer?))
}

fn tokens(settings: &Settings) -> Result<Option<JwtSettings>, Failure> {
    let Some(jwt) = &settings.jwt else {
        return Ok(None);
    };
    let jwks = match &jwt.jwks {
        JwksSource::File(path) => KeySetOrigin::File(path.clone()),
        JwksSource::Url(url) => KeySetOrigin::Url(url.parse()?),
    };
    Ok(Some(JwtSettings {
        jwks,
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
    }))
}

fn tell_keys(keys: &FirstKeys) {
    println!(
        "First start: the account dev has {FIRST_CREDITS} credits and two keys. They are shown this once."
    );
    println!();
    println!(
        "  test key  {}   runs the sandbox, moves no credits",
        keys.test.expose()
    );
    println!("  live key  {}   spends the credits", keys.live.expose());
    println!();
}

fn tell_place(settings: &Settings, begun: Instant) {
    let url = &settings.public_url;
    println!(
        "Piooy listens on {url} (started in {} ms)",
        begun.elapsed().as_millis()
    );
    println!("  MCP   {url}/api/mcp/mcp");
    println!("  REST  {url}/api/v1   described at {url}/openapi.json");
    println!("  gRPC  {}   (no TLS)", settings.listen);
}

fn tell_link(link: &str) {
    println!();
    println!("Nobody has signed in yet. This link does so once, within the hour:");
    println!("  {link}");
    println!("`piooy login-link ACCOUNT` makes another.");
}
