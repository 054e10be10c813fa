//! Who may administer the server: the first person of all, and whom the command line appoints.

use deadpool_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::{People, PeopleError, check_email};

impl People {
    /// Says, within a transaction of the caller's, whether the person with this address may administer the server;
    /// answers who it is. Every session of that person follows within a second.
    pub async fn set_operator_within(
        transaction: &Transaction<'_>,
        email: &str,
        operator: bool,
    ) -> Result<(Uuid, String), PeopleError> {
        let email = check_email(email)?;
        let row = transaction
            .query_opt(include_str!("sql/set_operator.sql"), &[&email, &operator])
            .await?
            .ok_or(PeopleError::PersonUnknown)?;
        Ok((row.get("id"), row.get("email")))
    }

    /// Those who may administer the server, with their addresses as far as they are known.
    pub async fn operators(
        client: &impl GenericClient,
    ) -> Result<Vec<(Uuid, Option<String>)>, PeopleError> {
        let rows = client
            .query(include_str!("sql/list_operators.sql"), &[])
            .await?;
        Ok(rows
            .iter()
            .map(|row| (row.get("id"), row.get("email")))
            .collect())
    }
}
