//! How much a key may spend, whatever its account has: for handing a key to an agent and sleeping well.
//!
//! Caps are fixed when the key is made, like everything about it. Each is of that key alone.

/// The most credits that one key may spend. What is `None` is not capped; a cap of 0 lets it spend nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendingCaps {
    /// In an hour of the clock.
    pub per_hour: Option<i64>,
    /// On a day, by UTC.
    pub per_day: Option<i64>,
    /// In the life of the key.
    pub total: Option<i64>,
}

impl SpendingCaps {
    /// No caps.
    pub const NONE: SpendingCaps = SpendingCaps {
        per_hour: None,
        per_day: None,
        total: None,
    };

    /// True when nothing is capped.
    pub fn is_none(self) -> bool {
        self == SpendingCaps::NONE
    }

    pub(super) fn are_possible(self) -> bool {
        [self.per_hour, self.per_day, self.total]
            .into_iter()
            .flatten()
            .all(|credits| credits >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(per_hour: Option<i64>, per_day: Option<i64>, total: Option<i64>) -> SpendingCaps {
        SpendingCaps {
            per_hour,
            per_day,
            total,
        }
    }

    #[test]
    fn negative_caps_are_impossible() {
        assert!(SpendingCaps::NONE.are_possible() && SpendingCaps::NONE.is_none());
        assert!(caps(Some(0), None, None).are_possible());
        assert!(!caps(None, None, Some(-1)).are_possible());
    }
}
