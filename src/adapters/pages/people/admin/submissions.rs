//! `/admin/queue/{task}/{attempt}`: a submission of which nobody knows whether it arrived, and the operator's word on it.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::super::apikeys::minute;
use super::super::shell::{self, status_of};
use super::super::visit::{Visit, Visitor};
use super::{CONFIRMED, Confirm, ask, is_mendable};
use crate::adapters::pages::Frame;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;

/// What a word does, for the page that asks whether it is meant.
const WORDS: [(&str, &str); 3] = [
    (
        "NOT_SUBMITTED",
        "It never arrived: the next way is tried, and without one the task fails and its credits are given back. If it \
         arrived after all, the upstream makes it, and bills it, twice.",
    ),
    (
        "ARRIVED",
        "The upstream has it, and is asked for this id from now on. A wrong id delivers somebody else's work, or nothing.",
    ),
    (
        "GIVE_UP",
        "The task fails now and its credits are given back, whatever the upstream makes of it.",
    ),
];

/// A page of submissions as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Page {
    pub submissions: Vec<Submission>,
    pub next_page_token: String,
}

/// A submission as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Submission {
    pub task_id: String,
    pub attempt: i64,
    pub account: String,
    pub test: bool,
    pub model: String,
    pub provider: String,
    pub upstream_model: String,
    pub since: String,
    pub deadline_at: String,
    pub held_credits: i64,
}

impl Submission {
    pub fn since(&self) -> String {
        minute(&self.since)
    }

    pub fn deadline(&self) -> String {
        minute(&self.deadline_at)
    }
}

#[derive(Template)]
#[template(path = "admin_submission.html")]
struct One<'p> {
    frame: Frame,
    form_token: &'p str,
    submission: Submission,
    verdict: &'p str,
    upstream_id: &'p str,
    problem: &'p str,
}

/// `GET /admin/queue/{task}/{attempt}`
pub async fn show(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    page(&visit, &visitor, StatusCode::OK, "").await
}

async fn page(
    visit: &Visit,
    visitor: &Visitor,
    status: StatusCode,
    problem: &str,
) -> Result<Response, ApiError> {
    let one = One {
        frame: visit.frame("A submission that got lost"),
        form_token: &visitor.form_token,
        submission: find(visit, visitor).await?,
        verdict: visit.form.get("verdict"),
        upstream_id: visit.form.get("upstream_id"),
        problem,
    };
    Ok(shell::page(status, &one))
}

/// The submission that the path names.
async fn find(visit: &Visit, visitor: &Visitor) -> Result<Submission, ApiError> {
    let missing = || {
        ApiError::new(
            Reason::SubmissionNotFound,
            "Nobody waits for a word on this submission: it was settled, or its upstream has told.",
        )
    };
    let task = Uuid::try_parse(visit.params.get("task")).map_err(|_| missing())?;
    // The page after the id before this one begins with this one, if it is there.
    let before = Uuid::from_u128(task.as_u128().saturating_sub(1)).to_string();
    let request = json!({"pageSize": 1, "pageToken": before});
    let page: Page = ask(visit, visitor, "ListUnknownSubmissions", &request).await?;
    let attempt = visit.params.get("attempt");
    let is_it = |found: &Submission| {
        found.task_id == task.to_string() && found.attempt.to_string() == attempt
    };
    page.submissions.into_iter().find(is_it).ok_or_else(missing)
}

/// `POST /admin/queue/{task}/{attempt}`
pub async fn settle(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let (task, attempt) = (visit.params.get("task"), visit.params.get("attempt"));
    let (verdict, form) = (visit.form.get("verdict"), &visit.form);
    let upstream_id = match verdict {
        "ARRIVED" => form.get("upstream_id").trim(),
        _ => "",
    };
    let known = WORDS.iter().find(|(word, _)| *word == verdict);
    let Some((_, words)) = known else {
        let problem = "Say what became of it.";
        return page(&visit, &visitor, StatusCode::UNPROCESSABLE_ENTITY, problem).await;
    };
    if verdict == "ARRIVED" && upstream_id.is_empty() {
        let problem = "An id of the upstream goes with “It arrived”.";
        return page(&visit, &visitor, StatusCode::UNPROCESSABLE_ENTITY, problem).await;
    }
    let path = format!("/admin/queue/{task}/{attempt}");
    if form.get(CONFIRMED).is_empty() {
        let confirm = Confirm {
            frame: visit.frame("Settle this submission?"),
            form_token: &visitor.form_token,
            text: (*words).to_owned(),
            action: path.clone(),
            back: path,
            fields: vec![
                ("verdict", verdict.to_owned()),
                ("upstream_id", upstream_id.to_owned()),
            ],
            button: "Settle it",
        };
        return Ok(confirm.page());
    }
    let request = json!({
        "taskId": task, "attempt": attempt, "verdict": verdict, "upstreamId": upstream_id,
    });
    match visitor
        .call(visit.house(), "SettleSubmission", &request)
        .await
    {
        Ok(_) => Ok(visit.lead_to("/admin/queue?done=settled")),
        // What cannot be settled any more has no page to mend it on.
        Err(error) if is_mendable(&error) && error.reason != Reason::SubmissionSettled => {
            page(&visit, &visitor, status_of(&error), &error.message).await
        }
        Err(error) => Err(error),
    }
}
