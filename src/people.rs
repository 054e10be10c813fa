//! People who sign in: who they are, which accounts they work for and as what, their sessions, and the links that
//! let them in.
//!
//! - A *person* has perhaps an e-mail address and a password; `password` hashes it. Without them there are links.
//! - A *membership* gives a person a [`Role`] in an account. An account that has an owner keeps one.
//! - A *session* is one person working for one account in one browser (`sessions`). It is shown by a signed token
//!   of ten minutes and kept alive by an opaque one that changes at each use; `tokens` makes and reads both.
//! - An *identity* is somebody whom an OpenID provider knows (`identities`); it signs in the person whom it was
//!   connected to. `issuer` asks the provider.
//! - A *link* works once (`links`): it signs in someone who is known, or invites someone who is not.
//!
//! Nothing here is believed for longer than it takes to read it: the gate keeps what it reads for less than a
//! second, so that whatever ends a session ends it on every replica within a second.
//!
//! **Bounds.** [`MEMBERS_MAX`] members and invitations of an account together, [`SESSIONS_MAX`] sessions of a person (the
//! oldest end), [`HASHES_MAX`] passwords hashed at once. What has expired is removed when its like is made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::accounts::{AccountsError, secrets};
use crate::store::{Store, StoreError};

mod identities;
mod issuer;
mod links;
mod members;
mod operators;
mod password;
mod persons;
mod sessions;
mod tokens;

pub use identities::Identity;
pub use issuer::{Departure, Errand, Issuer, IssuerError, IssuerSettings, Return};
pub use links::{Invitation, LinkToken, Proof};
pub use members::{Member, Membership};
pub use persons::Person;
pub use sessions::{Refresh, Refreshed, Session};
pub use tokens::{ACCESS_LIFE, SessionTokens};

use tokens::Keys;

/// Members and open invitations of one account, at most.
pub const MEMBERS_MAX: u32 = 200;
/// Sessions of one person, at most.
pub const SESSIONS_MAX: u32 = 20;
/// For how long a session lives that nobody uses.
pub const SESSION_IDLE: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// For how long a session lives however much it is used.
pub const SESSION_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// For how long a link to sign in works.
pub const SIGN_IN_LIFE: Duration = Duration::from_secs(60 * 60);
/// For how long an invitation works.
pub const INVITATION_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// For how long somebody may take to sign in at an OpenID provider.
pub const DEPARTURE_LIFE: Duration = Duration::from_secs(10 * 60);

/// Passwords hashed at once: each takes 19 MiB and a core.
const HASHES_MAX: usize = 4;

/// The name of the secret that signs sessions.
const SECRET: &str = "sessions";

/// What a person is in an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Does everything, and says who else may.
    Owner,
    /// Makes pictures and videos.
    Member,
    /// Looks on.
    Viewer,
}

impl Role {
    /// Every role, the one that may most first.
    pub const ALL: [Role; 3] = [Role::Owner, Role::Member, Role::Viewer];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Owner => "OWNER",
            Role::Member => "MEMBER",
            Role::Viewer => "VIEWER",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = PeopleError;

    fn from_str(name: &str) -> Result<Self, PeopleError> {
        let mut all = Role::ALL.into_iter();
        all.find(|role| role.name() == name)
            .ok_or(PeopleError::RoleUnknown)
    }
}

/// Why something about people could not be read or changed.
#[derive(Debug, Error)]
pub enum PeopleError {
    /// A text that is no e-mail address.
    #[error(
        "an e-mail address has an @ with something on both sides, no spaces, and at most 254 characters"
    )]
    Email,
    /// The address belongs to somebody else.
    #[error("this e-mail address can't be used here")]
    EmailTaken,
    /// A password that is too short or too long.
    #[error("a password has {} to {} characters", password::LENGTH.start(), password::LENGTH.end())]
    Password,
    /// The password that was to be shown is another.
    #[error("the password is not right")]
    PasswordWrong,
    /// No role has this name.
    #[error("there is no such role; the roles are OWNER, MEMBER and VIEWER")]
    RoleUnknown,
    /// The link was used, has expired, was withdrawn, or never was.
    #[error("this link does not work any more, or never did; links work once and for a while")]
    LinkInvalid,
    /// The invitation is for somebody who has been here before.
    #[error("sign in as {email} first, then open the link again")]
    SignInFirst {
        /// Whom the invitation is for.
        email: String,
    },
    /// Nobody is connected to this identity.
    #[error(
        "nobody here is connected to this sign-in; open your invitation first, or sign in otherwise and connect it on \
         the page of your account"
    )]
    IdentityUnknown,
    /// Somebody else is connected to this identity.
    #[error(
        "this sign-in is connected to somebody else here; sign in with it to go on as that person"
    )]
    IdentityTaken,
    /// What the OpenID provider has to do with it.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The account has no member or invitation with this id.
    #[error("the account has no member and no invitation with this id")]
    MemberUnknown,
    /// Nobody has this address.
    #[error("nobody signs in with this e-mail address")]
    PersonUnknown,
    /// The person is a member or invited.
    #[error("there is a member or an invitation with this e-mail address already")]
    MemberExists,
    /// The account would be without an owner.
    #[error("an account needs an owner; make somebody else one first")]
    LastOwner,
    /// The account has all the members it may have.
    #[error("an account has at most {MEMBERS_MAX} members and invitations; remove one first")]
    MembersTooMany,
    /// There are too many passwords to look at.
    #[error("too many people sign in at the moment; try again shortly")]
    Busy,
    /// The password hash could not be made or read.
    #[error("the password could not be hashed")]
    Hash(argon2::password_hash::Error),
    /// A token could not be signed.
    #[error("the session could not be signed")]
    Signature(#[from] jsonwebtoken::errors::Error),
    /// The operating system failed to give random numbers.
    #[error("no random numbers could be had: {0}")]
    Randomness(getrandom::Error),
    /// The secret that signs sessions.
    #[error(transparent)]
    Secret(#[from] AccountsError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<tokio_postgres::Error> for PeopleError {
    fn from(error: tokio_postgres::Error) -> Self {
        PeopleError::Store(error.into())
    }
}

/// The people of this server. Cheap to clone.
#[derive(Clone)]
pub struct People {
    store: Store,
    keys: Arc<Keys>,
    hashing: Arc<Semaphore>,
    issuer: Option<Arc<Issuer>>,
}

impl People {
    /// The people kept in `store`. Reads the secret that signs sessions, or makes it.
    pub async fn open(store: Store) -> Result<People, PeopleError> {
        let secret = secrets::get_or_create(&store, SECRET, 32).await?;
        Ok(People {
            store,
            keys: Arc::new(Keys::new(&secret)),
            hashing: Arc::new(Semaphore::new(HASHES_MAX)),
            issuer: None,
        })
    }

    /// Lets people sign in with this OpenID provider as well.
    pub fn with_issuer(mut self, issuer: Issuer) -> People {
        self.issuer = Some(Arc::new(issuer));
        self
    }

    /// What the OpenID provider is called that people may sign in with.
    pub fn issuer_name(&self) -> Option<&str> {
        self.issuer.as_ref().map(|issuer| issuer.name())
    }

    /// A proof that a form was written for this session, to be sent back with it.
    pub fn form_token(&self, session_id: Uuid) -> String {
        self.keys.form_token(session_id)
    }

    /// Whether `token` is the session's.
    pub fn is_form_token(&self, session_id: Uuid, token: &str) -> bool {
        self.keys.is_form_token(session_id, token)
    }
}

/// The address as it is kept, without space around it.
pub fn check_email(text: &str) -> Result<&str, PeopleError> {
    let text = text.trim();
    let is_plain = |part: &str| {
        !part.is_empty()
            && !part.contains(|letter: char| {
                letter.is_whitespace() || letter.is_control() || letter == '@'
            })
    };
    let (name, host) = text.split_once('@').ok_or(PeopleError::Email)?;
    if is_plain(name) && is_plain(host) && text.chars().count() <= 254 {
        Ok(text)
    } else {
        Err(PeopleError::Email)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_sides() {
        assert_eq!(
            check_email(" Ann@example.org ").ok(),
            Some("Ann@example.org")
        );
        let long = format!("{}@example.org", "a".repeat(250));
        for bad in ["", "ann", "@b", "a@", "a b@c", "a@b@c", "a@b\0", &long] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_role_is_read_back_from_its_name() {
        for role in Role::ALL {
            assert_eq!(role.name().parse::<Role>().ok(), Some(role));
        }
        assert!("owner".parse::<Role>().is_err());
    }
}
