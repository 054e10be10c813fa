//! The one table of everything that can go wrong in a call.
//!
//! Each row says, for one reason, which gRPC code and which HTTP status it answers with, whether the
//! same call may succeed if repeated, and whose move it is. All faces, the OpenAPI document and the
//! reference read this table, so they cannot disagree. The file is plain `std`: the build script
//! borrows it to document the answers of each operation.

/// Who can mend what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller: the call, the key or the credits.
    Caller,
    /// The operator of this server: its settings or its capacity.
    Operator,
    /// The upstream that runs the model.
    Upstream,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The stable word for programs.
    pub word: &'static str,
    /// The number of the `google.rpc.Code` (0 is success and never here).
    pub grpc_code: i32,
    /// The HTTP status.
    pub http_status: u16,
    /// Whether the same call may succeed if repeated, without anything being changed.
    pub retryable: bool,
    /// Who can mend it.
    pub fault: Fault,
    /// What it means, for the documentation.
    pub meaning: &'static str,
}

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $name:ident $word:literal $code:literal $status:literal $retry:ident $fault:ident;)+) => {
        /// Why a call, or a task, failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The reason's row.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $(Reason::$name => Row {
                        word: $word,
                        grpc_code: $code,
                        http_status: $status,
                        retryable: reasons!(@retry $retry),
                        fault: Fault::$fault,
                        meaning: concat!($($meaning),+),
                    },)+
                }
            }
        }
    };
    (@retry again) => { true };
    (@retry never) => { false };
}

reasons! {
    /// The body is not JSON, or a value has the wrong type; the message names the place.
    MalformedRequest "MALFORMED_REQUEST" 3 400 never Caller;
    /// The request has a field that does not exist; the message lists those that do.
    UnknownField "UNKNOWN_FIELD" 3 400 never Caller;
    /// A field is missing or outside its limits; details.fieldViolations says which.
    InvalidArgument "INVALID_ARGUMENT" 3 422 never Caller;
    /// The model cannot take a value that was asked for; details.fieldViolations lists what it can.
    UnsupportedParameter "UNSUPPORTED_PARAMETER" 3 422 never Caller;
    /// The body is larger than the server takes.
    BodyTooLarge "BODY_TOO_LARGE" 3 413 never Caller;
    /// The body is not declared as JSON.
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" 3 415 never Caller;
    /// No key was given.
    KeyMissing "KEY_MISSING" 16 401 never Caller;
    /// What was given is not a Piooy key; often a typo.
    KeyMalformed "KEY_MALFORMED" 16 401 never Caller;
    /// The key is not known here.
    KeyUnknown "KEY_UNKNOWN" 16 401 never Caller;
    /// The key was revoked.
    KeyRevoked "KEY_REVOKED" 16 401 never Caller;
    /// The key has expired.
    KeyExpired "KEY_EXPIRED" 16 401 never Caller;
    /// The token is not valid here.
    TokenInvalid "TOKEN_INVALID" 16 401 never Caller;
    /// The key or token does not carry the scope that the call needs.
    InsufficientScope "INSUFFICIENT_SCOPE" 7 403 never Caller;
    /// The request came from a host or a web page this server does not serve.
    OriginNotAllowed "ORIGIN_NOT_ALLOWED" 7 403 never Operator;
    /// The account has fewer credits than the call costs; details says needed and available.
    InsufficientCredits "INSUFFICIENT_CREDITS" 9 402 never Caller;
    /// The API key has spent what it may; details says how much of which cap is left, and Retry-After when an hour or a day begins anew.
    SpendingCapReached "SPENDING_CAP_REACHED" 9 402 never Caller;
    /// No such model; the message names near matches.
    ModelNotFound "MODEL_NOT_FOUND" 5 404 never Caller;
    /// The model is gone; the message names its successor.
    ModelRetired "MODEL_RETIRED" 9 410 never Caller;
    /// No upstream that can run the model is configured for this key, or none of them works.
    ModelUnavailable "MODEL_UNAVAILABLE" 14 503 never Operator;
    /// What was asked for has no price, so it does not run.
    NoPrice "NO_PRICE" 9 422 never Operator;
    /// The quote is not of this server, or for another account, mode of key or request.
    QuoteInvalid "QUOTE_INVALID" 3 422 never Caller;
    /// The quote has expired; ask for a new one.
    QuoteExpired "QUOTE_EXPIRED" 9 422 never Caller;
    /// The account has no such task.
    TaskNotFound "TASK_NOT_FOUND" 5 404 never Caller;
    /// Nobody waits for a word on such a submission: there is none, or its upstream has told.
    SubmissionNotFound "SUBMISSION_NOT_FOUND" 5 404 never Caller;
    /// The submission is settled otherwise, its task has ended, or it is known by now; the message says which.
    SubmissionSettled "SUBMISSION_SETTLED" 9 422 never Caller;
    /// The account has no such API key.
    ApiKeyNotFound "API_KEY_NOT_FOUND" 5 404 never Caller;
    /// The account has no key of its own for that upstream.
    UpstreamKeyNotFound "UPSTREAM_KEY_NOT_FOUND" 5 404 never Caller;
    /// The server takes no keys for upstreams; its operator has not set what they would be sealed with.
    UpstreamKeysNotOffered "UPSTREAM_KEYS_NOT_OFFERED" 9 422 never Operator;
    /// The account has no such member, and no such invitation.
    MemberNotFound "MEMBER_NOT_FOUND" 5 404 never Caller;
    /// There is a member or an invitation with that e-mail address already.
    MemberExists "MEMBER_EXISTS" 6 409 never Caller;
    /// The account would be without an owner.
    LastOwner "LAST_OWNER" 9 422 never Caller;
    /// The account has no such webhook.
    WebhookNotFound "WEBHOOK_NOT_FOUND" 5 404 never Caller;
    /// The account has no such delivery.
    DeliveryNotFound "DELIVERY_NOT_FOUND" 5 404 never Caller;
    /// The webhook was deleted, or is disabled because its address answered 410.
    WebhookGone "WEBHOOK_GONE" 9 410 never Caller;
    /// There is no such account.
    AccountNotFound "ACCOUNT_NOT_FOUND" 5 404 never Caller;
    /// There is an account of that name already.
    AccountExists "ACCOUNT_EXISTS" 6 409 never Caller;
    /// There is no such plan; the message lists the plans.
    PlanNotFound "PLAN_NOT_FOUND" 5 404 never Caller;
    /// The link to the file, or of the upload, is not valid, or has expired; reading the task, or creating an upload, gives a fresh one.
    LinkInvalid "LINK_INVALID" 7 403 never Caller;
    /// There is no such file.
    FileNotFound "FILE_NOT_FOUND" 5 404 never Caller;
    /// There is nothing at that path.
    PathNotFound "PATH_NOT_FOUND" 5 404 never Caller;
    /// The path exists, but not with that HTTP method.
    MethodNotAllowed "METHOD_NOT_ALLOWED" 12 405 never Caller;
    /// The idempotency key was used for another request.
    IdempotencyKeyReused "IDEMPOTENCY_KEY_REUSED" 6 409 never Caller;
    /// Calls come faster than the plan allows; Retry-After says when to come back.
    RateLimited "RATE_LIMITED" 8 429 again Caller;
    /// The plan's number of tasks at once are running already.
    TooManyTasks "TOO_MANY_TASKS" 8 429 again Caller;
    /// The account has as many streams of events open as one may; closing one makes room.
    TooManyStreams "TOO_MANY_STREAMS" 8 429 again Caller;
    /// Too many calls with wrong keys came from this address.
    TooManyFailures "TOO_MANY_FAILURES" 8 429 again Caller;
    /// The caller gave up before the answer was ready.
    Canceled "CANCELED" 1 499 again Caller;
    /// The server has more work than it can queue.
    Busy "BUSY" 14 503 again Operator;
    /// The server cannot reach its database.
    Unavailable "UNAVAILABLE" 14 503 again Operator;
    /// Something went wrong in the server; it was logged under the request id.
    Internal "INTERNAL" 13 500 again Operator;
    /// Tasks: the model refused the content. The same request will be refused again.
    ContentPolicy "CONTENT_POLICY" 9 422 never Caller;
    /// Tasks: the upstream refused the request as invalid.
    InvalidInput "INVALID_INPUT" 3 422 never Caller;
    /// Tasks: the account's own key for the upstream is refused there, has no credit there, or was deleted.
    UpstreamKey "UPSTREAM_KEY" 9 422 never Caller;
    /// Tasks: the upstream failed.
    ProviderError "PROVIDER_ERROR" 14 502 again Upstream;
    /// Tasks: the upstream had no capacity for us.
    ProviderRateLimited "PROVIDER_RATE_LIMITED" 8 503 again Upstream;
    /// Tasks: it did not end in time.
    DeadlineExceeded "DEADLINE_EXCEEDED" 4 504 again Upstream;
}

impl Reason {
    /// The reason of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Reason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.row().word == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_say_their_name() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            let word = reason.row().word;
            assert_eq!(
                Reason::from_word(word),
                Some(*reason),
                "{word} stands twice"
            );
            let name = format!("{reason:?}").to_uppercase();
            assert_eq!(word.replace('_', ""), name, "row {index}");
        }
    }

    #[test]
    fn statuses_and_codes_agree() {
        for reason in Reason::ALL {
            let row = reason.row();
            assert!((1..=16).contains(&row.grpc_code), "{}", row.word);
            let statuses: &[u16] = match row.grpc_code {
                1 => &[499],
                3 => &[400, 413, 415, 422],
                4 => &[504],
                5 => &[404],
                6 => &[409],
                7 => &[403],
                8 => &[429, 503],
                9 => &[402, 410, 422],
                12 => &[405],
                13 => &[500],
                14 => &[502, 503],
                16 => &[401],
                other => panic!("{} uses the unexpected code {other}", row.word),
            };
            assert!(
                statuses.contains(&row.http_status),
                "{} answers {}",
                row.word,
                row.http_status
            );
        }
    }
}
