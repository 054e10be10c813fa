//! Who works for an account, and as what.
//!
//! **Locks.** Whatever could take an account's last owner away locks the rows of all its owners first, in the order
//! of their ids, so of two that would each leave the other as the last, one sees what the other has done.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::{MEMBERS_MAX, People, PeopleError, Role};

/// Somebody who works for an account, or is invited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The person's id, or the invitation's.
    pub id: Uuid,
    /// None: not told yet.
    pub email: Option<String>,
    /// What the person may do.
    pub role: Role,
    /// Since when; none: invited.
    pub joined_at: Option<SystemTime>,
    /// Until when the invitation works; none: the person is a member.
    pub invited_until: Option<SystemTime>,
}

/// An account that a person works for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The account.
    pub account_id: Uuid,
    /// Its name.
    pub account: String,
    /// What the person is there.
    pub role: Role,
}

impl People {
    /// The account's members, longest first, and after them who is invited.
    pub async fn members(&self, account_id: Uuid) -> Result<Vec<Member>, PeopleError> {
        let client = self.store.client().await?;
        let limit = i64::from(MEMBERS_MAX);
        let rows = client
            .query(include_str!("sql/list_members.sql"), &[&account_id, &limit])
            .await?;
        let members = rows.iter().map(|row| {
            Ok(Member {
                id: row.get("id"),
                email: row.get("email"),
                role: row.get::<_, &str>("role").parse()?,
                joined_at: row.get("joined_at"),
                invited_until: row.get("invited_until"),
            })
        });
        members.collect()
    }

    /// One of those.
    pub async fn member(&self, account_id: Uuid, id: Uuid) -> Result<Member, PeopleError> {
        let mut members = self.members(account_id).await?.into_iter();
        let member = members.find(|member| member.id == id);
        member.ok_or(PeopleError::MemberUnknown)
    }

    /// The accounts that a person works for, longest first.
    pub async fn memberships(&self, person_id: Uuid) -> Result<Vec<Membership>, PeopleError> {
        let client = self.store.client().await?;
        let rows = client
            .query(include_str!("sql/memberships_of.sql"), &[&person_id])
            .await?;
        let memberships = rows.iter().map(|row| {
            Ok(Membership {
                account_id: row.get("account_id"),
                account: row.get("account"),
                role: row.get::<_, &str>("role").parse()?,
            })
        });
        memberships.collect()
    }

    /// Gives a member, or who is invited, another role.
    pub async fn set_role(
        &self,
        account_id: Uuid,
        id: Uuid,
        role: Role,
    ) -> Result<(), PeopleError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        if role != Role::Owner {
            leave_an_owner(&transaction, account_id, id).await?;
        }
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&account_id, &id, &role.name()];
        let changed = transaction
            .execute(include_str!("sql/set_role.sql"), &parameters)
            .await?
            + transaction
                .execute(include_str!("sql/set_invited_role.sql"), &parameters)
                .await?;
        if changed == 0 {
            return Err(PeopleError::MemberUnknown);
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Removes a member, whose sessions for this account end, or withdraws an invitation.
    pub async fn remove(&self, account_id: Uuid, id: Uuid) -> Result<(), PeopleError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        leave_an_owner(&transaction, account_id, id).await?;
        let removed = transaction
            .execute(include_str!("sql/remove_member.sql"), &[&account_id, &id])
            .await?
            + transaction
                .execute(
                    include_str!("sql/withdraw_invitation.sql"),
                    &[&account_id, &id],
                )
                .await?;
        if removed == 0 {
            return Err(PeopleError::MemberUnknown);
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Refuses when `leaving` is the account's only owner.
async fn leave_an_owner(
    transaction: &Transaction<'_>,
    account_id: Uuid,
    leaving: Uuid,
) -> Result<(), PeopleError> {
    let owners = transaction
        .query(include_str!("sql/lock_owners.sql"), &[&account_id])
        .await?;
    match owners.as_slice() {
        [only] if only.get::<_, Uuid>("person_id") == leaving => Err(PeopleError::LastOwner),
        _ => Ok(()),
    }
}
