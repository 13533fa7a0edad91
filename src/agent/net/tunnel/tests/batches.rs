//! How often something is written to a connection.

use super::super::doorman::Doorman;
use super::super::link::Link;
use super::super::{Limits, Path, Timings};
use super::pods;
use super::world::{soon, until};
use crate::agent::net::reach::Target;
use crate::model::{Backend, EndpointPort, EndpointSet, Kind, NodeName, ObjectKey, PodUid, Protocol};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A connection that counts.
struct Counted {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A link from one node to a pod of another that says what it hears, and how to dial it.
async fn link(writes: &Arc<AtomicUsize>) -> (Link, Target) {
    let (node, pod, address) = (NodeName::new("n2"), PodUid(Uuid::from_u128(1)), pods::echo().await);
    let backend = Backend { pod, node: node.clone(), address: address.ip(), port: address.port() };
    let port = EndpointPort { name: String::new(), port: 80, protocol: Protocol::Tcp, node_port: None, backends: vec![backend] };
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    let doorman = Arc::new(Doorman::new(node.clone(), Limits::default(), Timings::default()));
    doorman.apply(&EndpointSet { ports: vec![port], ..EndpointSet::empty(service, 1) });
    let (here, there) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move { doorman.serve(there, &NodeName::new("n1"), &CancellationToken::new()).await });
    let here = Counted { stream: here, writes: Arc::clone(writes) };
    let link = Link::new(here, Path::Direct, Limits::default(), Timings::default(), CancellationToken::new()).await;
    (link.expect("a link"), Target { node, pod, port: address.port(), protocol: Protocol::Tcp })
}

// One worker, so that all are woken before the first of them runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_a_hundred_streams_have_to_say_at_once_leaves_in_few_pieces() {
    const STREAMS: usize = 100;
    let (writes, begin) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (link, target) = link(&writes).await;
    let (mut clients, waiting) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..STREAMS {
        let mut stream = soon("a stream", link.open(&target)).await.expect("opened");
        let (begin, waiting) = (Arc::clone(&begin), Arc::clone(&waiting));
        clients.spawn(async move {
            let begun = begin.notified();
            waiting.fetch_add(1, Ordering::SeqCst);
            begun.await;
            stream.write_all(b"hello").await.expect("said");
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).await.expect("heard");
            stream
        });
    }
    until("all wait", async || (waiting.load(Ordering::SeqCst) == STREAMS).then_some(())).await;
    let before = writes.load(Ordering::SeqCst);
    tokio::spawn(async move { begin.notify_waiters() });
    let streams = soon("every echo", clients.join_all()).await;
    let after = writes.load(Ordering::SeqCst);
    assert_eq!(streams.len(), STREAMS);
    assert!(after - before < STREAMS / 4, "{} pieces", after - before);
}
