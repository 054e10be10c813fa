//! Every setting, once: from this table come parsing, the listing for `--help` and the README's
//! table of settings.
//!
//! To add a setting, add a row here and read it where [`Settings`](super::Settings) is made. The
//! command line's flag and the key in `piooy.toml` are the row's name.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use url::Url;

use super::{JwksSource, SandboxForLive, Secret, SecretKeys, parse};

/// What people are told of a setting.
#[derive(Debug)]
pub struct Entry {
    /// The key in `piooy.toml`; with hyphens for underscores, the flag.
    pub name: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// What holds when it is not set.
    pub default: Unset,
    /// What it does, in a line.
    pub doc: &'static str,
    /// What may be written, following "allowed:".
    pub allowed: &'static str,
    /// Whether its value must not be shown, nor written on a command line.
    pub secret: bool,
}

/// What holds when a setting is not set.
#[derive(Debug)]
pub enum Unset {
    /// The value that this text stands for.
    Default(&'static str),
    /// What the other settings and the machine suggest, in words; or nothing.
    Described(&'static str),
}

impl Entry {
    /// The command line's flag without its hyphens; `None` for secrets, which a list of processes
    /// would show.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        (!self.secret).then(|| self.name.replace('_', "-"))
    }
}

/// A row: the entry and the reader of its values.
pub struct Setting<T> {
    pub entry: Entry,
    pub parse: fn(&str) -> Option<T>,
}

/// Makes a static for each row and [`TABLE`] of all of them, so that no row can be left out.
macro_rules! table {
    ($($name:ident: $type:ty = { $($entry:tt)* } read $parse:expr;)*) => {
        $(pub static $name: Setting<$type> = Setting {
            entry: Entry { $($entry)* },
            parse: $parse,
        };)*

        /// Every setting, in the order in which people read about them.
        pub static TABLE: &[&Entry] = &[$(&$name.entry),*];
    };
}

const YES_OR_NO: &str = "yes or no";

table! {
    LISTEN: SocketAddr = {
        name: "listen",
        env: "PIOOY_LISTEN",
        default: Unset::Default("127.0.0.1:8080"),
        doc: "Where all faces are served",
        allowed: "an IP address and a port, such as 0.0.0.0:8080",
        secret: false,
    } read parse::socket_address;

    PUBLIC_URL: Url = {
        name: "public_url",
        env: "PIOOY_PUBLIC_URL",
        default: Unset::Described("`http://{listen}`"),
        doc: "The address of this server as callers see it; links start with it",
        allowed: "an http or https URL without user, query and fragment",
        secret: false,
    } read parse::public_url;

    DATA_DIR: PathBuf = {
        name: "data_dir",
        env: "PIOOY_DATA_DIR",
        default: Unset::Described(
            "`/var/lib/piooy` for root, else the user's data directory, such as `~/.local/share/piooy`"
        ),
        doc: "Where results and the private database are kept",
        allowed: "the path of a directory",
        secret: false,
    } read parse::path;

    DATABASE_URL: Secret = {
        name: "database_url",
        env: "DATABASE_URL",
        default: Unset::Described("a private PostgreSQL under `data_dir`"),
        doc: "The PostgreSQL to use",
        allowed: "postgres://user:password@host/database, or libpq's keyword=value pairs",
        secret: true,
    } read parse::database_url;

    DATABASE_CONNECTIONS: usize = {
        name: "database_connections",
        env: "PIOOY_DATABASE_CONNECTIONS",
        default: Unset::Default("16"),
        doc: "The most connections to PostgreSQL at once",
        allowed: "a whole number from 2 to 1000",
        secret: false,
    } read |text| parse::number(text, 2..=1000);

    CATALOG: PathBuf = {
        name: "catalog",
        env: "PIOOY_CATALOG",
        default: Unset::Described("none"),
        doc: "A file that adds models or changes the built-in ones",
        allowed: "the path of a file",
        secret: false,
    } read parse::path;

    UPSTREAM_KEYS_SECRET: SecretKeys = {
        name: "upstream_keys_secret",
        env: "PIOOY_UPSTREAM_KEYS_SECRET",
        default: Unset::Described("none; accounts cannot bring keys of their own for upstreams"),
        doc: "What accounts' own keys for upstreams are sealed with in the database: the first of several seals, all of them open, \
              so that one can take another's place",
        allowed: "32 random bytes in hexadecimal or base64; several with commas between",
        secret: true,
    } read parse::secret_keys;

    OWN_KEY_PERCENT: u8 = {
        name: "own_key_percent",
        env: "PIOOY_OWN_KEY_PERCENT",
        default: Unset::Default("10"),
        doc: "What a task costs that runs on the account's own key, in percent of its price, rounded up to whole credits",
        allowed: "a whole number from 0 to 100",
        secret: false,
    } read |text| parse::number(text, 0..=100);

    SANDBOX_LIVE: SandboxForLive = {
        name: "sandbox_live",
        env: "PIOOY_SANDBOX_LIVE",
        default: Unset::Default("auto"),
        doc: "Whether live keys may ask for the sandbox; auto allows it with the private database only",
        allowed: "auto, yes or no",
        secret: false,
    } read parse::sandbox_for_live;

    JWT_JWKS: JwksSource = {
        name: "jwt_jwks",
        env: "PIOOY_JWT_JWKS",
        default: Unset::Described("none; JWTs are refused"),
        doc: "The key set that JWTs are checked with; needs `jwt_issuer` and `jwt_audience`",
        allowed: "the path of a file or an https URL (http on this machine only)",
        secret: false,
    } read parse::jwks_source;

    JWT_ISSUER: String = {
        name: "jwt_issuer",
        env: "PIOOY_JWT_ISSUER",
        default: Unset::Described("none"),
        doc: "Who must have issued a JWT",
        allowed: "the `iss` of the tokens",
        secret: false,
    } read parse::text;

    JWT_AUDIENCE: String = {
        name: "jwt_audience",
        env: "PIOOY_JWT_AUDIENCE",
        default: Unset::Described("none"),
        doc: "For whom a JWT must be meant",
        allowed: "the `aud` of the tokens",
        secret: false,
    } read parse::text;

    OIDC_ISSUER: String = {
        name: "oidc_issuer",
        env: "PIOOY_OIDC_ISSUER",
        default: Unset::Described("none; people sign in with passwords and links"),
        doc: "The OpenID provider that people may sign in with; needs `oidc_client_id`. It is to lead back to \
              `{public_url}/signin/oidc/callback`",
        allowed: "its issuer identifier, an https URL (http on this machine only)",
        secret: false,
    } read parse::issuer;

    OIDC_CLIENT_ID: String = {
        name: "oidc_client_id",
        env: "PIOOY_OIDC_CLIENT_ID",
        default: Unset::Described("none"),
        doc: "As whom the OpenID provider knows this server",
        allowed: "the client id that the provider gave",
        secret: false,
    } read parse::text;

    OIDC_CLIENT_SECRET: Secret = {
        name: "oidc_client_secret",
        env: "PIOOY_OIDC_CLIENT_SECRET",
        default: Unset::Described("none; the provider takes this server for a public client"),
        doc: "What proves it to the OpenID provider",
        allowed: "the client secret that the provider gave",
        secret: true,
    } read parse::secret;

    OIDC_NAME: String = {
        name: "oidc_name",
        env: "PIOOY_OIDC_NAME",
        default: Unset::Described("the issuer's host"),
        doc: "What the OpenID provider is called on the button to sign in with it",
        allowed: "a text",
        secret: false,
    } read parse::text;

    TRUST_FORWARDED: bool = {
        name: "trust_forwarded",
        env: "PIOOY_TRUST_FORWARDED",
        default: Unset::Default("no"),
        doc: "Take the caller's address from X-Forwarded-For; only behind a proxy that sets it",
        allowed: YES_OR_NO,
        secret: false,
    } read parse::boolean;

    ALLOWED_HOSTS: Vec<String> = {
        name: "allowed_hosts",
        env: "PIOOY_ALLOWED_HOSTS",
        default: Unset::Described("this machine's names and the host of `public_url`"),
        doc: "The hosts that MCP clients may call this server by",
        allowed: "host names without ports, with commas between",
        secret: false,
    } read parse::hosts;

    ALLOWED_ORIGINS: Vec<String> = {
        name: "allowed_origins",
        env: "PIOOY_ALLOWED_ORIGINS",
        default: Unset::Described("the origin of `public_url` and this machine's at the same port"),
        doc: "The web pages that may call MCP from a browser",
        allowed: "origins such as https://piooy.example, with commas between",
        secret: false,
    } read parse::origins;

    MCP_SSE: bool = {
        name: "mcp_sse",
        env: "PIOOY_MCP_SSE",
        default: Unset::Default("yes"),
        doc: "Whether MCP's old transport (2024-11-05, HTTP+SSE) is served beside the new one",
        allowed: YES_OR_NO,
        secret: false,
    } read parse::boolean;

    EGRESS_PRIVATE: bool = {
        name: "egress_private",
        env: "PIOOY_EGRESS_PRIVATE",
        default: Unset::Default("no"),
        doc: "Whether addresses that callers name, and links to results that upstreams answer, may lead into this \
              machine's private networks; an upstream's own address always may",
        allowed: YES_OR_NO,
        secret: false,
    } read parse::boolean;

    BODY_MAX: usize = {
        name: "body_max",
        env: "PIOOY_BODY_MAX",
        default: Unset::Default("24MiB"),
        doc: "The longest request that is read",
        allowed: "a length from 64KiB to 1GiB",
        secret: false,
    } read |text| parse::bytes(text, ByteSize::kib(64)..=ByteSize::gib(1));

    LEASE_SECONDS: u64 = {
        name: "lease_seconds",
        env: "PIOOY_LEASE_SECONDS",
        default: Unset::Default("15"),
        doc: "How long a task stays with a worker that gives no sign of life",
        allowed: "a whole number of seconds from 3 to 600",
        secret: false,
    } read |text| parse::number(text, 3..=600);

    TASK_DEADLINE: Duration = {
        name: "task_deadline",
        env: "PIOOY_TASK_DEADLINE",
        default: Unset::Default("60m"),
        doc: "The longest that a task may take before it fails and its credits are released",
        allowed: "a time from 1m to 24h, such as 90s, 10m or 2h",
        secret: false,
    } read |text| parse::duration(
        text,
        Duration::from_secs(60)..=Duration::from_secs(24 * 60 * 60),
    );

    LOG: String = {
        name: "log",
        env: "PIOOY_LOG",
        default: Unset::Default("info"),
        doc: "What is logged",
        allowed: "error, warn, info, debug, trace, or directives such as info,piooy=debug",
        secret: false,
    } read parse::log_filter;

    CONFIG: PathBuf = {
        name: "config",
        env: "PIOOY_CONFIG",
        default: Unset::Described("`piooy.toml` in the working directory, if there is one"),
        doc: "The file that settings are read from",
        allowed: "the path of a TOML file",
        secret: false,
    } read parse::path;
}
