//! Which part of a file a request wants, if any: RFC 9110 §13 (conditions) and §14 (ranges).
//!
//! Pure text in, a decision out; the face that speaks HTTP only carries it out. Files have strong
//! entity tags, so dates are not needed: an `If-Range` with a date never matches and the whole file
//! is sent, which is always right.

use std::ops::Range;

/// The header fields of a `GET` or `HEAD` that bear on the answer. A field that came on several
/// lines is joined with commas.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    /// `Range`.
    pub range: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
}

/// How to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// 200 with everything.
    Full,
    /// 206 with these bytes, at least one.
    Partial(Range<u64>),
    /// 304: the client has it already.
    NotModified,
    /// 416: the range starts beyond the end.
    Unsatisfiable,
}

impl Decision {
    /// The `Content-Range` that goes with this answer about a file of `size_bytes`.
    #[must_use]
    pub fn content_range(&self, size_bytes: u64) -> Option<String> {
        match self {
            Self::Partial(range) => Some(format!(
                "bytes {}-{}/{size_bytes}",
                range.start,
                range.end - 1
            )),
            Self::Unsatisfiable => Some(format!("bytes */{size_bytes}")),
            Self::Full | Self::NotModified => None,
        }
    }
}

/// Decides in the order of RFC 9110 §13.2.2. `etag` is strong and has its quotes.
#[must_use]
pub fn decide(conditions: &Conditions<'_>, etag: &str, size_bytes: u64) -> Decision {
    if conditions
        .if_none_match
        .is_some_and(|tags| any_tag_matches(tags, etag))
    {
        return Decision::NotModified;
    }
    // `If-Range` asks for the strong comparison: one weak tag or a date is no match.
    let range_is_wanted = conditions
        .if_range
        .is_none_or(|validator| validator.trim() == etag);
    match conditions.range.and_then(parse_range) {
        Some(range) if range_is_wanted => range.within(size_bytes),
        _ => Decision::Full,
    }
}

/// One byte range as asked for; both ends are inclusive.
#[derive(Debug, Clone, Copy)]
enum AskedRange {
    From(u64),
    FromTo(u64, u64),
    Last(u64),
}

impl AskedRange {
    fn within(self, size_bytes: u64) -> Decision {
        let range = match self {
            Self::From(first) => first..size_bytes,
            Self::FromTo(first, last) => first..last.saturating_add(1).min(size_bytes),
            Self::Last(0) => return Decision::Unsatisfiable,
            // The suffix of an empty file is the whole of it, which no `Content-Range` can express.
            Self::Last(_) if size_bytes == 0 => return Decision::Full,
            Self::Last(count) => size_bytes.saturating_sub(count)..size_bytes,
        };
        if range.is_empty() {
            Decision::Unsatisfiable
        } else {
            Decision::Partial(range)
        }
    }
}

/// Reads a `Range` of one part. Malformed fields, other units and several parts are `None`, since a
/// server may ignore any `Range` (§14.2).
fn parse_range(field: &str) -> Option<AskedRange> {
    let (unit, parts) = field.trim().split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = parts.trim().split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, false) => Some(AskedRange::Last(position(last)?)),
        (false, true) => Some(AskedRange::From(position(first)?)),
        (false, false) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(AskedRange::FromTo(first, last))
        }
        (true, true) => None,
    }
}

/// Digits alone; a number beyond 64 bits is as good as the greatest.
fn position(digits: &str) -> Option<u64> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The weak comparison of §8.8.3.2 against each tag of a list, or `*`.
fn any_tag_matches(field: &str, etag: &str) -> bool {
    if field.trim() == "*" {
        return true;
    }
    let mut rest = field;
    // A tag may hold commas, so the list is cut at quotes: `W/"a,b", "c"`.
    while let Some((_, after)) = rest.split_once('"') {
        let Some((opaque, next)) = after.split_once('"') else {
            return false;
        };
        if opaque == etag.trim_matches('"') {
            return true;
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"a,b\"";

    #[test]
    fn ranges_are_cut_to_the_file() {
        use Decision::{Full, Partial, Unsatisfiable};
        let cases = [
            ("bytes=0-0", 10, Partial(0..1)),
            ("bytes=0-9", 10, Partial(0..10)),
            ("bytes=2-5", 10, Partial(2..6)),
            ("bytes=2-500", 10, Partial(2..10)),
            ("bytes=9-", 10, Partial(9..10)),
            ("bytes=0-", 10, Partial(0..10)),
            ("bytes=-3", 10, Partial(7..10)),
            ("bytes=-10", 10, Partial(0..10)),
            ("bytes=-11", 10, Partial(0..10)),
            ("BYTES=2-5", 10, Partial(2..6)),
            ("bytes= 2-5 ", 10, Partial(2..6)),
            ("bytes=0-99999999999999999999999", 10, Partial(0..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-12", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-5", 0, Full),
            // Several parts are answered with the whole.
            ("bytes=0-1,4-5", 10, Full),
            ("bytes=0-1, -1", 10, Full),
            // Malformed or foreign fields are ignored.
            ("bytes=5-2", 10, Full),
            ("bytes=-", 10, Full),
            ("bytes=", 10, Full),
            ("bytes", 10, Full),
            ("bytes=a-b", 10, Full),
            ("bytes=+1-2", 10, Full),
            ("bytes=--1", 10, Full),
            ("bytes=1-2-3", 10, Full),
            ("bytes 0-1", 10, Full),
            ("pages=0-1", 10, Full),
            ("", 10, Full),
        ];
        for (field, size_bytes, expected) in cases {
            let conditions = Conditions {
                range: Some(field),
                ..Conditions::default()
            };
            assert_eq!(
                decide(&conditions, ETAG, size_bytes),
                expected,
                "{field} of {size_bytes}"
            );
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        use Decision::{Full, NotModified, Partial};
        let cases = [
            (None, None, None, Full),
            (Some("*"), None, None, NotModified),
            (Some("\"a,b\""), None, None, NotModified),
            (Some("W/\"a,b\""), None, None, NotModified),
            (Some("\"x\", W/\"y\" ,\"a,b\""), None, None, NotModified),
            (Some("\"a,b\""), None, Some("bytes=0-1"), NotModified),
            (Some("\"a\",\"b\""), None, None, Full),
            (Some("a,b"), None, None, Full),
            (Some("\"a,b"), None, None, Full),
            (Some(""), None, None, Full),
            (Some("\"x\""), None, Some("bytes=0-1"), Partial(0..2)),
            (None, Some("\"a,b\""), Some("bytes=0-1"), Partial(0..2)),
            (None, Some("\"a,b\""), None, Full),
            (None, Some("\"x\""), Some("bytes=0-1"), Full),
            (None, Some("\"x\""), Some("bytes=99-"), Full),
            // Only a strong tag may join parts of a file.
            (None, Some("W/\"a,b\""), Some("bytes=0-1"), Full),
            (
                None,
                Some("Tue, 15 Nov 1994 12:45:26 GMT"),
                Some("bytes=0-1"),
                Full,
            ),
        ];
        for (if_none_match, if_range, range, expected) in cases {
            let conditions = Conditions {
                range,
                if_none_match,
                if_range,
            };
            assert_eq!(decide(&conditions, ETAG, 10), expected, "{conditions:?}");
        }
    }

    #[test]
    fn content_range_is_told_where_it_belongs() {
        let told = |decision: Decision| decision.content_range(10);
        assert_eq!(
            told(Decision::Partial(2..6)).as_deref(),
            Some("bytes 2-5/10")
        );
        assert_eq!(told(Decision::Unsatisfiable).as_deref(), Some("bytes */10"));
        assert_eq!(told(Decision::Full), None);
        assert_eq!(told(Decision::NotModified), None);
    }
}
