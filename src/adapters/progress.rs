//! How far a call has come, told while it is still being answered.
//!
//! A face that can tell its caller before the answer is there (MCP, to a caller that sent a progress
//! token) puts a [`ProgressSink`] into the call's extensions; a handler that waits for something
//! reports through it when it finds one. Whoever reports never waits for whoever listens: only the
//! latest report counts.

use tokio::sync::watch;

/// The latest report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// How much is done, from 0 to 100.
    pub percent: u32,
    /// What is going on, for a person; may be empty.
    pub message: String,
}

/// Where a handler reports.
pub type ProgressSink = watch::Sender<Progress>;
