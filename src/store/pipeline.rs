//! Transactions whose statements travel together.
//!
//! A round trip costs more than most statements, and locks are held meanwhile. Futures of statements
//! that are polled together (`futures_util::try_join!` polls in the order written) go out back to
//! back, and the server works through them in that order; so BEGIN leaves with the first statements
//! and COMMIT with the last ones. Prepare first: a statement that must be prepared on the way loses
//! its place.
//!
//! A statement that is a transaction of its own ([`Line::alone`]) needs neither BEGIN nor COMMIT.
//!
//! On one [`Line`] even transactions follow each other without waiting: the server finds the next one in its
//! hands when it has committed the last.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::{Client, Store, StoreError};

/// Parameters of a statement, in their order; a batch is taken as columns.
pub type Columns<'c> = Vec<Box<dyn ToSql + Send + Sync + 'c>>;

/// Columns as a statement takes them.
#[must_use]
pub fn parameters<'c>(columns: &'c Columns<'_>) -> Vec<&'c (dyn ToSql + Sync)> {
    let mut parameters = Vec::<&(dyn ToSql + Sync)>::with_capacity(columns.len());
    for column in columns {
        parameters.push(&**column);
    }
    parameters
}

/// A connection of the pool for transactions, one after another in the order in which they are sent.
/// It goes back to the pool in the end, unless what became of a transaction is not known: then it is
/// closed, and with it whatever is under way.
pub struct Line {
    client: Option<Client>,
    in_doubt: AtomicBool,
}

impl Store {
    /// A connection for transactions.
    pub async fn line(&self) -> Result<Line, StoreError> {
        Ok(Line {
            client: Some(self.client().await?),
            in_doubt: AtomicBool::new(false),
        })
    }
}

impl Line {
    /// Whether more can be sent.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.in_doubt.load(Ordering::Relaxed) && !self.is_closed()
    }

    /// Runs a statement, prepared before, that is a transaction of its own.
    pub async fn alone(
        &self,
        statement: &Statement,
        columns: &Columns<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let doubt = Doubt(self);
        let answer = self.query(statement, &parameters(columns)).await;
        let refused = |error: &Error| error.as_db_error().is_some();
        // A refusal by the server is an end like any other.
        if answer.as_ref().map_or_else(refused, |_| true) {
            doubt.settle();
        }
        Ok(answer?)
    }

    /// Runs a transaction, at READ COMMITTED, that looks first and then writes what follows from it. When a
    /// statement fails, nothing is committed: the server turns the COMMIT of a failed transaction into a
    /// ROLLBACK.
    pub async fn transaction_in_two<F, T>(
        &self,
        first: impl AsyncFnOnce(&Client) -> Result<F, StoreError>,
        last: impl AsyncFnOnce(&Client, F) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let doubt = Doubt(self);
        let begin = self.batch_execute("BEGIN");
        let (begun, found) = futures_util::join!(begin, first(self));
        begun?;
        let found = found?;
        let commit = self.batch_execute("COMMIT");
        let (answer, ended) = futures_util::join!(last(self, found), commit);
        if ended.is_ok() {
            doubt.settle();
        }
        let answer = answer?;
        ended?;
        Ok(answer)
    }
}

impl Deref for Line {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is taken on drop alone")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.in_doubt.load(Ordering::Relaxed)
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

/// Leaves its line in doubt unless the transaction's end is known.
struct Doubt<'l>(&'l Line);

impl Doubt<'_> {
    fn settle(self) {
        std::mem::forget(self);
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.in_doubt.store(true, Ordering::Relaxed);
    }
}
