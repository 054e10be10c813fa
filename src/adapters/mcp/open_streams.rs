//! The streams that clients keep open: how many, whose they are, and when each is over.
//!
//! A stream of news ([`listen`](super::listen)) and one of the old transport ([`sse`](super::sse)) hold a
//! [`Place`] each, for as long as they are open. It is over when its key is revoked, when its key or token
//! expires, and when the server stops.
//!
//! That costs an idle stream nothing: it waits, together with all others of its key, for one word. Whether
//! keys were revoked, by whichever server, is looked up every [`LOOK_EVERY`] for all of them at once, each
//! by its primary key, and where no stream is open not at all. A key that is revoked here ends its streams
//! without that wait. A token cannot be revoked, only expire.
//!
//! Bounds: [`STREAMS_MAX`] in all, [`STREAMS_OF_ACCOUNT_MAX`] for one account. The lock is held for a look-up
//! or a change, never while waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::gate::{Caller, Gate};
use crate::spec::error::{ApiError, Detail};
use crate::spec::reason::Reason;

/// The most streams of one server.
const STREAMS_MAX: usize = 16_384;

/// The most streams of one account on one server, so that no account can take them all.
pub const STREAMS_OF_ACCOUNT_MAX: usize = 1_024;

/// How often the keys of open streams are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The open streams of a server.
pub struct OpenStreams {
    stop: CancellationToken,
    open: Mutex<Open>,
}

/// No account and no key is without streams.
#[derive(Default)]
struct Open {
    count: usize,
    of_accounts: HashMap<Uuid, usize>,
    of_keys: HashMap<Uuid, OfKey>,
}

struct OfKey {
    count: usize,
    revoked: CancellationToken,
}

impl OpenStreams {
    /// No streams yet, all of which will be over at `stop`. Must be called inside a tokio runtime.
    pub fn new(gate: Arc<Gate>, stop: CancellationToken) -> Arc<Self> {
        let streams = Arc::new(Self {
            stop,
            open: Mutex::default(),
        });
        tokio::spawn(look(Arc::downgrade(&streams), gate));
        streams
    }

    /// A place for a stream of `caller`.
    ///
    /// # Errors
    /// There are as many already as there may be.
    pub fn take(self: &Arc<Self>, caller: &Caller) -> Result<Place, ApiError> {
        let (account, key) = (caller.account_id(), caller.key_id());
        let mut open = self.lock();
        let of_account = open.of_accounts.get(&account).copied().unwrap_or_default();
        if of_account >= STREAMS_OF_ACCOUNT_MAX {
            let message = format!(
                "The account has {STREAMS_OF_ACCOUNT_MAX} streams open on this server, the most there may be; close one."
            );
            return Err(too_many(message, STREAMS_OF_ACCOUNT_MAX));
        }
        if open.count >= STREAMS_MAX {
            let message = format!(
                "This server has {STREAMS_MAX} streams open, the most there may be; come back later."
            );
            return Err(ApiError::new(Reason::Busy, message));
        }
        open.count += 1;
        open.of_accounts.insert(account, of_account + 1);
        let revoked = key.map(|key| {
            let of_key = open.of_keys.entry(key).or_insert_with(|| OfKey {
                count: 0,
                revoked: CancellationToken::new(),
            });
            of_key.count += 1;
            of_key.revoked.clone()
        });
        drop(open);
        Ok(Place {
            streams: self.clone(),
            account,
            key,
            revoked: revoked.unwrap_or_default(),
            expires: caller.valid_until().and_then(point_of_time),
        })
    }

    fn keys(&self) -> Vec<Uuid> {
        self.lock().of_keys.keys().copied().collect()
    }

    fn revoke(&self, keys: &[Uuid]) {
        let open = self.lock();
        for of_key in keys.iter().filter_map(|key| open.of_keys.get(key)) {
            of_key.revoked.cancel();
        }
    }

    fn leave(&self, account: Uuid, key: Option<Uuid>) {
        let mut open = self.lock();
        open.count -= 1;
        if let Some(count) = open.of_accounts.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                open.of_accounts.remove(&account);
            }
        }
        if let Some(key) = key
            && let Some(of_key) = open.of_keys.get_mut(&key)
        {
            of_key.count -= 1;
            if of_key.count == 0 {
                open.of_keys.remove(&key);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing in here is left half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for keys that were revoked, for as long as there may be streams. A database that is away is asked
/// again: until it answers nobody knows better.
async fn look(streams: Weak<OpenStreams>, gate: Arc<Gate>) {
    loop {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = gate.forgotten() => {}
        }
        let Some(streams) = streams.upgrade() else {
            return;
        };
        let keys = streams.keys();
        if keys.is_empty() {
            continue;
        }
        match gate.revoked(&keys).await {
            Ok(revoked) => streams.revoke(&revoked),
            Err(error) => tracing::warn!(%error, "the keys of open streams could not be looked at"),
        }
    }
}

/// A place among the open streams, until it is dropped.
pub struct Place {
    streams: Arc<OpenStreams>,
    account: Uuid,
    key: Option<Uuid>,
    /// Of all streams of the key; of a token's alone, and never heard.
    revoked: CancellationToken,
    /// `None`: never.
    expires: Option<Instant>,
}

impl Place {
    /// Comes true when the credential lets nobody in any more.
    pub async fn refused(&self) {
        let expired = async {
            match self.expires {
                Some(expires) => sleep_until(expires).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = expired => {}
        }
    }

    /// Comes true when the server begins to stop.
    pub async fn stopping(&self) {
        self.streams.stop.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.leave(self.account, self.key);
    }
}

/// That time on the clock that timers go by; `None`: beyond what it can tell.
fn point_of_time(time: SystemTime) -> Option<Instant> {
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now().checked_add(left)
}

fn too_many(message: String, limit: usize) -> ApiError {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    ApiError::new(Reason::TooManyStreams, message).with("limit", Detail::Number(limit))
}
