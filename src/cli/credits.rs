//! `piooy credits`: grants, balances and statements, straight in the database.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use uuid::Uuid;

use super::Failure;
use super::admin::{time_after, with_accounts};
use super::audit::operator;
use crate::ledger::{Balance, CSV_HEADER, ENTRIES_MAX, Entry, EntryFilter, Ledger, csv_lines};
use crate::operator::Grant;
use crate::settings::Settings;

/// `piooy credits …`
#[derive(Subcommand)]
pub enum Credits {
    /// Give an account credits.
    Grant {
        /// The account.
        account: String,
        /// How many.
        credits: i64,
        /// Why; kept in the statement.
        #[arg(long, default_value = "")]
        note: String,
        /// After how long what is not spent of them is gone, such as 30d; never when left out.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
    },
    /// Print every movement of an account's credits, newest first.
    Statement {
        /// The account.
        account: String,
        /// As CSV, with a line of column names.
        #[arg(long)]
        csv: bool,
    },
    /// Print what an account has.
    Balance {
        /// The account.
        account: String,
    },
}

/// Runs `piooy credits …`.
pub async fn credits(command: Credits, settings: &Settings) -> Result<ExitCode, Failure> {
    with_accounts(settings, async |accounts, ledger, desk| {
        let account = match command {
            Credits::Grant {
                account,
                credits,
                note,
                expires,
            } => {
                let grant = Grant {
                    account: &account,
                    credits,
                    note: &note,
                    expires_at: expires.map(time_after).transpose()?,
                    idempotency_key: None,
                };
                desk.grant(&operator(), &grant).await?
            }
            Credits::Statement { account, csv } => {
                let account = accounts.by_name(&account).await?;
                return statement(&ledger, account.id, csv).await;
            }
            Credits::Balance { account } => accounts.by_name(&account).await?,
        };
        let Balance { available, held } = ledger.balance(account.id).await?;
        println!("{available} available, {held} held");
        for lot in ledger.lots(account.id).await? {
            let end = humantime::format_rfc3339_seconds(lot.expires_at);
            println!("{} of them expire at {end}", lot.remaining);
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Prints a statement page by page.
async fn statement(ledger: &Ledger, account: Uuid, csv: bool) -> Result<ExitCode, Failure> {
    if csv {
        print(CSV_HEADER)?;
    }
    let (all, mut before) = (EntryFilter::default(), None);
    loop {
        let page = ledger.entries(account, &all, before, ENTRIES_MAX).await?;
        let lines = if csv {
            csv_lines(&page.entries)
        } else {
            page.entries.iter().map(line).collect()
        };
        print(&lines)?;
        before = page.next;
        if before.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Unlike `print!`, fails rather than panics when nobody reads any more.
fn print(text: &str) -> std::io::Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes())
}

fn line(entry: &Entry) -> String {
    let task = entry.task_id.map(|id| format!("task {id}"));
    format!(
        "{:>8}  {}  {:<7} {:>12}  {:>12} available {:>12} held  {}\n",
        entry.sequence,
        humantime::format_rfc3339_seconds(entry.at),
        entry.kind.name(),
        entry.amount,
        entry.available,
        entry.held,
        task.as_deref().unwrap_or(&entry.note),
    )
}
