//! What an operator decides, read once at the start into types.
//!
//! Flags go before `PIOOY_*` variables, and those before `piooy.toml`. All mistakes are found in one
//! start and told together. What exists, how it is spelt and what holds without it stands in one
//! table, from which the documentation is written too. Secrets have a type that does not show them.

mod data_dir;
mod error;
mod parse;
mod secret;
mod sources;
mod table;
mod upstreams;

use std::{
    collections::BTreeMap, ffi::OsString, fmt::Write, io, net::SocketAddr, path::Path,
    path::PathBuf, time::Duration,
};

use url::Url;

use self::{
    data_dir::{Machine, default_data_dir},
    sources::{Sources, is_file_key},
};
pub use self::{
    error::{Mistake, Origin, SettingsError},
    secret::{SECRET_KEY_BYTES, Secret, SecretKeys},
    table::{Entry, TABLE, Unset},
    upstreams::{Dialect, Upstream, missing as missing_upstreams, public as public_upstreams},
};

/// The names by which a machine calls itself, as a URL spells them.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// All settings of a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where all faces are served.
    pub listen: SocketAddr,
    /// The address of this server as callers see it, without a slash at the end.
    pub public_url: String,
    /// Where results and the private database are kept.
    pub data_dir: PathBuf,
    /// The PostgreSQL to use; absent for a private one.
    pub database_url: Option<Secret>,
    /// The most connections to PostgreSQL at once.
    pub database_connections: usize,
    /// A file that adds models or changes the built-in ones.
    pub catalog_file: Option<PathBuf>,
    /// The upstreams that this server may use.
    pub upstreams: Vec<Upstream>,
    /// What seals accounts' own keys for upstreams, the newest first; empty: accounts bring none.
    pub upstream_keys_secrets: SecretKeys,
    /// What a task costs that runs on the account's own key, in percent of its price.
    pub own_key_percent: u8,
    /// Whether live keys may ask for the sandbox.
    pub sandbox_for_live: SandboxForLive,
    /// How JWTs are checked; without it none is taken.
    pub jwt: Option<Jwt>,
    /// The OpenID provider that people may sign in with.
    pub oidc: Option<Oidc>,
    /// Whether a proxy in front tells the caller's address in `X-Forwarded-For`.
    pub trusted_proxy: bool,
    /// The hosts that MCP clients may call this server by, without ports.
    pub allowed_hosts: Vec<String>,
    /// The origins of web pages that may call MCP.
    pub allowed_origins: Vec<String>,
    /// Whether MCP's old transport, HTTP+SSE, is served beside the new one.
    pub mcp_sse: bool,
    /// Whether addresses that callers name, and links that upstreams answer, may be private ones.
    pub egress_private: bool,
    /// The longest request that is read.
    pub body_bytes_max: usize,
    /// How long a task stays with a worker that gives no sign of life.
    pub lease: Duration,
    /// The longest that a task may take.
    pub task_deadline: Duration,
    /// What is logged, for `EnvFilter`.
    pub log: String,
}

/// Whether live keys may ask for the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxForLive {
    /// With the private database only.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// How JWTs are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// Where the keys are.
    pub jwks: JwksSource,
    /// The only `iss` that is taken.
    pub issuer: String,
    /// The `aud` that a token must have.
    pub audience: String,
}

/// An OpenID provider that people may sign in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// Its issuer identifier.
    pub issuer: String,
    /// As whom it knows this server.
    pub client_id: String,
    /// What proves it; none: this server is a public client.
    pub client_secret: Option<Secret>,
    /// What people call it.
    pub name: String,
}

/// Where a JSON Web Key Set is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file.
    File(PathBuf),
    /// An `https` address, or an `http` one on this machine.
    Url(String),
}

impl Settings {
    /// Reads all settings.
    ///
    /// `flags` has the flags that were given, by the names in [`TABLE`]; `env` is the environment,
    /// as [`std::env::vars_os`] tells it; `read_file` reads the file of settings, as
    /// [`std::fs::read_to_string`] does.
    ///
    /// # Errors
    /// One [`SettingsError`] with every mistake.
    pub fn load(
        flags: BTreeMap<String, String>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        read_file: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, SettingsError> {
        let mut sources = Sources::open(flags, env, read_file);
        let listen = sources.or_default(&table::LISTEN);
        let public_url = sources
            .optional(&table::PUBLIC_URL)
            .unwrap_or_else(|| local_url(&parse::reachable(listen).to_string()));
        let settings = Self {
            listen,
            data_dir: data_dir(&mut sources),
            database_url: sources.optional(&table::DATABASE_URL),
            database_connections: sources.or_default(&table::DATABASE_CONNECTIONS),
            catalog_file: sources.optional(&table::CATALOG),
            upstreams: upstreams::read(&mut sources),
            upstream_keys_secrets: sources
                .optional(&table::UPSTREAM_KEYS_SECRET)
                .unwrap_or_default(),
            own_key_percent: sources.or_default(&table::OWN_KEY_PERCENT),
            sandbox_for_live: sources.or_default(&table::SANDBOX_LIVE),
            jwt: jwt(&mut sources),
            oidc: oidc(&mut sources),
            trusted_proxy: sources.or_default(&table::TRUST_FORWARDED),
            allowed_hosts: sources
                .optional(&table::ALLOWED_HOSTS)
                .unwrap_or_else(|| default_hosts(&public_url)),
            allowed_origins: sources
                .optional(&table::ALLOWED_ORIGINS)
                .unwrap_or_else(|| default_origins(&public_url, listen.port())),
            mcp_sse: sources.or_default(&table::MCP_SSE),
            egress_private: sources.or_default(&table::EGRESS_PRIVATE),
            body_bytes_max: sources.or_default(&table::BODY_MAX),
            lease: Duration::from_secs(sources.or_default(&table::LEASE_SECONDS)),
            task_deadline: sources.or_default(&table::TASK_DEADLINE),
            log: sources.or_default(&table::LOG),
            public_url: public_url.as_str().trim_end_matches('/').to_owned(),
        };
        sources.finish()?;
        Ok(settings)
    }

    /// The listing of all settings for a terminal.
    #[must_use]
    pub fn help() -> String {
        let mut help = String::new();
        for entry in TABLE {
            let flag = entry
                .flag()
                .map_or(String::new(), |flag| format!("--{flag}, "));
            let default = default_text(entry).replace('`', "");
            writeln!(
                help,
                "  {flag}{}\n      {}.\n      Default: {default}. Allowed: {}.",
                entry.env,
                entry.doc.replace('`', ""),
                entry.allowed.replace('`', ""),
            )
            .expect("a String can be written to");
        }
        help
    }

    /// The README's table of all settings.
    #[must_use]
    pub fn table_markdown() -> String {
        let mut table = String::from(
            "| Environment | `piooy.toml` | Flag | Default | What it does |\n|---|---|---|---|---|\n",
        );
        for entry in TABLE {
            let key = code_or_dash(is_file_key(entry).then(|| entry.name.to_owned()));
            let flag = code_or_dash(entry.flag().map(|flag| format!("--{flag}")));
            writeln!(
                table,
                "| `{}` | {key} | {flag} | {} | {}. Allowed: {}. |",
                entry.env,
                default_text(entry),
                entry.doc,
                entry.allowed,
            )
            .expect("a String can be written to");
        }
        table
    }
}

/// The README's table of upstreams.
#[must_use]
pub fn upstreams_markdown() -> String {
    upstreams::table_markdown()
}

fn default_text(entry: &Entry) -> String {
    match entry.default {
        Unset::Default(text) => format!("`{text}`"),
        Unset::Described(words) => words.to_owned(),
    }
}

fn code_or_dash(text: Option<String>) -> String {
    text.map_or("–".to_owned(), |text| format!("`{text}`"))
}

/// A value that was wrong needs no default, and gets the same empty stand-in as one that is missing.
fn data_dir(sources: &mut Sources) -> PathBuf {
    let entry = &table::DATA_DIR.entry;
    if sources.is_set(entry) {
        return sources.optional(&table::DATA_DIR).unwrap_or_default();
    }
    let machine = Machine {
        is_root: rustix::process::geteuid().is_root(),
        is_macos: cfg!(target_os = "macos"),
        home: sources.env_path("HOME"),
        xdg_data_home: sources.env_path("XDG_DATA_HOME"),
    };
    default_data_dir(&machine).unwrap_or_else(|| {
        sources.report(Mistake::Missing {
            name: entry.name,
            why: "HOME does not name a home directory",
            allowed: entry.allowed,
        });
        PathBuf::new()
    })
}

fn jwt(sources: &mut Sources) -> Option<Jwt> {
    let entries = [
        &table::JWT_JWKS.entry,
        &table::JWT_ISSUER.entry,
        &table::JWT_AUDIENCE.entry,
    ];
    report_incomplete(sources, entries, "jwt_jwks, jwt_issuer and jwt_audience");
    let jwks = sources.optional(&table::JWT_JWKS);
    let issuer = sources.optional(&table::JWT_ISSUER);
    let audience = sources.optional(&table::JWT_AUDIENCE);
    Some(Jwt {
        jwks: jwks?,
        issuer: issuer?,
        audience: audience?,
    })
}

fn oidc(sources: &mut Sources) -> Option<Oidc> {
    let entries = [&table::OIDC_ISSUER.entry, &table::OIDC_CLIENT_ID.entry];
    report_incomplete(sources, entries, "oidc_issuer and oidc_client_id");
    let issuer = sources.optional(&table::OIDC_ISSUER);
    let client_id = sources.optional(&table::OIDC_CLIENT_ID);
    let client_secret = sources.optional(&table::OIDC_CLIENT_SECRET);
    let name = sources.optional(&table::OIDC_NAME);
    let issuer = issuer?;
    let host = || Url::parse(&issuer).ok()?.host_str().map(str::to_owned);
    Some(Oidc {
        client_id: client_id?,
        client_secret,
        name: name.or_else(host).unwrap_or_default(),
        issuer,
    })
}

/// Reports what is missing of settings that make sense together alone.
fn report_incomplete<const N: usize>(
    sources: &mut Sources,
    entries: [&'static Entry; N],
    group: &'static str,
) {
    if entries.iter().any(|entry| sources.is_set(entry)) {
        for entry in entries {
            if !sources.is_set(entry) {
                sources.report(Mistake::Incomplete {
                    missing: entry.name,
                    group,
                });
            }
        }
    }
}

fn default_hosts(public_url: &Url) -> Vec<String> {
    let public_host = public_url.host_str().into_iter();
    with_own(
        LOOPBACK_HOSTS.map(str::to_owned),
        public_host.map(str::to_owned),
    )
}

fn default_origins(public_url: &Url, port: u16) -> Vec<String> {
    let origin = |url: &Url| url.origin().ascii_serialization();
    let own = LOOPBACK_HOSTS.map(|host| origin(&local_url(&format!("{host}:{port}"))));
    with_own(own, [origin(public_url)])
}

/// The loopback names and one more, unless it is among them.
fn with_own(own: [String; 3], public: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all = Vec::from(own);
    for name in public {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

fn local_url(host_and_port: &str) -> Url {
    Url::parse(&format!("http://{host_and_port}")).expect("an address and a port make a URL")
}

#[cfg(test)]
mod tests;
