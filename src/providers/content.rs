//! The files that upstreams deliver, wherever they are: in hand, on the disk of this machine, or behind
//! a link that dies soon.
//!
//! A link may lead to its own upstream, which the operator chose, and to the public internet; an upstream
//! cannot have this server fetch what only this server can reach. Every hop is judged like the first.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Response;
use reqwest::header::{HeaderMap, LOCATION};
use tempfile::TempPath;
use tokio_util::io::ReaderStream;
use url::Url;

use super::http::{Connection, retry_after};
use crate::egress::EgressError;

/// The bytes of a file, as they come.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// How much of a file is read from the disk at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many times a download may be sent elsewhere.
const REDIRECTS_MAX: usize = 5;

/// One finished file. What it is and how large is read from its bytes when it is stored.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The file.
    pub content: Content,
    /// Videos: a picture of the first frame, where the upstream gives one.
    pub poster: Option<Bytes>,
}

impl Rendered {
    /// A file without a poster.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self {
            content,
            poster: None,
        }
    }
}

/// Where a file is.
#[derive(Debug, Clone)]
pub enum Content {
    /// Here.
    Bytes(Bytes),
    /// On this machine's disk, until the last clone of this value goes.
    File(Arc<TempPath>),
    /// With the upstream.
    Remote(Box<Remote>),
}

/// A file behind a link.
#[derive(Debug, Clone)]
pub struct Remote {
    url: Url,
    /// What the upstream wants to see, and nobody else may; empty for links that speak for themselves.
    headers: HeaderMap,
    connection: Connection,
}

/// A file that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the result could not be fetched: {message}")]
pub struct FetchError {
    /// Whether it will never be there again under this link.
    pub gone: bool,
    /// For the log.
    pub message: String,
    /// How long the upstream wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Content {
    /// A file behind a link that an upstream gave. Only the upstream's own origin sees the headers,
    /// wherever the link leads.
    pub(super) fn remote(connection: &Connection, url: Url, headers: HeaderMap) -> Self {
        Self::Remote(Box::new(Remote {
            url,
            headers,
            connection: connection.clone(),
        }))
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// [`FetchError`] when it is not to be had.
    pub async fn open(&self) -> Result<ByteStream, FetchError> {
        match self {
            Self::Bytes(bytes) => Ok(stream::iter([Ok(bytes.clone())]).boxed()),
            Self::File(path) => {
                let file = tokio::fs::File::open(path.as_ref() as &std::path::Path).await;
                let file = file.map_err(|error| FetchError {
                    gone: true,
                    message: error.to_string(),
                    retry_after: None,
                })?;
                Ok(ReaderStream::with_capacity(file, CHUNK_BYTES).boxed())
            }
            Self::Remote(remote) => remote.open().await,
        }
    }
}

impl Remote {
    async fn open(&self) -> Result<ByteStream, FetchError> {
        let mut url = self.url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self.ask(&url).await?;
            if let Some(elsewhere) = elsewhere(&url, &response) {
                url = elsewhere;
                continue;
            }
            let status = response.status();
            if !status.is_success() {
                return Err(FetchError {
                    gone: matches!(status.as_u16(), 403 | 404 | 410),
                    message: format!("the link answered {status}"),
                    retry_after: retry_after(response.headers()),
                });
            }
            return Ok(response
                .bytes_stream()
                .map_err(|error| io::Error::other(error.without_url()))
                .boxed());
        }
        Err(not_now("the link leads on and on".to_owned()))
    }

    async fn ask(&self, url: &Url) -> Result<Response, FetchError> {
        if self.connection.is_own(url) {
            let request = self.connection.download(url.clone());
            let answer = request.headers(self.headers.clone()).send().await;
            return answer.map_err(|error| not_now(error.without_url().to_string()));
        }
        let answer = self.connection.elsewhere().open(url).await;
        answer.map_err(|error| FetchError {
            // What may not be called today may not be called tomorrow.
            gone: !matches!(error, EgressError::Unreachable(_)),
            ..not_now(format!("the link {error}"))
        })
    }
}

/// Where an answer sends whoever asked (RFC 9110 §15.4).
fn elsewhere(url: &Url, response: &Response) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok()
}

fn not_now(message: String) -> FetchError {
    FetchError {
        gone: false,
        message,
        retry_after: None,
    }
}
