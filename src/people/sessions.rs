//! Sessions: beginning, finding, refreshing and ending them.
//!
//! A refresh token is good once: using it makes another. Who shows an older one has it from somebody else, or
//! somebody else has the newer one; nobody can tell which, so the session ends for both (RFC 9700 §4.14.2). The
//! one exception is the token just before, for [`OVERLAP`]: two tabs that wake together both show it, and the
//! second gets an access token but no new refresh token, since the first one's answer has it.

use std::fmt;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::tokens::{self, Access, SessionTokens};
use super::{People, PeopleError, Role, SESSION_IDLE, SESSION_LIFE, SESSIONS_MAX};

/// For how long the token before counts as a second tab's.
const OVERLAP: Duration = Duration::from_secs(10);

/// One person, working for one account, in one browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// A UUIDv7.
    pub id: Uuid,
    /// Who.
    pub person_id: Uuid,
    /// For which account.
    pub account_id: Uuid,
    /// The name of the account.
    pub account: String,
    /// As what.
    pub role: Role,
    /// Whether the person may administer the server.
    pub operator: bool,
    /// When it ends unless it is used.
    pub expires_at: SystemTime,
}

/// A session that goes on.
pub struct Refreshed {
    /// The new access token.
    pub access: String,
    /// The new refresh token; none: another tab has it already.
    pub refresh: Option<String>,
}

impl fmt::Debug for Refreshed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Refreshed(…)")
    }
}

/// What came of a refresh token.
#[derive(Debug)]
pub enum Refresh {
    /// The session goes on.
    Refreshed(Refreshed),
    /// The session ends here: its time was over, or an old token was shown.
    Ended,
    /// There is no such session.
    Unknown,
}

impl People {
    /// Begins a session of a member of the account.
    pub async fn begin_session(
        &self,
        account_id: Uuid,
        person_id: Uuid,
        now: SystemTime,
    ) -> Result<SessionTokens, PeopleError> {
        let (session_id, bits) = (Uuid::now_v7(), tokens::random()?);
        let client = self.store.client().await?;
        let role = client
            .query_opt(
                include_str!("sql/role_for_session.sql"),
                &[&account_id, &person_id],
            )
            .await?
            .ok_or(PeopleError::MemberUnknown)?;
        let role: Role = role.get::<_, &str>("role").parse()?;
        client
            .execute(
                include_str!("sql/insert_session.sql"),
                &[
                    &session_id,
                    &account_id,
                    &person_id,
                    &tokens::hash(&bits).as_slice(),
                    &(now + SESSION_IDLE),
                ],
            )
            .await?;
        client
            .execute(
                include_str!("sql/forget_sessions.sql"),
                &[&person_id, &i64::from(SESSIONS_MAX)],
            )
            .await?;
        let access = Access {
            session_id,
            person_id,
            account_id,
            role,
        };
        Ok(SessionTokens {
            access: self.keys.sign(access, now)?,
            refresh: tokens::join(session_id, &bits),
        })
    }

    /// The session that an access token names, and until when the token is good. Whether the session is still there
    /// is another question.
    pub fn session_named(&self, access: &str, now: SystemTime) -> Option<(Uuid, SystemTime)> {
        let (access, until) = self.keys.read(access, now)?;
        Some((access.session_id, until))
    }

    /// The session with this id.
    pub async fn session(&self, id: Uuid) -> Result<Option<Session>, PeopleError> {
        let client = self.store.client().await?;
        let statement = client
            .prepare_cached(include_str!("sql/find_session.sql"))
            .await?;
        let row = client.query_opt(&statement, &[&id]).await?;
        let session = row.map(|row| {
            Ok(Session {
                id: row.get("id"),
                person_id: row.get("person_id"),
                account_id: row.get("account_id"),
                account: row.get("account"),
                role: row.get::<_, &str>("role").parse()?,
                operator: row.get("operator"),
                expires_at: row.get("expires_at"),
            })
        });
        session.transpose()
    }

    /// Goes on with a session, or ends it.
    pub async fn refresh(&self, refresh: &str, now: SystemTime) -> Result<Refresh, PeopleError> {
        let Some((session_id, shown)) = tokens::split(refresh) else {
            return Ok(Refresh::Unknown);
        };
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let row = transaction
            .query_opt(include_str!("sql/lock_session.sql"), &[&session_id])
            .await?;
        let Some(row) = row else {
            return Ok(Refresh::Unknown);
        };
        let access = Access {
            session_id,
            person_id: row.get("person_id"),
            account_id: row.get("account_id"),
            role: row.get::<_, &str>("role").parse()?,
        };
        let access = self.keys.sign(access, now)?;
        let (current, before): (&[u8], Option<&[u8]>) =
            (row.get("refresh_hash"), row.get("before_hash"));
        let refreshed_at: SystemTime = row.get("refreshed_at");
        let is_expired = row.get::<_, SystemTime>("expires_at") <= now;
        // Hashes of random bits: how long comparing takes tells nothing that helps to guess them.
        let refreshed = if is_expired {
            Refresh::Ended
        } else if current == shown {
            let bits = tokens::random()?;
            let created_at: SystemTime = row.get("created_at");
            let expires_at = (now + SESSION_IDLE).min(created_at + SESSION_LIFE);
            let hash = tokens::hash(&bits);
            transaction
                .execute(
                    include_str!("sql/rotate_session.sql"),
                    &[&session_id, &hash.as_slice(), &now, &expires_at],
                )
                .await?;
            let refresh = Some(tokens::join(session_id, &bits));
            Refresh::Refreshed(Refreshed { access, refresh })
        } else if before == Some(&shown) && now < refreshed_at + OVERLAP {
            let refresh = None;
            Refresh::Refreshed(Refreshed { access, refresh })
        } else {
            Refresh::Ended
        };
        if matches!(refreshed, Refresh::Ended) {
            transaction
                .execute(include_str!("sql/end_session.sql"), &[&session_id])
                .await?;
        }
        transaction.commit().await?;
        Ok(refreshed)
    }

    /// Ends a session. Doing it again changes nothing.
    pub async fn end_session(&self, id: Uuid) -> Result<(), PeopleError> {
        let client = self.store.client().await?;
        client
            .execute(include_str!("sql/end_session.sql"), &[&id])
            .await?;
        Ok(())
    }
}
