//! The bridge itself: JSON-RPC lines from a client to the server, and what the server says back.
//!
//! Every message is a task, so a slow answer holds nothing up; one task reads and one writes. A request
//! that the client cancels is dropped, which closes its connection: that is how a cancellation reaches
//! a server over HTTP (MCP 2026-07-28, "Cancellation"). When the client closes our input, what is being
//! answered may end within [`DRAIN_MAX`].
//!
//! Bounds: [`LINE_BYTES_MAX`] a line, [`CALLS_MAX`] messages at once, [`QUEUE_MAX`] lines that wait for
//! a slow reader, and then those who have more to say wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::message::{self, Message};
use super::upstream::Upstream;

/// The longest line; the server takes less.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most messages on their way at once.
const CALLS_MAX: usize = 256;

/// The most lines that wait to be written.
const QUEUE_MAX: usize = 64;

/// How long answers may take to come once the client has closed our input. Clients end a program that
/// has not gone within two seconds.
const DRAIN_MAX: Duration = Duration::from_millis(1_500);

/// JSON-RPC: the line is not a message that is taken.
const INVALID_REQUEST: i64 = -32600;

/// Runs until `input` ends or nobody reads `output`.
pub async fn run<I, O>(upstream: Upstream, input: I, output: O)
where
    I: AsyncRead + Unpin + Send + 'static,
    O: AsyncWrite + Unpin + Send + 'static,
{
    let (lines, to_write) = mpsc::channel(QUEUE_MAX);
    let (read, mut incoming) = mpsc::channel(1);
    let writer = tokio::spawn(write(output, to_write));
    let reader = tokio::spawn(read_lines(input, read));
    let mut calls = Calls {
        upstream: Arc::new(upstream),
        lines,
        running: JoinSet::new(),
        by_id: HashMap::new(),
    };
    loop {
        tokio::select! {
            line = incoming.recv() => match line {
                Some(line) => calls.take(line).await,
                None => break,
            },
            Some(ended) = calls.running.join_next_with_id() => calls.forget(&ended),
            () = calls.lines.closed() => break,
        }
    }
    calls.drain().await;
    reader.abort();
    if writer.await.is_err() {
        tracing::error!("writing ended in a panic");
    }
}

/// What is on its way.
struct Calls {
    upstream: Arc<Upstream>,
    lines: mpsc::Sender<Bytes>,
    running: JoinSet<()>,
    /// Requests by their ids. A client that uses one twice at once can cancel the later one.
    by_id: HashMap<String, Call>,
}

struct Call {
    handle: AbortHandle,
    listens: bool,
}

impl Calls {
    async fn take(&mut self, line: Result<Vec<u8>, TooLong>) {
        let message = match line.map_err(|TooLong| too_long()).and_then(Message::read) {
            Ok(message) => message,
            Err(refused) => {
                let _ = self.lines.send(refused).await;
                return;
            }
        };
        if let Some(call) = message
            .cancels
            .as_ref()
            .and_then(|id| self.by_id.remove(id))
        {
            call.handle.abort();
        }
        if self.running.len() >= CALLS_MAX {
            let id = message.id.as_deref().unwrap_or("null");
            let said =
                format!("At most {CALLS_MAX} messages are sent at once; wait for an answer.");
            let refused = message::error(id, message::INTERNAL_ERROR, &said, None);
            let _ = self.lines.send(refused).await;
            return;
        }
        let (id, listens) = (message.id.clone(), message.listens);
        let (upstream, lines) = (self.upstream.clone(), self.lines.clone());
        let handle = self
            .running
            .spawn(async move { upstream.tell(&message, &lines).await });
        if let Some(id) = id {
            self.by_id.insert(id, Call { handle, listens });
        }
    }

    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => *task,
            Err(error) => error.id(),
        };
        self.by_id.retain(|_, call| call.handle.id() != task);
    }

    /// Lets what is being answered end; listening has no end.
    async fn drain(mut self) {
        for call in self.by_id.values().filter(|call| call.listens) {
            call.handle.abort();
        }
        let rest = async { while self.running.join_next().await.is_some() {} };
        // Whatever is still running then is dropped with the set.
        let _ = tokio::time::timeout(DRAIN_MAX, rest).await;
    }
}

/// A line that is longer than is taken.
struct TooLong;

fn too_long() -> Bytes {
    let said = format!("A line is at most {LINE_BYTES_MAX} bytes long.");
    message::error("null", INVALID_REQUEST, &said, None)
}

/// Reads lines until there are no more; empty ones are nothing.
async fn read_lines(input: impl AsyncRead + Unpin, lines: mpsc::Sender<Result<Vec<u8>, TooLong>>) {
    let mut input = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        let read = (&mut input)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await;
        if !matches!(read, Ok(1..)) {
            return;
        }
        let is_whole = line.ends_with(b"\n")
            || line.len() < usize::try_from(LINE_BYTES_MAX).unwrap_or(usize::MAX);
        let line = if is_whole {
            line.truncate(line.trim_ascii_end().len());
            Ok(line)
        } else if skip_line(&mut input).await {
            Err(TooLong)
        } else {
            return;
        };
        if line.as_ref().is_ok_and(Vec::is_empty) {
            continue;
        }
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

/// Skips the rest of a line; whether there is anything after it.
async fn skip_line(input: &mut (impl AsyncBufReadExt + Unpin)) -> bool {
    loop {
        let Ok(waiting) = input.fill_buf().await else {
            return false;
        };
        if waiting.is_empty() {
            return false;
        }
        let end = waiting.iter().position(|byte| *byte == b'\n');
        let skipped = end.map_or(waiting.len(), |end| end + 1);
        input.consume(skipped);
        if end.is_some() {
            return true;
        }
    }
}

/// Writes lines until there are none to come or nobody reads them.
async fn write(mut output: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Bytes>) {
    while let Some(line) = lines.recv().await {
        let written = async {
            output.write_all(&line).await?;
            output.write_all(b"\n").await?;
            output.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}
