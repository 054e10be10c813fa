//! A day of the calendar in UTC.

use std::fmt;
use std::time::{Duration, SystemTime};

const SECONDS: u64 = 24 * 60 * 60;

/// A day from 1970 on. Leap seconds belong to no day of their own, as in POSIX time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// Days since the first of January 1970, of which every one until the year 9999 can be.
    number: u32,
}

impl Day {
    /// The one with this number, counted from the first of January 1970.
    pub(super) fn of_number(number: u32) -> Self {
        Self { number }
    }

    /// The day of a moment; the first one for moments before.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let number = since.unwrap_or_default().as_secs() / SECONDS;
        Self {
            number: u32::try_from(number).unwrap_or(u32::MAX),
        }
    }

    /// Reads `2026-01-31`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let begin = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()?;
        Some(Self::of(begin))
    }

    /// The moment at which it begins.
    #[must_use]
    pub fn begin(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(self.number) * SECONDS)
    }

    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            number: self.number.saturating_add(1),
        }
    }

    /// So many days before, but none before the first.
    #[must_use]
    pub fn earlier(self, days: u32) -> Self {
        Self {
            number: self.number.saturating_sub(days),
        }
    }

    /// This day and all that follow to `last`.
    pub fn through(self, last: Self) -> impl DoubleEndedIterator<Item = Self> {
        (self.number..=last.number).map(Self::of_number)
    }
}

/// As `2026-01-31`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = humantime::format_rfc3339_seconds(self.begin()).to_string();
        f.write_str(begin.split('T').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_told() {
        for (text, number) in [
            ("1970-01-01", 0),
            ("1972-03-01", 790),
            ("2026-01-31", 20_484),
            ("9999-12-31", 2_932_896),
        ] {
            let day = Day::parse(text).expect(text);
            assert_eq!((day.number, day.to_string().as_str()), (number, text));
            assert_eq!(Day::of(day.begin()), day);
            assert_eq!(Day::of(day.next().begin() - Duration::from_nanos(1)), day);
            assert_eq!(day.next().earlier(1), day);
        }
        for none in [
            "",
            "2026-02-29",
            "2026-13-01",
            "26-01-31",
            "1969-12-31",
            "2026-01-31T00:00:00Z",
            "2026-1-31",
            "today",
        ] {
            assert_eq!(Day::parse(none), None, "{none}");
        }
        let first = Day::parse("2026-02-27").expect("a day");
        let days: Vec<String> = first
            .through(first.next().next())
            .map(|day| day.to_string())
            .collect();
        assert_eq!(days, ["2026-02-27", "2026-02-28", "2026-03-01"]);
        assert_eq!(first.through(first.earlier(1)).count(), 0);
    }
}
