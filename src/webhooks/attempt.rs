//! One attempt to deliver: what is sent, and what follows from the answer.
//!
//! | answer | then |
//! |---|---|
//! | 200 to 299 | delivered |
//! | 410 | given up; the webhook is disabled |
//! | anything else, none, or none in time | tried again later, until [`ATTEMPTS_MAX`] attempts failed |
//!
//! Waits triple from [`Settings::wait_min`](super::Settings) to [`WAIT_MAX`], each a fifth shorter or longer by
//! chance, so that what failed together does not come back together: about a day in all.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;
use url::Url;

use super::deliverer::Messages;
use super::queue::{Claimed, Told};
use super::secret::{SigningSecret, seconds};
use super::{DeliveryStatus, Webhooks};
use crate::egress::Answer;

/// How often a delivery is tried before it is given up.
pub(super) const ATTEMPTS_MAX: u32 = 12;
/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// How long a receiver may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// How long an attempt may take, what is read from the database included.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// How much of an answer is kept.
const ANSWER_BYTES_MAX: usize = 1_000;
/// The status by which a receiver says that it is gone for good (RFC 9110 §15.5.11).
const GONE: u16 = 410;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Why nothing was answered, in words for the log.
type Unanswered = String;

/// Makes an attempt.
pub(super) async fn attempt(
    webhooks: &Webhooks,
    messages: &dyn Messages,
    claimed: Claimed,
    wait_min: Duration,
) -> Told {
    let secrets = match (&claimed.secret, claimed.webhook_id) {
        (None, Some(_)) => return told(&claimed, DeliveryStatus::Canceled),
        (secret, _) => secret.iter().chain(&claimed.secret_before).cloned(),
    };
    let sent = send(webhooks, messages, &claimed, secrets.collect());
    let answer = timeout(ATTEMPT_MAX, sent)
        .await
        .unwrap_or_else(|_| Err("the message could not be made in time".to_owned()));
    judge(&claimed, answer, wait_min, chance())
}

/// What is written down of an attempt that came to nothing else.
fn told(claimed: &Claimed, status: DeliveryStatus) -> Told {
    Told {
        account_id: claimed.world.account_id,
        id: claimed.id,
        leased_until: claimed.leased_until,
        status,
        wait: None,
        answer_status: None,
        answer: None,
        error: None,
        gone: None,
    }
}

/// What follows from an answer. `chance` is from 0 to 1.
fn judge(
    claimed: &Claimed,
    answer: Result<Answer, Unanswered>,
    wait_min: Duration,
    chance: f64,
) -> Told {
    let status = answer.as_ref().ok().map(|answer| answer.status);
    let wait = wait(claimed.round, wait_min, chance);
    let (now, wait) = match status {
        Some(200..=299) => (DeliveryStatus::Delivered, None),
        Some(GONE) => (DeliveryStatus::Failed, None),
        _ if wait.is_none() => (DeliveryStatus::Failed, None),
        _ => (DeliveryStatus::Pending, wait),
    };
    let (answer, error) = match answer {
        Ok(answer) => (Some(text(&answer.body_excerpt)), None),
        Err(error) => (None, Some(error)),
    };
    Told {
        wait,
        answer_status: status,
        answer,
        error,
        gone: claimed.webhook_id.filter(|_| status == Some(GONE)),
        ..told(claimed, now)
    }
}

/// How long to wait after so many attempts have failed; none when they were enough.
fn wait(attempts: u32, wait_min: Duration, chance: f64) -> Option<Duration> {
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    let tripled = 3_u32.saturating_pow(attempts.saturating_sub(1));
    let wait = wait_min.saturating_mul(tripled).min(WAIT_MAX);
    Some(wait.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0)))
}

/// A number from 0 to 1. Without randomness it is always the same, which delivers just as well.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// An answer as the log keeps it: PostgreSQL's text has no NUL.
fn text(answer: &str) -> String {
    answer.replace('\0', "\u{fffd}")
}

/// Sends the message.
async fn send(
    webhooks: &Webhooks,
    messages: &dyn Messages,
    claimed: &Claimed,
    mut secrets: Vec<SigningSecret>,
) -> Result<Answer, Unanswered> {
    if secrets.is_empty() {
        let made = webhooks.signing_secret(claimed.world).await;
        let (secret, _) = made.map_err(|error| error.to_string())?;
        secrets.push(secret);
    }
    let body = messages
        .message(claimed.world, claimed.task_id)
        .await
        .ok_or("the task could not be read")?;
    let url = Url::parse(&claimed.url).map_err(|error| error.to_string())?;
    let headers = headers(&claimed.id.to_string(), &secrets, &body, SystemTime::now());
    webhooks
        .egress
        .post(&url, headers, body, ANSWER_MAX, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| error.to_string())
}

/// The headers of a message that is sent now.
fn headers(id: &str, secrets: &[SigningSecret], body: &Bytes, now: SystemTime) -> HeaderMap {
    let seconds = seconds(now);
    let signatures: Vec<String> = secrets
        .iter()
        .map(|secret| secret.sign(id, seconds, body))
        .collect();
    let value = |text: &str| {
        HeaderValue::from_str(text).expect("ids, numbers and Base64 are visible ASCII")
    };
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ID, value(id)),
        (TIMESTAMP, value(&seconds.to_string())),
        (SIGNATURE, value(&signatures.join(" "))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_add_up_to_a_day() {
        let first = Duration::from_secs(5);
        let waits: Vec<u64> = (1..ATTEMPTS_MAX)
            .map(|attempts| wait(attempts, first, 0.5).expect("another one").as_secs())
            .collect();
        assert_eq!(
            waits,
            [
                5, 15, 45, 135, 405, 1215, 3645, 10_935, 21_600, 21_600, 21_600
            ]
        );
        let hours = waits.iter().sum::<u64>() / 3600;
        assert!((20..28).contains(&hours), "{hours} hours");
        assert_eq!(wait(ATTEMPTS_MAX, first, 0.5), None);
        assert_eq!(wait(u32::MAX, first, 0.5), None);
    }

    #[test]
    fn chance_moves_a_wait_by_a_fifth() {
        let ten = |chance| wait(1, Duration::from_secs(10), chance);
        assert_eq!(ten(0.0), Some(Duration::from_secs(8)));
        assert_eq!(ten(1.0), Some(Duration::from_secs(12)));
        assert_eq!(ten(7.0), ten(1.0));
    }
}
