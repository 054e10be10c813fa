//! Takes typed values out of one TOML table and writes down what is wrong with each, instead of stopping at the first.
//!
//! A getter takes its field away and returns `None` after it has noted a mistake; what is left at the end nobody knows. The caller reads
//! every field before it gives up, so an operator sees all mistakes of a file in one go.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::{Mistake, mistake};

/// The most items of any list in a model file.
const ITEMS_MAX: usize = 100;
/// How alike an unknown field must be to a known one (Jaro-Winkler, 0 to 1) to be taken for a slip.
const SLIP: f64 = 0.85;

/// One table of a model file on its way into a value.
pub(super) struct Reader<'mistakes> {
    model: String,
    /// The path of the table within the entry, with a dot at its end; empty for the entry itself.
    path: String,
    table: Table,
    known: Vec<&'static str>,
    mistakes: &'mistakes mut Vec<Mistake>,
}

impl<'mistakes> Reader<'mistakes> {
    pub(super) fn new(model: String, table: Table, mistakes: &'mistakes mut Vec<Mistake>) -> Self {
        Self {
            model,
            path: String::new(),
            table,
            known: Vec::new(),
            mistakes,
        }
    }

    /// A reader for a table within this one.
    pub(super) fn within(&mut self, path: &str, table: Table) -> Reader<'_> {
        Reader {
            model: self.model.clone(),
            path: format!("{}{path}.", self.path),
            table,
            known: Vec::new(),
            mistakes: self.mistakes,
        }
    }

    pub(super) fn wrong(&mut self, field: &str, message: impl Into<String>) {
        let field = format!("{}{field}", self.path);
        self.mistakes
            .push(mistake(&self.model, &field, message.into()));
    }

    /// Whether any mistake has been noted in any entry so far.
    pub(super) fn mistakes_count(&self) -> usize {
        self.mistakes.len()
    }

    fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.table.remove(field)
    }

    /// Takes a field that may be absent. `Some(None)` is absence, `None` a mistake.
    #[expect(
        clippy::option_option,
        reason = "absent, mistaken and present are three answers"
    )]
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        must_be: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<Option<T>> {
        let Some(value) = self.take(field) else {
            return Some(None);
        };
        let read = read(value);
        if read.is_none() {
            self.wrong(field, format!("must be {must_be}"));
        }
        read.map(Some)
    }

    /// Takes a field that must be there.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        must_be: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.optional(field, must_be, read)?;
        if value.is_none() {
            self.wrong(field, format!("is missing; it must be {must_be}"));
        }
        value
    }

    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        self.required(field, "a text that is not empty", text)
    }

    pub(super) fn texts(&mut self, field: &'static str) -> Option<Vec<String>> {
        let must_be = format!("a list of at most {ITEMS_MAX} texts, none of them empty");
        let texts = self.optional(field, &must_be, |value| list(value, text))?;
        Some(texts.unwrap_or_default())
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Option<bool> {
        let flag = self.optional(field, "true or false", |value| value.as_bool())?;
        Some(flag.unwrap_or(false))
    }

    pub(super) fn number(
        &mut self,
        field: &'static str,
        bounds: RangeInclusive<u32>,
    ) -> Option<u32> {
        let must_be = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.required(field, &must_be, |value| number(&value, &bounds))
    }

    pub(super) fn numbers(
        &mut self,
        field: &'static str,
        bounds: RangeInclusive<u32>,
    ) -> Option<Vec<u32>> {
        let (least, most) = (bounds.start(), bounds.end());
        let must_be = format!("a list of at most {ITEMS_MAX} whole numbers from {least} to {most}");
        let numbers = self.optional(field, &must_be, |value| {
            list(value, |item| number(&item, &bounds))
        })?;
        Some(numbers.unwrap_or_default())
    }

    #[expect(
        clippy::option_option,
        reason = "absent, mistaken and present are three answers"
    )]
    pub(super) fn optional_number(
        &mut self,
        field: &'static str,
        bounds: RangeInclusive<u32>,
    ) -> Option<Option<u32>> {
        let must_be = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.optional(field, &must_be, |value| number(&value, &bounds))
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        field: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let quoted: Vec<String> = choices
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let must_be = crate::catalog::spelling::either(&quoted);
        self.required(field, &must_be, |value| {
            let name = value.as_str()?;
            choices
                .iter()
                .find_map(|(known, choice)| (*known == name).then_some(*choice))
        })
    }

    pub(super) fn table(&mut self, field: &'static str) -> Option<Table> {
        self.required(field, "a table", table)
    }

    pub(super) fn tables(&mut self, field: &'static str) -> Option<Vec<Table>> {
        let must_be = format!("a list of at most {ITEMS_MAX} tables");
        self.required(field, &must_be, |value| list(value, table))
    }

    pub(super) fn text_map(&mut self, field: &'static str) -> Option<BTreeMap<String, String>> {
        let read = |value| {
            table(value)?
                .into_iter()
                .map(|(key, item)| Some((key, text(item)?)))
                .collect()
        };
        let map = self.optional(field, "a table of texts", read)?;
        Some(map.unwrap_or_default())
    }

    /// Takes a field away unread; whether it was there.
    pub(super) fn drop_field(&mut self, field: &'static str) -> bool {
        self.take(field).is_some()
    }

    /// Gives back what is left, for a table whose keys are data.
    pub(super) fn rest(&mut self) -> Table {
        std::mem::take(&mut self.table)
    }

    /// Notes every field that was not read.
    pub(super) fn finish(&mut self) {
        for field in self.rest().keys() {
            let nearest = self
                .known
                .iter()
                .map(|known| (strsim::jaro_winkler(field, known), *known))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match nearest {
                Some((likeness, known)) if likeness >= SLIP => format!("; did you mean {known}?"),
                _ => String::new(),
            };
            self.wrong(field, format!("is not known here{hint}"));
        }
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    }
}

fn number(value: &Value, bounds: &RangeInclusive<u32>) -> Option<u32> {
    let number = u32::try_from(value.as_integer()?).ok()?;
    bounds.contains(&number).then_some(number)
}

fn table(value: Value) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

fn list<T>(value: Value, read: impl Fn(Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::Array(items) if items.len() <= ITEMS_MAX => items.into_iter().map(read).collect(),
        _ => None,
    }
}
