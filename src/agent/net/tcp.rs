//! TCP: accept, connect to a backend, carry bytes both ways.

use super::pool::{Lease, Pool};
use super::proxy::Limits;
use crate::clock;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Until a backend that does not answer counts as failed. Backends are on this node, where a connect takes microseconds.
const CONNECT: Duration = Duration::from_secs(1);

/// Pause when the process is out of file descriptors: connections wait in the kernel meanwhile.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Bytes in flight in each direction of a connection.
const BUFFER: usize = 16 * 1024;

/// After so long without traffic the kernel asks whether the other side is still there, so that connections to a host
/// or container that vanished do not stay for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Accepts until the task is aborted. At the limit of connections, further ones wait in the kernel's queue.
pub(super) async fn serve(listener: TcpListener, pool: Arc<Pool>, limits: Limits) {
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        // The semaphore is never closed, so that this ends only by a permit.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(carry(client, Arc::clone(&pool), permit))),
            Err(error) if is_exhausted(&error) => {
                tracing::warn!("the Service proxy cannot accept: {error}; raise the limit of open files (`ulimit -n`)");
                tokio::time::sleep(EXHAUSTED).await;
            }
            // Anything else concerns the one connection that could not be accepted, as accept(2) says.
            Err(error) => tracing::debug!("a connection was gone before it was accepted: {error}"),
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

async fn carry(mut client: TcpStream, pool: Arc<Pool>, _permit: OwnedSemaphorePermit) {
    let Some((mut backend, _lease)) = connect(&pool).await else {
        reset(&client);
        return;
    };
    tune(&client);
    tune(&backend);
    if copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await.is_err() {
        // One side broke off: the other must not take it for a regular end.
        reset(&client);
        reset(&backend);
    }
}

/// A connection to a backend, and the hold on it. Tries every backend once.
async fn connect(pool: &Pool) -> Option<(TcpStream, Lease)> {
    let mut tried = Vec::new();
    loop {
        let lease = pool.pick(&tried, clock::now())?;
        match timeout(CONNECT, TcpStream::connect(lease.address())).await {
            Ok(Ok(stream)) if pool.holds(&lease) => return Some((stream, lease)),
            // It was taken out of the set meanwhile, and the acknowledgement of that says that nobody comes any more.
            Ok(Ok(_)) => tried.push(lease.outdated()),
            Ok(Err(_)) | Err(_) => tried.push(lease.failed(clock::now())),
        }
    }
}

fn tune(stream: &TcpStream) {
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
