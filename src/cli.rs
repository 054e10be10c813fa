//! The command line. No command means `serve`.
//!
//! Every setting is a flag of every command, made from the one table of settings. What a command is
//! asked for goes to stdout, alone, so that it can be piped; everything else goes to stderr.
//!
//! | module | commands |
//! |---|---|
//! | [`serve`], [`catalog`] | `serve` |
//! | [`admin`], [`plans`], [`credits`], [`tasks`], [`audit`], [`operators`] | `accounts`, `keys`, `login-link`, `ledger`, `plans`, `credits`, `tasks`, `audit`, `operators`: straight on the database, with or without a server running |
//! | [`client`] | `models`, `generate`: callers of a running server |
//! | [`mcp`] | `mcp`: between a running server and clients that start programs |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::settings::{Settings, SettingsError, TABLE};

mod admin;
mod audit;
mod catalog;
mod client;
mod credits;
mod database;
mod mcp;
mod monthly;
mod operators;
mod plans;
mod serve;
mod tasks;
mod upstreams;

pub use monthly::grant_monthly_credits;
pub use serve::{Running, start};

/// The environment of client commands; not settings of the server.
const CLIENT_VARIABLES: [&str; 2] = [client::KEY_VARIABLE, client::URL_VARIABLE];

/// One API key and one credit balance for many image and video models, over gRPC, MCP and REST.
#[derive(Parser)]
#[command(name = "piooy", version, subcommand_help_heading = "Commands")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve all faces (what happens without a command).
    Serve,
    /// Make, list and change accounts.
    #[command(subcommand)]
    Accounts(admin::Accounts),
    /// List, make and change plans.
    Plans(plans::Plans),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Keys(admin::Keys),
    /// Print a link that signs in the owner of an account, once, within an hour.
    LoginLink {
        /// The account.
        account: String,
    },
    /// Give credits and see balances.
    #[command(subcommand)]
    Credits(credits::Credits),
    /// Check the books.
    #[command(subcommand)]
    Ledger(admin::Books),
    /// See submissions that got lost on their way to an upstream, and settle them.
    #[command(subcommand)]
    Tasks(tasks::Tasks),
    /// Say which people may administer the server, on its pages and over gRPC.
    Operators(operators::Operators),
    /// Print what operators changed, newest first.
    Audit(audit::Audit),
    /// List the models of a running server, or check which upstreams work.
    Models(client::Models),
    /// Make a picture or a video on a running server and save it.
    Generate(client::Generate),
    /// Connect an MCP client that starts programs with a running server.
    Mcp(mcp::Mcp),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // The one TLS implementation of the process; already there only if something installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let matches = command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let settings = match load(&matches) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("piooy cannot start with these settings:\n{error}");
            return ExitCode::from(2);
        }
    };
    log(
        &settings.log,
        matches!(cli.command, None | Some(Command::Serve)),
    );
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command.unwrap_or(Command::Serve), settings));
    // A render that is still painting is not worth waiting for.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn run(command: Command, settings: Settings) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve => serve::run(settings).await,
        Command::Accounts(command) => admin::accounts(command, &settings).await,
        Command::Keys(command) => admin::keys(command, &settings).await,
        Command::LoginLink { account } => admin::login_link(&account, &settings).await,
        Command::Plans(command) => plans::plans(command, &settings).await,
        Command::Credits(command) => credits::credits(command, &settings).await,
        Command::Ledger(command) => admin::books(command, &settings).await,
        Command::Tasks(command) => tasks::tasks(command, &settings).await,
        Command::Operators(command) => operators::operators(command, &settings).await,
        Command::Audit(command) => audit::audit(command, &settings).await,
        Command::Models(command) => client::models(&command, &settings).await,
        Command::Generate(command) => client::generate(&command, &settings).await,
        Command::Mcp(command) => mcp::mcp(command, &settings).await,
    }
}

/// The command with a flag for each setting.
fn command() -> clap::Command {
    let flags = TABLE.iter().filter_map(|entry| {
        // clap keeps names for as long as the program runs, which this one does.
        let long: &'static str = entry.flag()?.leak();
        let flag = Arg::new(entry.name)
            .long(long)
            .help(entry.doc.replace('`', ""));
        Some(
            flag.value_name("VALUE")
                .global(true)
                .hide_short_help(true)
                .help_heading("Settings"),
        )
    });
    Cli::command()
        .args(flags)
        .after_help("Settings are also read from the environment and from piooy.toml; --help lists them all.")
        .after_long_help(format!("Settings by their environment variables:\n{}", Settings::help()))
}

fn load(matches: &ArgMatches) -> Result<Settings, SettingsError> {
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let names = TABLE
        .iter()
        .filter(|entry| entry.flag().is_some())
        .map(|entry| entry.name);
    let flags: BTreeMap<String, String> = names
        .filter(|name| given(name))
        .filter_map(|name| Some((name.to_owned(), matches.get_one::<String>(name)?.clone())))
        .collect();
    let for_clients = |name: &OsString| CLIENT_VARIABLES.iter().any(|variable| name == variable);
    let environment = std::env::vars_os().filter(|(name, _)| !for_clients(name));
    Settings::load(flags, environment, |path| std::fs::read_to_string(path))
}

/// Logs to stderr. Short commands say only what went wrong.
fn log(filter: &str, serving: bool) {
    let filter = if serving { filter } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| "info".into());
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .init();
}

/// An error and its causes, outermost first. Causes are for whoever runs the command, not for callers.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
