//! `piooy operators`: which people may administer the server, besides the first of all. Straight in the database; a
//! running server follows within a second.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Failure;
use super::audit::operator;
use super::database::Database;
use crate::operator::Desk;
use crate::people::People;
use crate::settings::Settings;

/// `piooy operators …`
#[derive(Args)]
pub struct Operators {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List them (what happens without a command).
    List,
    /// Let somebody who signs in with this address administer the server.
    Add {
        /// The e-mail address.
        email: String,
    },
    /// Don't let them any more.
    Remove {
        /// The e-mail address.
        email: String,
    },
}

/// Runs `piooy operators …`.
pub async fn operators(asked: Operators, settings: &Settings) -> Result<ExitCode, Failure> {
    let database = Database::visit(settings).await?;
    let done = run(asked.command.unwrap_or(Command::List), &database).await;
    database.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn run(command: Command, database: &Database) -> Result<(), Failure> {
    let desk = Desk::new(database.store.clone());
    match command {
        Command::List => {}
        Command::Add { email } => desk.set_operator(&operator(), &email, true).await?,
        Command::Remove { email } => desk.set_operator(&operator(), &email, false).await?,
    }
    let client = database.store.client().await?;
    for (id, email) in People::operators(&client).await? {
        println!(
            "{id}  {}",
            email.as_deref().unwrap_or("no e-mail address yet")
        );
    }
    Ok(())
}
