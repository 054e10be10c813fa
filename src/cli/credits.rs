//! `piooy credits`: grants and balances, straight in the database.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

use super::Failure;
use super::admin::{time_after, with_accounts};
use crate::ledger::Balance;
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
    /// Print what an account has.
    Balance {
        /// The account.
        account: String,
    },
}

/// Runs `piooy credits …`.
pub async fn credits(command: Credits, settings: &Settings) -> Result<ExitCode, Failure> {
    with_accounts(settings, async |accounts, ledger| {
        let account = match command {
            Credits::Grant {
                account,
                credits,
                note,
                expires,
            } => {
                let account = accounts.by_name(&account).await?;
                let end = expires.map(time_after).transpose()?;
                ledger.grant(account.id, credits, &note, end).await?;
                account
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
