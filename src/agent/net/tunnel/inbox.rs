//! What a stream has brought and nobody has read yet.
//!
//! The library keeps what arrives in the frames that it arrived in. A pod that sends single bytes to a slow reader would make it keep
//! hundreds of bytes for each, up to the bound at which it ends the whole connection. So frames are taken out at once and put
//! together here. The peer may send more only when what is here has been read: [`super::window`] says how much that can be.

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// Smaller pieces are put together.
const PIECE: usize = 4096;

/// How a direction of a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Regular,
    Broken(io::ErrorKind),
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// The last piece, while it grows.
    tail: BytesMut,
    end: Option<End>,
    /// Nobody will read any more.
    abandoned: bool,
    reader: Option<Waker>,
    drain: Option<Waker>,
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Inbox(Arc<Mutex<State>>);

/// Fills an inbox until its stream ends; polled by whoever drives the connection.
#[derive(Debug)]
pub(super) struct Drain {
    stream: RecvStream,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing in here can panic halfway.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The inbox of a stream, and what fills it.
pub(super) fn inbox(stream: RecvStream) -> (Inbox, Drain) {
    let state = Arc::new(Mutex::new(State::default()));
    (Inbox(Arc::clone(&state)), Drain { stream, state })
}

impl State {
    fn push(&mut self, piece: Bytes) {
        if piece.len() < PIECE {
            self.tail.extend_from_slice(&piece);
            if self.tail.len() < PIECE {
                return;
            }
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.pieces.push_back(tail);
        }
        if piece.len() >= PIECE {
            self.pieces.push_back(piece);
        }
    }

    /// Moves what fits; how much it was.
    fn take(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let before = buf.remaining();
        while buf.remaining() > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            let length = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..length]);
            piece.advance(length);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        let length = self.tail.len().min(buf.remaining());
        buf.put_slice(&self.tail[..length]);
        self.tail.advance(length);
        before - buf.remaining()
    }

    fn finish(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Inbox {
    /// Reads what is there: how many bytes, 0 at the regular end.
    ///
    /// # Errors
    /// The stream was broken off.
    pub(super) fn poll_read(&mut self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.0);
        let read = state.take(buf);
        if read > 0 || buf.remaining() == 0 {
            return Poll::Ready(Ok(read));
        }
        match state.end {
            Some(End::Regular) => Poll::Ready(Ok(0)),
            Some(End::Broken(kind)) => Poll::Ready(Err(kind.into())),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether everything came, to the regular end.
    pub(super) fn is_complete(&self) -> bool {
        lock(&self.0).end == Some(End::Regular)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.abandoned = true;
        if let Some(drain) = state.drain.take() {
            drain.wake();
        }
    }
}

impl Future for Drain {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stream, state } = &mut *self;
        let mut state = lock(state);
        if state.abandoned {
            return Poll::Ready(());
        }
        let mut grown = false;
        let end = loop {
            match stream.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    state.push(piece);
                    grown = true;
                }
                Poll::Ready(Some(Err(error))) => break End::Broken(kind_of(&error)),
                Poll::Ready(None) => break End::Regular,
                Poll::Pending => {
                    state.drain = Some(cx.waker().clone());
                    if grown && let Some(reader) = state.reader.take() {
                        reader.wake();
                    }
                    return Poll::Pending;
                }
            }
        };
        state.finish(end);
        Poll::Ready(())
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        // Without an end so far, the connection has ended first.
        lock(&self.state).finish(End::Broken(io::ErrorKind::ConnectionAborted));
    }
}

/// What a caller who knows connections only sees of an error.
pub(super) fn kind_of(error: &h2::Error) -> io::ErrorKind {
    if error.is_io() || error.is_go_away() {
        return io::ErrorKind::ConnectionAborted;
    }
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => io::ErrorKind::QuotaExceeded,
        Some(_) | None => io::ErrorKind::ConnectionReset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_came_in_pieces_is_read_in_order(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..10_000), 0..20),
            room in 1_usize..9_000,
        ) {
            let mut state = State::default();
            let mut read = Vec::new();
            for piece in &pieces {
                state.push(Bytes::copy_from_slice(piece));
                let mut space = vec![0; room];
                let mut buf = ReadBuf::new(&mut space);
                let taken = state.take(&mut buf);
                prop_assert_eq!(taken, buf.filled().len());
                read.extend_from_slice(buf.filled());
            }
            loop {
                let mut space = vec![0; room];
                let mut buf = ReadBuf::new(&mut space);
                if state.take(&mut buf) == 0 {
                    break;
                }
                read.extend_from_slice(buf.filled());
            }
            prop_assert_eq!(read, pieces.concat());
        }
    }

    #[test]
    fn many_small_pieces_are_few() {
        let mut state = State::default();
        for _ in 0..10 * PIECE {
            state.push(Bytes::from_static(b"x"));
        }
        assert!(state.pieces.len() <= 10, "{} pieces", state.pieces.len());
    }
}
