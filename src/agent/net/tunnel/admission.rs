//! Who may be dialled from other nodes: what the Services of the cluster lead to on this one. Pure.

use super::refusal::Refusal;
use crate::agent::net::reach::Target;
use crate::model::{EndpointSet, Moment, NodeName, ObjectKey, PodUid, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// So long after a pod has left its last set it is still accepted. A peer that has not heard of it yet is lost to the controller after
/// 10 s, and what it dialled then is on its way; whether the pod still runs is the controller's business.
pub(super) const DRAIN: Duration = Duration::from_secs(15);

/// A port of a pod.
type Door = (PodUid, u16, Protocol);

/// The ports of this node's pods that Services lead to.
#[derive(Debug)]
pub(super) struct Admission {
    node: NodeName,
    doors: BTreeMap<Door, Behind>,
    /// The doors of each Service, and the version of the set that says so.
    services: BTreeMap<ObjectKey, (u64, BTreeSet<Door>)>,
}

/// What is behind a door.
#[derive(Debug)]
struct Behind {
    address: IpAddr,
    /// Those who name it.
    services: BTreeSet<ObjectKey>,
    /// Nobody names it any more, and then it closes.
    closes: Option<Moment>,
}

impl Admission {
    /// Nobody may be dialled yet.
    pub(super) fn new(node: NodeName) -> Self {
        Self { node, doors: BTreeMap::new(), services: BTreeMap::new() }
    }

    /// Brings a set into force. An older one than that in force is not.
    pub(super) fn apply(&mut self, set: &EndpointSet, now: Moment) {
        let before = match self.services.get(&set.service) {
            Some((version, _)) if *version > set.version => return,
            Some((_, doors)) => doors.clone(),
            None => BTreeSet::new(),
        };
        let mut named = BTreeSet::new();
        let ports = set.ports.iter().filter(|_| !set.removed);
        for (port, backend) in ports.flat_map(|port| port.backends.iter().map(move |backend| (port, backend))) {
            if backend.node == self.node {
                let door = (backend.pod, backend.port, port.protocol);
                self.open(door, backend.address, &set.service);
                named.insert(door);
            }
        }
        for door in before.difference(&named) {
            self.leave(door, &set.service, now);
        }
        self.services.insert(set.service.clone(), (set.version, named));
        self.doors.retain(|_, behind| behind.closes.is_none_or(|closes| now < closes));
    }

    /// Where a stream to `target` leads.
    ///
    /// # Errors
    /// It leads nowhere.
    pub(super) fn admit(&self, target: &Target, now: Moment) -> Result<SocketAddr, Refusal> {
        let behind = self.doors.get(&(target.pod, target.port, target.protocol)).filter(|_| target.node == self.node);
        let open = behind.filter(|behind| behind.closes.is_none_or(|closes| now < closes));
        open.map(|behind| SocketAddr::new(behind.address, target.port)).ok_or(Refusal::NotAnEndpoint)
    }

    fn open(&mut self, door: Door, address: IpAddr, service: &ObjectKey) {
        let behind = self.doors.entry(door).or_insert_with(|| Behind { address, services: BTreeSet::new(), closes: None });
        // Of two sets that differ the later one knows better: the pod has been given another address.
        behind.address = address;
        behind.closes = None;
        behind.services.insert(service.clone());
    }

    fn leave(&mut self, door: &Door, service: &ObjectKey, now: Moment) {
        let Some(behind) = self.doors.get_mut(door) else { return };
        behind.services.remove(service);
        if behind.services.is_empty() {
            behind.closes = Some(now + DRAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Backend, EndpointPort, Kind};
    use uuid::Uuid;

    const NOON: Moment = Moment(1_000_000);

    fn pod(number: u128) -> PodUid {
        PodUid(Uuid::from_u128(number))
    }

    fn service(name: &str) -> ObjectKey {
        ObjectKey::new(Kind::Service, "shop", name)
    }

    /// A set of Service `name` that leads to port 80 of each (pod, node).
    fn set(name: &str, version: u64, backends: &[(u128, &str)]) -> EndpointSet {
        let backends = backends.iter().map(|(number, node)| Backend {
            pod: pod(*number),
            node: NodeName::new(*node),
            address: [10, 244, 1, 9].into(),
            port: 80,
        });
        let port = EndpointPort {
            name: String::new(),
            port: 8080,
            protocol: Protocol::Tcp,
            node_port: None,
            backends: backends.collect(),
        };
        EndpointSet { ports: vec![port], ..EndpointSet::empty(service(name), version) }
    }

    fn target(number: u128, port: u16, protocol: Protocol) -> Target {
        Target { node: NodeName::new("n1"), pod: pod(number), port, protocol }
    }

    /// After these sets, told one second after the other, whether port 80 of pod 1 may be dialled so long after the last.
    fn check(sets: &[EndpointSet], after: Duration, expected: Result<(), Refusal>) {
        let mut admission = Admission::new(NodeName::new("n1"));
        let mut now = NOON;
        for set in sets {
            now = now + Duration::from_secs(1);
            admission.apply(set, now);
        }
        let address = SocketAddr::from(([10, 244, 1, 9], 80));
        assert_eq!(admission.admit(&target(1, 80, Protocol::Tcp), now + after), expected.map(|()| address), "after {sets:?}");
    }

    #[test]
    fn only_a_port_that_a_service_leads_to_on_this_node_may_be_dialled() {
        let refused = Err(Refusal::NotAnEndpoint);
        check(&[], Duration::ZERO, refused);
        check(&[set("web", 1, &[(1, "n1")])], Duration::ZERO, Ok(()));
        check(&[set("web", 1, &[(1, "n2")])], Duration::ZERO, refused);
        check(&[set("web", 1, &[(2, "n1")])], Duration::ZERO, refused);
    }

    #[test]
    fn another_port_protocol_or_node_is_another_door() {
        let mut admission = Admission::new(NodeName::new("n1"));
        admission.apply(&set("web", 1, &[(1, "n1")]), NOON);
        for (port, protocol) in [(8080, Protocol::Tcp), (80, Protocol::Udp)] {
            assert_eq!(admission.admit(&target(1, port, protocol), NOON), Err(Refusal::NotAnEndpoint));
        }
        let elsewhere = Target { node: NodeName::new("n2"), ..target(1, 80, Protocol::Tcp) };
        assert_eq!(admission.admit(&elsewhere, NOON), Err(Refusal::NotAnEndpoint));
    }

    #[test]
    fn a_pod_that_left_is_accepted_for_the_drain_time_and_no_longer() {
        let left = [set("web", 1, &[(1, "n1")]), set("web", 2, &[])];
        check(&left, DRAIN - Duration::from_millis(1), Ok(()));
        check(&left, DRAIN, Err(Refusal::NotAnEndpoint));
        let removed = EndpointSet { removed: true, ..set("web", 2, &[(1, "n1")]) };
        check(&[set("web", 1, &[(1, "n1")]), removed.clone()], Duration::ZERO, Ok(()));
        check(&[set("web", 1, &[(1, "n1")]), removed], DRAIN, Err(Refusal::NotAnEndpoint));
    }

    #[test]
    fn a_pod_of_two_services_stays_while_one_of_them_leads_to_it() {
        let one_left = [set("web", 1, &[(1, "n1")]), set("all", 1, &[(1, "n1")]), set("web", 2, &[])];
        check(&one_left, DRAIN * 2, Ok(()));
    }

    #[test]
    fn a_pod_that_came_back_stays() {
        check(&[set("web", 1, &[(1, "n1")]), set("web", 2, &[]), set("web", 3, &[(1, "n1")])], DRAIN * 2, Ok(()));
    }

    #[test]
    fn an_older_set_changes_nothing() {
        check(&[set("web", 2, &[(1, "n1")]), set("web", 1, &[])], DRAIN * 2, Ok(()));
    }

    #[test]
    fn what_left_long_ago_is_forgotten() {
        let mut admission = Admission::new(NodeName::new("n1"));
        admission.apply(&set("web", 1, &[(1, "n1")]), NOON);
        admission.apply(&set("web", 2, &[]), NOON);
        admission.apply(&set("web", 3, &[]), NOON + DRAIN);
        assert!(admission.doors.is_empty());
    }
}
