//! Everything that is wrong with the settings, told at once.

use std::{fmt, path::PathBuf};

/// All mistakes of one start. Its `Display` has one a line, in the order of the table after those
/// of the sources themselves.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl std::error::Error for SettingsError {}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A value that the setting does not take.
    #[error("{origin} is {found}; allowed: {allowed}")]
    Value {
        /// Which setting, and where it was found.
        origin: Origin,
        /// The value as written, or that it is a secret.
        found: String,
        /// What the setting takes.
        allowed: &'static str,
    },
    /// A name that no setting has.
    #[error("{origin} is no setting; the nearest is {nearest}")]
    Unknown {
        /// The name, and where it was found.
        origin: Origin,
        /// The known name that is most like it, as it is spelt in that place.
        nearest: String,
    },
    /// Some of a group of settings that only make sense together.
    #[error("{missing} is not set anywhere; allowed: {group} all together, or none of them")]
    Incomplete {
        /// The one that is missing.
        missing: &'static str,
        /// All of the group.
        group: &'static str,
    },
    /// A setting without which there is no start here, though there is elsewhere.
    #[error("{name} is not set, and {why}; allowed: {allowed}")]
    Missing {
        /// The setting.
        name: &'static str,
        /// Why its default does not help.
        why: &'static str,
        /// What the setting takes.
        allowed: &'static str,
    },
    /// The file of settings cannot be read or is not TOML.
    #[error("{} cannot be used as a file of settings: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, without a piece of the file: it may hold secrets.
        why: String,
    },
}

/// A name and the place where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by the setting's name.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A key in the file of settings.
    File(String, PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => {
                write!(f, "--{} on the command line", name.replace('_', "-"))
            }
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::File(key, path) => write!(f, "{key} in {}", path.display()),
        }
    }
}
