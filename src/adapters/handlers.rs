//! The handlers: one for each method of the spec, the tonic service traits on [`Api`].
//!
//! A handler turns a message into a use case's words, calls it, and turns the answer back. It decides
//! nothing: limits were checked by the generated validators, access by the gate, the rest is the
//! domain's. A file for each service.

use std::sync::Arc;
use std::time::SystemTime;

use prost_types::Timestamp;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::accounts::Accounts;
use crate::assets::Assets;
use crate::catalog::Current;
use crate::gate::{Caller, Gate};
use crate::generation::{Generation, LostSubmissions};
use crate::ledger::Ledger;
use crate::operator::{AuditLog, Desk};
use crate::people::People;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;
use crate::spec::validate::Violation;
use crate::webhooks::Webhooks;

mod account;
mod admin;
mod catalog;
mod csv;
mod generation;
mod people;
mod server_status;
mod waiting;
mod webhook;

pub use catalog::model_message;
pub use webhook::TaskMessages;

/// The metadata key and HTTP header of an idempotency key.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the handlers call.
#[derive(Clone)]
pub struct Api {
    /// Accounts, plans and keys.
    pub accounts: Accounts,
    /// What operators changed.
    pub audit_log: AuditLog,
    /// Signs the links of results.
    pub assets: Assets,
    /// The models.
    pub catalog: Current,
    /// Where operators change things.
    pub desk: Desk,
    /// Told when keys or plans change.
    pub gate: Arc<Gate>,
    /// Tasks.
    pub generation: Arc<Generation>,
    /// Credits.
    pub ledger: Ledger,
    /// For the operator.
    pub lost_submissions: Arc<LostSubmissions>,
    /// Who may sign in.
    pub people: People,
    /// The address of this server, which links begin with.
    pub public_url: String,
    /// Who is told of ends.
    pub webhooks: Webhooks,
    /// The server stops: whoever waits is answered now.
    pub stop: CancellationToken,
}

/// Who makes this call. The face put it there; a call without is a fault of ours, and refused.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(|| {
            ApiError::new(Reason::Internal, "This call was not let in by the gate.").into()
        })
}

/// A failure of one field.
fn invalid(field: &str, message: impl Into<String>) -> ApiError {
    let violation = Violation {
        field: field.to_owned(),
        message: message.into(),
    };
    ApiError::invalid(Reason::InvalidArgument, vec![violation])
}

/// The refusal of an idempotency key that cannot be among the metadata.
pub(super) fn unreadable_key() -> ApiError {
    invalid(
        "idempotency_key",
        "must be of visible ASCII characters, such as a UUID",
    )
}

/// The idempotency key among the metadata; it goes before one in the message. One that cannot be read
/// is refused: the caller counts on it.
fn header_key(metadata: &MetadataMap) -> Result<Option<String>, ApiError> {
    let Some(value) = metadata.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| unreadable_key())?;
    Ok(given(text.to_owned()))
}

/// `None` for a string that was not given.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.trim().is_empty())
}

/// A page size within the limits that the validators checked.
fn page_size(asked: Option<i32>, default: u32) -> u32 {
    asked
        .and_then(|size| u32::try_from(size).ok())
        .unwrap_or(default)
}

/// A time as messages carry it.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// A number as messages carry it. Pixels and seconds stay far below the bound.
fn int32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
