//! The accounts' money: a journal of every movement, append only, from which all balances follow.
//!
//! Each entry moves an amount between two ledger accounts (its [`Kind`] names both) and repeats the
//! account's balances after it, so the last entry is the balance and nothing is ever updated. The
//! shape and its lock order are in `src/store/migrations/V2__ledger.sql`.
//!
//! - [`Chains`] is the one way to add entries. Whoever submits or settles tasks uses it in the
//!   transaction that writes the tasks: money and task move together or not at all.
//! - [`Ledger`] does the rest: grants, what expires of them, balances, histories, and the proof that
//!   the journal is sound ([`Ledger::verify`]).
//!
//! **Bounds.** A page of a history has at most [`ENTRIES_MAX`] entries, a note
//! [`NOTE_CHARACTERS_MAX`] characters; a verification reports at most [`DIFFERENCES_MAX`]
//! differences of each sort. An account's credits stay below 2⁶³.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use tokio_postgres::{IsolationLevel, Row};
use uuid::Uuid;

use crate::store::{Client, Store, StoreError};

mod chains;
mod csv;
mod lots;
mod statement;

pub use chains::{Chains, Ends, MovementError};
pub use csv::{CSV_HEADER, csv_lines, csv_text};
pub use lots::Lot;
pub use statement::{ENTRIES_MAX, EXAMINED_MAX, EntryFilter, EntryPage};

use lots::Lots;

/// Length of a grant's note at most; the table says so too.
pub const NOTE_CHARACTERS_MAX: usize = 500;
/// Differences of each sort that a verification lists at most.
pub const DIFFERENCES_MAX: i64 = 100;
/// Accounts whose expired credits are looked for in one statement.
const DUE_MAX: i64 = 100;

const BALANCE: &str = include_str!("ledger/sql/balance.sql");
const DUE: &str = include_str!("ledger/sql/due.sql");
const VERIFY_COUNTS: &str = include_str!("ledger/sql/verify_counts.sql");
const VERIFY_CHAINS: &str = include_str!("ledger/sql/verify_chains.sql");
const VERIFY_TASKS: &str = include_str!("ledger/sql/verify_tasks.sql");

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The grant was of 0 credits or fewer.
    #[error("a grant is of 1 credit or more")]
    GrantNotPositive,
    /// The note is longer than [`NOTE_CHARACTERS_MAX`].
    #[error("a note has at most {NOTE_CHARACTERS_MAX} characters")]
    NoteTooLong,
    /// The credits would have expired before they were granted.
    #[error("credits expire in the future or never")]
    GrantExpired,
    /// The movement cannot be; nothing was moved.
    #[error(transparent)]
    Movement(#[from] MovementError),
    /// The journal could not be read or written.
    #[error(transparent)]
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for LedgerError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// What an account has, in credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Free to be spent.
    pub available: i64,
    /// Set aside for tasks that have not ended.
    pub held: i64,
}

/// The five ledger accounts between which credits move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerAccount {
    /// Where credits come from.
    Grants,
    /// An account's free credits.
    Available,
    /// An account's credits set aside for tasks.
    Held,
    /// What tasks have cost.
    Revenue,
    /// Credits that were not spent in time.
    Expired,
}

impl LedgerAccount {
    /// Its name in the view `ledger_legs` and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grants => "grants",
            Self::Available => "available",
            Self::Held => "held",
            Self::Revenue => "revenue",
            Self::Expired => "expired",
        }
    }
}

/// What a movement is for. It says where the credits come from and where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Credits were given.
    Grant,
    /// A task was submitted.
    Hold,
    /// A task delivered.
    Capture,
    /// A task did not need what it held.
    Release,
    /// Credits were not spent in time.
    Expire,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Grant,
        Self::Hold,
        Self::Capture,
        Self::Release,
        Self::Expire,
    ];

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in the journal and in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grant => "GRANT",
            Self::Hold => "HOLD",
            Self::Capture => "CAPTURE",
            Self::Release => "RELEASE",
            Self::Expire => "EXPIRE",
        }
    }

    /// The ledger account that the credits leave.
    pub fn debit(self) -> LedgerAccount {
        match self {
            Self::Grant => LedgerAccount::Grants,
            Self::Hold | Self::Expire => LedgerAccount::Available,
            Self::Capture | Self::Release => LedgerAccount::Held,
        }
    }

    /// The ledger account that the credits reach.
    pub fn credit(self) -> LedgerAccount {
        match self {
            Self::Grant | Self::Release => LedgerAccount::Available,
            Self::Hold => LedgerAccount::Held,
            Self::Capture => LedgerAccount::Revenue,
            Self::Expire => LedgerAccount::Expired,
        }
    }
}

/// One movement, with the account's balances after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the account's chain, from 1.
    pub sequence: i64,
    /// What it is for, which names both ledger accounts.
    pub kind: Kind,
    /// Credits moved; may be 0.
    pub amount: i64,
    /// Credits free to be spent after it; never negative.
    pub available: i64,
    /// Credits set aside after it; never negative.
    pub held: i64,
    /// The task it is for; grants and expiries have none.
    pub task_id: Option<Uuid>,
    /// Why credits were granted or taken; often empty.
    pub note: String,
    /// When it was written, by the database's clock.
    pub at: SystemTime,
}

impl Entry {
    /// The ledger account that the credits left.
    pub fn debit(&self) -> LedgerAccount {
        self.kind.debit()
    }

    /// The ledger account that the credits reached.
    pub fn credit(&self) -> LedgerAccount {
        self.kind.credit()
    }

    fn from_row(row: &Row) -> Self {
        let kind: &str = row.get("kind");
        Self {
            sequence: row.get("seq"),
            kind: Kind::from_name(kind).expect("the enum has these labels"),
            amount: row.get("amount"),
            available: row.get("available"),
            held: row.get("held"),
            task_id: row.get("task_id"),
            note: row.get("note"),
            at: row.get("at"),
        }
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Accounts that have entries.
    pub accounts: i64,
    /// Entries walked.
    pub entries: i64,
    /// What every ledger account comes to.
    pub totals: Totals,
    /// What is wrong; empty when the journal is sound.
    pub differences: Vec<Difference>,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.differences.is_empty() && self.totals.balance()
    }
}

/// What every ledger account comes to, over all accounts, in credits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ever granted.
    pub granted: i128,
    /// Free to be spent now.
    pub available: i128,
    /// Set aside for tasks now.
    pub held: i128,
    /// What tasks have cost.
    pub charged: i128,
    /// Not spent in time.
    pub expired: i128,
}

impl Totals {
    /// Whether what was granted is what is left and what went, to the credit.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.granted == self.available + self.held + self.charged + self.expired
    }

    fn from_row(row: &Row) -> Self {
        let sum = |column: usize| {
            let text: &str = row.get(column);
            text.parse().expect("a sum of whole numbers is one")
        };
        Self {
            granted: sum(2),
            available: sum(3),
            held: sum(4),
            charged: sum(5),
            expired: sum(6),
        }
    }
}

/// Something in the journal that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The account it was found at.
    pub account_id: Uuid,
    /// The task it concerns; absent where the entry at fault is a grant.
    pub task_id: Option<Uuid>,
    /// What is there, in English.
    pub found: String,
}

impl Difference {
    /// Reads a row of a verifying statement: account, task, text.
    pub fn from_row(row: &Row) -> Self {
        Self {
            account_id: row.get(0),
            task_id: row.get(1),
            found: row.get(2),
        }
    }
}

/// Reads the journal, and grants.
#[derive(Clone)]
pub struct Ledger {
    store: Store,
}

impl Ledger {
    /// The ledger in `store`, whose schema has to be up to date before the first call.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Gives `credits` to `account`, which need not have any entry yet, until `expires_at` or for good.
    /// Returns its balance with them.
    ///
    /// # Errors
    /// Nothing was granted then.
    pub async fn grant(
        &self,
        account: Uuid,
        credits: i64,
        note: &str,
        expires_at: Option<SystemTime>,
    ) -> Result<Balance, LedgerError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let balance = Self::grant_within(&transaction, account, credits, note, expires_at).await?;
        transaction.commit().await?;
        Ok(balance)
    }

    /// The same within a transaction of the caller's that holds no lock yet.
    ///
    /// # Errors
    /// As for [`Ledger::grant`].
    pub async fn grant_within(
        transaction: &Transaction<'_>,
        account: Uuid,
        credits: i64,
        note: &str,
        expires_at: Option<SystemTime>,
    ) -> Result<Balance, LedgerError> {
        if credits < 1 {
            return Err(LedgerError::GrantNotPositive);
        }
        if note.chars().count() > NOTE_CHARACTERS_MAX {
            return Err(LedgerError::NoteTooLong);
        }
        let mut chains = Chains::lock(transaction, &[account]).await?;
        if expires_at.is_some_and(|end| end <= chains.at()) {
            return Err(LedgerError::GrantExpired);
        }
        let before = chains.balance(account)?;
        chains.grant(account, credits, note)?;
        let mut lots = Lots::read(transaction, account, before.available).await?;
        lots.add(credits, expires_at);
        if !lots.expiring.is_empty() {
            lots.write(transaction, account).await?;
        }
        chains.append(transaction).await?;
        Ok(chains.balance(account)?)
    }

    /// Gives `credits` to `account` as the first entry of its chain; an account that has entries keeps
    /// what it has. However often it is called, and by however many replicas, the credits are given
    /// once.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn open(&self, account: Uuid, credits: i64, note: &str) -> Result<(), LedgerError> {
        let mut client = self.store.client().await?;
        let transaction = client.transaction().await?;
        let mut chains = Chains::lock(&transaction, &[account]).await?;
        if chains.is_empty(account)? {
            chains.grant(account, credits, note)?;
            chains.append(&transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Takes credits whose time is over, of all accounts that have any; answers how many credits. May
    /// be called at any time and by any number of replicas.
    ///
    /// # Errors
    /// When the store cannot be reached; what was taken until then is taken.
    pub async fn expire_due(&self) -> Result<i64, LedgerError> {
        let mut taken = 0;
        loop {
            let mut client = self.store.client().await?;
            let due = client.prepare_cached(DUE).await?;
            let accounts = client.query(&due, &[&DUE_MAX]).await?;
            for row in &accounts {
                taken += Self::expire_of(&mut client, row.try_get(0)?).await?;
            }
            if (accounts.len() as i64) < DUE_MAX {
                return Ok(taken);
            }
        }
    }

    async fn expire_of(client: &mut Client, account: Uuid) -> Result<i64, LedgerError> {
        let transaction = client.transaction().await?;
        let mut chains = Chains::lock(&transaction, &[account]).await?;
        let available = chains.balance(account)?.available;
        let mut lots = Lots::read(&transaction, account, available).await?;
        let over = lots.take_over(chains.at());
        if over.is_empty() {
            // Somebody else was here. To bring the lots up to date now would let what is held leave them.
            return Ok(0);
        }
        let mut taken = 0;
        for lot in over {
            // Spent in time: nothing to say.
            if lot.remaining > 0 {
                chains.expire(account, lot.remaining, "not spent in time")?;
                taken += lot.remaining;
            }
        }
        lots.write(&transaction, account).await?;
        chains.append(&transaction).await?;
        transaction.commit().await?;
        Ok(taken)
    }

    /// The credits of `account` that expire, soonest first, without lots that are spent.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn lots(&self, account: Uuid) -> Result<Vec<Lot>, LedgerError> {
        let available = self.balance(account).await?.available;
        let client = self.store.client().await?;
        let mut lots = Lots::read(&client, account, available).await?.expiring;
        lots.retain(|lot| lot.remaining > 0);
        Ok(lots)
    }

    /// What `account` has; nothing if it has no entry.
    pub async fn balance(&self, account: Uuid) -> Result<Balance, LedgerError> {
        let client = self.store.client().await?;
        let statement = client.prepare_cached(BALANCE).await?;
        let row = client.query_one(&statement, &[&account]).await?;
        Ok(Balance {
            available: row.get(0),
            held: row.get(1),
        })
    }

    /// Walks every chain again, as it stands at one moment.
    pub async fn verify(&self) -> Result<Verification, LedgerError> {
        let mut client = self.store.client().await?;
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await?;
        Self::verify_within(&transaction).await
    }

    /// The same within a read-only transaction of the caller's at REPEATABLE READ, for checks
    /// beside these that must see the same moment. Lifts its time limit for statements: a walk
    /// takes seconds for each ten million entries.
    pub async fn verify_within(transaction: &Transaction<'_>) -> Result<Verification, LedgerError> {
        transaction
            .batch_execute("SET LOCAL statement_timeout = '1h'")
            .await?;
        let counts = transaction.query_one(VERIFY_COUNTS, &[]).await?;
        let mut differences = Vec::new();
        for statement in [VERIFY_CHAINS, VERIFY_TASKS] {
            let rows = transaction.query(statement, &[&DIFFERENCES_MAX]).await?;
            differences.extend(rows.iter().map(Difference::from_row));
        }
        Ok(Verification {
            accounts: counts.get(0),
            entries: counts.get(1),
            totals: Totals::from_row(&counts),
            differences,
        })
    }
}
