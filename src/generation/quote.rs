//! Quotes: what a request would cost and how it would run, and a text by which that price holds for a while.
//!
//! Nothing is written when a quote is made. Its text carries the terms and proves them, so that any replica can
//! redeem it, as often as the caller likes until it expires:
//!
//! ```text
//! quote_ base64url( 1 │ mode │ account │ request │ credits │ expires │ HMAC-SHA256 of all before )
//!             bytes 1     1       16        32         8         8        32
//! ```
//!
//! `mode` is the sum of 1 for a test key and 2 for a task with the account's own key for the upstream. `request` is
//! the hash of all that was asked, except what the caller merely expects of the model: a quote of
//! either media is as good for the call that makes just one of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::Core;
use super::errors::SubmitError;
use super::inputs::Picture;
use super::prepare::{Prepared, prepare};
use super::request::Request;
use crate::catalog::{Fitted, MediaType};
use crate::gate::Caller;

/// How long the price of a quote holds.
pub const QUOTE_LIFE: Duration = Duration::from_secs(15 * 60);

const PREFIX: &str = "quote_";
const VERSION: u8 = 1;
const TERMS_BYTES: usize = 66;

/// What a generation would cost and how it would run.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// The text by which the price holds until `expires_at`.
    pub id: String,
    /// When it no longer does.
    pub expires_at: SystemTime,
    /// The model's slug.
    pub model: String,
    /// What it makes.
    pub media: MediaType,
    /// The exact price for this account.
    pub credits: i64,
    /// The values that would run, and what was changed to get there.
    pub fitted: Fitted,
    /// The upstream whose key of the account's own it would run with; `credits` is what remains to be paid.
    pub own_key: Option<String>,
    /// The credits that the account could spend now.
    pub available: i64,
    /// What cannot be known before it has run, in sentences.
    pub unknowns: Vec<String>,
}

/// Why a quote does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// It was not made here, or not all of it was sent.
    #[error("this is no quote of this server; send the quoteId as the quote gave it")]
    Unreadable,
    /// It was made for another account.
    #[error("this quote is for another account; ask for one with the key that uses it")]
    OtherAccount,
    /// It was made for a test key and is used with a live one, or the other way round.
    #[error(
        "a quote for a test key is not for a live one, nor the other way round; ask for one with the key that uses it"
    )]
    OtherMode,
    /// It was made for another request.
    #[error("this quote is for another request; send what was quoted, or ask for a new quote")]
    OtherRequest,
    /// It was made for a task with the account's own key, and this would run without; or the other way round.
    #[error(
        "the account's keys for upstreams have changed since this quote was made; ask for a new one"
    )]
    OtherKey,
    /// Its time is over.
    #[error("this quote has expired; ask for a new one")]
    Expired,
}

/// What a quote is good for.
struct Terms {
    test: bool,
    own_key: bool,
    account_id: Uuid,
    request: [u8; 32],
    credits: i64,
    /// Seconds since 1970.
    expires: u64,
}

/// Makes and redeems the texts of quotes. Replicas share the secret.
pub(super) struct Quotes {
    key: Hmac<Sha256>,
}

impl Quotes {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self {
            key: Hmac::new_from_slice(secret).expect("HMAC takes keys of every length"),
        }
    }

    fn write(&self, terms: &Terms) -> String {
        let mut bytes = Vec::with_capacity(TERMS_BYTES + 32);
        let mode = u8::from(terms.test) | u8::from(terms.own_key) << 1;
        bytes.extend([VERSION, mode]);
        bytes.extend(terms.account_id.as_bytes());
        bytes.extend(terms.request);
        bytes.extend(terms.credits.to_be_bytes());
        bytes.extend(terms.expires.to_be_bytes());
        let proof = self.key.clone().chain_update(&bytes).finalize();
        bytes.extend(proof.into_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn read(&self, text: &str) -> Option<Terms> {
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (terms, proof) = bytes.split_at_checked(TERMS_BYTES)?;
        // `verify_slice` compares in constant time.
        let signed = self.key.clone().chain_update(terms);
        signed.verify_slice(proof).ok()?;
        let (&[VERSION, mode], rest) = terms.split_first_chunk()? else {
            return None;
        };
        let (account, rest) = rest.split_first_chunk()?;
        let (request, rest) = rest.split_first_chunk()?;
        let (credits, rest) = rest.split_first_chunk()?;
        let (expires, _) = rest.split_first_chunk()?;
        Some(Terms {
            test: mode & 1 == 1,
            own_key: mode & 2 == 2,
            account_id: Uuid::from_bytes(*account),
            request: *request,
            credits: i64::from_be_bytes(*credits),
            expires: u64::from_be_bytes(*expires),
        })
    }

    /// The price that was quoted.
    fn redeem(
        &self,
        text: &str,
        caller: (Uuid, bool),
        request: &[u8; 32],
        own_key: bool,
        now: SystemTime,
    ) -> Result<i64, QuoteError> {
        let terms = self.read(text).ok_or(QuoteError::Unreadable)?;
        let (account_id, test) = caller;
        if terms.account_id != account_id {
            return Err(QuoteError::OtherAccount);
        }
        if terms.test != test {
            return Err(QuoteError::OtherMode);
        }
        if terms.request != *request {
            return Err(QuoteError::OtherRequest);
        }
        if terms.own_key != own_key {
            return Err(QuoteError::OtherKey);
        }
        if now >= UNIX_EPOCH + Duration::from_secs(terms.expires) {
            return Err(QuoteError::Expired);
        }
        Ok(terms.credits)
    }
}

/// See [`Generation::quote`](super::Generation::quote).
pub(super) async fn quote(
    core: &Core,
    caller: &Caller,
    request: &Request,
    now: SystemTime,
) -> Result<Quote, SubmitError> {
    let catalog = core.catalog.get();
    let own = core.own_upstreams(caller).await?;
    let prepared = prepare(core, &catalog, caller, &own, request)?;
    let unknowns = unknowns(&prepared, request, caller.is_test());
    let balance = core.ledger.balance(caller.account_id()).await?;
    let expires = (now + QUOTE_LIFE)
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let terms = Terms {
        test: caller.is_test(),
        own_key: prepared.own_key.is_some(),
        account_id: caller.account_id(),
        request: request.hash_of_work(&prepared.model.slug),
        credits: prepared.credits,
        expires,
    };
    Ok(Quote {
        id: core.quotes.write(&terms),
        expires_at: UNIX_EPOCH + Duration::from_secs(expires),
        model: prepared.model.slug.clone(),
        media: prepared.model.media,
        credits: prepared.credits,
        fitted: prepared.fitted,
        own_key: prepared.own_key,
        available: balance.available,
        unknowns,
    })
}

/// Puts the quoted price in place of today's when the request brings a quote.
///
/// # Errors
/// [`QuoteError`] when the quote does not hold.
pub(super) fn redeem(
    core: &Core,
    caller: &Caller,
    request: &Request,
    prepared: &mut Prepared<'_>,
    now: SystemTime,
) -> Result<(), QuoteError> {
    if let Some(quote) = &request.quote {
        let who = (caller.account_id(), caller.is_test());
        let work = request.hash_of_work(&prepared.model.slug);
        let own_key = prepared.own_key.is_some();
        prepared.credits = core.quotes.redeem(quote, who, &work, own_key, now)?;
    }
    Ok(())
}

/// What nobody can know before it has run.
fn unknowns(prepared: &Prepared<'_>, request: &Request, test: bool) -> Vec<String> {
    let (low, high) = prepared.model.typical_seconds;
    let mut unknowns = vec![
        format!("How long it will take; the model typically takes {low} to {high} seconds."),
        "Whether the upstream accepts the prompt; if it does not, nothing is charged.".to_owned(),
    ];
    if request.reference_images.iter().any(Picture::can_vanish) {
        unknowns.push(
            "Whether the reference images can be had; addresses and uploads are not looked at before it is started."
                .to_owned(),
        );
    }
    if prepared.fitted.count > 1 {
        unknowns.push(format!(
            "Whether all {} files will be delivered; only those that are will be charged.",
            prepared.fitted.count
        ));
    }
    unknowns.push(
        if test {
            "Whether the plan has room for another task when it is started."
        } else {
            "Whether the account still has the credits, and its plan room for another task, when it is started."
        }
        .to_owned(),
    );
    unknowns
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const ACCOUNT: Uuid = Uuid::from_u128(7);
    const REQUEST: [u8; 32] = [3; 32];

    fn quotes() -> Quotes {
        Quotes::new(&[9; 32])
    }

    fn text() -> String {
        quotes().write(&Terms {
            test: false,
            own_key: false,
            account_id: ACCOUNT,
            request: REQUEST,
            credits: 16,
            expires: NOW + 900,
        })
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn redeem(text: &str) -> Result<i64, QuoteError> {
        quotes().redeem(text, (ACCOUNT, false), &REQUEST, false, at(NOW))
    }

    #[test]
    fn a_quote_gives_its_price_until_it_expires() {
        let redeem = |now| quotes().redeem(&text(), (ACCOUNT, false), &REQUEST, false, at(now));
        assert_eq!(redeem(NOW), Ok(16));
        assert_eq!(redeem(NOW + 899), Ok(16));
        assert_eq!(redeem(NOW + 900), Err(QuoteError::Expired));
    }

    #[test]
    fn a_quote_is_for_one_account_one_mode_and_one_request() {
        let redeem = |account, test, request: [u8; 32]| {
            quotes().redeem(&text(), (account, test), &request, false, at(NOW))
        };
        let table = [
            (Uuid::from_u128(8), false, REQUEST, QuoteError::OtherAccount),
            (ACCOUNT, true, REQUEST, QuoteError::OtherMode),
            (ACCOUNT, false, [4; 32], QuoteError::OtherRequest),
        ];
        for (account, test, request, error) in table {
            assert_eq!(redeem(account, test, request), Err(error));
        }
        let with_own_key = quotes().redeem(&text(), (ACCOUNT, false), &REQUEST, true, at(NOW));
        assert_eq!(with_own_key, Err(QuoteError::OtherKey));
    }

    #[test]
    fn a_quote_that_was_touched_is_none() {
        let good = text();
        assert_eq!(redeem(&good), Ok(16));
        for at in PREFIX.len()..good.len() - 1 {
            let mut touched = good.clone().into_bytes();
            touched[at] = if touched[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).expect("is ASCII");
            assert_eq!(redeem(&touched), Err(QuoteError::Unreadable), "at {at}");
        }
        let other_server = Quotes::new(&[8; 32]);
        let foreign = other_server.redeem(&good, (ACCOUNT, false), &REQUEST, false, at(NOW));
        assert_eq!(foreign, Err(QuoteError::Unreadable));
        for text in [
            "",
            "quote_",
            "quote_AA",
            "ä",
            &good[1..],
            &good[..good.len() - 2],
            &format!("{good}AA"),
        ] {
            assert_eq!(redeem(text), Err(QuoteError::Unreadable), "{text}");
        }
    }
}
