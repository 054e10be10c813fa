//! `/admin`: what operators see of the server and change. To everybody else there are no such pages.
//!
//! | module | pages |
//! |---|---|
//! | [`status`] | `/admin`, `/admin/upstreams`, `/admin/queue`: how the server stands |
//! | [`accounts`] | `/admin/accounts` and each account: credits and plans |
//! | [`plans`] | `/admin/plans` |
//! | [`submissions`] | `/admin/queue/{task}/{attempt}`: what nobody knows, settled |
//! | [`audit`] | `/admin/audit`: what operators changed |
//!
//! Everything is a method of `AdminService`. What takes something away or cannot be undone is asked for twice: the form
//! is answered with a page that repeats it and carries its fields on.

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::form::Form;
use super::shell;
use super::visit::{Visit, Visitor, operators};
use crate::adapters::entry::Shared;
use crate::adapters::pages::Frame;
use crate::spec::error::ApiError;
use crate::spec::reason::Reason;
use crate::spec::validate::Violation;

mod accounts;
mod audit;
mod plans;
mod status;
mod submissions;

/// The field that says that the second page was read.
const CONFIRMED: &str = "confirmed";

/// The pages.
pub fn router(house: &Shared) -> Router {
    Router::new()
        .route("/admin", get(operators(house, status::overview)))
        .route("/admin/upstreams", get(operators(house, status::upstreams)))
        .route("/admin/queue", get(operators(house, status::queue)))
        .route(
            "/admin/queue/{task}/{attempt}",
            get(operators(house, submissions::show)).post(operators(house, submissions::settle)),
        )
        .route(
            "/admin/accounts",
            get(operators(house, accounts::list)).post(operators(house, accounts::create)),
        )
        .route(
            "/admin/accounts/{name}",
            get(operators(house, accounts::show)),
        )
        .route(
            "/admin/accounts/{name}/credits",
            get(operators(house, accounts::show)).post(operators(house, accounts::grant)),
        )
        .route(
            "/admin/accounts/{name}/plan",
            get(operators(house, accounts::show)).post(operators(house, accounts::set_plan)),
        )
        .route(
            "/admin/plans",
            get(operators(house, plans::list)).post(operators(house, plans::save)),
        )
        .route("/admin/audit", get(operators(house, audit::list)))
        .route("/admin/audit.csv", get(operators(house, audit::export)))
}

/// Asks whether it is meant.
#[derive(Template)]
#[template(path = "admin_confirm.html")]
struct Confirm<'p> {
    frame: Frame,
    form_token: &'p str,
    text: String,
    /// Where the form goes, and where the link back leads; below the base.
    action: String,
    back: String,
    /// What the first form sent.
    fields: Vec<(&'p str, String)>,
    button: &'p str,
}

impl Confirm<'_> {
    fn page(self) -> Response {
        shell::page(StatusCode::OK, &self)
    }
}

/// What a method answers to a request, read.
async fn ask<T: DeserializeOwned>(
    visit: &Visit,
    visitor: &Visitor,
    method: &str,
    request: &Value,
) -> Result<T, ApiError> {
    let answer = visitor.call(visit.house(), method, request).await?;
    serde_json::from_value(answer).map_err(|_| ApiError::internal())
}

/// The names of all plans.
async fn plan_names(visit: &Visit, visitor: &Visitor) -> Result<Vec<String>, ApiError> {
    let plans: plans::Plans = ask(visit, visitor, "ListPlans", &json!({})).await?;
    Ok(plans.plans.into_iter().map(|plan| plan.name).collect())
}

/// Whether it is something that the operator can mend on the page with the form.
fn is_mendable(error: &ApiError) -> bool {
    matches!(
        error.reason,
        Reason::InvalidArgument
            | Reason::MalformedRequest
            | Reason::AccountExists
            | Reason::PlanNotFound
            | Reason::IdempotencyKeyReused
            | Reason::SubmissionSettled
    )
}

/// A whole number of a form.
fn number(form: &Form, field: &str) -> Result<i64, ApiError> {
    let text = form.get(field).trim();
    text.parse().map_err(|_| {
        let violation = Violation {
            field: field.to_owned(),
            message: "write a whole number".to_owned(),
        };
        ApiError::invalid(Reason::InvalidArgument, vec![violation])
    })
}

/// `path` with what is given of these fields after it.
fn with_query(path: &str, fields: &[(&str, &str)]) -> String {
    let given: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    if given.is_empty() {
        return path.to_owned();
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in given {
        query.append_pair(name, value);
    }
    format!("{path}?{}", query.finish())
}

/// A number with its thousands apart, as people read it.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 {
        format!("−{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        let table = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-12_345_678, "−12,345,678"),
        ];
        for (number, text) in table {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_query_carries_what_is_given() {
        assert_eq!(with_query("/a", &[("x", ""), ("y", "")]), "/a");
        assert_eq!(with_query("/a", &[("x", "1 &"), ("y", "")]), "/a?x=1+%26");
    }
}
