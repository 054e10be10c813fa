//! The log as CSV (RFC 4180) for spreadsheets. What changed is JSON in the last column.

use std::fmt::Write as _;

use super::AuditEntry;
use crate::ledger::csv_text;

/// The names of the columns, as the first line.
pub const AUDIT_CSV_HEADER: &str =
    "number,at,actor_kind,actor_id,actor,method,account,request_id,change\r\n";

/// A line for each row.
#[must_use]
pub fn audit_csv_lines(entries: &[AuditEntry]) -> String {
    let mut lines = String::with_capacity(entries.len() * 240);
    for entry in entries {
        let by = &entry.by;
        let _ = write!(
            lines,
            "{},{},{},{},{},{},{},{},{}\r\n",
            entry.number,
            humantime::format_rfc3339_micros(entry.at),
            by.kind.name(),
            by.id.map(|id| id.to_string()).unwrap_or_default(),
            csv_text(&by.name),
            entry.method,
            entry.account.as_deref().unwrap_or_default(),
            csv_text(by.request_id.as_deref().unwrap_or_default()),
            csv_text(&entry.change.to_string()),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::*;
    use crate::operator::{ActorKind, Operator};

    #[test]
    fn a_row_is_a_line_with_the_columns_of_the_header() {
        let entry = AuditEntry {
            number: 7,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            by: Operator {
                kind: ActorKind::CommandLine,
                id: None,
                name: "=root".to_owned(),
                request_id: None,
            },
            method: "SetPlan".to_owned(),
            account: Some("acme".to_owned()),
            change: json!({"plan": "pro"}),
        };
        let line = "7,2023-11-14T22:13:20.000000Z,COMMAND_LINE,,'=root,SetPlan,acme,,\
                    \"{\"\"plan\"\":\"\"pro\"\"}\"\r\n";
        assert_eq!(audit_csv_lines(&[entry]), line);
        assert_eq!(
            line.matches(',').count(),
            AUDIT_CSV_HEADER.matches(',').count(),
            "as many columns"
        );
    }
}
