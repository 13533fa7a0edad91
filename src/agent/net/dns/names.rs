//! The door to DNS: what the agent's shell holds.

use super::limits::Limits;
use super::link::link_of;
use super::listen::{Listening, NameProblems};
use super::server::Shared;
use super::upstream::{Resolvers, Upstream};
use crate::model::{EndpointSet, NodeNetwork};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What DNS is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesSettings {
    /// Where host processes ask: a loopback address.
    pub host: SocketAddr,
    /// Who is asked for names outside of the cluster.
    pub resolvers: Resolvers,
    /// What it holds back with.
    pub limits: NameLimits,
}

/// What DNS holds back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameLimits {
    /// Questions of one client that wait for other resolvers.
    pub client_waiting_max: usize,
    /// Such questions of all clients.
    pub waiting_max: usize,
    /// Connections of one client.
    pub client_connections_max: usize,
    /// Connections of all clients.
    pub connections_max: usize,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self { client_waiting_max: 256, waiting_max: 1_024, client_connections_max: 32, connections_max: 256 }
    }
}

/// The DNS of one node. Clones are handles of the same; it closes with the last one.
#[derive(Debug, Clone)]
pub struct Names {
    host: SocketAddr,
    pub(super) shared: Arc<Shared>,
    listening: Arc<Mutex<BTreeMap<SocketAddr, Listening>>>,
    problems: watch::Sender<NameProblems>,
}

impl Names {
    /// DNS that knows no name yet and listens nowhere.
    #[must_use]
    pub fn new(NamesSettings { host, resolvers, limits }: NamesSettings) -> Self {
        let waiting = Limits::new(limits.client_waiting_max, limits.waiting_max);
        let connections = Limits::new(limits.client_connections_max, limits.connections_max);
        let shared = Arc::new(Shared::new(Upstream::new(resolvers), waiting, connections));
        Self { host, shared, listening: Arc::default(), problems: watch::Sender::default() }
    }

    /// Answers host processes, and from now on containers at this address of the host, instead of the one before. Must be called
    /// within tokio; does not block.
    pub fn open(&self, gateway: Option<IpAddr>) {
        let wanted: BTreeSet<SocketAddr> =
            gateway.map(|gateway| SocketAddr::new(gateway, self.host.port())).into_iter().chain([self.host]).collect();
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if listening.keys().eq(&wanted) {
            return;
        }
        self.shared.upstream.set_own(wanted.clone());
        if let Some(IpAddr::V4(gateway)) = gateway {
            self.shared.bridge.store(link_of(gateway).map(Arc::new));
        }
        listening.retain(|address, _| wanted.contains(address));
        for address in wanted {
            let open = || Listening::open(address, Arc::clone(&self.shared), &self.problems);
            listening.entry(address).or_insert_with(open);
        }
    }

    /// Takes in the network that the nodes make together.
    pub fn take_network(&self, network: &NodeNetwork) {
        self.shared.pods.store(Some(Arc::new(network.pods)));
        if !self.shared.zone.write().unwrap_or_else(PoisonError::into_inner).take_network(network) {
            tracing::warn!(domain = network.domain, "the cluster's domain is no name; the one before is kept");
        }
    }

    /// Takes in where a Service leads. Sets of one Service come in order.
    pub fn take_set(&self, set: &Arc<EndpointSet>) {
        self.shared.zone.write().unwrap_or_else(PoisonError::into_inner).take_set(set);
    }

    /// The addresses on which nobody is answered, and a way to hear when that changes.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<NameProblems> {
        self.problems.subscribe()
    }
}
