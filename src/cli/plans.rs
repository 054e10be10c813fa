//! `piooy plans`: what accounts on a plan may do, listed and changed straight in the database. A running server
//! follows within a second.

use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Failure;
use super::admin::with_accounts;
use super::audit::operator;
use crate::accounts::Plan;
use crate::settings::Settings;

/// `piooy plans …`
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Plans {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List the plans (what happens without a command).
    List,
    /// Make a plan, or change what is given of the plan of that name.
    Set(Set),
}

#[derive(Args)]
struct Set {
    /// Its name: 1 to 64 of a-z, 0-9, dot, hyphen and underscore.
    name: String,
    /// Calls per minute that start work or change something; a new plan needs it.
    #[arg(long, value_name = "NUMBER")]
    submits_per_minute: Option<NonZeroU32>,
    /// Calls per minute that only read; a new plan needs it.
    #[arg(long, value_name = "NUMBER")]
    reads_per_minute: Option<NonZeroU32>,
    /// Tasks that may run at once; a new plan needs it.
    #[arg(long, value_name = "NUMBER")]
    concurrent_tasks: Option<NonZeroU32>,
    /// Tasks that may wait beyond those; 0, as in a new plan: none wait, they are refused.
    #[arg(long, value_name = "NUMBER")]
    queued_tasks: Option<u32>,
    /// Credits given at the start of each month (UTC), gone with its end; none in a new plan.
    #[arg(long, value_name = "CREDITS")]
    monthly_credits: Option<i64>,
    /// Whether models of the free tier cost nothing; not so in a new plan.
    #[arg(long, value_name = "BOOL")]
    free_tier_included: Option<bool>,
}

impl Set {
    /// The plan, with what `known` says where nothing is given.
    fn onto(self, known: Option<Plan>) -> Option<Plan> {
        let known = known.as_ref();
        Some(Plan {
            submits_per_minute: self
                .submits_per_minute
                .or(known.map(|plan| plan.submits_per_minute))?,
            reads_per_minute: self
                .reads_per_minute
                .or(known.map(|plan| plan.reads_per_minute))?,
            concurrent_tasks: self
                .concurrent_tasks
                .or(known.map(|plan| plan.concurrent_tasks))?,
            queued_tasks: self
                .queued_tasks
                .or(known.map(|plan| plan.queued_tasks))
                .unwrap_or_default(),
            monthly_credits: self
                .monthly_credits
                .or(known.map(|plan| plan.monthly_credits))
                .unwrap_or_default(),
            free_tier_included: self
                .free_tier_included
                .or(known.map(|plan| plan.free_tier_included))
                .unwrap_or_default(),
            name: self.name,
        })
    }
}

/// Runs `piooy plans …`.
pub async fn plans(asked: Plans, settings: &Settings) -> Result<ExitCode, Failure> {
    with_accounts(settings, async |accounts, _, desk| {
        let plans = accounts.plans().await?;
        let shown = match asked.command.unwrap_or(Command::List) {
            Command::List => plans,
            Command::Set(set) => {
                let known = plans.into_iter().find(|plan| plan.name == set.name);
                let plan = set.onto(known).ok_or(
                    "a new plan needs --submits-per-minute, --reads-per-minute and --concurrent-tasks",
                )?;
                vec![desk.save_plan(&operator(), &plan).await?]
            }
        };
        let line = |cells: [&str; 7]| {
            let [name, submits, reads, tasks, queued, monthly, free] = cells;
            println!("{name:<16} {submits:>11} {reads:>9} {tasks:>9} {queued:>8} {monthly:>13}  {free}");
        };
        line(["plan", "submits/min", "reads/min", "at once", "waiting", "credits/month", "free tier"]);
        for plan in shown {
            line([
                &plan.name,
                &plan.submits_per_minute.to_string(),
                &plan.reads_per_minute.to_string(),
                &plan.concurrent_tasks.to_string(),
                &plan.queued_tasks.to_string(),
                &plan.monthly_credits.to_string(),
                if plan.free_tier_included { "included" } else { "paid" },
            ]);
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Set {
        Set {
            name: "team".to_owned(),
            submits_per_minute: None,
            reads_per_minute: None,
            concurrent_tasks: None,
            queued_tasks: None,
            monthly_credits: Some(50),
            free_tier_included: None,
        }
    }

    #[test]
    fn what_is_not_given_stays_as_it_is() {
        assert_eq!(set().onto(None), None, "a new plan needs its three rates");
        let number = NonZeroU32::new(7);
        let new = Set {
            submits_per_minute: number,
            reads_per_minute: number,
            concurrent_tasks: number,
            ..set()
        };
        let made = new.onto(None).expect("has its rates");
        assert_eq!((made.queued_tasks, made.free_tier_included), (0, false));
        let changed = Plan {
            queued_tasks: 9,
            free_tier_included: true,
            monthly_credits: 1,
            ..made
        };
        let expected = Plan {
            monthly_credits: 50,
            ..changed.clone()
        };
        assert_eq!(set().onto(Some(changed)), Some(expected));
    }
}
