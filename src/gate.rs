//! The gate: who calls, may they, and how fast.

mod caller;

pub use caller::Caller;
