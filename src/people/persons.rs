//! Persons: finding them, and what they change about themselves.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{People, PeopleError, check_email};
use crate::store::StoreError;

/// Somebody who signs in.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// A UUIDv7.
    pub id: Uuid,
    /// None: not told yet.
    pub email: Option<String>,
    /// May administer the server.
    pub operator: bool,
    password_hash: Option<String>,
}

impl Person {
    /// Whether there is a password to sign in with.
    pub fn has_password(&self) -> bool {
        self.password_hash.is_some()
    }

    fn from_row(row: &Row) -> Person {
        Person {
            id: row.get("id"),
            email: row.get("email"),
            operator: row.get("operator"),
            password_hash: row.get("password_hash"),
        }
    }
}

impl People {
    /// The person with this id.
    pub async fn person(&self, id: Uuid) -> Result<Option<Person>, PeopleError> {
        let client = self.store.client().await?;
        let row = client
            .query_opt(include_str!("sql/person_by_id.sql"), &[&id])
            .await?;
        Ok(row.as_ref().map(Person::from_row))
    }

    /// Who signs in with this address and this password; none, after the same work, whatever is wrong.
    pub async fn by_password(
        &self,
        email: &str,
        password: String,
    ) -> Result<Option<Person>, PeopleError> {
        // PostgreSQL's text has no NUL; what is no address is asked for all the same.
        let email = check_email(email).unwrap_or("nobody");
        let client = self.store.client().await?;
        let row = client
            .query_opt(include_str!("sql/person_by_email.sql"), &[&email])
            .await?;
        drop(client);
        let person = row.as_ref().map(Person::from_row);
        let hash = person
            .as_ref()
            .and_then(|person| person.password_hash.clone());
        let is_right = self.is_right(password, hash).await?;
        Ok(person.filter(|_| is_right))
    }

    /// Gives a person another address. Whoever has a password must show it.
    pub async fn set_email(
        &self,
        person_id: Uuid,
        password: String,
        email: &str,
    ) -> Result<(), PeopleError> {
        let email = check_email(email)?;
        self.prove(person_id, password).await?;
        let client = self.store.client().await?;
        let changed = client
            .execute(include_str!("sql/set_email.sql"), &[&person_id, &email])
            .await
            .map_err(StoreError::from);
        match changed {
            Ok(_) => Ok(()),
            Err(error) if error.constraint() == Some("people_email_once") => {
                Err(PeopleError::EmailTaken)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a person another password and ends all of the person's sessions. Whoever has a password must show it.
    pub async fn set_password(
        &self,
        person_id: Uuid,
        password: String,
        new: String,
    ) -> Result<(), PeopleError> {
        self.prove(person_id, password).await?;
        let hash = self.hash(new).await?;
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        transaction
            .execute(include_str!("sql/set_password.sql"), &[&person_id, &hash])
            .await?;
        transaction
            .execute(include_str!("sql/end_sessions_of.sql"), &[&person_id])
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Has a person who has a password show it.
    ///
    /// # Errors
    /// [`PeopleError::PasswordWrong`].
    pub async fn prove(&self, person_id: Uuid, password: String) -> Result<(), PeopleError> {
        let person = self.person(person_id).await?;
        let person = person.ok_or(PeopleError::MemberUnknown)?;
        match person.password_hash {
            None => Ok(()),
            hash if self.is_right(password, hash.clone()).await? => Ok(()),
            _ => Err(PeopleError::PasswordWrong),
        }
    }
}
