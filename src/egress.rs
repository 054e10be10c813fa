//! Requests to addresses that others named: callers, pictures to start from and places to be told at;
//! upstreams, where their results are. They come from inside this server's network, so they must not
//! become a way into it (server-side request forgery, OWASP API7:2023).
//!
//! A name is looked up once for each connection, the addresses found are checked, and the connection
//! goes to one of those: nothing is looked up a second time, so a name that changes its address in
//! between gains nothing. Redirects are followed here, each hop checked like the first. No proxy is
//! taken from the environment, no credential or cookie is ever sent along.
//!
//! Bounds: [`CONCURRENT_MAX`] requests at once, each with its own bounds of bytes, time and redirects,
//! all counted while bytes come in. Connections are not kept, since callers could name any number of
//! hosts. Time bounds a request as a whole: waiting for its turn, looking up, every hop, the last byte.

mod address;
mod error;
mod resolver;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Response};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

pub use self::error::EgressError;
use self::resolver::Checked;
pub use self::resolver::{Resolver, System};

/// The most requests at once; others wait for their turn, within their time.
pub const CONCURRENT_MAX: usize = 64;

/// Below it only the two ports of the web are called: the others belong to services that take no HTTP,
/// and some of them would obey what a request says.
const OPEN_PORT_MIN: u16 = 1024;

/// How long a server may take to accept a connection, and how long it may then say nothing. Whoever asks
/// mostly has less time.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const STILL_MAX: Duration = Duration::from_secs(60);

/// How we name ourselves; some servers refuse requests that do not.
const USER_AGENT: &str = concat!("Piooy/", env!("CARGO_PKG_VERSION"));

/// Which addresses may be called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether this machine and its private networks may be called, too. What answers for the machine
    /// itself in a cloud (169.254.169.254 and its like) is refused all the same.
    pub private_allowed: bool,
}

/// The bounds of one fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes of the body.
    pub bytes_max: usize,
    /// The longest it may take as a whole.
    pub time_max: Duration,
    /// The most redirects.
    pub redirects_max: usize,
}

/// What was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The body.
    pub bytes: Bytes,
    /// What its server says that it is. Nothing to rely on.
    pub content_type: Option<String>,
    /// Where it was found in the end.
    pub final_url: Url,
}

/// What a server answered to a POST, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The start of the body, as far as it is text.
    pub body_excerpt: String,
}

/// The one way out to addresses that others named. Cheap to clone.
#[derive(Clone)]
pub struct Egress {
    policy: Policy,
    client: Client,
    turns: Arc<Semaphore>,
}

impl Egress {
    /// Calls what `policy` allows, by the names that the system knows. Rustls must have a process-wide
    /// crypto provider by now.
    ///
    /// # Errors
    /// [`EgressError::Setup`].
    pub fn new(policy: Policy) -> Result<Self, EgressError> {
        Self::with_resolver(policy, Arc::new(System))
    }

    /// The same with another source of addresses.
    ///
    /// # Errors
    /// [`EgressError::Setup`].
    pub fn with_resolver(policy: Policy, resolver: Arc<dyn Resolver>) -> Result<Self, EgressError> {
        let client = Client::builder()
            .dns_resolver(Checked { policy, resolver })
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .read_timeout(STILL_MAX)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .user_agent(USER_AGENT)
            .build()
            .map_err(EgressError::Setup)?;
        Ok(Self {
            policy,
            client,
            turns: Arc::new(Semaphore::new(CONCURRENT_MAX)),
        })
    }

    /// Says what can be said of an address before its name is looked up.
    ///
    /// # Errors
    /// [`EgressError::Scheme`], [`EgressError::User`], [`EgressError::Port`] and
    /// [`EgressError::NoPublicAddress`].
    pub fn check_url(&self, url: &Url) -> Result<(), EgressError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressError::User);
        }
        match url.port_or_known_default() {
            Some(80 | 443 | OPEN_PORT_MIN..) => {}
            _ => return Err(EgressError::Port),
        }
        // The parser has read every spelling of an IPv4 address by now: decimal, octal, hexadecimal, short.
        let allowed = match url.host() {
            Some(Host::Ipv4(address)) => self.policy.allows(address.into()),
            Some(Host::Ipv6(address)) => self.policy.allows(address.into()),
            Some(Host::Domain(name)) => self.policy.private_allowed || !is_localhost(name),
            None => false,
        };
        allowed.then_some(()).ok_or(EgressError::NoPublicAddress)
    }

    /// Fetches what is at `url`, following redirects.
    ///
    /// # Errors
    /// Every [`EgressError`]; an answer without success is [`EgressError::Status`].
    pub async fn get(&self, url: &Url, limits: Limits) -> Result<Fetched, EgressError> {
        let deadline = Instant::now() + limits.time_max;
        timeout_at(deadline, self.follow(url.clone(), limits))
            .await
            .unwrap_or(Err(EgressError::TimedOut(limits.time_max)))
    }

    /// Sends `body` to `url` and follows no redirect: a 3xx is an answer like any other. Once the status
    /// is there the call succeeds, however much of the answer's body comes in time.
    ///
    /// # Errors
    /// Those of [`check_url`](Self::check_url), [`EgressError::Unreachable`] and [`EgressError::TimedOut`].
    pub async fn post(
        &self,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        time_max: Duration,
        answer_bytes_max: usize,
    ) -> Result<Answer, EgressError> {
        self.check_url(url)?;
        let deadline = Instant::now() + time_max;
        let exchange = async {
            let turn = self.turn().await;
            let request = self.client.post(url.clone()).headers(headers).body(body);
            Ok((
                request.send().await.map_err(EgressError::of_exchange)?,
                turn,
            ))
        };
        let (mut answer, _turn) = timeout_at(deadline, exchange)
            .await
            .unwrap_or(Err(EgressError::TimedOut(time_max)))?;
        let status = answer.status().as_u16();
        let mut excerpt = BytesMut::new();
        while excerpt.len() < answer_bytes_max {
            let Ok(Ok(Some(chunk))) = timeout_at(deadline, answer.chunk()).await else {
                break;
            };
            let room = answer_bytes_max - excerpt.len();
            excerpt.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(Answer {
            status,
            body_excerpt: String::from_utf8_lossy(&excerpt).into_owned(),
        })
    }

    /// Asks for what is at `url`, for whoever reads the answer as it comes. A redirect is an answer: whoever
    /// follows it asks here again, so that it is checked like the first. Takes no turn: bytes, time as a whole
    /// and how many ask at once are for the caller to bound.
    ///
    /// # Errors
    /// Those of [`check_url`](Self::check_url) and [`EgressError::Unreachable`].
    pub async fn open(&self, url: &Url) -> Result<Response, EgressError> {
        self.check_url(url)?;
        let answer = self.client.get(url.clone()).send().await;
        answer.map_err(EgressError::of_exchange)
    }

    async fn follow(&self, mut url: Url, limits: Limits) -> Result<Fetched, EgressError> {
        let _turn = self.turn().await;
        for _ in 0..=limits.redirects_max {
            let answer = self.open(&url).await?;
            match next_hop(&url, &answer)? {
                Some(next) => url = next,
                None => return read(url, answer, limits.bytes_max).await,
            }
        }
        Err(EgressError::Redirects(limits.redirects_max))
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        let turn = self.turns.acquire().await;
        turn.expect("the semaphore is never closed")
    }
}

/// Where an answer sends us, if it does (RFC 9110 §15.4).
fn next_hop(url: &Url, answer: &Response) -> Result<Option<Url>, EgressError> {
    let redirects = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    if !redirects {
        return Ok(None);
    }
    let location = answer.headers().get(header::LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let next = location.and_then(|location| url.join(location).ok());
    next.map(Some).ok_or(EgressError::Location)
}

async fn read(
    final_url: Url,
    mut answer: Response,
    bytes_max: usize,
) -> Result<Fetched, EgressError> {
    if answer.status() != StatusCode::OK {
        return Err(EgressError::Status(answer.status().as_u16()));
    }
    let announced = answer.content_length();
    if announced
        .is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > bytes_max))
    {
        return Err(EgressError::TooLarge(bytes_max));
    }
    let content_type = answer.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|text| text.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(EgressError::of_exchange)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(EgressError::TooLarge(bytes_max));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        bytes: bytes.freeze(),
        content_type,
        final_url,
    })
}

/// Whether a name means this machine by convention (RFC 6761 §6.3), with or without the root's dot.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
