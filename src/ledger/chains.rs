//! Adding to the journal: what a batch moves is worked out in memory, from where the chains of its
//! accounts end, and appended in one statement.
//!
//! [`Chains::lock`] makes the transaction the only writer to those chains, so what it works out is
//! what will be. Nothing else adds entries to the journal.
//!
//! Whoever wrote last remembers where the chains ended ([`Ends`]) and can work out the next batch before
//! the locks are taken; [`Chains::resumed`] then says what has to be so, which ends the transaction unless the chains end
//! exactly so. That saves a round trip, and is as safe: what is remembered only decides what is tried.
//!
//! **Lock order**: one call, with every account
//! of the transaction, before any row lock; see `V2__ledger.sql`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::BytesMut;
use deadpool_postgres::GenericClient;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::{Balance, Kind};
use crate::store::{Columns, StoreError, parameters};

/// Why a movement cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MovementError {
    /// Fewer credits are available than the movement takes.
    #[error("only {available} credits are available")]
    Insufficient {
        /// What is available.
        available: i64,
    },
    /// What is available and what is held would come to 2⁶³ or more.
    #[error(
        "the account's credits would exceed {}, the most an account can have",
        i64::MAX
    )]
    TooLarge,
    /// The amount is negative, or the account was not locked, or less is held than is to be
    /// settled: a fault of ours.
    #[error("the movement does not fit the account's entries")]
    Unsound,
}

/// Where an account's chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    sequence: i64,
    balance: Balance,
    /// Its open tasks.
    open: i32,
}

/// The ends of some accounts' chains, which the transaction alone can move, and the entries that it
/// will append.
#[derive(Debug)]
pub struct Chains {
    ends: HashMap<Uuid, End>,
    remembered: Remembered,
    at: SystemTime,
    added: Added,
}

/// Where chains were remembered to end, as columns, in the order in which their locks are taken.
#[derive(Debug, Default)]
struct Remembered {
    accounts: Vec<Uuid>,
    sequences: Vec<i64>,
    available: Vec<i64>,
    held: Vec<i64>,
    open: Vec<i32>,
}

/// Entries as columns, which is how PostgreSQL takes a batch.
#[derive(Debug, Default)]
struct Added {
    accounts: Vec<Uuid>,
    sequences: Vec<i64>,
    kinds: Vec<Kind>,
    amounts: Vec<i64>,
    available: Vec<i64>,
    held: Vec<i64>,
    open: Vec<i32>,
    tasks: Vec<Option<Uuid>>,
    /// Of the first entries; those after them have none. Entries of tasks are many and never have one.
    notes: Vec<String>,
}

const LOCK: &str = include_str!("sql/lock.sql");
const APPEND: &str = include_str!("sql/append.sql");

impl Default for Chains {
    /// Of no account.
    fn default() -> Self {
        Self {
            ends: HashMap::new(),
            remembered: Remembered::default(),
            at: SystemTime::UNIX_EPOCH,
            added: Added::default(),
        }
    }
}

impl Chains {
    /// Prepares the statement of [`Chains::lock`], for whoever sends it in a pipeline.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn prepare(client: &impl GenericClient) -> Result<(), StoreError> {
        client.prepare_cached(LOCK).await?;
        Ok(())
    }

    /// Waits until nobody else writes to the chains of `accounts`, and reads where they end. The
    /// transaction keeps them to itself until it ends.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn lock(client: &impl GenericClient, accounts: &[Uuid]) -> Result<Self, StoreError> {
        let mut accounts = accounts.to_vec();
        accounts.sort_unstable();
        accounts.dedup();
        let statement = client.prepare_cached(LOCK).await?;
        let rows = client.query(&statement, &[&accounts]).await?;
        let mut ends = HashMap::with_capacity(rows.len());
        let mut at = SystemTime::UNIX_EPOCH;
        for row in rows {
            let balance = Balance {
                available: row.try_get(2)?,
                held: row.try_get(3)?,
            };
            let end = End {
                sequence: row.try_get(1)?,
                balance,
                open: row.try_get(4)?,
            };
            ends.insert(row.try_get(0)?, end);
            at = row.try_get(5)?;
        }
        Ok(Self {
            ends,
            remembered: Remembered::default(),
            at,
            added: Added::default(),
        })
    }

    /// Where chains were remembered to end, as parameters of `tasks_write`: it takes their locks, and ends the
    /// transaction when one does not end so. To come before anything that rests on what was worked
    /// out. None when the chains are locked already.
    #[must_use]
    pub fn resumed(&self) -> Columns<'_> {
        let Remembered {
            accounts,
            sequences,
            available,
            held,
            open,
        } = &self.remembered;
        vec![
            filled(accounts),
            filled(sequences),
            filled(available),
            filled(held),
            filled(open),
        ]
    }

    /// When the transaction that locked the chains began, by the database's clock. Not known yet when
    /// the ends were remembered.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// What the account has, with what was added so far.
    ///
    /// # Errors
    /// [`MovementError::Unsound`] when it was not locked.
    pub fn balance(&self, account: Uuid) -> Result<Balance, MovementError> {
        let end = self.ends.get(&account).ok_or(MovementError::Unsound)?;
        Ok(end.balance)
    }

    /// How many of the account's live tasks are open, with what was added so far.
    ///
    /// # Errors
    /// [`MovementError::Unsound`] when it was not locked.
    pub fn open(&self, account: Uuid) -> Result<u32, MovementError> {
        let end = self.ends.get(&account).ok_or(MovementError::Unsound)?;
        Ok(end.open.unsigned_abs())
    }

    /// Whether the account has no entry yet.
    ///
    /// # Errors
    /// [`MovementError::Unsound`] when it was not locked.
    pub fn is_empty(&self, account: Uuid) -> Result<bool, MovementError> {
        let end = self.ends.get(&account).ok_or(MovementError::Unsound)?;
        Ok(end.sequence == 0)
    }

    /// Holds credits for a task. Zero is held and recorded like any amount.
    ///
    /// # Errors
    /// [`MovementError::Insufficient`]; nothing was added then.
    pub fn hold(&mut self, account: Uuid, task: Uuid, amount: i64) -> Result<(), MovementError> {
        self.add(account, Kind::Hold, amount, Some(task), 1, "")
    }

    /// Ends the hold of a task: captures `charged` of what is held for it and releases the rest. Where
    /// both are something, that takes two entries; a hold of zero ends with a capture of zero.
    ///
    /// # Errors
    /// [`MovementError::Unsound`]; nothing was added then.
    pub fn settle(
        &mut self,
        account: Uuid,
        task: Uuid,
        held: i64,
        charged: i64,
    ) -> Result<(), MovementError> {
        if !(0..=held).contains(&charged) || self.balance(account)?.held < held {
            return Err(MovementError::Unsound);
        }
        let released = held - charged;
        if charged > 0 || held == 0 {
            self.add(account, Kind::Capture, charged, Some(task), -1, "")?;
        }
        if released > 0 {
            let ended = i32::from(charged == 0);
            self.add(account, Kind::Release, released, Some(task), -ended, "")?;
        }
        Ok(())
    }

    /// Gives credits to an account.
    ///
    /// # Errors
    /// [`MovementError::TooLarge`]; nothing was added then.
    pub fn grant(&mut self, account: Uuid, amount: i64, note: &str) -> Result<(), MovementError> {
        self.add(account, Kind::Grant, amount, None, 0, note)
    }

    /// Takes credits whose time is over.
    ///
    /// # Errors
    /// [`MovementError::Insufficient`]; nothing was added then.
    pub fn expire(&mut self, account: Uuid, amount: i64, note: &str) -> Result<(), MovementError> {
        self.add(account, Kind::Expire, amount, None, 0, note)
    }

    fn add(
        &mut self,
        account: Uuid,
        kind: Kind,
        amount: i64,
        task: Option<Uuid>,
        opened: i32,
        note: &str,
    ) -> Result<(), MovementError> {
        let Entry::Occupied(mut end) = self.ends.entry(account) else {
            return Err(MovementError::Unsound);
        };
        let last = end.get();
        let next = End {
            sequence: last.sequence + 1,
            balance: last.balance.after(kind, amount)?,
            open: last
                .open
                .checked_add(opened)
                .filter(|open| *open >= 0)
                .ok_or(MovementError::Unsound)?,
        };
        *end.get_mut() = next;
        let added = &mut self.added;
        added.accounts.push(account);
        added.sequences.push(next.sequence);
        added.kinds.push(kind);
        added.amounts.push(amount);
        added.available.push(next.balance.available);
        added.held.push(next.balance.held);
        added.open.push(next.open);
        added.tasks.push(task);
        if !note.is_empty() {
            added.notes.resize(added.accounts.len() - 1, String::new());
            added.notes.push(note.to_owned());
        }
        Ok(())
    }

    /// What was added, as the parameters of `ledger_append`. To be written by the transaction that holds
    /// the locks.
    #[must_use]
    pub fn entries(&self) -> Columns<'_> {
        let Added {
            accounts,
            sequences,
            kinds,
            amounts,
            available,
            held,
            open,
            tasks,
            notes,
        } = &self.added;
        let (given_back_to, most) = self.given_back();
        vec![
            filled(accounts),
            filled(sequences),
            filled(kinds),
            filled(amounts),
            filled(available),
            filled(held),
            filled(open),
            filled(tasks),
            filled(notes),
            Box::new(given_back_to),
            Box::new(most),
        ]
    }

    /// The accounts to which tasks gave credits back, and the most that each had available since.
    fn given_back(&self) -> (Vec<Uuid>, Vec<i64>) {
        let Added {
            accounts,
            kinds,
            available,
            ..
        } = &self.added;
        let mut most = HashMap::new();
        for ((account, kind), available) in accounts.iter().zip(kinds).zip(available) {
            if *kind == Kind::Release {
                let most = most.entry(*account).or_insert(0);
                *most = i64::max(*most, *available);
            }
        }
        most.into_iter().unzip()
    }

    /// Appends what was added. To be sent before the COMMIT of the transaction that locked.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses an entry.
    pub async fn append(&self, client: &impl GenericClient) -> Result<(), StoreError> {
        let statement = client.prepare_cached(APPEND).await?;
        client
            .execute(&statement, &parameters(&self.entries()))
            .await?;
        Ok(())
    }
}

/// Where chains ended when this process last wrote to them. At most [`ENDS_MAX`] accounts.
#[derive(Debug, Default)]
pub struct Ends(Mutex<HashMap<Uuid, End>>);

/// Accounts whose ends are remembered, at most. Beyond it all are forgotten: a few bytes each, and found
/// again with the next batch.
const ENDS_MAX: usize = 100_000;

impl Ends {
    fn known(&self) -> MutexGuard<'_, HashMap<Uuid, End>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chains of `accounts` as they are remembered; `None` unless all are.
    #[must_use]
    pub fn recall(&self, accounts: impl IntoIterator<Item = Uuid>) -> Option<Chains> {
        let known = self.known();
        let end = |account| Some((account, *known.get(&account)?));
        let ends: HashMap<_, _> = accounts.into_iter().map(end).collect::<Option<_>>()?;
        let mut in_order: Vec<_> = ends.iter().collect();
        in_order.sort_unstable_by_key(|(account, _)| **account);
        let mut remembered = Remembered::default();
        for (account, end) in in_order {
            remembered.accounts.push(*account);
            remembered.sequences.push(end.sequence);
            remembered.available.push(end.balance.available);
            remembered.held.push(end.balance.held);
            remembered.open.push(end.open);
        }
        Some(Chains {
            ends,
            remembered,
            at: SystemTime::UNIX_EPOCH,
            added: Added::default(),
        })
    }

    /// Remembers chains, once what was added to them is committed.
    pub fn remember(&self, chains: &Chains) {
        let mut known = self.known();
        if known.len() + chains.ends.len() > ENDS_MAX {
            known.clear();
        }
        known.extend(&chains.ends);
    }

    /// Forgets the chains of accounts, of which it is not certain any more where they end.
    pub fn forget(&self, accounts: impl IntoIterator<Item = Uuid>) {
        let mut known = self.known();
        for account in accounts {
            known.remove(&account);
        }
    }
}

impl Balance {
    /// The balance after a movement.
    fn after(self, kind: Kind, amount: i64) -> Result<Self, MovementError> {
        if amount < 0 {
            return Err(MovementError::Unsound);
        }
        let Self { available, held } = self;
        let spent = || {
            available
                .checked_sub(amount)
                .filter(|left| *left >= 0)
                .ok_or(MovementError::Insufficient { available })
        };
        let settled = || {
            held.checked_sub(amount)
                .filter(|left| *left >= 0)
                .ok_or(MovementError::Unsound)
        };
        // Together they stay below 2⁶³, so moving credits between them cannot overflow.
        let (available, held) = match kind {
            Kind::Grant => {
                let whole = available.checked_add(held);
                let whole = whole.and_then(|whole| whole.checked_add(amount));
                whole.ok_or(MovementError::TooLarge)?;
                (available + amount, held)
            }
            Kind::Hold => (spent()?, held + amount),
            Kind::Capture => (available, settled()?),
            Kind::Release => (available + amount, settled()?),
            Kind::Expire => (spent()?, held),
        };
        Ok(Self { available, held })
    }
}

/// A column; without values NULL, which PostgreSQL need not read as an array.
fn filled<V: ToSql + Send + Sync>(values: &[V]) -> Box<dyn ToSql + Send + Sync + '_> {
    Box::new((!values.is_empty()).then_some(values))
}

impl ToSql for Kind {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(self.name().as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(column: &Type) -> bool {
        column.name() == "ledger_kind"
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Uuid = Uuid::nil();
    const TASK: Uuid = Uuid::max();

    fn chains(available: i64) -> Chains {
        Chains::of(ACCOUNT, available)
    }

    impl Chains {
        /// Of an account that has seven entries and so many credits.
        pub(crate) fn of(account: Uuid, available: i64) -> Self {
            let end = End {
                sequence: 7,
                balance: Balance { available, held: 0 },
                open: 0,
            };
            Self {
                ends: HashMap::from([(account, end)]),
                remembered: Remembered::default(),
                at: SystemTime::UNIX_EPOCH,
                added: Added::default(),
            }
        }
    }

    #[test]
    fn a_hold_that_does_not_fit_is_refused_alone() {
        let mut chains = chains(10);
        assert_eq!(chains.hold(ACCOUNT, TASK, 6), Ok(()));
        let refused = Err(MovementError::Insufficient { available: 4 });
        assert_eq!(chains.hold(ACCOUNT, TASK, 5), refused);
        assert_eq!(chains.hold(ACCOUNT, TASK, 4), Ok(()));
        assert_eq!(chains.added.sequences, [8, 9]);
        assert_eq!(chains.added.available, [4, 0]);
        assert_eq!(chains.added.open, [1, 2]);
        assert_eq!(chains.open(ACCOUNT), Ok(2));
    }

    #[test]
    fn a_settlement_takes_what_was_delivered_and_gives_back_the_rest() {
        use Kind::{Capture, Release};
        // Kind, amount, and the open tasks after it.
        type Entries<'a> = &'a [(Kind, i64, i32)];
        // held, charged, entries
        let table: [(i64, i64, Entries); 4] = [
            (10, 10, &[(Capture, 10, 0)]),
            (10, 4, &[(Capture, 4, 0), (Release, 6, 0)]),
            (10, 0, &[(Release, 10, 0)]),
            (0, 0, &[(Capture, 0, 0)]),
        ];
        for (held, charged, entries) in table {
            let mut chains = chains(10);
            chains.hold(ACCOUNT, TASK, held).expect("fits");
            chains.settle(ACCOUNT, TASK, held, charged).expect("fits");
            let added = &chains.added;
            let settled: Vec<_> = (1..added.kinds.len())
                .map(|at| (added.kinds[at], added.amounts[at], added.open[at]))
                .collect();
            assert_eq!(settled, entries, "{charged} of {held}");
            let left = Balance {
                available: 10 - charged,
                held: 0,
            };
            assert_eq!(chains.balance(ACCOUNT), Ok(left));
        }
    }

    #[test]
    fn what_cannot_be_adds_nothing() {
        let mut chains = chains(10);
        let unsound = Err(MovementError::Unsound);
        assert_eq!(chains.hold(ACCOUNT, TASK, -1), unsound);
        assert_eq!(chains.hold(TASK, TASK, 1), unsound, "not locked");
        assert_eq!(
            chains.settle(ACCOUNT, TASK, 1, 2),
            unsound,
            "above the hold"
        );
        assert_eq!(
            chains.settle(ACCOUNT, TASK, 5, 5),
            unsound,
            "nothing is held"
        );
        assert_eq!(
            chains.grant(ACCOUNT, i64::MAX, ""),
            Err(MovementError::TooLarge)
        );
        let short = Err(MovementError::Insufficient { available: 10 });
        assert_eq!(chains.expire(ACCOUNT, 11, ""), short);
        assert!(chains.added.accounts.is_empty());
    }
}
