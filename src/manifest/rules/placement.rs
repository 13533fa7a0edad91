//! Rules of where pods run: affinity, spread, tolerations; Nodes, PriorityClasses and PodDisruptionBudgets.

use super::super::findings::Findings;
use super::super::names::is_label_key;
use crate::model::{
    Affinity, DisruptionBudget, LabelSelector, NodeRequirement, NodeSpec, NodeTerm, PodAffinity, PodAffinityTerm, PodSpec,
    PriorityClass, Taint, Toleration, TopologySpread,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// More than any machine has: then a unit was forgotten.
const CPU_MILLI_ABSURD: u64 = 4_096 * 1_000;
const MEMORY_BYTES_ABSURD: u64 = 64 << 40;

/// Checks where a pod wants to run; `root` leads to its spec.
pub(super) fn check(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    if let Some(affinity) = &spec.affinity {
        check_affinity(affinity, &format!("{root}/affinity"), findings);
    }
    for (index, toleration) in spec.tolerations.iter().enumerate() {
        check_toleration(toleration, &format!("{root}/tolerations/{index}"), findings);
    }
    check_spread(&spec.topology_spread_constraints, &format!("{root}/topologySpreadConstraints"), findings);
    check_amounts(spec, root, findings);
}

fn check_affinity(affinity: &Affinity, at: &str, findings: &mut Findings<'_>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(nodes) = &affinity.node_affinity {
        for (index, term) in nodes.required.iter().flat_map(|required| &required.node_selector_terms).enumerate() {
            check_node_term(term, &format!("{at}/nodeAffinity/{REQUIRED}/nodeSelectorTerms/{index}"), findings);
        }
        for (index, preferred) in nodes.preferred.iter().enumerate() {
            check_node_term(&preferred.preference, &format!("{at}/nodeAffinity/{PREFERRED}/{index}/preference"), findings);
        }
    }
    let pods = [("podAffinity", &affinity.pod_affinity), ("podAntiAffinity", &affinity.pod_anti_affinity)];
    for (name, pods) in pods.into_iter().filter_map(|(name, pods)| Some((name, pods.as_ref()?))) {
        let PodAffinity { required, preferred } = pods;
        for (index, term) in required.iter().enumerate() {
            check_pod_term(term, &format!("{at}/{name}/{REQUIRED}/{index}"), findings);
        }
        for (index, preferred) in preferred.iter().enumerate() {
            check_pod_term(&preferred.pod_affinity_term, &format!("{at}/{name}/{PREFERRED}/{index}/podAffinityTerm"), findings);
        }
    }
}

fn check_node_term(term: &NodeTerm, at: &str, findings: &mut Findings<'_>) {
    for (index, wanted) in term.match_expressions.iter().enumerate() {
        let at = format!("{at}/matchExpressions/{index}");
        check_key(&wanted.key, &format!("{at}/key"), findings);
        check_requirement(wanted, &at, findings);
    }
    for (index, wanted) in term.match_fields.iter().enumerate() {
        let at = format!("{at}/matchFields/{index}");
        if wanted.key != "metadata.name" {
            findings.error(&format!("{at}/key"), "must be metadata.name", None);
        }
        if !matches!(wanted.operator.as_str(), "In" | "NotIn") || wanted.values.len() != 1 {
            findings.error(&at, "must have the operator In or NotIn and one value", None);
        }
    }
}

fn check_requirement(wanted: &NodeRequirement, at: &str, findings: &mut Findings<'_>) {
    let problem = match wanted.operator.as_str() {
        "In" | "NotIn" if wanted.values.is_empty() => "must have values",
        "Exists" | "DoesNotExist" if !wanted.values.is_empty() => "must not have values",
        "Gt" | "Lt" if wanted.values.len() != 1 || wanted.values.iter().any(|value| value.parse::<i64>().is_err()) => {
            "must have one whole number"
        }
        _ => return,
    };
    findings.error(at, &format!("{problem} with the operator {}", wanted.operator), None);
}

fn check_key(key: &str, at: &str, findings: &mut Findings<'_>) {
    if !is_label_key(key) {
        findings.error(at, "is not a valid label key", None);
    }
}

fn check_pod_term(term: &PodAffinityTerm, at: &str, findings: &mut Findings<'_>) {
    check_key(&term.topology_key, &format!("{at}/topologyKey"), findings);
    check_selector(term.label_selector.as_ref(), &format!("{at}/labelSelector"), findings);
    check_selector(term.namespace_selector.as_ref(), &format!("{at}/namespaceSelector"), findings);
}

/// A selector that may be empty.
fn check_selector(selector: Option<&LabelSelector>, at: &str, findings: &mut Findings<'_>) {
    let Some(selector) = selector else { return };
    super::check_keys(&selector.match_labels, &format!("{at}/matchLabels"), findings);
    super::check_expressions(&selector.match_expressions, at, findings);
}

fn check_toleration(toleration: &Toleration, at: &str, findings: &mut Findings<'_>) {
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or("").is_empty();
    let exists = toleration.operator.as_deref() == Some("Exists");
    if is_empty(&toleration.key) && !exists {
        findings.error(at, "must have a key, or the operator Exists", None);
    }
    if exists && !is_empty(&toleration.value) {
        findings.error(&format!("{at}/value"), "must not be there with the operator Exists", None);
    }
    if toleration.toleration_seconds.is_some() && toleration.effect.as_deref() != Some(Taint::NO_EXECUTE) {
        findings.error(&format!("{at}/tolerationSeconds"), "needs effect: NoExecute beside it", None);
    }
}

fn check_spread(constraints: &[TopologySpread], at: &str, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, wanted) in constraints.iter().enumerate() {
        let at = format!("{at}/{index}");
        if !seen.insert((&wanted.topology_key, &wanted.when_unsatisfiable)) {
            findings.error(&at, "has the topologyKey and whenUnsatisfiable of another constraint", None);
        }
        check_key(&wanted.topology_key, &format!("{at}/topologyKey"), findings);
        check_selector(wanted.label_selector.as_ref(), &format!("{at}/labelSelector"), findings);
        if wanted.min_domains.is_some() && !wanted.is_hard() {
            findings.error(&format!("{at}/minDomains"), "needs whenUnsatisfiable: DoNotSchedule beside it", None);
        }
        if !wanted.match_label_keys.is_empty() && wanted.label_selector.is_none() {
            findings.error(&format!("{at}/matchLabelKeys"), "needs a labelSelector beside it", None);
        }
    }
}

/// Requests that no machine has: a unit was forgotten, or one too many was written.
fn check_amounts(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    for (index, container) in spec.containers.iter().enumerate() {
        let at = |name: &str| format!("{root}/containers/{index}/resources/requests/{name}");
        let amount = |name: &str| container.resources.requests.get(name).copied().unwrap_or_default();
        if amount("cpu").milli() > CPU_MILLI_ABSURD {
            let message = format!("no node has {} cores", amount("cpu"));
            findings.warning(&at("cpu"), message, Some("a thousandth of a core is written as 1m".to_owned()));
        }
        if amount("memory").value() > MEMORY_BYTES_ABSURD {
            let message = format!("no node has {} of memory", amount("memory"));
            findings.warning(&at("memory"), message, Some("a mebibyte is written as 1Mi".to_owned()));
        }
    }
}

/// Checks a `v1 Node`.
pub(super) fn check_node(spec: &NodeSpec, findings: &mut Findings<'_>) {
    let mut seen = BTreeSet::new();
    for (index, taint) in spec.taints.iter().enumerate() {
        let at = format!("/spec/taints/{index}");
        check_key(&taint.key, &format!("{at}/key"), findings);
        if !seen.insert((&taint.key, &taint.effect)) {
            findings.error(&at, "has the key and effect of another taint", None);
        }
    }
}

/// Checks a PriorityClass.
pub(super) fn check_class(value: &Value, findings: &mut Findings<'_>) {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name.starts_with("system-") {
        let built_in = PriorityClass::built_in().iter().any(|(known, _)| *known == name);
        let hint = if built_in { "leave it out: every cluster has it" } else { "choose another name" };
        findings.error("/metadata/name", "must not begin with system-", Some(hint.to_owned()));
    }
}

/// Checks a PodDisruptionBudget.
pub(super) fn check_budget(budget: &DisruptionBudget, findings: &mut Findings<'_>) {
    check_selector(budget.selector.as_ref(), "/spec/selector", findings);
}
