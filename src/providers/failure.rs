//! What goes wrong at upstreams: what callers are told of it, and what follows for the next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::http::shorten;

/// The class of a failure; a stable word for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureReason {
    /// The upstream refuses to make this.
    ContentPolicy,
    /// The upstream cannot take a value that the model's facts allow.
    InvalidInput,
    /// The upstream broke or answered nonsense.
    ProviderError,
    /// The upstream wants fewer calls.
    ProviderRateLimited,
    /// It took too long.
    DeadlineExceeded,
    /// The account's own key for the upstream is refused there, or gone.
    UpstreamKey,
    /// This server broke.
    Internal,
}

impl FailureReason {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentPolicy => "CONTENT_POLICY",
            Self::InvalidInput => "INVALID_INPUT",
            Self::ProviderError => "PROVIDER_ERROR",
            Self::ProviderRateLimited => "PROVIDER_RATE_LIMITED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::UpstreamKey => "UPSTREAM_KEY",
            Self::Internal => "INTERNAL",
        }
    }

    /// Whether the same request may succeed if sent again.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::ContentPolicy | Self::InvalidInput | Self::UpstreamKey => false,
            Self::ProviderError
            | Self::ProviderRateLimited
            | Self::DeadlineExceeded
            | Self::Internal => true,
        }
    }
}

/// Why something failed, in words that a caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub reason: FailureReason,
    /// A sentence for people; names no secret and no inside of the server.
    pub message: String,
}

impl Failure {
    /// A failure of this class.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// A failure of the class that callers are told for this cause.
    pub fn of(cause: Cause, message: impl Into<String>) -> Self {
        Self::new(cause.reason(), message)
    }
}

/// What upstreams write that refuse to make something and have no other sign for it, in lower case.
const REFUSALS: [&str; 10] = [
    "flagged",
    "nsfw content",
    "sensitive content",
    "content policy",
    "content policies",
    "content_policy",
    "content moderation",
    "safety filter",
    "safety system",
    "prohibited",
];

/// Whether an upstream's words are about what was asked for and not about how, where only the words
/// tell.
pub(super) fn is_about_content(words: &str) -> bool {
    let words = words.to_lowercase();
    REFUSALS.iter().any(|refusal| words.contains(refusal))
}

impl Failure {
    /// A job that failed at an upstream that says why in words alone. Unless they are about what was
    /// asked for, they are not for callers.
    pub(super) fn told(words: &str) -> Self {
        if is_about_content(words) {
            return Self::of(Cause::Policy, shorten(words));
        }
        tracing::warn!(words = shorten(words), "a job failed at an upstream");
        Self::of(Cause::Broken, "the upstream could not make it")
    }
}

/// What was found to be impossible before anything was sent.
impl From<Failure> for SubmitFailure {
    fn from(failure: Failure) -> Self {
        Self {
            definite: true,
            cause: Cause::Input,
            failure,
            retry_after: None,
        }
    }
}

/// Why an upstream did not do something, as far as it matters for what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It refuses to make this. No other upstream is asked: whoever sells the model decides.
    Policy,
    /// It cannot take a value.
    Input,
    /// It wants fewer calls.
    Busy,
    /// It refuses the key: the operator's business.
    Key,
    /// The operator's credit there is used up.
    Credit,
    /// It no longer has the model.
    Retired,
    /// It broke or answered nonsense.
    Broken,
    /// It could not be reached.
    Unreachable,
}

impl Cause {
    /// What callers are told. That an upstream refuses the operator's key or wants to be paid is
    /// not for them.
    #[must_use]
    pub fn reason(self) -> FailureReason {
        match self {
            Self::Policy => FailureReason::ContentPolicy,
            Self::Input => FailureReason::InvalidInput,
            Self::Busy => FailureReason::ProviderRateLimited,
            Self::Key | Self::Credit | Self::Retired | Self::Broken | Self::Unreachable => {
                FailureReason::ProviderError
            }
        }
    }

    /// The rest of a sentence that begins with the upstream's name, for the operator.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Policy => "refused what was asked",
            Self::Input => "could not take a value",
            Self::Busy => "wanted fewer calls",
            Self::Key => "refused the key",
            Self::Credit => "wanted to be paid",
            Self::Retired => "no longer had a model",
            Self::Broken => "broke, or answered nonsense",
            Self::Unreachable => "could not be reached",
        }
    }

    /// Whether the upstream, and not the request, is to blame: the next request would fail as well.
    #[must_use]
    pub fn is_upstream(self) -> bool {
        !matches!(self, Self::Policy | Self::Input)
    }
}

/// A submission that gave no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitFailure {
    /// True: the upstream has certainly not taken the job. False: it may have, for all we know.
    pub definite: bool,
    /// What kind of failure it was.
    pub cause: Cause,
    /// What the caller is told.
    pub failure: Failure,
    /// How long the upstream wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl SubmitFailure {
    /// The upstream has certainly not taken the job.
    pub fn refused(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            definite: true,
            cause,
            failure: Failure::new(cause.reason(), message),
            retry_after: None,
        }
    }

    /// Nobody can tell whether the upstream has taken the job.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self {
            definite: false,
            cause: Cause::Broken,
            failure: Failure::new(FailureReason::ProviderError, message),
            retry_after: None,
        }
    }

    /// The same where something else was sent ahead of the job, and the job not at all.
    pub(super) fn ahead(self) -> Self {
        Self {
            definite: true,
            ..self
        }
    }

    /// With the time for which the upstream wants to be left alone.
    #[must_use]
    pub fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_the_content_are_told_from_others() {
        for words in [
            "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
            "NSFW content detected. Try running it again, or try a different prompt.",
            "Rejected by content moderation",
            "PROHIBITED_CONTENT",
        ] {
            assert_eq!(Failure::told(words).reason, FailureReason::ContentPolicy);
            assert_eq!(Failure::told(words).message, words);
        }
        for words in [
            "CUDA out of memory",
            "safety_tolerance must be at most 6",
            "nsfw_checker must be true or false",
            "",
        ] {
            assert_eq!(Failure::told(words).reason, FailureReason::ProviderError);
            assert!(!Failure::told(words).message.contains("CUDA"));
        }
    }
}
