//! Whether a node can take a pod, and if not, why; and how much the pod dislikes it.

use super::nodes::{Node, Nodes, Offer};
use super::outlook::{Outlook, Sight};
use super::refusal::{Refusal, Refusals};
use super::request::Request;
use crate::model::{Kind, NodeName, Taint, Toleration};

/// What a `PreferNoSchedule` taint weighs that is not tolerated: as much as the heaviest preference of a pod.
const SOFT_TAINT_WEIGHT: i64 = 100;

/// The taint that a cordon is, for those who tolerate it.
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// The first filter that refuses the pod on this node. What a node can never change by itself comes before what it may have free
/// later, so that the reason names the lasting obstacle.
pub(super) fn refuses(request: &Request, nodes: &Nodes, outlook: &Outlook, name: &NodeName, sight: Sight) -> Option<Refusal> {
    let node = nodes.get(name).filter(|node| node.ready);
    let Some((node, offer)) = node.and_then(|node| Some((node, node.offer.as_ref()?))) else { return Some(Refusal::NotReady) };
    mismatch(request, offer, name)
        .or_else(|| taken_port(request, node))
        .or_else(|| crowd(request, outlook, offer, sight))
        .or_else(|| lacks(request, node))
}

/// The first filter that refuses the pod on this node for what the node is: its capacity, its readiness and other pods aside.
pub(super) fn mismatch(request: &Request, offer: &Offer, name: &NodeName) -> Option<Refusal> {
    if let Some(wanted) = request.pinned.as_ref().filter(|wanted| *wanted != name) {
        return Some(Refusal::OtherNode(wanted.clone()));
    }
    if !offer.runtimes.contains(&request.runtime) {
        return Some(Refusal::NoRuntime(request.runtime));
    }
    if request.leased && !offer.leases.contains(&request.runtime) {
        return Some(Refusal::NoLease(request.runtime));
    }
    if let Some(grant) = offer.allows.first_lacking(&request.needs) {
        return Some(Refusal::NotAllowed(grant.clone()));
    }
    if offer.marks.drain && !request.assigned && request.workload.kind != Kind::DaemonSet {
        return Some(Refusal::Unschedulable);
    }
    if !request.assigned
        && let Some(refusal) = repelled(&request.rules.tolerations, offer)
    {
        return Some(refusal);
    }
    if let Some((key, value)) = request.node_selector.iter().find(|(key, value)| offer.labels.get(*key) != Some(value)) {
        return Some(Refusal::MissingLabel(key.clone(), value.clone()));
    }
    let affinity = request.rules.nodes.required.as_ref();
    affinity.filter(|wanted| !wanted.matches(name.as_str(), &offer.labels)).map(|_| Refusal::NodeAffinity)
}

/// Whether a cordon or a taint keeps a pod with these tolerations away.
pub(super) fn repelled(tolerations: &[Toleration], offer: &Offer) -> Option<Refusal> {
    if offer.marks.unschedulable && !cordon().is_tolerated(tolerations) {
        return Some(Refusal::Unschedulable);
    }
    let taint = offer.marks.taints.iter().find(|taint| !taint.admits(tolerations))?;
    Some(Refusal::Taint(taint.key.clone(), taint.value.clone()))
}

fn cordon() -> Taint {
    Taint { key: CORDON.to_owned(), value: String::new(), effect: Taint::NO_SCHEDULE.to_owned() }
}

fn taken_port(request: &Request, node: &Node) -> Option<Refusal> {
    let taken = request.host_ports.iter().find(|port| node.publishes(port))?;
    Some(Refusal::HostPort(taken.port, taken.protocol))
}

fn crowd(request: &Request, outlook: &Outlook, offer: &Offer, sight: Sight) -> Option<Refusal> {
    if request.assigned {
        return None;
    }
    outlook.refuses(request, &|key| offer.labels.get(key).map(String::as_str), sight)
}

/// A pod that asks for nothing fits even where more is promised than there is, as in Kubernetes.
fn lacks(request: &Request, node: &Node) -> Option<Refusal> {
    let free = node.free();
    if request.amounts.cpu_milli > free.cpu_milli {
        return Some(Refusal::InsufficientCpu);
    }
    if request.amounts.memory_bytes > free.memory_bytes {
        return Some(Refusal::InsufficientMemory);
    }
    // No node offers devices.
    request.devices.first().cloned().map(Refusal::NoDevice)
}

/// How much a pod dislikes a node for what the node is: the weights of its preferences, and the taints that ask it to stay away.
pub(super) fn dislike(request: &Request, offer: &Offer, name: &NodeName) -> i64 {
    let soft = |taint: &&Taint| taint.effect == Taint::PREFER_NO_SCHEDULE && !taint.is_tolerated(&request.rules.tolerations);
    let taints: i64 = offer.marks.taints.iter().filter(soft).map(|_| SOFT_TAINT_WEIGHT).sum();
    let liked = request.rules.nodes.preferred.iter().filter(|wanted| wanted.preference.matches(name.as_str(), &offer.labels));
    let likes: i64 = liked.map(|wanted| i64::from(wanted.weight)).sum();
    taints - likes
}

/// What every node says.
pub(super) fn explain(request: &Request, nodes: &Nodes, outlook: &Outlook) -> Refusals {
    let mut refusals = Refusals::default();
    for name in nodes.names() {
        refusals.nodes += 1;
        if let Some(reason) = refuses(request, nodes, outlook, name, Sight::All) {
            *refusals.reasons.entry(reason).or_default() += 1;
        }
    }
    refusals
}
