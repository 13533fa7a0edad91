//! Making room for a pod whose priority is higher than that of pods in its way.
//!
//! As Kubernetes does it (<https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>): on a node, all lower
//! pods are thought away; if the pod then fits, as many of them as possible are taken back, those of exhausted disruption budgets and
//! the highest first; the rest are the victims. Of the nodes the one is taken where the fewest budgets are overdrawn, then whose
//! highest victim is lowest, then where the victims' priorities and numbers are smallest. Budgets are honoured as far as possible and
//! not beyond: there as here.

use super::filter::{mismatch, refuses};
use super::nodes::Nodes;
use super::outlook::Sight;
use super::request::Request;
use crate::model::{Moment, NodeName, ObjectKey, PodUid};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// As many nodes where the pod would fit are compared, the least loaded first; Kubernetes compares a tenth of all, at least 100.
const NODES_COMPARED: usize = 100;

/// A pod that holds room on a node.
#[derive(Debug, Clone)]
pub struct Resident {
    /// The pod.
    pub uid: PodUid,
    /// What is reserved for it.
    pub request: Arc<Request>,
    /// Its priority.
    pub priority: i32,
    /// True if it is on its way out already: its room will be free by itself.
    pub leaving: bool,
    /// When it was placed.
    pub since: Moment,
    /// The disruption budgets that protect it.
    pub budgets: Vec<ObjectKey>,
}

/// How to make room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// Where the pod will fit.
    pub node: NodeName,
    /// Who has to go; nobody if those that are leaving suffice.
    pub victims: Vec<PodUid>,
}

/// What a preemption costs, the dearest part first.
type Cost = (usize, Option<i32>, i64, usize, Reverse<Option<Moment>>);

/// Where a pod of this priority would fit if lower ones went, and which. `residents` says who is on a node, `allowed` how many more
/// pods each budget lets go.
#[must_use]
pub fn preempt(
    request: &Request,
    priority: i32,
    nodes: &mut Nodes,
    residents: &dyn Fn(&NodeName) -> Vec<Resident>,
    allowed: &BTreeMap<ObjectKey, u32>,
) -> Option<Preemption> {
    let names: Vec<NodeName> = nodes.by_load().filter(|name| is_candidate(request, nodes, name)).cloned().collect();
    let mut best: Option<(Cost, Preemption)> = None;
    let mut compared = 0;
    for node in names {
        let Some((cost, victims)) = on_node(request, priority, nodes, &node, residents(&node), allowed) else { continue };
        if best.as_ref().is_none_or(|(known, plan)| (&cost, &node) < (known, &plan.node)) {
            best = Some((cost, Preemption { node, victims }));
        }
        compared += 1;
        if compared >= NODES_COMPARED {
            break;
        }
    }
    best.map(|(_, plan)| plan)
}

/// What the node is cannot be helped by anybody's going.
fn is_candidate(request: &Request, nodes: &Nodes, name: &NodeName) -> bool {
    let offer = nodes.get(name).filter(|node| node.ready).and_then(|node| node.offer.as_ref());
    offer.is_some_and(|offer| {
        let holds = request.amounts.cpu_milli <= offer.allocatable.cpu_milli
            && request.amounts.memory_bytes <= offer.allocatable.memory_bytes;
        holds && mismatch(request, offer, name).is_none()
    })
}

/// The victims on one node, and what they cost. The reservations are as before afterwards.
fn on_node(
    request: &Request,
    priority: i32,
    nodes: &mut Nodes,
    name: &NodeName,
    residents: Vec<Resident>,
    allowed: &BTreeMap<ObjectKey, u32>,
) -> Option<(Cost, Vec<PodUid>)> {
    let (leaving, staying): (Vec<Resident>, Vec<Resident>) = residents.into_iter().partition(|resident| resident.leaving);
    let mut lower: Vec<(bool, Resident)> =
        overdrawn(staying.into_iter().filter(|resident| resident.priority < priority).collect(), allowed);
    lower.sort_by_key(|(overdraws, resident)| (!overdraws, Reverse(resident.priority), resident.since, resident.uid));
    let all = || leaving.iter().chain(lower.iter().map(|(_, resident)| resident));
    all().for_each(|resident| nodes.release(name, &resident.request));
    if !fits(request, nodes, name) {
        all().for_each(|resident| nodes.reserve(name, &resident.request));
        return None;
    }
    let mut victims: Vec<&(bool, Resident)> = Vec::new();
    for candidate in &lower {
        nodes.reserve(name, &candidate.1.request);
        if !fits(request, nodes, name) {
            nodes.release(name, &candidate.1.request);
            victims.push(candidate);
        }
    }
    for resident in leaving.iter().chain(victims.iter().map(|(_, resident)| resident)) {
        nodes.reserve(name, &resident.request);
    }
    let highest = victims.iter().map(|(_, victim)| victim.priority).max();
    let started = victims.iter().filter(|(_, victim)| Some(victim.priority) == highest).map(|(_, victim)| victim.since).min();
    let cost = (
        victims.iter().filter(|(overdraws, _)| *overdraws).count(),
        highest,
        victims.iter().map(|(_, victim)| i64::from(victim.priority) - i64::from(i32::MIN)).sum(),
        victims.len(),
        Reverse(started),
    );
    Some((cost, victims.into_iter().map(|(_, victim)| victim.uid).collect()))
}

/// Says of each pod whether its end would overdraw a budget, were all of them to go, the most important ones last.
fn overdrawn(mut pods: Vec<Resident>, allowed: &BTreeMap<ObjectKey, u32>) -> Vec<(bool, Resident)> {
    pods.sort_by_key(|pod| (Reverse(pod.priority), pod.since, pod.uid));
    let mut left = allowed.clone();
    let mut judge = |pod: &Resident| {
        let mut overdraws = false;
        for budget in &pod.budgets {
            let left = left.entry(budget.clone()).or_default();
            overdraws |= *left == 0;
            *left = left.saturating_sub(1);
        }
        overdraws
    };
    pods.into_iter().map(|pod| (judge(&pod), pod)).collect()
}

fn fits(request: &Request, nodes: &Nodes, name: &NodeName) -> bool {
    debug_assert!(nodes.streak.is_for(request), "place comes before preempt");
    refuses(request, nodes, &nodes.streak.outlook, name, Sight::All).is_none()
}
