//! Webhooks: who is told when a task has ended, how often, and who is not.
//!
//! Receivers are real HTTP servers on this machine; signatures are checked by code of the tests' own. How the
//! methods look from outside is in `faces::webhooks`.

mod ends;
mod queue;
pub(crate) mod receiver;
mod world;
