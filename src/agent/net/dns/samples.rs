//! Sets for the tests of this room.

use crate::model::{
    Backend, EndpointPort, EndpointSet, Epoch, Incarnation, Kind, Member, NodeName, NodeNetwork, ObjectKey, PodUid, Protocol,
    TemplateHash,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) fn key(name: &str) -> ObjectKey {
    let (namespace, name) = name.split_once('/').expect("namespace/name");
    ObjectKey::new(Kind::Service, namespace, name)
}

pub(super) fn pod(counter: u64) -> PodUid {
    let incarnation = Incarnation { epoch: Epoch(1), counter };
    PodUid::derive("test", &ObjectKey::new(Kind::Deployment, "shop", "web"), 0, &TemplateHash::new("aa"), incarnation)
}

pub(super) fn port(name: &str, number: u16, protocol: Protocol) -> EndpointPort {
    EndpointPort { name: name.to_owned(), port: number, protocol, node_port: None, backends: Vec::new() }
}

/// A Service with an address of its own, and the ports 80 (`http`), 53 (`dns`, UDP) and 9000 (without a name).
pub(super) fn with_address(name: &str, address: &str) -> Arc<EndpointSet> {
    let ports = vec![port("http", 80, Protocol::Tcp), port("dns", 53, Protocol::Udp), port("", 9_000, Protocol::Tcp)];
    Arc::new(EndpointSet { address: Some(address.parse().expect("IPv4")), ports, ..EndpointSet::empty(key(name), 1) })
}

/// A headless Service with these members: `db-0=10.244.1.7`, or just the address. Its port `sql` leads to 5432 of each.
pub(super) fn headless(name: &str, members: &[&str]) -> Arc<EndpointSet> {
    let members: Vec<Member> = members.iter().zip(1..).map(|(text, counter)| member(text, counter)).collect();
    let backend = |member: &Member| Backend { pod: member.pod, node: member.node.clone(), address: member.address, port: 5_432 };
    let sql = EndpointPort { backends: members.iter().map(backend).collect(), ..port("sql", 80, Protocol::Tcp) };
    Arc::new(EndpointSet { ports: vec![sql], members, ..EndpointSet::empty(key(name), 1) })
}

fn member(text: &str, counter: u64) -> Member {
    let (hostname, address) = text.split_once('=').map_or((None, text), |(name, address)| (Some(name.to_owned()), address));
    let address: IpAddr = address.parse().expect("an address");
    Member { pod: pod(counter), node: NodeName::new("n1"), address, hostname }
}

pub(super) fn external(name: &str, target: &str) -> Arc<EndpointSet> {
    Arc::new(EndpointSet { external_name: Some(target.to_owned()), ..EndpointSet::empty(key(name), 1) })
}

pub(super) fn removed(set: &EndpointSet) -> Arc<EndpointSet> {
    Arc::new(EndpointSet { removed: true, version: set.version + 1, ..EndpointSet::empty(set.service.clone(), 1) })
}

pub(super) fn network(domain: &str) -> NodeNetwork {
    NodeNetwork {
        version: 1,
        pods: "10.244.1.0/24".parse().expect("a range"),
        cluster_pods: "10.244.0.0/16".parse().expect("a range"),
        services: "10.96.0.0/16".parse().expect("a range"),
        domain: domain.to_owned(),
        peers: BTreeMap::new(),
    }
}
