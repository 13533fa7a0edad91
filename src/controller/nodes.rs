//! Nodes: who is heard, who is silent, who is lost, and what each was last told.

use crate::model::{
    Assignment, DrainView, Generation, HostUsage, Moment, NodeConditions, NodeFacts, NodeName, NodeProblem, ObjectKey,
    ServiceProblem, Taint,
};
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
    /// When it was first seen, by the clock on the wall; `None` where nobody wrote that down.
    pub(super) created: Option<Moment>,
    /// When it was last heard; `None` if it has not been in this reign.
    pub(super) heard: Option<Moment>,
    /// True while its stream is open.
    pub(super) connected: bool,
    /// True while it is heard.
    pub(super) ready: bool,
    /// True if its pods are to be replaced elsewhere.
    pub(super) lost: bool,
    /// Pods that bear with so long a silence, or a shorter one, are given up. What was once given up stays so until the node is heard
    /// again, even if the brake falls in meanwhile.
    pub(super) given_up: Option<Duration>,
    /// Until when it said that it may be away.
    pub(super) away_until: Option<Moment>,
    /// What it last said of its state.
    pub(super) conditions: NodeConditions,
    /// What it was last told.
    pub(super) assignment: Option<Arc<Assignment>>,
    /// The newest assignment of this reign that it has acknowledged.
    pub(super) acknowledged: Generation,
    /// Assignments are numbered above this: what the agent has seen of this epoch from elsewhere.
    pub(super) floor: Generation,
    /// How far its drain is, once that was looked at; `None` if it is not being drained.
    pub(super) drain: Option<DrainView>,
    /// Its taints that send pods away, and since when they are known.
    pub(super) tainted: BTreeMap<Taint, Moment>,
    /// The version of the network that it has.
    pub(super) network: u64,
    /// The version of the table of Ingress that it has.
    pub(super) ingress: u64,
    /// What its agent last said is wrong with Services there.
    pub(super) service_problems: Vec<ServiceProblem>,
    /// What its agent last said of the host as a whole.
    pub(super) problems: Vec<NodeProblem>,
    /// The volume claims whose data its agent last said it has.
    pub(super) volumes: BTreeSet<ObjectKey>,
    /// What the host uses, and when its agent said so.
    pub(super) usage: Option<(HostUsage, Moment)>,
}

impl Node {
    fn remembered(created: Option<Moment>) -> Self {
        Self {
            facts: None,
            created,
            heard: None,
            connected: false,
            ready: false,
            lost: false,
            given_up: None,
            away_until: None,
            conditions: NodeConditions::default(),
            assignment: None,
            acknowledged: Generation(0),
            floor: Generation(0),
            drain: None,
            tainted: BTreeMap::new(),
            network: 0,
            ingress: 0,
            service_problems: Vec::new(),
            problems: Vec::new(),
            volumes: BTreeSet::new(),
            usage: None,
        }
    }

    /// True while it is waited for because it announced its absence.
    pub(super) fn is_away(&self, now: Moment) -> bool {
        self.away_until.is_some_and(|until| now < until)
    }

    /// One that announced its absence is gone with its stream.
    fn is_heard(&self, now: Moment) -> bool {
        let is_leaving = !self.connected && self.is_away(now);
        !is_leaving && self.heard.is_some_and(|heard| now.since(heard) < SILENCE)
    }

    /// True if a pod that bears with so long a silence of its node (with any, if `None`) is given up.
    pub(super) fn has_lost(&self, patience: Option<Duration>) -> bool {
        patience.zip(self.given_up).is_some_and(|(patience, silence)| silence >= patience)
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
    /// Those that git wants empty.
    pub(super) draining: BTreeSet<NodeName>,
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
    pub(super) fn enter(&mut self, name: &NodeName, created: Option<Moment>) -> &mut Node {
        self.by_name.entry(name.clone()).or_insert_with(|| Node::remembered(created))
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

    /// Those that said that they would be away tell nothing of us.
    fn most_are_silent(&self, now: Moment) -> bool {
        let counted = || self.by_name.values().filter(|node| node.heard.is_some() && (node.ready || !node.is_away(now)));
        let (known, silent) = (counted().count(), counted().filter(|node| !node.ready).count());
        known >= BRAKE_NODES_MIN && silent * 2 > known
    }

    /// Judges every node anew. Returns those whose `ready` or `lost` changed.
    pub(super) fn judge(&mut self, replace_after: Duration, now: Moment) -> Vec<NodeName> {
        let before: Vec<(bool, bool)> = self.by_name.values().map(|node| (node.ready, node.lost)).collect();
        for node in self.by_name.values_mut() {
            node.ready = node.is_heard(now);
        }
        let others = self.by_name.values().any(|node| node.ready);
        self.braked = self.most_are_silent(now);
        let may_replace = others && !self.braked;
        for node in self.by_name.values_mut() {
            let silence = node.heard.map(|heard| now.since(heard)).filter(|_| may_replace && !node.is_away(now));
            node.given_up = if node.ready { None } else { node.given_up.max(silence) };
            node.lost = node.has_lost(Some(replace_after));
        }
        let after = self.by_name.iter().zip(before);
        after.filter(|((_, node), before)| (node.ready, node.lost) != *before).map(|((name, _), _)| name.clone()).collect()
    }

    /// When a node is to be judged again, if it stays silent; its pods bear with silences of these lengths.
    pub(super) fn judge_at(node: &Node, patience: impl IntoIterator<Item = Duration>, now: Moment) -> Option<Moment> {
        let heard = node.heard?;
        let ends = patience.into_iter().map(|patience| heard + patience);
        ends.chain([heard + SILENCE]).chain(node.away_until).filter(|at| *at > now).min()
    }
}
