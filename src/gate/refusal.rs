//! Every way the gate says no. Free of any transport; the texts are meant for callers and tell what to do.

use std::error::Error as StdError;
use std::time::Duration;

use thiserror::Error;

use super::budgets::{Allowance, whole_seconds};
use crate::accounts::{KeyFault, Scope};

/// Why a call does not get through.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Nothing was shown.
    #[error("no API key was given; send \"Authorization: Bearer <key>\" or \"x-api-key: <key>\"")]
    KeyMissing,
    /// What was shown can't be a key.
    #[error("{why}")]
    KeyMalformed {
        /// What is wrong with it.
        why: CredentialFault,
    },
    /// It looks like a key but is none of this server's.
    #[error("this server does not know this API key; check that it is a key of this server")]
    KeyUnknown,
    /// The key was revoked.
    #[error("this API key was revoked; use another one")]
    KeyRevoked,
    /// The key's time is over.
    #[error("this API key has expired; use another one")]
    KeyExpired,
    /// The token does not hold.
    #[error("the token was refused: {why}")]
    TokenInvalid {
        /// What is wrong with it.
        why: TokenFault,
    },
    /// The key or token may not do this.
    #[error("this needs the scope {needed}, which the key or token does not have")]
    InsufficientScope {
        /// The scope it would take.
        needed: Scope,
    },
    /// A test key was to make or revoke a live one.
    #[error("a test key can only make and revoke test keys")]
    LiveKeyNeeded,
    /// A capped key was to make one that spends beside it.
    #[error(
        "a key with spending caps can only make test keys, since a live key would spend beside its caps; \
         use a key without spending caps"
    )]
    UncappedKeyNeeded,
    /// A key that may not act for the whole account was to change its keys for upstreams.
    #[error(
        "the account's keys for upstreams are set and deleted with a live key without spending caps"
    )]
    AccountsOwnKeyNeeded,
    /// Somebody who is no owner was to say who may sign in.
    #[error(
        "this needs an owner of the account, or a live key without spending caps that has the scopes \
         generate, read and keys"
    )]
    OwnerNeeded,
    /// The session is over.
    #[error("the session has ended; sign in again")]
    SessionEnded,
    /// A session was shown by something that is no page of this server.
    #[error("a session is only taken from pages of this server; other programs show an API key")]
    ForeignPage,
    /// Too many tries to sign in.
    #[error("too many attempts to sign in; come back in {} s", whole_seconds(*retry_after))]
    TooManySignIns {
        /// When another try will be looked at.
        retry_after: Duration,
    },
    /// The account's budget is spent.
    #[error("the account's {} calls per minute are spent; come back in {} s", allowance.limit, whole_seconds(*retry_after))]
    RateLimited {
        /// The state of the budget.
        allowance: Allowance,
        /// When the next call will pass.
        retry_after: Duration,
    },
    /// Too many wrong keys came from this address.
    #[error("too many wrong keys came from this address; come back in {} s", whole_seconds(*retry_after))]
    TooManyFailures {
        /// When another try will be looked at.
        retry_after: Duration,
    },
    /// The gate can't tell at the moment.
    #[error("keys can't be checked at the moment; try again shortly")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
}

/// Why what was shown can't be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CredentialFault {
    /// The text of the key.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The header `Authorization` is not of the one kind that is taken.
    #[error("the header Authorization must be \"Bearer <key>\"")]
    Scheme,
    /// Two headers show different keys.
    #[error("Authorization and x-api-key show different keys; send one of them")]
    Ambiguous,
}

/// What is wrong with a token (a JWT, RFC 7519).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenFault {
    /// The server was not told whose tokens to trust.
    #[error("this server takes API keys only")]
    NotAccepted,
    /// It can't be read.
    #[error("it is not a readable JWT")]
    Unreadable,
    /// It is signed in a way that is never taken, or not with what its key is for.
    #[error("it must be signed with RS, PS, ES256, ES384 or EdDSA, as its key says")]
    Algorithm,
    /// No trusted key has this id.
    #[error("it is signed with a key this server does not trust")]
    KeyUnknown,
    /// It names no key and several would do.
    #[error("it must name its key (kid), since several would do")]
    KeyAmbiguous,
    /// The signature is wrong.
    #[error("its signature does not match")]
    Signature,
    /// It was issued by someone else.
    #[error("its issuer (iss) is not the one this server trusts")]
    Issuer,
    /// It was issued for someone else.
    #[error("its audience (aud) is not this server")]
    Audience,
    /// It does not say when it ends.
    #[error("it must say when it expires (exp)")]
    ExpiryMissing,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet (nbf)")]
    NotYetValid,
    /// It does not say for which account it speaks.
    #[error("it must name an account (claim \"account\")")]
    AccountMissing,
    /// It speaks for an account that does not exist.
    #[error("this server does not know its account")]
    AccountUnknown,
}

impl From<KeyFault> for Refusal {
    fn from(fault: KeyFault) -> Self {
        CredentialFault::Key(fault).into()
    }
}

impl From<CredentialFault> for Refusal {
    fn from(why: CredentialFault) -> Self {
        Refusal::KeyMalformed { why }
    }
}

impl From<TokenFault> for Refusal {
    fn from(why: TokenFault) -> Self {
        Refusal::TokenInvalid { why }
    }
}

impl Refusal {
    /// True when it may have been a guess. Revoked and expired credentials are no guesses: they were good once,
    /// and their owner is better served by being told so each time.
    pub(super) fn may_be_a_guess(&self) -> bool {
        match self {
            Refusal::KeyMalformed { .. } | Refusal::KeyUnknown => true,
            Refusal::TokenInvalid { why } => {
                !matches!(why, TokenFault::Expired | TokenFault::NotYetValid)
            }
            Refusal::KeyMissing
            | Refusal::KeyRevoked
            | Refusal::KeyExpired
            | Refusal::InsufficientScope { .. }
            | Refusal::LiveKeyNeeded
            | Refusal::UncappedKeyNeeded
            | Refusal::AccountsOwnKeyNeeded
            | Refusal::OwnerNeeded
            | Refusal::SessionEnded
            | Refusal::ForeignPage
            | Refusal::TooManySignIns { .. }
            | Refusal::RateLimited { .. }
            | Refusal::TooManyFailures { .. }
            | Refusal::Unavailable(_) => false,
        }
    }
}
