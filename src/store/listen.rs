//! Notifications of PostgreSQL (`LISTEN`), over one connection that does nothing else.
//!
//! What is sent while that connection is down is lost, so every connection that is made is told as
//! well ([`Heard::Connected`]): whoever listens then looks for itself at what it may have missed.
//! Poolers that hand a connection from one transaction to the next deliver nothing at all; who can't
//! bear that must look for itself now and then.
//!
//! **Bounds.** One connection beside those of the pool. [`HEARD_MAX`] notifications wait for a slow
//! listener; then the server keeps the rest. A lost connection is made again after a wait that
//! doubles from [`WAIT_MIN`] to [`WAIT_MAX`].

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::StoreError;

/// Notifications that wait to be taken.
const HEARD_MAX: usize = 256;
/// The wait before the first attempt to connect again …
const WAIT_MIN: Duration = Duration::from_millis(100);
/// … and before the later ones, at most.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// From here on every notification is heard; those before may have been missed.
    Connected,
    /// The payload of a notification.
    Notification(String),
}

/// A stream that never ends of what is sent on one channel. Dropping it closes the connection.
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    _ear: AbortOnDropHandle<()>,
}

impl Listener {
    /// Listens on `channel`, which is a plain SQL name.
    pub(super) fn start(
        config: Config,
        tls: Option<MakeRustlsConnect>,
        channel: &'static str,
    ) -> Self {
        let (teller, heard) = mpsc::channel(HEARD_MAX);
        let ear = tokio::spawn(async move {
            match tls {
                Some(tls) => listen(config, tls, channel, teller).await,
                None => listen(config, NoTls, channel, teller).await,
            }
        });
        Self {
            heard,
            _ear: AbortOnDropHandle::new(ear),
        }
    }
}

impl Stream for Listener {
    type Item = Heard;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Heard>> {
        self.heard.poll_recv(context)
    }
}

/// Listens over one connection after another until nobody takes what is heard.
async fn listen<T>(config: Config, tls: T, channel: &str, teller: mpsc::Sender<Heard>)
where
    T: MakeTlsConnect<Socket> + Clone,
    T::Stream: Unpin,
{
    let mut wait = WAIT_MIN;
    while !teller.is_closed() {
        let mut connected = false;
        let ended = hear(&config, tls.clone(), channel, &teller, &mut connected).await;
        if connected {
            wait = WAIT_MIN;
        }
        if let Err(error) = ended {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                channel,
                "not listening to the database"
            );
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Listens over one connection until it breaks.
async fn hear<T>(
    config: &Config,
    tls: T,
    channel: &str,
    teller: &mpsc::Sender<Heard>,
    connected: &mut bool,
) -> Result<(), StoreError>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Unpin,
{
    let (client, connection) = config.connect(tls).await?;
    let mut messages = messages(connection);
    let begin = format!("LISTEN {channel}");
    let mut listening = Box::pin(client.batch_execute(&begin));
    loop {
        let heard = tokio::select! {
            begun = &mut listening, if !*connected => {
                begun?;
                *connected = true;
                Heard::Connected
            }
            message = messages.next() => match message.transpose()? {
                Some(AsyncMessage::Notification(note)) => {
                    Heard::Notification(note.payload().to_owned())
                }
                Some(_) => continue,
                None => return Ok(()),
            },
        };
        if teller.send(heard).await.is_err() {
            return Ok(());
        }
    }
}

/// Whatever the server says unasked. Taking it also moves the connection forward.
fn messages<S, T>(
    mut connection: Connection<S, T>,
) -> impl Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Unpin
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    stream::poll_fn(move |context| connection.poll_message(context))
}
