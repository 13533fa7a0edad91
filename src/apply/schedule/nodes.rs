//! What every node has, and what is promised of it.

use super::groups::Groups;
use super::request::{HostPort, Namespaces, Request};
use super::streak::Streak;
use crate::model::{Allows, Amounts, NodeFacts, NodeName, NodeSpec, ObjectKey, RuntimeKind, Taint};
use std::collections::{BTreeMap, BTreeSet};

/// How full a node is: the larger share of cpu and memory in millionths, then the number of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Load {
    share: u64,
    pods: u32,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// What its agent and git say; absent while it is only remembered.
    pub(super) offer: Option<Offer>,
    pub(super) ready: bool,
    pub(super) used: Amounts,
    pods: u32,
    /// Published ports, and by how many pods: two may overlap while a replaced pod is on its way out.
    ports: BTreeMap<HostPort, u32>,
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) allocatable: Amounts,
    pub(super) runtimes: BTreeSet<RuntimeKind>,
    /// With which of them pods can have a lease.
    pub(super) leases: BTreeSet<RuntimeKind>,
    /// What its host lets pods do.
    pub(super) allows: Allows,
    /// Its cordon and its taints.
    pub(super) marks: NodeSpec,
}

/// Every node, with what is reserved on it and the indexes that [`super::place`] asks.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    nodes: BTreeMap<NodeName, Node>,
    by_load: BTreeSet<(Load, NodeName)>,
    by_label: BTreeMap<String, BTreeMap<String, BTreeSet<NodeName>>>,
    pub(super) groups: Groups,
    pub(super) namespaces: Namespaces,
    /// Nodes with a taint that asks pods to stay away if they can.
    deterring: BTreeSet<NodeName>,
    pub(super) streak: Streak,
}

/// Where to look for a node.
pub(super) enum Candidates<'a> {
    /// At these; all others are out of the question.
    Few(Vec<&'a NodeName>),
    /// At all, the least loaded first.
    Many,
}

impl Nodes {
    /// Adds a node, or takes over what its agent and git say now. A node that is not ready takes no pods and keeps its reservations.
    pub fn set(&mut self, facts: &NodeFacts, marks: &NodeSpec, ready: bool) {
        self.streak = Streak::default();
        let offer = Offer {
            labels: facts.labels.clone(),
            allocatable: facts.allocatable,
            runtimes: facts.runtimes.clone(),
            leases: facts.leases.clone(),
            allows: facts.allows.clone(),
            marks: marks.clone(),
        };
        let old = self.nodes.get(&facts.name).and_then(|node| node.offer.clone());
        if old.as_ref().map(|old| &old.labels) != Some(&offer.labels) {
            self.relabel(&facts.name, old.map(|old| old.labels).unwrap_or_default(), &offer.labels);
        }
        if marks.taints.iter().any(|taint| taint.effect == Taint::PREFER_NO_SCHEDULE) {
            self.deterring.insert(facts.name.clone());
        } else {
            self.deterring.remove(&facts.name);
        }
        self.change(&facts.name, |node| {
            node.offer = Some(offer);
            node.ready = ready;
        });
    }

    /// Says whether a node may take pods. A node that is not known yet is remembered.
    pub fn set_ready(&mut self, name: &NodeName, ready: bool) {
        self.streak = Streak::default();
        self.change(name, |node| node.ready = ready);
    }

    /// Says which namespaces there are, for rules that choose them by their labels.
    pub fn set_namespaces(&mut self, namespaces: Namespaces) {
        if self.namespaces != namespaces {
            self.streak = Streak::default();
            self.namespaces = namespaces;
        }
    }

    /// Forgets a node and its reservations.
    pub fn remove(&mut self, name: &NodeName) {
        self.streak = Streak::default();
        let Some(node) = self.nodes.remove(name) else { return };
        self.by_load.remove(&(node.load(), name.clone()));
        self.relabel(name, node.offer.map(|offer| offer.labels).unwrap_or_default(), &BTreeMap::new());
        self.deterring.remove(name);
        self.groups.clear(name);
    }

    /// Counts a pod on a node, whether or not it fits.
    pub fn reserve(&mut self, name: &NodeName, request: &Request) {
        let before = self.standing(name);
        self.change(name, |node| node.promise(request));
        self.groups.add(name, request);
        self.follow(name, request, 1, before);
    }

    /// Undoes one [`Nodes::reserve`] with the same arguments.
    pub fn release(&mut self, name: &NodeName, request: &Request) {
        let before = self.standing(name);
        if self.groups.take(name, request) {
            self.change(name, |node| node.take_back(request));
            self.follow(name, request, -1, before);
        }
    }

    /// How many pods of a workload are reserved on a node.
    #[must_use]
    pub fn count(&self, workload: &ObjectKey, name: &NodeName) -> u32 {
        self.groups.count(workload, name)
    }

    /// The names of all nodes, known or remembered.
    pub fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn get(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub(super) fn by_load(&self) -> impl Iterator<Item = &NodeName> {
        self.by_load.iter().map(|(_, name)| name)
    }

    pub(super) fn load(&self, name: &NodeName) -> Load {
        self.nodes.get(name).map(Node::load).unwrap_or_default()
    }

    /// True if some node asks pods to stay away if they can.
    pub(super) fn deters(&self) -> bool {
        !self.deterring.is_empty()
    }

    /// True if no two nodes have the same value of a label.
    pub(super) fn is_narrow(&self, key: &str) -> bool {
        self.by_label.get(key).is_none_or(|values| values.values().all(|names| names.len() == 1))
    }

    /// The numbers of pods of a workload that nodes have, ascending.
    pub(super) fn levels(&self, workload: &ObjectKey) -> Vec<u32> {
        let group = self.groups.get(workload);
        let used = group.map_or(0, |group| group.nodes());
        let zero = (used < self.nodes.len()).then_some(0);
        zero.into_iter().chain(group.into_iter().flat_map(|group| group.levels())).collect()
    }

    /// Where to look for a node with `level` pods of the workload.
    pub(super) fn candidates(&self, request: &Request, level: u32, few: usize) -> Candidates<'_> {
        if let Some(pinned) = &request.pinned {
            return Candidates::Few(self.nodes.get_key_value(pinned).map(|(name, _)| name).into_iter().collect());
        }
        let labelled = request.node_selector.iter().map(|(key, value)| self.by_label.get(key)?.get(value));
        let mut smallest: Option<&BTreeSet<NodeName>> = None;
        for names in labelled {
            let Some(names) = names else { return Candidates::Few(Vec::new()) };
            smallest = smallest.filter(|known| known.len() <= names.len()).or(Some(names));
        }
        if let Some(names) = self.groups.get(&request.workload).and_then(|group| group.at(level)) {
            smallest = smallest.filter(|known| known.len() <= names.len()).or(Some(names));
        }
        match smallest {
            Some(names) if names.len() <= few => Candidates::Few(names.iter().collect()),
            Some(_) | None => Candidates::Many,
        }
    }

    /// Changes a node and keeps the index by load true.
    fn change(&mut self, name: &NodeName, act: impl FnOnce(&mut Node)) {
        if !self.nodes.contains_key(name) {
            self.nodes.insert(name.clone(), Node::default());
            self.by_load.insert((Load::default(), name.clone()));
        }
        let Some(node) = self.nodes.get_mut(name) else { return };
        let before = node.load();
        act(node);
        let after = node.load();
        if before != after
            && let Some((_, name)) = self.by_load.take(&(before, name.clone()))
        {
            self.by_load.insert((after, name));
        }
    }

    fn relabel(&mut self, name: &NodeName, old: BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        for (key, value) in old {
            let Some(values) = self.by_label.get_mut(&key) else { continue };
            if let Some(names) = values.get_mut(&value) {
                names.remove(name);
                if names.is_empty() {
                    values.remove(&value);
                }
            }
            if values.is_empty() {
                self.by_label.remove(&key);
            }
        }
        for (key, value) in new {
            let names = self.by_label.entry(key.clone()).or_default().entry(value.clone()).or_default();
            names.insert(name.clone());
        }
    }
}

impl Node {
    /// What pods may still request.
    pub(super) fn free(&self) -> Amounts {
        let allocatable = self.offer.as_ref().map(|offer| offer.allocatable).unwrap_or_default();
        Amounts {
            cpu_milli: allocatable.cpu_milli.saturating_sub(self.used.cpu_milli),
            memory_bytes: allocatable.memory_bytes.saturating_sub(self.used.memory_bytes),
        }
    }

    /// Whether a pod publishes a port of the host, or one that gets in its way.
    pub(super) fn publishes(&self, port: &HostPort) -> bool {
        let (first, last) = (HostPort { address: None, ..*port }, HostPort { address: Some([255; 16].into()), ..*port });
        self.ports.range(first..=last).any(|(taken, _)| taken.conflicts(port))
    }

    fn promise(&mut self, request: &Request) {
        self.used.cpu_milli = self.used.cpu_milli.saturating_add(request.amounts.cpu_milli);
        self.used.memory_bytes = self.used.memory_bytes.saturating_add(request.amounts.memory_bytes);
        self.pods = self.pods.saturating_add(1);
        for port in &request.host_ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    fn take_back(&mut self, request: &Request) {
        self.used.cpu_milli = self.used.cpu_milli.saturating_sub(request.amounts.cpu_milli);
        self.used.memory_bytes = self.used.memory_bytes.saturating_sub(request.amounts.memory_bytes);
        self.pods = self.pods.saturating_sub(1);
        for port in &request.host_ports {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports.remove(port);
                }
            }
        }
    }

    fn load(&self) -> Load {
        let allocatable = self.offer.as_ref().map(|offer| offer.allocatable).unwrap_or_default();
        let cpu = share(self.used.cpu_milli, allocatable.cpu_milli);
        let memory = share(self.used.memory_bytes, allocatable.memory_bytes);
        Load { share: cpu.max(memory), pods: self.pods }
    }
}

/// `used` of `total`, in millionths.
fn share(used: u64, total: u64) -> u64 {
    let millionths = u128::from(used) * 1_000_000 / u128::from(total.max(1));
    u64::try_from(millionths).unwrap_or(u64::MAX)
}
