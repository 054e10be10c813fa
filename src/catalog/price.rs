//! What a run costs, in whole credits.
//!
//! A model's prices are rows in thousandths of a credit, so that a second may cost a fraction; the one rounding is on the total, and
//! upwards, so nothing that has a price comes out free. A request without a row is refused: no price, no run.

use super::fit::Fitted;
use super::model::Model;

/// What a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// One image.
    Image,
    /// One second of one video.
    Second,
    /// One whole video.
    Clip,
}

impl Unit {
    /// Every unit, as the model file spells it.
    pub const NAMED: [(&'static str, Self); 3] = [
        ("image", Self::Image),
        ("second", Self::Second),
        ("clip", Self::Clip),
    ];
}

/// One line of a price table. An empty condition holds for every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    /// What [`PriceRow::millicredits`] pays for.
    pub unit: Unit,
    /// Spelled as the model lists it.
    pub resolution: String,
    /// Only for clips of this length.
    pub duration_seconds: Option<u32>,
    /// Only with sound, or only without.
    pub audio: Option<bool>,
    /// The price of one unit; at least 1.
    pub millicredits: i64,
}

impl PriceRow {
    fn covers(&self, fitted: &Fitted) -> bool {
        self.resolution == fitted.resolution
            && self.audio.is_none_or(|audio| audio == fitted.audio)
            && self
                .duration_seconds
                .is_none_or(|seconds| Some(seconds) == fitted.duration_seconds)
    }

    /// The credits for a request that the row covers; `None` when they do not fit.
    fn total(&self, fitted: &Fitted) -> Option<i64> {
        let per_output = match self.unit {
            Unit::Image | Unit::Clip => 1,
            Unit::Second => fitted.duration_seconds?,
        };
        let millicredits = self
            .millicredits
            .checked_mul(i64::from(per_output))?
            .checked_mul(i64::from(fitted.count))?;
        Some(millicredits.checked_add(999)? / 1000)
    }
}

/// A request that has no price and therefore does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model {model} has no price for {request}, so it cannot run that way")]
pub struct NoPrice {
    /// The slug of the model.
    pub model: String,
    /// What was to be priced, in words.
    pub request: String,
}

impl Model {
    /// The credits for a request that [`Model::fit`] accepted; with a smaller `count`, the credits for a part of it.
    ///
    /// # Errors
    /// [`NoPrice`] when no row of the price table covers the request.
    pub fn price(&self, fitted: &Fitted) -> Result<i64, NoPrice> {
        self.prices
            .iter()
            .find(|row| row.covers(fitted))
            .and_then(|row| row.total(fitted))
            .ok_or_else(|| NoPrice {
                model: self.slug.clone(),
                request: in_words(fitted),
            })
    }

    /// The price table, smallest resolution first.
    #[must_use]
    pub fn price_rows(&self) -> &[PriceRow] {
        &self.prices
    }
}

fn in_words(fitted: &Fitted) -> String {
    let number = fitted.count;
    let resolution = &fitted.resolution;
    match fitted.duration_seconds {
        None => format!("{number} × {resolution}"),
        Some(seconds) => {
            let sound = if fitted.audio { "with" } else { "without" };
            format!("{number} × {resolution}, {seconds} seconds {sound} sound")
        }
    }
}

#[cfg(test)]
mod tests;
