//! Where a task stands, and the only function that says where it may go from there.
//!
//! ```text
//! PENDING ──start──▶ PROCESSING ──deliver──▶ SUCCESS
//!    │                 │  ▲ │
//!    │                 └──┘ start: another attempt
//!    └──── fail, cancel ────┴──────────────▶ FAILED, CANCELED
//! ```
//!
//! The database holds the same table: a trigger (`tasks_move_by_the_rule`) refuses every other move.

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted and paid for, not started yet.
    Pending,
    /// Being made.
    Processing,
    /// Done. Final.
    Success,
    /// Not done, and the credits were given back. Final.
    Failed,
    /// Stopped on request, and the credits were given back. Final.
    Canceled,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An upstream is about to be asked; again, when the attempt before was refused.
    Start,
    /// The results are stored.
    Deliver,
    /// It cannot be done.
    Fail,
    /// It was stopped on request.
    Cancel,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Processing,
        Self::Success,
        Self::Failed,
        Self::Canceled,
    ];

    /// The status after an event; `None` when the event cannot happen to a task that stands so.
    #[must_use]
    pub fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Pending | Self::Processing, Event::Start) => Some(Self::Processing),
            (Self::Processing, Event::Deliver) => Some(Self::Success),
            (Self::Pending | Self::Processing, Event::Fail) => Some(Self::Failed),
            (Self::Pending | Self::Processing, Event::Cancel) => Some(Self::Canceled),
            (Self::Pending, Event::Deliver)
            | (Self::Success | Self::Failed | Self::Canceled, _) => None,
        }
    }

    /// Whether nothing can happen to the task any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Processing => false,
            Self::Success | Self::Failed | Self::Canceled => true,
        }
    }

    /// The word for it in the database and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_move_is_in_the_table() {
        use Event::{Cancel, Deliver, Fail, Start};
        use Status::{Canceled, Failed, Pending, Processing, Success};
        let table = [
            (
                Pending,
                [Some(Processing), None, Some(Failed), Some(Canceled)],
            ),
            (
                Processing,
                [
                    Some(Processing),
                    Some(Success),
                    Some(Failed),
                    Some(Canceled),
                ],
            ),
            (Success, [None; 4]),
            (Failed, [None; 4]),
            (Canceled, [None; 4]),
        ];
        assert_eq!(table.map(|(status, _)| status), Status::ALL);
        for (status, row) in table {
            assert_eq!(
                [Start, Deliver, Fail, Cancel].map(|event| status.after(event)),
                row,
                "{status:?}"
            );
            assert_eq!(status.is_final(), row == [None; 4], "{status:?}");
        }
    }

    #[test]
    fn words_are_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("success"), None);
    }
}
