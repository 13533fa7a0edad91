//! One stream of a link, as a stream of bytes.
//!
//! Shutting it down for writing is the regular end of what this side says, and reaches the other one as such. Dropping it before both
//! sides have ended breaks it off: the other side sees a reset, as it would of a TCP connection.

use super::inbox::{Inbox, kind_of};
use bytes::Bytes;
use h2::{FlowControl, Reason, SendStream};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is handed to the connection at a time, so that streams take turns.
const TURN: usize = 64 * 1024;

/// The stream. Whatever it counts against is held as `permit` until it is dropped.
pub(super) struct TunnelStream<P> {
    send: SendStream<Bytes>,
    inbox: Inbox,
    flow: FlowControl,
    said_all: bool,
    _permit: P,
}

impl<P> TunnelStream<P> {
    /// Puts its two directions together. `flow` is of the stream that fills `inbox`.
    pub(super) fn new(send: SendStream<Bytes>, inbox: Inbox, flow: FlowControl, permit: P) -> Self {
        Self { send, inbox, flow, said_all: false, _permit: permit }
    }
}

impl<P> fmt::Debug for TunnelStream<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TunnelStream").field(&self.send.stream_id()).finish()
    }
}

impl<P: Unpin> AsyncRead for TunnelStream<P> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(self.inbox.poll_read(cx, buf))?;
        // A stream that ended meanwhile has no window that could be opened.
        let _ = self.flow.release_capacity(read);
        Poll::Ready(Ok(()))
    }
}

impl<P: Unpin> AsyncWrite for TunnelStream<P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(buf.len().min(TURN));
        let mut room = self.send.capacity();
        while room == 0 {
            room = match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Poll::Ready(Err(kind_of(&error).into())),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let length = room.min(buf.len()).min(TURN);
        let sent = self.send.send_data(Bytes::copy_from_slice(&buf[..length]), false);
        Poll::Ready(sent.map(|()| length).map_err(|_| io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever drives the connection sends what it has.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_all {
            self.send.send_data(Bytes::new(), true).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.said_all = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<P> Drop for TunnelStream<P> {
    fn drop(&mut self) {
        if !(self.said_all && self.inbox.is_complete()) {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}
