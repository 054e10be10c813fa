//! A failed call, as every face tells it.
//!
//! [`ApiError`] is the one shape; [`Reason`] says how each face answers. As a gRPC status it carries
//! `google.rpc.ErrorInfo`, and `RetryInfo` or `BadRequest` where they apply. The status keeps the
//! error itself as its source, so REST and MCP, which call the same handlers in process, tell it
//! without loss.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::reason::Reason;
use super::validate::Violation;

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "piooy";

/// A value in an error's details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A number.
    Number(i64),
    /// Words.
    Text(String),
    /// Several words.
    List(Vec<String>),
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::Number(number) => write!(f, "{number}"),
            Detail::Text(text) => f.write_str(text),
            Detail::List(list) => f.write_str(&list.join(", ")),
        }
    }
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Detail::Number(number) => to.serialize_i64(*number),
            Detail::Text(text) => to.serialize_str(text),
            Detail::List(list) => to.collect_seq(list),
        }
    }
}

/// Why a call failed: a reason for programs, a sentence for people, and details for both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The reason.
    pub reason: Reason,
    /// What happened and what is allowed, in a sentence that may be shown to anyone.
    pub message: String,
    /// Named values that the message speaks of.
    pub details: Vec<(&'static str, Detail)>,
    /// The fields that are wrong, when fields are.
    pub violations: Vec<Violation>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// A failure with that reason and message.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let (details, violations) = (Vec::new(), Vec::new());
        Self {
            reason,
            message: message.into(),
            details,
            violations,
            retry_after: None,
        }
    }

    /// The same with one more named value.
    #[must_use]
    pub fn with(mut self, name: &'static str, detail: Detail) -> Self {
        self.details.push((name, detail));
        self
    }

    /// The same, saying when to come back.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Fields that are missing or outside their limits.
    #[must_use]
    pub fn invalid(reason: Reason, violations: Vec<Violation>) -> Self {
        let sentences: Vec<String> = violations
            .iter()
            .map(|violation| format!("{}: {}", violation.field, violation.message))
            .collect();
        Self {
            violations,
            ..Self::new(reason, sentences.join("; "))
        }
    }

    /// Whole seconds until it makes sense to come back, at least one.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after
            .map(|after| (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.row().word, self.message)
    }
}

impl Error for ApiError {}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let row = error.reason.row();
        let metadata = error
            .details
            .iter()
            .map(|(name, detail)| ((*name).to_owned(), detail.to_string()));
        let mut details = ErrorDetails::with_error_info(
            row.word,
            DOMAIN,
            metadata.collect::<std::collections::HashMap<_, _>>(),
        );
        if let Some(after) = error.retry_after {
            details.set_retry_info(Some(after));
        }
        for violation in &error.violations {
            details.add_bad_request_violation(violation.field.as_str(), violation.message.as_str());
        }
        let mut status = Status::with_error_details(
            Code::from_i32(row.grpc_code),
            error.message.as_str(),
            details,
        );
        status.set_source(Arc::new(error));
        status
    }
}

impl From<Status> for ApiError {
    /// The error a handler meant, or the nearest reason for a status made elsewhere.
    fn from(status: Status) -> Self {
        if let Some(error) = status
            .source()
            .and_then(|source| source.downcast_ref::<ApiError>())
        {
            return error.clone();
        }
        let reason = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Reason::InvalidArgument,
            Code::NotFound | Code::Unimplemented => Reason::PathNotFound,
            Code::ResourceExhausted => Reason::Busy,
            Code::Unavailable => Reason::Unavailable,
            Code::Cancelled => Reason::Canceled,
            Code::DeadlineExceeded => Reason::DeadlineExceeded,
            Code::Ok
            | Code::Unknown
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Reason::Internal,
        };
        ApiError::new(reason, status.message())
    }
}

impl Serialize for ApiError {
    /// The failure envelope: `{"code", "message", "reason", "details"}`.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let row = self.reason.row();
        let mut envelope = to.serialize_map(Some(4))?;
        envelope.serialize_entry("code", &row.grpc_code)?;
        envelope.serialize_entry("message", &self.message)?;
        envelope.serialize_entry("reason", row.word)?;
        envelope.serialize_entry("details", &DetailsOf(self))?;
        envelope.end()
    }
}

struct DetailsOf<'a>(&'a ApiError);

impl Serialize for DetailsOf<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let error = self.0;
        let mut details = to.serialize_map(None)?;
        for (name, detail) in &error.details {
            details.serialize_entry(name, detail)?;
        }
        if !error.violations.is_empty() {
            details.serialize_entry("fieldViolations", &error.violations)?;
        }
        if let Some(seconds) = error.retry_after_seconds() {
            details.serialize_entry("retryAfterSeconds", &seconds)?;
        }
        details.end()
    }
}

impl Serialize for Violation {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut violation = to.serialize_map(Some(2))?;
        violation.serialize_entry("field", &self.field)?;
        violation.serialize_entry("description", &self.message)?;
        violation.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_the_details_and_gives_the_error_back() {
        let error = ApiError::new(
            Reason::InsufficientCredits,
            "It costs 16 credits and 3 are available.",
        )
        .with("needed", Detail::Number(16))
        .with("available", Detail::Number(3));
        let status = Status::from(error.clone());
        assert_eq!(status.code(), Code::FailedPrecondition);
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("INSUFFICIENT_CREDITS", "piooy")
        );
        assert_eq!(info.metadata["needed"], "16");
        assert_eq!(ApiError::from(status), error);
        let json = serde_json::to_value(&error).expect("serialises");
        assert_eq!(
            json,
            serde_json::json!({
                "code": 9, "message": "It costs 16 credits and 3 are available.",
                "reason": "INSUFFICIENT_CREDITS", "details": {"needed": 16, "available": 3},
            })
        );
    }

    #[test]
    fn waiting_is_told_in_whole_seconds() {
        let error =
            ApiError::new(Reason::RateLimited, "").retry_after(Duration::from_millis(1_200));
        assert_eq!(error.retry_after_seconds(), Some(2));
        assert!(Status::from(error).get_details_retry_info().is_some());
        let soon = ApiError::new(Reason::RateLimited, "").retry_after(Duration::ZERO);
        assert_eq!(soon.retry_after_seconds(), Some(1));
    }
}
