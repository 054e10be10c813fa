//! Generations: what a task goes through, what it costs, and who works on it; against a real
//! database, real keys and real pictures, which are small. Other upstreams than the sandbox are
//! played by [`upstream::Upstream`].
//!
//! Nothing here measures time. Waits end with what is waited for, or fail the test after
//! [`fixture::PATIENCE`].

mod caps;
mod endings;
pub(crate) mod fixture;
mod idempotency;
mod inputs;
mod late;
mod lost;
mod money;
mod nodes;
mod own_keys;
mod probing;
mod quotes;
mod requests;
mod spending;
mod turns;
pub(crate) mod upstream;
mod watching;
