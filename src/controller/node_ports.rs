//! The ports of every node that Services have.

use crate::model::{CurrentNodePort, NODE_PORTS, ObjectKey, Protocol, ServiceSpec};
use std::collections::BTreeMap;

/// So many ports at the beginning of the range are left to those who write one:
/// <https://kubernetes.io/blog/2023/05/11/nodeport-dynamic-and-static-allocation/>.
const WRITTEN: u16 = 86;

/// The port of a Service.
type Of = (u16, Protocol);

/// Who has which port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct NodePorts {
    of: BTreeMap<ObjectKey, BTreeMap<Of, u16>>,
    owners: BTreeMap<(u16, Protocol), (ObjectKey, u16)>,
}

impl NodePorts {
    /// The ports of nodes that a Service has, by its own.
    pub(super) fn get(&self, key: &ObjectKey) -> BTreeMap<Of, u16> {
        self.of.get(key).cloned().unwrap_or_default()
    }

    /// What the memory keeps.
    pub(super) fn current(&self, key: &ObjectKey) -> Vec<CurrentNodePort> {
        let port = |((port, protocol), node_port): (&Of, &u16)| CurrentNodePort {
            port: *port,
            protocol: *protocol,
            node_port: *node_port,
        };
        self.of.get(key).into_iter().flatten().map(port).collect()
    }

    /// Takes ports over from the memory.
    pub(super) fn restore(&mut self, key: &ObjectKey, ports: &[CurrentNodePort]) {
        for port in ports.iter().filter(|port| NODE_PORTS.contains(&port.node_port)) {
            if !self.owners.contains_key(&(port.node_port, port.protocol)) {
                self.put(key, (port.port, port.protocol), port.node_port);
            }
        }
    }

    /// Gives a Service the ports that it writes and those that it does not, and takes back what it wants no more. Returns the Services
    /// that had one of them and need another: what is written counts.
    pub(super) fn give(&mut self, cluster: &str, key: &ObjectKey, spec: &ServiceSpec) -> Vec<ObjectKey> {
        let is_external = spec.kind.is_external();
        let wanted = spec.ports.iter().filter(|port| is_external && (port.node_port.is_some() || spec.allots_node_ports()));
        let wanted: BTreeMap<Of, Option<u16>> = wanted.map(|port| ((port.port, port.protocol), port.node_port)).collect();
        for (of, number) in self.get(key) {
            let stays = wanted.get(&of).is_some_and(|written| written.is_none_or(|written| written == number));
            if !stays {
                self.take_back(key, of);
            }
        }
        let mut displaced = Vec::new();
        for (of, number) in wanted.iter().filter_map(|(of, written)| Some((*of, (*written)?))) {
            let owner = self.owners.get(&(number, of.1)).filter(|(owner, port)| (owner, *port) != (key, of.0)).cloned();
            if let Some((owner, port)) = owner {
                self.take_back(&owner, (port, of.1));
                displaced.push(owner);
            }
            self.put(key, of, number);
        }
        for of in wanted.keys() {
            if !self.of.get(key).is_some_and(|ports| ports.contains_key(of)) {
                self.allot(cluster, key, *of);
            }
        }
        displaced
    }

    /// By name, so that it is the same after a lost memory, or the next free one; those left to be written come last.
    fn allot(&mut self, cluster: &str, key: &ObjectKey, of: Of) {
        let digest = blake3::hash(format!("{cluster}\n{}\n{}", key.short(), of.0).as_bytes());
        let [a, b, ..] = *digest.as_bytes();
        let first = NODE_PORTS.start() + WRITTEN;
        let start = first + u16::from_be_bytes([a, b]) % (NODE_PORTS.end() - first + 1);
        let mut probes = (start..=*NODE_PORTS.end()).chain(first..start).chain(*NODE_PORTS.start()..first);
        if let Some(number) = probes.find(|number| !self.owners.contains_key(&(*number, of.1))) {
            self.put(key, of, number);
        }
    }

    fn put(&mut self, key: &ObjectKey, of: Of, number: u16) {
        self.owners.insert((number, of.1), (key.clone(), of.0));
        self.of.entry(key.clone()).or_default().insert(of, number);
    }

    fn take_back(&mut self, key: &ObjectKey, of: Of) {
        let Some(ports) = self.of.get_mut(key) else { return };
        if let Some(number) = ports.remove(&of) {
            self.owners.remove(&(number, of.1));
        }
        if ports.is_empty() {
            self.of.remove(key);
        }
    }

    pub(super) fn free(&mut self, key: &ObjectKey) {
        for of in self.get(key).into_keys() {
            self.take_back(key, of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, ServiceKind, ServicePort};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Service, "shop", name)
    }

    /// A Service with these ports, and the node ports that it writes.
    fn spec(kind: ServiceKind, ports: &[(u16, Option<u16>)]) -> ServiceSpec {
        let port =
            |(port, node_port): &(u16, Option<u16>)| ServicePort { port: *port, node_port: *node_port, ..ServicePort::default() };
        ServiceSpec { kind, ports: ports.iter().map(port).collect(), ..ServiceSpec::default() }
    }

    fn given(ports: &NodePorts, name: &str) -> Vec<u16> {
        ports.get(&key(name)).into_values().collect()
    }

    #[test]
    fn a_port_is_kept_for_as_long_as_it_is_wanted() {
        let mut ports = NodePorts::default();
        let node_port = |wanted: &[(u16, Option<u16>)]| spec(ServiceKind::NodePort, wanted);
        ports.give("test", &key("a"), &node_port(&[(80, None), (443, Some(30_443))]));
        let before = given(&ports, "a");
        assert!(before[0] >= 30_086 && before[1] == 30_443, "{before:?}");
        let mut restored = NodePorts::default();
        restored.restore(&key("a"), &ports.current(&key("a")));
        assert_eq!(restored, ports);
        ports.give("test", &key("a"), &node_port(&[(80, None)]));
        assert_eq!(given(&ports, "a"), before[..1]);
        ports.give("test", &key("a"), &spec(ServiceKind::ClusterIP, &[(80, None)]));
        assert_eq!(ports, NodePorts::default());
    }

    #[test]
    fn a_written_port_is_taken_from_whoever_was_allotted_it() {
        let mut ports = NodePorts::default();
        ports.give("test", &key("a"), &spec(ServiceKind::NodePort, &[(80, None)]));
        let contested = given(&ports, "a")[0];
        let displaced = ports.give("test", &key("b"), &spec(ServiceKind::NodePort, &[(80, Some(contested))]));
        assert_eq!((displaced, given(&ports, "a"), given(&ports, "b")), (vec![key("a")], vec![], vec![contested]));
        ports.give("test", &key("a"), &spec(ServiceKind::NodePort, &[(80, None)]));
        assert!(given(&ports, "a")[0] != contested);
    }

    #[test]
    fn a_load_balancer_may_do_without() {
        let mut ports = NodePorts::default();
        let without =
            ServiceSpec { allocate_load_balancer_node_ports: Some(false), ..spec(ServiceKind::LoadBalancer, &[(80, None)]) };
        ports.give("test", &key("a"), &without);
        assert!(given(&ports, "a").is_empty());
        ports.give("test", &key("a"), &spec(ServiceKind::LoadBalancer, &[(80, None)]));
        assert_eq!(given(&ports, "a").len(), 1);
    }
}
