//! Directives in a prompt, by which an integrator rehearses an outcome: `[sandbox:fail=content_policy] a red fox`.
//!
//! A directive stands anywhere in the prompt, in square brackets, as `[sandbox:NAME]` or `[sandbox:NAME=VALUE]`, in any letter case. What
//! begins like a directive must be one: a misspelt rehearsal is refused, never quietly painted. Each name may be given once.

use std::time::Duration;

/// Longest delay that may be asked for.
pub const DELAY_MAX: Duration = Duration::from_secs(600);
/// Most outputs that `partial` may name.
pub const PARTIAL_MAX: u32 = 100;

const OPENING: &str = "[sandbox:";
const EXISTING: &str = "[sandbox:fail=REASON] with REASON one of content_policy, provider_error, timeout, invalid_input or rate_limited; \
    [sandbox:delay=TIME] with TIME such as 500ms, 30s or 2m, up to 10m; \
    [sandbox:partial=N] with N from 1 to 100; \
    [sandbox:crash]; \
    [sandbox:hang]";

/// The failure that a sandbox task is told to end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailWith {
    /// The upstream refuses the prompt.
    ContentPolicy,
    /// The upstream breaks.
    ProviderError,
    /// The upstream does not answer in time.
    Timeout,
    /// The upstream cannot take the input.
    InvalidInput,
    /// The upstream wants fewer calls.
    RateLimited,
}

/// What a prompt tells the sandbox to do besides painting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// End with this failure.
    pub fail: Option<FailWith>,
    /// Wait this long first, at most [`DELAY_MAX`].
    pub delay: Duration,
    /// Crash midway.
    pub crash: bool,
    /// Never finish.
    pub hang: bool,
    /// Deliver only so many of the asked outputs, 1 to [`PARTIAL_MAX`].
    pub partial: Option<u32>,
}

/// Why the directives of a prompt were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// There is no directive of this name, or its value is not one it takes.
    #[error(
        "the prompt has a sandbox directive that does not exist: {directive}; these exist: {EXISTING}"
    )]
    Unknown { directive: String },
    /// The closing bracket is missing.
    #[error(
        "the prompt has a sandbox directive without a closing bracket; these exist: {EXISTING}"
    )]
    Unclosed,
    /// One directive was given twice.
    #[error("the prompt has the sandbox directive \"{name}\" twice; give each directive once")]
    Repeated { name: String },
}

/// Takes the directives out of a prompt and returns them with what is left of it.
///
/// What stood around a directive is joined with one space; a prompt without directives stays as it is.
///
/// # Errors
/// [`DirectiveError`] when something begins like a directive and is none; its text lists the directives that exist.
pub fn parse(prompt: &str) -> Result<(Directives, String), DirectiveError> {
    let mut directives = Directives::default();
    let mut names = Vec::new();
    let mut pieces = Vec::new();
    let mut rest = prompt;
    while let Some(start) = find_opening(rest) {
        pieces.push(rest[..start].trim());
        let after = &rest[start + OPENING.len()..];
        let end = after.find(']').ok_or(DirectiveError::Unclosed)?;
        let directive = after[..end].trim().to_ascii_lowercase();
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (directive.as_str(), None),
        };
        if names.iter().any(|known| known == name) {
            return Err(DirectiveError::Repeated {
                name: name.to_owned(),
            });
        }
        apply(&mut directives, name, value).ok_or_else(|| DirectiveError::Unknown {
            directive: shown(&after[..end]),
        })?;
        names.push(name.to_owned());
        rest = &after[end + 1..];
    }
    if pieces.is_empty() {
        return Ok((directives, prompt.to_owned()));
    }
    pieces.push(rest.trim());
    pieces.retain(|piece| !piece.is_empty());
    Ok((directives, pieces.join(" ")))
}

fn find_opening(text: &str) -> Option<usize> {
    let opening = OPENING.as_bytes();
    text.as_bytes()
        .windows(opening.len())
        .position(|window| window.eq_ignore_ascii_case(opening))
}

/// The directive as the caller wrote it, shortened so that an error stays readable.
fn shown(directive: &str) -> String {
    format!(
        "{OPENING}{}]",
        directive.chars().take(60).collect::<String>()
    )
}

/// Carries one directive over, or nothing when it does not exist.
fn apply(directives: &mut Directives, name: &str, value: Option<&str>) -> Option<()> {
    match (name, value) {
        ("fail", Some(reason)) => directives.fail = Some(failure(reason)?),
        ("delay", Some(time)) => directives.delay = delay(time)?,
        ("partial", Some(count)) => {
            directives.partial = Some(
                count
                    .parse()
                    .ok()
                    .filter(|count| (1..=PARTIAL_MAX).contains(count))?,
            )
        }
        ("crash", None) => directives.crash = true,
        ("hang", None) => directives.hang = true,
        _ => return None,
    }
    Some(())
}

fn failure(reason: &str) -> Option<FailWith> {
    Some(match reason {
        "content_policy" => FailWith::ContentPolicy,
        "provider_error" => FailWith::ProviderError,
        "timeout" => FailWith::Timeout,
        "invalid_input" => FailWith::InvalidInput,
        "rate_limited" => FailWith::RateLimited,
        _ => return None,
    })
}

fn delay(time: &str) -> Option<Duration> {
    let digits = time.find(|character: char| !character.is_ascii_digit())?;
    let (count, unit) = time.split_at(digits);
    let milliseconds_a_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    let milliseconds = count
        .parse::<u64>()
        .ok()?
        .checked_mul(milliseconds_a_unit)?;
    Some(Duration::from_millis(milliseconds)).filter(|delay| *delay <= DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(prompt: &str) -> Directives {
        parse(prompt).expect("these directives exist").0
    }

    #[test]
    fn a_prompt_without_directives_stays_as_it_is() {
        for prompt in [
            "",
            "  a fox,\n [sandbox] in  a box ",
            "sandbox:fail",
            "дом у моря 🏠",
        ] {
            assert_eq!(
                parse(prompt),
                Ok((Directives::default(), prompt.to_owned()))
            );
        }
    }

    #[test]
    fn directives_are_taken_out_wherever_they_stand() {
        let (found, left) =
            parse("[sandbox:delay=30s] a red [Sandbox:Crash] fox [sandbox: partial = 2 ]")
                .expect("all exist");
        assert_eq!(left, "a red fox");
        assert_eq!(
            found,
            Directives {
                delay: Duration::from_secs(30),
                crash: true,
                partial: Some(2),
                ..Directives::default()
            }
        );
        assert_eq!(
            parse("[sandbox:hang]").map(|(found, left)| (found.hang, left)),
            Ok((true, String::new()))
        );
    }

    #[test]
    fn every_failure_has_its_name() {
        let all = [
            ("content_policy", FailWith::ContentPolicy),
            ("provider_error", FailWith::ProviderError),
            ("timeout", FailWith::Timeout),
            ("invalid_input", FailWith::InvalidInput),
            ("rate_limited", FailWith::RateLimited),
        ];
        for (name, failure) in all {
            assert_eq!(
                directives(&format!("[sandbox:fail={name}]")).fail,
                Some(failure)
            );
            assert!(EXISTING.contains(name));
        }
    }

    #[test]
    fn delays_have_a_unit_and_a_bound() {
        assert_eq!(
            directives("[sandbox:delay=250ms]").delay,
            Duration::from_millis(250)
        );
        assert_eq!(directives("[sandbox:delay=10m]").delay, DELAY_MAX);
        for wrong in [
            "601s",
            "11m",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1h",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(
                matches!(
                    parse(&format!("[sandbox:delay={wrong}]")),
                    Err(DirectiveError::Unknown { .. })
                ),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_begins_like_a_directive_must_be_one() {
        let wrong = [
            "[sandbox:]",
            "[sandbox:explode]",
            "[sandbox:crash=1]",
            "[sandbox:fail]",
            "[sandbox:fail=luck]",
            "[sandbox:partial=0]",
            "[sandbox:partial=101]",
        ];
        for prompt in wrong {
            let error = parse(prompt).expect_err(prompt).to_string();
            for name in [
                prompt,
                "fail=",
                "delay=",
                "partial=",
                "[sandbox:crash]",
                "[sandbox:hang]",
            ] {
                assert!(error.contains(name), "{error}");
            }
        }
        assert_eq!(parse("a fox [sandbox:crash"), Err(DirectiveError::Unclosed));
        assert_eq!(
            parse("[sandbox:hang][sandbox:hang]"),
            Err(DirectiveError::Repeated {
                name: "hang".to_owned()
            })
        );
    }
}
