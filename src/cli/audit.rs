//! `piooy audit`: what operators changed, printed or exported straight from the database. And who it is that changes
//! something by the command line.

use std::fs;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::Failure;
use super::database::Database;
use crate::operator::{
    AUDIT_CSV_HEADER, AUDIT_PAGE_MAX, ActorKind, AuditEntry, AuditFilter, AuditLog, Operator,
    audit_csv_lines,
};
use crate::settings::Settings;

/// `piooy audit …`
#[derive(Args)]
pub struct Audit {
    /// Only changes of this account.
    #[arg(long)]
    account: Option<String>,
    /// Only changes by this method, such as GrantCredits.
    #[arg(long)]
    method: Option<String>,
    /// Only changes of the last while, such as 30d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    last: Option<Duration>,
    /// As CSV, with a line of column names.
    #[arg(long)]
    csv: bool,
}

/// Runs `piooy audit …`.
pub async fn audit(asked: Audit, settings: &Settings) -> Result<ExitCode, Failure> {
    let database = Database::visit(settings).await?;
    let printed = print_all(AuditLog::new(database.store.clone()), asked).await;
    database.close().await;
    printed.map(|()| ExitCode::SUCCESS)
}

async fn print_all(log: AuditLog, asked: Audit) -> Result<(), Failure> {
    let since = |last| SystemTime::now().checked_sub(last);
    let filter = AuditFilter {
        account: asked.account,
        method: asked.method,
        from: asked.last.and_then(since),
        to: None,
    };
    // Unlike `print!`, fails rather than panics when nobody reads any more.
    let print = |text: &str| std::io::stdout().lock().write_all(text.as_bytes());
    if asked.csv {
        print(AUDIT_CSV_HEADER)?;
    }
    let mut before = None;
    loop {
        let page = log.list(&filter, before, AUDIT_PAGE_MAX).await?;
        let lines = match asked.csv {
            true => audit_csv_lines(&page.entries),
            false => page.entries.iter().map(line).collect(),
        };
        print(&lines)?;
        before = page.next;
        if before.is_none() {
            return Ok(());
        }
    }
}

fn line(entry: &AuditEntry) -> String {
    format!(
        "{:>8}  {}  {:<16} {:<16} {}  {}\n",
        entry.number,
        humantime::format_rfc3339_seconds(entry.at),
        entry.method,
        entry.account.as_deref().unwrap_or("-"),
        entry.change,
        entry.by,
    )
}

/// Whoever runs this process, as the system knows them.
pub fn operator() -> Operator {
    let user_id = rustix::process::getuid().as_raw();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    Operator {
        kind: ActorKind::CommandLine,
        id: None,
        name: user(&users, user_id).unwrap_or_else(|| format!("user {user_id}")),
        request_id: None,
    }
}

/// The name of a user in the text of `/etc/passwd` (passwd(5): name, password, user id, …).
fn user(users: &str, user_id: u32) -> Option<String> {
    let wanted = user_id.to_string();
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_number() {
        let users = "root:x:0:0::/root:/bin/sh\nbroken\nann:x:1000:0::/home/ann:/bin/sh\n";
        assert_eq!(user(users, 1000).as_deref(), Some("ann"));
        assert_eq!(user(users, 0).as_deref(), Some("root"));
        assert_eq!(user(users, 100), None);
    }
}
