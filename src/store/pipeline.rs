//! A transaction whose statements travel together.
//!
//! A round trip costs more than most statements, and locks are held meanwhile. Futures of statements
//! that are polled together (`futures_util::try_join!` polls in the order written) go out back to
//! back, and the server works through them in that order; so BEGIN leaves with the first statements
//! and COMMIT with the last ones. Prepare first: a statement that must be prepared on the way loses
//! its place.

use std::ops::Deref;

use deadpool_postgres::Object;

use super::{Client, Store, StoreError};

/// A connection of the pool with a transaction under way, or about to begin with
/// [`Pipeline::begin`]. Dropped before [`Pipeline::commit`] has answered, it closes the connection,
/// and with it the transaction, whatever state that is in.
pub struct Pipeline {
    client: Option<Client>,
}

impl Store {
    /// A connection for a transaction. Send [`Pipeline::begin`] first.
    pub async fn pipeline(&self) -> Result<Pipeline, StoreError> {
        Ok(Pipeline {
            client: Some(self.client().await?),
        })
    }
}

impl Pipeline {
    /// Begins the transaction, at READ COMMITTED.
    pub async fn begin(&self) -> Result<(), StoreError> {
        Ok(self.batch_execute("BEGIN").await?)
    }

    /// Commits, after `last` has gone out; answers what that does. When a statement of `last` fails,
    /// nothing is committed: the server turns the COMMIT of a failed transaction into a ROLLBACK.
    pub async fn commit<T>(
        mut self,
        last: impl AsyncFnOnce(&Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let client = self.client.as_ref().expect("it is taken below and on drop");
        let end = client.batch_execute("COMMIT");
        let (answer, ended) = futures_util::join!(last(client), end);
        if ended.is_ok() {
            // In order again: back to the pool.
            drop(self.client.take());
        }
        let answer = answer?;
        ended?;
        Ok(answer)
    }
}

impl Deref for Pipeline {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is taken on drop alone")
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}
