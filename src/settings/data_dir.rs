//! Where data is kept when nobody says: the place that each system has for it.

use std::path::{Path, PathBuf};

/// What the place depends on.
pub struct Machine {
    pub is_root: bool,
    pub is_macos: bool,
    pub home: Option<PathBuf>,
    pub xdg_data_home: Option<PathBuf>,
}

/// The directory, or `None` for a user without a home. Relative paths in the environment are
/// passed over, as the XDG Base Directory Specification asks.
pub fn default_data_dir(machine: &Machine) -> Option<PathBuf> {
    if machine.is_root {
        return Some("/var/lib/piooy".into());
    }
    let home = absolute(machine.home.as_deref());
    let parent = if machine.is_macos {
        home?.join("Library/Application Support")
    } else {
        match absolute(machine.xdg_data_home.as_deref()) {
            Some(directory) => directory.to_owned(),
            None => home?.join(".local/share"),
        }
    };
    Some(parent.join("piooy"))
}

fn absolute(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_has_its_place() {
        let cases = [
            (true, false, Some("/root"), None, Some("/var/lib/piooy")),
            (
                false,
                false,
                Some("/home/a"),
                None,
                Some("/home/a/.local/share/piooy"),
            ),
            (false, false, Some("/home/a"), Some("/x"), Some("/x/piooy")),
            (false, false, None, Some("/x"), Some("/x/piooy")),
            (
                false,
                false,
                Some("/home/a"),
                Some("x"),
                Some("/home/a/.local/share/piooy"),
            ),
            (
                false,
                true,
                Some("/Users/a"),
                None,
                Some("/Users/a/Library/Application Support/piooy"),
            ),
            (false, false, None, None, None),
            (false, true, Some("a"), None, None),
        ];
        for (is_root, is_macos, home, xdg_data_home, expected) in cases {
            let machine = Machine {
                is_root,
                is_macos,
                home: home.map(PathBuf::from),
                xdg_data_home: xdg_data_home.map(PathBuf::from),
            };
            assert_eq!(default_data_dir(&machine), expected.map(PathBuf::from));
        }
    }
}
