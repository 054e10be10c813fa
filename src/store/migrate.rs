//! Brings the schema up to date from the files in `src/store/migrations`.
//!
//! Files are `V{number}__{name}.sql`; one that was released is never edited, since refinery
//! compares checksums. Each runs in its own transaction, so that a kill in the middle leaves the
//! schema at a whole version.
//!
//! **Locks.** One session-wide advisory lock ([`MIGRATION_LOCK`]) on the connection that migrates:
//! replicas that start together take turns, and a dead one frees it. When there is nothing to do,
//! two small reads say so and no lock is taken.

use deadpool_postgres::Object;
use refinery::Migration;

use super::{Client, Store, StoreError};

mod embedded {
    refinery::embed_migrations!("src/store/migrations");
}

/// An arbitrary number that stands for "migrating Piooy" among PostgreSQL's advisory locks ("piooy"
/// in ASCII).
const MIGRATION_LOCK: i64 = 0x0070_696f_6f79;

pub(super) async fn migrate(store: &Store) -> Result<(), StoreError> {
    let runner = embedded::migrations::runner();
    let client = store.client().await?;
    if is_current(&client, runner.get_migrations()).await? {
        return Ok(());
    }
    // Out of the pool: closing this connection is what frees the lock, however this ends.
    let mut connection = Object::take(client);
    connection
        .batch_execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .await?;
    connection
        .execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    let report = runner
        .run_async(&mut *connection as &mut tokio_postgres::Client)
        .await;
    for migration in report
        .map_err(|error| StoreError::Migration(Box::new(error)))?
        .applied_migrations()
    {
        tracing::info!(%migration, "schema changed");
    }
    Ok(())
}

/// Whether exactly the known migrations have been applied. A difference of any kind is left to
/// refinery to judge.
async fn is_current(client: &Client, known: &[Migration]) -> Result<bool, StoreError> {
    let exists = client
        .query_one(
            "SELECT to_regclass('refinery_schema_history') IS NOT NULL",
            &[],
        )
        .await?;
    if !exists.get::<_, bool>(0) {
        return Ok(false);
    }
    let rows = client
        .query(
            "SELECT version, checksum FROM refinery_schema_history ORDER BY version",
            &[],
        )
        .await?;
    let applied: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut wanted: Vec<(i32, String)> = known
        .iter()
        .map(|migration| (migration.version(), migration.checksum().to_string()))
        .collect();
    wanted.sort();
    Ok(applied == wanted)
}
