//! UDP: an association from each sender to one backend, forgotten when idle.

use super::pool::{Client, Lease, Pool};
use super::reach::{Stream, Target, receive_datagram, send_datagram};
use super::shared::{Entrance, Shared};
use crate::clock;
use crate::model::{Moment, Protocol};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The largest datagram that IPv4 and IPv6 carry without jumbograms.
const DATAGRAM: usize = 65_535;

/// Datagrams of one sender that wait for their way to another node; more are lost, as UDP allows.
const WAITING_MAX: usize = 64;

/// Until a backend on another node that does not answer counts as failed.
const DIAL: Duration = Duration::from_secs(5);

/// One sender's way to its backend and back.
struct Association {
    way: Way,
    lease: Lease,
    /// When a datagram last went either way, in milliseconds as [`Moment`].
    used: Arc<AtomicU64>,
    replies: JoinHandle<()>,
}

/// How datagrams get to a backend.
enum Way {
    Here(Arc<UdpSocket>),
    There(mpsc::Sender<Vec<u8>>),
}

impl Drop for Association {
    fn drop(&mut self) {
        self.replies.abort();
    }
}

/// One listener, and those who sent to it.
struct Serving {
    listener: Arc<UdpSocket>,
    entrance: Entrance,
    shared: Arc<Shared>,
    associations: BTreeMap<SocketAddr, Association>,
}

/// Forwards until the task is aborted.
pub(super) async fn serve(listener: UdpSocket, entrance: Entrance, shared: Arc<Shared>) {
    let mut sweep = tokio::time::interval(shared.limits.udp_idle);
    let mut serving = Serving { listener: Arc::new(listener), entrance, shared, associations: BTreeMap::new() };
    let mut buffer = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            received = serving.listener.recv_from(&mut buffer) => {
                // An error here reports an earlier reply that could not be delivered (ICMP); the socket is fine.
                if let Ok((length, sender)) = received {
                    serving.forward(sender, &buffer[..length], clock::now()).await;
                }
            }
            _ = sweep.tick() => serving.sweep(clock::now()),
        }
    }
}

impl Serving {
    fn sweep(&mut self, now: Moment) {
        let idle = self.shared.limits.udp_idle;
        let is_idle = |association: &Association| now.since(Moment(association.used.load(Ordering::Relaxed))) >= idle;
        self.associations.retain(|_, association| !is_idle(association));
    }

    /// Sends one datagram on. Where there is no backend, or the table is full, it is lost, as UDP allows.
    async fn forward(&mut self, sender: SocketAddr, data: &[u8], now: Moment) {
        let Some(pool) = self.entrance.pool(|| None) else { return };
        // A backend that left the set gets nothing more, unlike TCP: there is no connection that it could finish.
        if self.associations.get(&sender).is_some_and(|association| !pool.holds(&association.lease)) {
            self.associations.remove(&sender);
        }
        if !self.associations.contains_key(&sender) {
            match self.associate(&pool, sender, now).await {
                Ok(Some(association)) => drop(self.associations.insert(sender, association)),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!("a datagram from {sender} was dropped: {error}");
                    return;
                }
            }
        }
        if let Some(association) = self.associations.get(&sender) {
            association.used.store(now.0, Ordering::Relaxed);
            if association.send(data).await.is_err() {
                // Nobody listens there: let the next datagram choose again.
                self.associations.remove(&sender);
            }
        }
    }

    async fn associate(&self, pool: &Pool, sender: SocketAddr, now: Moment) -> io::Result<Option<Association>> {
        if self.associations.len() >= self.shared.limits.connections_max {
            return Err(io::Error::other(format!("{} senders are the limit", self.shared.limits.connections_max)));
        }
        let client = Client { address: sender.ip().to_canonical(), door: self.entrance.door() };
        if !pool.admits(client) {
            return Ok(None);
        }
        let Some(lease) = pool.pick(client, &[], now) else { return Ok(None) };
        let used = Arc::new(AtomicU64::new(now.0));
        let back = Back { listener: Arc::clone(&self.listener), sender, used: Arc::clone(&used) };
        let (way, replies) = if lease.is_here() { here(&lease, back).await? } else { there(&lease, back, &self.shared) };
        Ok(Some(Association { way, lease, used, replies }))
    }
}

impl Association {
    async fn send(&self, data: &[u8]) -> io::Result<()> {
        match &self.way {
            Way::Here(backend) => backend.send(data).await.map(drop),
            Way::There(waiting) => match waiting.try_send(data.to_vec()) {
                Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            },
        }
    }
}

/// The way of a backend's answers to their sender.
struct Back {
    listener: Arc<UdpSocket>,
    sender: SocketAddr,
    used: Arc<AtomicU64>,
}

impl Back {
    async fn deliver(&self, data: &[u8]) {
        self.used.store(clock::now().0, Ordering::Relaxed);
        // A sender that has gone is no reason to stop listening to the backend: others may use the address next.
        let _ = self.listener.send_to(data, self.sender).await;
    }
}

async fn here(lease: &Lease, back: Back) -> io::Result<(Way, JoinHandle<()>)> {
    let address = SocketAddr::new(lease.backend().address, lease.backend().port);
    let any: SocketAddr = if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let backend = Arc::new(UdpSocket::bind(any).await?);
    backend.connect(address).await?;
    let answering = Arc::clone(&backend);
    let replies = tokio::spawn(async move {
        let mut buffer = vec![0; DATAGRAM];
        // An error is the backend's "port unreachable": the next send sees it too and chooses again.
        while let Ok(length) = answering.recv(&mut buffer).await {
            back.deliver(&buffer[..length]).await;
        }
    });
    Ok((Way::Here(backend), replies))
}

/// Datagrams wait while the other node is dialled, so that one sender's way does not hold up the others.
fn there(lease: &Lease, back: Back, shared: &Arc<Shared>) -> (Way, JoinHandle<()>) {
    let (send, waiting) = mpsc::channel(WAITING_MAX);
    let backend = lease.backend();
    let target = Target { node: backend.node.clone(), pod: backend.pod, port: backend.port, protocol: Protocol::Udp };
    let shared = Arc::clone(shared);
    let replies = tokio::spawn(async move {
        match timeout(DIAL, shared.reach.dial(&target)).await {
            Ok(Ok(stream)) => exchange(stream, waiting, back).await,
            Ok(Err(error)) => tracing::debug!("datagrams to {target} were dropped: {error}"),
            Err(_) => tracing::debug!("datagrams to {target} were dropped: it was not reached within {} s", DIAL.as_secs()),
        }
    });
    (Way::There(send), replies)
}

/// Carries datagrams both ways until the stream ends.
async fn exchange(stream: Box<dyn Stream>, mut waiting: mpsc::Receiver<Vec<u8>>, back: Back) {
    let (mut from, mut to) = tokio::io::split(stream);
    let forth = async {
        while let Some(datagram) = waiting.recv().await {
            if send_datagram(&mut to, &datagram).await.is_err() {
                break;
            }
        }
    };
    let back = async {
        while let Ok(Some(datagram)) = receive_datagram(&mut from).await {
            back.deliver(&datagram).await;
        }
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
    }
}
