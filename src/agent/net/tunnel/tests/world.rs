//! A cluster of tunnels in one process: a certificate authority, nodes that listen or do not, and a controller that relays.

use super::super::{CallId, Limits, PeerStatus, Relays, Timings, Tunnel};
use crate::agent::net::reach::{Reach, Stream, Target};
use crate::clock;
use crate::model::{
    Backend, Cidr, EndpointPort, EndpointSet, KeyFingerprint, Kind, NodeName, NodeNetwork, ObjectKey, Peer, PodUid, Protocol,
};
use crate::trust::{Authorities, Membership, NODE_LIFE, Request};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Until a test gives up.
const DEADLINE: Duration = Duration::from_secs(30);

/// Polls until `look` sees something.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Waits for what must come.
pub(super) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// A dead network is noticed soon, and a busy machine is not taken for one.
pub(super) fn impatient() -> Timings {
    let leave = Duration::from_millis(100);
    Timings { ping: Duration::from_millis(100), silence: Duration::from_secs(2), leave, ..Timings::default() }
}

pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) tunnel: Tunnel,
    pub(super) key: KeyFingerprint,
    /// Where others are told to dial it.
    pub(super) addresses: Vec<SocketAddr>,
    listening: Option<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

pub(super) struct World {
    folder: tempfile::TempDir,
    authorities: Authorities,
    pub(super) nodes: BTreeMap<&'static str, Node>,
    pub(super) exchange: Arc<Exchange>,
    version: u64,
    pub(super) limits: Limits,
    pub(super) timings: Timings,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authorities = Authorities::load_or_create(folder.path(), "c1", clock::wall()).expect("made");
        let (nodes, exchange) = (BTreeMap::new(), Arc::default());
        Self { folder, authorities, nodes, exchange, version: 0, limits: Limits::default(), timings: Timings::default() }
    }

    /// Two nodes that can dial each other, and know each other.
    pub(super) async fn pair() -> Self {
        let mut world = Self::new();
        world.add("n1", true).await;
        world.add("n2", true).await;
        world.tell();
        world
    }

    /// A node that others can dial, or not.
    pub(super) async fn add(&mut self, name: &'static str, listens: bool) {
        let membership = Membership::open(&self.folder.path().join(name)).expect("opened");
        let request = Request::read(&membership.request().expect("made")).expect("valid");
        let node = NodeName::new(name);
        let issued = self.authorities.issue_node(&node, &request, NODE_LIFE, clock::wall()).expect("issued");
        membership.keep(&issued).expect("kept");
        let identity = membership.identity().expect("readable").expect("joined");
        let relays = Arc::new(Desk { me: node.clone(), exchange: Arc::clone(&self.exchange) });
        let tunnel = Tunnel::new(node.clone(), &identity, Some(relays), self.limits, self.timings).expect("a tunnel");
        self.exchange.tunnels.lock().expect("unpoisoned").insert(node.clone(), tunnel.clone());
        let (mut addresses, mut listening) = (Vec::new(), None);
        if listens {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            addresses.push(listener.local_addr().expect("an address"));
            let tunnel = tunnel.clone();
            listening = Some(tokio::spawn(async move { tunnel.listen(listener).await }));
        }
        self.nodes.insert(name, Node { name: node, tunnel, key: membership.key(), addresses, listening });
    }

    /// Tells all nodes of all nodes.
    pub(super) fn tell(&mut self) {
        self.version += 1;
        for node in self.nodes.values() {
            node.tunnel.apply_network(&self.network(&node.name));
        }
    }

    /// The network as a node is told it.
    pub(super) fn network(&self, of: &NodeName) -> NodeNetwork {
        let cidr = |text: &str| text.parse::<Cidr>().expect("a range");
        let others = self.nodes.values().filter(|other| other.name != *of);
        let peer = |node: &Node| Peer { addresses: node.addresses.clone(), pods: None, key: Some(node.key.clone()) };
        NodeNetwork {
            version: self.version,
            pods: cidr("10.244.0.0/24"),
            cluster_pods: cidr("10.244.0.0/16"),
            services: cidr("10.96.0.0/16"),
            domain: "cluster.local".to_owned(),
            peers: others.map(|node| (node.name.clone(), peer(node))).collect(),
        }
    }

    /// Nobody comes in at a node any more, and who is in is cut off.
    pub(super) fn stop(&self, name: &str) {
        let node = &self.nodes[name];
        let known = self.network(&node.name);
        self.close(name);
        node.tunnel.apply_network(&NodeNetwork { peers: BTreeMap::new(), ..known });
    }

    /// Nobody else comes in at a node any more.
    pub(super) fn close(&self, name: &str) {
        if let Some(listening) = &self.nodes[name].listening {
            listening.abort();
        }
    }

    /// The next agent of a node, at the address of the last.
    pub(super) async fn renew(&mut self, name: &'static str, at: SocketAddr) {
        self.add(name, false).await;
        let listener = until("the port is free", async || TcpListener::bind(at).await.ok()).await;
        let node = self.nodes.get_mut(name).expect("added");
        let tunnel = node.tunnel.clone();
        node.addresses.push(at);
        node.listening = Some(tokio::spawn(async move { tunnel.listen(listener).await }));
    }

    /// A node that was stopped takes others again.
    pub(super) async fn start(&self, name: &str, at: SocketAddr) {
        let node = &self.nodes[name];
        node.tunnel.apply_network(&self.network(&node.name));
        let listener = until("the port is free", async || TcpListener::bind(at).await.ok()).await;
        let tunnel = node.tunnel.clone();
        tokio::spawn(async move { tunnel.listen(listener).await });
    }

    pub(super) fn tunnel(&self, name: &str) -> &Tunnel {
        &self.nodes[name].tunnel
    }

    /// A Service that leads to a pod on `node` that listens on `address`, known to that node; how to dial it.
    pub(super) fn serve(&self, node: &str, pod: u128, protocol: Protocol, address: SocketAddr) -> Target {
        let backend =
            Backend { pod: PodUid(Uuid::from_u128(pod)), node: NodeName::new(node), address: address.ip(), port: address.port() };
        let target = Target { node: backend.node.clone(), pod: backend.pod, port: backend.port, protocol };
        let port = EndpointPort { name: String::new(), port: 80, protocol, node_port: None, backends: vec![backend] };
        let service = ObjectKey::new(Kind::Service, "shop", format!("web-{pod}"));
        self.tunnel(node).apply_endpoints(&EndpointSet { ports: vec![port], ..EndpointSet::empty(service, 1) });
        target
    }

    /// A stream from a node.
    pub(super) async fn dial(&self, from: &str, target: &Target) -> io::Result<Box<dyn Stream>> {
        soon("an answer to a dial", self.tunnel(from).dial(target)).await
    }

    /// A stream that must come.
    pub(super) async fn stream(&self, from: &str, target: &Target) -> Box<dyn Stream> {
        self.dial(from, target).await.unwrap_or_else(|error| panic!("{target} from {from}: {error}"))
    }

    /// How `from` stands with `to`.
    pub(super) fn status(&self, from: &str, to: &str) -> PeerStatus {
        self.tunnel(from).peers().remove(&NodeName::new(to)).unwrap_or_default()
    }
}

/// The controller's relay: pairs two nodes, and keeps what went through it.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    tunnels: Mutex<BTreeMap<NodeName, Tunnel>>,
    waiting: Mutex<BTreeMap<CallId, oneshot::Sender<tokio::io::DuplexStream>>>,
    last: std::sync::atomic::AtomicU64,
    /// Whether calls are passed on at all.
    pub(super) closed: std::sync::atomic::AtomicBool,
    pub(super) overheard: Arc<Mutex<Vec<u8>>>,
}

#[derive(Debug)]
struct Desk {
    me: NodeName,
    exchange: Arc<Exchange>,
}

impl Relays for Desk {
    fn call<'a>(&'a self, peer: &'a NodeName) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        use std::sync::atomic::Ordering;
        Box::pin(async move {
            if self.exchange.closed.load(Ordering::SeqCst) {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "the controller is away"));
            }
            let id = CallId(self.exchange.last.fetch_add(1, Ordering::SeqCst));
            let (answer, answered) = oneshot::channel();
            self.exchange.waiting.lock().expect("unpoisoned").insert(id, answer);
            let called = self.exchange.tunnels.lock().expect("unpoisoned").get(peer).cloned();
            called.ok_or(io::ErrorKind::HostUnreachable)?.called(&self.me, id);
            let stream = answered.await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn answer(&self, call: CallId) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let caller = self.exchange.waiting.lock().expect("unpoisoned").remove(&call).ok_or(io::ErrorKind::NotFound)?;
            let (caller_end, mut a) = tokio::io::duplex(64 * 1024);
            let (mut b, called_end) = tokio::io::duplex(64 * 1024);
            caller.send(caller_end).map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            let overheard = Arc::clone(&self.exchange.overheard);
            tokio::spawn(async move {
                let (mut a_read, mut a_write) = tokio::io::split(&mut a);
                let (mut b_read, mut b_write) = tokio::io::split(&mut b);
                tokio::join!(listen_in(&mut a_read, &mut b_write, &overheard), listen_in(&mut b_read, &mut a_write, &overheard));
            });
            Ok(Box::new(called_end) as Box<dyn Stream>)
        })
    }
}

async fn listen_in(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    overheard: &Mutex<Vec<u8>>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        overheard.lock().expect("unpoisoned").extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
