//! All Services of this node.

use super::keeper::Keeper;
use super::listen::{self, Listening};
use super::pool::{Door, Lease, Pool};
use super::problem::{Listener, Problems};
use super::reach::{Alone, Reach, Stream};
use super::rules::{Rules, Table};
use super::shared::{Destinations, Entrance, Shared};
use super::steer::{Steering, Wanted};
use super::tcp;
use crate::model::{Backend, EndpointPort, EndpointSet, Kind, NodeName, NodeNetwork, ObjectKey, PodUid, Protocol, Traffic};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// Sockets of the agent before that no Service wants any more are closed after so long.
const CLAIM: Duration = Duration::from_secs(30);

/// What the proxy holds back with. Per listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections, or senders of UDP. Further connections wait in the kernel's queue; further senders are dropped.
    pub connections_max: usize,
    /// The same for the listener of all connections to addresses of the cluster.
    pub caught_max: usize,
    /// After so long without a datagram either way, a UDP sender is forgotten.
    pub udp_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: 4096, caught_max: 16_384, udp_idle: Duration::from_secs(60) }
    }
}

/// What a proxy is told once.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This node.
    pub node: NodeName,
    /// The table of the kernel's rules.
    pub table: Table,
    /// What it holds back with.
    pub limits: Limits,
    /// The way to other nodes.
    pub reach: Arc<dyn Reach>,
    /// Who holds its sockets while the agent restarts, once addresses of the cluster lead to it.
    pub keep: Option<Keep>,
}

/// Where the keeper of sockets is found, and how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The folder of its socket.
    pub folder: PathBuf,
    /// This very program.
    pub program: PathBuf,
}

impl Setup {
    /// A node by itself.
    #[must_use]
    pub fn alone(node: NodeName) -> Self {
        Self { node, table: Table::of(""), limits: Limits::default(), reach: Arc::new(Alone), keep: None }
    }
}

/// An address beside the Service's own at which one of its ports is reached: for containers that cannot reach the host's loopback, the
/// gateway of our bridge network; and where the kernel's rules lead, all at ports from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtraAddress {
    /// The port of the Service.
    pub service_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where to listen for it.
    pub address: SocketAddr,
}

/// The addresses of the cluster that the kernel is to turn to the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interception {
    /// The ranges.
    pub network: Arc<NodeNetwork>,
    /// Where TCP is turned to.
    pub port: u16,
    /// The host's address on the network of its containers, if it has one.
    pub gateway: Option<IpAddr>,
}

/// The proxy of one node. Clones are handles of the same proxy; it closes with the last one.
#[derive(Debug, Clone)]
pub struct Proxy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: NodeName,
    table: Table,
    keep: Option<Keep>,
    shared: Arc<Shared>,
    state: Mutex<State>,
    problems: watch::Sender<Problems>,
}

#[derive(Debug, Default)]
struct State {
    services: BTreeMap<ObjectKey, Service>,
    interception: Option<Interception>,
    /// Where the kernel turns TCP to.
    caught: BTreeMap<SocketAddr, Listening>,
    /// Pods on other nodes that are called by their own address.
    direct: BTreeMap<(Ipv4Addr, u16), Arc<Pool>>,
    steering: Option<Steering>,
}

/// One Service that is served.
#[derive(Debug, Default)]
struct Service {
    version: u64,
    address: Option<Ipv4Addr>,
    ports: BTreeMap<(u16, Protocol), Port>,
}

#[derive(Debug, Default)]
struct Port {
    pool: Arc<Pool>,
    backends: Vec<Backend>,
    /// The port of the host to which the kernel turns datagrams for it.
    turned_to: Option<u16>,
    listeners: BTreeMap<(SocketAddr, Door), Listening>,
}

impl Proxy {
    /// A proxy that serves nothing yet.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup { node, table, limits, reach, keep } = setup;
        let shared = Arc::new(Shared::new(limits, reach));
        Self(Arc::new(Inner { node, table, keep, shared, state: Mutex::default(), problems: watch::Sender::default() }))
    }

    /// Brings a new endpoint set into use, and returns the version that is in use afterwards: that of `set`, unless a newer one
    /// came before. On return, no new connection goes to a backend outside of it. `extra` is the whole list of further
    /// addresses of this Service. Must be called within tokio; does not block.
    pub fn apply(&self, set: &EndpointSet, extra: &[ExtraAddress]) -> u64 {
        let mut state = self.lock();
        let service = state.services.entry(set.service.clone()).or_default();
        if set.version < service.version {
            return service.version;
        }
        service.version = set.version;
        service.address = set.address.filter(|_| !set.removed);
        let wanted: &[EndpointPort] = if set.removed { &[] } else { &set.ports };
        // First where connections lead, then which ports are open.
        for port in wanted {
            let known = service.ports.entry((port.port, port.protocol)).or_default();
            known.pool.replace(&port.backends, &set.traffic, &self.0.node);
            known.backends.clone_from(&port.backends);
            known.turned_to = turned_to(port, extra);
        }
        let kept: BTreeMap<_, _> = wanted.iter().map(|port| ((port.port, port.protocol), port)).collect();
        service.ports.retain(|key, port| {
            let keep = kept.contains_key(key);
            if !keep {
                // Connects under way must not end up at a backend that is no longer named.
                port.pool.empty();
            }
            keep
        });
        for (key, port) in &mut service.ports {
            let addresses = kept.get(key).map(|wanted| self.addresses(set, wanted, extra)).unwrap_or_default();
            self.open_listeners(&set.service, port, key.1, &addresses);
        }
        self.redirect(&mut state);
        set.version
    }

    /// Has the kernel turn what goes to addresses of the cluster to this proxy. Must be called within tokio; does not block.
    pub fn intercept(&self, interception: Interception) {
        self.find_keeper();
        let mut state = self.lock();
        let hosts = std::iter::once(IpAddr::V4(Ipv4Addr::LOCALHOST)).chain(interception.gateway);
        let wanted: BTreeSet<SocketAddr> = hosts.map(|host| SocketAddr::new(host, interception.port)).collect();
        state.interception = Some(interception);
        // First where connections lead, then which ports are open: those that waited in the kernel come in at once.
        let rules = self.lead(&mut state);
        state.caught.retain(|address, _| wanted.contains(address));
        for address in wanted {
            state.caught.entry(address).or_insert_with(|| {
                let listener = Listener { service: everything(), address, protocol: Protocol::Tcp };
                let entrance = Entrance::Caught(Arc::clone(&self.0.shared.destinations));
                Listening::open(listener, entrance, &self.0.shared, &self.0.problems)
            });
        }
        let steering = state.steering.get_or_insert_with(|| Steering::start(self.0.problems.clone()));
        rules.into_iter().for_each(|rules| steering.want(rules));
    }

    /// Where a pod of this node is reached, if some Service leads to this port of it: what other nodes may ask for.
    #[must_use]
    pub fn backend_here(&self, pod: PodUid, port: u16, protocol: Protocol) -> Option<SocketAddr> {
        let state = self.lock();
        let ports = state.services.values().flat_map(|service| &service.ports).filter(|((_, known), _)| *known == protocol);
        let mut backends = ports.flat_map(|(_, port)| &port.backends).filter(|backend| backend.node == self.0.node);
        let found = backends.find(|backend| backend.pod == pod && backend.port == port);
        found.map(|backend| SocketAddr::new(backend.address, backend.port))
    }

    /// The version in use of every Service, gone ones included, for the hello.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<ObjectKey, u64> {
        self.lock().services.iter().map(|(key, service)| (key.clone(), service.version)).collect()
    }

    /// Who is behind a TCP port of a Service; `None` if it has no such port.
    pub(super) fn backends(&self, service: &ObjectKey, port: u16) -> Option<Arc<Pool>> {
        let state = self.lock();
        state.services.get(service)?.ports.get(&(port, Protocol::Tcp)).map(|port| Arc::clone(&port.pool))
    }

    /// A connection to a backend, on whichever node it is.
    pub(super) async fn dial(&self, lease: &Lease) -> io::Result<Box<dyn Stream>> {
        Ok(match tcp::open(lease, &self.0.shared).await? {
            tcp::Connection::Here(stream) => {
                tcp::tune(&stream);
                Box::new(stream)
            }
            tcp::Connection::There(stream) => stream,
        })
    }

    /// A listener for clients of another kind, as soon as it can be had; the keeper holds it too. Until then it is a problem.
    pub(super) async fn listen(&self, about: ObjectKey, address: SocketAddr) -> TcpListener {
        let listener = Listener { service: about, address, protocol: Protocol::Tcp };
        listen::open_tcp(listener, &self.0.shared, &self.0.problems).await
    }

    /// The listeners that are not open, and a way to hear when that changes.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Problems> {
        self.0.problems.subscribe()
    }

    /// Takes no more connections, leaves the sockets to the next agent, and gives the connections that are open so long to end.
    /// Without a keeper there is no next agent that could have them, and it ends at once.
    pub async fn leave(&self, patience: Duration) {
        let Some(keeper) = self.0.shared.keeper.get() else { return };
        keeper.leave();
        {
            let mut state = self.lock();
            state.caught.clear();
            for port in state.services.values_mut().flat_map(|service| service.ports.values_mut()) {
                port.listeners.clear();
            }
        }
        if timeout(patience, self.0.shared.idle()).await.is_err() {
            tracing::info!("connections through Services that were open for longer are broken off");
        }
    }

    /// Sockets that are opened from now on are held for the next agent too, and those of the agent before are taken over. So it comes
    /// before the first one, as soon as it is known that the kernel will lead here.
    pub fn find_keeper(&self) {
        let (Some(keep), None) = (&self.0.keep, self.0.shared.keeper.get()) else { return };
        match Keeper::find_or_start(&keep.folder, &keep.program) {
            Ok(keeper) => {
                tokio::spawn(claim(keeper.clone()));
                // There was none, and nobody else looks for one.
                let _ = self.0.shared.keeper.set(keeper);
            }
            Err(error) => tracing::warn!(%error, "nobody keeps the sockets of Services while this agent restarts"),
        }
    }

    /// Where a port of the Service is listened on.
    fn addresses(&self, set: &EndpointSet, port: &EndpointPort, extra: &[ExtraAddress]) -> BTreeSet<(SocketAddr, Door)> {
        // Any other address is caught by the kernel.
        let local = set.address.filter(Ipv4Addr::is_loopback);
        let own = local.map(|address| (SocketAddr::from((address, port.port)), Door::Inside));
        let of_port = extra.iter().filter(|extra| (extra.service_port, extra.protocol) == (port.port, port.protocol));
        let node_port = port.node_port.map(|number| (SocketAddr::from((Ipv4Addr::UNSPECIFIED, number)), Door::NodePort));
        let balancing = set.traffic.load_balancers.contains(&self.0.node);
        // On all of the host's addresses, unless those of Services are among them and taken.
        let host = if local.is_some() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let balanced = balancing.then(|| (SocketAddr::from((host, port.port)), Door::LoadBalancer));
        own.into_iter().chain(of_port.map(|extra| (extra.address, Door::Inside))).chain(node_port).chain(balanced).collect()
    }

    fn open_listeners(&self, service: &ObjectKey, port: &mut Port, protocol: Protocol, wanted: &BTreeSet<(SocketAddr, Door)>) {
        port.listeners.retain(|key, _| wanted.contains(key));
        for (address, door) in wanted {
            port.listeners.entry((*address, *door)).or_insert_with(|| {
                let listener = Listener { service: service.clone(), address: *address, protocol };
                let entrance = Entrance::Port { pool: Arc::clone(&port.pool), door: *door };
                Listening::open(listener, entrance, &self.0.shared, &self.0.problems)
            });
        }
    }

    /// Brings up to date where addresses of the cluster lead, for connections that are caught and for the kernel.
    fn redirect(&self, state: &mut State) {
        let rules = self.lead(state);
        if let (Some(rules), Some(steering)) = (rules, &state.steering) {
            steering.want(rules);
        }
    }

    /// Brings up to date where connections that are caught lead, and says what the kernel is to do; `None` as long as it is to do nothing.
    fn lead(&self, state: &mut State) -> Option<Wanted> {
        let interception = state.interception.clone()?;
        let mut destinations = Destinations::new();
        let (mut datagrams, mut services) = (BTreeMap::new(), BTreeMap::new());
        for (key, service) in &state.services {
            let Some(address) = service.address.filter(|address| !address.is_loopback()) else { continue };
            services.insert(address, key.clone());
            for ((number, protocol), port) in &service.ports {
                match (protocol, port.turned_to) {
                    (Protocol::Tcp, _) => drop(destinations.insert((address, *number), Arc::clone(&port.pool))),
                    (Protocol::Udp, Some(to)) if port.pool.leads_somewhere(Door::Inside) => {
                        datagrams.insert((address, *number), to);
                    }
                    (Protocol::Udp, _) => {}
                }
            }
        }
        self.call_directly(state, &interception.network);
        destinations.extend(state.direct.iter().map(|(at, pool)| (*at, Arc::clone(pool))));
        let leads = destinations.iter().filter(|(_, pool)| pool.leads_somewhere(Door::Inside));
        let rules = Rules {
            table: self.0.table.clone(),
            services: interception.network.services,
            pods: interception.network.cluster_pods,
            port: interception.port,
            streams: leads.map(|(at, _)| *at).collect(),
            datagrams,
        };
        self.0.shared.destinations.store(Arc::new(destinations));
        Some(Wanted { rules, services, node_prefix: interception.network.pods.prefix() })
    }

    /// Pods on other nodes that a Service leads to are reached by their own addresses too.
    fn call_directly(&self, state: &mut State, network: &NodeNetwork) {
        let ports =
            state.services.values().flat_map(|service| &service.ports).filter(|((_, protocol), _)| *protocol == Protocol::Tcp);
        let away = ports.flat_map(|(_, port)| &port.backends).filter(|backend| backend.node != self.0.node);
        let at = |backend: &Backend| match backend.address {
            IpAddr::V4(address) if network.cluster_pods.contains(address) => Some((address, backend.port)),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        let wanted: BTreeMap<(Ipv4Addr, u16), &Backend> = away.filter_map(|backend| Some((at(backend)?, backend))).collect();
        for (at, pool) in &state.direct {
            if !wanted.contains_key(at) {
                pool.empty();
            }
        }
        let mut direct = BTreeMap::new();
        for (at, backend) in wanted {
            let pool = state.direct.remove(&at).unwrap_or_default();
            pool.replace(std::slice::from_ref(backend), &Traffic::default(), &self.0.node);
            direct.insert(at, pool);
        }
        state.direct = direct;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every state in between is whole enough to go on from, so that a panic elsewhere does not end the proxy.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what the agent before had and no Service wants any more.
async fn claim(keeper: Keeper) {
    tokio::time::sleep(CLAIM).await;
    keeper.forget_unclaimed();
}

/// Stands for the cluster in messages about the listener that all its addresses lead to.
fn everything() -> ObjectKey {
    ObjectKey::new(Kind::Service, "", "all Services")
}

/// The port of the loopback address at which datagrams for a port of a Service are taken in.
fn turned_to(port: &EndpointPort, extra: &[ExtraAddress]) -> Option<u16> {
    let mut of_port = extra.iter().filter(|extra| (extra.service_port, extra.protocol) == (port.port, port.protocol));
    of_port.find(|extra| extra.address.ip() == Ipv4Addr::LOCALHOST).map(|extra| extra.address.port())
}
