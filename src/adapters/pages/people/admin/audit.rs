//! `/admin/audit`: what operators changed, told in words, with filters, and as a file.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::apikeys::minute;
use super::super::shell::{self, status_of};
use super::super::visit::{Visit, Visitor};
use super::{ask, grouped, is_mendable, with_query};
use crate::adapters::pages::Frame;
use crate::operator::AUDIT_METHODS;
use crate::spec::error::ApiError;

/// The page, and the file.
const PATH: &str = "/admin/audit";
const FILE: &str = "/admin/audit.csv";

/// A page of changes as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Page {
    pub entries: Vec<Entry>,
    next_page_token: String,
}

/// A change as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    number: i64,
    at: String,
    actor_kind: String,
    actor: String,
    method: String,
    account: String,
    change: String,
    request_id: String,
}

/// A change as pages show it.
pub struct Row {
    pub number: i64,
    pub at: String,
    pub actor: String,
    /// By which way.
    pub way: &'static str,
    pub method: String,
    pub account: String,
    pub words: String,
    pub request_id: String,
}

#[derive(Template)]
#[template(path = "admin_audit.html")]
struct List<'p> {
    frame: Frame,
    rows: Vec<Row>,
    account: &'p str,
    method: &'p str,
    from: &'p str,
    to: &'p str,
    methods: &'static [&'static str],
    is_filtered: bool,
    next: Option<String>,
    file: String,
    problem: &'p str,
}

/// `GET /admin/audit`
pub async fn list(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let mut request = request(&visit);
    request["pageToken"] = json!(visit.query.get("after"));
    match ask(&visit, &visitor, "ListAuditLog", &request).await {
        Ok(page) => Ok(shown(&visit, StatusCode::OK, page, "")),
        Err(error) if is_mendable(&error) => {
            let page = Page::default();
            Ok(shown(&visit, status_of(&error), page, &error.message))
        }
        Err(error) => Err(error),
    }
}

/// `GET /admin/audit.csv`
pub async fn export(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    visitor
        .download(visit.house(), "ExportAuditLog", &request(&visit))
        .await
}

/// What the filters ask for. Days are those of UTC, and the last one counts whole.
fn request(visit: &Visit) -> Value {
    let query = &visit.query;
    let mut request = json!({
        "account": query.get("account").trim(),
        "method": query.get("method"),
    });
    for (field, clock) in [("from", "T00:00:00Z"), ("to", "T23:59:59.999999999Z")] {
        let day = query.get(field).trim();
        if !day.is_empty() {
            request[field] = json!(format!("{day}{clock}"));
        }
    }
    request
}

fn shown(visit: &Visit, status: StatusCode, page: Page, problem: &str) -> Response {
    let query = &visit.query;
    let names = ["account", "method", "from", "to"];
    let filters = names.map(|name| (name, query.get(name)));
    let mut more = filters.to_vec();
    more.push(("after", &page.next_page_token));
    let list = List {
        frame: visit.frame("Audit log"),
        account: query.get("account"),
        method: query.get("method"),
        from: query.get("from"),
        to: query.get("to"),
        methods: &AUDIT_METHODS,
        is_filtered: filters.iter().any(|(_, value)| !value.is_empty()),
        next: (!page.next_page_token.is_empty()).then(|| with_query(PATH, &more)),
        file: with_query(FILE, &filters),
        rows: page.entries.into_iter().map(row).collect(),
        problem,
    };
    shell::page(status, &list)
}

/// A change as pages show it.
pub fn row(entry: Entry) -> Row {
    let change = serde_json::from_str(&entry.change).unwrap_or_default();
    Row {
        number: entry.number,
        at: minute(&entry.at),
        words: words(&entry.method, &change).unwrap_or(entry.change),
        actor: entry.actor,
        way: match entry.actor_kind.as_str() {
            "KEY" => "key",
            "TOKEN" => "token",
            "PERSON" => "signed in",
            _ => "command line",
        },
        method: entry.method,
        account: entry.account,
        request_id: entry.request_id,
    }
}

/// What changed, for people; none: it is not known how to say it.
fn words(method: &str, change: &Value) -> Option<String> {
    let text = |name: &str| change[name].as_str();
    Some(match method {
        "CreateAccount" => format!("on the plan {}", text("plan")?),
        "SetPlan" => format!("{} → {}", text("planBefore")?, text("plan")?),
        "GrantCredits" => {
            let note = text("note").filter(|note| !note.is_empty());
            let note = note.map(|note| format!(", “{note}”")).unwrap_or_default();
            let end = text("expiresAt").map(|end| format!(", until {}", minute(end)));
            let credits = grouped(change["credits"].as_i64()?);
            format!("+{credits} credits{note}{}", end.unwrap_or_default())
        }
        "SavePlan" => plan_words(&change["plan"], &change["planBefore"])?,
        "SettleSubmission" => {
            let id = text("upstreamId").map(|id| format!(" as {id}"));
            let (verdict, task) = (text("verdict")?, text("taskId")?);
            format!(
                "{verdict}{}: task {task}, attempt {}",
                id.unwrap_or_default(),
                change["attempt"]
            )
        }
        "SetOperator" => {
            let may = if change["operator"].as_bool()? {
                "may administer"
            } else {
                "may not administer any more"
            };
            format!("{} {may}", text("email")?)
        }
        "CreateApiKey" => {
            let scopes: Vec<&str> = change["scopes"]
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let end = text("expiresAt").map(|end| format!(", until {}", minute(end)));
            format!(
                "{} may {}{}",
                key_words(change)?,
                scopes.join(", "),
                end.unwrap_or_default()
            )
        }
        "RevokeApiKey" => format!("{} is revoked", key_words(change)?),
        "CreateSignInLink" => "a link that signs in its owner, once".to_owned(),
        _ => return None,
    })
}

/// `live key piooy_live_x… “booth”`
fn key_words(key: &Value) -> Option<String> {
    let kind = if key["test"].as_bool()? {
        "test"
    } else {
        "live"
    };
    let (prefix, name) = (key["prefix"].as_str()?, key["name"].as_str()?);
    Some(format!("{kind} key {prefix}… “{name}”"))
}

fn plan_words(plan: &Value, before: &Value) -> Option<String> {
    let name = plan["name"].as_str()?;
    let Some(before) = before.as_object() else {
        return Some(format!("{name} is new"));
    };
    let changes = plan.as_object()?.iter().filter_map(|(field, value)| {
        let was = before.get(field)?;
        (was != value).then(|| format!("{field} {was} → {value}"))
    });
    let changes: Vec<String> = changes.collect();
    Some(if changes.is_empty() {
        format!("{name} as it was")
    } else {
        format!("{name}: {}", changes.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_in_words() {
        let plan = |tasks: i64| json!({"name": "pro", "queuedTasks": tasks});
        let table = [
            ("CreateAccount", json!({"plan": "free"}), "on the plan free"),
            (
                "SetPlan",
                json!({"plan": "pro", "planBefore": "free"}),
                "free → pro",
            ),
            (
                "GrantCredits",
                json!({"credits": 5000, "note": "", "expiresAt": null}),
                "+5,000 credits",
            ),
            (
                "GrantCredits",
                json!({"credits": 5, "note": "a gift", "expiresAt": "2026-12-01T00:00:00Z"}),
                "+5 credits, “a gift”, until 2026-12-01 00:00 UTC",
            ),
            (
                "SavePlan",
                json!({"plan": plan(1), "planBefore": null}),
                "pro is new",
            ),
            (
                "SavePlan",
                json!({"plan": plan(1), "planBefore": plan(2)}),
                "pro: queuedTasks 2 → 1",
            ),
            (
                "SavePlan",
                json!({"plan": plan(1), "planBefore": plan(1)}),
                "pro as it was",
            ),
            (
                "SettleSubmission",
                json!({"taskId": "7", "attempt": 2, "verdict": "ARRIVED", "upstreamId": "x"}),
                "ARRIVED as x: task 7, attempt 2",
            ),
            (
                "CreateApiKey",
                json!({"test": false, "prefix": "piooy_live_x", "name": "booth",
                       "scopes": ["generate", "read"], "expiresAt": "2026-12-01T00:00:00Z"}),
                "live key piooy_live_x… “booth” may generate, read, until 2026-12-01 00:00 UTC",
            ),
            (
                "RevokeApiKey",
                json!({"test": true, "prefix": "piooy_test_x", "name": "booth"}),
                "test key piooy_test_x… “booth” is revoked",
            ),
            (
                "CreateSignInLink",
                json!({}),
                "a link that signs in its owner, once",
            ),
            (
                "SetOperator",
                json!({"email": "a@b", "operator": true}),
                "a@b may administer",
            ),
        ];
        for (method, change, expected) in table {
            assert_eq!(words(method, &change).as_deref(), Some(expected));
        }
        assert_eq!(words("Other", &json!({})), None);
    }
}
