//! All Services of this node.

use super::listen::Listening;
use super::pool::Pool;
use super::problem::{Listener, Problems};
use crate::model::{EndpointPort, EndpointSet, ObjectKey, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// What the proxy holds back with. Per listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections, or senders of UDP. Further connections wait in the kernel's queue; further senders are dropped.
    pub connections_max: usize,
    /// After so long without a datagram either way, a UDP sender is forgotten.
    pub udp_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections_max: 4096, udp_idle: Duration::from_secs(60) }
    }
}

/// An address beside the Service's own at which one of its ports is reached: for containers, which cannot reach the host's
/// loopback, the gateway of our bridge network at a port from the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtraAddress {
    /// The port of the Service.
    pub service_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where to listen for it.
    pub address: SocketAddr,
}

/// The proxy of one node. Clones are handles of the same proxy; it closes with the last one.
#[derive(Debug, Clone)]
pub struct Proxy {
    limits: Limits,
    services: Arc<Mutex<BTreeMap<ObjectKey, Service>>>,
    problems: watch::Sender<Problems>,
}

/// One Service that is served.
#[derive(Debug, Default)]
struct Service {
    version: u64,
    ports: BTreeMap<(u16, Protocol), Port>,
}

#[derive(Debug, Default)]
struct Port {
    pool: Arc<Pool>,
    listeners: BTreeMap<SocketAddr, Listening>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Proxy {
    /// A proxy that serves nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, services: Arc::default(), problems: watch::Sender::default() }
    }

    /// Brings a new endpoint set into use, and returns the version that is in use afterwards: that of `set`, unless a newer one
    /// came before. On return, no new connection goes to a backend outside of it. `extra` is the whole list of further
    /// addresses of this Service. Must be called within tokio; does not block.
    pub fn apply(&self, set: &EndpointSet, extra: &[ExtraAddress]) -> u64 {
        let mut services = self.lock();
        let service = services.entry(set.service.clone()).or_default();
        if set.version < service.version {
            return service.version;
        }
        service.version = set.version;
        let wanted: &[EndpointPort] = if set.removed { &[] } else { &set.ports };
        // First where connections lead, then which ports are open.
        for port in wanted {
            service.ports.entry((port.port, port.protocol)).or_default().pool.replace(&port.backends);
        }
        let kept: BTreeSet<_> = wanted.iter().map(|port| (port.port, port.protocol)).collect();
        service.ports.retain(|key, port| {
            let keep = kept.contains(key);
            if !keep {
                // Connects under way must not end up at a backend that is no longer named.
                port.pool.replace(&[]);
            }
            keep
        });
        for (key, port) in &mut service.ports {
            self.open_listeners(&set.service, port, key.1, &addresses(set, *key, extra));
        }
        set.version
    }

    /// The version in use of every Service, gone ones included, for the hello.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<ObjectKey, u64> {
        self.lock().iter().map(|(key, service)| (key.clone(), service.version)).collect()
    }

    /// The listeners that are not open, and a way to hear when that changes.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Problems> {
        self.problems.subscribe()
    }

    fn open_listeners(&self, service: &ObjectKey, port: &mut Port, protocol: Protocol, wanted: &BTreeSet<SocketAddr>) {
        port.listeners.retain(|address, _| wanted.contains(address));
        for address in wanted {
            port.listeners.entry(*address).or_insert_with(|| {
                let listener = Listener { service: service.clone(), address: *address, protocol };
                Listening::open(listener, Arc::clone(&port.pool), self.limits, &self.problems)
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Service>> {
        // Every state in between is whole enough to go on from, so that a panic elsewhere does not end the proxy.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a port of the Service is listened on.
fn addresses(set: &EndpointSet, (port, protocol): (u16, Protocol), extra: &[ExtraAddress]) -> BTreeSet<SocketAddr> {
    let own = set.address.map(|address| SocketAddr::new(IpAddr::V4(address), port));
    let further =
        extra.iter().filter(|extra| (extra.service_port, extra.protocol) == (port, protocol)).map(|extra| extra.address);
    own.into_iter().chain(further).collect()
}
