//! What a key or a token may do: a handful of scopes, and small sets of them.
//!
//! No scope implies another: a set says all there is to say, so that what a key may do can be read off it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One thing a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Start and cancel generations.
    Generate,
    /// Read tasks, models, the balance and the statement.
    Read,
    /// Make, list and revoke keys of the account.
    Keys,
    /// Administer every account of the server.
    Admin,
}

impl Scope {
    /// Every scope, in the order in which sets are written.
    pub const ALL: [Scope; 4] = [Scope::Generate, Scope::Read, Scope::Keys, Scope::Admin];

    /// The word for it in keys, tokens and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Generate => "generate",
            Scope::Read => "read",
            Scope::Keys => "keys",
            Scope::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A word that names no scope.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no such scope; the scopes are generate, read, keys and admin")]
pub struct ScopeUnknown;

impl FromStr for Scope {
    type Err = ScopeUnknown;

    fn from_str(name: &str) -> Result<Self, ScopeUnknown> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.name() == name)
            .ok_or(ScopeUnknown)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope at all.
    pub const NONE: Scopes = Scopes(0);

    /// What a key may do unless something else is asked for: generate and read.
    pub const DEFAULT: Scopes = Scopes::NONE.with(Scope::Generate).with(Scope::Read);

    /// This set and `scope`.
    pub const fn with(self, scope: Scope) -> Scopes {
        Scopes(self.0 | scope.bit())
    }

    /// True when `scope` is in the set.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// True when nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Every scope of the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }
}

impl Default for Scopes {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Scopes::NONE, Scopes::with)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// The names, separated by spaces, as tokens write them (RFC 6749 §3.3).
impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            formatter.write_str(scope.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_read_back_from_its_name() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!("Generate".parse::<Scope>(), Err(ScopeUnknown));
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let set: Scopes = [Scope::Keys, Scope::Read, Scope::Keys]
            .into_iter()
            .collect();
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Scope::Read, Scope::Keys],
            "in the order of ALL, each once"
        );
        assert!(!set.contains(Scope::Generate) && !set.contains(Scope::Admin));
        assert_eq!(set.to_string(), "read keys");
        assert!(Scopes::NONE.is_empty() && !set.is_empty());
        assert_eq!(Scopes::default().to_string(), "generate read");
    }
}
