//! What a capped key has spent: the prices of the tasks that it submitted, less what those gave back,
//! by the hour, by the day and in all. Hours and days are those of UTC.

use std::time::{Duration, SystemTime};

use crate::accounts::SpendingCaps;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Credits spent, all zero by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spending {
    /// When the hour began in which something was spent last.
    pub hour: SystemTime,
    pub in_hour: i64,
    /// When the day began.
    pub day: SystemTime,
    pub in_day: i64,
    pub in_all: i64,
}

impl Default for Spending {
    fn default() -> Self {
        Self {
            hour: SystemTime::UNIX_EPOCH,
            in_hour: 0,
            day: SystemTime::UNIX_EPOCH,
            in_day: 0,
            in_all: 0,
        }
    }
}

/// Why a key may not spend that much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::generation) struct CapReached {
    /// How much it may spend …
    pub cap: i64,
    /// … in this: "hour", "day", or, for good, "total".
    pub window: &'static str,
    /// How much it has spent in that.
    pub spent: i64,
    /// When it may spend again; never for "total".
    pub resets_at: Option<SystemTime>,
}

impl Spending {
    /// As it stands at a moment: an hour or a day that is over counts no more.
    pub fn at(mut self, now: SystemTime) -> Self {
        let (hour, day) = (start(now, HOUR), start(now, DAY));
        if self.hour < hour {
            (self.hour, self.in_hour) = (hour, 0);
        }
        if self.day < day {
            (self.day, self.in_day) = (day, 0);
        }
        self
    }

    /// With `amount` more, if the caps allow it.
    pub fn spend(self, amount: i64, caps: SpendingCaps) -> Result<Self, CapReached> {
        let windows = [
            (caps.per_hour, "hour", self.in_hour, Some(self.hour + HOUR)),
            (caps.per_day, "day", self.in_day, Some(self.day + DAY)),
            (caps.total, "total", self.in_all, None),
        ];
        for (cap, window, spent, resets_at) in windows {
            if let Some(cap) = cap.filter(|cap| spent.saturating_add(amount) > *cap) {
                return Err(CapReached {
                    cap,
                    window,
                    spent,
                    resets_at,
                });
            }
        }
        Ok(Self {
            in_hour: self.in_hour.saturating_add(amount),
            in_day: self.in_day.saturating_add(amount),
            in_all: self.in_all.saturating_add(amount),
            ..self
        })
    }

    /// With `amount` less, that was spent at `spent_at`. The statement `give_back.sql` does the same.
    pub fn give_back(self, amount: i64, spent_at: SystemTime) -> Self {
        let since = |start| if spent_at >= start { amount } else { 0 };
        Self {
            in_hour: self.in_hour - since(self.hour),
            in_day: self.in_day - since(self.day),
            in_all: self.in_all - amount,
            ..self
        }
    }
}

/// When the window around a moment began.
fn start(moment: SystemTime, window: Duration) -> SystemTime {
    let since = moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let over = Duration::from_secs(since.as_secs() % window.as_secs());
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()) - over
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + HOUR * u32::try_from(hours).expect("small") + HOUR / 2
    }

    #[test]
    fn each_window_has_its_own_cap_and_end() {
        let caps = SpendingCaps {
            per_hour: Some(10),
            per_day: Some(15),
            total: Some(25),
        };
        let first = Spending::default().at(at(50)).spend(10, caps);
        let first = first.expect("within every cap");
        let refused = |cap, window, spent, resets_at| {
            Err(CapReached {
                cap,
                window,
                spent,
                resets_at,
            })
        };
        let hour_ends = Some(at(51) - HOUR / 2);
        assert_eq!(
            first.at(at(50)).spend(1, caps),
            refused(10, "hour", 10, hour_ends)
        );
        let second = first.at(at(51)).spend(5, caps).expect("another hour");
        let day_ends = Some(at(72) - HOUR / 2);
        assert_eq!(
            second.at(at(52)).spend(1, caps),
            refused(15, "day", 15, day_ends)
        );
        let third = second.at(at(72)).spend(10, caps).expect("another day");
        assert_eq!(
            third.at(at(96)).spend(1, caps),
            refused(25, "total", 25, None)
        );
        assert_eq!(
            third.at(at(96)).spend(0, caps).map(|spent| spent.in_all),
            Ok(25)
        );
    }

    #[test]
    fn what_is_given_back_counts_no_more_where_it_counted() {
        let spent = |hours| {
            let spent = Spending::default().at(at(50)).spend(10, SpendingCaps::NONE);
            let spent = spent.expect("nothing is capped").at(at(hours));
            let spent = spent.spend(7, SpendingCaps::NONE).expect("nor now");
            let left = spent.give_back(4, at(50));
            (left.in_hour, left.in_day, left.in_all)
        };
        assert_eq!(spent(50), (13, 13, 13));
        assert_eq!(spent(51), (7, 13, 13), "another hour");
        assert_eq!(spent(72), (7, 7, 13), "another day");
    }
}
