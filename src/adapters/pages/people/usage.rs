//! `/settings/usage`: what there is, where it went by day and model, and every movement.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use prost_types::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::apikeys::minute;
use super::generate::read_answer;
use super::shell;
use super::visit::{Visit, Visitor};
use crate::adapters::pages::Frame;
use crate::spec::error::ApiError;

/// For how many days spending can be shown.
const RANGES: [u64; 3] = [7, 30, 90];

/// The kinds of movements and what they are called.
const KINDS: [(&str, &str); 5] = [
    ("GRANT", "Granted"),
    ("HOLD", "Held"),
    ("CAPTURE", "Charged"),
    ("RELEASE", "Given back"),
    ("EXPIRE", "Expired"),
];

/// Models with a colour of their own; the others share one.
const COLOURS: usize = 5;

/// Movements in a page.
const PAGE: u32 = 25;

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Template)]
#[template(path = "usage.html")]
struct Usage<'p> {
    frame: Frame,
    balance: Balance,
    ranges: [u64; 3],
    range: u64,
    spent: Spent,
    chart: Chart,
    movements: Vec<Movement>,
    kinds: [(&'static str, &'static str); 5],
    kind: &'p str,
    /// The query of the next page.
    next: Option<String>,
}

/// The balance as the method tells it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
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

impl Expiring {
    fn when(&self) -> String {
        minute(&self.expires_at)
    }
}

/// Spending as the method tells it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spent {
    from: String,
    to: String,
    credits: i64,
    tasks: i64,
    spending: Vec<Spending>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spending {
    day: String,
    model: String,
    credits: i64,
    tasks: i64,
}

/// A movement as the method tells it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Movement {
    sequence: i64,
    kind: String,
    amount: i64,
    available: i64,
    held: i64,
    task_id: String,
    note: String,
    at: String,
}

impl Movement {
    fn name(&self) -> &'static str {
        let known = KINDS.iter().find(|(kind, _)| *kind == self.kind);
        known.map_or("", |(_, name)| name)
    }

    fn when(&self) -> String {
        minute(&self.at)
    }
}

/// Spending as bars, one for each day, with a piece for each model. Lengths are in units of the picture, which the
/// style sheet stretches.
struct Chart {
    bars: Vec<Bar>,
    legend: Vec<Entry>,
    /// The most that was spent in a day: the height of the picture.
    most: i64,
    /// The first, the middle and the last day.
    days: [String; 3],
}

struct Bar {
    x: usize,
    pieces: Vec<Piece>,
    /// In words: the day and what was spent.
    words: String,
}

struct Piece {
    colour: usize,
    y: f64,
    height: f64,
}

/// A model, or all that have no colour of their own.
struct Entry {
    colour: usize,
    name: String,
    credits: i64,
    tasks: i64,
}

/// The height of the picture in its own units.
const HEIGHT: f64 = 100.0;

impl Chart {
    fn of(days: &[String], spending: &[Spending]) -> Self {
        let mut by_model: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for spent in spending {
            let (credits, tasks) = by_model.entry(&spent.model).or_default();
            *credits += spent.credits;
            *tasks += spent.tasks;
        }
        let mut models: Vec<_> = by_model.into_iter().collect();
        models.sort_by_key(|(_, (credits, _))| -credits);
        let colour_of = |model: &str| {
            let place = models.iter().position(|(known, _)| *known == model);
            place.unwrap_or(COLOURS).min(COLOURS)
        };
        let of_day = |day: &str| {
            let mut colours = [0; COLOURS + 1];
            for spent in spending.iter().filter(|spent| spent.day == day) {
                colours[colour_of(&spent.model)] += spent.credits;
            }
            colours
        };
        let colours: Vec<_> = days.iter().map(|day| of_day(day)).collect();
        let sums = colours.iter().map(|day| day.iter().sum::<i64>());
        let most = sums.max().unwrap_or_default().max(1);
        let bars = days.iter().zip(&colours).enumerate();
        let bars = bars.map(|(x, (day, colours))| {
            let mut y = HEIGHT;
            let pieces = (0..).zip(colours).filter(|(_, credits)| **credits > 0);
            let pieces = pieces.map(|(colour, credits)| {
                let height = *credits as f64 / most as f64 * HEIGHT;
                y -= height;
                Piece { colour, y, height }
            });
            Bar {
                x,
                pieces: pieces.collect(),
                words: format!("{day}: {} credits", colours.iter().sum::<i64>()),
            }
        });
        let bars = bars.collect();
        let (own, rest) = models.split_at(models.len().min(COLOURS));
        let mut legend: Vec<_> = (0..)
            .zip(own)
            .map(|(colour, (model, (credits, tasks)))| Entry {
                colour,
                name: (*model).to_owned(),
                credits: *credits,
                tasks: *tasks,
            })
            .collect();
        if !rest.is_empty() {
            let sum = |of: fn(&(i64, i64)) -> i64| rest.iter().map(|(_, sums)| of(sums)).sum();
            legend.push(Entry {
                colour: COLOURS,
                name: format!("{} others", rest.len()),
                credits: sum(|(credits, _)| *credits),
                tasks: sum(|(_, tasks)| *tasks),
            });
        }
        let day = |at: usize| days.get(at).cloned().unwrap_or_default();
        Self {
            bars,
            legend,
            most,
            days: [
                day(0),
                day(days.len() / 2),
                day(days.len().saturating_sub(1)),
            ],
        }
    }

    fn width(&self) -> usize {
        self.bars.len()
    }
}

/// `GET /settings/usage`
pub async fn show(visit: Visit, visitor: Visitor) -> Result<Response, ApiError> {
    let (house, query) = (visit.house(), &visit.query);
    let asked = query.get("days").parse().ok();
    let range = asked.filter(|days| RANGES.contains(days)).unwrap_or(30);
    let kind = query.get("kind");
    let kind = KINDS.iter().find(|(known, _)| *known == kind);
    let kind = kind.map_or("", |(kind, _)| kind);
    let days = last_days(range, SystemTime::now());
    let spent = json!({"from": days.first(), "to": days.last()});
    let spent: Spent = read_answer(visitor.call(house, "GetSpending", &spent).await?)?;
    let balance = visitor.call(house, "GetBalance", &json!({})).await?;
    let mut request = json!({"pageSize": PAGE, "pageToken": query.get("page")});
    if !kind.is_empty() {
        request["kinds"] = json!([kind]);
    }
    let mut listed = visitor.call(house, "ListTransactions", &request).await?;
    let next = listed["nextPageToken"].as_str().unwrap_or_default();
    let next = (!next.is_empty()).then(|| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("days", &range.to_string());
        query.append_pair("kind", kind).append_pair("page", next);
        query.finish()
    });
    let page = Usage {
        frame: visit.frame("Usage"),
        balance: read_answer(balance)?,
        ranges: RANGES,
        range,
        chart: Chart::of(&days, &spent.spending),
        spent,
        movements: read_answer(listed["transactions"].take())?,
        kinds: KINDS,
        kind,
        next,
    };
    Ok(shell::page(StatusCode::OK, &page))
}

/// The days up to today, each as YYYY-MM-DD in UTC.
fn last_days(count: u64, now: SystemTime) -> Vec<String> {
    let days = (0..count).rev().map(|back| {
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        let time = now
            .checked_sub(DAY * back)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let mut day = Timestamp::from(time).to_string();
        day.truncate("YYYY-MM-DD".len());
        day
    });
    days.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_days_end_today() {
        let now = SystemTime::UNIX_EPOCH + DAY * 59 + DAY / 2;
        assert_eq!(
            last_days(3, now),
            ["1970-02-27", "1970-02-28", "1970-03-01"]
        );
    }

    #[test]
    fn a_chart_is_as_high_as_the_dearest_day() {
        let days: Vec<String> = ["2026-11-01", "2026-11-02"].map(str::to_owned).into();
        let spent = |day: usize, model: &str, credits| Spending {
            day: days[day].clone(),
            model: model.to_owned(),
            credits,
            tasks: 1,
        };
        let mut spending = vec![spent(0, "a", 30), spent(0, "b", 10), spent(1, "a", 20)];
        let chart = Chart::of(&days, &spending);
        assert_eq!((chart.most, chart.width()), (40, 2));
        let heights = chart.bars[0].pieces.iter().map(|piece| piece.height);
        assert_eq!(heights.collect::<Vec<_>>(), [75.0, 25.0]);
        assert_eq!(chart.bars[0].pieces[1].y, 0.0);
        assert_eq!(chart.legend[0].credits, 50);
        for model in ["c", "d", "e", "f", "g"] {
            spending.push(spent(1, model, 1));
        }
        let chart = Chart::of(&days, &spending);
        let last = chart.legend.last().expect("others");
        assert_eq!(
            (last.name.as_str(), last.credits, last.colour),
            ("2 others", 2, COLOURS)
        );
        assert!(Chart::of(&days, &[]).legend.is_empty());
    }
}
