//! `/admin/plans`: what accounts on a plan may do, listed, made and changed.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::shell::{self, status_of};
use super::super::visit::{Visit, Visitor};
use super::{CONFIRMED, Confirm, ask, grouped, is_mendable, number};
use crate::adapters::pages::Frame;
use crate::spec::error::ApiError;

/// The page.
const PATH: &str = "/admin/plans";

/// The numbers of a plan, by the field of the form and of the message.
const NUMBERS: [(&str, &str); 5] = [
    ("submits", "submitsPerMinute"),
    ("reads", "readsPerMinute"),
    ("tasks", "concurrentTasks"),
    ("queued", "queuedTasks"),
    ("monthly", "monthlyCredits"),
];

/// The plans as the method answers them.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Plans {
    pub plans: Vec<Plan>,
}

/// One of them.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    pub name: String,
    pub submits_per_minute: i64,
    pub reads_per_minute: i64,
    pub concurrent_tasks: i64,
    pub queued_tasks: i64,
    pub monthly_credits: i64,
    pub free_tier_included: bool,
}

impl Plan {
    pub fn monthly(&self) -> String {
        grouped(self.monthly_credits)
    }
}

#[derive(Template)]
#[template(path = "admin_plans.html")]
struct List<'p> {
    frame: Frame,
    form_token: &'p str,
    plans: Vec<Plan>,
    /// The form, as text: what was sent comes back as it was.
    form: Filled,
    done: &'static str,
    problem: &'p str,
}

#[derive(Default)]
struct Filled {
    /// It is of a plan that is there.
    is_known: bool,
    name: String,
    numbers: [String; 5],
    free_tier: bool,
}

/// `GET /admin/plans`
pub async fn list(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    page(&visit, &visitor, StatusCode::OK, "").await
}

async fn page(
    visit: &Visit,
    visitor: &Visitor,
    status: StatusCode,
    problem: &str,
) -> Result<Response, ApiError> {
    let Plans { plans } = ask(visit, visitor, "ListPlans", &json!({})).await?;
    let sent = &visit.form;
    let edited = plans
        .iter()
        .find(|plan| plan.name == visit.query.get("edit"));
    let form = match edited {
        _ if !problem.is_empty() => Filled {
            is_known: plans.iter().any(|plan| plan.name == sent.get("name")),
            name: sent.get("name").to_owned(),
            numbers: NUMBERS.map(|(field, _)| sent.get(field).to_owned()),
            free_tier: !sent.get("free_tier").is_empty(),
        },
        Some(plan) => Filled {
            is_known: true,
            name: plan.name.clone(),
            numbers: [
                plan.submits_per_minute,
                plan.reads_per_minute,
                plan.concurrent_tasks,
                plan.queued_tasks,
                plan.monthly_credits,
            ]
            .map(|number| number.to_string()),
            free_tier: plan.free_tier_included,
        },
        None => Filled::default(),
    };
    let list = List {
        frame: visit.frame("Plans"),
        form_token: &visitor.form_token,
        plans,
        form,
        done: match visit.query.get("done") {
            "saved" => "The plan is saved.",
            _ => "",
        },
        problem,
    };
    Ok(shell::page(status, &list))
}

/// `POST /admin/plans`
pub async fn save(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let form = &visit.form;
    let name = form.get("name").trim();
    let saved = async {
        let mut plan = json!({"name": name, "freeTierIncluded": !form.get("free_tier").is_empty()});
        for (field, message_field) in NUMBERS {
            plan[message_field] = json!(number(form, field)?);
        }
        let Plans { plans } = ask(&visit, &visitor, "ListPlans", &json!({})).await?;
        let is_known = plans.iter().any(|plan| plan.name == name);
        if is_known && form.get(CONFIRMED).is_empty() {
            let sent = NUMBERS.map(|(field, _)| (field, form.get(field).to_owned()));
            let rest = ["name", "free_tier"].map(|field| (field, form.get(field).to_owned()));
            let confirm = Confirm {
                frame: visit.frame("Change this plan?"),
                form_token: &visitor.form_token,
                text: format!("Every account on {name} follows within a second."),
                action: PATH.to_owned(),
                back: format!("{PATH}?edit={name}"),
                fields: rest.into_iter().chain(sent).collect(),
                button: "Save the plan",
            };
            return Ok(confirm.page());
        }
        let request = json!({"plan": plan});
        visitor.call(visit.house(), "SavePlan", &request).await?;
        Ok(visit.lead_to(&format!("{PATH}?done=saved")))
    };
    match saved.await {
        Err(error) if is_mendable(&error) => {
            page(&visit, &visitor, status_of(&error), &error.message).await
        }
        saved => saved,
    }
}
