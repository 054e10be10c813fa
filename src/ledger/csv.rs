//! Entries as CSV (RFC 4180) for spreadsheets.
//!
//! Of all columns only `note` is free text. Where a spreadsheet would take it for a formula it gets an apostrophe in
//! front (OWASP, "CSV Injection"): the note of a grant must not run anything where the statement is opened.

use std::fmt::Write as _;

use super::Entry;

/// The names of the columns, as the first line.
pub const CSV_HEADER: &str = "sequence,at,kind,amount,debit,credit,available,held,task_id,note\r\n";

/// A line for each entry.
#[must_use]
pub fn csv_lines(entries: &[Entry]) -> String {
    let mut lines = String::with_capacity(entries.len() * 160);
    for entry in entries {
        let task_id = entry.task_id.map(|id| id.to_string()).unwrap_or_default();
        let _ = write!(
            lines,
            "{},{},{},{},{},{},{},{},{task_id},{}\r\n",
            entry.sequence,
            humantime::format_rfc3339_micros(entry.at),
            entry.kind.name(),
            entry.amount,
            entry.debit().name(),
            entry.credit().name(),
            entry.available,
            entry.held,
            csv_text(&entry.note),
        );
    }
    lines
}

/// A field of free text, harmless to spreadsheets and quoted where it has to be.
#[must_use]
pub fn csv_text(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let plain = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if plain.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", plain.replace('"', "\"\""))
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use uuid::Uuid;

    use super::*;
    use crate::ledger::Kind;

    #[test]
    fn an_entry_is_a_line_with_the_columns_of_the_header() {
        let entry = Entry {
            sequence: 4,
            kind: Kind::Hold,
            amount: 16,
            available: 708,
            held: 16,
            task_id: Some(Uuid::nil()),
            note: String::new(),
            at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
        };
        let line = "4,2023-11-14T22:13:20.000001Z,HOLD,16,available,held,708,16,\
                    00000000-0000-0000-0000-000000000000,\r\n";
        assert_eq!(csv_lines(&[entry]), line);
        assert_eq!(
            line.matches(',').count(),
            CSV_HEADER.matches(',').count(),
            "as many columns"
        );
    }

    #[test]
    fn notes_are_quoted_and_never_formulas() {
        let table = [
            ("invoice 17", "invoice 17"),
            ("", ""),
            ("a, b", "\"a, b\""),
            ("the \"big\" one", "\"the \"\"big\"\" one\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-5", "'-5"),
            ("@SUM(A1)", "'@SUM(A1)"),
            (
                "=HYPERLINK(\"x\",\"y\")",
                "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"",
            ),
            ("1=1", "1=1"),
        ];
        for (note, field) in table {
            assert_eq!(csv_text(note), field, "{note}");
        }
    }
}
