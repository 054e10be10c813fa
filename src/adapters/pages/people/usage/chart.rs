//! Spending as a picture and as tables: the figures of the method, arranged; drawn as SVG that stretches to its place.
//!
//! All text stands beside the picture as plain text, so that it keeps its size however narrow the picture gets, and
//! every figure of the picture is in the tables, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::generation::Day;

/// Models that have a colour of their own; what the others cost is summed.
const COLOURS: usize = 5;

/// What the summed models are called.
const OTHERS: &str = "other models";

/// The height of the picture in its own units; a day is one unit wide.
const HEIGHT: f64 = 100.0;

/// How much of its day a bar fills.
const BAR: &str = ".72";

/// What is left free between a part of a bar and the one below it, where the part is higher than that.
const GAP: f64 = 0.7;

/// The answer of `GetSpending`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Spending {
    from: String,
    to: String,
    credits: i64,
    tasks: i64,
    daily: Vec<Daily>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Daily {
    day: String,
    model: String,
    credits: i64,
    tasks: i64,
}

/// Credits and tasks of a row.
#[derive(Clone, Copy, Default)]
struct Sum {
    credits: i64,
    tasks: i64,
}

impl Sum {
    fn add(&mut self, daily: &Daily) {
        self.credits = self.credits.saturating_add(daily.credits);
        self.tasks = self.tasks.saturating_add(daily.tasks);
    }
}

/// What the page shows of it.
pub struct Chart {
    pub credits: String,
    pub tasks: String,
    pub average: String,
    /// The first day, the one in the middle and the last.
    pub ends: [String; 3],
    /// What the lines stand for, from the top.
    pub marks: [String; 3],
    /// None where nothing was spent.
    pub picture: Option<Picture>,
    pub models: Vec<ModelRow>,
    pub days: Vec<DayRow>,
}

/// The picture, in units of a day and a hundredth of its height.
pub struct Picture {
    pub width: usize,
    /// A path for each colour.
    pub bars: Vec<String>,
    /// A column for each day on which something was spent, and its words.
    pub columns: Vec<(usize, String)>,
}

/// What a model cost, or all those without a colour.
pub struct ModelRow {
    /// 0 to 5.
    pub colour: usize,
    pub model: String,
    /// There is a page about it.
    pub is_model: bool,
    pub tasks: String,
    pub credits: String,
    pub share: String,
}

/// What a day cost.
pub struct DayRow {
    pub day: String,
    pub tasks: String,
    pub credits: String,
    /// The models, most expensive first.
    pub models: String,
}

impl Chart {
    pub fn new(spending: &Spending) -> Self {
        let models = ranked(spending);
        let days = days(spending);
        let mut by_day: BTreeMap<&str, Vec<&Daily>> = BTreeMap::new();
        for daily in &spending.daily {
            by_day.entry(&daily.day).or_default().push(daily);
        }
        let most = by_day.values().map(|day| total(day).credits).max();
        let top = round_up(most.unwrap_or_default());
        let count = i64::try_from(days.len()).unwrap_or(1).max(1);
        Self {
            credits: number(spending.credits),
            tasks: number(spending.tasks),
            average: number((spending.credits + count / 2) / count),
            ends: [days.first(), days.get(days.len() / 2), days.last()]
                .map(|day| day.cloned().unwrap_or_default()),
            marks: [top, top / 2, 0].map(number),
            picture: (spending.credits > 0).then(|| picture(&days, &by_day, &models, top)),
            models: model_rows(&models, spending.credits),
            days: by_day.into_iter().rev().map(day_row).collect(),
        }
    }
}

/// Models with what they cost, the most expensive first.
fn ranked(spending: &Spending) -> Vec<(&str, Sum)> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for daily in &spending.daily {
        sums.entry(&daily.model).or_default().add(daily);
    }
    let mut models: Vec<_> = sums.into_iter().collect();
    models.sort_by_key(|(_, sum)| (-sum.credits, -sum.tasks));
    models
}

/// Every day of the range.
fn days(spending: &Spending) -> Vec<String> {
    let ends = (Day::parse(&spending.from), Day::parse(&spending.to));
    let (Some(first), Some(last)) = ends else {
        return Vec::new();
    };
    first.through(last).map(|day| day.to_string()).collect()
}

fn total(day: &[&Daily]) -> Sum {
    let mut sum = Sum::default();
    day.iter().for_each(|daily| sum.add(daily));
    sum
}

/// The colour of a model: its rank as far as there are colours.
fn colour(models: &[(&str, Sum)], model: &str) -> usize {
    let rank = models.iter().position(|(known, _)| *known == model);
    rank.unwrap_or(COLOURS).min(COLOURS)
}

fn picture(
    days: &[String],
    by_day: &BTreeMap<&str, Vec<&Daily>>,
    models: &[(&str, Sum)],
    top: i64,
) -> Picture {
    let mut bars = vec![String::new(); models.len().min(COLOURS + 1)];
    let mut columns = Vec::new();
    for (at, day) in days.iter().enumerate() {
        let Some(figures) = by_day.get(day.as_str()) else {
            continue;
        };
        let mut parts = [0_i64; COLOURS + 1];
        for daily in figures {
            let part = &mut parts[colour(models, &daily.model)];
            *part = part.saturating_add(daily.credits);
        }
        let mut below = 0_i64;
        for (bar, part) in bars.iter_mut().zip(parts).filter(|(_, part)| *part > 0) {
            let high = place(below.saturating_add(part), top);
            let gap = if below > 0 { GAP } else { 0.0 };
            let low = (place(below, top) - gap).max(high);
            below = below.saturating_add(part);
            // The bar of a day stands in its middle.
            let _ = write!(bar, "M{at}.14 {low:.1}h{BAR}V{high:.1}h-{BAR}z");
        }
        let sum = total(figures);
        let words = format!(
            "{day}: {} credits, {}",
            number(sum.credits),
            tasks(sum.tasks)
        );
        columns.push((at, words));
    }
    Picture {
        width: days.len(),
        bars,
        columns,
    }
}

/// How far from the top so many credits are.
fn place(credits: i64, top: i64) -> f64 {
    HEIGHT - HEIGHT * credits as f64 / top.max(1) as f64
}

fn model_rows(models: &[(&str, Sum)], all: i64) -> Vec<ModelRow> {
    let row = |colour, model: &str, is_model, sum: Sum| ModelRow {
        colour,
        model: model.to_owned(),
        is_model,
        tasks: number(sum.tasks),
        credits: number(sum.credits),
        share: share(sum.credits, all),
    };
    let (shown, rest) = models.split_at(models.len().min(COLOURS));
    let mut rows: Vec<ModelRow> = shown
        .iter()
        .enumerate()
        .map(|(colour, (model, sum))| row(colour, model, true, *sum))
        .collect();
    match rest {
        [] => {}
        [(model, sum)] => rows.push(row(COLOURS, model, true, *sum)),
        rest => {
            let mut sum = Sum::default();
            for (_, part) in rest {
                sum.credits = sum.credits.saturating_add(part.credits);
                sum.tasks = sum.tasks.saturating_add(part.tasks);
            }
            rows.push(row(
                COLOURS,
                &format!("{} {OTHERS}", rest.len()),
                false,
                sum,
            ));
        }
    }
    rows
}

fn day_row((day, mut figures): (&str, Vec<&Daily>)) -> DayRow {
    let sum = total(&figures);
    figures.sort_by_key(|daily| -daily.credits);
    let models: Vec<String> = figures
        .iter()
        .map(|daily| format!("{} {}", daily.model, number(daily.credits)))
        .collect();
    DayRow {
        day: day.to_owned(),
        tasks: number(sum.tasks),
        credits: number(sum.credits),
        models: models.join(", "),
    }
}

/// A part of the whole in percent, as people write it.
fn share(part: i64, all: i64) -> String {
    if all <= 0 {
        return "–".to_owned();
    }
    let percent = 100.0 * part as f64 / all as f64;
    match percent {
        percent if part > 0 && percent < 1.0 => "< 1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

fn tasks(count: i64) -> String {
    format!(
        "{} task{}",
        number(count),
        if count == 1 { "" } else { "s" }
    )
}

/// The next larger number that reads well and can be halved: 2, 4, 6, 8, 10, 20, 40, 50, 60 …
fn round_up(credits: i64) -> i64 {
    let mut ten = 1_i64;
    loop {
        for step in [2, 4, 5, 6, 8] {
            if let Some(round) = ten.checked_mul(step)
                && round >= credits
                && round % 2 == 0
            {
                return round;
            }
        }
        match ten.checked_mul(10) {
            Some(more) => ten = more,
            None => return i64::MAX,
        }
        if ten >= credits {
            return ten;
        }
    }
}

/// A number with its thousands apart.
pub fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "−" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daily(day: &str, model: &str, credits: i64, tasks: i64) -> Daily {
        let (day, model) = (day.to_owned(), model.to_owned());
        Daily {
            day,
            model,
            credits,
            tasks,
        }
    }

    fn spending(daily: Vec<Daily>) -> Spending {
        Spending {
            from: "2026-02-27".to_owned(),
            to: "2026-03-01".to_owned(),
            credits: daily.iter().map(|daily| daily.credits).sum(),
            tasks: daily.iter().map(|daily| daily.tasks).sum(),
            daily,
        }
    }

    #[test]
    fn bars_stand_on_each_other_in_the_order_of_cost() {
        let chart = Chart::new(&spending(vec![
            daily("2026-02-27", "a", 10, 1),
            daily("2026-02-27", "b", 30, 3),
            daily("2026-03-01", "a", 5, 1),
        ]));
        let picture = chart.picture.expect("something was spent");
        assert_eq!(chart.marks, ["40", "20", "0"]);
        assert_eq!(
            picture.bars,
            [
                "M0.14 100.0h.72V25.0h-.72z",
                "M0.14 24.3h.72V0.0h-.72zM2.14 100.0h.72V87.5h-.72z"
            ]
        );
        let words = (0, "2026-02-27: 40 credits, 4 tasks".to_owned());
        assert_eq!((picture.width, &picture.columns[0]), (3, &words));
        assert_eq!(chart.ends, ["2026-02-27", "2026-02-28", "2026-03-01"]);
        let models: Vec<_> = chart
            .models
            .iter()
            .map(|row| (&*row.model, &*row.share))
            .collect();
        assert_eq!(models, [("b", "67 %"), ("a", "33 %")]);
        let days: Vec<_> = chart
            .days
            .iter()
            .map(|row| (&*row.day, &*row.models))
            .collect();
        assert_eq!(days, [("2026-03-01", "a 5"), ("2026-02-27", "b 30, a 10")]);
        assert_eq!(chart.average, "15");
    }

    #[test]
    fn models_without_a_colour_are_summed() {
        let many: Vec<Daily> = (0..8)
            .map(|at| daily("2026-02-28", &format!("m{at}"), 100 - at, 1))
            .collect();
        let chart = Chart::new(&spending(many));
        assert_eq!(chart.models.len(), COLOURS + 1);
        let last = chart.models.last().expect("not empty");
        assert_eq!(
            (&*last.model, last.is_model, &*last.credits),
            ("3 other models", false, "282")
        );
        assert_eq!(
            chart.picture.expect("something was spent").bars.len(),
            COLOURS + 1
        );
    }

    #[test]
    fn what_was_free_has_no_picture() {
        let chart = Chart::new(&spending(vec![daily("2026-02-28", "free", 0, 7)]));
        assert!(chart.picture.is_none());
        assert_eq!((&*chart.models[0].share, &*chart.days[0].tasks), ("–", "7"));
    }

    #[test]
    fn numbers_read_well() {
        for (credits, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-12_345_678, "−12,345,678"),
        ] {
            assert_eq!(number(credits), text);
        }
        for (credits, round) in [
            (0, 2),
            (3, 4),
            (9, 10),
            (10, 10),
            (11, 20),
            (41, 50),
            (4_100, 5_000),
            (i64::MAX, i64::MAX),
        ] {
            assert_eq!(round_up(credits), round, "{credits}");
        }
        assert_eq!(share(1, 1_000), "< 1 %");
    }
}
