//! Where the PostgreSQL server programs are. Packages seldom put them on the search path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ClusterError;

/// The oldest major version whose SQL we use.
const VERSION_MIN: u32 = 15;

/// Directories whose children are named by version, and where the programs are inside each: Debian
/// and Ubuntu, Fedora and the PostgreSQL project's RPMs, Alpine, Homebrew on Apple silicon and
/// Intel, Postgres.app.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The programs of one PostgreSQL installation.
pub(super) struct Programs {
    pub(super) postgres: PathBuf,
    pub(super) initdb: PathBuf,
}

impl Programs {
    /// Finds programs that can run the cluster in `data`: of the version that made it, or, when
    /// there is none yet, the first that is new enough.
    pub(super) fn find(data: &Path) -> Result<Self, ClusterError> {
        let made_by = fs::read_to_string(data.join("PG_VERSION"))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let is_wanted =
            |version: u32| made_by.map_or(version >= VERSION_MIN, |made_by| version == made_by);
        // By steps, since most searches end at the first: asking a program costs some milliseconds.
        let steps: [fn() -> Vec<PathBuf>; 3] = [on_search_path, by_pg_config, in_usual_places];
        for directory in steps.iter().flat_map(|step| step()) {
            if let Some(programs) = Self::inside(&directory)
                && version(&programs.postgres).is_some_and(is_wanted)
            {
                return Ok(programs);
            }
        }
        Err(match made_by {
            Some(version) => ClusterError::VersionMissing {
                directory: data.to_owned(),
                version,
            },
            None => ClusterError::ProgramsMissing {
                install: install_command(),
            },
        })
    }

    /// The programs in `directory`, if both are there. Links are followed: a link on the search
    /// path leads to where its siblings are.
    fn inside(directory: &Path) -> Option<Self> {
        let postgres = directory.join("postgres").canonicalize().ok()?;
        let initdb = postgres.with_file_name("initdb");
        initdb.exists().then_some(Self { postgres, initdb })
    }
}

fn on_search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default()
}

fn by_pg_config() -> Vec<PathBuf> {
    output(Command::new("pg_config").arg("--bindir"))
        .map(|text| PathBuf::from(text.trim()))
        .into_iter()
        .collect()
}

/// Newest first within each place.
fn in_usual_places() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix, inner) in VERSIONED {
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let version = entry
                    .file_name()
                    .to_str()?
                    .strip_prefix(prefix)?
                    .parse()
                    .ok()?;
                Some((version, entry.path().join(inner)))
            })
            .collect();
        versions.sort();
        found.extend(versions.into_iter().rev().map(|(_, directory)| directory));
    }
    // Fedora's own packages.
    found.push(PathBuf::from("/usr/bin"));
    found
}

fn version(postgres: &Path) -> Option<u32> {
    parse_version(&output(Command::new(postgres).arg("--version"))?)
}

/// The major version in `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let end = number
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// The command that installs PostgreSQL here.
fn install_command() -> &'static str {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17";
    }
    install_command_for(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

/// The same from the text of `/etc/os-release` (os-release(5)).
fn install_command_for(os_release: &str) -> &'static str {
    let families: Vec<&str> = os_release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|value| value.trim_matches('"').split_whitespace())
        .collect();
    let is = |family: &str| families.contains(&family);
    if is("alpine") {
        "apk add postgresql"
    } else if is("fedora") || is("rhel") {
        "sudo dnf install postgresql-server"
    } else if is("arch") {
        "sudo pacman -S postgresql"
    } else {
        "sudo apt-get install postgresql"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_form() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(parse_version("postgres (PostgreSQL)"), None);
    }

    #[test]
    fn the_install_command_fits_the_distribution() {
        assert_eq!(
            install_command_for("ID=ubuntu\nID_LIKE=debian\n"),
            "sudo apt-get install postgresql"
        );
        assert_eq!(
            install_command_for("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            "sudo dnf install postgresql-server"
        );
        assert_eq!(
            install_command_for("NAME=Alpine\nID=alpine\n"),
            "apk add postgresql"
        );
    }
}
