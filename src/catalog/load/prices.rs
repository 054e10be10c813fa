//! Reads the `price` table of an entry into rows.

use toml::{Table, Value};

use super::reader::Reader;
use crate::catalog::model::{Audio, MediaType};
use crate::catalog::price::{PriceRow, Unit};
use crate::catalog::size::Resolution;

/// The highest price of one unit: a million credits.
const MILLICREDITS_MAX: i64 = 1_000_000_000;

pub(super) fn read(
    reader: &mut Reader<'_>,
    media: MediaType,
    resolutions: &[Resolution],
    durations: &[u32],
    audio: Audio,
) -> Option<Vec<PriceRow>> {
    let table = reader.table("price")?;
    let mut reader = reader.within("price", table);
    let unit = reader.choice("unit", &Unit::NAMED);
    let prices = reader.table("millicredits");
    let silent = reader.optional("without_audio", "a table", |value| match value {
        Value::Table(table) => Some(table),
        _ => None,
    });
    reader.finish();
    let (unit, mut prices, silent) = (unit?, prices?, silent?);
    if (unit == Unit::Image) != (media == MediaType::Image) {
        reader.wrong(
            "unit",
            "must be \"image\" for images, \"second\" or \"clip\" for videos",
        );
        return None;
    }
    if silent.is_some() && audio != Audio::Toggle {
        reader.wrong(
            "without_audio",
            "is for models whose audio is \"toggle\" alone",
        );
        return None;
    }
    let mut silent = silent.unwrap_or_default();
    let mut rows = Vec::new();
    for resolution in resolutions {
        let cell = Cell {
            unit,
            resolution: resolution.as_str(),
            durations,
        };
        let priced = prices.remove(cell.resolution);
        let priced_silent = silent.remove(cell.resolution);
        let condition = priced_silent.is_some().then_some(true);
        rows.extend(cell.rows(&mut reader, "millicredits", priced, condition));
        rows.extend(cell.rows(&mut reader, "without_audio", priced_silent, Some(false)));
    }
    refuse_strangers(&mut reader, "millicredits", &prices);
    refuse_strangers(&mut reader, "without_audio", &silent);
    Some(rows)
}

fn refuse_strangers(reader: &mut Reader<'_>, field: &str, left: &Table) {
    for name in left.keys() {
        reader.wrong(
            &format!("{field}.{name}"),
            "is none of the model's resolutions",
        );
    }
}

/// What the prices of one resolution are read with.
struct Cell<'model> {
    unit: Unit,
    resolution: &'model str,
    durations: &'model [u32],
}

impl Cell<'_> {
    /// One row for a price, or one for each length of a clip.
    fn rows(
        &self,
        reader: &mut Reader<'_>,
        field: &str,
        value: Option<Value>,
        audio: Option<bool>,
    ) -> Vec<PriceRow> {
        let path = format!("{field}.{}", self.resolution);
        let row = |duration_seconds, millicredits| PriceRow {
            unit: self.unit,
            resolution: self.resolution.to_owned(),
            duration_seconds,
            audio,
            millicredits,
        };
        match value {
            None => Vec::new(),
            Some(Value::Table(lengths)) if self.unit == Unit::Clip => {
                let mut priced: Vec<(u32, i64)> = lengths
                    .iter()
                    .filter_map(|(length, value)| self.clip(reader, &path, length, value))
                    .collect();
                priced.sort_unstable();
                priced
                    .into_iter()
                    .map(|(seconds, price)| row(Some(seconds), price))
                    .collect()
            }
            Some(value) => millicredits(reader, &path, &value)
                .map(|price| row(None, price))
                .into_iter()
                .collect(),
        }
    }

    fn clip(
        &self,
        reader: &mut Reader<'_>,
        path: &str,
        length: &str,
        value: &Value,
    ) -> Option<(u32, i64)> {
        let path = format!("{path}.{length}");
        let seconds = length
            .parse()
            .ok()
            .filter(|seconds| self.durations.contains(seconds));
        if seconds.is_none() {
            reader.wrong(&path, "is none of the model's durations");
        }
        millicredits(reader, &path, value).and_then(|price| Some((seconds?, price)))
    }
}

fn millicredits(reader: &mut Reader<'_>, path: &str, value: &Value) -> Option<i64> {
    let price = value
        .as_integer()
        .filter(|price| (1..=MILLICREDITS_MAX).contains(price));
    if price.is_none() {
        reader.wrong(
            path,
            format!("must be a whole number from 1 to {MILLICREDITS_MAX}"),
        );
    }
    price
}
