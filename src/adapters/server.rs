//! One port for everything: HTTP/1.1 and HTTP/2 without TLS (a proxy in front speaks TLS).

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Faces;
use super::entry::Peer;
use super::linger::Lingering;

/// How long a client may take to send a request's headers.
const HEADERS_MAX: Duration = Duration::from_secs(10);

/// Requests that one HTTP/2 connection may have open at once.
const STREAMS_MAX: u32 = 1_000;

/// How often an idle HTTP/2 connection is asked whether it is alive.
const PING_EVERY: Duration = Duration::from_secs(20);

/// How long open requests may go on once the server stops. Long enough for any answer. Streams of MCP
/// end by themselves; those of REST and gRPC are cut, and their clients come back to another replica.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long what was sent may stay unread, in milliseconds. A client that has vanished without a word
/// is found out by this: its streams say that they are alive, and nobody takes it.
#[cfg(target_os = "linux")]
const UNREAD_MS_MAX: u32 = 60_000;

/// How long to wait after the listener failed, for example for want of file descriptors.
const LISTENER_PAUSE: Duration = Duration::from_millis(50);

/// Serves `faces` on `listener` until `stop` comes true, then lets open requests end.
pub async fn serve(listener: TcpListener, faces: Faces, stop: impl Future<Output = ()>) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .adaptive_window(true);
    let builders = Arc::new([builder.clone().http1_only(), builder.http2_only()]);
    let connections = GracefulShutdown::new();
    let stopping = CancellationToken::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let (builders, faces) = (builders.clone(), faces.clone());
                let (watcher, stopping) = (connections.watcher(), stopping.clone());
                tokio::spawn(async move {
                    let told = tokio::time::timeout(HEADERS_MAX, speaks_http2(&stream));
                    let Some(Ok(Ok(is_http2))) = stopping.run_until_cancelled(told).await else {
                        return;
                    };
                    let builder = &builders[usize::from(is_http2)];
                    // Not by way of a variable, which would hold the connection twice for life.
                    if let Err(error) = watcher
                        .watch(connection(builder, stream, Peer(address.ip()), faces))
                        .await
                    {
                        tracing::debug!(%error, "a connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(LISTENER_PAUSE).await;
            }
        }
    }
    drop(listener);
    stopping.cancel();
    if tokio::time::timeout(DRAIN_MAX, connections.shutdown())
        .await
        .is_err()
    {
        tracing::info!("some connections were still open and are cut");
    }
}

/// Whether a client begins with HTTP/2's preface, whose first word no HTTP/1.1 request has (RFC 9113
/// §3.4, §11.6). Looked at without reading: what is read ahead costs every connection of HTTP/1.1 twice
/// the buffer.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    const FIRST_WORD: &[u8] = b"PRI";
    let mut begin = [0; FIRST_WORD.len()];
    loop {
        let length = stream.peek(&mut begin).await?;
        let seen = &begin[..length];
        if length == 0 || !FIRST_WORD.starts_with(seen) {
            return Ok(false);
        }
        if length == FIRST_WORD.len() {
            return Ok(true);
        }
        // Looking again does not wait for more.
        tokio::time::sleep(LISTENER_PAUSE).await;
    }
}

fn connection(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    peer: Peer,
    faces: Faces,
) -> hyper_util::server::conn::auto::Connection<
    'static,
    TokioIo<TcpStream>,
    impl hyper::service::Service<
        hyper::Request<Incoming>,
        Response = axum::response::Response,
        Error = Infallible,
        Future: Send,
    > + use<>,
    TokioExecutor,
> {
    // Answers are small and often alone on their connection: waiting to fill packets only costs time.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_MS_MAX);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        // In a box: a connection keeps the place of an answer for life, also while it only listens.
        let request = Lingering::request(request).map(Body::new);
        let answer = Box::pin(faces.clone().answer(request));
        answer.map(Ok::<_, Infallible>)
    });
    builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned()
}
