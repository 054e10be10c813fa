//! Who somebody is to an OpenID provider, and which person that is here.
//!
//! What connects the two is what the person proved both sides of: being signed in here while signing in there, or
//! holding an invitation. An e-mail address connects nothing: here nobody checks whose it is, and not every provider
//! does, so that somebody could wait under another's address for its owner to sign in.

use uuid::Uuid;

use super::{People, PeopleError};
use crate::store::StoreError;

/// The longest e-mail address that is kept, in characters.
const EMAIL_LENGTH_MAX: usize = 254;

/// Somebody, as an OpenID provider knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider's issuer identifier.
    pub issuer: String,
    /// What it calls them, for ever (OpenID Connect Core 1.0 §2, `sub`).
    pub subject: String,
    /// Their address, as far as it tells; for show.
    pub email: Option<String>,
}

impl Identity {
    /// The address, unless it is too long to be one.
    pub(super) fn email_shown(&self) -> Option<&str> {
        let email = self.email.as_deref();
        email.filter(|email| email.chars().count() <= EMAIL_LENGTH_MAX && !email.contains('\0'))
    }
}

impl People {
    /// The person who is connected to this identity.
    ///
    /// # Errors
    /// [`PeopleError::IdentityUnknown`].
    pub async fn by_identity(&self, identity: &Identity) -> Result<Uuid, PeopleError> {
        let client = self.store.client().await?;
        let row = client
            .query_opt(
                include_str!("sql/person_by_identity.sql"),
                &[&identity.issuer, &identity.subject],
            )
            .await?;
        row.map(|row| row.get("person_id"))
            .ok_or(PeopleError::IdentityUnknown)
    }

    /// The identity of this server's provider that a person is connected to.
    pub async fn identity_of(&self, person_id: Uuid) -> Result<Option<Identity>, PeopleError> {
        let Some(issuer) = &self.issuer else {
            return Ok(None);
        };
        let client = self.store.client().await?;
        let row = client
            .query_opt(
                include_str!("sql/identity_of.sql"),
                &[&person_id, &issuer.url()],
            )
            .await?;
        Ok(row.map(|row| Identity {
            issuer: row.get("issuer"),
            subject: row.get("subject"),
            email: row.get("email"),
        }))
    }

    /// Connects a person with an identity, in the place of another of the same provider.
    ///
    /// # Errors
    /// [`PeopleError::IdentityTaken`].
    pub async fn connect(&self, person_id: Uuid, identity: &Identity) -> Result<(), PeopleError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        transaction
            .execute(
                include_str!("sql/remove_identity.sql"),
                &[&person_id, &identity.issuer],
            )
            .await?;
        insert(&transaction, person_id, identity).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Parts a person from the identity of this server's provider. Doing it again changes nothing.
    pub async fn disconnect(&self, person_id: Uuid) -> Result<(), PeopleError> {
        if let Some(issuer) = &self.issuer {
            let client = self.store.client().await?;
            client
                .execute(
                    include_str!("sql/remove_identity.sql"),
                    &[&person_id, &issuer.url()],
                )
                .await?;
        }
        Ok(())
    }
}

pub(super) async fn insert(
    transaction: &deadpool_postgres::Transaction<'_>,
    person_id: Uuid,
    identity: &Identity,
) -> Result<(), PeopleError> {
    let inserted = transaction
        .execute(
            include_str!("sql/insert_identity.sql"),
            &[
                &identity.issuer,
                &identity.subject,
                &person_id,
                &identity.email_shown(),
            ],
        )
        .await
        .map_err(StoreError::from);
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.constraint() == Some("identities_pkey") => {
            Err(PeopleError::IdentityTaken)
        }
        Err(error) => Err(error.into()),
    }
}
