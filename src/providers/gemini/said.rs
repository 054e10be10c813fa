//! What the two languages say when they refuse. Errors have one envelope with different things inside:
//! `generateContent` names a `status` like `RESOURCE_EXHAUSTED`, interactions name a `code` like
//! `rate_limit_exceeded`, and what stands before both wraps the envelope in a list.

use std::time::Duration;

use serde_json::Value;

use super::super::http::{Answer, RETRY_AFTER_MAX, shorten};
use super::super::{Cause, PollError, SubmitFailure};

/// An error, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Where it says more than the status of the answer does.
    pub cause: Option<Cause>,
    pub words: Option<String>,
    /// How long the upstream wants to be left alone (`google.rpc.RetryInfo`).
    pub retry_after: Option<Duration>,
}

impl Said {
    /// In an answer that refuses.
    pub fn in_answer(answer: &Answer) -> Self {
        let body = answer.json().unwrap_or_default();
        let error = body.get("error").or_else(|| body.get(0)?.get("error"));
        error.map(Self::of).unwrap_or_default()
    }

    /// An error without its envelope.
    pub fn of(error: &Value) -> Self {
        let text = |field: &str| error.get(field).and_then(Value::as_str);
        let details = error.get("details").and_then(Value::as_array);
        let details = details.map(Vec::as_slice).unwrap_or_default();
        let detail = |field: &'static str| {
            let found = details.iter().filter_map(move |detail| detail.get(field));
            found.filter_map(Value::as_str)
        };
        let words = text("message");
        let mut kinds = [text("code"), text("status")]
            .into_iter()
            .flatten()
            .chain(detail("reason"));
        Self {
            cause: kinds
                .find_map(cause_of)
                .or_else(|| words.and_then(cause_in)),
            words: words.map(shorten),
            retry_after: detail("retryDelay").find_map(seconds),
        }
    }
}

/// What a name of an error stands for, where the status does not tell.
fn cause_of(kind: &str) -> Option<Cause> {
    match kind.to_uppercase().as_str() {
        kind if is_about_content(kind) => Some(Cause::Policy),
        kind if kind.starts_with("API_KEY_") => Some(Cause::Key),
        "AUTHENTICATION" | "UNAUTHENTICATED" | "PERMISSION_DENIED" => Some(Cause::Key),
        "PAYMENT_REQUIRED" => Some(Cause::Credit),
        _ => None,
    }
}

/// What an error's words stand for that has no name of its own: without credit, calls are refused like
/// too many calls, and a project that may not call is refused like a wrong input.
fn cause_in(words: &str) -> Option<Cause> {
    let words = words.to_lowercase();
    let says = |all: &[&str]| all.iter().all(|word| words.contains(word));
    if says(&["api key"]) || says(&["location is not supported"]) {
        Some(Cause::Key)
    } else if says(&["credits", "depleted"]) || says(&["enable billing"]) {
        Some(Cause::Credit)
    } else if says(&["blocked", "safety"]) || says(&["blocked", "polic"]) {
        Some(Cause::Policy)
    } else {
        None
    }
}

/// Whether a reason to stop, to block or to refuse is about what would be seen. (`IMAGE_OTHER` and
/// `NO_IMAGE` are not: the same prompt often works the next time.)
pub(super) fn is_about_content(reason: &str) -> bool {
    matches!(
        reason,
        "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "ESCALATION"
            | "JAILBREAK"
    )
}

/// A duration as JSON has it in Google's APIs: `"1.5s"`.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?.parse().ok()?;
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    Some(wait.min(RETRY_AFTER_MAX))
}

/// What it means for a submission that it was refused.
pub(super) fn submit_failure(answer: &Answer) -> SubmitFailure {
    let said = Said::in_answer(answer);
    // Words about content are about Google's rules and links to them.
    let words = said.words.filter(|_| said.cause != Some(Cause::Policy));
    let failure = answer.submit_failure(said.cause, words.as_deref());
    let retry_after = said.retry_after.or(failure.retry_after);
    failure.after(retry_after)
}

/// What it means for a question that it was not answered.
pub(super) fn poll_error(answer: &Answer) -> PollError {
    let error = answer.poll_error();
    PollError {
        retry_after: Said::in_answer(answer).retry_after.or(error.retry_after),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_refuse_is_understood() {
        let cause = |error: Value| Said::of(&error).cause;
        let detail = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
        let known = [
            (
                json!({"status": "INVALID_ARGUMENT", "details": detail}),
                Some(Cause::Key),
            ),
            (
                json!({"code": 400, "message": "API key not valid."}),
                Some(Cause::Key),
            ),
            (json!({"code": "authentication"}), Some(Cause::Key)),
            (
                json!({"status": "FAILED_PRECONDITION", "message": "User location is not supported for the API use."}),
                Some(Cause::Key),
            ),
            (
                json!({"status": "RESOURCE_EXHAUSTED", "message": "Your prepayment credits are depleted."}),
                Some(Cause::Credit),
            ),
            (json!({"code": "payment_required"}), Some(Cause::Credit)),
            (json!({"code": "prohibited_content"}), Some(Cause::Policy)),
            (
                json!({"code": "invalid_request", "message": "The input was blocked for safety reasons."}),
                Some(Cause::Policy),
            ),
            (
                json!({"status": "RESOURCE_EXHAUSTED", "message": "Resource has been exhausted."}),
                None,
            ),
            (
                json!({"code": "invalid_request", "message": "safety_settings is unknown"}),
                None,
            ),
            (json!({}), None),
        ];
        for (error, expected) in known {
            assert_eq!(cause(error.clone()), expected, "{error}");
        }
    }

    #[test]
    fn waits_are_read_and_bounded() {
        let wait = |delay: &str| {
            let details =
                json!([{"@type": "type.googleapis.com/google.rpc.Help"}, {"retryDelay": delay}]);
            Said::of(&json!({"details": details})).retry_after
        };
        assert_eq!(wait("30s"), Some(Duration::from_secs(30)));
        assert_eq!(wait("0.25s"), Some(Duration::from_millis(250)));
        assert_eq!(wait("999999999999s"), Some(RETRY_AFTER_MAX));
        for wrong in ["", "s", "30", "-1s", "NaNs", "infs", "1e999s"] {
            assert_eq!(wait(wrong), None, "{wrong}");
        }
    }
}
