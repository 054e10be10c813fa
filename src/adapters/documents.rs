//! Documents that are the same for everyone until the server is replaced: written once when it starts,
//! and told apart by a tag of their content, so that whoever has one already is sent none (RFC 9110
//! §13.1.2).

use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

/// How long a document may be kept unasked, in seconds.
pub const KEEP_AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// A document.
#[derive(Clone)]
pub struct Document {
    headers: HeaderMap,
    etag: HeaderValue,
    body: Bytes,
}

impl Document {
    /// A document of that media type.
    pub fn new(media_type: &'static str, keep: HeaderValue, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = HeaderValue::from_str(&format!("\"{}\"", fingerprint(&body)))
            .unwrap_or(HeaderValue::from_static("\"0\""));
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (header::ETAG, etag.clone()),
            (header::CACHE_CONTROL, keep),
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
        ]);
        Self {
            headers,
            etag,
            body,
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The route that serves it.
    pub fn route<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        get(move |asked: HeaderMap| async move { self.answer(&asked) })
    }

    /// The answer to who asks with these headers: nothing but the tag where they have it already.
    pub fn answer(&self, asked: &HeaderMap) -> Response {
        let known = asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes());
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.headers.clone();
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Body::from(self.body.clone());
        }
        response
    }
}

/// A short text that is another for other content.
pub fn fingerprint(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
