//! Administration, straight on the database: it works whether or not a server runs. A running server
//! follows within a second.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::Failure;
use super::audit::operator;
use super::database::Database;
use crate::accounts::{self, NewKey, Scope, Scopes, SpendingCaps};
use crate::adapters::sign_in_link;
use crate::generation;
use crate::ledger::{Ledger, Totals};
use crate::operator::Desk;
use crate::settings::Settings;

/// From 1970 to the first year that times in messages cannot say.
const YEAR_10_000: Duration = Duration::from_secs(253_402_300_800);

/// `piooy accounts …`
#[derive(Subcommand)]
pub enum Accounts {
    /// Make an account.
    Create {
        /// Its name: 1 to 64 of a-z, 0-9, dot, hyphen and underscore.
        name: String,
        /// Its plan.
        #[arg(long, default_value = "free")]
        plan: String,
    },
    /// List all accounts.
    List,
    /// Put an account on another plan.
    Plan {
        /// The account.
        name: String,
        /// The plan.
        plan: String,
    },
}

/// `piooy keys …`
#[derive(Subcommand)]
pub enum Keys {
    /// Make a key and print it, alone, on stdout. It is shown this once.
    Create(CreateKey),
    /// List the keys of an account.
    List {
        /// The account.
        #[arg(long)]
        account: String,
    },
    /// Make a key useless, for good.
    Revoke {
        /// The account.
        #[arg(long)]
        account: String,
        /// The id of the key, from the list.
        id: Uuid,
    },
}

/// `piooy keys create …`
#[derive(Args)]
pub struct CreateKey {
    /// The account.
    #[arg(long)]
    account: String,
    /// A name to know it by.
    #[arg(long, default_value = "command line")]
    name: String,
    /// A test key runs only the sandbox and moves no credits.
    #[arg(long)]
    test: bool,
    /// What it may do: generate, read, keys, admin.
    #[arg(long, value_delimiter = ',', value_parser = Scope::from_str, default_value = "generate,read")]
    scopes: Vec<Scope>,
    /// For how long it works, such as 30d; forever when left out.
    #[arg(long, value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// The most credits it may spend in each hour (UTC).
    #[arg(long, value_name = "CREDITS")]
    cap_per_hour: Option<i64>,
    /// The most credits it may spend in each day (UTC).
    #[arg(long, value_name = "CREDITS")]
    cap_per_day: Option<i64>,
    /// The most credits it may ever spend.
    #[arg(long, value_name = "CREDITS")]
    cap_total: Option<i64>,
}

/// `piooy ledger …`
#[derive(Subcommand)]
pub enum Books {
    /// Walk every movement again and compare with balances and tasks; fails when anything differs.
    Verify,
}

/// Runs `piooy accounts …`.
pub async fn accounts(command: Accounts, settings: &Settings) -> Result<ExitCode, Failure> {
    with_accounts(settings, async |accounts, _, desk| {
        match command {
            Accounts::Create { name, plan } => {
                let account = desk.create_account(&operator(), &name, &plan).await?;
                println!("{}  {}  {}", account.id, account.name, account.plan);
            }
            Accounts::List => {
                let mut after = None;
                loop {
                    let page = accounts.list(after.as_deref(), accounts::PAGE_MAX).await?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.name.clone());
                    for account in &page {
                        println!("{}  {}  {}", account.id, account.name, account.plan);
                    }
                }
            }
            Accounts::Plan { name, plan } => {
                let account = desk.set_plan(&operator(), &name, &plan).await?;
                println!("{}  {}  {}", account.id, account.name, account.plan);
            }
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Runs `piooy keys …`.
pub async fn keys(command: Keys, settings: &Settings) -> Result<ExitCode, Failure> {
    with_accounts(settings, async |accounts, _, desk| {
        match command {
            Keys::Create(create) => {
                let scopes = create
                    .scopes
                    .iter()
                    .fold(Scopes::NONE, |scopes, scope| scopes.with(*scope));
                let expires_at = create.expires_in.map(time_after).transpose()?;
                let new = NewKey {
                    name: create.name,
                    test: create.test,
                    scopes,
                    expires_at,
                    caps: SpendingCaps {
                        per_hour: create.cap_per_hour,
                        per_day: create.cap_per_day,
                        total: create.cap_total,
                    },
                };
                let secret = desk.create_key(&operator(), &create.account, &new).await?;
                println!("{}", secret.expose());
            }
            Keys::List { account } => {
                let account = accounts.by_name(&account).await?;
                for key in accounts.list_keys(account.id).await? {
                    println!("{}", key_line(&key));
                }
            }
            Keys::Revoke { account, id } => {
                let key = desk.revoke_key(&operator(), &account, id).await?;
                println!("{}", key_line(&key));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Runs `piooy login-link …`.
pub async fn login_link(account: &str, settings: &Settings) -> Result<ExitCode, Failure> {
    let database = Database::visit(settings).await?;
    let desk = Desk::new(database.store.clone());
    let made = desk
        .owner_link(&operator(), account, SystemTime::now())
        .await;
    database.close().await;
    println!("{}", sign_in_link(&settings.public_url, &made?));
    Ok(ExitCode::SUCCESS)
}

fn key_line(key: &accounts::ApiKey) -> String {
    let scopes: Vec<&str> = key.scopes.iter().map(Scope::name).collect();
    let now = SystemTime::now();
    let state = match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now => "expired",
        _ => "active",
    };
    format!(
        "{}  {}…  {state}  {}  {}  {}",
        key.id,
        key.prefix,
        scopes.join(","),
        caps_text(key.caps),
        key.name
    )
}

/// `10/hour,500/total`, or `uncapped`.
fn caps_text(caps: SpendingCaps) -> String {
    let windows = [
        (caps.per_hour, "hour"),
        (caps.per_day, "day"),
        (caps.total, "total"),
    ];
    let capped: Vec<String> = windows
        .into_iter()
        .filter_map(|(cap, window)| Some(format!("{}/{window}", cap?)))
        .collect();
    if capped.is_empty() {
        "uncapped".to_owned()
    } else {
        capped.join(",")
    }
}

/// Runs `piooy ledger …`.
pub async fn books(command: Books, settings: &Settings) -> Result<ExitCode, Failure> {
    let Books::Verify = command;
    let database = Database::visit(settings).await?;
    let found = verify(&database).await;
    database.close().await;
    found
}

async fn verify(database: &Database) -> Result<ExitCode, Failure> {
    let found = generation::verify(&database.store).await?;
    let Totals {
        granted,
        available,
        held,
        charged,
        expired,
    } = found.totals;
    println!("{} accounts, {} movements", found.accounts, found.entries);
    println!(
        "{granted} granted = {available} available + {held} held + {charged} charged + {expired} expired"
    );
    let differences = &found.differences;
    for difference in differences {
        let task = difference
            .task_id
            .map_or_else(|| "-".to_owned(), |id| id.to_string());
        println!(
            "account {}  task {task}  {}",
            difference.account_id, difference.found
        );
    }
    if !found.totals.balance() {
        println!("These do not balance.");
    }
    if found.is_sound() {
        println!("The books are right.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} differences.", differences.len());
    Ok(ExitCode::FAILURE)
}

/// The point in time that much later than now.
pub(super) fn time_after(life: Duration) -> Result<SystemTime, Failure> {
    SystemTime::now()
        .checked_add(life)
        .filter(|time| *time < SystemTime::UNIX_EPOCH + YEAR_10_000)
        .ok_or_else(|| "that is too long: times end with the year 9999".into())
}

/// Opens the database for one command and closes it whatever comes of it.
pub(super) async fn with_accounts(
    settings: &Settings,
    command: impl AsyncFnOnce(accounts::Accounts, Ledger, Desk) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let database = Database::visit(settings).await?;
    let store = database.store.clone();
    let accounts = accounts::Accounts::new(store.clone());
    let done = command(accounts, Ledger::new(store.clone()), Desk::new(store)).await;
    database.close().await;
    done
}
