//! An HTTP/1.1 client that costs next to nothing, since it shares the cores with what it measures: one
//! connection, a request whose text is made once, an answer of which only status, length and one mark
//! are looked at.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;
use crate::load::Client;

/// Stands in a request's text where the number of the call goes: as long as any number written so.
const TURN: &str = "tttttttttttttttt";

/// What stands between head and body.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Where in a body the mark of success is.
#[derive(Clone, Copy)]
pub enum Mark {
    Start(&'static str),
    End(&'static str),
}

/// A request to be sent again and again.
#[derive(Clone)]
pub struct Template {
    text: String,
    /// Where the number of the call goes.
    turns: Vec<usize>,
    mark: Mark,
}

impl Template {
    /// A request with a key among its headers; in `headers` and `body`, `{turn}` is the number of the
    /// call.
    pub fn new(
        verb: &str,
        path: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &str,
        mark: Mark,
    ) -> Self {
        let body = body.replace("{turn}", TURN);
        let mut text =
            format!("{verb} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {}\r\n", value.replace("{turn}", TURN));
        }
        if !body.is_empty() {
            text += &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            );
        }
        text = format!("{text}\r\n{body}");
        let turns = text.match_indices(TURN).map(|(at, _)| at).collect();
        Self { text, turns, mark }
    }
}

/// A connection that sends one request after another.
pub struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    turns: Vec<usize>,
    mark: Mark,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr, template: &Template) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: template.text.clone().into_bytes(),
            turns: template.turns.clone(),
            mark: template.mark,
            answer: Vec::with_capacity(4096),
        })
    }

    /// Opens so many connections.
    pub async fn open_all(
        address: SocketAddr,
        template: Template,
        count: usize,
    ) -> Result<Vec<Self>, Failure> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Self::open(address, &template).await?);
        }
        Ok(connections)
    }

    /// Asks once, like any other time, and tells the body of the answer.
    pub async fn once(address: SocketAddr, template: &Template) -> Result<Vec<u8>, Failure> {
        let mut connection = Self::open(address, template).await?;
        connection.ask(0).await?;
        let body =
            find(&connection.answer, HEAD_END).ok_or("an answer without an end of its head")?;
        Ok(connection.answer.split_off(body + HEAD_END.len()))
    }

    /// Reads one answer and tells its body.
    async fn read(&mut self) -> Result<&[u8], Failure> {
        self.answer.clear();
        let body = loop {
            self.read_more().await?;
            if let Some(end) = find(&self.answer, HEAD_END) {
                break end + HEAD_END.len();
            }
        };
        let head = std::str::from_utf8(&self.answer[..body])?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(self.refused());
        }
        let (length, _) = head
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split_once("\r\n"))
            .ok_or_else(|| self.refused())?;
        let end = body + length.parse::<usize>()?;
        while self.answer.len() < end {
            self.read_more().await?;
        }
        Ok(&self.answer[body..end])
    }

    async fn read_more(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }

    fn refused(&self) -> Failure {
        format!("answered: {}", String::from_utf8_lossy(&self.answer)).into()
    }
}

impl Client for Connection {
    async fn ask(&mut self, turn: u64) -> Result<(), Failure> {
        let turn = format!("{turn:0width$}", width = TURN.len());
        for at in &self.turns {
            self.request[*at..*at + TURN.len()].copy_from_slice(turn.as_bytes());
        }
        self.stream.write_all(&self.request).await?;
        let mark = self.mark;
        let body = self.read().await?;
        let good = match mark {
            Mark::Start(mark) => body.starts_with(mark.as_bytes()),
            Mark::End(mark) => body.ends_with(mark.as_bytes()),
        };
        if good { Ok(()) } else { Err(self.refused()) }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
