//! Links that work once: to sign in, and to be invited.
//!
//! Looking at a link changes nothing, since programs that preview links do so too; only using it takes it.

use std::fmt;
use std::time::SystemTime;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::{
    INVITATION_LIFE, Identity, MEMBERS_MAX, Member, People, PeopleError, Role, SIGN_IN_LIFE,
    check_email, identities, tokens,
};
use crate::store::StoreError;

/// The secret part of a link. `Debug` does not tell it.
pub struct LinkToken(String);

impl LinkToken {
    /// The token, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LinkToken(…)")
    }
}

/// How somebody new will sign in.
#[derive(Clone, Debug)]
pub enum Proof {
    /// With this password.
    Password(String),
    /// As whom an OpenID provider knows them.
    Identity(Identity),
}

/// What a link invites to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The account.
    pub account_id: Uuid,
    /// Its name.
    pub account: String,
    /// Whom it is for.
    pub email: String,
    /// As what.
    pub role: Role,
    /// The person with that address, if there is one. Only that person can accept, signed in.
    pub person_id: Option<Uuid>,
}

impl People {
    /// The first link of a server that knows nobody: it signs in the first owner of `account_id`, who is this
    /// server's operator. None: it knows somebody.
    pub async fn first_link(
        &self,
        account_id: Uuid,
        now: SystemTime,
    ) -> Result<Option<LinkToken>, PeopleError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(include_str!("sql/lock_people.sql"))
            .await?;
        let any = transaction
            .query_one(include_str!("sql/any_person.sql"), &[])
            .await?;
        if any.get(0) {
            return Ok(None);
        }
        let owner = new_owner(&transaction, account_id, true).await?;
        let link = insert_sign_in_link(&transaction, account_id, owner, now).await?;
        transaction.commit().await?;
        Ok(Some(link))
    }

    /// A link that signs in the account's first owner. An account without one gets one; `operator` says whether that
    /// person may administer the server. Within a transaction of the caller's.
    pub async fn owner_link(
        transaction: &Transaction<'_>,
        account_id: Uuid,
        operator: bool,
        now: SystemTime,
    ) -> Result<LinkToken, PeopleError> {
        // Of two that find no owner, only one is to make one.
        transaction
            .batch_execute(include_str!("sql/lock_people.sql"))
            .await?;
        transaction
            .execute(include_str!("sql/forget_links.sql"), &[&account_id])
            .await?;
        let owner = transaction
            .query_opt(include_str!("sql/oldest_owner.sql"), &[&account_id])
            .await?;
        let owner = match owner {
            Some(row) => row.get("person_id"),
            None => new_owner(transaction, account_id, operator).await?,
        };
        insert_sign_in_link(transaction, account_id, owner, now).await
    }

    /// Takes a link to sign in: the account and the person.
    pub async fn take_sign_in_link(&self, token: &str) -> Result<(Uuid, Uuid), PeopleError> {
        let hash = tokens::hash(token);
        let client = self.store.client().await?;
        let row = client
            .query_opt(
                include_str!("sql/take_sign_in_link.sql"),
                &[&hash.as_slice()],
            )
            .await?
            .ok_or(PeopleError::LinkInvalid)?;
        Ok((row.get("account_id"), row.get("person_id")))
    }

    /// Invites somebody to an account.
    pub async fn invite(
        &self,
        account_id: Uuid,
        email: &str,
        role: Role,
        now: SystemTime,
    ) -> Result<(LinkToken, Member), PeopleError> {
        let email = check_email(email)?;
        let token = tokens::random()?;
        let (id, expires_at) = (Uuid::now_v7(), now + INVITATION_LIFE);
        let client = self.store.client().await?;
        client
            .execute(include_str!("sql/forget_links.sql"), &[&account_id])
            .await?;
        let is_member = client
            .query_one(
                include_str!("sql/is_member_email.sql"),
                &[&account_id, &email],
            )
            .await?;
        if is_member.get(0) {
            return Err(PeopleError::MemberExists);
        }
        let inserted = client
            .execute(
                include_str!("sql/insert_invitation.sql"),
                &[
                    &id,
                    &tokens::hash(&token).as_slice(),
                    &account_id,
                    &email,
                    &role.name(),
                    &expires_at,
                    &i64::from(MEMBERS_MAX),
                ],
            )
            .await
            .map_err(StoreError::from);
        match inserted {
            Ok(0) => Err(PeopleError::MembersTooMany),
            Ok(_) => {
                let member = Member {
                    id,
                    email: Some(email.to_owned()),
                    role,
                    joined_at: None,
                    invited_until: Some(expires_at),
                };
                Ok((LinkToken(token), member))
            }
            Err(error) if error.constraint() == Some("login_links_invite_once") => {
                Err(PeopleError::MemberExists)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What a link invites to.
    pub async fn invitation(&self, token: &str) -> Result<Invitation, PeopleError> {
        let hash = tokens::hash(token);
        let client = self.store.client().await?;
        let row = client
            .query_opt(include_str!("sql/find_invitation.sql"), &[&hash.as_slice()])
            .await?
            .ok_or(PeopleError::LinkInvalid)?;
        Ok(Invitation {
            account_id: row.get("account_id"),
            account: row.get("account"),
            email: row.get("email"),
            role: row.get::<_, &str>("role").parse()?,
            person_id: row.get("person_id"),
        })
    }

    /// Accepts an invitation as somebody new: the account and the person.
    pub async fn accept_as_new(
        &self,
        token: &str,
        proof: Proof,
    ) -> Result<(Uuid, Uuid), PeopleError> {
        let invitation = self.invitation(token).await?;
        if invitation.person_id.is_some() {
            return Err(PeopleError::SignInFirst {
                email: invitation.email,
            });
        }
        let (hash, identity) = match proof {
            Proof::Password(password) => (Some(self.hash(password).await?), None),
            Proof::Identity(identity) => (None, Some(identity)),
        };
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let row = take_invitation(&transaction, token).await?;
        let (person_id, email) = (Uuid::now_v7(), row.get::<_, String>("email"));
        let made = transaction
            .execute(
                include_str!("sql/insert_person.sql"),
                &[&person_id, &email, &hash, &false],
            )
            .await
            .map_err(StoreError::from);
        match made {
            Ok(_) => {}
            Err(error) if error.constraint() == Some("people_email_once") => {
                return Err(PeopleError::SignInFirst { email });
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(identity) = identity {
            identities::insert(&transaction, person_id, &identity).await?;
        }
        let account_id = row.get("account_id");
        insert_membership(&transaction, account_id, person_id, row.get("role")).await?;
        transaction.commit().await?;
        Ok((account_id, person_id))
    }

    /// Accepts an invitation as the person whom it is for: the account.
    pub async fn accept_as(&self, token: &str, person_id: Uuid) -> Result<Uuid, PeopleError> {
        let invitation = self.invitation(token).await?;
        if invitation.person_id != Some(person_id) {
            return Err(PeopleError::SignInFirst {
                email: invitation.email,
            });
        }
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let row = take_invitation(&transaction, token).await?;
        let account_id = row.get("account_id");
        insert_membership(&transaction, account_id, person_id, row.get("role")).await?;
        transaction.commit().await?;
        Ok(account_id)
    }
}

async fn take_invitation(
    transaction: &Transaction<'_>,
    token: &str,
) -> Result<tokio_postgres::Row, PeopleError> {
    let hash = tokens::hash(token);
    let row = transaction
        .query_opt(include_str!("sql/take_invitation.sql"), &[&hash.as_slice()])
        .await?;
    row.ok_or(PeopleError::LinkInvalid)
}

async fn insert_membership(
    transaction: &Transaction<'_>,
    account_id: Uuid,
    person_id: Uuid,
    role: &str,
) -> Result<(), PeopleError> {
    let inserted = transaction
        .execute(
            include_str!("sql/insert_membership.sql"),
            &[&account_id, &person_id, &role],
        )
        .await
        .map_err(StoreError::from);
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.constraint() == Some("memberships_pkey") => {
            Err(PeopleError::MemberExists)
        }
        Err(error) => Err(error.into()),
    }
}

/// An owner of whom nothing is known yet.
async fn new_owner(
    transaction: &Transaction<'_>,
    account_id: Uuid,
    operator: bool,
) -> Result<Uuid, PeopleError> {
    let (id, nothing) = (Uuid::now_v7(), None::<String>);
    transaction
        .execute(
            include_str!("sql/insert_person.sql"),
            &[&id, &nothing, &nothing, &operator],
        )
        .await?;
    insert_membership(transaction, account_id, id, Role::Owner.name()).await?;
    Ok(id)
}

async fn insert_sign_in_link(
    transaction: &Transaction<'_>,
    account_id: Uuid,
    person_id: Uuid,
    now: SystemTime,
) -> Result<LinkToken, PeopleError> {
    let token = tokens::random()?;
    transaction
        .execute(
            include_str!("sql/insert_sign_in_link.sql"),
            &[
                &Uuid::now_v7(),
                &tokens::hash(&token).as_slice(),
                &account_id,
                &person_id,
                &(now + SIGN_IN_LIFE),
            ],
        )
        .await?;
    Ok(LinkToken(token))
}
