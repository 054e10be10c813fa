//! Why a use case was refused. The texts are meant for callers and say what would be allowed.

use std::time::SystemTime;

use uuid::Uuid;

use super::health::Condition;
use super::quote::QuoteError;
use super::request::Scene;
use crate::assets::AssetError;
use crate::catalog::{LookupError, MediaType, NoPrice, Unfit};
use crate::egress::EgressError;
use crate::ledger::LedgerError;
use crate::providers::Failure;
use crate::store::StoreError;

/// Why a generation was not accepted, or not quoted. Nothing was held and no idempotency key was
/// used up.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is no such model (with near matches), or it has been retired (with its replacement).
    #[error(transparent)]
    Model(#[from] LookupError),
    /// The model makes something else than the caller expects.
    #[error(
        "the model {model} makes {}s, not {}s; choose another model or another call",
        makes.as_str(),
        expected.as_str()
    )]
    WrongMedia {
        /// The slug of the model.
        model: String,
        /// What it makes.
        makes: MediaType,
        /// What the caller expects.
        expected: MediaType,
    },
    /// The scene and the reference images do not go together.
    #[error("{}", scene_mismatch(*scene))]
    WrongScene {
        /// What the caller expects.
        scene: Scene,
    },
    /// The model cannot take a value.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The request has no price.
    #[error(transparent)]
    NoPrice(#[from] NoPrice),
    /// The chosen upstream would certainly refuse it.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// There is no such provider.
    #[error("there is no provider \"{asked}\"; this server knows {}", known.join(", "))]
    UnknownProvider {
        /// The name that was asked for.
        asked: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A live key asked for the sandbox.
    #[error(
        "this server runs the sandbox for test keys only; use a test key, or leave provider out"
    )]
    SandboxNotAllowed,
    /// No upstream for it can be reached.
    #[error("{}", unavailable(model, settings, troubles, *sandbox))]
    ModelUnavailable {
        /// The slug of the model.
        model: String,
        /// The settings of the server any of which would make it available.
        settings: Vec<String>,
        /// The upstreams that are set up, and what is wrong with each.
        troubles: Vec<(String, Condition)>,
        /// Whether the caller could ask for the sandbox instead.
        sandbox: bool,
    },
    /// The quote does not hold.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// A reference image cannot be used.
    #[error("reference image {number}: {error}")]
    ReferenceImage {
        /// Which one, from 1.
        number: usize,
        /// Why: the picture is unusable, or the store of assets can't be reached.
        #[source]
        error: AssetError,
    },
    /// The address of a reference image cannot be called, or does not give a picture.
    #[error("the address of reference image {number} {error}")]
    ReferenceAddress {
        /// Which one, from 1.
        number: usize,
        /// Why.
        #[source]
        error: EgressError,
    },
    /// The idempotency key is empty or too long.
    #[error("an idempotency key has 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} characters")]
    IdempotencyKeyLength,
    /// The idempotency key stands for another request.
    #[error(
        "this idempotency key was used for another request; use a new key for each new request"
    )]
    IdempotencyKeyReused,
    /// The task that the idempotency key stands for could not be read.
    #[error(transparent)]
    Replay(TaskError),
    /// The account cannot pay for it.
    #[error(
        "this costs {needed} credits and {available} are available; add credits or ask for less"
    )]
    InsufficientCredits {
        /// The price.
        needed: i64,
        /// What the account could spend.
        available: i64,
    },
    /// The API key has spent what it may.
    #[error("{}", cap_reached(*needed, *cap, window, *spent))]
    SpendingCapReached {
        /// The price.
        needed: i64,
        /// How many credits the key may spend …
        cap: i64,
        /// … in an "hour", a "day" or in "total".
        window: &'static str,
        /// How many it has spent of them.
        spent: i64,
        /// When the hour or the day ends.
        resets_at: Option<SystemTime>,
    },
    /// As many tasks are open as the plan allows.
    #[error("{}; wait for one to end or cancel one", allowed_tasks(*limit, *queued))]
    TooManyTasks {
        /// How many may run at once.
        limit: u32,
        /// How many more may wait for their turn.
        queued: u32,
    },
    /// The server has as many open tasks as it can take.
    #[error("the server is busy; try again in a few seconds")]
    Busy,
    /// The store could not be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The most characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARACTERS_MAX: usize = 255;

fn cap_reached(needed: i64, cap: i64, window: &str, spent: i64) -> String {
    let window = match window {
        "total" => "in total".to_owned(),
        window => format!("in an {window}").replace("an day", "a day"),
    };
    let left = cap.saturating_sub(spent).max(0);
    format!(
        "this costs {needed} credits; the API key may spend {cap} {window}, of which {left} are left"
    )
}

fn allowed_tasks(limit: u32, queued: u32) -> String {
    match queued {
        0 => format!("the plan allows {limit} tasks at a time"),
        _ => format!("the plan allows {limit} tasks at a time and {queued} waiting"),
    }
}

fn scene_mismatch(scene: Scene) -> String {
    if scene.from_images() {
        format!("{scene} works from reference images; give at least one in reference_images")
    } else {
        format!(
            "{scene} works from the prompt alone; leave reference_images out or choose another scene"
        )
    }
}

fn unavailable(
    model: &str,
    settings: &[String],
    troubles: &[(String, Condition)],
    sandbox: bool,
) -> String {
    let what = match troubles {
        [] => "is set up on this server".to_owned(),
        troubles => {
            let told = troubles.iter();
            let told = told.map(|(name, condition)| format!("{name} {}", condition.words()));
            format!(
                "works at the moment: {}",
                told.collect::<Vec<_>>().join(", ")
            )
        }
    };
    let mut text = format!("no upstream for this request to the model {model} {what}");
    if !settings.is_empty() {
        text += &format!("; its operator would have to set {}", settings.join(" or "));
    }
    if sandbox {
        text += "; provider \"sandbox\" paints a test picture instead";
    }
    text
}

/// Why a task could not be read or canceled.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The account has no such task. A test key sees test tasks only, a live key the others.
    #[error("there is no task {0}")]
    NotFound(Uuid),
    /// The store could not be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row that no version of this server writes.
    #[error("a stored task could not be read")]
    Damaged,
}
