//! `/settings/apikeys`: making, listing and revoking the account's keys.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::form::Form;
use super::shell::{self, status_of};
use super::visit::{Visit, Visitor};
use crate::adapters::MCP_PATH;
use crate::adapters::pages::Frame;
use crate::adapters::pages::snippet::Snippet;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;
use crate::spec::validate::Violation;

/// The page.
const PATH: &str = "/settings/apikeys";

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// For how many days a key may be made to work.
const DAYS: [u32; 4] = [7, 30, 90, 365];

#[derive(Template)]
#[template(path = "apikeys.html")]
struct Keys<'p> {
    frame: Frame,
    form_token: &'p str,
    account: &'p str,
    keys: Vec<Row>,
    days: [u32; 4],
    /// What was sent and was wrong, to be mended.
    name: &'p str,
    problem: &'p str,
}

/// A key as the page shows it.
struct Row {
    id: String,
    name: String,
    prefix: String,
    mode: &'static str,
    scopes: String,
    caps: String,
    created: String,
    expires: String,
    last_used: String,
    /// None: it works.
    over: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "apikeys_made.html")]
struct Made<'p> {
    frame: Frame,
    name: &'p str,
    key: Snippet,
    config: Snippet,
    claude_code: Snippet,
    curl: Snippet,
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub struct Confirm<'p> {
    pub frame: Frame,
    pub form_token: &'p str,
    pub text: String,
    /// Where the form goes and, without being sent, where the link back leads; below the base.
    pub action: String,
    pub back: &'p str,
    pub button: &'p str,
}

/// A key as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Key {
    id: String,
    name: String,
    prefix: String,
    test: bool,
    scopes: Vec<String>,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    last_used_at: Option<String>,
    spending_caps: Caps,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Caps {
    per_hour: Option<i64>,
    per_day: Option<i64>,
    total: Option<i64>,
}

/// `GET /settings/apikeys`
pub async fn list(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    page(&visit, &visitor, StatusCode::OK, "").await
}

async fn page(
    visit: &Visit,
    visitor: &Visitor,
    status: StatusCode,
    problem: &str,
) -> Result<Response, ApiError> {
    let keys = keys(visit, visitor).await?;
    let (frame, now) = (visit.frame("API keys"), SystemTime::now());
    let page = Keys {
        frame,
        form_token: &visitor.form_token,
        account: visitor.caller.account_name(),
        keys: keys.into_iter().map(|key| row(key, now)).collect(),
        days: DAYS,
        name: visit.form.get("name"),
        problem,
    };
    Ok(shell::page(status, &page))
}

async fn keys(visit: &Visit, visitor: &Visitor) -> Result<Vec<Key>, ApiError> {
    let mut answer = visitor
        .call(visit.house(), "ListApiKeys", &json!({}))
        .await?;
    let keys = answer["apiKeys"].take();
    if keys.is_null() {
        return Ok(Vec::new());
    }
    serde_json::from_value(keys).map_err(|_| ApiError::internal())
}

/// `POST /settings/apikeys`
pub async fn create(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let made = async {
        let request = request(&visit.form, SystemTime::now())?;
        visitor.call(visit.house(), "CreateApiKey", &request).await
    };
    match made.await {
        Ok(answer) => Ok(made_page(&visit, &answer)),
        Err(error) if error.reason == Reason::InvalidArgument => {
            page(&visit, &visitor, status_of(&error), &error.message).await
        }
        Err(error) => Err(error),
    }
}

/// What the form asks for.
fn request(form: &Form, now: SystemTime) -> Result<Value, ApiError> {
    let scopes: Vec<&str> = form.all("scopes").collect();
    if scopes.is_empty() {
        return Err(wrong("scopes", "choose at least one"));
    }
    let mut request = json!({
        "name": form.get("name").trim(),
        "test": form.get("mode") != "live",
        "scopes": scopes,
    });
    let days = form.get("days");
    if !days.is_empty() {
        let end = DAYS
            .into_iter()
            .find(|known| known.to_string() == days)
            .and_then(|days| now.checked_add(DAY * days))
            .ok_or_else(|| wrong("expiresAt", "choose from the list"))?;
        request["expiresAt"] = json!(humantime::format_rfc3339_seconds(end).to_string());
    }
    let mut caps = json!({});
    for (field, name) in [
        ("cap_hour", "perHour"),
        ("cap_day", "perDay"),
        ("cap_total", "total"),
    ] {
        let text = form.get(field).trim();
        if !text.is_empty() {
            let credits: i64 = text.parse().map_err(|_| {
                wrong(
                    "spendingCaps",
                    "write a whole number of credits, or nothing",
                )
            })?;
            caps[name] = json!(credits);
        }
    }
    if caps.as_object().is_some_and(|caps| !caps.is_empty()) {
        request["spendingCaps"] = caps;
    }
    Ok(request)
}

fn wrong(field: &str, message: &str) -> ApiError {
    let violation = Violation {
        field: field.to_owned(),
        message: message.to_owned(),
    };
    ApiError::invalid(Reason::InvalidArgument, vec![violation])
}

fn made_page(visit: &Visit, answer: &Value) -> Response {
    let key = answer["key"].as_str().unwrap_or_default();
    let url = &visit.house().parts.options.public_url;
    let endpoint = format!("{url}{MCP_PATH}");
    let bearer = format!("Bearer {key}");
    let headers = json!({"Authorization": bearer});
    let config = json!({"mcpServers": {"piooy": {"url": endpoint, "headers": headers}}});
    let frame = visit.frame("Your new key");
    let made = Made {
        frame,
        name: answer["apiKey"]["name"].as_str().unwrap_or_default(),
        key: Snippet::plain("API key", key.to_owned()),
        config: Snippet::json("MCP clients", &config, key),
        claude_code: Snippet::shell(
            "Claude Code",
            format!(
                "claude mcp add --transport http piooy {endpoint} \\\n  --header \"Authorization: {bearer}\""
            ),
            key,
        ),
        curl: Snippet::shell(
            "REST",
            format!("curl {url}/api/v1/models \\\n  -H \"Authorization: {bearer}\""),
            key,
        ),
    };
    shell::page(StatusCode::OK, &made)
}

/// `GET /settings/apikeys/{id}/revoke`
pub async fn ask_revoke(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let id = visit.params.get("id");
    let keys = keys(&visit, &visitor).await?;
    let key = keys.into_iter().find(|key| key.id == id);
    let key = key.ok_or_else(|| {
        ApiError::new(
            Reason::ApiKeyNotFound,
            "The account has no key with this id.",
        )
    })?;
    let frame = visit.frame("Revoke this key?");
    let confirm = Confirm {
        frame,
        form_token: &visitor.form_token,
        text: format!(
            "{} ({}…) stops working at once, everywhere, and for good.",
            key.name, key.prefix
        ),
        action: format!("{PATH}/{}/revoke", key.id),
        back: PATH,
        button: "Revoke the key",
    };
    Ok(shell::page(StatusCode::OK, &confirm))
}

/// `POST /settings/apikeys/{id}/revoke`
pub async fn revoke(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"id": visit.params.get("id")});
    visitor
        .call(visit.house(), "RevokeApiKey", &request)
        .await?;
    Ok(visit.lead_to(PATH))
}

fn row(key: Key, now: SystemTime) -> Row {
    let is_past = |text: &String| humantime::parse_rfc3339(text).is_ok_and(|end| end <= now);
    let over = if key.revoked_at.is_some() {
        Some("revoked")
    } else if key.expires_at.as_ref().is_some_and(is_past) {
        Some("expired")
    } else {
        None
    };
    let caps = [
        (key.spending_caps.per_hour, "an hour"),
        (key.spending_caps.per_day, "a day"),
        (key.spending_caps.total, "in all"),
    ];
    let caps: Vec<String> = caps
        .into_iter()
        .filter_map(|(cap, window)| Some(format!("{} {window}", cap?)))
        .collect();
    let or = |time: Option<String>, none: &str| time.map_or(none.to_owned(), |time| minute(&time));
    Row {
        id: key.id,
        name: key.name,
        prefix: key.prefix,
        mode: if key.test { "test" } else { "live" },
        scopes: key.scopes.join(", "),
        caps: if caps.is_empty() {
            "none".to_owned()
        } else {
            caps.join(", ")
        },
        created: minute(&key.created_at),
        expires: or(key.expires_at, "never"),
        last_used: or(key.last_used_at, "never"),
        over,
    }
}

/// A time of a message, for people: to the minute, in UTC.
pub fn minute(time: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_request() {
        let form = Form::parse(
            b"name=+booth+&mode=live&scopes=read&scopes=keys&days=7&cap_hour=&cap_day=50&cap_total=+",
        );
        let expected = json!({
            "name": "booth", "test": false, "scopes": ["read", "keys"],
            "expiresAt": "1970-01-08T00:00:00Z", "spendingCaps": {"perDay": 50},
        });
        assert_eq!(request(&form, SystemTime::UNIX_EPOCH), Ok(expected));
    }

    #[test]
    fn what_a_form_cannot_mean_is_said() {
        for form in ["name=a", "scopes=read&days=8", "scopes=read&cap_day=many"] {
            let refused = request(&Form::parse(form.as_bytes()), SystemTime::UNIX_EPOCH);
            assert!(
                refused.is_err_and(|error| error.violations.len() == 1),
                "{form}"
            );
        }
    }

    #[test]
    fn times_are_told_to_the_minute() {
        assert_eq!(minute("2026-02-03T04:05:06.789Z"), "2026-02-03 04:05 UTC");
        assert_eq!(minute("soon"), "soon");
    }
}
