//! The store: statements that PostgreSQL understands, migrations, and the life of a private cluster.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support;

/// Statements live in files, one each; a wrong one must not wait for its first caller.
#[tokio::test]
async fn every_statement_prepares() {
    let database = support::database().await;
    let client = database.store().client().await.unwrap();
    let mut statements = Vec::new();
    collect_statements(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut statements,
    );
    assert!(!statements.is_empty());
    for path in statements {
        let statement = fs::read_to_string(&path).unwrap();
        // PostgreSQL refuses to prepare more than one statement at a time.
        if let Err(error) = client.prepare(&statement).await {
            panic!("{}: {:?}", path.display(), error);
        }
    }
}

/// The files `**/sql/*.sql` below `directory`.
fn collect_statements(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_statements(&path, found);
        } else if directory.ends_with("sql")
            && path.extension().is_some_and(|extension| extension == "sql")
        {
            found.push(path);
        }
    }
}
