//! Nodes: who is heard, who is silent, who is lost, and what each was last told.

use crate::model::{Assignment, Generation, Moment, NodeFacts, NodeName, ObjectKey, ServiceProblem, Taint};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A node that has been silent for so long is not ready.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// A node that has not acknowledged within this time is told again; agents pass over what they know.
pub(super) const RESEND_AFTER: Duration = Duration::from_secs(5);

/// Below so many nodes there is no brake on replacing lost pods.
const BRAKE_NODES_MIN: usize = 3;

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// What its agent says; `None` if it has only been remembered.
    pub(super) facts: Option<NodeFacts>,
    /// When it was first seen by this controller.
    pub(super) since: Moment,
    /// When it was last heard; `None` if it has not been in this reign.
    pub(super) heard: Option<Moment>,
    /// True while its stream is open.
    pub(super) connected: bool,
    /// True while it is heard.
    pub(super) ready: bool,
    /// True if its pods are to be replaced elsewhere.
    pub(super) lost: bool,
    /// What it was last told.
    pub(super) assignment: Option<Arc<Assignment>>,
    /// The newest assignment of this reign that it has acknowledged.
    pub(super) acknowledged: Generation,
    /// Assignments are numbered above this: what the agent has seen of this epoch from elsewhere.
    pub(super) floor: Generation,
    /// Its taints that send pods away, and since when they are known.
    pub(super) tainted: BTreeMap<Taint, Moment>,
    /// The version of the network that it has.
    pub(super) network: u64,
    /// What its agent last said is wrong with Services there.
    pub(super) service_problems: Vec<ServiceProblem>,
    /// The volume claims whose data its agent last said it has.
    pub(super) volumes: BTreeSet<ObjectKey>,
}

impl Node {
    fn remembered(now: Moment) -> Self {
        Self {
            facts: None,
            since: now,
            heard: None,
            connected: false,
            ready: false,
            lost: false,
            assignment: None,
            acknowledged: Generation(0),
            floor: Generation(0),
            tainted: BTreeMap::new(),
            network: 0,
            service_problems: Vec::new(),
            volumes: BTreeSet::new(),
        }
    }

    /// The number of the last assignment.
    pub(super) fn generation(&self) -> Generation {
        self.assignment.as_ref().map_or(Generation(0), |assignment| assignment.generation)
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) by_name: BTreeMap<NodeName, Node>,
    /// As it was last judged.
    braked: bool,
}

impl Nodes {
    pub(super) fn get(&self, name: &NodeName) -> Option<&Node> {
        self.by_name.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &NodeName) -> Option<&mut Node> {
        self.by_name.get_mut(name)
    }

    /// The node of this name; a new one if it was unknown.
    pub(super) fn enter(&mut self, name: &NodeName, now: Moment) -> &mut Node {
        self.by_name.entry(name.clone()).or_insert_with(|| Node::remembered(now))
    }

    /// Nodes that are heard.
    pub(super) fn ready(&self) -> impl Iterator<Item = (&NodeName, &Node)> {
        self.by_name.iter().filter(|(_, node)| node.ready)
    }

    /// Known nodes that have not said hello in this reign.
    pub(super) fn unheard(&self) -> impl Iterator<Item = &NodeName> {
        self.by_name.iter().filter(|(_, node)| node.heard.is_none()).map(|(name, _)| name)
    }

    /// True if most nodes are silent at once: then it is probably us who are cut off, and nothing is replaced.
    pub(super) fn is_braked(&self) -> bool {
        self.braked
    }

    fn most_are_silent(&self) -> bool {
        let heard = || self.by_name.values().filter(|node| node.heard.is_some());
        let (known, silent) = (heard().count(), heard().filter(|node| !node.ready).count());
        known >= BRAKE_NODES_MIN && silent * 2 > known
    }

    /// Judges every node anew. Returns those whose `ready` or `lost` changed.
    pub(super) fn judge(&mut self, replace_after: Duration, now: Moment) -> Vec<NodeName> {
        let before: Vec<(bool, bool)> = self.by_name.values().map(|node| (node.ready, node.lost)).collect();
        for node in self.by_name.values_mut() {
            node.ready = node.heard.is_some_and(|heard| now.since(heard) < SILENCE);
        }
        let others = self.by_name.values().any(|node| node.ready);
        self.braked = self.most_are_silent();
        let may_replace = others && !self.braked;
        for node in self.by_name.values_mut() {
            let away = node.heard.is_some_and(|heard| now.since(heard) >= replace_after);
            // What was once given up stays so until the node is heard again, even if the brake falls in meanwhile.
            node.lost = !node.ready && ((away && may_replace) || node.lost);
        }
        let after = self.by_name.iter().zip(before);
        after.filter(|((_, node), before)| (node.ready, node.lost) != *before).map(|((name, _), _)| name.clone()).collect()
    }

    /// When a node is to be judged again, if it stays silent.
    pub(super) fn judge_at(node: &Node, replace_after: Duration, now: Moment) -> Option<Moment> {
        let heard = node.heard?;
        [heard + SILENCE, heard + replace_after].into_iter().filter(|at| *at > now).min()
    }
}
