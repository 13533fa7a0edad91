//! The last step: from a stream to the pod itself, by TCP or UDP.

use crate::agent::net::reach::{receive_datagram, send_datagram};
use crate::clock;
use crate::model::{Moment, Protocol};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

/// Bytes in flight in each direction of a connection.
const BUFFER: usize = 32 * 1024;

/// The largest datagram that IPv4 and IPv6 carry without jumbograms.
const DATAGRAM: usize = 65_535;

/// A connection to a pod.
#[derive(Debug)]
pub(super) enum Pod {
    /// Of bytes.
    Tcp(TcpStream),
    /// Of datagrams.
    Udp(UdpSocket),
}

/// Connects to a pod. For UDP that sends nothing, so it always works.
///
/// # Errors
/// The pod does not take it, or not in time.
pub(super) async fn connect(protocol: Protocol, address: SocketAddr, within: Duration) -> io::Result<Pod> {
    match protocol {
        Protocol::Tcp => {
            let late = |_| io::Error::from(io::ErrorKind::TimedOut);
            let stream = timeout(within, TcpStream::connect(address)).await.map_err(late)??;
            stream.set_nodelay(true)?;
            Ok(Pod::Tcp(stream))
        }
        Protocol::Udp => {
            let any: SocketAddr =
                if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(Pod::Udp(socket))
        }
    }
}

/// Carries both directions until both have ended, or one of them is broken off.
pub(super) async fn carry(stream: impl AsyncRead + AsyncWrite + Unpin, pod: Pod, udp_idle: Duration) {
    match pod {
        Pod::Tcp(pod) => carry_bytes(stream, pod).await,
        Pod::Udp(pod) => carry_datagrams(stream, &pod, udp_idle).await,
    }
}

async fn carry_bytes(mut stream: impl AsyncRead + AsyncWrite + Unpin, mut pod: TcpStream) {
    if copy_bidirectional_with_sizes(&mut stream, &mut pod, BUFFER, BUFFER).await.is_err() {
        // The pod must not take it for a regular end. Where this fails it is gone already; the stream is reset as it is dropped.
        let _ = pod.set_zero_linger();
    }
}

/// Until the peer ends it, or nothing has gone either way for `idle`.
async fn carry_datagrams(stream: impl AsyncRead + AsyncWrite + Unpin, pod: &UdpSocket, idle: Duration) {
    let (mut from_peer, mut to_peer) = tokio::io::split(stream);
    // As [`Moment`]; the three below are one task, which may move between threads.
    let used = AtomicU64::new(clock::now().0);
    let inward = async {
        while let Ok(Some(datagram)) = receive_datagram(&mut from_peer).await {
            used.store(clock::now().0, Ordering::Relaxed);
            // A pod that does not listen is the sender's to find out, as with UDP anywhere.
            let _ = pod.send(&datagram).await;
        }
    };
    let outward = async {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            match pod.recv(&mut buffer).await {
                Ok(length) if send_datagram(&mut to_peer, &buffer[..length]).await.is_ok() => {
                    used.store(clock::now().0, Ordering::Relaxed)
                }
                // "Port unreachable", about an earlier datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Ok(_) | Err(_) => return,
            }
        }
    };
    let unused = async {
        while let Some(rest) =
            idle.checked_sub(clock::now().since(Moment(used.load(Ordering::Relaxed)))).filter(|rest| !rest.is_zero())
        {
            sleep(rest).await;
        }
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
        () = unused => {}
    }
}
