//! Transactions whose statements travel together.
//!
//! A round trip costs more than most statements, and locks are held meanwhile. Futures of statements
//! that are polled together (`futures_util::try_join!` polls in the order written) go out back to
//! back, and the server works through them in that order; so BEGIN leaves with the first statements
//! and COMMIT with the last ones. Prepare first: a statement that must be prepared on the way loses
//! its place.
//!
//! On one [`Line`] even transactions follow each other without waiting: the server finds the next one in its
//! hands when it has committed the last.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::Object;

use super::{Client, Store, StoreError};

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

    /// Runs a transaction, at READ COMMITTED, that is known from its first statement to its last.
    /// When a statement fails, nothing is committed: the server turns the COMMIT of a failed
    /// transaction into a ROLLBACK.
    pub async fn transaction<T>(
        &self,
        statements: impl AsyncFnOnce(&Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let doubt = Doubt(self);
        let begin = self.batch_execute("BEGIN");
        let commit = self.batch_execute("COMMIT");
        let (begun, answer, ended) = futures_util::join!(begin, statements(self), commit);
        doubt.settle(&ended);
        begun?;
        let answer = answer?;
        ended?;
        Ok(answer)
    }

    /// Runs a transaction that looks first and then writes what follows from it.
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
        doubt.settle(&ended);
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
    fn settle<E>(self, ended: &Result<(), E>) {
        if ended.is_ok() {
            std::mem::forget(self);
        }
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.in_doubt.store(true, Ordering::Relaxed);
    }
}
