//! Services: where they lead, and at which addresses this host has them.

use super::agent::Agent;
use super::event::Effect;
use super::ledger::ServiceRecord;
use super::ports::{self, Ports};
use crate::agent::net::{ExtraAddress, Interception};
use crate::model::{EndpointPort, EndpointSet, IngressTable, NodeNetwork, ObjectKey, Protocol, object_uid};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use uuid::Uuid;

impl Agent {
    /// Takes in where a Service leads; versions only grow.
    pub(super) fn take_endpoints(&mut self, set: Arc<EndpointSet>) {
        let service = set.service.clone();
        match self.services.get_mut(&service) {
            Some(known) if known.set.version > set.version => return,
            Some(known) => {
                let before = known.set.address.filter(Ipv4Addr::is_loopback);
                if is_virtual(&set) {
                    known.former = before.or(known.former);
                }
                known.set = set;
            }
            None => {
                let record = ServiceRecord { set, gateway_ports: BTreeMap::new(), former: None };
                self.services.insert(service.clone(), record);
            }
        }
        self.ledger_dirty = true;
        self.publish(&service);
    }

    /// Takes in the network; versions only grow. It is acknowledged in any case.
    pub(super) fn take_network(&mut self, network: Arc<NodeNetwork>) {
        self.outbox.acknowledge = true;
        if self.network.as_ref().is_some_and(|known| known.version >= network.version) {
            return;
        }
        self.effects.push(Effect::Network(Arc::clone(&network)));
        self.network = Some(network);
        self.ledger_dirty = true;
        self.intercept();
    }

    /// Takes in what to serve to clients outside of the cluster; versions only grow. It is acknowledged in any case.
    pub(super) fn take_ingress(&mut self, table: Arc<IngressTable>) {
        self.outbox.acknowledge = true;
        if self.ingress_version() >= table.version {
            return;
        }
        self.effects.push(Effect::Ingress(Arc::clone(&table)));
        self.ingress = Some(table);
        self.lost_ingress = None;
        self.ledger_dirty = true;
    }

    /// Has the kernel turn what goes to addresses of the cluster to the proxy, once there is a network.
    pub(super) fn intercept(&mut self) {
        let Some(network) = self.network.clone() else { return };
        if self.proxy_port.is_none() {
            let seed = seed(&self.settings.cluster, Uuid::nil(), 0);
            self.proxy_port = ports::pick(&self.settings.ports, seed, &self.taken_ports());
            self.ledger_dirty = true;
        }
        // Where no port is left, none is left for pods either, and they say so.
        let Some(port) = self.proxy_port else { return };
        self.effects.push(Effect::Intercept(Interception { network, port, gateway: self.gateway() }));
    }

    /// The host's address on the network of its containers.
    fn gateway(&self) -> Option<IpAddr> {
        self.hosts.values().find_map(|host| host.gateway)
    }

    /// Hands a Service to the proxy, with the further addresses at which it is reached.
    pub(super) fn publish(&mut self, service: &ObjectKey) {
        let gateway = self.gateway();
        let mut taken = self.taken_ports();
        let Some(record) = self.services.get_mut(service) else { return };
        let mut extra = Vec::new();
        for port in record.set.ports.iter().filter(|_| !record.set.removed && record.set.address.is_some()) {
            let known = record.gateway_ports.get(&port.port).copied();
            let seed = seed(&self.settings.cluster, object_uid(service), port.port);
            let at = known.or_else(|| {
                needs_port(&record.set, port, gateway).then(|| ports::pick(&self.settings.ports, seed, &taken)).flatten()
            });
            if let Some(at) = at {
                taken.insert(at);
                self.ledger_dirty |= record.gateway_ports.insert(port.port, at).is_none();
            }
            extra.extend(further(&record.set, port, gateway, at));
            let former = record.former.map(|address| SocketAddr::from((address, port.port)));
            extra.extend(former.map(|address| ExtraAddress { service_port: port.port, protocol: port.protocol, address }));
        }
        let set = Arc::clone(&record.set);
        if set.removed {
            self.services.remove(service);
        }
        self.proxied.entry(service.clone()).or_default().hand(&set);
        self.effects.push(Effect::Endpoints { set, extra });
    }

    pub(super) fn endpoints_in_use(&mut self, service: ObjectKey, version: u64) {
        let proxied = self.proxied.entry(service.clone()).or_default();
        proxied.acknowledge(version);
        self.outbox.endpoints.insert(service, proxied.in_use());
    }

    /// Ports that are given out, that Services have on every node, or that are known to be another program's.
    pub(super) fn taken_ports(&self) -> Ports {
        let pods = self.pods.values().flat_map(|pod| pod.ports.values());
        let services = self.services.values().flat_map(|record| record.gateway_ports.values());
        let of_nodes =
            self.services.values().flat_map(|record| record.set.ports.iter().filter_map(|port| port.node_port.as_ref()));
        pods.chain(services).chain(of_nodes).chain(&self.proxy_port).chain(&self.foreign_ports).copied().collect()
    }
}

/// Whether the kernel has to lead to the address of a Service, since it never leaves the host otherwise.
pub(super) fn is_virtual(set: &EndpointSet) -> bool {
    set.address.is_some_and(|address| !address.is_loopback())
}

/// Whether a port of a Service needs one of the host's: for containers, which cannot reach the host's loopback; and for datagrams
/// that the kernel turns to the proxy, which do not say where they went to.
fn needs_port(set: &EndpointSet, port: &EndpointPort, gateway: Option<IpAddr>) -> bool {
    if is_virtual(set) { port.protocol == Protocol::Udp } else { gateway.is_some() }
}

/// Where else a port of a Service is listened for. Of one that is virtual the gateway's port goes on for the containers that were
/// started before it was.
fn further(set: &EndpointSet, port: &EndpointPort, gateway: Option<IpAddr>, at: Option<u16>) -> Vec<ExtraAddress> {
    let turned = is_virtual(set) && port.protocol == Protocol::Udp;
    let here = turned.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let address = |host: IpAddr| {
        let extra = |at| ExtraAddress { service_port: port.port, protocol: port.protocol, address: SocketAddr::new(host, at) };
        at.map(extra)
    };
    here.into_iter().chain(gateway).filter_map(address).collect()
}

/// Where to begin to look for a port: the same for the same pod or Service, and another one in another cluster.
pub(super) fn seed(cluster: &str, uid: Uuid, port: u16) -> u128 {
    let digest = blake3::hash(format!("{cluster}\n{uid}\n{port}").as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}
