//! Listeners: opened at once where possible, tried again where not, closed when dropped.

use super::keeper::Name;
use super::problem::{ListenProblem, Listener, Problems};
use super::shared::{Entrance, Shared};
use super::{tcp, udp};
use crate::model::Protocol;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause before a listener that could not be opened is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Connections that the kernel keeps for us to accept, also while the agent restarts.
const BACKLOG: u32 = 4096;

/// An open (or waiting) listener. Dropping it closes it, for the keeper too; connections that it accepted go on.
#[derive(Debug)]
pub(super) struct Listening {
    listener: Listener,
    task: JoinHandle<()>,
    closed: Arc<AtomicBool>,
    shared: Arc<Shared>,
    problems: watch::Sender<Problems>,
}

impl Listening {
    /// Opens a listener, now if it can be, else as soon as it can be. Must be called within tokio.
    pub(super) fn open(listener: Listener, entrance: Entrance, shared: &Arc<Shared>, problems: &watch::Sender<Problems>) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        let attempt = Attempt {
            listener: listener.clone(),
            closed: Arc::clone(&closed),
            shared: Arc::clone(shared),
            problems: problems.clone(),
        };
        let serving = Arc::clone(shared);
        // The first try is made here, so that a caller finds the listener open on return.
        let first = attempt.bind();
        let task = tokio::spawn(async move {
            let socket = match first {
                Some(socket) => socket,
                None => attempt.bind_later().await,
            };
            match socket {
                Socket::Tcp(socket) => tcp::serve(socket, entrance, serving).await,
                Socket::Udp(socket) => udp::serve(socket, entrance, serving).await,
            }
        });
        Self { listener, task, closed, shared: Arc::clone(shared), problems: problems.clone() }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        self.task.abort();
        if let Some(keeper) = self.shared.keeper.get() {
            keeper.forget(name_of(&self.listener));
        }
        self.problems.send_if_modified(|problems| problems.remove(&self.listener).is_some());
    }
}

/// Opens a listener that the caller accepts from, now if it can be, else as soon as it can be.
pub(super) async fn open_tcp(listener: Listener, shared: &Arc<Shared>, problems: &watch::Sender<Problems>) -> TcpListener {
    let attempt = Attempt { listener, closed: Arc::default(), shared: Arc::clone(shared), problems: problems.clone() };
    loop {
        if let Some(Socket::Tcp(socket)) = attempt.bind() {
            return socket;
        }
        tokio::time::sleep(RETRY).await;
    }
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
        }
    }
}

struct Attempt {
    listener: Listener,
    closed: Arc<AtomicBool>,
    shared: Arc<Shared>,
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
        let result = self.take_over().map_or_else(|| self.bind_anew(), Ok);
        let problem = result.as_ref().err().map(|error| ListenProblem::from_io(address, error));
        self.problems.send_if_modified(|problems| self.note(problems, problem));
        result.ok()
    }

    /// The socket that an agent before this one had.
    fn take_over(&self) -> Option<Socket> {
        let socket = self.shared.keeper.get()?.take(&name_of(&self.listener))?;
        let socket = match self.listener.protocol {
            Protocol::Tcp => tcp_of(socket).map(Socket::Tcp),
            Protocol::Udp => udp_of(socket).map(Socket::Udp),
        };
        socket.inspect_err(|error| tracing::warn!(%error, "a socket of the agent before is of no use")).ok()
    }

    fn bind_anew(&self) -> io::Result<Socket> {
        let address = self.listener.address;
        let socket = match self.listener.protocol {
            Protocol::Tcp => bind_tcp(address).map(Socket::Tcp),
            Protocol::Udp => bind_udp(address).map(Socket::Udp),
        }?;
        if let Some(keeper) = self.shared.keeper.get() {
            keeper.keep(name_of(&self.listener), &socket);
        }
        Ok(socket)
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

fn name_of(listener: &Listener) -> Name {
    Name { protocol: listener.protocol, address: listener.address }
}

fn tcp_of(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn udp_of(socket: OwnedFd) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

pub(super) fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier run in TIME_WAIT must not hold the port back; it does not allow two listeners.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

pub(super) fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
