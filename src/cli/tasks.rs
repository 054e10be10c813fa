//! `piooy tasks`: submissions of which nobody knows whether they reached their upstream, seen and settled
//! straight in the database. Servers that run hear of it at once.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Subcommand, ValueEnum};
use uuid::Uuid;

use super::Failure;
use super::audit::operator;
use super::database::Database;
use crate::generation::{Lost, LostSubmissions, Word};
use crate::operator::Desk;
use crate::settings::Settings;

/// Submissions that are read at once.
const PAGE: u32 = 500;

/// `piooy tasks …`
#[derive(Subcommand)]
pub enum Tasks {
    /// List the submissions of which nobody knows whether they arrived; their tasks wait, credits held.
    Unknown,
    /// Settle one of them.
    Settle {
        /// The task.
        task: Uuid,
        /// What became of the submission.
        verdict: Verdict,
        /// The upstream's id for the job; with arrived alone.
        #[arg(long, required_if_eq("verdict", "arrived"))]
        upstream_id: Option<String>,
        /// Which of the task's attempts; left out: the one that is listed.
        #[arg(long)]
        attempt: Option<u32>,
    },
}

/// What became of a submission.
#[derive(Clone, Copy, ValueEnum)]
pub enum Verdict {
    /// It never arrived: the next route or attempt is tried.
    NotSubmitted,
    /// The upstream has it, and is asked how it stands from now on.
    Arrived,
    /// The task fails and its credits are released, whatever became of it.
    GiveUp,
}

impl Verdict {
    fn word(self, upstream_id: Option<String>) -> Option<Word> {
        let verdict = match self {
            Self::NotSubmitted => "NOT_SUBMITTED",
            Self::Arrived => "ARRIVED",
            Self::GiveUp => "GIVE_UP",
        };
        Word::parse(verdict, upstream_id)
    }
}

/// Runs `piooy tasks …`.
pub async fn tasks(command: Tasks, settings: &Settings) -> Result<ExitCode, Failure> {
    match command {
        Tasks::Unknown => {
            with_submissions(settings, async |submissions, _| list(submissions).await).await
        }
        Tasks::Settle {
            task,
            verdict,
            upstream_id,
            attempt,
        } => {
            let word = verdict
                .word(upstream_id)
                .ok_or("--upstream-id is for the verdict arrived alone")?;
            let settle = async |submissions: &_, desk: &_| {
                settle(submissions, desk, task, attempt, &word).await
            };
            with_submissions(settings, settle).await
        }
    }
}

/// Opens the database for one command and closes it whatever comes of it.
async fn with_submissions(
    settings: &Settings,
    command: impl AsyncFnOnce(&LostSubmissions, &Desk) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let database = Database::visit(settings).await?;
    let submissions = LostSubmissions::new(database.store.clone());
    let desk = Desk::new(database.store.clone());
    let done = command(&submissions, &desk).await;
    drop((submissions, desk));
    database.close().await;
    done
}

async fn list(submissions: &LostSubmissions) -> Result<ExitCode, Failure> {
    let line = |cells: [&str; 8]| {
        let [
            task,
            attempt,
            account,
            provider,
            model,
            held,
            since,
            deadline,
        ] = cells;
        println!(
            "{task:<36} {attempt:>7} {account:<16} {provider:<10} {model:<40} {held:>8} {since:<20} {deadline}"
        );
    };
    line([
        "task",
        "attempt",
        "account",
        "upstream",
        "id there",
        "held",
        "unknown since",
        "fails at",
    ]);
    let mut after = None;
    loop {
        let (page, next) = submissions.list(after, PAGE).await?;
        for lost in &page {
            line([
                &lost.task_id.to_string(),
                &lost.attempt.to_string(),
                &lost.account,
                &lost.provider,
                lost.upstream_model.as_deref().unwrap_or(&lost.model),
                &lost.held.to_string(),
                &time(lost.since),
                &time(lost.deadline_at),
            ]);
        }
        if next.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        after = next;
    }
}

async fn settle(
    submissions: &LostSubmissions,
    desk: &Desk,
    task: Uuid,
    attempt: Option<u32>,
    word: &Word,
) -> Result<ExitCode, Failure> {
    let attempt = match attempt {
        Some(attempt) => attempt,
        None => listed(submissions, task)
            .await?
            .ok_or(
                "nobody waits for a word on this task; piooy tasks unknown lists those that wait",
            )?
            .attempt,
    };
    let by = operator();
    let at = desk.settle(&by, submissions, task, attempt, word).await?;
    println!("{task}  attempt {attempt}  {}  {}", word.as_str(), time(at));
    Ok(ExitCode::SUCCESS)
}

/// The submission of a task that is listed.
async fn listed(submissions: &LostSubmissions, task: Uuid) -> Result<Option<Lost>, Failure> {
    // The page after the id before this one begins with this one, if it is there.
    let before = Uuid::from_u128(task.as_u128().saturating_sub(1));
    let (page, _) = submissions.list(Some(before), 1).await?;
    Ok(page.into_iter().find(|lost| lost.task_id == task))
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
