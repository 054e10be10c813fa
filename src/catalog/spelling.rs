//! How people and agents write numbers, seconds and lists. Nothing here knows a model.

/// The most characters of a caller's text that go back in an answer.
const ECHO_CHARS_MAX: usize = 64;

/// Reads a decimal number into thousandths: `5`, `5.0`, `0.5`. `None` for signs, exponents, finer fractions and anything else.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let fine = fraction.trim_end_matches('0');
    if !digits(whole) || !digits(fraction) || fine.len() > 3 {
        return None;
    }
    let fraction: u64 = format!("{fine:0<3}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(fraction)
}

/// Reads `5`, `5s`, `5 seconds` or `5.0` into milliseconds. `None` when it is no positive time.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let number = ["seconds", "second", "secs", "sec", "s"]
        .iter()
        .find_map(|unit| lower.strip_suffix(unit))
        .unwrap_or(&lower);
    thousandths(number.trim_end()).filter(|amount| *amount > 0)
}

/// The usual shapes behind a word, the most usual first; empty for any other word.
pub(super) fn shapes_called(word: &str) -> &'static [&'static str] {
    match word.to_ascii_lowercase().as_str() {
        "landscape" | "horizontal" | "wide" | "widescreen" => &["16:9", "3:2", "4:3"],
        "portrait" | "vertical" | "tall" => &["9:16", "2:3", "3:4"],
        "square" => &["1:1"],
        _ => &[],
    }
}

/// What the caller set: trimmed, and nothing when blank.
pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// A caller's text cut to a length fit for an answer.
pub(super) fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn either(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        for (text, expected) in [
            ("5", Some(5000)),
            ("5.0", Some(5000)),
            ("0.5", Some(500)),
            ("1.125000", Some(1125)),
            ("1.1255", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("-5", None),
            ("+5", None),
            ("5e3", None),
            ("99999999999999999999", None),
            ("18446744073709552", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }

    #[test]
    fn seconds_come_in_many_spellings() {
        for text in ["5", "5s", "5S", "5 s", "5sec", "5 seconds", "5.0", " 5.0s "] {
            assert_eq!(milliseconds(text), Some(5000), "{text}");
        }
        for text in ["", "s", "0", "0s", "five", "5 minutes", "-5"] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn lists_read_as_english() {
        let words =
            |list: &[&str]| either(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(words(&["4"]), "4");
        assert_eq!(words(&["4", "6"]), "4 or 6");
        assert_eq!(words(&["4", "6", "8"]), "4, 6 or 8");
    }
}
