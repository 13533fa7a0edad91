//! Draining a node: how far it is, and why a pod is still there.

use super::ObjectKey;
use std::fmt;

/// A drain under way, or done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainView {
    /// Every pod that is still there, those of DaemonSets aside, and why.
    pub left: Vec<(String, DrainReason)>,
}

/// Why a pod is still on a node that is being drained.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainReason {
    /// Its turn has come: it is about to leave, or on its way out.
    Leaves,
    /// Pods leave one by one, and another is on its way.
    Turn,
    /// The pod that takes its place is not ready yet, or the others of its workload are not.
    Replacement(ObjectKey),
    /// A rollout of its workload is under way, which moves pods by itself.
    Rollout(ObjectKey),
    /// A disruption budget allows none of its pods to go now.
    Budget(ObjectKey),
    /// No other node can take it: what each said.
    Placement(ObjectKey, String),
    /// It stays: its data is on the disk of this node.
    Volumes(ObjectKey),
    /// It stays to its end.
    Job(ObjectKey),
    /// It stays: it is of no workload that would start it elsewhere.
    Bare(ObjectKey),
    /// It stays: `nodeName` chose this node.
    Assigned(ObjectKey),
}

impl DrainReason {
    /// True if the drain waits for something that may take long, or for a person: worth telling.
    #[must_use]
    pub fn is_obstacle(&self) -> bool {
        !matches!(self, DrainReason::Leaves | DrainReason::Turn | DrainReason::Replacement(_))
    }
}

impl fmt::Display for DrainReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DrainReason::Leaves => f.write_str("it is leaving"),
            DrainReason::Turn => f.write_str("another pod goes first"),
            DrainReason::Replacement(workload) => write!(f, "{} has to be ready elsewhere first", workload.short()),
            DrainReason::Rollout(workload) => write!(f, "a rollout of {} is under way", workload.short()),
            DrainReason::Budget(budget) => write!(f, "budget {} allows no disruption now", budget.short()),
            DrainReason::Placement(workload, refusals) => {
                write!(f, "no other node can take a pod of {}: {refusals}", workload.short())
            }
            DrainReason::Volumes(workload) => write!(f, "the data of {} is on its disk, so it stays", workload.short()),
            DrainReason::Job(job) => write!(f, "{} runs to its end", job.short()),
            DrainReason::Bare(pod) => write!(f, "nothing would start the bare pod {} elsewhere, so it stays", pod.short()),
            DrainReason::Assigned(workload) => write!(f, "nodeName of {} chose it, so it stays", workload.short()),
        }
    }
}
