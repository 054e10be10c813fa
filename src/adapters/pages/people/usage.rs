//! `/settings/usage`: what the account has, what its tasks cost by day and by model, and its statement.

use std::time::SystemTime;

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::apikeys::minute;
use super::form::Form;
use super::shell::{self, status_of};
use super::visit::{Visit, Visitor};
use crate::accounts::Scope;
use crate::adapters::pages::Frame;
use crate::generation::Day;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;
use crate::spec::validate::Violation;

mod chart;

use chart::{Chart, Spending, number};

/// The page.
const PATH: &str = "settings/usage";

/// The statement as a file.
const CSV: &str = "api/v1/credits/transactions.csv";

/// How many days the chart can show.
const RANGES: [u32; 3] = [7, 30, 90];

/// The range of those that nobody chose from.
const RANGE_DEFAULT: u32 = 30;

/// Movements on one page.
const PAGE_SIZE: u32 = 25;

/// What movements are called, and what they mean.
const KINDS: [(&str, &str); 5] = [
    ("GRANT", "Granted"),
    ("HOLD", "Held"),
    ("CAPTURE", "Charged"),
    ("RELEASE", "Given back"),
    ("EXPIRE", "Expired"),
];

#[derive(Template)]
#[template(path = "usage.html")]
struct Usage {
    frame: Frame,
    account: String,
    plan: String,
    available: String,
    held: String,
    expiring: Vec<(String, String)>,
    /// A number of days, where it leads, and whether it is shown.
    ranges: Vec<(u32, String, bool)>,
    range: u32,
    chart: Chart,
    makes_keys: bool,
    filter: Filter,
    statement: Statement,
    problem: String,
}

/// The answer of `GetBalance`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Balance {
    plan: String,
    available: i64,
    held: i64,
    expiring: Vec<Expiring>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Expiring {
    credits: i64,
    expires_at: String,
}

/// The answer of `ListTransactions`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Transactions {
    transactions: Vec<Transaction>,
    next_page_token: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Transaction {
    sequence: i64,
    kind: String,
    amount: i64,
    available: i64,
    held: i64,
    task_id: String,
    note: String,
    at: String,
}

/// What the form above the statement asks for, as it was sent.
#[derive(Default)]
struct Filter {
    kinds: Vec<Choice>,
    task_id: String,
    from: String,
    to: String,
    /// Something is filtered.
    is_set: bool,
}

struct Choice {
    value: &'static str,
    name: &'static str,
    is_chosen: bool,
}

/// A page of the statement.
#[derive(Default)]
struct Statement {
    rows: Vec<Row>,
    /// Where the older ones are; empty on the last page.
    older: String,
    /// Where the newest are; empty on the first page.
    newest: String,
    csv: String,
}

/// A movement as the page shows it.
struct Row {
    sequence: i64,
    at: String,
    kind: &'static str,
    /// The badge's class.
    class: &'static str,
    amount: String,
    available: String,
    held: String,
    task_id: String,
    /// The statement of the task.
    of_task: String,
    note: String,
}

/// `GET /settings/usage`
pub async fn show(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let today = Day::of(SystemTime::now());
    let asked = visit.query.get("days");
    let range = RANGES.into_iter().find(|days| days.to_string() == asked);
    let range = range.unwrap_or(RANGE_DEFAULT);
    let balance: Balance = read(&visit, &visitor, "GetBalance", json!({})).await?;
    let days = json!({"from": today.earlier(range - 1).to_string(), "to": today.to_string()});
    let spending: Spending = read(&visit, &visitor, "GetSpending", days).await?;
    let (statement, problem, status) = match statement(&visit, &visitor, range).await {
        Ok(statement) => (statement, String::new(), StatusCode::OK),
        Err(error) if error.reason == Reason::InvalidArgument => {
            let status = status_of(&error);
            (Statement::default(), error.message, status)
        }
        Err(error) => return Err(error),
    };
    let expiring = balance.expiring.iter().map(|lot| {
        let day = lot.expires_at.get(..10).unwrap_or_default().to_owned();
        (number(lot.credits), day)
    });
    let page = Usage {
        frame: visit.frame("Usage"),
        account: visitor.caller.account_name().to_owned(),
        available: number(balance.available),
        held: number(balance.held),
        expiring: expiring.collect(),
        plan: balance.plan,
        ranges: RANGES
            .map(|days| (days, format!("{PATH}?days={days}"), days == range))
            .into(),
        range,
        chart: Chart::new(&spending),
        makes_keys: visitor.caller.scopes().contains(Scope::Keys),
        filter: Filter::of(&visit.query),
        statement,
        problem,
    };
    Ok(shell::page(status, &page))
}

async fn read<T: DeserializeOwned>(
    visit: &Visit,
    visitor: &Visitor,
    method: &str,
    request: Value,
) -> Result<T, ApiError> {
    let answer = visitor.call(visit.house(), method, &request).await?;
    serde_json::from_value(answer).map_err(|_| ApiError::internal())
}

async fn statement(visit: &Visit, visitor: &Visitor, range: u32) -> Result<Statement, ApiError> {
    let query = &visit.query;
    let filters = filters(query)?;
    let mut request = json!({"pageSize": PAGE_SIZE, "pageToken": query.get("page_token")});
    for (name, value) in &filters {
        match *name {
            "kinds" => match request["kinds"].as_array_mut() {
                Some(kinds) => kinds.push(json!(value)),
                None => request["kinds"] = json!([value]),
            },
            name => request[name] = json!(value),
        }
    }
    let page: Transactions = read(visit, visitor, "ListTransactions", request).await?;
    let mut shown: Vec<(&str, String)> = vec![("days", range.to_string())];
    shown.extend(shown_filters(query));
    let on = |token: &str| {
        let mut fields = shown.clone();
        if !token.is_empty() {
            fields.push(("page_token", token.to_owned()));
        }
        format!("{PATH}?{}#statement", encoded(&fields))
    };
    let token = page.next_page_token.as_str();
    let csv = match encoded(&filters) {
        query if query.is_empty() => CSV.to_owned(),
        query => format!("{CSV}?{query}"),
    };
    Ok(Statement {
        rows: page
            .transactions
            .into_iter()
            .map(|of| row(of, range))
            .collect(),
        older: if token.is_empty() {
            String::new()
        } else {
            on(token)
        },
        newest: if query.get("page_token").is_empty() {
            String::new()
        } else {
            on("")
        },
        csv,
    })
}

/// The filters as the methods take them: the last day is whole.
fn filters(query: &Form) -> Result<Vec<(&'static str, String)>, ApiError> {
    let mut filters: Vec<(&str, String)> = Vec::new();
    for (name, value) in shown_filters(query) {
        filters.push(match name {
            "from" => (name, format!("{}T00:00:00Z", day(name, &value)?)),
            "to" => (name, format!("{}T00:00:00Z", day(name, &value)?.next())),
            name => (name, value),
        });
    }
    Ok(filters)
}

fn day(field: &str, text: &str) -> Result<Day, ApiError> {
    Day::parse(text).ok_or_else(|| {
        let violation = Violation {
            field: field.to_owned(),
            message: "must be a day such as 2026-01-31".to_owned(),
        };
        ApiError::invalid(Reason::InvalidArgument, vec![violation])
    })
}

/// The filters as the form sends them, without those that are empty.
fn shown_filters(query: &Form) -> Vec<(&'static str, String)> {
    let fields = ["kinds", "taskId", "from", "to"].into_iter();
    let values = fields.flat_map(|name| query.all(name).map(move |value| (name, value.trim())));
    values
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

fn encoded(fields: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

impl Filter {
    fn of(query: &Form) -> Self {
        let choice = |(value, name)| Choice {
            value,
            name,
            is_chosen: query.all("kinds").any(|chosen| chosen == value),
        };
        Self {
            kinds: KINDS.into_iter().map(choice).collect(),
            task_id: query.get("taskId").trim().to_owned(),
            from: query.get("from").trim().to_owned(),
            to: query.get("to").trim().to_owned(),
            is_set: !shown_filters(query).is_empty(),
        }
    }
}

fn row(of: Transaction, range: u32) -> Row {
    let name = KINDS.into_iter().find(|(kind, _)| *kind == of.kind);
    let amount = number(of.amount);
    let (class, amount) = match of.kind.as_str() {
        "GRANT" => ("good", format!("+{amount}")),
        "RELEASE" => ("", format!("+{amount}")),
        "CAPTURE" => ("accent", amount),
        "EXPIRE" => ("warn", format!("−{amount}")),
        _ => ("", format!("−{amount}")),
    };
    let fields = [("days", range.to_string()), ("taskId", of.task_id.clone())];
    Row {
        sequence: of.sequence,
        at: minute(&of.at),
        kind: name.map_or("", |(_, name)| name),
        class,
        amount,
        available: number(of.available),
        held: number(of.held),
        of_task: format!("{PATH}?{}#statement", encoded(&fields)),
        task_id: of.task_id,
        note: of.note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_day_of_a_filter_is_whole() {
        let query = Form::parse(b"kinds=HOLD&kinds=&from=2026-02-01&to=+2026-02-28&taskId=+");
        let filters = filters(&query).expect("good");
        assert_eq!(
            encoded(&filters),
            "kinds=HOLD&from=2026-02-01T00%3A00%3A00Z&to=2026-03-01T00%3A00%3A00Z"
        );
        for bad in ["from=yesterday", "to=2026-02-30"] {
            assert!(
                super::filters(&Form::parse(bad.as_bytes())).is_err(),
                "{bad}"
            );
        }
    }
}
