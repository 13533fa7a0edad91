//! Listeners: opened at once where possible, tried again where not, closed when dropped.

use super::pool::Pool;
use super::problem::{ListenProblem, Listener, Problems};
use super::proxy::Limits;
use super::{tcp, udp};
use crate::model::Protocol;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause before a listener that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Connections that the kernel keeps for us to accept.
const BACKLOG: u32 = 1024;

/// An open (or waiting) listener. Dropping it closes it; connections that it accepted go on.
#[derive(Debug)]
pub(super) struct Listening {
    listener: Listener,
    task: JoinHandle<()>,
    closed: Arc<AtomicBool>,
    problems: watch::Sender<Problems>,
}

impl Listening {
    /// Opens a listener that sends to `pool`, now if it can be, else as soon as it can be. Must be called within tokio.
    pub(super) fn open(listener: Listener, pool: Arc<Pool>, limits: Limits, problems: &watch::Sender<Problems>) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        let attempt = Attempt { listener: listener.clone(), closed: Arc::clone(&closed), problems: problems.clone() };
        // The first try is made here, so that a caller finds the listener open on return.
        let first = attempt.bind();
        let task = tokio::spawn(async move {
            let socket = match first {
                Some(socket) => socket,
                None => attempt.bind_later().await,
            };
            match socket {
                Socket::Tcp(socket) => tcp::serve(socket, pool, limits).await,
                Socket::Udp(socket) => udp::serve(socket, pool, limits).await,
            }
        });
        Self { listener, task, closed, problems: problems.clone() }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        self.task.abort();
        self.problems.send_if_modified(|problems| problems.remove(&self.listener).is_some());
    }
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

struct Attempt {
    listener: Listener,
    closed: Arc<AtomicBool>,
    problems: watch::Sender<Problems>,
}

impl Attempt {
    async fn bind_later(&self) -> Socket {
        loop {
            tokio::time::sleep(RETRY).await;
            if let Some(socket) = self.bind() {
                return socket;
            }
        }
    }

    /// One try; its outcome is in `problems` afterwards.
    fn bind(&self) -> Option<Socket> {
        let address = self.listener.address;
        let result = match self.listener.protocol {
            Protocol::Tcp => bind_tcp(address).map(Socket::Tcp),
            Protocol::Udp => bind_udp(address).map(Socket::Udp),
        };
        let problem = result.as_ref().err().map(|error| ListenProblem::from_io(address, error));
        self.problems.send_if_modified(|problems| self.note(problems, problem));
        result.ok()
    }

    /// True if that changed what is known. A listener that was closed meanwhile has nothing to say any more: `closed` is
    /// set before its entry is removed under the lock of `problems`, and is read here under that lock.
    fn note(&self, problems: &mut Problems, problem: Option<ListenProblem>) -> bool {
        match problem {
            Some(_) if self.closed.load(Ordering::SeqCst) => false,
            Some(problem) if problems.get(&self.listener) == Some(&problem) => false,
            Some(problem) => {
                tracing::warn!(service = %self.listener.service, "{problem}");
                problems.insert(self.listener.clone(), problem);
                true
            }
            None => problems.remove(&self.listener).is_some(),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier run in TIME_WAIT must not hold the port back; it does not allow two listeners.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
