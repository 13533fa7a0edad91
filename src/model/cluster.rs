//! What shapes where and whether pods run, beside the workloads: nodes as git has them, priorities, disruption budgets.

use super::{IntOrString, LabelSelector, Taint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `spec` of a `v1 Node` in git. Its labels are those of its metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Keeps new pods away: `kubectl cordon`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
    /// Keep pods away that do not tolerate them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Sends pods away one by one: the annotation `driftless.dev/drain`, which implies `unschedulable`.
    #[serde(skip)]
    pub drain: bool,
}

impl NodeSpec {
    /// The annotation that removes a node from the cluster.
    pub const REMOVED: &'static str = "driftless.dev/removed";

    /// The annotation that drains a node.
    pub const DRAIN: &'static str = "driftless.dev/drain";

    /// The same with what the annotations of the Node ask for.
    #[must_use]
    pub fn annotated(mut self, annotations: &BTreeMap<String, String>) -> Self {
        self.drain = annotations.get(Self::DRAIN).is_some_and(|value| value == "true");
        self.unschedulable |= self.drain;
        self
    }
}

/// A `scheduling.k8s.io/v1 PriorityClass`: <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorityClass {
    /// Higher goes first.
    pub value: i32,
    /// Whether pods without a class have this one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub global_default: bool,
    /// `PreemptLowerPriority` or `Never`.
    pub preemption_policy: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl Default for PriorityClass {
    fn default() -> Self {
        Self { value: 0, global_default: false, preemption_policy: "PreemptLowerPriority".to_owned(), description: String::new() }
    }
}

impl PriorityClass {
    /// Those that every cluster has, by name.
    #[must_use]
    pub fn built_in() -> [(&'static str, Self); 2] {
        let class = |value, what: &str| Self { value, description: format!("Used for {what}."), ..Self::default() };
        [
            ("system-cluster-critical", class(2_000_000_000, "system critical pods that must run in the cluster")),
            ("system-node-critical", class(2_000_001_000, "system critical pods that must not be moved from their current node")),
        ]
    }
}

/// `spec` of a `policy/v1 PodDisruptionBudget`: one of the two bounds is set.
/// <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionBudget {
    /// Its pods: all of the namespace if empty, none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// At least so many stay available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// At most so many are unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}
