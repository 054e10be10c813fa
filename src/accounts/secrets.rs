//! Secrets of the server itself, such as the key that signs links: made once, the same on every replica.
//!
//! They lie in the database as they are. Whoever can read the database can already do all that they protect.

use super::AccountsError;
use crate::store::Store;

/// The secret called `name` (1 to 64 of `a-z 0-9 -`), made of `length_bytes` (16 to 1024) random bytes when there
/// is none yet. Replicas that ask at the same moment get the same one.
pub async fn get_or_create(
    store: &Store,
    name: &str,
    length_bytes: usize,
) -> Result<Vec<u8>, AccountsError> {
    let client = store.client().await?;
    let find = include_str!("sql/secret_by_name.sql");
    if let Some(row) = client.query_opt(find, &[&name]).await? {
        return Ok(row.get(0));
    }
    let mut value = vec![0; length_bytes];
    getrandom::fill(&mut value).map_err(AccountsError::Randomness)?;
    client
        .execute(include_str!("sql/insert_secret.sql"), &[&name, &value])
        .await?;
    // Not `value`: another replica may have been first.
    Ok(client.query_one(find, &[&name]).await?.get(0))
}
