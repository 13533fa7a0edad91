//! Why a node cannot take a pod, in words that people know from Kubernetes.

use crate::model::{Grant, NodeName, Protocol, RuntimeKind};
use std::collections::BTreeMap;
use std::fmt;

/// Why a node cannot take a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Its agent is not heard, or has not said hello yet.
    NotReady,
    /// The pod is tied to another node.
    OtherNode(NodeName),
    /// It does not offer the runtime.
    NoRuntime(RuntimeKind),
    /// Nothing there would stop the pod when its lease runs out.
    NoLease(RuntimeKind),
    /// Its host does not allow what the pod needs.
    NotAllowed(Grant),
    /// It is cordoned.
    Unschedulable,
    /// A taint that the pod does not tolerate: its key and value.
    Taint(String, String),
    /// A label of `nodeSelector` is missing or has another value.
    MissingLabel(String, String),
    /// It is not what the pod's node affinity asks for.
    NodeAffinity,
    /// Another pod publishes the port.
    HostPort(u16, Protocol),
    /// It lacks the label by whose value pods are to be spread.
    NoSpreadLabel(String),
    /// One more pod would spread them less evenly than allowed.
    Spread,
    /// It is not near the pods that the pod wants to be near.
    PodAffinity,
    /// It is near pods that the pod keeps away from.
    PodAntiAffinity,
    /// It is near pods that keep the pod away.
    ExistingAntiAffinity,
    /// Not enough unpromised cpu.
    InsufficientCpu,
    /// Not enough unpromised memory.
    InsufficientMemory,
    /// It has no such device.
    NoDevice(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotReady => f.write_str("not ready"),
            Refusal::OtherNode(wanted) => write!(f, "didn't match the requested node name {wanted}"),
            Refusal::NoRuntime(kind) => write!(f, "no {} runtime", kind.as_str()),
            Refusal::NoLease(RuntimeKind::Docker) => {
                f.write_str("no leases of containers (they need an agent of this version that runs as root)")
            }
            Refusal::NoLease(RuntimeKind::Process) => f.write_str("no leases (they need an agent of this version)"),
            Refusal::NotAllowed(grant) => write!(f, "{grant} not allowed"),
            Refusal::Unschedulable => f.write_str("unschedulable"),
            Refusal::Taint(key, value) => write!(f, "had untolerated taint {{{key}: {value}}}"),
            Refusal::MissingLabel(key, value) => write!(f, "label {key}={value} missing"),
            Refusal::NodeAffinity => f.write_str("didn't match the pod's node affinity"),
            Refusal::HostPort(port, _) => write!(f, "host port {port} taken"),
            Refusal::NoSpreadLabel(key) => write!(f, "didn't match pod topology spread constraints (label {key} missing)"),
            Refusal::Spread => f.write_str("didn't match pod topology spread constraints"),
            Refusal::PodAffinity => f.write_str("didn't match pod affinity rules"),
            Refusal::PodAntiAffinity => f.write_str("didn't match pod anti-affinity rules"),
            Refusal::ExistingAntiAffinity => f.write_str("didn't satisfy existing pods anti-affinity rules"),
            Refusal::InsufficientCpu => f.write_str("insufficient cpu"),
            Refusal::InsufficientMemory => f.write_str("insufficient memory"),
            Refusal::NoDevice(name) => write!(f, "insufficient {name}"),
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
