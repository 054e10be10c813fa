//! `/admin`, `/admin/upstreams` and `/admin/queue`: how the server stands, three times from another side.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::super::apikeys::minute;
use super::super::shell;
use super::super::visit::{Visit, Visitor};
use super::submissions::{self, Submission};
use super::{ask, audit, grouped, with_query};
use crate::adapters::pages::Frame;
use crate::spec::error::ApiError;

/// Changes that the overview shows.
const CHANGES: u32 = 5;

/// The status as the method answers it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    at: String,
    upstreams: Vec<Upstream>,
    waiting_tasks: i64,
    running_tasks: i64,
    oldest_waiting_since: Option<String>,
    nodes: Vec<Node>,
    unknown_submissions: i64,
    ends: Vec<Ends>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Upstream {
    name: String,
    configured: bool,
    missing_setting: String,
    condition: String,
    rests_until: Option<String>,
    failures: i64,
    last_error: String,
    last_error_at: Option<String>,
    models_gone: Vec<String>,
    waiting_tasks: i64,
    running_tasks: i64,
    jobs_max: i64,
}

impl Upstream {
    /// How it stands: the class of a badge, and the word on it.
    fn badge(&self) -> (&'static str, &'static str) {
        match self.condition.as_str() {
            "" => ("", "not set up"),
            "READY" if self.models_gone.is_empty() => ("good", "ready"),
            "READY" => ("warn", "models gone"),
            "RESTING" => ("warn", "resting"),
            "REFUSED" => ("danger", "refuses us"),
            _ => ("danger", "down"),
        }
    }

    fn is_well(&self) -> bool {
        self.badge().0 == "good"
    }

    /// What is known beyond the badge.
    fn words(&self) -> String {
        let stands = match (self.condition.as_str(), self.rests_until.as_deref()) {
            ("REFUSED", _) => "It refuses this server's key, or its account there.".to_owned(),
            ("DOWN", _) => "Asked how it is, it does not answer as it should.".to_owned(),
            (_, Some(until)) => format!("It is left alone until {}.", second(until)),
            _ => String::new(),
        };
        let last = match self.last_error_at.as_deref() {
            Some(at) => format!("At {} it {}.", minute(at), self.last_error),
            None if stands.is_empty() => "No failure since this process began.".to_owned(),
            None => String::new(),
        };
        [stands, last].join(" ").trim().to_owned()
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    id: String,
    alive: bool,
    answers: bool,
    leased_until: String,
    tasks: i64,
}

impl Node {
    fn until(&self) -> String {
        second(&self.leased_until)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Ends {
    upstream: String,
    last_hour: Counts,
    last_day: Counts,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Counts {
    succeeded: i64,
    failed: i64,
    canceled: i64,
    failures: Vec<Failure>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Failure {
    reason: String,
    tasks: i64,
}

impl Counts {
    fn all(&self) -> i64 {
        self.succeeded + self.failed + self.canceled
    }

    /// Of those that were not stopped, how many failed, in tenths of a percent; none: there were none.
    fn failed_per_mille(&self) -> Option<i64> {
        let ended = self.succeeded + self.failed;
        (ended > 0).then(|| self.failed * 1000 / ended)
    }

    fn rate(&self) -> String {
        let rate = self.failed_per_mille();
        rate.map_or("–".to_owned(), |rate| match rate {
            0 if self.failed > 0 => "under 0.1%".to_owned(),
            0 | 1000 => format!("{}%", rate / 10),
            _ => format!("{}.{}%", rate / 10, rate % 10),
        })
    }

    /// How much of a bar of 100 each part takes: delivered, failed, stopped.
    fn parts(&self) -> [i64; 3] {
        let all = self.all().max(1);
        // Whatever there is, is seen.
        let part = |tasks: i64| match tasks {
            0 => 0,
            _ => (tasks * 100 / all).max(2),
        };
        let (failed, canceled) = (part(self.failed), part(self.canceled));
        [100 - failed - canceled, failed, canceled]
    }
}

#[derive(Template)]
#[template(path = "admin.html")]
struct Overview {
    frame: Frame,
    status: Status,
    changes: Vec<audit::Row>,
}

#[derive(Template)]
#[template(path = "admin_upstreams.html")]
struct Upstreams {
    frame: Frame,
    status: Status,
}

#[derive(Template)]
#[template(path = "admin_queue.html")]
struct Queue {
    frame: Frame,
    status: Status,
    submissions: Vec<Submission>,
    next: Option<String>,
    done: &'static str,
}

impl Status {
    fn waiting(&self) -> String {
        grouped(self.waiting_tasks)
    }

    fn running(&self) -> String {
        grouped(self.running_tasks)
    }

    fn alive(&self) -> usize {
        self.nodes.iter().filter(|node| node.alive).count()
    }

    fn well(&self) -> usize {
        self.upstreams
            .iter()
            .filter(|known| known.is_well())
            .count()
    }

    fn set_up(&self) -> usize {
        self.upstreams
            .iter()
            .filter(|known| known.configured)
            .count()
    }

    /// For how long the oldest waits that has not begun.
    fn oldest(&self) -> String {
        let since = self.oldest_waiting_since.as_deref();
        let waits = since.and_then(|since| time(&self.at)?.duration_since(time(since)?).ok());
        waits.map_or(String::new(), |waits| {
            let seconds = Duration::from_secs(waits.as_secs());
            format!("the oldest for {}", humantime::format_duration(seconds))
        })
    }

    /// How all tasks of the last hour ended.
    fn hour(&self) -> Counts {
        let mut sum = Counts::default();
        for ends in &self.ends {
            sum.succeeded += ends.last_hour.succeeded;
            sum.failed += ends.last_hour.failed;
            sum.canceled += ends.last_hour.canceled;
        }
        sum
    }

    fn told(&self) -> String {
        second(&self.at)
    }
}

/// `GET /admin`
pub async fn overview(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"pageSize": CHANGES});
    let changes: audit::Page = ask(&visit, &visitor, "ListAuditLog", &request).await?;
    let page = Overview {
        frame: visit.frame("Overview"),
        status: status(&visit, &visitor).await?,
        changes: changes.entries.into_iter().map(audit::row).collect(),
    };
    Ok(shell::page(StatusCode::OK, &page))
}

/// `GET /admin/upstreams`
pub async fn upstreams(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let page = Upstreams {
        frame: visit.frame("Upstreams"),
        status: status(&visit, &visitor).await?,
    };
    Ok(shell::page(StatusCode::OK, &page))
}

/// `GET /admin/queue`
pub async fn queue(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let request = json!({"pageToken": visit.query.get("after")});
    let lost: submissions::Page = ask(&visit, &visitor, "ListUnknownSubmissions", &request).await?;
    let more = [("after", lost.next_page_token.as_str())];
    let page = Queue {
        frame: visit.frame("Queue"),
        status: status(&visit, &visitor).await?,
        next: (!lost.next_page_token.is_empty()).then(|| with_query("/admin/queue", &more)),
        submissions: lost.submissions,
        done: match visit.query.get("done") {
            "settled" => "The submission is settled.",
            _ => "",
        },
    };
    Ok(shell::page(StatusCode::OK, &page))
}

async fn status(visit: &Visit, visitor: &Visitor) -> Result<Status, ApiError> {
    ask(visit, visitor, "GetServerStatus", &json!({})).await
}

fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

/// A time of a message of today: to the second, in UTC.
fn second(time: &str) -> String {
    match time.get(11..19) {
        Some(clock) => format!("{clock} UTC"),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(succeeded: i64, failed: i64, canceled: i64) -> Counts {
        Counts {
            succeeded,
            failed,
            canceled,
            failures: Vec::new(),
        }
    }

    #[test]
    fn rates_are_of_those_that_were_not_stopped() {
        let table = [
            (counts(0, 0, 9), "–"),
            (counts(9, 0, 0), "0%"),
            (counts(0, 1, 0), "100%"),
            (counts(3, 1, 100), "25.0%"),
            (counts(99_999, 1, 0), "under 0.1%"),
        ];
        for (counts, rate) in table {
            assert_eq!(counts.rate(), rate);
        }
    }

    #[test]
    fn parts_of_a_bar_are_whole_and_never_lost() {
        assert_eq!(counts(0, 0, 0).parts(), [100, 0, 0]);
        assert_eq!(counts(1_000_000, 1, 1).parts(), [96, 2, 2]);
        assert_eq!(counts(0, 5, 0).parts(), [0, 100, 0]);
    }
}
