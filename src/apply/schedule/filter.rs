//! Whether a node can take a pod, and if not, why.

use super::nodes::{Node, Nodes, Request};
use crate::model::{Grant, NodeName, Protocol, RuntimeKind};
use std::collections::BTreeMap;
use std::fmt;

/// Why a node cannot take a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Its agent is not heard, or has not said hello yet.
    NotReady,
    /// It does not offer the runtime.
    NoRuntime(RuntimeKind),
    /// Its host does not allow what the pod needs.
    NotAllowed(Grant),
    /// A label of `nodeSelector` is missing or has another value.
    MissingLabel(String, String),
    /// Another pod publishes the port.
    HostPort(u16, Protocol),
    /// Not enough unpromised cpu.
    InsufficientCpu,
    /// Not enough unpromised memory.
    InsufficientMemory,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotReady => f.write_str("not ready"),
            Refusal::NoRuntime(kind) => write!(f, "no {} runtime", kind.as_str()),
            Refusal::NotAllowed(grant) => write!(f, "{grant} not allowed"),
            Refusal::MissingLabel(key, value) => write!(f, "label {key}={value} missing"),
            Refusal::HostPort(port, _) => write!(f, "host port {port} taken"),
            Refusal::InsufficientCpu => f.write_str("insufficient cpu"),
            Refusal::InsufficientMemory => f.write_str("insufficient memory"),
        }
    }
}

/// Why no node can take a pod: `0/3 nodes fit: insufficient memory on 2, no docker runtime on 1`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusals {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many refused for each reason.
    pub reasons: BTreeMap<Refusal, usize>,
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no node has joined the cluster");
        }
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons: Vec<String> = reasons.iter().map(|(reason, count)| format!("{reason} on {count}")).collect();
        write!(f, "0/{} nodes fit: {}", self.nodes, reasons.join(", "))
    }
}

impl std::error::Error for Refusals {}

/// The first filter that refuses the pod on this node. What a node can never change by itself comes before what it may have free
/// later, so that the reason names the lasting obstacle.
pub(super) fn refuses(request: &Request, nodes: &Nodes, name: &NodeName) -> Option<Refusal> {
    let Some(node) = nodes.get(name) else { return Some(Refusal::NotReady) };
    let Some(offer) = node.offer.as_ref().filter(|_| node.ready) else { return Some(Refusal::NotReady) };
    if !offer.runtimes.contains(&request.runtime) {
        return Some(Refusal::NoRuntime(request.runtime));
    }
    if let Some(grant) = offer.allows.first_lacking(&request.needs) {
        return Some(Refusal::NotAllowed(grant.clone()));
    }
    if let Some((key, value)) = request.node_selector.iter().find(|(key, value)| offer.labels.get(*key) != Some(value)) {
        return Some(Refusal::MissingLabel(key.clone(), value.clone()));
    }
    if let Some((port, protocol)) = request.host_ports.iter().find(|port| node.publishes(port)) {
        return Some(Refusal::HostPort(*port, *protocol));
    }
    lacks(request, node)
}

/// A pod that asks for nothing fits even where more is promised than there is, as in Kubernetes.
fn lacks(request: &Request, node: &Node) -> Option<Refusal> {
    let free = node.free();
    if request.amounts.cpu_milli > free.cpu_milli {
        return Some(Refusal::InsufficientCpu);
    }
    (request.amounts.memory_bytes > free.memory_bytes).then_some(Refusal::InsufficientMemory)
}

/// What every node says.
pub(super) fn explain(request: &Request, nodes: &Nodes) -> Refusals {
    let mut refusals = Refusals::default();
    for name in nodes.names() {
        refusals.nodes += 1;
        if let Some(reason) = refuses(request, nodes, name) {
            *refusals.reasons.entry(reason).or_default() += 1;
        }
    }
    refusals
}
