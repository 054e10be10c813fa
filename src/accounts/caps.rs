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

    /// True when each cap of `outer` has a cap here that is no larger.
    pub fn are_within(self, outer: SpendingCaps) -> bool {
        let tight = |inner: Option<i64>, outer: Option<i64>| {
            outer.is_none_or(|outer| inner.is_some_and(|inner| inner <= outer))
        };
        tight(self.per_hour, outer.per_hour)
            && tight(self.per_day, outer.per_day)
            && tight(self.total, outer.total)
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
    fn caps_are_within_others_when_none_is_looser() {
        let outer = caps(Some(10), None, Some(100));
        for within in [outer, caps(Some(0), Some(5), Some(99))] {
            assert!(within.are_within(outer), "{within:?}");
            assert!(within.are_within(SpendingCaps::NONE), "{within:?}");
        }
        for beyond in [
            SpendingCaps::NONE,
            caps(None, Some(5), Some(99)),
            caps(Some(11), None, Some(100)),
            caps(Some(10), None, Some(101)),
        ] {
            assert!(!beyond.are_within(outer), "{beyond:?}");
        }
    }

    #[test]
    fn negative_caps_are_impossible() {
        assert!(SpendingCaps::NONE.are_possible() && SpendingCaps::NONE.is_none());
        assert!(caps(Some(0), None, None).are_possible());
        assert!(!caps(None, None, Some(-1)).are_possible());
    }
}
