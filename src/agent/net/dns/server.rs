//! The sockets: what comes in is looked at, and what is answered goes out.

use super::limits::{Limits, Permit};
use super::message::{Handled, Outcome, Pending, Transport, handle};
use super::upstream::Upstream;
use super::zone::Zone;
use crate::model::Cidr;
use arc_swap::ArcSwapOption;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// No question is longer: a name has 255 bytes, and EDNS options are few.
const QUESTION_MAX: usize = 4_096;

/// A connection on which nothing moves for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Pause after a connection that could not be taken in, for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// What answers are made of, shared by all sockets.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) zone: RwLock<Zone>,
    pub(super) upstream: Upstream,
    /// The addresses of the pods of this node. They, and the host itself, are answered.
    pub(super) pods: ArcSwapOption<Cidr>,
    /// The addresses on the bridge that containers are on, which an Engine may choose by itself.
    pub(super) bridge: ArcSwapOption<Cidr>,
    /// Questions that wait for others.
    pub(super) waiting: Limits,
    /// Open connections.
    pub(super) connections: Limits,
    turn: AtomicUsize,
}

impl Shared {
    pub(super) fn new(upstream: Upstream, waiting: Limits, connections: Limits) -> Self {
        let (pods, bridge) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        Self { zone: RwLock::default(), upstream, pods, bridge, waiting, connections, turn: AtomicUsize::new(0) }
    }

    /// Whether a client is answered. The kernel takes in what comes from other hosts for an address of this one, on whatever
    /// interface it arrives: they get nothing, not even a refusal.
    pub(super) fn serves(&self, client: SocketAddr, own: IpAddr) -> bool {
        let is_pod = |address| {
            [&self.pods, &self.bridge].iter().any(|range| range.load().as_ref().is_some_and(|range| range.contains(address)))
        };
        match client.ip() {
            address if address.is_loopback() || address == own => true,
            IpAddr::V4(address) => is_pod(address),
            IpAddr::V6(_) => false,
        }
    }

    fn handle(&self, bytes: &[u8], transport: Transport) -> Handled {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Every state in between is whole enough to answer from.
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        handle(bytes, transport, &zone, turn)
    }

    async fn finish(&self, pending: Box<Pending>, _permit: Permit) -> Vec<u8> {
        let outcome = self.upstream.ask(&pending.query).await;
        pending.finish(outcome)
    }
}

/// Answers datagrams until the task is aborted.
pub(super) async fn serve_udp(socket: UdpSocket, own: IpAddr, shared: Arc<Shared>) {
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; QUESTION_MAX];
    loop {
        while waiting.try_join_next().is_some() {}
        // An error here reports an earlier answer that could not be delivered (ICMP); the socket is fine.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        if !shared.serves(client, own) {
            continue;
        }
        let answer = match shared.handle(&buffer[..length], Transport::Udp) {
            Handled::Ignored => continue,
            Handled::Answered(answer) => answer,
            Handled::Pending(pending) => match shared.waiting.admit(client.ip()) {
                None => pending.finish(Outcome::failed()),
                Some(permit) => {
                    let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
                    waiting.spawn(async move {
                        let answer = shared.finish(pending, permit).await;
                        let _ = socket.send_to(&answer, client).await;
                    });
                    continue;
                }
            },
        };
        // Lost, if the client has gone: it asks again, or does not want it any more.
        let _ = socket.send_to(&answer, client).await;
    }
}

/// Answers connections until the task is aborted, and they with it.
pub(super) async fn serve_tcp(listener: TcpListener, own: IpAddr, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok((stream, client)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        if !shared.serves(client, own) {
            continue;
        }
        // Without room the connection is closed at once, which is a word that a client understands.
        if let Some(permit) = shared.connections.admit(client.ip()) {
            let shared = Arc::clone(&shared);
            open.spawn(async move {
                // It ends as the client ends it, or when it is silent.
                let _ = converse(stream, client, &shared).await;
                drop(permit);
            });
        }
    }
}

/// Questions and answers, one after the other, each after its length (RFC 1035 section 4.2.2).
async fn converse(mut stream: TcpStream, client: SocketAddr, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; QUESTION_MAX];
    loop {
        let length = usize::from(timeout(IDLE_MAX, stream.read_u16()).await??);
        let Some(question) = buffer.get_mut(..length) else { return Ok(()) };
        timeout(IDLE_MAX, stream.read_exact(question)).await??;
        let answer = match shared.handle(question, Transport::Tcp) {
            Handled::Ignored => return Ok(()),
            Handled::Answered(answer) => answer,
            Handled::Pending(pending) => match shared.waiting.admit(client.ip()) {
                None => pending.finish(Outcome::failed()),
                Some(permit) => shared.finish(pending, permit).await,
            },
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&answer);
        timeout(IDLE_MAX, stream.write_all(&framed)).await??;
    }
}
