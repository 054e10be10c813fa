//! Whom the server runs as: ourselves, or an unprivileged user when we are root, whom PostgreSQL
//! refuses.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{ClusterError, files};

/// Users to run as instead of root, best first.
const NAMES: [&str; 2] = ["postgres", "nobody"];

/// An unprivileged user.
pub(super) struct Account {
    name: &'static str,
    user_id: u32,
    group_id: u32,
}

impl Account {
    /// The user to run the server as, if it cannot be ourselves.
    pub(super) fn for_server() -> Result<Option<Self>, ClusterError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = NAMES
            .iter()
            .find_map(|name| find(&users, name))
            .ok_or(ClusterError::AccountMissing)?;
        Ok(Some(account))
    }

    /// Makes this user the owner of `path`.
    pub(super) fn give(&self, path: &Path) -> Result<(), ClusterError> {
        chown(path, Some(self.user_id), Some(self.group_id))
            .map_err(files("change the owner of", path))
    }

    /// Whether this user can enter `directory` and each one above it. Asked of the system in that
    /// user's name, so that access lists count too.
    pub(super) fn check_reach(&self, directory: &Path) -> Result<(), ClusterError> {
        const FIRST_CLOSED: &str =
            r#"for path do test -x "$path" || { printf %s "$path"; exit 1; }; done"#;
        let shell = Path::new("/bin/sh");
        let mut ancestors: Vec<&Path> = directory.ancestors().collect();
        ancestors.reverse();
        let output = command(shell, Some(self), Path::new("/"))
            .args(["-c", FIRST_CLOSED, "sh"])
            .args(ancestors)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ClusterError::Run {
                program: shell.to_owned(),
                source,
            })?;
        if output.status.success() {
            return Ok(());
        }
        let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).into_owned());
        Err(ClusterError::Unreachable {
            account: self.name.to_owned(),
            directory,
        })
    }
}

/// The user id the server has.
pub(super) fn server_user_id(account: Option<&Account>) -> u32 {
    account.map_or_else(
        || rustix::process::geteuid().as_raw(),
        |account| account.user_id,
    )
}

/// A command in the server's name, in a process group of its own (Ctrl-C in a terminal reaches the
/// whole group in front, and it is for us to decide when the server goes), with nothing of our
/// environment but the search path: `PG…` variables and the locale would change what PostgreSQL's
/// programs do, and ours holds secrets.
///
/// glibc's allocator is told to keep some of the memory that a transaction has freed (mallopt(3)): to
/// hand it back to the system and ask for it again each time cost a seventh of the server's work.
pub(super) fn command(program: &Path, account: Option<&Account>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("LC_ALL", "C")
        .env("MALLOC_TOP_PAD_", "1048576")
        .env("MALLOC_TRIM_THRESHOLD_", "16777216")
        .current_dir(directory)
        .process_group(0);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    if let Some(account) = account {
        command.uid(account.user_id).gid(account.group_id);
    }
    command
}

/// Looks `wanted` up in the text of `/etc/passwd` (passwd(5): name, password, user id, group id,
/// …).
fn find(users: &str, wanted: &'static str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(wanted) {
            return None;
        }
        let user_id = fields.nth(1)?.parse().ok()?;
        let group_id = fields.next()?.parse().ok()?;
        Some(Account {
            name: wanted,
            user_id,
            group_id,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "postgresql:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        let account = find(users, "postgres").expect("it is in the list");
        assert_eq!((account.user_id, account.group_id), (101, 104));
        assert!(find(users, "nobody").is_none());
    }
}
