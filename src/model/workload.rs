//! Workloads: what keeps pods running. The kinds differ in their strategy, and in how their pods are named.

use super::{ClaimSpec, IntOrString, JobSpec, Meta, PodSnapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A workload, after defaulting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// `spec.replicas` as written; `None` if absent (then 1, or what the autoscaler says). `spec.parallelism` of a Job.
    pub replicas: Option<u32>,
    /// `spec.selector.matchLabels` (and `matchExpressions` in the same struct).
    pub selector: LabelSelector,
    /// The template with its hash and configuration.
    pub snapshot: Arc<PodSnapshot>,
    /// How a new template replaces the old one.
    pub strategy: Strategy,
    /// Seconds that a pod must be ready to count as available.
    pub min_ready_seconds: u32,
    /// Seconds without progress after which a rollout has failed.
    pub progress_deadline_seconds: u32,
    /// A paused workload is scaled and healed, but no new template goes out. A suspended Job runs no pods.
    pub paused: bool,
}

/// How a new template replaces the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// A few at a time.
    Rolling {
        /// Pods above the wanted number, as a count or a percentage (rounded up).
        max_surge: IntOrString,
        /// Pods that may be unavailable, as a count or a percentage (rounded down).
        max_unavailable: IntOrString,
    },
    /// All old ones stop, then the new ones start.
    Recreate,
    /// The new set beside the old one, then the Service switches at once.
    BlueGreen(BlueGreen),
    /// Its pods run to completion; a new template is a new run.
    Job(Box<JobSpec>),
    /// What runs stays as it is; the new template is for new pods only (a ReplicaSet).
    OnDelete,
    /// Numbered pods, one of each number at a time (a StatefulSet).
    Stateful(Stateful),
    /// One pod on every node that suits (a DaemonSet).
    Daemon(DaemonUpdate),
}

impl Strategy {
    /// True if a new template replaces no pod: it is for new pods only.
    #[must_use]
    pub fn keeps_what_runs(&self) -> bool {
        match self {
            Strategy::OnDelete | Strategy::Daemon(DaemonUpdate::OnDelete) => true,
            Strategy::Stateful(spec) => spec.update == StatefulUpdate::OnDelete,
            Strategy::Rolling { .. } | Strategy::Recreate | Strategy::BlueGreen(_) | Strategy::Daemon(_) | Strategy::Job(_) => {
                false
            }
        }
    }

    /// What a blue/green Rollout says; `None` of every other strategy.
    #[must_use]
    pub fn blue_green(&self) -> Option<&BlueGreen> {
        if let Strategy::BlueGreen(blue_green) = self { Some(blue_green) } else { None }
    }
}

/// What a StatefulSet says beyond its template: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/>.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stateful {
    /// The headless Service that names its pods; empty if there is none.
    pub service_name: String,
    /// The number of its first pod.
    pub first: u32,
    /// Whether pods come and go all at once, and not one after the other.
    pub parallel: bool,
    /// How a new template gets to its pods.
    pub update: StatefulUpdate,
    /// The volumes that each pod has for itself.
    pub claims: Vec<ClaimTemplate>,
    /// What becomes of them.
    pub retention: ClaimRetention,
}

/// How a new template gets to the pods of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatefulUpdate {
    /// From the highest number down.
    Rolling {
        /// Pods of lower numbers keep the old template.
        partition: u32,
        /// Pods that may be unavailable, as a count or a percentage (rounded up).
        max_unavailable: IntOrString,
    },
    /// When somebody removes them.
    OnDelete,
}

impl Default for StatefulUpdate {
    fn default() -> Self {
        Self::Rolling { partition: 0, max_unavailable: IntOrString::Int(1) }
    }
}

/// `volumeClaimTemplates[]`: a volume claim that each pod of a StatefulSet has for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimTemplate {
    /// What mounts call it; the claims are called `<name>-<pod>`.
    pub name: String,
    /// Labels and annotations of the claims.
    pub meta: Meta,
    /// What is claimed.
    pub spec: ClaimSpec,
}

/// `persistentVolumeClaimRetentionPolicy`: whether claims are deleted, data and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClaimRetention {
    /// With the StatefulSet.
    pub delete_when_deleted: bool,
    /// With their pod, when fewer are wanted.
    pub delete_when_scaled: bool,
}

/// How a new template gets to the pods of a DaemonSet. One of the two bounds is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonUpdate {
    /// Some nodes at a time.
    Rolling {
        /// Nodes that may have an old and a new pod, as a count or a percentage (rounded up).
        max_surge: IntOrString,
        /// Nodes that may be without an available pod, as a count or a percentage (rounded up).
        max_unavailable: IntOrString,
    },
    /// When somebody removes them.
    OnDelete,
}

/// `strategy.blueGreen` of a Rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlueGreen {
    /// The Service that users reach.
    pub active_service: String,
    /// A Service that points at the newest set.
    pub preview_service: Option<String>,
    /// Whether a fully ready new set is promoted by itself.
    pub auto_promotion: bool,
    /// Seconds to wait before promoting by itself.
    pub auto_promotion_seconds: u32,
    /// Seconds between the switch and the end of the old set.
    pub scale_down_delay_seconds: u32,
    /// The hash in `driftless.dev/promote`, if the annotation is there.
    pub promote: Option<String>,
}

/// A label selector: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// All of these must be equal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// All of these must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelExpression>,
}

/// `matchExpressions[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values for `In` and `NotIn`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// True if `labels` satisfy every requirement. An empty selector matches everything.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.holds(labels))
    }
}

impl LabelExpression {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

impl Workload {
    /// How many pods above and below the wanted number a rolling update of `replicas` pods may be, as Kubernetes resolves
    /// percentages; both zero becomes one unavailable.
    #[must_use]
    pub fn rolling_bounds(max_surge: &IntOrString, max_unavailable: &IntOrString, replicas: u32) -> (u32, u32) {
        let surge = resolve(max_surge, replicas, true);
        let unavailable = resolve(max_unavailable, replicas, false).min(replicas);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    /// The bound of an update that goes from pod to pod, as Kubernetes resolves it for StatefulSets and DaemonSets: a percentage is
    /// rounded up.
    #[must_use]
    pub fn update_bound(bound: &IntOrString, pods: u32) -> u32 {
        resolve(bound, pods, true)
    }
}

impl IntOrString {
    /// True if it is a percentage.
    #[must_use]
    pub fn is_percentage(&self) -> bool {
        matches!(self, IntOrString::Text(_))
    }

    /// A count as it is, a percentage as its part of `total`.
    #[must_use]
    pub fn part_of(&self, total: u32, round_up: bool) -> u32 {
        resolve(self, total, round_up)
    }
}

/// A count, or a percentage of `total`.
fn resolve(value: &IntOrString, total: u32, round_up: bool) -> u32 {
    match value {
        IntOrString::Int(count) => u32::try_from(*count).unwrap_or(0),
        IntOrString::Text(text) => {
            let percent: u64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let hundredths = percent * u64::from(total);
            let count = if round_up { hundredths.div_ceil(100) } else { hundredths / 100 };
            u32::try_from(count).unwrap_or(u32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{IntOrString, LabelSelector, Workload};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn selects(selector: Value, labels: &[(&str, &str)]) -> bool {
        let selector: LabelSelector = serde_json::from_value(selector).expect("a selector");
        let labels: BTreeMap<String, String> = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        selector.matches(&labels)
    }

    #[test]
    fn a_selector_takes_what_meets_all_of_it() {
        let selector = |operator: &str, values: Value| {
            let expression = json!({ "key": "tier", "operator": operator, "values": values });
            json!({ "matchLabels": { "app": "web" }, "matchExpressions": [expression] })
        };
        let (front, none) = ([("app", "web"), ("tier", "front")], [("app", "web")]);
        let cases = [
            ("In", json!(["front", "back"]), true, false),
            ("In", json!(["back"]), false, false),
            ("NotIn", json!(["back"]), true, true),
            ("NotIn", json!(["front"]), false, true),
            ("Exists", json!([]), true, false),
            ("DoesNotExist", json!([]), false, true),
        ];
        for (operator, values, with, without) in cases {
            let selector = selector(operator, values);
            assert_eq!((selects(selector.clone(), &front), selects(selector.clone(), &none)), (with, without), "{selector}");
            assert!(!selects(selector, &[("app", "api"), ("tier", "front")]));
        }
        assert!(selects(json!({}), &[]), "an empty one takes everything");
    }

    #[test]
    fn percentages_of_a_rolling_update_are_rounded_so_that_it_goes_on() {
        let percent = |percent: u32| IntOrString::Text(format!("{percent}%"));
        assert_eq!(Workload::rolling_bounds(&percent(25), &percent(25), 10), (3, 2));
        assert_eq!(Workload::rolling_bounds(&percent(0), &percent(25), 3), (0, 1), "one must go where none may come");
        assert_eq!(Workload::rolling_bounds(&IntOrString::Int(1), &IntOrString::Int(0), 3), (1, 0));
        assert_eq!(Workload::update_bound(&percent(10), 5), 1);
    }
}
