//! What every node has, and what is promised of it.

use super::filter;
use crate::model::{Allows, Amounts, Grant, NodeFacts, NodeName, ObjectKey, PodSpec, Protocol, RuntimeKind};
use std::collections::{BTreeMap, BTreeSet};

/// What a pod asks of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The workload that it belongs to, whose pods are spread.
    pub workload: ObjectKey,
    /// The sum of its containers' requests.
    pub amounts: Amounts,
    /// The runtime that it needs.
    pub runtime: RuntimeKind,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Ports that it publishes on the host.
    pub host_ports: BTreeSet<(u16, Protocol)>,
    /// What the host must allow.
    pub needs: BTreeSet<Grant>,
}

impl Request {
    /// What a pod of this template asks.
    #[must_use]
    pub fn of(workload: &ObjectKey, spec: &PodSpec) -> Self {
        let ports = spec.containers.iter().flat_map(|container| &container.ports);
        Self {
            workload: workload.clone(),
            amounts: spec.requests(),
            runtime: if spec.is_process() { RuntimeKind::Process } else { RuntimeKind::Docker },
            node_selector: spec.node_selector.clone(),
            host_ports: ports.filter_map(|port| Some((port.host_port?, port.protocol))).collect(),
            needs: Grant::needed_by(spec),
        }
    }
}

/// How full a node is: the larger share of cpu and memory in millionths, then the number of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Load {
    share: u64,
    pods: u32,
}

/// One node.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// What its agent said; absent while it is only remembered.
    pub(super) offer: Option<Offer>,
    pub(super) ready: bool,
    pub(super) used: Amounts,
    pods: u32,
    /// Published ports, and by how many pods: two may overlap while a replaced pod is on its way out.
    ports: BTreeMap<(u16, Protocol), u32>,
}

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) allocatable: Amounts,
    pub(super) runtimes: BTreeSet<RuntimeKind>,
    pub(super) allows: Allows,
}

/// The pods of one workload.
#[derive(Debug, Clone, Default)]
struct Spread {
    counts: BTreeMap<NodeName, u32>,
    /// The nodes by their count, which is never 0.
    levels: BTreeMap<u32, BTreeSet<NodeName>>,
}

/// Every node, with what is reserved on it and the indexes that [`super::place`] asks.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    nodes: BTreeMap<NodeName, Node>,
    by_load: BTreeSet<(Load, NodeName)>,
    by_label: BTreeMap<(String, String), BTreeSet<NodeName>>,
    spread: BTreeMap<ObjectKey, Spread>,
    streak: Streak,
}

/// So many equal reservations in a row make it worth ordering all nodes for one request; fewer where a selector makes looking for the
/// next node longer.
const STREAK_MIN: u32 = 32;
const STREAK_MIN_SELECTED: u32 = 3;

/// The request that was reserved last, and how often in a row. A shortcut: it changes how long a choice takes, never the choice.
#[derive(Debug, Clone, Default)]
struct Streak {
    request: Option<Request>,
    length: u32,
    /// After a while: the nodes that fit it, in the order in which they are chosen.
    order: Option<BTreeSet<Preference>>,
}

/// What a node is chosen by: the pods of the workload that it has, its load, its name.
type Preference = (u32, Load, NodeName);

/// Where to look for a node.
pub(super) enum Candidates<'a> {
    /// At these; all others are out of the question.
    Few(Vec<&'a NodeName>),
    /// At all, the least loaded first.
    Many,
}

impl Nodes {
    /// Adds a node, or takes over what its agent says now. A node that is not ready takes no pods and keeps its reservations.
    pub fn set(&mut self, facts: &NodeFacts, ready: bool) {
        let offer = Offer {
            labels: facts.labels.clone(),
            allocatable: facts.allocatable,
            runtimes: facts.runtimes.clone(),
            allows: facts.allows.clone(),
        };
        let old = self.nodes.get(&facts.name).and_then(|node| node.offer.clone());
        if old.as_ref().map(|old| &old.labels) != Some(&offer.labels) {
            self.relabel(&facts.name, old.map(|old| old.labels).unwrap_or_default(), &offer.labels);
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

    /// Forgets a node and its reservations.
    pub fn remove(&mut self, name: &NodeName) {
        self.streak = Streak::default();
        let Some(node) = self.nodes.remove(name) else { return };
        self.by_load.remove(&(node.load(), name.clone()));
        self.relabel(name, node.offer.map(|offer| offer.labels).unwrap_or_default(), &BTreeMap::new());
        let workloads: Vec<ObjectKey> =
            self.spread.iter().filter(|(_, spread)| spread.counts.contains_key(name)).map(|(key, _)| key.clone()).collect();
        for workload in workloads {
            self.set_count(&workload, name, 0);
        }
    }

    /// Counts a pod on a node, whether or not it fits.
    pub fn reserve(&mut self, name: &NodeName, request: &Request) {
        let before = self.preference(name);
        self.change(name, |node| {
            node.used.cpu_milli = node.used.cpu_milli.saturating_add(request.amounts.cpu_milli);
            node.used.memory_bytes = node.used.memory_bytes.saturating_add(request.amounts.memory_bytes);
            node.pods = node.pods.saturating_add(1);
            for port in &request.host_ports {
                *node.ports.entry(*port).or_default() += 1;
            }
        });
        self.set_count(&request.workload, name, self.count(&request.workload, name).saturating_add(1));
        self.reorder(name, before);
        self.follow(request);
    }

    /// Undoes one [`Nodes::reserve`] with the same arguments.
    pub fn release(&mut self, name: &NodeName, request: &Request) {
        let count = self.count(&request.workload, name);
        if count == 0 {
            return;
        }
        let before = self.preference(name);
        self.change(name, |node| {
            node.used.cpu_milli = node.used.cpu_milli.saturating_sub(request.amounts.cpu_milli);
            node.used.memory_bytes = node.used.memory_bytes.saturating_sub(request.amounts.memory_bytes);
            node.pods = node.pods.saturating_sub(1);
            for port in &request.host_ports {
                node.unpublish(*port);
            }
        });
        self.set_count(&request.workload, name, count - 1);
        self.reorder(name, before);
    }

    /// How many pods of a workload are reserved on a node.
    #[must_use]
    pub fn count(&self, workload: &ObjectKey, name: &NodeName) -> u32 {
        self.spread.get(workload).and_then(|spread| spread.counts.get(name)).copied().unwrap_or(0)
    }

    /// The names of all nodes, known or remembered.
    pub fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.keys()
    }

    pub(super) fn get(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub(super) fn by_load(&self) -> impl Iterator<Item = &NodeName> {
        self.by_load.iter().map(|(_, name)| name)
    }

    /// What a node is chosen by among those with equally many pods of the workload.
    pub(super) fn rank<'a>(&self, name: &'a NodeName) -> (Load, &'a NodeName) {
        (self.nodes.get(name).map(Node::load).unwrap_or_default(), name)
    }

    /// The numbers of pods of a workload that nodes have, ascending.
    pub(super) fn levels(&self, workload: &ObjectKey) -> Vec<u32> {
        let spread = self.spread.get(workload);
        let used = spread.map_or(0, |spread| spread.counts.len());
        let zero = (used < self.nodes.len()).then_some(0);
        zero.into_iter().chain(spread.into_iter().flat_map(|spread| spread.levels.keys().copied())).collect()
    }

    /// Where to look for a node with `level` pods of the workload.
    pub(super) fn candidates(&self, request: &Request, level: u32, few: usize) -> Candidates<'_> {
        let labelled = request.node_selector.iter().map(|(key, value)| self.by_label.get(&(key.clone(), value.clone())));
        let mut smallest: Option<&BTreeSet<NodeName>> = None;
        for names in labelled {
            let Some(names) = names else { return Candidates::Few(Vec::new()) };
            smallest = smallest.filter(|known| known.len() <= names.len()).or(Some(names));
        }
        let at_level = self.spread.get(&request.workload).and_then(|spread| spread.levels.get(&level));
        if let Some(names) = at_level {
            smallest = smallest.filter(|known| known.len() <= names.len()).or(Some(names));
        }
        match smallest {
            Some(names) if names.len() <= few => Candidates::Few(names.iter().collect()),
            Some(_) | None => Candidates::Many,
        }
    }

    /// The first choice for a request, if it is known without looking: `Some(None)` if no node fits.
    pub(super) fn first_choice(&self, request: &Request) -> Option<Option<&NodeName>> {
        let order = self.streak.order.as_ref().filter(|_| self.streak.request.as_ref() == Some(request))?;
        Some(order.first().map(|(_, _, name)| name))
    }

    /// Notes a reservation, and orders all nodes for the request once it has been made often enough.
    fn follow(&mut self, request: &Request) {
        if self.streak.request.as_ref() != Some(request) {
            self.streak = Streak { request: Some(request.clone()), length: 0, order: None };
        }
        self.streak.length = self.streak.length.saturating_add(1);
        let enough = if request.node_selector.is_empty() { STREAK_MIN } else { STREAK_MIN_SELECTED };
        if self.streak.order.is_none() && self.streak.length >= enough {
            let fitting = self.names().filter(|name| filter::refuses(request, self, name).is_none());
            self.streak.order = Some(fitting.filter_map(|name| self.preference(name)).collect());
        }
    }

    /// The place of a node in the order of the streak.
    fn preference(&self, name: &NodeName) -> Option<Preference> {
        let workload = &self.streak.request.as_ref()?.workload;
        Some((self.count(workload, name), self.nodes.get(name)?.load(), name.clone()))
    }

    /// Keeps the order of the streak true after a node has changed.
    fn reorder(&mut self, name: &NodeName, before: Option<Preference>) {
        if self.streak.order.is_none() {
            return;
        }
        let fits = self.streak.request.as_ref().is_some_and(|request| filter::refuses(request, self, name).is_none());
        let after = self.preference(name).filter(|_| fits);
        if let Some(order) = &mut self.streak.order {
            if let Some(before) = before {
                order.remove(&before);
            }
            order.extend(after);
        }
    }

    /// Changes a node and keeps the index by load true.
    fn change(&mut self, name: &NodeName, act: impl FnOnce(&mut Node)) {
        let node = self.nodes.entry(name.clone()).or_default();
        let before = node.load();
        act(node);
        let after = node.load();
        if before != after {
            self.by_load.remove(&(before, name.clone()));
        }
        self.by_load.insert((after, name.clone()));
    }

    fn relabel(&mut self, name: &NodeName, old: BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        for label in old {
            if let Some(names) = self.by_label.get_mut(&label) {
                names.remove(name);
                if names.is_empty() {
                    self.by_label.remove(&label);
                }
            }
        }
        for (key, value) in new {
            self.by_label.entry((key.clone(), value.clone())).or_default().insert(name.clone());
        }
    }

    /// Sets the number of pods of a workload on a node and keeps its levels true.
    fn set_count(&mut self, workload: &ObjectKey, name: &NodeName, count: u32) {
        if !self.spread.contains_key(workload) {
            self.spread.insert(workload.clone(), Spread::default());
        }
        let Some(spread) = self.spread.get_mut(workload) else { return };
        if let Some(before) = spread.counts.remove(name)
            && let Some(names) = spread.levels.get_mut(&before)
        {
            names.remove(name);
            if names.is_empty() {
                spread.levels.remove(&before);
            }
        }
        if count > 0 {
            spread.counts.insert(name.clone(), count);
            spread.levels.entry(count).or_default().insert(name.clone());
        }
        if spread.counts.is_empty() {
            self.spread.remove(workload);
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

    /// Whether a port of the host is published by a pod.
    pub(super) fn publishes(&self, port: &(u16, Protocol)) -> bool {
        self.ports.contains_key(port)
    }

    fn unpublish(&mut self, port: (u16, Protocol)) {
        if let Some(count) = self.ports.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.ports.remove(&port);
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
