//! The names of a cluster, pure: from the Services that the agent holds to records.
//!
//! The rules are Kubernetes': <https://github.com/kubernetes/dns/blob/master/docs/specification.md>, schema 1.1.0. What it leaves
//! open is done as CoreDNS does it. Names are compared without regard to case; what is answered spells the name as it was asked.

use crate::model::{Cidr, EndpointPort, EndpointSet, Member, NetworkSettings, NodeNetwork, PodUid, Protocol};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// How long anybody may remember an answer, in seconds, as in CoreDNS: a Service that moves is found again soon.
pub(super) const TTL: u32 = 5;

/// The schema that is followed, which `dns-version.<domain>` tells.
const SCHEMA: &str = "1.1.0";

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is not a name of the cluster.
    Foreign,
    /// These records.
    Records {
        /// What was asked for.
        answers: Vec<Record>,
        /// What helps to use it: the addresses of the targets of SRV records.
        additionals: Vec<Record>,
    },
    /// It stands for another name.
    Alias(Box<Alias>),
    /// It is there, and has no record of this type.
    NoData,
    /// It is not there.
    NoName,
}

/// A name that stands for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alias {
    /// What says so.
    pub(super) record: Record,
    /// The other name.
    pub(super) target: Name,
}

/// The names of a cluster as one node knows them.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    domain: Name,
    /// The ranges of pods and of Services: reverse names within them are the cluster's, known or not.
    ranges: Option<(Cidr, Cidr)>,
    /// By namespace, then by name.
    services: BTreeMap<String, BTreeMap<String, Arc<EndpointSet>>>,
    /// Namespace and name of the Services that have an address, as their own or as that of a member.
    by_address: BTreeMap<IpAddr, BTreeSet<(String, String)>>,
    /// Grows with every change.
    serial: u32,
}

impl Default for Zone {
    fn default() -> Self {
        let domain = fully_qualified(NetworkSettings::DOMAIN).unwrap_or_default();
        Self { domain, ranges: None, services: BTreeMap::new(), by_address: BTreeMap::new(), serial: 1 }
    }
}

impl Zone {
    /// Takes in the network that the nodes make together. False if its domain is no name, and the one before is kept.
    pub(super) fn take_network(&mut self, network: &NodeNetwork) -> bool {
        self.serial = self.serial.wrapping_add(1);
        self.ranges = Some((network.cluster_pods, network.services));
        let domain = fully_qualified(&network.domain).filter(|domain| !domain.is_root());
        let is_name = domain.is_some();
        self.domain = domain.unwrap_or_else(|| self.domain.clone());
        is_name
    }

    /// Takes in where a Service leads. Sets of one Service come in order.
    pub(super) fn take_set(&mut self, set: &Arc<EndpointSet>) {
        self.serial = self.serial.wrapping_add(1);
        let (namespace, name) = (&set.service.namespace, &set.service.name);
        let key = (namespace.clone(), name.clone());
        let known = self.services.entry(namespace.clone()).or_default();
        let before = if set.removed { known.remove(name) } else { known.insert(name.clone(), Arc::clone(set)) };
        if known.is_empty() {
            self.services.remove(namespace);
        }
        for address in before.iter().flat_map(|before| addresses(before)) {
            if let Some(keys) = self.by_address.get_mut(&address) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
        for address in addresses(set).filter(|_| !set.removed) {
            self.by_address.entry(address).or_default().insert(key.clone());
        }
    }

    /// What is known of a name. Of several records, each is the first in turn.
    pub(super) fn look_up(&self, name: &Name, kind: RecordType, turn: usize) -> Answer {
        if let Some(address) = address_of_reverse(name) {
            return self.look_up_address(name, address, kind);
        }
        if !self.domain.zone_of(name) {
            return Answer::Foreign;
        }
        let Some(labels) = self.labels_below(name) else { return Answer::NoName };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let asked = Asked { name, kind, turn };
        match labels.as_slice() {
            [] => asked.answer(vec![RData::SOA(self.soa())]),
            ["dns-version"] => asked.answer(vec![RData::TXT(TXT::new(vec![SCHEMA.to_owned()]))]),
            ["svc" | "pod"] | [_, "pod"] => Answer::NoData,
            [address, _, "pod"] => asked.answer(self.pod_address(address).into_iter().map(address_data).collect()),
            [namespace, "svc"] if self.services.contains_key(*namespace) => Answer::NoData,
            [service, namespace, "svc"] => self.with(namespace, service, |set| self.service(set, asked)),
            [label, service, namespace, "svc"] => self.with(namespace, service, |set| below_service(set, label, asked)),
            [port, protocol, service, namespace, "svc"] => {
                self.with(namespace, service, |set| self.port(set, port, protocol, asked))
            }
            _ => Answer::NoName,
        }
    }

    /// The record that says how long it may be remembered that a name is not there, or has no record of a type.
    pub(super) fn negative(&self, name: &Name) -> Record {
        // A reverse name is not below the domain, so it is a zone of its own.
        let apex = if self.domain.zone_of(name) { self.domain.clone() } else { name.clone() };
        Record::from_rdata(apex, TTL, RData::SOA(self.soa()))
    }

    fn soa(&self) -> SOA {
        let below = |label: &str| self.below(&[label]).unwrap_or_else(|| self.domain.clone());
        let (refresh, retry, expire) = (7_200, 1_800, 86_400);
        SOA::new(below("dns"), below("hostmaster"), self.serial, refresh, retry, expire, TTL)
    }

    /// The labels before the domain, in lower case; `None` if one of them is no text, and so nobody's.
    fn labels_below(&self, name: &Name) -> Option<Vec<String>> {
        let count = name.iter().count() - self.domain.iter().count();
        name.iter().take(count).map(|label| std::str::from_utf8(label).ok().map(str::to_ascii_lowercase)).collect()
    }

    fn below(&self, labels: &[&str]) -> Option<Name> {
        Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?.append_domain(&self.domain).ok()
    }

    fn name_of(&self, set: &EndpointSet) -> Option<Name> {
        self.below(&[&set.service.name, &set.service.namespace, "svc"])
    }

    fn name_of_member(&self, set: &EndpointSet, member: &Member) -> Option<Name> {
        self.below(&[&label_of(member), &set.service.name, &set.service.namespace, "svc"])
    }

    fn with(&self, namespace: &str, service: &str, answer: impl FnOnce(&EndpointSet) -> Answer) -> Answer {
        self.services.get(namespace).and_then(|services| services.get(service)).map_or(Answer::NoName, |set| answer(set))
    }

    fn service(&self, set: &EndpointSet, asked: Asked<'_>) -> Answer {
        match (&set.external_name, set.address) {
            (Some(target), _) => match fully_qualified(target) {
                Some(target) => {
                    let data = RData::CNAME(CNAME(target.clone()));
                    Answer::Alias(Box::new(Alias { record: Record::from_rdata(asked.name.clone(), TTL, data), target }))
                }
                None => Answer::NoData,
            },
            (None, Some(address)) => asked.answer(vec![address_data(address.into())]),
            (None, None) => asked.answer(distinct_addresses(set.members.iter())),
        }
    }

    /// `_http._tcp.web.shop.svc`
    fn port(&self, set: &EndpointSet, port: &str, protocol: &str, asked: Asked<'_>) -> Answer {
        let named = |known: &&EndpointPort| {
            !known.name.is_empty() && port.strip_prefix('_') == Some(&known.name) && label_of_protocol(known.protocol) == protocol
        };
        let Some(found) = set.ports.iter().find(named).filter(|_| set.external_name.is_none()) else { return Answer::NoName };
        let targets = self.targets(set, found);
        // As many as there are share the load evenly.
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(1).max(1);
        let data = targets.iter().map(|(name, number, _)| RData::SRV(SRV::new(0, weight, *number, name.clone()))).collect();
        let mut answer = asked.answer(data);
        if let Answer::Records { additionals, .. } = &mut answer {
            let of_target = |(name, _, address): (Name, u16, IpAddr)| Record::from_rdata(name, TTL, address_data(address));
            additionals.extend(targets.into_iter().map(of_target));
        }
        answer
    }

    /// Name, port and address of who serves a port: the Service itself, or each of its members.
    fn targets(&self, set: &EndpointSet, port: &EndpointPort) -> BTreeSet<(Name, u16, IpAddr)> {
        if let Some(address) = set.address {
            return self.name_of(set).map(|name| (name, port.port, address.into())).into_iter().collect();
        }
        let numbers: BTreeMap<PodUid, u16> = port.backends.iter().map(|backend| (backend.pod, backend.port)).collect();
        let target = |member: &Member| Some((self.name_of_member(set, member)?, *numbers.get(&member.pod)?, member.address));
        set.members.iter().filter_map(target).collect()
    }

    /// `10-244-1-7` of `10-244-1-7.shop.pod`, as long as it can be a pod's. Kubernetes has it of any address and namespace as well.
    fn pod_address(&self, label: &str) -> Option<IpAddr> {
        let address: Ipv4Addr = label.replace('-', ".").parse().ok()?;
        self.ranges.filter(|(pods, _)| pods.contains(address)).map(|_| address.into())
    }

    fn look_up_address(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        let names = self.names_of_address(address);
        if !names.is_empty() {
            let data = names.into_iter().map(|name| RData::PTR(PTR(name))).collect();
            return Asked { name, kind, turn: 0 }.answer(data);
        }
        let is_ours =
            |address: Ipv4Addr| self.ranges.is_some_and(|(pods, services)| pods.contains(address) || services.contains(address));
        match address {
            IpAddr::V4(address) if is_ours(address) => Answer::NoName,
            IpAddr::V4(_) | IpAddr::V6(_) => Answer::Foreign,
        }
    }

    fn names_of_address(&self, address: IpAddr) -> BTreeSet<Name> {
        let keys = self.by_address.get(&address).into_iter().flatten();
        let sets = keys.filter_map(|(namespace, name)| self.services.get(namespace)?.get(name));
        let names = sets.flat_map(|set| {
            let own = set.address.filter(|own| IpAddr::V4(*own) == address).and_then(|_| self.name_of(set));
            let members = set.members.iter().filter(move |member| member.address == address);
            own.into_iter().chain(members.filter_map(|member| self.name_of_member(set, member)))
        });
        names.collect()
    }
}

/// One question about one name.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    name: &'a Name,
    kind: RecordType,
    turn: usize,
}

impl Asked<'_> {
    /// From all records of the name to the answer.
    fn answer(self, mut data: Vec<RData>) -> Answer {
        if data.is_empty() {
            return Answer::NoName;
        }
        data.retain(|data| data.record_type() == self.kind);
        if data.is_empty() {
            return Answer::NoData;
        }
        let first = self.turn % data.len();
        data.rotate_left(first);
        let answers = data.into_iter().map(|data| Record::from_rdata(self.name.clone(), TTL, data)).collect();
        Answer::Records { answers, additionals: Vec::new() }
    }
}

/// `db-0.db.shop.svc`, and `_tcp.web.shop.svc`, which is there because something below it is.
fn below_service(set: &EndpointSet, label: &str, asked: Asked<'_>) -> Answer {
    let is_named = |port: &EndpointPort| !port.name.is_empty() && label_of_protocol(port.protocol) == label;
    let is_served = set.address.is_some() || !set.members.is_empty();
    if is_served && set.ports.iter().any(is_named) {
        return Answer::NoData;
    }
    asked.answer(distinct_addresses(set.members.iter().filter(|member| label_of(member) == label)))
}

/// The addresses by which a Service is found in reverse. Those of the host's own loopback are everybody's.
fn addresses(set: &EndpointSet) -> impl Iterator<Item = IpAddr> + '_ {
    let members = set.members.iter().map(|member| member.address).filter(|address| !address.is_loopback());
    set.address.map(IpAddr::V4).into_iter().chain(members)
}

fn distinct_addresses<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<RData> {
    let addresses: BTreeSet<IpAddr> = members.map(|member| member.address).collect();
    addresses.into_iter().map(address_data).collect()
}

/// The host name of a member, in lower case, else its address with dashes: a name by which SRV records tell members apart.
fn label_of(member: &Member) -> String {
    match &member.hostname {
        Some(hostname) => hostname.to_ascii_lowercase(),
        None => member.address.to_string().replace(['.', ':'], "-"),
    }
}

fn label_of_protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "_tcp",
        Protocol::Udp => "_udp",
    }
}

fn address_data(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

fn fully_qualified(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The address whose reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5) this is.
fn address_of_reverse(name: &Name) -> Option<IpAddr> {
    let range = name.parse_arpa_name().ok()?;
    (range.prefix_len() == range.max_prefix_len()).then(|| range.addr())
}

#[cfg(test)]
mod tests;
