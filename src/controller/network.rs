//! The network that the nodes make together: which range of addresses each has, and who its peers are.
//!
//! A range is given out at the first hello and stays with the name of the node, in the memory and in the agent's ledger. Nothing is
//! told before it is recorded, and nothing before the controller acts: a controller that has just started does not know yet where the
//! nodes are that have not said hello, and would take them from their peers.

use super::agents::about_node;
use super::core::Controller;
use super::event::Effect;
use super::happenings::Happening;
use super::nodes::{Node, RESEND_AFTER};
use super::timers::Timer;
use crate::model::{Cidr, NetworkSettings, NodeName, NodeNetwork, NodeNotes, Peer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Changes among peers are gathered for so long, so that a fleet that joins is not told of each of its nodes by itself.
const GATHER: Duration = Duration::from_millis(500);

/// Which range each node has.
#[derive(Debug, Default)]
pub(super) struct Network {
    ranges: BTreeMap<NodeName, Cidr>,
    /// The peers as they were last told.
    peers: BTreeMap<NodeName, Peer>,
    /// Counts versions within the reign.
    counter: u64,
    version: u64,
}

impl Network {
    pub(super) fn range(&self, name: &NodeName) -> Option<Cidr> {
        self.ranges.get(name).copied()
    }

    /// Takes a range over from the memory, or from an agent that brings the one that it was given. One that does not fit the settings
    /// (any more), or that another node has, is passed over.
    pub(super) fn restore(&mut self, settings: Option<&NetworkSettings>, name: &NodeName, range: Option<Cidr>) {
        let (Some(settings), Some(range)) = (settings, range) else { return };
        let fits = range.prefix() == settings.node_prefix && settings.pods.contains(range.first());
        let is_free = self.ranges.iter().all(|(other, taken)| other == name || *taken != range);
        if fits && is_free {
            self.ranges.entry(name.clone()).or_insert(range);
        }
    }

    /// A node is gone for good: its range is free.
    pub(super) fn forget(&mut self, name: &NodeName) {
        self.ranges.remove(name);
    }

    /// Gives a node its range: by its name, so that it is probably the same after a lost memory, or the next free one. `None` if all are
    /// given out.
    fn allot(&mut self, settings: &NetworkSettings, name: &NodeName) -> Option<Cidr> {
        if let Some(range) = self.range(name) {
            return Some(range);
        }
        let taken: BTreeSet<Cidr> = self.ranges.values().copied().collect();
        let count = settings.pods.parts(settings.node_prefix);
        let [a, b, c, d, ..] = *blake3::hash(name.as_str().as_bytes()).as_bytes();
        let start = u32::from_be_bytes([a, b, c, d]).checked_rem(count)?;
        let parts = (start..count).chain(0..start).filter_map(|index| settings.pods.part(settings.node_prefix, index));
        let range = parts.into_iter().find(|range| !taken.contains(range))?;
        self.ranges.insert(name.clone(), range);
        Some(range)
    }
}

impl Controller {
    /// A node said hello: it gets its range, and its peers hear of it.
    pub(super) fn join_network(&mut self, name: &NodeName, echo: Option<Cidr>) {
        let Some(settings) = &self.settings.network else { return };
        self.network.restore(Some(settings), name, echo);
        if self.network.allot(settings, name).is_none() {
            let message = format!("no range of {} is left for node {name}: choose a larger --pod-cidr", settings.pods);
            let about = about_node(name);
            let happening = Happening { about: &about, pod: None, warning: true, reason: "CIDRNotAvailable", message };
            self.happenings.note(happening, self.now);
        }
        self.dirty.nodes.insert(name.clone());
        self.gather_peers();
    }

    /// Who the peers are may have changed: they are told soon.
    pub(super) fn gather_peers(&mut self) {
        if self.settings.network.is_some() {
            self.timers.set_if_none(Timer::Peers, self.now + GATHER);
        }
    }

    /// Tells every node what has changed among its peers.
    pub(super) fn tell_peers(&mut self) {
        if !self.is_acting() {
            return self.gather_peers();
        }
        self.renew_peers();
        let connected = self.nodes.by_name.iter().filter(|(_, node)| node.connected);
        for name in connected.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.tell_network(&name);
        }
    }

    /// What is told from now on is how the peers are.
    fn renew_peers(&mut self) {
        let peers = self.peers();
        if self.network.version == 0 || peers != self.network.peers {
            self.network.counter += 1;
            self.network.version = (self.epoch.0 << 32) + self.network.counter;
            self.network.peers = peers;
        }
    }

    /// A node that was never told the network is told it before its first pods, so that these have addresses of its range. Its peers may
    /// be those that the others know so far.
    pub(super) fn tell_range(&mut self, name: &NodeName) {
        if self.is_acting() && self.nodes.get(name).is_some_and(|node| node.network == 0) {
            if self.network.version == 0 {
                self.renew_peers();
            }
            self.tell_network(name);
        }
    }

    /// Tells a node the network, unless it has said that it knows. Returns whether it was told.
    pub(super) fn tell_network(&mut self, name: &NodeName) -> bool {
        let behind = |node: &&Node| node.connected && node.network < self.network.version;
        let Some(network) = self.nodes.get(name).filter(behind).and_then(|_| self.node_network(name)) else { return false };
        self.out.push(Effect::Network { node: name.clone(), network: Arc::new(network) });
        self.timers.set_if_none(Timer::Resend(name.clone()), self.now + RESEND_AFTER);
        true
    }

    fn node_network(&self, name: &NodeName) -> Option<NodeNetwork> {
        let settings = self.settings.network.as_ref()?;
        self.records.is_noted(name, &self.node_notes(name)).then_some(())?;
        let others = self.network.peers.iter().filter(|(peer, _)| *peer != name);
        Some(NodeNetwork {
            version: self.network.version,
            pods: self.network.range(name)?,
            cluster_pods: settings.pods,
            services: settings.services,
            domain: settings.domain.clone(),
            peers: others.map(|(name, peer)| (name.clone(), peer.clone())).collect(),
        })
    }

    fn peers(&self) -> BTreeMap<NodeName, Peer> {
        let peer = |(name, node): (&NodeName, &Node)| {
            let addresses = node.facts.as_ref().map(|facts| facts.tunnel.clone()).unwrap_or_default();
            (name.clone(), Peer { addresses, pods: self.network.range(name), key: self.members.key(name).cloned() })
        };
        self.nodes.by_name.iter().map(peer).collect()
    }

    /// What the memory keeps of a node.
    pub(super) fn node_notes(&self, name: &NodeName) -> NodeNotes {
        NodeNotes { pods: self.network.range(name), created: self.nodes.get(name).and_then(|node| node.created) }
    }
}
