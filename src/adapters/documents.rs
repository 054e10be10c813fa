//! Documents that are the same for everyone until the server is replaced: written once when it starts,
//! and told apart by a tag of their content, so that whoever has one already is sent none (RFC 9110
//! §13.1.2). Whoever takes gzip is sent a quarter of the bytes: documents are for everyone and hold no
//! secret, so their length tells nothing (what is written for one person is sent as it is).

use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

/// How long a document may be kept unasked, in seconds.
pub const KEEP_AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// Below this many bytes, compression saves no packet.
const WORTH_PACKING: usize = 1_024;

/// A document.
#[derive(Clone)]
pub struct Document {
    headers: HeaderMap,
    etag: HeaderValue,
    body: Bytes,
}

/// A document as it is kept to be sent again and again.
pub struct Kept {
    plain: Document,
    /// The same in gzip, since somebody first asked for it so. `None` where that is not smaller.
    packed: OnceLock<Option<Document>>,
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

    /// The document, to be sent again and again.
    pub fn kept(mut self) -> Kept {
        self.headers.append(
            header::VARY,
            HeaderValue::from_name(header::ACCEPT_ENCODING),
        );
        Kept {
            plain: self,
            packed: OnceLock::new(),
        }
    }

    /// The route that serves it, in gzip to those who take that.
    pub fn route<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        let kept = Arc::new(self.kept());
        get(move |asked: HeaderMap| async move { kept.answer(&asked) })
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

impl Kept {
    /// The answer to who asks with these headers: in gzip to those who take that.
    pub fn answer(&self, asked: &HeaderMap) -> Response {
        let packed = takes_gzip(asked)
            .then(|| self.packed.get_or_init(|| packed(&self.plain)).as_ref())
            .flatten();
        packed.unwrap_or(&self.plain).answer(asked)
    }
}

/// The document in gzip, with a tag of its own: the two are not the same bytes (RFC 9110 §8.8.3.3).
fn packed(plain: &Document) -> Option<Document> {
    if plain.body.len() < WORTH_PACKING {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain.body).ok()?;
    let body = encoder.finish().ok()?;
    let tag = plain.etag.to_str().ok()?.trim_matches('"');
    let etag = HeaderValue::from_str(&format!("\"{tag}-gzip\"")).ok()?;
    let mut headers = plain.headers.clone();
    headers.insert(header::ETAG, etag.clone());
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    (body.len() < plain.body.len()).then(|| Document {
        headers,
        etag,
        body: body.into(),
    })
}

/// Whether who asks with these headers names gzip, and not to refuse it (RFC 9110 §12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    asked
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|codings| codings.to_str().ok())
        .flat_map(|codings| codings.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|weight| weight.trim().parse() == Ok(0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
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
