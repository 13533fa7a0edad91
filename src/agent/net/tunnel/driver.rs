//! Drives one connection: its frames, the inboxes of its streams, its pings, and how much may be under way.

use super::Timings;
use super::heard::Traffic;
use super::inbox::{Drain, Inbox, inbox};
use super::window::stream_window;
use crate::clock;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::server::SendResponse;
use h2::{FlowControl, Ping, PingPong, RecvStream, client, server};
use http::Request;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};

/// One end of a connection: that which opens streams, or that which accepts them.
pub(super) enum Half<T> {
    /// Opens them.
    Opening(client::Connection<T, Bytes>),
    /// Accepts them.
    Accepting(server::Connection<T, Bytes>),
}

/// A stream as it arrives.
type Arrived = (Request<RecvStream>, SendResponse<Bytes>);

/// A stream that the peer wants to open.
pub(super) struct Asked {
    /// What it is to be.
    pub(super) request: Request<()>,
    /// What the peer says.
    pub(super) inbox: Inbox,
    /// How it is told that it may say more.
    pub(super) flow: FlowControl,
    /// Where to answer.
    pub(super) respond: SendResponse<Bytes>,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// Nobody needed it any more.
    #[error("it was closed in order")]
    Closed,
    /// The peer does not answer.
    #[error("the node was not heard for {} s", .0.as_secs())]
    Silent(Duration),
    /// The peer, or the network, broke it.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The peer is no node of the cluster any more, or has another key.
    #[error("the node was removed from the cluster")]
    CutOff,
}

/// Whoever polls this drives the connection.
pub(super) struct Driver<T> {
    half: Half<T>,
    pings: Option<PingPong>,
    pinged: bool,
    /// Told once the peer has answered for the first time.
    answered: Option<oneshot::Sender<()>>,
    traffic: Arc<Traffic>,
    clock: Interval,
    timings: Timings,
    /// Streams that this side opened.
    opened: mpsc::UnboundedReceiver<Drain>,
    drains: FuturesUnordered<Drain>,
    window: u32,
    leaving: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Half<T> {
    fn pings(&mut self) -> Option<PingPong> {
        match self {
            Half::Opening(connection) => connection.ping_pong(),
            Half::Accepting(connection) => connection.ping_pong(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Arrived, h2::Error>>> {
        match self {
            Half::Accepting(connection) => connection.poll_accept(cx),
            Half::Opening(connection) => std::pin::Pin::new(connection).poll(cx).map(|end| end.err().map(Err)),
        }
    }

    /// False if that cannot be said now.
    fn set_window(&mut self, window: u32) -> bool {
        match self {
            Half::Opening(connection) => connection.set_initial_window_size(window).is_ok(),
            Half::Accepting(connection) => connection.set_initial_window_size(window).is_ok(),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Must be called within tokio.
    pub(super) fn new(
        mut half: Half<T>,
        traffic: Arc<Traffic>,
        opened: mpsc::UnboundedReceiver<Drain>,
        answered: Option<oneshot::Sender<()>>,
        timings: Timings,
    ) -> Self {
        let pings = half.pings();
        let mut clock = tokio::time::interval(timings.ping);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (drains, window) = (FuturesUnordered::new(), stream_window(0));
        Self { half, pings, pinged: false, answered, traffic, clock, timings, opened, drains, window, leaving: false }
    }

    /// Takes no more streams: the peer is told, and the connection ends with those that are open.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
        if let Half::Accepting(connection) = &mut self.half {
            connection.graceful_shutdown();
        }
    }

    /// Whether that was said.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Drives the connection until a stream is asked for, or to its end.
    ///
    /// Who wakes it is often the first of many whose bytes have come: it lets them all say what they have to say, so that it leaves in one
    /// piece. Without that the runtime would turn to it after each of them, and every few bytes would cost a record and a packet.
    pub(super) async fn next(&mut self) -> Result<Asked, LinkEnd> {
        loop {
            tokio::task::yield_now().await;
            let mut is_woken = false;
            let asked = std::future::poll_fn(|cx| match std::mem::replace(&mut is_woken, true) {
                false => self.poll_next(cx).map(Some),
                true => Poll::Ready(None),
            });
            if let Some(asked) = asked.await {
                return asked;
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Asked, LinkEnd>> {
        if let Some(silence) = self.silence(cx) {
            return Poll::Ready(Err(LinkEnd::Silent(silence)));
        }
        let asked = match self.half.poll(cx) {
            // The library takes the loss of a connection without streams for its regular end.
            Poll::Ready(None) if matches!(self.half, Half::Accepting(_)) && !self.traffic.has_ended() => {
                Poll::Ready(Err(LinkEnd::Broken("it was lost".to_owned())))
            }
            Poll::Ready(None) => Poll::Ready(Err(LinkEnd::Closed)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(LinkEnd::Broken(error.to_string()))),
            Poll::Ready(Some(Ok((request, respond)))) => Poll::Ready(Ok(self.register(request, respond))),
            Poll::Pending => Poll::Pending,
        };
        // Also at the end: what came before it is still to be read.
        while let Poll::Ready(Some(drain)) = self.opened.poll_recv(cx) {
            self.drains.push(drain);
        }
        while let Poll::Ready(Some(())) = self.drains.poll_next_unpin(cx) {}
        let window = stream_window(self.drains.len());
        if window != self.window && self.half.set_window(window) {
            self.window = window;
            // The new window is to be sent.
            cx.waker().wake_by_ref();
        }
        asked
    }

    fn register(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Asked {
        let (request, mut stream) = take_body(request);
        let flow = stream.flow_control().clone();
        let (inbox, drain) = inbox(stream);
        self.drains.push(drain);
        Asked { request, inbox, flow, respond }
    }

    /// Asks the peer now and then whether it is there; how long it has been silent once that is too long.
    fn silence(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        if let Some(pings) = &mut self.pings
            && self.pinged
            && pings.poll_pong(cx).is_ready()
        {
            self.pinged = false;
            if let Some(answered) = self.answered.take() {
                // Whoever asked may have given up.
                let _ = answered.send(());
            }
        }
        while self.clock.poll_tick(cx).is_ready() {
            let silence = clock::now().since(self.traffic.heard());
            if silence >= self.timings.silence {
                return Some(silence);
            }
            if let Some(pings) = &mut self.pings
                && !self.pinged
            {
                // It fails where the connection is over, which the next poll says.
                self.pinged = pings.send_ping(Ping::opaque()).is_ok();
            }
        }
        None
    }
}

fn take_body(request: Request<RecvStream>) -> (Request<()>, RecvStream) {
    let (parts, body) = request.into_parts();
    (Request::from_parts(parts, ()), body)
}
