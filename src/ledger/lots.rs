//! Credits that expire: which of an account's credits are spent first, and what of them is left.
//!
//! Every submission spends whatever expires soonest, but none writes that down: a busy account would
//! get a busy row. It need not. As long as no credits are granted and none expire, what is left of
//! each lot follows from what is available in all, since the lots are spent one after the other. So
//! the lots are brought up to date ([`spend`]) only when one joins or leaves, under the lock of the
//! account, by whoever does that.
//!
//! Credits that are held count as spent and do not expire meanwhile. What a task gives back goes to
//! the lots it came from, the latest first; what is more than they lacked when the lots were last
//! brought up to date belongs to those that never expire. That has to be written down at once
//! (`Chains::append`): what is spent afterwards is spent from the lots, and what is available in all
//! does not tell that from credits that never came back.

use std::time::SystemTime;

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use crate::store::StoreError;

/// Credits of an account that expire together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// How many are left; held ones are not.
    pub remaining: i64,
    /// From when on they cannot be spent any more.
    pub expires_at: SystemTime,
}

/// All credits that an account has available, by when they expire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lots {
    /// In order of expiry.
    pub expiring: Vec<Lot>,
    /// What never expires.
    never: i64,
}

impl Lots {
    /// The lots of an account that has `available` credits.
    pub async fn read(
        client: &impl GenericClient,
        account: Uuid,
        available: i64,
    ) -> Result<Self, StoreError> {
        let statement = client.prepare_cached(include_str!("sql/lots.sql")).await?;
        let rows = client.query(&statement, &[&account]).await?;
        let (mut expiring, mut amounts, mut never) = (Vec::new(), Vec::new(), 0);
        for row in rows {
            match row.try_get(1)? {
                Some(expires_at) => {
                    expiring.push(expires_at);
                    amounts.push(row.try_get(0)?);
                }
                None => never = row.try_get(0)?,
            }
        }
        amounts.push(never);
        spend(&mut amounts, available);
        let never = amounts.pop().unwrap_or_default();
        let lot = |(remaining, expires_at)| Lot {
            remaining,
            expires_at,
        };
        Ok(Self {
            expiring: amounts.into_iter().zip(expiring).map(lot).collect(),
            never,
        })
    }

    /// Adds a lot.
    pub fn add(&mut self, remaining: i64, expires_at: Option<SystemTime>) {
        match expires_at {
            None => self.never += remaining,
            Some(expires_at) => {
                self.expiring.push(Lot {
                    remaining,
                    expires_at,
                });
                self.expiring.sort_by_key(|lot| lot.expires_at);
            }
        }
    }

    /// Takes out the lots whose time is over.
    pub fn take_over(&mut self, now: SystemTime) -> Vec<Lot> {
        let over = self.expiring.partition_point(|lot| lot.expires_at <= now);
        self.expiring.drain(..over).collect()
    }

    /// Writes them down, under the lock of the account. Of an account of which nothing expires, there
    /// is nothing to write.
    pub async fn write(
        &self,
        client: &impl GenericClient,
        account: Uuid,
    ) -> Result<(), StoreError> {
        let mut ends: Vec<_> = self
            .expiring
            .iter()
            .map(|lot| Some(lot.expires_at))
            .collect();
        let mut amounts: Vec<_> = self.expiring.iter().map(|lot| lot.remaining).collect();
        if !ends.is_empty() {
            ends.push(None);
            amounts.push(self.never);
        }
        let statement = client
            .prepare_cached(include_str!("sql/write_lots.sql"))
            .await?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&account, &ends, &amounts];
        client.execute(&statement, &values).await?;
        Ok(())
    }
}

/// What is left of lots when `available` of their credits are. `lots` are what each had, in order of
/// expiry, the last one being what never expires.
pub(super) fn spend(lots: &mut [i64], available: i64) {
    let Some((never, expiring)) = lots.split_last_mut() else {
        return;
    };
    // From the far end: what is left is what is spent last.
    let mut left = available;
    let kept_forever = left.min(*never);
    left -= kept_forever;
    for lot in expiring.iter_mut().rev() {
        *lot = left.min(*lot);
        left -= *lot;
    }
    *never = kept_forever + left;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_first_is_spent_first() {
        // had, available, left
        let table: [(&[i64], i64, &[i64]); 7] = [
            (&[50, 30, 20], 100, &[50, 30, 20]),
            (&[50, 30, 20], 60, &[10, 30, 20]),
            (&[50, 30, 20], 35, &[0, 15, 20]),
            (&[50, 30, 20], 5, &[0, 0, 5]),
            (&[50, 30, 20], 0, &[0, 0, 0]),
            (&[50, 30, 20], 110, &[50, 30, 30]),
            (&[7], 9, &[9]),
        ];
        for (had, available, left) in table {
            let mut lots = had.to_vec();
            spend(&mut lots, available);
            assert_eq!(lots, left, "{available} of {had:?}");
            assert_eq!(lots.iter().sum::<i64>(), available);
        }
    }
}
