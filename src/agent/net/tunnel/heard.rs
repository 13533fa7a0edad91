//! A connection that remembers when its peer was last heard, and how much was carried.

use crate::clock;
use crate::model::Moment;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Traffic {
    /// As [`Moment`].
    heard: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    ended: AtomicBool,
}

impl Traffic {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            heard: AtomicU64::new(clock::now().0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        })
    }

    /// When something last came from the peer.
    pub(super) fn heard(&self) -> Moment {
        Moment(self.heard.load(Ordering::Relaxed))
    }

    /// Whether the peer has closed the connection in order. Under TLS one that was merely lost is none of those: an end is said.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Bytes from the peer and to it, as they were before they were encrypted.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// The connection.
pub(super) struct Heard<T> {
    stream: T,
    traffic: Arc<Traffic>,
}

impl<T> Heard<T> {
    /// Listens on `stream` from now on.
    pub(super) fn new(stream: T) -> (Self, Arc<Traffic>) {
        let traffic = Traffic::new();
        (Self { stream, traffic: Arc::clone(&traffic) }, traffic)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read > 0 {
            self.traffic.heard.store(clock::now().0, Ordering::Relaxed);
            self.traffic.received.fetch_add(count(read), Ordering::Relaxed);
        } else if room > 0 {
            self.traffic.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.traffic.sent.fetch_add(count(written), Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.traffic.sent.fetch_add(count(written), Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
