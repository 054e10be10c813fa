//! Accounts, their plans and their keys.

mod records;
mod scopes;

pub use records::{Account, ApiKey, Plan};
pub use scopes::{Scope, ScopeUnknown, Scopes};
