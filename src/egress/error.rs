//! Why an address was not called, or did not give what was asked of it.

use std::error::Error;
use std::time::Duration;

/// Texts follow the name of what holds the address: "reference_images\[0\] …". That a name is unknown and
/// that it leads somewhere private is one and the same answer, so that nobody can ask which names exist inside.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Neither http nor https.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// The address carries credentials.
    #[error("must not carry a user name or a password")]
    User,
    /// A port that the web does not use.
    #[error("must name port 80, 443, or one from 1024 on")]
    Port,
    /// The host is unknown, or not on the public internet.
    #[error("names a host without an address on the public internet")]
    NoPublicAddress,
    /// No connection, or it broke.
    #[error("could not be reached, or its server broke off")]
    Unreachable(#[source] reqwest::Error),
    /// It took too long.
    #[error("did not answer as a whole within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The server says no.
    #[error("was answered by its server with status {0}, not 200")]
    Status(u16),
    /// The body is too long.
    #[error("leads to more than {0} bytes")]
    TooLarge(usize),
    /// More hops than allowed.
    #[error("redirects more than {0} times")]
    Redirects(usize),
    /// A redirect without a place to go to.
    #[error("redirects to a place that is no URL")]
    Location,
    /// Nothing can be called at all.
    #[error("requests to other servers cannot be made")]
    Setup(#[source] reqwest::Error),
}

/// A name has no address that may be called. What a resolver fails with.
#[derive(Debug, thiserror::Error)]
#[error("no address that may be called")]
pub(super) struct NoAddress;

impl EgressError {
    /// What a failure of the client means: ours, if [`NoAddress`] is at its root.
    pub(super) fn of_exchange(error: reqwest::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            if this.is::<NoAddress>() {
                return Self::NoPublicAddress;
            }
            cause = this.source();
        }
        Self::Unreachable(error.without_url())
    }
}
