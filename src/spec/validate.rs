//! Limits on fields: what the generated validators call, and what they find.
//!
//! A validator visits every field once and collects every violation, so that one answer names them
//! all. Like the public rules they come from, limits on a string or number speak of a value that was
//! given: an empty optional field is within them.

use uuid::Uuid;

/// One field that is missing or outside its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's JSON name; nested as `options.count`, items as `referenceImages[2]`.
    pub field: String,
    /// What is allowed.
    pub message: String,
}

/// A message that knows its own limits. Implemented by the generated code.
pub trait Validate {
    /// The JSON names of its fields, as they are published.
    const FIELDS: &'static [&'static str];

    /// Reports each violation to `to`.
    fn validate(&self, to: &mut Violations);
}

/// Checks a message.
///
/// # Errors
/// Every violation, in the order of the fields.
pub fn check(message: &impl Validate) -> Result<(), Vec<Violation>> {
    let mut violations = Violations::default();
    message.validate(&mut violations);
    if violations.found.is_empty() {
        Ok(())
    } else {
        Err(violations.found)
    }
}

/// Limits of a string.
#[derive(Clone, Copy)]
pub struct Text {
    /// Must it be given?
    pub required: bool,
    /// The fewest characters.
    pub characters_min: Option<usize>,
    /// The most characters.
    pub characters_max: Option<usize>,
    /// The only values, when there are such.
    pub one_of: &'static [&'static str],
    /// Must it be a UUID?
    pub uuid: bool,
}

/// Limits of an integer.
#[derive(Clone, Copy)]
pub struct Number {
    /// The least value.
    pub least: Option<i64>,
    /// The greatest value.
    pub greatest: Option<i64>,
}

/// Collects violations while a validator walks a message.
#[derive(Default)]
pub struct Violations {
    found: Vec<Violation>,
    path: String,
}

impl Violations {
    /// Reports a violation of `field`.
    pub fn report(&mut self, field: &str, message: impl Into<String>) {
        let field = if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        };
        self.found.push(Violation {
            field,
            message: message.into(),
        });
    }

    /// Walks into a nested message.
    pub fn nested(&mut self, field: &str, message: &impl Validate) {
        let outer = self.path.len();
        if outer > 0 {
            self.path.push('.');
        }
        self.path.push_str(field);
        message.validate(self);
        self.path.truncate(outer);
    }

    /// Checks that a field with presence is there.
    pub fn present(&mut self, field: &str, present: bool) {
        if !present {
            self.report(field, "is required");
        }
    }

    /// Checks a string.
    pub fn text(&mut self, field: &str, value: &str, limits: Text) {
        if value.trim().is_empty() {
            if limits.required {
                self.report(field, "is required and cannot be empty");
            }
            return;
        }
        // The one character that PostgreSQL's text cannot hold.
        if value.contains('\0') {
            self.report(field, "cannot hold the character U+0000");
        }
        // A string has at most as many characters as bytes: only long ones are counted.
        let fits = |most| value.len() <= most || value.chars().count() <= most;
        if let Some(most) = limits.characters_max.filter(|most| !fits(*most)) {
            let given = value.chars().count();
            self.report(
                field,
                format!("has {given} characters; at most {most} are allowed"),
            );
        }
        if let Some(least) = limits
            .characters_min
            .filter(|least| value.chars().count() < *least)
        {
            self.report(
                field,
                format!("is too short; at least {least} characters are needed"),
            );
        }
        if !limits.one_of.is_empty() && !limits.one_of.contains(&value) {
            self.report(
                field,
                format!("must be one of {}", limits.one_of.join(", ")),
            );
        }
        if limits.uuid && Uuid::try_parse(value).is_err() {
            self.report(
                field,
                "must be a UUID such as 0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a",
            );
        }
    }

    /// Checks an integer.
    pub fn number(&mut self, field: &str, value: impl Into<i64>, limits: Number) {
        let value = value.into();
        let below = limits.least.is_some_and(|least| value < least);
        let above = limits.greatest.is_some_and(|greatest| value > greatest);
        if below || above {
            let allowed = match (limits.least, limits.greatest) {
                (Some(least), Some(greatest)) => format!("must be from {least} to {greatest}"),
                (Some(least), None) => format!("must be at least {least}"),
                (_, greatest) => format!("must be at most {}", greatest.unwrap_or(i64::MAX)),
            };
            self.report(field, allowed);
        }
    }

    /// Checks the number of items of a list.
    pub fn items(&mut self, field: &str, count: usize, least: Option<usize>, most: Option<usize>) {
        if let Some(most) = most.filter(|most| count > *most) {
            self.report(
                field,
                format!("has {count} items; at most {most} are allowed"),
            );
        }
        if let Some(least) = least.filter(|least| count < *least) {
            self.report(
                field,
                format!("has {count} items; at least {least} are needed"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Text = Text {
        required: false,
        characters_min: None,
        characters_max: None,
        one_of: &[],
        uuid: false,
    };

    fn messages(check: impl FnOnce(&mut Violations)) -> Vec<String> {
        let mut violations = Violations::default();
        check(&mut violations);
        violations
            .found
            .into_iter()
            .map(|found| format!("{} {}", found.field, found.message))
            .collect()
    }

    #[test]
    fn text_limits() {
        let required = Text {
            required: true,
            ..FREE
        };
        assert_eq!(
            messages(|v| v.text("a", " ", required)),
            ["a is required and cannot be empty"]
        );
        assert!(messages(|v| v.text("a", "", FREE)).is_empty());

        let short = Text {
            characters_max: Some(3),
            ..FREE
        };
        assert!(
            messages(|v| v.text("a", "äöü", short)).is_empty(),
            "characters are counted, not bytes"
        );
        assert_eq!(
            messages(|v| v.text("a", "äöüß", short)),
            ["a has 4 characters; at most 3 are allowed"]
        );

        assert_eq!(
            messages(|v| v.text("a", "a\0", FREE)),
            ["a cannot hold the character U+0000"]
        );

        let listed = Text {
            one_of: &["x", "y"],
            ..FREE
        };
        assert_eq!(
            messages(|v| v.text("a", "z", listed)),
            ["a must be one of x, y"]
        );

        let uuid = Text { uuid: true, ..FREE };
        assert_eq!(messages(|v| v.text("a", "nope", uuid)).len(), 1);
        assert!(messages(|v| v.text("a", "0198c5a2-7a44-7cc1-9d6a-1f2e3d4c5b6a", uuid)).is_empty());
    }

    #[test]
    fn number_and_item_limits() {
        let range = Number {
            least: Some(1),
            greatest: Some(16),
        };
        assert!(messages(|v| v.number("n", 16, range)).is_empty());
        assert_eq!(
            messages(|v| v.number("n", 17, range)),
            ["n must be from 1 to 16"]
        );
        assert_eq!(
            messages(|v| v.number(
                "n",
                0,
                Number {
                    greatest: None,
                    ..range
                }
            )),
            ["n must be at least 1"]
        );
        assert_eq!(
            messages(|v| v.items("l", 3, None, Some(2))),
            ["l has 3 items; at most 2 are allowed"]
        );
    }

    #[test]
    fn nested_fields_are_named_by_their_path() {
        struct Inner;
        impl Validate for Inner {
            const FIELDS: &'static [&'static str] = &["count"];

            fn validate(&self, to: &mut Violations) {
                to.present("count", false);
            }
        }
        assert_eq!(
            messages(|v| v.nested("options", &Inner)),
            ["options.count is required"]
        );
    }
}
