//! Webhooks that are signed with a shared secret: HMAC-SHA256 over the call's id, its time and its body,
//! joined by full stops, in the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.
//!
//! Source: the specification of Standard Webhooks (standardwebhooks.com), "Signature scheme".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Hook, HookError};

/// The most signatures of a call that are looked at; there are several while a secret is replaced.
const SIGNATURES_MAX: usize = 16;

/// What both sides know.
#[derive(Clone)]
pub(super) struct Secret(Hmac<Sha256>);

impl Secret {
    /// From the way it is written down: in base64, after `whsec_`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("whsec_").unwrap_or(text);
        let bytes = STANDARD.decode(text).ok()?;
        Hmac::new_from_slice(&bytes).ok().map(Self)
    }
}

/// A call that has signatures and is not too old. Who signed it is still open.
pub(super) struct Signed<'a> {
    id: &'a str,
    timestamp: &'a str,
    body: &'a [u8],
    signatures: Vec<Vec<u8>>,
}

impl<'a> Signed<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`HookError::Signature`] when one is missing or the call is too old.
    pub fn of(hook: &Hook<'a>) -> Result<Self, HookError> {
        let header = |name| (hook.header)(name).ok_or(HookError::Signature);
        let signatures: Vec<_> = header("webhook-signature")?
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|signature| STANDARD.decode(signature).ok())
            .take(SIGNATURES_MAX)
            .collect();
        let timestamp = header("webhook-timestamp")?;
        if signatures.is_empty() || !hook.is_fresh(timestamp) {
            return Err(HookError::Signature);
        }
        Ok(Self {
            id: header("webhook-id")?,
            timestamp,
            body: hook.body,
            signatures,
        })
    }

    /// Whether whoever signed it knows the secret. Takes the same time for every wrong signature.
    pub fn is_by(&self, secret: &Secret) -> bool {
        let mut mac = secret.0.clone();
        mac.update(format!("{}.{}.", self.id, self.timestamp).as_bytes());
        mac.update(self.body);
        self.signatures
            .iter()
            .any(|signature| mac.clone().verify_slice(signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// The example of Svix's documentation, "Verifying webhooks manually".
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const AT: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn is_heard(signature: &str, body: &[u8], now: u64) -> bool {
        let header = |name: &str| match name {
            "webhook-id" => Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
            "webhook-timestamp" => Some("1614265330"),
            "webhook-signature" => Some(signature),
            _ => None,
        };
        let hook = Hook {
            header: &header,
            body,
            now: UNIX_EPOCH + Duration::from_secs(now),
        };
        let secret = Secret::parse(SECRET).expect("is base64");
        Signed::of(&hook).is_ok_and(|signed| signed.is_by(&secret))
    }

    #[test]
    fn the_published_example_is_heard() {
        assert!(is_heard(SIGNATURE, BODY, AT));
        let several = format!("v1,AAAA v2,{SIGNATURE} {SIGNATURE}");
        assert!(is_heard(&several, BODY, AT + 300));
    }

    #[test]
    fn nothing_else_is() {
        assert!(!is_heard(SIGNATURE, b"{}", AT));
        assert!(!is_heard(SIGNATURE, BODY, AT + 301));
        assert!(!is_heard(SIGNATURE, BODY, AT - 301));
        assert!(!is_heard("v1,AAAA", BODY, AT));
        assert!(!is_heard("", BODY, AT));
    }

    #[test]
    fn a_secret_is_base64() {
        assert!(Secret::parse("whsec_not base64").is_none());
    }
}
