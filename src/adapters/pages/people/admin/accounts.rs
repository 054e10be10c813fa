//! `/admin/accounts`: finding accounts, making one, and what one has and may do.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::super::apikeys::minute;
use super::super::shell::{self, status_of};
use super::super::visit::{Visit, Visitor};
use super::plans::Plan;
use super::{CONFIRMED, Confirm, ask, audit, grouped, is_mendable, number, plan_names, with_query};
use crate::adapters::pages::Frame;
use crate::spec::error::ApiError;

/// The page.
const PATH: &str = "/admin/accounts";

/// Changes that the page of an account shows.
const CHANGES: u32 = 8;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    accounts: Vec<Account>,
    next_page_token: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Account {
    id: String,
    name: String,
    plan: String,
    created_at: String,
}

impl Account {
    fn made(&self) -> String {
        minute(&self.created_at)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    account: Account,
    plan: Plan,
    balance: Balance,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Balance {
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

impl Expiring {
    fn text(&self) -> String {
        format!(
            "{} until {}",
            grouped(self.credits),
            minute(&self.expires_at)
        )
    }
}

#[derive(Template)]
#[template(path = "admin_accounts.html")]
struct List<'p> {
    frame: Frame,
    form_token: &'p str,
    search: &'p str,
    accounts: Vec<Account>,
    next: Option<String>,
    plans: Vec<String>,
    name: &'p str,
    plan: &'p str,
    problem: &'p str,
}

#[derive(Template)]
#[template(path = "admin_account.html")]
struct One<'p> {
    frame: Frame,
    form_token: &'p str,
    details: Details,
    plans: Vec<String>,
    /// Makes a double click one grant.
    grant_key: String,
    credits: &'p str,
    note: &'p str,
    expires: &'p str,
    done: String,
    problem: &'p str,
    changes: Vec<audit::Row>,
}

impl One<'_> {
    fn available(&self) -> String {
        grouped(self.details.balance.available)
    }

    fn held(&self) -> String {
        grouped(self.details.balance.held)
    }
}

/// `GET /admin/accounts`
pub async fn list(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    list_page(&visit, &visitor, StatusCode::OK, "").await
}

async fn list_page(
    visit: &Visit,
    visitor: &Visitor,
    status: StatusCode,
    problem: &str,
) -> Result<Response, ApiError> {
    let search = visit.query.get("search").trim();
    let request = json!({"nameContains": search, "pageToken": visit.query.get("after")});
    let page: Page = ask(visit, visitor, "ListAccounts", &request).await?;
    let more = [("search", search), ("after", &page.next_page_token)];
    let list = List {
        frame: visit.frame("Accounts"),
        form_token: &visitor.form_token,
        search,
        next: (!page.next_page_token.is_empty()).then(|| with_query(PATH, &more)),
        accounts: page.accounts,
        plans: plan_names(visit, visitor).await?,
        name: visit.form.get("name"),
        plan: visit.form.get("plan"),
        problem,
    };
    Ok(shell::page(status, &list))
}

/// `POST /admin/accounts`
pub async fn create(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let name = visit.form.get("name").trim();
    let request = json!({"name": name, "plan": visit.form.get("plan")});
    match visitor.call(visit.house(), "CreateAccount", &request).await {
        Ok(_) => Ok(visit.lead_to(&format!("{PATH}/{name}?done=made"))),
        Err(error) if is_mendable(&error) => {
            list_page(&visit, &visitor, status_of(&error), &error.message).await
        }
        Err(error) => Err(error),
    }
}

/// `GET /admin/accounts/{name}`
pub async fn show(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    one_page(&visit, &visitor, StatusCode::OK, "").await
}

async fn one_page(
    visit: &Visit,
    visitor: &Visitor,
    status: StatusCode,
    problem: &str,
) -> Result<Response, ApiError> {
    let name = visit.params.get("name");
    let details: Details = ask(visit, visitor, "GetAccount", &json!({"name": name})).await?;
    let request = json!({"account": name, "pageSize": CHANGES});
    let changes: audit::Page = ask(visit, visitor, "ListAuditLog", &request).await?;
    let done = match visit.query.get("done") {
        "made" => "The account is made.".to_owned(),
        "granted" => "The credits are granted.".to_owned(),
        "plan" => format!("The account is on the plan {} now.", details.plan.name),
        _ => String::new(),
    };
    // A form that was refused keeps its key: what it asked for was not done.
    let sent = visit.form.get("grant_key");
    let page = One {
        frame: visit.frame(&details.account.name),
        form_token: &visitor.form_token,
        plans: plan_names(visit, visitor).await?,
        grant_key: match sent {
            "" => Uuid::now_v7().to_string(),
            sent => sent.to_owned(),
        },
        credits: visit.form.get("credits"),
        note: visit.form.get("note"),
        expires: visit.form.get("expires"),
        done,
        problem,
        changes: changes.entries.into_iter().map(audit::row).collect(),
        details,
    };
    Ok(shell::page(status, &page))
}

/// `POST /admin/accounts/{name}/credits`
pub async fn grant(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let (name, form) = (visit.params.get("name"), &visit.form);
    let granted = async {
        let mut request = json!({
            "account": name,
            "credits": number(form, "credits")?,
            "note": form.get("note").trim(),
            "idempotencyKey": form.get("grant_key"),
        });
        let day = form.get("expires").trim();
        if !day.is_empty() {
            request["expiresAt"] = json!(format!("{day}T00:00:00Z"));
        }
        visitor.call(visit.house(), "GrantCredits", &request).await
    };
    match granted.await {
        Ok(_) => Ok(visit.lead_to(&format!("{PATH}/{name}?done=granted"))),
        Err(error) if is_mendable(&error) => {
            one_page(&visit, &visitor, status_of(&error), &error.message).await
        }
        Err(error) => Err(error),
    }
}

/// `POST /admin/accounts/{name}/plan`
pub async fn set_plan(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let (name, plan) = (visit.params.get("name"), visit.form.get("plan"));
    if visit.form.get(CONFIRMED).is_empty() {
        let details: Details = ask(&visit, &visitor, "GetAccount", &json!({"name": name})).await?;
        let confirm = Confirm {
            frame: visit.frame("Change the plan?"),
            form_token: &visitor.form_token,
            text: format!(
                "{name} moves from {} to {plan}, with all its limits, within a second. Credits that were given this month stay.",
                details.plan.name
            ),
            action: format!("{PATH}/{name}/plan"),
            back: format!("{PATH}/{name}"),
            fields: vec![("plan", plan.to_owned())],
            button: "Change the plan",
        };
        return Ok(confirm.page());
    }
    let request = json!({"account": name, "plan": plan});
    match visitor.call(visit.house(), "SetPlan", &request).await {
        Ok(_) => Ok(visit.lead_to(&format!("{PATH}/{name}?done=plan"))),
        Err(error) if is_mendable(&error) => {
            one_page(&visit, &visitor, status_of(&error), &error.message).await
        }
        Err(error) => Err(error),
    }
}
