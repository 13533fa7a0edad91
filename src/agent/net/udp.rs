//! UDP: an association from each sender to one backend, forgotten when idle.

use super::pool::{Lease, Pool};
use super::proxy::Limits;
use crate::clock;
use crate::model::Moment;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The largest datagram that IPv4 and IPv6 carry without jumbograms.
const DATAGRAM: usize = 65_535;

/// One sender's way to its backend and back.
struct Association {
    backend: Arc<UdpSocket>,
    lease: Lease,
    /// When a datagram last went either way, in milliseconds as [`Moment`].
    used: Arc<AtomicU64>,
    replies: JoinHandle<()>,
}

impl Drop for Association {
    fn drop(&mut self) {
        self.replies.abort();
    }
}

/// Forwards until the task is aborted.
pub(super) async fn serve(listener: UdpSocket, pool: Arc<Pool>, limits: Limits) {
    let listener = Arc::new(listener);
    let mut associations: BTreeMap<SocketAddr, Association> = BTreeMap::new();
    let mut buffer = vec![0; DATAGRAM];
    let mut sweep = tokio::time::interval(limits.udp_idle);
    loop {
        tokio::select! {
            received = listener.recv_from(&mut buffer) => {
                // An error here reports an earlier reply that could not be delivered (ICMP); the socket is fine.
                if let Ok((length, sender)) = received {
                    let now = clock::now();
                    forward(&mut associations, &listener, &pool, limits, (sender, &buffer[..length], now)).await;
                }
            }
            _ = sweep.tick() => {
                let now = clock::now();
                associations.retain(|_, association| !association.is_idle(now, limits));
            }
        }
    }
}

impl Association {
    fn is_idle(&self, now: Moment, limits: Limits) -> bool {
        now.since(Moment(self.used.load(Ordering::Relaxed))) >= limits.udp_idle
    }
}

/// Sends one datagram on. Where there is no backend, or the table is full, it is lost, as UDP allows.
async fn forward(
    associations: &mut BTreeMap<SocketAddr, Association>,
    listener: &Arc<UdpSocket>,
    pool: &Pool,
    limits: Limits,
    (sender, data, now): (SocketAddr, &[u8], Moment),
) {
    // A backend that left the set gets nothing more, unlike TCP: there is no connection that it could finish.
    if associations.get(&sender).is_some_and(|association| !pool.holds(&association.lease)) {
        associations.remove(&sender);
    }
    if !associations.contains_key(&sender) {
        if associations.len() >= limits.connections_max {
            tracing::debug!("a datagram from {sender} was dropped: {} senders are the limit", limits.connections_max);
            return;
        }
        let Some(lease) = pool.pick(&[], now) else { return };
        match associate(lease, sender, Arc::clone(listener), now).await {
            Ok(association) => drop(associations.insert(sender, association)),
            Err(error) => {
                tracing::debug!("a datagram from {sender} was dropped: {error}");
                return;
            }
        }
    }
    if let Some(association) = associations.get(&sender) {
        association.used.store(now.0, Ordering::Relaxed);
        if association.backend.send(data).await.is_err() {
            // Nobody listens there: let the next datagram choose again.
            associations.remove(&sender);
        }
    }
}

async fn associate(lease: Lease, sender: SocketAddr, listener: Arc<UdpSocket>, now: Moment) -> io::Result<Association> {
    let any: SocketAddr =
        if lease.address().is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let backend = Arc::new(UdpSocket::bind(any).await?);
    backend.connect(lease.address()).await?;
    let used = Arc::new(AtomicU64::new(now.0));
    let replies = tokio::spawn(reply(Arc::clone(&backend), listener, sender, Arc::clone(&used)));
    Ok(Association { backend, lease, used, replies })
}

/// Carries a backend's answers to their sender, until the association is forgotten.
async fn reply(backend: Arc<UdpSocket>, listener: Arc<UdpSocket>, sender: SocketAddr, used: Arc<AtomicU64>) {
    let mut buffer = vec![0; DATAGRAM];
    // An error is the backend's "port unreachable": `forward` sees it at its next send and chooses again.
    while let Ok(length) = backend.recv(&mut buffer).await {
        used.store(clock::now().0, Ordering::Relaxed);
        // A sender that has gone is no reason to stop listening to the backend: others may use the address next.
        let _ = listener.send_to(&buffer[..length], sender).await;
    }
}
