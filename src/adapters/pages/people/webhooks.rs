//! `/settings/webhooks`: the addresses that are told when a task has ended, what they were sent, and the secret of
//! those that requests name.
//!
//! Secrets are shown by a deliberate action alone, on a page that is kept nowhere. Whoever signs in works with live
//! tasks; the webhooks of test keys are theirs.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::apikeys::{Confirm, minute};
use super::form::Form;
use super::shell::{self, status_of};
use super::visit::{Visit, Visitor};
use crate::accounts::Scope;
use crate::adapters::pages::snippet::Snippet;
use crate::adapters::pages::{Frame, KEY};
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// The page.
const PATH: &str = "/settings/webhooks";

/// Deliveries on one page.
const PAGE_SIZE: u32 = 15;

/// Where deliveries stand: the method's word, ours, and the badge's class.
const STATES: [(&str, &str, &str); 4] = [
    ("PENDING", "On its way", "warn"),
    ("DELIVERED", "Delivered", "good"),
    ("FAILED", "Given up", "danger"),
    ("CANCELED", "Canceled", ""),
];

/// How a receiver tells our messages from others.
const VERIFY: &str = r#"import base64, hashlib, hmac, time

def is_from_piooy(secret, headers, body):
    stamp = headers["webhook-timestamp"]
    if abs(time.time() - int(stamp)) > 300:
        return False  # too old: somebody may have recorded it
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join([headers["webhook-id"].encode(), stamp.encode(), body])
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    ours = "v1," + base64.b64encode(digest).decode()
    theirs = headers["webhook-signature"].split()
    return any(hmac.compare_digest(ours, each) for each in theirs)"#;

#[derive(Template)]
#[template(path = "webhooks.html")]
struct Page<'p> {
    frame: Frame,
    form_token: &'p str,
    account: &'p str,
    /// None: the visitor is no owner, and changes nothing.
    webhooks: Option<Vec<WebhookRow>>,
    deliveries: Vec<DeliveryRow>,
    /// Which deliveries are shown: a name, where it leads, and whether it is shown.
    states: Vec<(&'static str, String, bool)>,
    /// The address whose deliveries are shown alone.
    of_webhook: Option<String>,
    is_filtered: bool,
    older: String,
    newest: String,
    verify: Snippet,
    /// What was sent and was wrong, to be mended.
    url: &'p str,
    problem: &'p str,
    done: &'static str,
}

#[derive(Template)]
#[template(path = "webhooks_secret.html")]
struct Secret {
    frame: Frame,
    /// None: it is the secret of the account.
    url: Option<String>,
    secret: Snippet,
    is_new: bool,
}

/// A webhook as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Webhook {
    id: String,
    url: String,
    created_at: String,
    disabled_at: Option<String>,
}

/// A webhook as the page shows it.
struct WebhookRow {
    id: String,
    url: String,
    created: String,
    disabled: Option<String>,
    /// Where its deliveries are.
    deliveries: String,
}

/// The answer of `ListDeliveries`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Deliveries {
    deliveries: Vec<Delivery>,
    next_page_token: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Delivery {
    id: String,
    task_id: String,
    webhook_id: String,
    url: String,
    status: String,
    attempts: i32,
    answer_status: Option<i32>,
    answer: String,
    error: String,
    created_at: String,
    attempted_at: Option<String>,
    next_attempt_at: Option<String>,
}

/// A delivery as the page shows it.
struct DeliveryRow {
    id: String,
    task_id: String,
    url: String,
    state: &'static str,
    class: &'static str,
    ended: String,
    attempts: i32,
    /// When it was last sent, if it was sent more than once.
    last: Option<String>,
    /// What came of the last attempt, in short and as far as it was kept.
    answer: String,
    details: String,
    /// When it is sent next, if it is.
    next: Option<String>,
    /// The visitor may send it again, and its webhook is there.
    may_be_sent_again: bool,
}

/// `GET /settings/webhooks`
pub async fn show(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    page(&visit, &visitor, StatusCode::OK, "").await
}

async fn page(
    visit: &Visit,
    visitor: &Visitor,
    status: StatusCode,
    problem: &str,
) -> Result<Response, ApiError> {
    let is_owner = visitor.caller.scopes().contains(Scope::Keys);
    let webhooks = if is_owner {
        Some(webhooks(visit, visitor).await?)
    } else {
        None
    };
    let asked = filter(&visit.query);
    let listed = deliveries(visit, visitor, &asked).await;
    let (listed, problem, status) = match listed {
        Ok(listed) => (listed, problem.to_owned(), status),
        Err(error) if error.reason == Reason::InvalidArgument => {
            let status = status_of(&error);
            (Deliveries::default(), error.message, status)
        }
        Err(error) => return Err(error),
    };
    let on = |token: &str| {
        let mut fields = asked.clone();
        if !token.is_empty() {
            fields.push(("page_token", token.to_owned()));
        }
        link(&fields)
    };
    let of_webhook = webhooks
        .iter()
        .flatten()
        .find(|webhook| asked.contains(&("webhookId", webhook.id.clone())));
    let of_webhook = of_webhook.map(|webhook| webhook.url.clone());
    let token = listed.next_page_token.as_str();
    let page = Page {
        frame: visit.frame("Webhooks"),
        form_token: &visitor.form_token,
        account: visitor.caller.account_name(),
        deliveries: listed
            .deliveries
            .iter()
            .map(|delivery| delivery_row(delivery, webhooks.as_deref()))
            .collect(),
        states: states(&asked),
        of_webhook,
        is_filtered: !asked.is_empty(),
        older: if token.is_empty() {
            String::new()
        } else {
            on(token)
        },
        newest: if visit.query.get("page_token").is_empty() {
            String::new()
        } else {
            on("")
        },
        webhooks: webhooks.map(|webhooks| webhooks.into_iter().map(webhook_row).collect()),
        verify: Snippet::quoted("Python", VERIFY, KEY),
        url: visit.form.get("url"),
        problem: &problem,
        done: match visit.query.get("done") {
            "deleted" => "The webhook is deleted. What it was still owed is not sent.",
            "sent" => "It is being sent again.",
            _ => "",
        },
    };
    Ok(shell::page(status, &page))
}

async fn webhooks(visit: &Visit, visitor: &Visitor) -> Result<Vec<Webhook>, ApiError> {
    let mut answer = visitor
        .call(visit.house(), "ListWebhooks", &json!({}))
        .await?;
    serde_json::from_value(answer["webhooks"].take()).map_err(|_| ApiError::internal())
}

async fn deliveries(
    visit: &Visit,
    visitor: &Visitor,
    asked: &[(&str, String)],
) -> Result<Deliveries, ApiError> {
    let token = visit.query.get("page_token");
    let mut request = json!({"pageSize": PAGE_SIZE, "pageToken": token});
    for (name, value) in asked {
        request[*name] = json!(value);
    }
    let answer = visitor
        .call(visit.house(), "ListDeliveries", &request)
        .await?;
    serde_json::from_value(answer).map_err(|_| ApiError::internal())
}

/// What the address asks for, as the method takes it.
fn filter(query: &Form) -> Vec<(&'static str, String)> {
    ["webhookId", "taskId", "status"]
        .into_iter()
        .map(|name| (name, query.get(name).trim().to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn link(fields: &[(&str, String)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}{mark}{query}#deliveries", PATH.trim_start_matches('/'))
}

/// The links that show deliveries of one state, with the other filters as they are.
fn states(asked: &[(&str, String)]) -> Vec<(&'static str, String, bool)> {
    let shown = asked.iter().find(|(name, _)| *name == "status");
    let shown = shown.map_or("", |(_, value)| value);
    let others: Vec<(&str, String)> = asked
        .iter()
        .filter(|(name, _)| *name != "status")
        .cloned()
        .collect();
    let state = |(value, name): (&str, &'static str)| {
        let mut fields = others.clone();
        if !value.is_empty() {
            fields.push(("status", String::from(value)));
        }
        (name, link(&fields), value == shown)
    };
    let all = STATES.iter().map(|(value, name, _)| (*value, *name));
    [("", "All")].into_iter().chain(all).map(state).collect()
}

/// `POST /settings/webhooks`
pub async fn create(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"url": visit.form.get("url").trim()});
    match visitor.call(visit.house(), "CreateWebhook", &request).await {
        Ok(answer) => {
            let url = answer["webhook"]["url"].as_str().map(str::to_owned);
            Ok(secret_page(&visit, "Your new webhook", url, &answer, true))
        }
        Err(error) if error.reason == Reason::InvalidArgument => {
            let status = status_of(&error);
            page(&visit, &visitor, status, &problem(&error)).await
        }
        Err(error) => Err(error),
    }
}

/// Why the address was not taken, as a sentence.
fn problem(error: &ApiError) -> String {
    match error.violations.as_slice() {
        [violation] if violation.message.starts_with("an account") => {
            format!("This address was not taken: {}.", violation.message)
        }
        [violation] => format!("This address was not taken: it {}.", violation.message),
        _ => error.message.clone(),
    }
}

/// `GET /settings/webhooks/{id}/delete`
pub async fn ask_delete(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let id = visit.params.get("id");
    let webhooks = webhooks(&visit, &visitor).await?;
    let webhook = webhooks.into_iter().find(|webhook| webhook.id == id);
    let webhook = webhook.ok_or_else(|| {
        ApiError::new(
            Reason::WebhookNotFound,
            "The account has no webhook with this id.",
        )
    })?;
    let confirm = Confirm {
        frame: visit.frame("Delete this webhook?"),
        form_token: &visitor.form_token,
        text: format!(
            "{} is told nothing more, and what it is still owed is not sent.",
            webhook.url
        ),
        action: format!("{PATH}/{}/delete", webhook.id),
        back: PATH,
        button: "Delete the webhook",
    };
    Ok(shell::page(StatusCode::OK, &confirm))
}

/// `POST /settings/webhooks/{id}/delete`
pub async fn delete(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"id": visit.params.get("id")});
    visitor
        .call(visit.house(), "DeleteWebhook", &request)
        .await?;
    Ok(visit.lead_to(&format!("{PATH}?done=deleted")))
}

/// `POST /settings/webhooks/deliveries/{id}/redeliver`
pub async fn redeliver(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"id": visit.params.get("id")});
    visitor
        .call(visit.house(), "RedeliverWebhook", &request)
        .await?;
    Ok(visit.lead_to(&format!("{PATH}?done=sent")))
}

/// `POST /settings/webhooks/secret`
pub async fn show_secret(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let answer = visitor
        .call(visit.house(), "GetSigningSecret", &json!({}))
        .await?;
    Ok(secret_page(
        &visit,
        "The signing secret",
        None,
        &answer,
        false,
    ))
}

/// `GET /settings/webhooks/secret/rotate`
pub async fn ask_rotate(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let confirm = Confirm {
        frame: visit.frame("Make a new signing secret?"),
        form_token: &visitor.form_token,
        text: "Messages to the webhook_url of requests are signed with the new one from now on, and for a day with the \
               old one, too. Give your receivers the new one within that day."
            .to_owned(),
        action: format!("{PATH}/secret/rotate"),
        back: PATH,
        button: "Make a new secret",
    };
    Ok(shell::page(StatusCode::OK, &confirm))
}

/// `POST /settings/webhooks/secret/rotate`
pub async fn rotate(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let answer = visitor
        .call(visit.house(), "RotateSigningSecret", &json!({}))
        .await?;
    Ok(secret_page(
        &visit,
        "The new signing secret",
        None,
        &answer,
        true,
    ))
}

fn secret_page(
    visit: &Visit,
    title: &str,
    url: Option<String>,
    answer: &Value,
    is_new: bool,
) -> Response {
    let secret = answer["secret"].as_str().unwrap_or_default();
    let page = Secret {
        frame: visit.frame(title),
        url,
        secret: Snippet::plain("Signing secret", secret.to_owned()),
        is_new,
    };
    shell::page(StatusCode::OK, &page)
}

fn webhook_row(webhook: Webhook) -> WebhookRow {
    WebhookRow {
        deliveries: link(&[("webhookId", webhook.id.clone())]),
        id: webhook.id,
        url: webhook.url,
        created: minute(&webhook.created_at),
        disabled: webhook.disabled_at.map(|time| minute(&time)),
    }
}

/// `webhooks` are those that are there, if the visitor may know.
fn delivery_row(delivery: &Delivery, webhooks: Option<&[Webhook]>) -> DeliveryRow {
    let state = STATES.iter().find(|(word, ..)| *word == delivery.status);
    let (_, state, class) = state.copied().unwrap_or_default();
    let is_there =
        |webhook: &Webhook| webhook.id == delivery.webhook_id && webhook.disabled_at.is_none();
    let last = delivery.attempted_at.as_deref();
    let answer = match delivery.answer_status {
        Some(status) => status.to_string(),
        None if delivery.error.is_empty() => "–".to_owned(),
        None => "none".to_owned(),
    };
    let details = if delivery.error.is_empty() {
        delivery.answer.clone()
    } else {
        delivery.error.clone()
    };
    let next = delivery.next_attempt_at.as_deref();
    DeliveryRow {
        id: delivery.id.clone(),
        task_id: delivery.task_id.clone(),
        url: delivery.url.clone(),
        state,
        class,
        ended: minute(&delivery.created_at),
        attempts: delivery.attempts,
        last: last.filter(|_| delivery.attempts > 1).map(minute),
        answer,
        details,
        next: next.map(minute),
        may_be_sent_again: webhooks.is_some_and(|webhooks| {
            delivery.webhook_id.is_empty() || webhooks.iter().any(is_there)
        }),
    }
}
