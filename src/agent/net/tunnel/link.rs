//! A link to a node: a connection over which this node opens streams to pods of that one.

use super::count::{Count, Counted};
use super::driver::{Driver, Half, LinkEnd};
use super::heard::{Heard, Traffic};
use super::inbox::{Drain, inbox, kind_of};
use super::refusal::Refusal;
use super::request::{request, verdict};
use super::stream::TunnelStream;
use super::window::{LINK_WINDOW, STREAM_WINDOW_MAX};
use super::{Limits, Path, Timings};
use crate::agent::net::reach::Target;
use crate::clock;
use crate::model::Moment;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// What a stream may hold that the network has not taken yet.
pub(super) const SEND_BYTES: usize = 128 * 1024;

/// The largest frame: large enough that its head costs nothing, small enough that others get their turn.
pub(super) const FRAME_BYTES: u32 = 64 * 1024;

/// Streams that ended by a reset are remembered in this number and for this time, so that what was under way on them is no error.
pub(super) const RESETS: (usize, std::time::Duration) = (4096, std::time::Duration::from_secs(10));

/// The link. Dropping it lets its streams end, and then the connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) path: Path,
    pub(super) made: Moment,
    pub(super) traffic: Arc<Traffic>,
    requests: SendRequest<Bytes>,
    opened: mpsc::UnboundedSender<Drain>,
    streams: Count,
    streams_max: usize,
    /// The peer takes no more streams; those that are open go on.
    closing: AtomicBool,
    end: watch::Receiver<Option<LinkEnd>>,
}

/// Why a stream was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// The node does not take it.
    Refused(Refusal),
    /// The link is broken, or about to close: another one may do.
    Lost(io::ErrorKind),
}

/// A stream, and what it counts against.
pub(super) type Opened = TunnelStream<Counted>;

impl Link {
    /// Begins to open streams over a connection whose peer accepts them, until `cut`. Waits for the peer's first word: with TLS 1.3 who
    /// dials hears only afterwards that it is refused.
    ///
    /// # Errors
    /// The peer does not.
    pub(super) async fn new<T>(
        connection: T,
        path: Path,
        limits: Limits,
        timings: Timings,
        cut: CancellationToken,
    ) -> Result<Self, LinkEnd>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (connection, traffic) = Heard::new(connection);
        let (requests, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW_MAX)
            .initial_connection_window_size(LINK_WINDOW)
            .max_frame_size(FRAME_BYTES)
            .max_send_buffer_size(SEND_BYTES)
            .max_concurrent_reset_streams(RESETS.0)
            .reset_stream_duration(RESETS.1)
            // Peers are nodes of the cluster; what a reset costs is bounded by the line above.
            .max_local_error_reset_streams(None)
            .enable_push(false)
            .handshake(connection)
            .await
            .map_err(|error| LinkEnd::Broken(error.to_string()))?;
        let (opened, registered) = mpsc::unbounded_channel();
        let (answered, up) = oneshot::channel();
        let mut driver = Driver::new(Half::Opening(connection), Arc::clone(&traffic), registered, Some(answered), timings);
        let (ended, end) = watch::channel(None);
        tokio::spawn(async move {
            let end = tokio::select! {
                end = drive(&mut driver) => end,
                () = cut.cancelled() => LinkEnd::CutOff,
            };
            // First the streams hear it, then those who would open more.
            drop(driver);
            ended.send_replace(Some(end));
        });
        let streams_max = limits.link_streams_max;
        let link = Self {
            path,
            made: clock::now(),
            traffic,
            requests,
            opened,
            streams: Count::default(),
            streams_max,
            closing: AtomicBool::new(false),
            end,
        };
        match up.await {
            Ok(()) => Ok(link),
            Err(_) => Err(link.ended().await),
        }
    }

    /// How many streams are open.
    pub(super) fn streams(&self) -> usize {
        self.streams.now()
    }

    /// Whether streams can still be opened, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        !self.closing.load(Ordering::Relaxed) && self.end.borrow().is_none()
    }

    /// Waits for its end.
    pub(super) fn ended(&self) -> impl Future<Output = LinkEnd> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await {
                Ok(end) => end.clone().unwrap_or(LinkEnd::Closed),
                Err(_) => LinkEnd::Closed,
            }
        }
    }

    /// Opens a stream. Dropping the future gives up.
    pub(super) async fn open(&self, target: &Target) -> Result<Opened, NotOpened> {
        let lost = |error: h2::Error| {
            if error.is_go_away() || error.is_io() {
                self.closing.store(true, Ordering::Relaxed);
            }
            NotOpened::Lost(kind_of(&error))
        };
        let permit = self.streams.add(self.streams_max).ok_or(NotOpened::Refused(Refusal::LinkFull))?;
        let request = request(target).ok_or(NotOpened::Refused(Refusal::Misread))?;
        let mut requests = self.requests.clone().ready().await.map_err(lost)?;
        let (response, send) = requests.send_request(request, false).map_err(lost)?;
        let response = response.await.map_err(lost)?;
        verdict(&response).map_err(NotOpened::Refused)?;
        let mut stream = response.into_body();
        let flow = stream.flow_control().clone();
        let (inbox, drain) = inbox(stream);
        self.opened.send(drain).map_err(|_| NotOpened::Lost(io::ErrorKind::ConnectionAborted))?;
        Ok(TunnelStream::new(send, inbox, flow, permit))
    }
}

async fn drive<T: AsyncRead + AsyncWrite + Unpin>(driver: &mut Driver<T>) -> LinkEnd {
    loop {
        // A peer that accepts streams cannot ask for any; the library refuses it.
        if let Err(end) = driver.next().await {
            return end;
        }
    }
}
