//! Which credits are spent first and which expire, credit by credit.
//!
//! All credits lie on a tape in the order in which they expire. What is held is what lies behind a mark:
//! holding moves the mark forward, giving back moves it back. When credits are granted or their time is
//! over, what lies behind the mark is cut off; what comes back later than that never expires.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use piooy::ledger::{Entry, Kind};

/// When a credit's time is over: on which day, and with which grant's. In order.
type End = (u32, usize);

/// Of a credit whose time is never over.
const NEVER: End = (u32::MAX, 0);

/// The credits of an account.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Purse {
    tape: Vec<End>,
    mark: usize,
    /// The ends that are to come, though no credit may be left of them.
    ends: BTreeSet<End>,
}

/// Days that passed after the entry of a chain that has this number.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub after: i64,
    pub days: u32,
}

/// What is known of a grant: its number among all, and how many days it is good for.
pub type Granted<'a> = BTreeMap<&'a str, (usize, Option<u32>)>;

impl Purse {
    fn cut(&mut self) {
        self.tape.drain(..self.mark);
        self.mark = 0;
    }

    fn grant(&mut self, credits: usize, end: End) {
        self.cut();
        self.tape.extend(vec![end; credits]);
        self.tape.sort_unstable();
        if end != NEVER {
            self.ends.insert(end);
        }
    }

    fn hold(&mut self, credits: usize) -> bool {
        self.mark += credits;
        self.mark <= self.tape.len()
    }

    fn give_back(&mut self, credits: usize) {
        let unknown = credits.saturating_sub(self.mark);
        self.tape.extend(vec![NEVER; unknown]);
        self.mark -= credits - unknown;
    }

    fn is_due(&self, today: u32) -> bool {
        self.ends.first().is_some_and(|(day, _)| *day <= today)
    }

    /// Takes everything whose time is over; answers how much, grant by grant.
    fn sweep(&mut self, today: u32) -> Vec<i64> {
        self.cut();
        let later = self.ends.split_off(&(today + 1, 0));
        let over = std::mem::replace(&mut self.ends, later);
        let taken = over.iter().map(|end| self.count(*end)).collect::<Vec<_>>();
        self.tape.retain(|end| !over.contains(end));
        taken.into_iter().filter(|taken| *taken > 0).collect()
    }

    fn count(&self, end: End) -> i64 {
        let left = &self.tape[self.mark..];
        left.iter().filter(|of| **of == end).count() as i64
    }

    /// What is left of that which expires, soonest first.
    pub fn left(&self) -> Vec<i64> {
        let left = self.ends.iter().map(|end| self.count(*end));
        left.filter(|left| *left > 0).collect()
    }

    /// What may be in the purse after all entries of a chain, in their order. That nothing was left of
    /// what expired leaves no entry, hence the several possibilities.
    ///
    /// # Errors
    /// When an entry cannot be, or one is missing.
    pub fn follow(
        entries: &[Entry],
        granted: &Granted<'_>,
        passed: &[Passed],
    ) -> Result<BTreeSet<Self>, String> {
        let (mut purses, mut today) = (BTreeSet::from([Self::default()]), 0);
        let mut passed = passed.iter().peekable();
        let mut entries = entries.iter().peekable();
        loop {
            // Before anything else happens, what is due may have been taken and have been nothing.
            let swept = |purse: &Self| {
                let mut swept = purse.clone();
                (purse.is_due(today) && swept.sweep(today).is_empty()).then_some(swept)
            };
            let silently: Vec<_> = purses.iter().filter_map(swept).collect();
            purses.extend(silently);
            let next = entries.peek();
            let is_before = |passed: &&Passed| next.is_none_or(|next| passed.after < next.sequence);
            if let Some(night) = passed.next_if(is_before) {
                // What was due was looked for before more days passed.
                purses.retain(|purse| !purse.is_due(today));
                today += night.days;
            } else if let Some(entry) = entries.next() {
                let mut of_it = vec![entry.amount];
                let day_ends = passed.peek().map_or(i64::MAX, |passed| passed.after);
                let expires =
                    |entry: &&Entry| entry.kind == Kind::Expire && entry.sequence <= day_ends;
                while entry.kind == Kind::Expire
                    && let Some(entry) = entries.next_if(expires)
                {
                    of_it.push(entry.amount);
                }
                let after = |purse: &Self| after(purse.clone(), entry, &of_it, granted, today);
                let next: BTreeSet<_> = purses.iter().filter_map(after).collect();
                if next.is_empty() {
                    return Err(format!(
                        "on day {today}, of {purses:?} there cannot be {of_it:?} in {entry:?}"
                    ));
                }
                purses = next;
            } else {
                purses.retain(|purse| !purse.is_due(today));
                let nothing = || format!("on day {today}, something is left whose time is over");
                return (!purses.is_empty()).then_some(purses).ok_or_else(nothing);
            }
        }
    }
}

impl fmt::Debug for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ends, never) = (self.ends.iter(), self.count(NEVER));
        let left = ends.map(|end| (end, self.count(*end)));
        write!(f, "{:?} and {never}", Vec::from_iter(left))
    }
}

/// The purse after an entry, or after all the entries by which credits expire together.
fn after(
    mut purse: Purse,
    entry: &Entry,
    amounts: &[i64],
    granted: &Granted<'_>,
    today: u32,
) -> Option<Purse> {
    let credits = usize::try_from(entry.amount).ok()?;
    match entry.kind {
        Kind::Grant => {
            let (number, days) = granted.get(entry.note.as_str())?;
            let end = days.map_or(NEVER, |days| (today + days, *number));
            purse.grant(credits, end);
        }
        Kind::Hold => purse.hold(credits).then_some(())?,
        Kind::Capture => {}
        Kind::Release => purse.give_back(credits),
        Kind::Expire => (purse.is_due(today) && purse.sweep(today) == amounts).then_some(())?,
    }
    Some(purse)
}

/// A purse into which everything fits proves nothing.
#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Kind, amount, note.
    fn chain(movements: &[(Kind, i64, &str)]) -> Vec<Entry> {
        let entry = |(sequence, (kind, amount, note)): (i64, &(Kind, i64, &str))| Entry {
            sequence,
            kind: *kind,
            amount: *amount,
            available: 0,
            held: 0,
            task_id: None,
            note: (*note).to_owned(),
            at: SystemTime::UNIX_EPOCH,
        };
        (1..).zip(movements).map(entry).collect()
    }

    #[test]
    fn what_ends_first_is_spent_first_and_comes_back_last() {
        let granted = BTreeMap::from([("b", (1, Some(2))), ("m", (2, Some(1))), ("f", (3, None))]);
        let begin = [
            (Kind::Grant, 30, "b"),
            (Kind::Grant, 20, "m"),
            (Kind::Grant, 10, "f"),
            (Kind::Hold, 55, ""),
            (Kind::Release, 15, ""),
        ];
        let passed = [Passed { after: 5, days: 2 }];
        let left = |then: &[(Kind, i64, &str)], passed: &[Passed]| {
            let entries = chain(&[&begin[..], then].concat());
            let purses = Purse::follow(&entries, &granted, passed)?;
            Ok(purses.iter().map(Purse::left).collect::<Vec<_>>())
        };
        assert_eq!(left(&[], &[]), Ok(vec![vec![10]]));
        let all_back = (Kind::Release, 40, "");
        assert_eq!(left(&[all_back], &[]), Ok(vec![vec![20, 30]]));
        assert_eq!(left(&[(Kind::Expire, 10, "")], &passed), Ok(vec![vec![]]));
        let both = [all_back, (Kind::Expire, 20, ""), (Kind::Expire, 30, "")];
        assert_eq!(left(&both, &passed), Ok(vec![vec![]]));
        let wrong: [&[(Kind, i64, &str)]; 6] = [
            &[(Kind::Expire, 9, "")],
            &[],
            &[(Kind::Hold, 21, "")],
            &[all_back, (Kind::Expire, 50, "")],
            &[all_back, (Kind::Expire, 20, "")],
            &[(Kind::Grant, 1, "nobody's")],
        ];
        for wrong in wrong {
            let judged: Result<_, String> = left(wrong, &passed);
            assert!(judged.is_err(), "{wrong:?}: {judged:?}");
        }
        assert!(left(&[(Kind::Expire, 10, "")], &[]).is_err(), "too soon");
    }

    #[test]
    fn what_comes_back_late_never_ends() {
        let granted = BTreeMap::from([("m", (1, Some(1)))]);
        let entries = chain(&[
            (Kind::Grant, 20, "m"),
            (Kind::Hold, 20, ""),
            (Kind::Release, 20, ""),
        ]);
        // Nothing was left at the end of the day, or all came back before that and was not taken.
        let passed = [Passed { after: 2, days: 1 }];
        let purses = Purse::follow(&entries, &granted, &passed).expect("may be");
        let [purse] = Vec::from_iter(purses).try_into().expect("one way");
        assert_eq!((purse.left(), purse.tape), (vec![], vec![NEVER; 20]));
    }
}
