//! Bodies: passed on part by part as the receiver takes them, trailers included.

use super::super::pool::Lease;
use crate::clock;
use crate::model::Moment;
use bytes::Bytes;
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

/// What is sent to a backend.
pub(super) type Outgoing = Either<Watched, Empty<Bytes>>;

/// What is sent to a client.
pub(super) type Answer = Either<Delivered, Full<Bytes>>;

/// How far the body of a request is.
#[derive(Debug)]
pub(super) struct Progress {
    /// When a part was last passed on.
    last: AtomicU64,
    ended: AtomicBool,
}

impl Progress {
    pub(super) fn new(now: Moment, ended: bool) -> Arc<Self> {
        Arc::new(Self { last: AtomicU64::new(now.0), ended: AtomicBool::new(ended) })
    }

    pub(super) fn last(&self) -> Moment {
        Moment(self.last.load(Ordering::Relaxed))
    }

    /// Whether the client has sent all of it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// The body of a client's request, with a look at how it gets on.
#[derive(Debug)]
pub(super) struct Watched {
    body: Incoming,
    progress: Arc<Progress>,
}

impl Watched {
    pub(super) fn new(body: Incoming, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.progress.last.store(clock::now().0, Ordering::Relaxed);
            let ended = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
            self.progress.ended.store(ended, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a backend's answer. The backend counts as busy until it is delivered or given up.
#[derive(Debug)]
pub(super) struct Delivered {
    body: Incoming,
    _lease: Arc<Lease>,
}

impl Delivered {
    pub(super) fn new(body: Incoming, lease: Arc<Lease>) -> Self {
        Self { body, _lease: lease }
    }
}

impl Body for Delivered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
