//! The tunnel between hosts that are network namespaces of this machine, with firewalls in between: every way that nodes find to each
//! other, with the controller's real relay. Needs root, `ip` and `nft`.

use crate::peers;
use driftless::agent::net::tunnel::{CallId, Limits, Path as Way, Timings, Tunnel};
use driftless::agent::net::{Reach, Target};
use driftless::clock;
use driftless::model::{
    Backend, EndpointPort, EndpointSet, Epoch, Hello, KeyFingerprint, Kind, NetworkEcho, NodeName, NodeNetwork, ObjectKey,
    PodUid, Protocol, Roll,
};
use driftless::trust::{Authorities, Membership, NODE_LIFE, NodeIdentity, Request};
use driftless::wire::server::{self, ServerSettings};
use driftless::wire::{Connector, Dialer, Gate, GateSettings, RelayClient, ToAgent, client};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(30);

const TUNNEL: u16 = 7782;

const AGENTS: u16 = 7781;

/// A controller and four nodes. Nobody may dial the last two.
const HOSTS: [&str; 5] = ["c", "n1", "n2", "n3", "n4"];

fn run(words: &str) {
    let mut parts = words.split(' ');
    let output = Command::new(parts.next().unwrap()).args(parts).output().unwrap_or_else(|error| {
        panic!("{words}: {error}; this test needs root, iproute2 and nftables (scripts/test installs them)")
    });
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Hosts that are plugged into one switch.
struct Lab {
    name: String,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in HOSTS.iter().chain(&["switch"]) {
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(host)]).output();
        }
    }
}

impl Lab {
    fn build() -> Self {
        let lab = Self { name: format!("driftless-tunnel-{}", std::process::id()) };
        let switch = lab.namespace("switch");
        run(&format!("ip netns add {switch}"));
        run(&format!("ip -n {switch} link add bridge type bridge"));
        run(&format!("ip -n {switch} link set bridge up"));
        for host in HOSTS {
            let namespace = lab.namespace(host);
            run(&format!("ip netns add {namespace}"));
            run(&format!("ip link add eth0 netns {namespace} type veth peer name to-{host} netns {switch}"));
            run(&format!("ip -n {switch} link set to-{host} master bridge up"));
            run(&format!("ip -n {namespace} addr add {}/24 dev eth0", address(host)));
            run(&format!("ip -n {namespace} link set eth0 up"));
            run(&format!("ip -n {namespace} link set lo up"));
            run(&format!("ip netns exec {namespace} nft add table ip wall"));
            run(&format!("ip netns exec {namespace} nft add chain ip wall in {{ type filter hook input priority 0 ; }}"));
        }
        lab
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    fn wall(&self, host: &str, rule: &str) {
        run(&format!("ip netns exec {} nft add rule ip wall in {rule}", self.namespace(host)));
    }

    /// Runs a thread on a host.
    fn host(&self, host: &str) -> Host {
        let namespace = File::open(format!("/var/run/netns/{}", self.namespace(host))).unwrap();
        let (jobs, mut queue) = mpsc::unbounded_channel::<BoxFuture<'static, ()>>();
        std::thread::spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while let Some(job) = queue.recv().await {
                    tokio::spawn(job);
                }
            });
        });
        Host { jobs }
    }
}

fn address(host: &str) -> String {
    let index = HOSTS.iter().position(|known| *known == host).unwrap();
    format!("10.214.0.{}", index + 1)
}

/// Does what it is given on one host.
struct Host {
    jobs: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
}

impl Host {
    /// Does it, and waits for it.
    async fn run<T: Send + 'static>(&self, what: &str, job: impl Future<Output = T> + Send + 'static) -> T {
        let (done, outcome) = oneshot::channel();
        self.start(async move { drop(done.send(job.await)) });
        timeout(DEADLINE, outcome).await.unwrap_or_else(|_| panic!("never: {what}")).unwrap_or_else(|_| panic!("failed: {what}"))
    }

    /// Begins it.
    fn start(&self, job: impl Future<Output = ()> + Send + 'static) {
        assert!(self.jobs.send(Box::pin(job)).is_ok(), "the host runs");
    }
}

struct Node {
    host: Host,
    tunnel: Tunnel,
}

/// The nodes with their certificates, and the controller that they are connected to.
struct Cluster {
    lab: Lab,
    nodes: BTreeMap<&'static str, Node>,
    shutdown: CancellationToken,
    _controller: Host,
    _folder: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Cluster {
    async fn start() -> Self {
        let lab = Lab::build();
        for host in ["n3", "n4"] {
            lab.wall(host, &format!("tcp dport {TUNNEL} drop"));
        }
        let folder = tempfile::tempdir().unwrap();
        let authorities = Authorities::load_or_create(folder.path(), "c1", clock::wall()).unwrap();
        let identities: BTreeMap<&str, (NodeIdentity, KeyFingerprint)> =
            HOSTS[1..].iter().map(|name| (*name, join(&authorities, folder.path(), name))).collect();
        let keys = identities.iter().map(|(name, (_, key))| (NodeName::new(*name), key.clone()));
        let roll = Roll { keys: keys.collect(), ..Roll::default() };
        let shutdown = CancellationToken::new();
        let controller = lab.host("c");
        control(&controller, folder.path(), roll, shutdown.clone()).await;
        let mut nodes = BTreeMap::new();
        for (name, (identity, _)) in &identities {
            nodes.insert(*name, node(&lab, name, identity.clone(), network(name, &identities), shutdown.clone()).await);
        }
        Self { lab, nodes, shutdown, _controller: controller, _folder: folder }
    }

    /// A pod on a node that echoes, and says nothing by itself.
    async fn echo(&self, on: &str) -> Target {
        let port = self.nodes[on].host.run("a pod", async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let (mut read, mut write) = stream.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    });
                }
            });
            port
        });
        let port = port.await;
        let (pod, node) = (PodUid(Uuid::from_u128(port.into())), NodeName::new(on));
        let backend = Backend { pod, node: node.clone(), address: [127, 0, 0, 1].into(), port };
        let ports = vec![EndpointPort {
            name: String::new(),
            port: 80,
            protocol: Protocol::Tcp,
            node_port: None,
            backends: vec![backend],
        }];
        let service = ObjectKey::new(Kind::Service, "shop", format!("web-{port}"));
        self.nodes[on].tunnel.apply_endpoints(&EndpointSet { ports, ..EndpointSet::empty(service, 1) });
        Target { node, pod, port, protocol: Protocol::Tcp }
    }

    /// A pod of `to` is reached from `from`, in this way.
    async fn check(&self, from: &str, to: &str, way: Way) {
        let target = self.echo(to).await;
        let tunnel = self.nodes[from].tunnel.clone();
        let echo = async move {
            // The first answer may come too late for whoever asked, while the way is still being looked for.
            let mut stream = loop {
                match tunnel.dial(&target).await {
                    Ok(stream) => break stream,
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            };
            stream.write_all(b"hello").await.unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).await.unwrap();
            heard
        };
        let heard = self.nodes[from].host.run(&format!("an echo from {to} to {from}"), echo).await;
        assert_eq!(&heard, b"hello");
        let path = self.nodes[from].tunnel.peers()[&NodeName::new(to)].link.path;
        assert_eq!(path, Some(way), "from {from} to {to}");
    }
}

fn join(authorities: &Authorities, folder: &std::path::Path, name: &str) -> (NodeIdentity, KeyFingerprint) {
    let membership = Membership::open(&folder.join(name)).unwrap();
    let request = Request::read(&membership.request().unwrap()).unwrap();
    let issued = authorities.issue_node(&NodeName::new(name), &request, NODE_LIFE, clock::wall()).unwrap();
    membership.keep(&issued).unwrap();
    (membership.identity().unwrap().unwrap(), membership.key())
}

/// Runs a controller that decides nothing.
async fn control(host: &Host, folder: &std::path::Path, roll: Roll, shutdown: CancellationToken) {
    let settings = GateSettings { identity_dir: folder.to_owned(), cluster_id: "c1".into(), advertised: vec![], life: NODE_LIFE };
    let serve = async move {
        let gate = Gate::open(settings).unwrap();
        let incoming = gate.listen(TcpListener::bind(("0.0.0.0", AGENTS)).await.unwrap()).unwrap();
        let usual = ServerSettings::new(watch::channel(Epoch(1)).1);
        let (keeper, roll) = watch::channel(Arc::new(roll));
        let settings = ServerSettings { roll, gate: Some(gate), ..usual };
        let (events, mut happened) = mpsc::channel(64);
        tokio::spawn(async move {
            let _keeper = keeper;
            // A link lives as long as somebody holds it.
            let mut links = Vec::new();
            while let Some(event) = happened.recv().await {
                links.push(event);
            }
        });
        tokio::spawn(server::serve(incoming, settings, events, shutdown));
    };
    host.run("a controller", serve).await;
}

/// Runs what an agent has of the network.
async fn node(lab: &Lab, name: &'static str, identity: NodeIdentity, network: NodeNetwork, shutdown: CancellationToken) -> Node {
    let host = lab.host(name);
    let start = async move {
        let dialer = Dialer::new(vec![format!("{}:{AGENTS}", address("c"))], identity.clone(), Arc::default());
        let connector = Connector::Tls(Arc::new(dialer));
        let relays = Arc::new(RelayClient::new(connector.clone()));
        let tunnel = Tunnel::new(NodeName::new(name), &identity, Some(relays), Limits::default(), Timings::default()).unwrap();
        tunnel.apply_network(&network);
        let listener = TcpListener::bind(("0.0.0.0", TUNNEL)).await.unwrap();
        let accepting = tunnel.clone();
        tokio::spawn(async move { accepting.listen(listener).await });
        let (outgoing, to_wire) = mpsc::channel(16);
        let (from_wire, mut incoming) = mpsc::channel(16);
        tokio::spawn(client::run(connector, move || hello(name), to_wire, from_wire, shutdown));
        let called = tunnel.clone();
        tokio::spawn(async move {
            let _outgoing = outgoing;
            while let Some(message) = incoming.recv().await {
                if let ToAgent::Called { by, call } = message {
                    called.called(&by, CallId(call));
                }
            }
        });
        tunnel
    };
    let tunnel = host.run("a node", start).await;
    Node { host, tunnel }
}

fn hello(name: &str) -> Hello {
    let amounts = serde_json::json!({"cpu_milli": 2000, "memory_bytes": 1 << 30});
    let facts = serde_json::json!({
        "name": name, "labels": {}, "capacity": amounts, "allocatable": amounts, "runtimes": [], "os": "linux", "arch": "amd64",
        "kernel": "6.1", "engine": null, "agent_version": "0.1.0", "address": "127.0.0.1",
    });
    Hello {
        facts: serde_json::from_value(facts).unwrap(),
        assignment: Default::default(),
        pods: Vec::new(),
        templates: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        volumes: Default::default(),
        network: NetworkEcho::default(),
        ingress: 0,
    }
}

/// The network as a node is told it: everybody says an address, whether it is of use or not.
fn network(of: &str, identities: &BTreeMap<&str, (NodeIdentity, KeyFingerprint)>) -> NodeNetwork {
    let others = identities.iter().filter(|(name, _)| **name != of);
    let peer = |(name, (_, key)): (&&str, &(NodeIdentity, KeyFingerprint))| {
        (NodeName::new(*name), SocketAddr::new(address(name).parse().unwrap(), TUNNEL), key.clone())
    };
    peers::network(others.map(peer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_reached_through_every_firewall_and_a_dead_network_is_noticed() {
    let cluster = Cluster::start().await;
    cluster.check("n1", "n2", Way::Direct).await;
    cluster.check("n2", "n1", Way::Direct).await;
    cluster.check("n3", "n1", Way::Direct).await;
    cluster.check("n1", "n3", Way::Reversed).await;
    cluster.check("n3", "n4", Way::Relayed).await;
    cluster.check("n4", "n3", Way::Relayed).await;
    let target = cluster.echo("n2").await;
    let tunnel = cluster.nodes["n1"].tunnel.clone();
    let mut stream = cluster.nodes["n1"].host.run("a stream", async move { tunnel.dial(&target).await.unwrap() }).await;
    cluster.lab.wall("n2", "drop");
    let silence = async move { timeout(Duration::from_secs(15), stream.read(&mut [0; 8])).await.map(|read| read.is_err()) };
    let noticed = cluster.nodes["n1"].host.run("the end of the silence", silence).await;
    assert_eq!(noticed, Ok(true), "a dead network is noticed, and is no regular end");
    assert_eq!(cluster.nodes["n1"].tunnel.peers()[&NodeName::new("n2")].link.path, None);
}
