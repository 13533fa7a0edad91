//! TCP: accept, connect to a backend, carry bytes both ways.

use super::pool::{Client, Lease, Pool};
use super::reach::{Stream, Target};
use super::shared::{Entrance, Open, Shared};
use crate::clock;
use crate::model::Protocol;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Until a backend that does not answer counts as failed. On this node a connect takes microseconds.
const CONNECT: Duration = Duration::from_secs(1);

/// The same for one on another node, which may have to be dialled first: an agent that restarts takes 5 s to let streams end, and no more
/// of them meanwhile.
const DIAL: Duration = Duration::from_secs(8);

/// Pause when the process is out of file descriptors: connections wait in the kernel meanwhile.
pub(super) const EXHAUSTED: Duration = Duration::from_millis(50);

/// Bytes in flight in each direction of a connection.
const BUFFER: usize = 16 * 1024;

/// After so long without traffic the kernel asks whether the other side is still there, so that connections to a host
/// or container that vanished do not stay for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Accepts until the task is aborted. At the limit of connections, further ones wait in the kernel's queue.
pub(super) async fn serve(listener: TcpListener, entrance: Entrance, shared: Arc<Shared>) {
    let permits = Arc::new(Semaphore::new(shared.connections_max(&entrance)));
    loop {
        // The semaphore is never closed, so that this ends only by a permit.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, peer)) => {
                let open = shared.open();
                drop(tokio::spawn(carry(client, peer, entrance.clone(), Arc::clone(&shared), (open, permit))));
            }
            Err(error) if is_exhausted(&error) => {
                tracing::warn!("the Service proxy cannot accept: {error}; raise the limit of open files (`ulimit -n`)");
                tokio::time::sleep(EXHAUSTED).await;
            }
            // Anything else concerns the one connection that could not be accepted, as accept(2) says.
            Err(error) => tracing::debug!("a connection was gone before it was accepted: {error}"),
        }
    }
}

/// Whether there is no room for one more connection.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

async fn carry(
    mut client: TcpStream,
    peer: SocketAddr,
    entrance: Entrance,
    shared: Arc<Shared>,
    _held: (Open, OwnedSemaphorePermit),
) {
    let Some((backend, _lease)) = enter(&client, peer, &entrance, &shared).await else {
        reset(&client);
        return;
    };
    tune(&client);
    let outcome = match backend {
        Connection::Here(mut backend) => {
            tune(&backend);
            let copied = copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await;
            copied.inspect_err(|_| reset(&backend))
        }
        // Dropped without a regular end, it is broken off on the other side too.
        Connection::There(mut backend) => copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await,
    };
    if outcome.is_err() {
        // One side broke off: the other must not take it for a regular end.
        reset(&client);
    }
}

/// Leads a client to a backend; `None` if it may not come in, or there is none.
async fn enter(client: &TcpStream, peer: SocketAddr, entrance: &Entrance, shared: &Shared) -> Option<(Connection, Lease)> {
    let pool = entrance.pool(|| rustix::net::sockopt::ip_original_dst(client).ok())?;
    let client = Client { address: peer.ip().to_canonical(), door: entrance.door() };
    if !pool.admits(client) {
        return None;
    }
    connect(&pool, client, shared).await
}

/// A connection to a backend.
pub(super) enum Connection {
    /// On this node.
    Here(TcpStream),
    /// On another.
    There(Box<dyn Stream>),
}

/// A connection to a backend, and the hold on it. Tries every backend once.
async fn connect(pool: &Pool, client: Client, shared: &Shared) -> Option<(Connection, Lease)> {
    let mut tried = Vec::new();
    loop {
        let lease = pool.pick(client, &tried, clock::now())?;
        match open(&lease, shared).await {
            Ok(connection) if pool.holds(&lease) => return Some((connection, lease)),
            // It was taken out of the set meanwhile, and the acknowledgement of that says that nobody comes any more.
            Ok(_) => tried.push(lease.outdated()),
            Err(error) => {
                tracing::debug!("a pod of a Service could not be reached: {error}");
                tried.push(lease.failed(clock::now()));
            }
        }
    }
}

/// Connects to the backend of a lease.
pub(super) async fn open(lease: &Lease, shared: &Shared) -> io::Result<Connection> {
    let backend = lease.backend();
    if lease.is_here() {
        let address = SocketAddr::new(backend.address, backend.port);
        return Ok(Connection::Here(timeout(CONNECT, TcpStream::connect(address)).await??));
    }
    let target = Target { node: backend.node.clone(), pod: backend.pod, port: backend.port, protocol: Protocol::Tcp };
    Ok(Connection::There(timeout(DIAL, shared.reach.dial(&target)).await??))
}

/// Sends at once what is written, and notices a peer that has vanished.
pub(super) fn tune(stream: &TcpStream) {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
    // A socket that is already closed refuses options; the copy finds that out by itself.
    let _ = stream.set_nodelay(true);
    let _ = set_socket_keepalive(stream, true);
    let _ = set_tcp_keepidle(stream, KEEPALIVE);
}

/// Makes the end of this connection a reset.
fn reset(stream: &TcpStream) {
    // Where this fails the peer is gone already.
    let _ = stream.set_zero_linger();
}
