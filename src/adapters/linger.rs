//! Bodies of requests that are answered before they were read, such as one that is too large.
//!
//! Over HTTP/1.1 the rest of such a body stands between the client and its answer: many send
//! everything before they read anything, and a connection that is closed with bytes unread is reset,
//! whereupon the client may lose an answer that it has already received (RFC 9112 §9.6). So what is
//! left is read and forgotten, and the connection is as good as before. HTTP/2 can tell a client to
//! stop, and a client that waits for `100 Continue` sends nothing.
//!
//! Bounds: [`BYTES_MAX`] and [`TIME_MAX`] for each body; beyond them the connection is closed after all.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http::{Request, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// The most that is read for nothing, in bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long that may take.
const TIME_MAX: Duration = Duration::from_secs(30);

/// A body that, dropped before its end, is read to its end.
pub struct Lingering {
    /// `None` once it has ended.
    body: Option<Incoming>,
    lingers: bool,
}

impl Lingering {
    /// The request with its body made one of these.
    pub fn request(request: Request<Incoming>) -> Request<Self> {
        let lingers = request.version() < Version::HTTP_2
            && !request.headers().contains_key(header::EXPECT)
            && !request.body().is_end_stream();
        request.map(|body| Self {
            body: Some(body),
            lingers,
        })
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.as_ref().map(Body::size_hint);
        left.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let left = self.body.take().filter(|_| self.lingers);
        if let Some(body) = left.filter(|body| !body.is_end_stream())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(TIME_MAX, forget(body)));
        }
    }
}

/// Reads the rest, as far as it goes.
async fn forget(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > BYTES_MAX {
            return;
        }
    }
}
