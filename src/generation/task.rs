//! A task as callers see it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::status::Status;
use crate::assets::Assets;
use crate::catalog::{self, MediaType};
use crate::providers::Failure;

/// A generation: what was asked, how it stands, what came of it and what it costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// A UUIDv7.
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// Made with a test key: no credits move.
    pub test: bool,
    /// Where it stands.
    pub status: Status,
    /// From 0 to 100.
    pub progress: u8,
    /// The model's slug.
    pub model: String,
    /// What it makes.
    pub media: MediaType,
    /// The finished files; empty unless the status is SUCCESS.
    pub outputs: Vec<Output>,
    /// Files that arrived after the task had failed. They were not charged.
    pub late_outputs: Vec<Output>,
    /// Why it failed; present when the status is FAILED.
    pub failure: Option<Failure>,
    /// What it costs.
    pub credits: Credits,
    /// What was changed to fit the model.
    pub adjustments: Vec<Adjustment>,
    /// The upstream of the current attempt, or of the first one to come.
    pub provider: String,
    /// When it was accepted, by the database's clock, as all its times.
    pub created_at: SystemTime,
    /// When an upstream was first asked.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub finished_at: Option<SystemTime>,
}

/// Which of an account's tasks; what is none holds for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that stand so.
    pub status: Option<Status>,
    /// Those that make this.
    pub media: Option<MediaType>,
    /// Those of the model with this slug.
    pub model: Option<String>,
}

/// What a task costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credits {
    /// The price agreed when it was accepted.
    pub quoted: i64,
    /// What is held for it now; nothing for a test task.
    pub held: i64,
    /// What was paid in the end.
    pub charged: i64,
}

impl Credits {
    /// Of an open task.
    pub(super) fn open(quoted: i64, test: bool) -> Self {
        Self {
            quoted,
            held: if test { 0 } else { quoted },
            charged: 0,
        }
    }

    /// Of a task that has ended.
    pub(super) fn settled(quoted: i64, charged: i64) -> Self {
        Self {
            quoted,
            held: 0,
            charged,
        }
    }
}

/// The credits to charge when `delivered` of `asked` files arrived: the delivered share of what was
/// quoted, rounded down in the caller's favour. Never more than was quoted, and exactly that when
/// everything arrived.
#[must_use]
pub fn share(quoted: i64, delivered: u32, asked: u32) -> i64 {
    if delivered >= asked {
        return quoted;
    }
    let share = i128::from(quoted) * i128::from(delivered) / i128::from(asked);
    i64::try_from(share).expect("a share is smaller than the whole")
}

/// A finished file, by its place in the store of assets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Its path among the assets.
    pub path: String,
    /// For example `image/png`.
    pub mime_type: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Videos: how long.
    pub duration_seconds: Option<f64>,
    /// Its length.
    pub size_bytes: u64,
    /// The path of a small JPEG of it, where one could be made.
    pub thumbnail_path: Option<String>,
}

/// Links to a finished file. They need no key and expire; reading the task again gives fresh ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputLinks {
    /// To the file.
    pub url: String,
    /// To a small JPEG of it.
    pub thumbnail_url: Option<String>,
    /// From when on they are refused.
    pub expires_at: SystemTime,
}

impl Output {
    /// Links that work from `now` on.
    #[must_use]
    pub fn links(&self, assets: &Assets, now: SystemTime) -> OutputLinks {
        let link = assets.link(&self.path, now);
        OutputLinks {
            url: link.url,
            thumbnail_url: self
                .thumbnail_path
                .as_ref()
                .map(|path| assets.link(path, now).url),
            expires_at: link.expires_at,
        }
    }
}

/// A value that was changed to fit the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// The field, named as in the API.
    pub field: String,
    /// What was asked for.
    pub asked: String,
    /// What is used instead.
    pub used: String,
    /// Why, in words.
    pub why: String,
}

impl From<&catalog::Adjustment> for Adjustment {
    fn from(adjustment: &catalog::Adjustment) -> Self {
        Self {
            field: adjustment.field.to_owned(),
            asked: adjustment.asked.clone(),
            used: adjustment.used.clone(),
            why: adjustment.why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_never_exceeds_what_was_quoted() {
        // quoted, delivered, asked, charged
        let table = [
            (40, 4, 4, 40),
            (40, 1, 4, 10),
            (10, 1, 3, 3),
            (10, 2, 3, 6),
            (10, 3, 3, 10),
            (1, 1, 2, 0),
            (0, 1, 2, 0),
            (40, 0, 4, 0),
            (40, 5, 4, 40),
            (i64::MAX, 15, 16, i64::MAX / 16 * 15 + 14),
        ];
        for (quoted, delivered, asked, charged) in table {
            assert_eq!(
                share(quoted, delivered, asked),
                charged,
                "{delivered} of {asked} for {quoted}"
            );
        }
    }
}
