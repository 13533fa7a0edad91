//! Pods of other nodes, as the proxy reaches them.
//!
//! The proxy knows which pod gets a connection; how bytes get to its node is none of its business. A stream to a pod carries what a
//! TCP connection would. For UDP it carries datagrams, each after its length: two bytes, most significant first.

use crate::model::{NodeName, PodUid, Protocol};
use futures_util::future::BoxFuture;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A pod's port on another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The node.
    pub node: NodeName,
    /// The pod.
    pub pod: PodUid,
    /// Where the pod is reached on its node: the port of a `Backend`.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        write!(f, "port {}/{protocol} of pod {} on node {}", self.port, self.pod, self.node)
    }
}

/// A way to a pod on another node. Shutting it down for writing is the regular end of what we say; dropping it before breaks it off.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Reaches pods on other nodes. Whoever implements it refuses what the other node does not accept: it accepts only a port to which some
/// Service leads there.
pub trait Reach: Send + Sync + fmt::Debug {
    /// A stream to a pod, once the other node has connected to it. Dropping the future gives up.
    ///
    /// # Errors
    /// Whatever keeps it from being reached: nothing was sent yet, and another pod may be tried.
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// A node alone: it reaches no other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Reach for Alone {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let error = io::Error::new(io::ErrorKind::HostUnreachable, format!("there is no way to {target}"));
        Box::pin(async move { Err(error) })
    }
}

/// Writes one datagram to a stream.
///
/// # Errors
/// Of the stream; `InvalidInput` for one that is larger than UDP can carry.
pub async fn send_datagram(stream: &mut (impl AsyncWrite + Unpin), datagram: &[u8]) -> io::Result<()> {
    let length = u16::try_from(datagram.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut frame = Vec::with_capacity(datagram.len() + size_of::<u16>());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(datagram);
    // In one piece, so that a sender that is dropped in between breaks the stream off and never shifts it.
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Reads one datagram from a stream; `None` at its regular end. Once dropped halfway, the stream is of no more use.
///
/// # Errors
/// Of the stream; `UnexpectedEof` where it ends within a datagram.
pub async fn receive_datagram(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let mut datagram = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut datagram).await?;
    Ok(Some(datagram))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_come_out_as_they_went_in() {
        let (mut here, mut there) = tokio::io::duplex(200_000);
        let large = vec![7; usize::from(u16::MAX)];
        for datagram in [&b"one"[..], b"", &large] {
            send_datagram(&mut here, datagram).await.expect("sent");
        }
        drop(here);
        for datagram in [&b"one"[..], b"", &large] {
            assert_eq!(receive_datagram(&mut there).await.expect("received").as_deref(), Some(datagram));
        }
        assert_eq!(receive_datagram(&mut there).await.expect("the end"), None);
    }

    #[tokio::test]
    async fn what_is_cut_off_or_too_large_is_an_error() {
        let mut cut = &[0, 3, b'a'][..];
        let error = receive_datagram(&mut cut).await.expect_err("it ends within a datagram");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let too_large = vec![0; usize::from(u16::MAX) + 1];
        let error = send_datagram(&mut tokio::io::sink(), &too_large).await.expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
