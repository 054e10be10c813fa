//! The shape of the source: which room may use which, and the few rules that hold for every file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with those it may use beside itself. `main`, `cli` and `lib` put the rooms together and may use all.
const ROOMS: [(&str, &[&str]); 15] = [
    (
        "adapters",
        &[
            "accounts",
            "assets",
            "catalog",
            "egress",
            "gate",
            "generation",
            "ledger",
            "operator",
            "people",
            "providers",
            "spec",
            "store",
            "webhooks",
        ],
    ),
    ("gate", &["accounts", "people", "spec"]),
    ("people", &["accounts", "store"]),
    (
        "operator",
        &["accounts", "generation", "ledger", "people", "store"],
    ),
    (
        "generation",
        &[
            "accounts",
            "assets",
            "catalog",
            "egress",
            "gate",
            "ledger",
            "providers",
            "store",
        ],
    ),
    ("catalog", &["providers"]),
    ("ledger", &["store"]),
    ("accounts", &["store"]),
    ("providers", &["egress"]),
    ("assets", &[]),
    ("store", &[]),
    ("settings", &[]),
    ("webhooks", &["egress", "store"]),
    ("egress", &[]),
    ("spec", &[]),
];

/// The rooms that may use every other.
const ABOVE_ALL: [&str; 3] = ["main", "lib", "cli"];

/// The longest file, in lines.
const LINES_MAX: usize = 700;

/// The longest line of code or SQL, in characters. Comments may hold a table that is wider.
const LINE_MAX: usize = 140;

/// Every file of the source with that extension: its path below `src` and its text.
fn files(extension: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the source can be read") {
            let path = entry.expect("the source can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).expect("the source can be read");
                let below = path.strip_prefix(&root).expect("is below").to_owned();
                found.push((below, text));
            }
        }
    }
    assert!(!found.is_empty(), "no {extension} files");
    found.sort();
    found
}

/// The room that a file belongs to.
fn room(path: &Path) -> String {
    let first = path.components().next().expect("a name");
    let first = Path::new(first.as_os_str());
    first
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name == "tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The code without comments and without the module of tests at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The rooms that a file of that depth names: after `crate::`, or after as many `super::` as lead to the same place.
fn names(code: &str, depth: usize) -> BTreeSet<String> {
    let climb = "super::".repeat(depth);
    let starts = ["crate::", climb.as_str()].into_iter();
    let rests = starts.flat_map(|start| code.split(start).skip(1));
    let mut names = BTreeSet::new();
    for rest in rests {
        let listed = match rest.strip_prefix('{') {
            Some(list) => top_level(list),
            None => vec![rest],
        };
        for path in listed {
            let end = path.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            names.insert(path[..end.unwrap_or(path.len())].to_owned());
        }
    }
    names
}

/// The paths of a `{a, b::{c, d}}` list, without its first brace.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut paths) = (0, 0, Vec::new());
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                paths.push(list[begin..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                paths.push(list[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    paths
}

#[test]
fn no_import_runs_upward() {
    let all: BTreeSet<String> = files("rs").iter().map(|(path, _)| room(path)).collect();
    let known: BTreeSet<String> = ROOMS
        .iter()
        .map(|(name, _)| *name)
        .chain(ABOVE_ALL)
        .map(str::to_owned)
        .collect();
    assert_eq!(all, known, "every room is in the table");
    let mut wrong = Vec::new();
    for (path, text) in files("rs").iter().filter(|(path, _)| !is_test(path)) {
        let own = room(path);
        let Some((_, may_use)) = ROOMS.iter().find(|(name, _)| *name == own) else {
            continue;
        };
        let depth = path.components().count();
        for named in names(&code(text), depth).intersection(&known) {
            if *named != own && !may_use.contains(&named.as_str()) {
                wrong.push(format!("{} uses {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn imports_are_found_however_they_are_written() {
    let found = |code: &str| names(code, 2).into_iter().collect::<Vec<_>>();
    assert_eq!(found("use crate::gate::{Caller, Gate};"), ["gate"]);
    assert_eq!(
        found("use crate::{gate::{A, B}, store, spec::v1};"),
        ["gate", "spec", "store"]
    );
    assert_eq!(found("let x = crate::ledger::Ledger::new();"), ["ledger"]);
    assert_eq!(found("use super::super::store::Store;"), ["store"]);
    assert_eq!(found("use super::store::Store;"), [""; 0]);
    assert_eq!(
        found(&code(
            "//! [`crate::gate`]\n#[cfg(test)]\nmod tests {\nuse crate::cli;"
        )),
        [""; 0]
    );
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in files("rs") {
        let path = path.display();
        assert!(text.starts_with("//! "), "{path} has no head comment");
        assert!(
            !path.to_string().ends_with("mod.rs"),
            "{path}: foo.rs stands beside foo/"
        );
    }
}

#[test]
fn files_and_lines_are_short() {
    let mut wrong = Vec::new();
    for (path, text) in files("rs").into_iter().chain(files("sql")) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
        for (at, line) in text.lines().enumerate() {
            let comment =
                line.trim_start().starts_with("//") || line.trim_start().starts_with("--");
            let length = line.chars().count();
            if !comment && length > LINE_MAX {
                wrong.push(format!(
                    "{}:{} has {length} characters",
                    path.display(),
                    at + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
