//! Texts and bytes that must not be shown.

use std::fmt;

/// A secret. It has no `Display`, and its `Debug` tells nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// How long a secret is that seals something, in bytes.
pub const SECRET_KEY_BYTES: usize = 32;

/// Secrets that seal something. Their `Debug` tells nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretKeys(Vec<[u8; SECRET_KEY_BYTES]>);

impl SecretKeys {
    /// Keeps them from being shown.
    #[must_use]
    pub fn new(keys: Vec<[u8; SECRET_KEY_BYTES]>) -> Self {
        Self(keys)
    }

    /// The bytes of each, for the one place that uses them.
    #[must_use]
    pub fn expose(&self) -> &[[u8; SECRET_KEY_BYTES]] {
        &self.0
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secrets]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
