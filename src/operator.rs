//! What operators change, and the record of it.
//!
//! [`Desk`] is the one door through which faces and the command line change accounts, plans and credits on behalf of
//! whoever runs the server. Each of its functions makes the change and writes a row of `audit_log` in one
//! transaction, so that there is none without the other; the rooms below know nothing of it. [`AuditLog`] reads the
//! rows, which the database never lets anybody change.
//!
//! - A change that was refused leaves no row, and neither does one that was made before: the same idempotency key
//!   again, or the same word on a submission.
//! - What is written down is what was asked and what stood before it. No secret is among that.
//!
//! **Locks.** A grant with an idempotency key first takes the key's place in an index and then the account's chain.
//! Only the same grant waits for the former, so nobody who holds a chain waits for whoever waits for it.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Value, json};
use thiserror::Error;
use uuid::Uuid;

use crate::accounts::{Account, Accounts, AccountsError, ApiKey, NewKey, Plan, Scope, Secret};
use crate::generation::{LostSubmissions, SettleError, Word};
use crate::ledger::{Ledger, LedgerError};
use crate::people::{LinkToken, People, PeopleError};
use crate::store::{Store, StoreError};

mod audit;
mod csv;

pub use audit::{AUDIT_METHODS, AUDIT_PAGE_MAX, AuditEntry, AuditFilter, AuditLog, AuditPage};
pub use csv::{AUDIT_CSV_HEADER, audit_csv_lines};

use audit::Act;

/// Characters of an idempotency key at most; the table says so too.
pub const IDEMPOTENCY_KEY_CHARACTERS_MAX: usize = 255;

/// By which way an operator came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// With an API key.
    Key,
    /// With a token of another issuer.
    Token,
    /// Signed in.
    Person,
    /// By the command line, beside the server.
    CommandLine,
}

impl ActorKind {
    const ALL: [Self; 4] = [Self::Key, Self::Token, Self::Person, Self::CommandLine];

    /// The word for it, in the table and in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "KEY",
            Self::Token => "TOKEN",
            Self::Person => "PERSON",
            Self::CommandLine => "COMMAND_LINE",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// By which way.
    pub kind: ActorKind,
    /// The key or the person.
    pub id: Option<Uuid>,
    /// The account of the key or token, the person's e-mail address, or the user of the system.
    pub name: String,
    /// The request that asks for it, where there is one.
    pub request_id: Option<String>,
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (self.kind, self.id) {
            (ActorKind::Key, Some(id)) => write!(formatter, "{name}, key {id}"),
            (ActorKind::Person, Some(id)) => write!(formatter, "{name}, person {id}"),
            (ActorKind::CommandLine, _) => write!(formatter, "{name}, by the command line"),
            _ => write!(formatter, "{name}"),
        }
    }
}

/// Why a change was not made; nothing has changed then.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// About an account or a plan.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// About credits.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// About a person.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// About a submission.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// An idempotency key that cannot be one.
    #[error("an idempotency key has 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} characters")]
    IdempotencyKeyLength,
    /// The key came with another grant before.
    #[error(
        "this idempotency key was used for another grant to this account; use a new one for a new grant"
    )]
    IdempotencyKeyReused,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<tokio_postgres::Error> for OperatorError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A grant of credits.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The name of the account.
    pub account: &'a str,
    /// How many, 1 or more.
    pub credits: i64,
    /// Why.
    pub note: &'a str,
    /// When what is not spent of them is gone; none: never.
    pub expires_at: Option<SystemTime>,
    /// The same key, with the same grant to the same account, grants once, however often it comes. It is remembered for
    /// good.
    pub idempotency_key: Option<&'a str>,
}

/// Where operators change things. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    store: Store,
}

impl Desk {
    /// Over the database in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes an account on a plan.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn create_account(
        &self,
        by: &Operator,
        name: &str,
        plan: &str,
    ) -> Result<Account, OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let account = Accounts::create_within(&transaction, name, plan).await?;
        let act = Act::on(by, "CreateAccount", &account, json!({"plan": plan}));
        act.record(&transaction).await?;
        transaction.commit().await?;
        Ok(account)
    }

    /// Puts an account on another plan. Every replica follows within a second.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn set_plan(
        &self,
        by: &Operator,
        name: &str,
        plan: &str,
    ) -> Result<Account, OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let (account, before) = Accounts::set_plan_within(&transaction, name, plan).await?;
        let change = json!({"plan": plan, "planBefore": before});
        Act::on(by, "SetPlan", &account, change)
            .record(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(account)
    }

    /// Makes a plan, or changes all of the plan of that name. Every replica follows within a second.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn save_plan(&self, by: &Operator, plan: &Plan) -> Result<Plan, OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let (saved, before) = Accounts::save_plan_within(&transaction, plan).await?;
        let change =
            json!({"plan": plan_value(&saved), "planBefore": before.as_ref().map(plan_value)});
        Act::new(by, "SavePlan", change)
            .record(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(saved)
    }

    /// Gives an account credits; answers the account.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn grant(&self, by: &Operator, grant: &Grant<'_>) -> Result<Account, OperatorError> {
        let key = grant.idempotency_key;
        let fits = |key: &str| (1..=IDEMPOTENCY_KEY_CHARACTERS_MAX).contains(&key.chars().count());
        if !key.is_none_or(fits) {
            return Err(OperatorError::IdempotencyKeyLength);
        }
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let account = Accounts::by_name_within(&transaction, grant.account).await?;
        let end = grant
            .expires_at
            .map(|end| humantime::format_rfc3339(end).to_string());
        let change = json!({"credits": grant.credits, "note": grant.note, "expiresAt": end});
        let act = Act::on(by, "GrantCredits", &account, change).once(key);
        if !act.record(&transaction).await? {
            return match act.is_as_before(&transaction).await? {
                true => Ok(account),
                false => Err(OperatorError::IdempotencyKeyReused),
            };
        }
        let Grant {
            credits,
            note,
            expires_at,
            ..
        } = *grant;
        Ledger::grant_within(&transaction, account.id, credits, note, expires_at).await?;
        transaction.commit().await?;
        Ok(account)
    }

    /// Makes an account a key. The secret is returned here and can't be had again.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn create_key(
        &self,
        by: &Operator,
        account: &str,
        new: &NewKey,
    ) -> Result<Secret, OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let account = Accounts::by_name_within(&transaction, account).await?;
        let (secret, key) = Accounts::create_key_within(&transaction, account.id, new).await?;
        Act::on(by, "CreateApiKey", &account, key_value(&key))
            .record(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(secret)
    }

    /// Makes one of an account's keys useless, for good. Every replica follows within a second.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn revoke_key(
        &self,
        by: &Operator,
        account: &str,
        key_id: Uuid,
    ) -> Result<ApiKey, OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let account = Accounts::by_name_within(&transaction, account).await?;
        let before = Accounts::key_within(&transaction, account.id, key_id).await?;
        let key = Accounts::revoke_key_within(&transaction, account.id, key_id).await?;
        if before.revoked_at.is_none() {
            Act::on(by, "RevokeApiKey", &account, key_value(&key))
                .record(&transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(key)
    }

    /// Makes a link that signs in the owner of an account, once. Who owns the account of the first start administers
    /// the server.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn owner_link(
        &self,
        by: &Operator,
        account: &str,
        now: SystemTime,
    ) -> Result<LinkToken, OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let account = Accounts::by_name_within(&transaction, account).await?;
        let founding = Accounts::founding_within(&transaction).await?;
        let is_founding = founding.is_some_and(|founding| founding.id == account.id);
        let link = People::owner_link(&transaction, account.id, is_founding, now).await?;
        Act::on(by, "CreateSignInLink", &account, json!({}))
            .record(&transaction)
            .await?;
        transaction.commit().await?;
        Ok(link)
    }

    /// Lets the person with this address administer the server, or no longer. Every session of that person follows
    /// within a second.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn set_operator(
        &self,
        by: &Operator,
        email: &str,
        operator: bool,
    ) -> Result<(), OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let (id, email) = People::set_operator_within(&transaction, email, operator).await?;
        let change = json!({"person": id, "email": email, "operator": operator});
        Act::new(by, "SetOperator", change)
            .record(&transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Gives the operator's word on an attempt, and answers when it was given. It is durable by then, and a task
    /// that was given up has ended.
    ///
    /// # Errors
    /// [`OperatorError`]
    pub async fn settle(
        &self,
        by: &Operator,
        submissions: &LostSubmissions,
        task_id: Uuid,
        attempt: u32,
        word: &Word,
    ) -> Result<SystemTime, OperatorError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let who = by.to_string();
        let settled = submissions
            .settle_within(&transaction, task_id, attempt, word, &who)
            .await?;
        if settled.is_first {
            let change = json!({
                "taskId": task_id,
                "attempt": attempt,
                "verdict": word.as_str(),
                "upstreamId": word.upstream_id(),
            });
            let account = (settled.account_id, settled.account.as_str());
            Act::about(by, "SettleSubmission", account, change)
                .record(&transaction)
                .await?;
        }
        transaction.commit().await?;
        drop(client);
        submissions.carry_out(&settled, word).await?;
        Ok(settled.at)
    }
}

/// What is said of a key: nothing that could be used as one.
fn key_value(key: &ApiKey) -> Value {
    let scopes: Vec<&str> = key.scopes.iter().map(Scope::name).collect();
    let expires_at = key
        .expires_at
        .map(|end| humantime::format_rfc3339(end).to_string());
    json!({
        "keyId": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "test": key.test,
        "scopes": scopes,
        "expiresAt": expires_at,
    })
}

fn plan_value(plan: &Plan) -> Value {
    json!({
        "name": plan.name,
        "submitsPerMinute": plan.submits_per_minute,
        "readsPerMinute": plan.reads_per_minute,
        "concurrentTasks": plan.concurrent_tasks,
        "queuedTasks": plan.queued_tasks,
        "monthlyCredits": plan.monthly_credits,
        "freeTierIncluded": plan.free_tier_included,
    })
}
