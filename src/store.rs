//! The one door to PostgreSQL: a bounded pool, the migrations, and the private server of an
//! installation that has no other.
//!
//! - [`Store`] hands out connections and knows nothing of any table; each room keeps its own
//!   statements in `<room>/sql/*.sql`.
//! - [`PrivateCluster`] runs PostgreSQL for us when no database was named. What it yields is a URL
//!   like any other, so there is no second code path and no second dialect.
//!
//! **Bounds.** At most [`StoreOptions::connections_max`] connections, and one for each
//! [`Store::listen`]; a caller waits [`CONNECTION_WAIT_MAX`] for one and is then told [`StoreError::Busy`]. Every statement ends
//! within [`STATEMENT_MAX`], every idle transaction within [`IDLE_IN_TRANSACTION_MAX`]: a forgotten
//! snapshot keeps PostgreSQL from cleaning up and slows every update down.
//!
//! **TLS** is used, and the server's certificate is checked against the platform's trust store,
//! when the URL says `sslmode=require`, `verify-ca` or `verify-full`. Any other mode connects in
//! the clear: "prefer" would protect nothing, since whoever sits in between only has to say that
//! TLS is not available.

use std::error::Error;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, PoolError, QueueMode, RecyclingMethod, Runtime,
    TimeoutType,
};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

mod listen;
mod migrate;
mod pipeline;
mod private_cluster;

pub use listen::{Heard, Listener};
pub use pipeline::{Columns, Line, parameters};
pub use private_cluster::{ClusterError, ClusterOptions, Opened, PrivateCluster, SharedCluster};

/// A pooled connection. Statements that run often belong in its `prepare_cached`: they are parsed
/// and planned once for each connection.
pub type Client = deadpool_postgres::Object;

/// How long [`Store::client`] waits for a connection of the pool to come free.
pub const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long reaching the server may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a statement may run, unless its transaction sets another `statement_timeout`.
pub const STATEMENT_MAX: Duration = Duration::from_secs(30);
/// How long a transaction may sit idle before PostgreSQL ends it.
pub const IDLE_IN_TRANSACTION_MAX: Duration = Duration::from_secs(10);
/// How long sent data may stay unacknowledged, and a silent peer unprobed, before a connection
/// counts as dead.
const PEER_SILENCE_MAX: Duration = Duration::from_secs(30);

/// What the pool is allowed.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Connections this process opens at most.
    pub connections_max: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections_max: 16,
        }
    }
}

/// Why the database did not do what was asked. The texts are fit for callers; the source chain
/// keeps the details for logs.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address cannot be read as a URL or as `key=value` pairs; nothing was tried.
    #[error("the database address is not a valid PostgreSQL URL")]
    Url(#[source] tokio_postgres::Error),
    /// The address asks for TLS, and the platform's trust store cannot be used.
    #[error("TLS to the database could not be prepared")]
    Tls(#[source] rustls::Error),
    /// No connection could be made, or the one in use broke: the host, the credentials or the database name is wrong,
    /// or the server is starting or stopping.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// No connection came free within [`CONNECTION_WAIT_MAX`], the server takes no more of them, or a statement ran out
    /// of time or found a lock taken.
    #[error("the database is busy; try again shortly")]
    Busy,
    /// Any other error of a statement, such as a broken constraint (see [`StoreError::constraint`]).
    #[error("the database could not carry out the operation")]
    Database(#[source] tokio_postgres::Error),
    /// What is stored contradicts itself or what is to be written.
    #[error("the database could not carry out the operation")]
    Inconsistent(#[source] Box<dyn Error + Send + Sync>),
    /// A migration failed, or one that was applied is not among those of this build or differs from it.
    #[error("the database schema could not be brought up to date")]
    Migration(#[source] Box<refinery::Error>),
}

impl StoreError {
    /// The same error for another caller whom it strikes. Only what callers see is kept; the details
    /// go to the first one.
    pub fn again(&self) -> Self {
        match self {
            Self::Busy => Self::Busy,
            other => Self::Unavailable(other.to_string().into()),
        }
    }

    /// Whether what was written rested on something that is not so any more; to be worked out anew.
    pub fn is_outdated(&self) -> bool {
        let code = match self {
            Self::Database(error) => error.code(),
            _ => None,
        };
        code == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
    }

    /// The name of the constraint that refused the statement, if that was the cause.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(error) => error.as_db_error()?.constraint(),
            _ => None,
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        // Codes of PostgreSQL's Appendix A: connection exceptions, and what a server says while it
        // starts or stops.
        let away = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
        ];
        let busy = [
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::QUERY_CANCELED,
            SqlState::LOCK_NOT_AVAILABLE,
        ];
        let is_away = match error.code() {
            Some(code) => code.code().starts_with("08") || away.contains(code),
            None => {
                error.is_closed() || error.source().is_some_and(|cause| cause.is::<io::Error>())
            }
        };
        if is_away {
            Self::Unavailable(error.into())
        } else if error.code().is_some_and(|code| busy.contains(code)) {
            Self::Busy
        } else {
            Self::Database(error)
        }
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            // Whatever kept a connection from being made (a wrong password, a certificate), there
            // is none.
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                match error.into() {
                    Self::Database(error) => Self::Unavailable(error.into()),
                    known => known,
                }
            }
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy,
            other => Self::Unavailable(other.into()),
        }
    }
}

/// A bounded pool of connections to one database. Clones share the pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// For connections beside the pool: how they are made …
    config: Config,
    /// … and how they are protected, if the address asks for that.
    tls: Option<MakeRustlsConnect>,
}

impl Store {
    /// Prepares the pool for `url` (`postgresql://…` or `key=value` pairs) and makes the first
    /// connection, so that a wrong address is known at once.
    pub async fn connect(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let config = configuration(url)?;
        let tls = protection(&config)?;
        let store = Self {
            pool: pool(config.clone(), tls.clone(), options)?,
            config,
            tls,
        };
        store.ping().await?;
        Ok(store)
    }

    /// A connection of the pool, waiting at most [`CONNECTION_WAIT_MAX`] for one.
    pub async fn client(&self) -> Result<Client, StoreError> {
        Ok(self.pool.get().await?)
    }

    /// Hears what is sent on `channel` (a plain SQL name) by `NOTIFY`, over a connection of its own
    /// that is made, and made again, in the background. Must be called inside a tokio runtime.
    #[must_use]
    pub fn listen(&self, channel: &'static str) -> Listener {
        Listener::start(self.config.clone(), self.tls.clone(), channel)
    }

    /// Brings the schema up to date. Replicas may call this at the same moment: one migrates, the
    /// others wait for it.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrate::migrate(self).await
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.client().await?.simple_query("").await?;
        Ok(())
    }
}

/// Reads `url`. libpq's `verify-ca` and `verify-full` are not known to tokio-postgres; since
/// certificate and name are always checked here, both mean what `require` does.
fn configuration(url: &str) -> Result<Config, StoreError> {
    let url = url
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require");
    let mut config = Config::from_str(&url).map_err(StoreError::Url)?;
    config.application_name("piooy");
    config.connect_timeout(CONNECT_MAX);
    config.tcp_user_timeout(PEER_SILENCE_MAX);
    config.keepalives_idle(PEER_SILENCE_MAX);
    Ok(config)
}

/// What TLS takes, when the address asks for it.
fn protection(config: &Config) -> Result<Option<MakeRustlsConnect>, StoreError> {
    match config.get_ssl_mode() {
        SslMode::Require => {
            let tls = tls_configuration().map_err(StoreError::Tls)?;
            Ok(Some(MakeRustlsConnect::new(tls)))
        }
        _ => Ok(None),
    }
}

fn pool(
    config: Config,
    tls: Option<MakeRustlsConnect>,
    options: StoreOptions,
) -> Result<Pool, StoreError> {
    let manager_config = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = match tls {
        Some(tls) => Manager::from_config(config, tls, manager_config),
        None => Manager::from_config(config, NoTls, manager_config),
    };
    Pool::builder(manager)
        .max_size(options.connections_max)
        // The connection used last has everything at hand, here and in the server.
        .queue_mode(QueueMode::Lifo)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECTION_WAIT_MAX))
        .create_timeout(Some(CONNECT_MAX))
        .recycle_timeout(Some(CONNECT_MAX))
        .post_create(Hook::async_fn(|client, _| {
            Box::pin(async move {
                let begun = client.batch_execute(&session_settings()).await;
                begun.map_err(HookError::Backend)
            })
        }))
        .build()
        .map_err(|error| StoreError::Unavailable(error.into()))
}

/// What every connection starts with. Statements rather than start-up options, because connection
/// poolers refuse the latter.
///
/// `force_generic_plan`: a prepared statement is planned once, not for each new set of values,
/// which costs more than running our primary-key look-ups. It asks that no statement depends on the
/// planner seeing its values.
fn session_settings() -> String {
    format!(
        "SET statement_timeout = {}; \
         SET idle_in_transaction_session_timeout = {}; \
         SET plan_cache_mode = force_generic_plan",
        STATEMENT_MAX.as_millis(),
        IDLE_IN_TRANSACTION_MAX.as_millis(),
    )
}

fn tls_configuration() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth())
}
