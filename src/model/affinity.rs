//! Where pods may and should run: <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/>.

use super::LabelSelector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// `affinity`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// To nodes, for their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
    /// To pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_affinity: Option<PodAffinity>,
    /// Away from pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_anti_affinity: Option<PodAffinity>,
}

/// `nodeAffinity`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// What a node must have.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", skip_serializing_if = "Option::is_none")]
    pub required: Option<NodeSelector>,
    /// What makes a node better.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<PreferredNode>,
}

/// `nodeSelectorTerms`: one of them must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// The terms.
    pub node_selector_terms: Vec<NodeTerm>,
}

/// `preferredDuringSchedulingIgnoredDuringExecution[]` of a node affinity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PreferredNode {
    /// 1 to 100.
    pub weight: u32,
    /// The term.
    pub preference: NodeTerm,
}

/// A term about nodes: all of it must hold; an empty one holds for no node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeTerm {
    /// About labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<NodeRequirement>,
    /// About fields: `metadata.name` alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_fields: Vec<NodeRequirement>,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRequirement {
    /// The label or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// For `Gt` and `Lt` one whole number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// `podAffinity` and `podAntiAffinity`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinity {
    /// All of these must hold.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<PodAffinityTerm>,
    /// What makes a node better.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", skip_serializing_if = "Vec::is_empty")]
    pub preferred: Vec<PreferredPods>,
}

/// `preferredDuringSchedulingIgnoredDuringExecution[]` of a pod affinity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PreferredPods {
    /// 1 to 100.
    pub weight: u32,
    /// The term.
    pub pod_affinity_term: PodAffinityTerm,
}

/// Pods, and the domain within which they count as near.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodAffinityTerm {
    /// Which pods; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// The node label whose value is the domain.
    pub topology_key: String,
    /// Of which namespaces; the pod's own if empty and there is no selector.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces by their labels; an empty one is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// `topologySpreadConstraints[]`: <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopologySpread {
    /// The largest difference between a domain and the emptiest.
    pub max_skew: u32,
    /// The node label whose value is the domain.
    pub topology_key: String,
    /// `DoNotSchedule` or `ScheduleAnyway`.
    pub when_unsatisfiable: String,
    /// Which pods are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Domains that there must be, or the emptiest counts as empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_domains: Option<u32>,
    /// Labels of the pod whose values count too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_label_keys: Vec<String>,
    /// `Honor` or `Ignore`: whether nodes that the pod's node affinity excludes count; `Honor` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_affinity_policy: Option<String>,
    /// `Honor` or `Ignore`: whether nodes with taints that the pod does not tolerate count; `Ignore` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_taints_policy: Option<String>,
}

/// `tolerations[]`: <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// The taint's key; all if absent (with `Exists`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `Equal` or `Exists`; `Equal` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The taint's value, for `Equal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; all if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// For `NoExecute`: how long it stays; for ever if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// `taints[]` of a Node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// The key.
    pub key: String,
    /// Its value, may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl NodeSelector {
    /// True if one of its terms holds for the node of this name.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(name, labels))
    }
}

impl NodeTerm {
    /// True if all of it holds for the node of this name. A term that asks for nothing holds for no node.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        let asks = !self.match_expressions.is_empty() || !self.match_fields.is_empty();
        let label = |key: &str| labels.get(key).map(String::as_str);
        let field = |key: &str| (key == "metadata.name").then_some(name);
        asks && self.match_expressions.iter().all(|wanted| wanted.holds(label(&wanted.key)))
            && self.match_fields.iter().all(|wanted| wanted.holds(field(&wanted.key)))
    }
}

impl NodeRequirement {
    /// `Gt` and `Lt` compare whole numbers; what is none holds for neither.
    fn holds(&self, value: Option<&str>) -> bool {
        let is_among = |value: &str| self.values.iter().any(|wanted| wanted == value);
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
        let bound = || number(self.values.first().map(String::as_str));
        match self.operator.as_str() {
            "In" => value.is_some_and(is_among),
            "NotIn" => !value.is_some_and(is_among),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => number(value).zip(bound()).is_some_and(|(value, bound)| value > bound),
            "Lt" => number(value).zip(bound()).is_some_and(|(value, bound)| value < bound),
            _ => false,
        }
    }
}

impl TopologySpread {
    /// True if a node that breaks it is out of the question, and not only worse.
    #[must_use]
    pub fn is_hard(&self) -> bool {
        self.when_unsatisfiable != "ScheduleAnyway"
    }
}

impl Toleration {
    /// True if it covers the taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let names = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == is);
        let has_value = self.operator.as_deref() == Some("Exists") || self.value.as_deref().unwrap_or("") == taint.value;
        names(&self.effect, &taint.effect) && names(&self.key, &taint.key) && has_value
    }
}

impl Taint {
    /// New pods that do not tolerate it stay away.
    pub const NO_SCHEDULE: &str = "NoSchedule";
    /// New pods that do not tolerate it go elsewhere if they can.
    pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
    /// Pods that do not tolerate it stay away, and those that run there leave.
    pub const NO_EXECUTE: &str = "NoExecute";

    /// True if one of the tolerations covers it.
    #[must_use]
    pub fn is_tolerated(&self, tolerations: &[Toleration]) -> bool {
        tolerations.iter().any(|toleration| toleration.tolerates(self))
    }

    /// A taint without a value that sends pods away.
    #[must_use]
    pub fn evicting(key: &str) -> Self {
        Self { key: key.to_owned(), value: String::new(), effect: Self::NO_EXECUTE.to_owned() }
    }

    /// How long a pod with these tolerations may stay where this taint sends pods away: not at all, for a while, or (`None`) for ever.
    #[must_use]
    pub fn patience(&self, tolerations: &[Toleration]) -> Option<Duration> {
        let Some(toleration) = tolerations.iter().find(|toleration| toleration.tolerates(self)) else {
            return Some(Duration::ZERO);
        };
        toleration.toleration_seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// True if a pod with these tolerations may come to a node with this taint.
    #[must_use]
    pub fn admits(&self, tolerations: &[Toleration]) -> bool {
        match self.effect.as_str() {
            Self::NO_EXECUTE => self.patience(tolerations) != Some(Duration::ZERO),
            Self::NO_SCHEDULE => self.is_tolerated(tolerations),
            _ => true,
        }
    }
}
