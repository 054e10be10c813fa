//! Whether a row may exist that names this node while the board does not know it: because the answer
//! to its submission was lost on the way, or because its run was let go. Only then is it worth
//! reading every row of this node to find out.
//!
//! A submission whose caller went away may still be on its way to the database. So a doubt stays for
//! [`UNDER_WAY_MAX`], however often it is looked into meanwhile.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::{CONNECTION_WAIT_MAX, STATEMENT_MAX};

/// How long a submission may be under way: what a batch takes at most, after waiting for another.
const UNDER_WAY_MAX: Duration = STATEMENT_MAX
    .saturating_add(CONNECTION_WAIT_MAX)
    .saturating_mul(2);

/// Raised at any time; looked into at every turn.
#[derive(Debug, Default)]
pub(in crate::generation) struct Doubt {
    raised: Mutex<Option<Instant>>,
}

impl Doubt {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn raise(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// Whether there is any. Whoever asks finds out; there is none afterwards if it was old enough.
    pub fn take(&self, now: Instant) -> bool {
        let mut raised = self.lock();
        let is_raised = raised.is_some();
        raised.take_if(|at| now.saturating_duration_since(*at) > UNDER_WAY_MAX);
        is_raised
    }

    /// Raised unless what begins now is settled: also when its caller goes away in the middle.
    pub fn until_settled(&self) -> Unsettled<'_> {
        Unsettled(Some(self))
    }
}

/// Raises the doubt when it is dropped.
pub(in crate::generation) struct Unsettled<'a>(Option<&'a Doubt>);

impl Unsettled<'_> {
    /// There is nothing to doubt.
    pub fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if let Some(doubt) = self.0 {
            doubt.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_settled_is_doubted_as_long_as_it_may_be_under_way() {
        let doubt = Doubt::default();
        doubt.until_settled().settle();
        let now = Instant::now();
        let later = now + UNDER_WAY_MAX * 2;
        assert!(!doubt.take(now));
        drop(doubt.until_settled());
        assert_eq!(
            [now, now, later, later].map(|now| doubt.take(now)),
            [true, true, true, false]
        );
    }
}
