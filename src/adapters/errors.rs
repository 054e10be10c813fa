//! Which reason of the one table each room's errors have. The rooms know nothing of faces; their texts
//! are written for callers, and their sources, which are not, are logged here and go no further.

use std::error::Error;
use std::time::{Duration, SystemTime};

use crate::accounts::AccountsError;
use crate::assets::AssetError;
use crate::catalog::{self, LookupError, Unfit};
use crate::gate::Refusal;
use crate::generation::{OwnKeyError, QuoteError, SettleError, SubmitError, TaskError};
use crate::ledger::LedgerError;
use crate::operator::OperatorError;
use crate::people::{IssuerError, PeopleError};
use crate::providers::FailureReason;
use crate::spec::error::{ApiError, Detail};
use crate::spec::reason::Reason;
use crate::spec::validate::Violation;
use crate::store::StoreError;
use crate::webhooks::WebhookError;

/// When a server that has too much to do is worth asking again.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// When a server whose database is away is worth asking again.
const AWAY_PAUSE: Duration = Duration::from_secs(5);

/// When a plan's running tasks may have made room.
const TASKS_PAUSE: Duration = Duration::from_secs(5);

/// A failure that says what the error says, as a sentence.
fn said(reason: Reason, error: &impl Error) -> ApiError {
    let text = error.to_string();
    let mut letters = text.chars();
    let sentence = letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect::<String>())
        .unwrap_or_default();
    let stop = if sentence.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    ApiError::new(reason, format!("{sentence}{stop}"))
}

/// A failure of ours: logged with everything, told with nothing.
fn ours(error: &(dyn Error + 'static)) -> ApiError {
    tracing::error!(error = ?error, "a call failed through a fault of the server");
    ApiError::internal()
}

fn field(field: &str, error: &impl Error) -> ApiError {
    let violation = Violation {
        field: field.to_owned(),
        message: error.to_string(),
    };
    ApiError::invalid(Reason::InvalidArgument, vec![violation])
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match &refusal {
            Refusal::KeyMissing => said(Reason::KeyMissing, &refusal),
            Refusal::KeyMalformed { .. } => said(Reason::KeyMalformed, &refusal),
            Refusal::KeyUnknown => said(Reason::KeyUnknown, &refusal),
            Refusal::KeyRevoked => said(Reason::KeyRevoked, &refusal),
            Refusal::KeyExpired => said(Reason::KeyExpired, &refusal),
            Refusal::TokenInvalid { .. } => said(Reason::TokenInvalid, &refusal),
            Refusal::InsufficientScope { needed } => said(Reason::InsufficientScope, &refusal)
                .with("scope", Detail::Text(needed.to_string())),
            Refusal::LiveKeyNeeded
            | Refusal::UncappedKeyNeeded
            | Refusal::AccountsOwnKeyNeeded
            | Refusal::OwnerNeeded => said(Reason::InsufficientScope, &refusal),
            Refusal::SessionEnded => said(Reason::TokenInvalid, &refusal),
            Refusal::ForeignPage => said(Reason::OriginNotAllowed, &refusal),
            Refusal::RateLimited {
                allowance,
                retry_after,
            } => said(Reason::RateLimited, &refusal)
                .with("limitPerMinute", Detail::Number(allowance.limit.into()))
                .retry_after(*retry_after),
            Refusal::TooManyFailures { retry_after } | Refusal::TooManySignIns { retry_after } => {
                said(Reason::TooManyFailures, &refusal).retry_after(*retry_after)
            }
            Refusal::Unavailable(source) => {
                tracing::warn!(error = ?source, "a credential could not be checked");
                said(Reason::Unavailable, &refusal).retry_after(AWAY_PAUSE)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Busy => said(Reason::Busy, &error).retry_after(BUSY_PAUSE),
            StoreError::Unavailable(_) => {
                tracing::warn!(?error, "the database is away");
                said(Reason::Unavailable, &error).retry_after(AWAY_PAUSE)
            }
            _ => ours(&error),
        }
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => error.into(),
            LedgerError::GrantExpired => field("expiresAt", &error),
            error => field("credits", &error),
        }
    }
}

impl From<AccountsError> for ApiError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::AccountName | AccountsError::KeyName => field("name", &error),
            AccountsError::PlanName => field("plan.name", &error),
            AccountsError::PlanNumbers => field("plan", &error),
            AccountsError::KeyScopes | AccountsError::KeyTestAdmin => field("scopes", &error),
            AccountsError::KeyExpiry => field("expiresAt", &error),
            AccountsError::KeyCaps => field("spendingCaps", &error),
            AccountsError::KeysTooMany => field("name", &error),
            AccountsError::AccountExists { .. } => said(Reason::AccountExists, &error),
            AccountsError::AccountUnknown { .. } => said(Reason::AccountNotFound, &error),
            AccountsError::PlanUnknown { .. } => said(Reason::PlanNotFound, &error),
            AccountsError::KeyUnknown => said(Reason::ApiKeyNotFound, &error),
            AccountsError::Randomness(_) => ours(&error),
            AccountsError::Store(error) => error.into(),
        }
    }
}

impl From<OperatorError> for ApiError {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Accounts(error) => error.into(),
            OperatorError::Ledger(error) => error.into(),
            OperatorError::People(error) => error.into(),
            OperatorError::Settle(error) => error.into(),
            OperatorError::IdempotencyKeyLength => field("idempotencyKey", &error),
            OperatorError::IdempotencyKeyReused => said(Reason::IdempotencyKeyReused, &error),
            OperatorError::Store(error) => error.into(),
        }
    }
}

impl From<PeopleError> for ApiError {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Email | PeopleError::EmailTaken | PeopleError::MembersTooMany => {
                field("email", &error)
            }
            PeopleError::Password | PeopleError::PasswordWrong => field("password", &error),
            PeopleError::RoleUnknown => field("role", &error),
            PeopleError::LinkInvalid
            | PeopleError::SignInFirst { .. }
            | PeopleError::IdentityUnknown
            | PeopleError::IdentityTaken
            | PeopleError::Issuer(IssuerError::Refused { .. } | IssuerError::Interrupted) => {
                said(Reason::LinkInvalid, &error)
            }
            PeopleError::Issuer(IssuerError::Unreachable { .. } | IssuerError::Untrue { .. }) => {
                tracing::warn!(error = ?error, "the OpenID provider did not do its part");
                said(Reason::Unavailable, &error)
            }
            PeopleError::MemberUnknown | PeopleError::PersonUnknown => {
                said(Reason::MemberNotFound, &error)
            }
            PeopleError::MemberExists => said(Reason::MemberExists, &error),
            PeopleError::LastOwner => said(Reason::LastOwner, &error),
            PeopleError::Busy => said(Reason::Busy, &error).retry_after(BUSY_PAUSE),
            PeopleError::Hash(_) | PeopleError::Signature(_) | PeopleError::Randomness(_) => {
                ours(&error)
            }
            PeopleError::Secret(error) => error.into(),
            PeopleError::Store(error) => error.into(),
        }
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        match &error {
            LookupError::Unknown { near, .. } => {
                said(Reason::ModelNotFound, &error).with("near", Detail::List(near.clone()))
            }
            LookupError::Retired { replaced_by, .. } => {
                let told = said(Reason::ModelRetired, &error);
                match replaced_by {
                    Some(slug) => told.with("replacedBy", Detail::Text(slug.clone())),
                    None => told,
                }
            }
        }
    }
}

impl From<Unfit> for ApiError {
    fn from(error: Unfit) -> Self {
        let violation = |violation: catalog::Violation| Violation {
            field: violation.field.to_owned(),
            message: violation.message,
        };
        let violations = error.violations.into_iter().map(violation).collect();
        ApiError::invalid(Reason::UnsupportedParameter, violations)
            .with("model", Detail::Text(error.model))
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Model(error) => error.into(),
            SubmitError::Unfit(error) => error.into(),
            SubmitError::Store(error) => error.into(),
            SubmitError::Replay(error) => error.into(),
            SubmitError::Ledger(error) => error.into(),
            SubmitError::NoPrice(ref reason) => said(Reason::NoPrice, reason),
            SubmitError::WrongMedia { .. } => said(Reason::UnsupportedParameter, &error),
            SubmitError::WrongScene { .. } => field("scene", &error),
            SubmitError::Refused(ref failure) => said(failure_reason(failure.reason), &error),
            SubmitError::UnknownProvider { .. } | SubmitError::SandboxNotAllowed => {
                field("provider", &error)
            }
            SubmitError::ModelUnavailable { ref settings, .. } => {
                let settings = Detail::List(settings.clone());
                said(Reason::ModelUnavailable, &error).with("settings", settings)
            }
            SubmitError::Quote(QuoteError::Expired) => said(Reason::QuoteExpired, &error),
            SubmitError::Quote(_) => said(Reason::QuoteInvalid, &error),
            SubmitError::ReferenceImage { number, error } => match error {
                AssetError::Storage { .. } => error.into(),
                error => field(
                    &format!("reference_images[{}]", number.saturating_sub(1)),
                    &error,
                ),
            },
            SubmitError::ReferenceAddress { number, error } => field(
                &format!("reference_images[{}]", number.saturating_sub(1)),
                &error,
            ),
            SubmitError::IdempotencyKeyLength => field("idempotency_key", &error),
            SubmitError::IdempotencyKeyReused => said(Reason::IdempotencyKeyReused, &error),
            SubmitError::InsufficientCredits { needed, available } => {
                said(Reason::InsufficientCredits, &error)
                    .with("needed", Detail::Number(needed))
                    .with("available", Detail::Number(available))
            }
            SubmitError::SpendingCapReached {
                needed,
                cap,
                window,
                spent,
                resets_at,
            } => {
                let told = said(Reason::SpendingCapReached, &error)
                    .with("needed", Detail::Number(needed))
                    .with("cap", Detail::Number(cap))
                    .with("window", Detail::Text(window.to_owned()))
                    .with("spent", Detail::Number(spent));
                match resets_at.and_then(|end| end.duration_since(SystemTime::now()).ok()) {
                    Some(wait) => told.retry_after(wait),
                    None => told,
                }
            }
            SubmitError::TooManyTasks { limit, queued } => said(Reason::TooManyTasks, &error)
                .with("limit", Detail::Number(limit.into()))
                .with("queued", Detail::Number(queued.into()))
                .retry_after(TASKS_PAUSE),
            SubmitError::Busy => said(Reason::Busy, &error).retry_after(BUSY_PAUSE),
        }
    }
}

impl From<TaskError> for ApiError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::NotFound(_) => said(Reason::TaskNotFound, &error),
            TaskError::Store(error) => error.into(),
            TaskError::Damaged => ours(&error),
        }
    }
}

impl From<OwnKeyError> for ApiError {
    fn from(error: OwnKeyError) -> Self {
        match error {
            OwnKeyError::NotOffered => said(Reason::UpstreamKeysNotOffered, &error),
            OwnKeyError::Upstream { .. } => field("upstream", &error),
            OwnKeyError::Key => field("key", &error),
            OwnKeyError::Unknown => said(Reason::UpstreamKeyNotFound, &error),
            OwnKeyError::Accounts(error) => error.into(),
        }
    }
}

impl From<SettleError> for ApiError {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::NotLost { .. } => said(Reason::SubmissionNotFound, &error),
            SettleError::Settled(_) | SettleError::Ended | SettleError::Known => {
                said(Reason::SubmissionSettled, &error)
            }
            SettleError::Store(error) => error.into(),
        }
    }
}

impl From<WebhookError> for ApiError {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Url | WebhookError::Address(_) | WebhookError::TooMany => {
                field("url", &error)
            }
            WebhookError::Unknown => said(Reason::WebhookNotFound, &error),
            WebhookError::DeliveryUnknown => said(Reason::DeliveryNotFound, &error),
            WebhookError::Gone => said(Reason::WebhookGone, &error),
            WebhookError::Randomness(_) => ours(&error),
            WebhookError::Store(error) => error.into(),
        }
    }
}

impl From<AssetError> for ApiError {
    fn from(error: AssetError) -> Self {
        match &error {
            AssetError::NotFound => said(Reason::FileNotFound, &error),
            AssetError::LinkInvalid
            | AssetError::LinkExpired
            | AssetError::UploadLinkInvalid
            | AssetError::UploadLinkExpired
            | AssetError::UploadTaken => said(Reason::LinkInvalid, &error),
            AssetError::UploadUnknown | AssetError::UploadExpired => {
                said(Reason::FileNotFound, &error)
            }
            AssetError::TooLarge { .. } => said(Reason::BodyTooLarge, &error),
            AssetError::UnsupportedType { .. } | AssetError::Damaged(_) => {
                said(Reason::InvalidInput, &error)
            }
            AssetError::Storage(_) => {
                tracing::warn!(?error, "the file store is away");
                said(Reason::Unavailable, &error).retry_after(AWAY_PAUSE)
            }
            _ => ours(&error),
        }
    }
}

/// The reason of the table for a provider's class of failure.
fn failure_reason(reason: FailureReason) -> Reason {
    match reason {
        FailureReason::ContentPolicy => Reason::ContentPolicy,
        FailureReason::InvalidInput => Reason::InvalidInput,
        FailureReason::ProviderError => Reason::ProviderError,
        FailureReason::ProviderRateLimited => Reason::ProviderRateLimited,
        FailureReason::DeadlineExceeded => Reason::DeadlineExceeded,
        FailureReason::UpstreamKey => Reason::UpstreamKey,
        FailureReason::Internal => Reason::Internal,
    }
}
