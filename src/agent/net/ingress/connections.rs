//! Connections to backends: opened when needed, kept for the next request, closed when the backend leaves its set.

use super::super::pool::Lease;
use super::super::proxy::Proxy;
use super::body::Outgoing;
use crate::clock;
use crate::model::{Backend, BackendProtocol, EndpointSet, Moment, ObjectKey, Protocol};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A connection without a request is kept for so long: less than the five seconds after which common servers (Node.js, uvicorn) end
/// one, so that requests rarely meet a connection that is being closed.
const IDLE: Duration = Duration::from_secs(4);

/// Connections without a request to one backend that are kept at most.
const IDLE_MAX: usize = 128;

/// How often an HTTP/2 backend is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);

/// Fields that an answer may have.
const HEADERS_MAX: usize = 200;

/// What connections are kept by: a backend that leaves one Service may stay in another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) service: ObjectKey,
    pub(super) port: u16,
    pub(super) backend: Backend,
}

/// The connections to all backends.
#[derive(Debug)]
pub(super) struct Connections {
    proxy: Proxy,
    kept: Mutex<BTreeMap<Address, Kept>>,
}

/// The connections to one backend that the next request may use.
#[derive(Debug, Default)]
struct Kept {
    idle: Vec<Idle>,
    /// One carries every request.
    shared: Option<http2::SendRequest<Outgoing>>,
}

#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Outgoing>,
    until: Moment,
}

/// A connection that a request may be sent on.
#[derive(Debug)]
pub(super) enum Connection {
    Http1(http1::SendRequest<Outgoing>),
    H2c(http2::SendRequest<Outgoing>),
}

/// Why a request was not answered.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing of it was sent: here it is again.
    Unsent(Box<Request<Outgoing>>),
    /// It may have been carried out.
    Broken(hyper::Error),
}

impl Connections {
    /// `proxy` knows the way to backends.
    pub(super) fn new(proxy: Proxy) -> Self {
        Self { proxy, kept: Mutex::default() }
    }

    /// A connection that was kept.
    pub(super) fn take(&self, address: &Address) -> Option<Connection> {
        let mut all = self.lock();
        let kept = all.get_mut(address)?;
        if let Some(shared) = kept.shared.as_ref().filter(|shared| !shared.is_closed()) {
            return Some(Connection::H2c(shared.clone()));
        }
        let now = clock::now();
        // The one that was used last, so that what is not needed runs out.
        while let Some(Idle { sender, until }) = kept.idle.pop() {
            if sender.is_ready() && now < until {
                return Some(Connection::Http1(sender));
            }
        }
        None
    }

    /// A new connection to the backend of a lease.
    pub(super) async fn open(&self, address: &Address, lease: &Lease, protocol: BackendProtocol) -> io::Result<Connection> {
        let connection = self.shake_hands(lease, protocol).await?;
        if let Connection::H2c(sender) = &connection {
            self.lock().entry(address.clone()).or_default().shared = Some(sender.clone());
        }
        Ok(connection)
    }

    async fn shake_hands(&self, lease: &Lease, protocol: BackendProtocol) -> io::Result<Connection> {
        let stream = TokioIo::new(self.proxy.dial(lease).await?);
        Ok(match protocol {
            BackendProtocol::Http1 => {
                let shaken = http1::Builder::new().max_headers(HEADERS_MAX).handshake(stream).await;
                let (sender, connection) = shaken.map_err(io::Error::other)?;
                tokio::spawn(async move { ended(connection.with_upgrades().await) });
                Connection::Http1(sender)
            }
            BackendProtocol::H2c => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_while_idle(true);
                let (sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
                tokio::spawn(async move { ended(connection.await) });
                Connection::H2c(sender)
            }
        })
    }

    /// Keeps a connection for the next request, if `is_wanted` still says so under the lock: [`Connections::keep_only`] of a set without
    /// the backend comes before or after it, never in between.
    pub(super) fn give_back(
        &self,
        address: Address,
        sender: http1::SendRequest<Outgoing>,
        idle: Option<Duration>,
        is_wanted: impl FnOnce() -> bool,
    ) {
        let mut all = self.lock();
        if !is_wanted() {
            return;
        }
        let kept = all.entry(address).or_default();
        if kept.idle.len() < IDLE_MAX {
            kept.idle.push(Idle { sender, until: clock::now() + idle.unwrap_or(IDLE).min(IDLE) });
        }
    }

    /// Closes the connections to backends that are not (any more) in a set: those without a request at once, others when theirs ends.
    pub(super) fn keep_only(&self, set: &EndpointSet) {
        let is_in = |address: &Address| {
            let mut ports = set.ports.iter().filter(|port| (port.port, port.protocol) == (address.port, Protocol::Tcp));
            !set.removed && ports.any(|port| port.backends.contains(&address.backend))
        };
        self.lock().retain(|address, _| address.service != set.service || is_in(address));
    }

    /// Closes what has not been used for long.
    pub(super) fn sweep(&self) {
        let now = clock::now();
        self.lock().retain(|_, kept| {
            kept.idle.retain(|idle| now < idle.until && !idle.sender.is_closed());
            kept.shared = kept.shared.take().filter(|shared| !shared.is_closed());
            !kept.idle.is_empty() || kept.shared.is_some()
        });
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.lock().values().map(|kept| kept.idle.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Address, Kept>> {
        // Nothing in here panics half way through a change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, Unanswered> {
        let answer = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::H2c(sender) => sender.try_send_request(request).await,
        };
        answer.map_err(|error: TrySendError<Request<Outgoing>>| unanswered(error))
    }
}

fn unanswered(mut error: TrySendError<Request<Outgoing>>) -> Unanswered {
    match error.take_message() {
        Some(request) => Unanswered::Unsent(Box::new(request)),
        None => Unanswered::Broken(error.into_error()),
    }
}

/// How the connection ended matters to the request on it, which says so.
fn ended(outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!("a connection to a backend ended: {error}");
    }
}
