//! What the downward API tells a container of its pod, as variables or as files:
//! <https://kubernetes.io/docs/concepts/workloads/pods/downward-api/>.

use super::LaunchInput;
use crate::model::{Container, ResourceFieldRef};
use std::collections::BTreeMap;

/// A field of the pod as text; `Err` says why it has none here.
pub(super) fn field(path: &str, input: &LaunchInput<'_>) -> Result<String, &'static str> {
    let meta = &input.snapshot.template.metadata;
    let text = match path {
        "metadata.name" => input.run.name.clone(),
        "metadata.namespace" => input.run.workload.namespace.clone(),
        "metadata.uid" => input.run.uid.to_string(),
        "metadata.labels" => lines(meta.labels.clone().into_iter().chain(input.run.own_labels()).collect()),
        "metadata.annotations" => lines(meta.annotations.clone().into_iter().chain(input.run.own_labels()).collect()),
        "spec.nodeName" => input.facts.name.to_string(),
        "status.hostIP" | "status.hostIPs" => input.host_address.to_string(),
        "status.podIP" | "status.podIPs" => {
            input.pod_address.ok_or("is not known before a container has been started on Docker")?.to_string()
        }
        _ => match subscript(path) {
            // A label or annotation that is absent is empty, as in Kubernetes.
            Some(("metadata.labels", key)) => of_pod(&meta.labels, key, input),
            Some(("metadata.annotations", key)) => of_pod(&meta.annotations, key, input),
            Some(_) | None => return Err("is not a field that Driftless offers"),
        },
    };
    Ok(text)
}

/// `key="value"`, one a line, as Kubernetes writes them into files.
fn lines(map: BTreeMap<String, String>) -> String {
    map.into_iter().map(|(key, value)| format!("{key}={}", serde_json::Value::String(value))).collect::<Vec<_>>().join("\n")
}

/// A label or annotation: the pod's own, else its template's.
fn of_pod(map: &BTreeMap<String, String>, key: &str, input: &LaunchInput<'_>) -> String {
    input.run.own_labels().get(key).or_else(|| map.get(key)).cloned().unwrap_or_default()
}

/// `metadata.labels['app']` → (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// An amount of a container in units of its divisor, rounded up; `Err` says why there is none. A limit that is not set is what the
/// node can give, a request that is not set is the limit, and nothing if there is none.
pub(super) fn amount(reference: &ResourceFieldRef, input: &LaunchInput<'_>) -> Result<u64, &'static str> {
    let container = match &reference.container_name {
        None => input.container,
        Some(name) => {
            let mut all = input.snapshot.template.spec.all_containers();
            all.find(|container| container.name == *name).ok_or("names no container of the pod")?
        }
    };
    let node = &input.facts.allocatable;
    let (amount, unit) = match reference.resource.as_str() {
        "limits.cpu" => (limit(container, "cpu").unwrap_or(node.cpu_milli), Unit::Milli),
        "limits.memory" => (limit(container, "memory").unwrap_or(node.memory_bytes), Unit::Whole),
        "requests.cpu" => (request(container, "cpu"), Unit::Milli),
        "requests.memory" => (request(container, "memory"), Unit::Whole),
        _ => return Err("is not an amount that Driftless offers"),
    };
    let divisor = match (reference.divisor.filter(|divisor| divisor.milli() > 0), unit) {
        (None, Unit::Milli) => 1000,
        (None, Unit::Whole) => 1,
        (Some(divisor), Unit::Milli) => divisor.milli(),
        (Some(divisor), Unit::Whole) => divisor.value(),
    };
    Ok(amount.div_ceil(divisor.max(1)))
}

/// What an amount is counted in.
#[derive(Clone, Copy)]
enum Unit {
    /// Thousandths, for cpu.
    Milli,
    /// Bytes.
    Whole,
}

fn limit(container: &Container, name: &str) -> Option<u64> {
    container.resources.limits.get(name).map(|quantity| if name == "cpu" { quantity.milli() } else { quantity.value() })
}

fn request(container: &Container, name: &str) -> u64 {
    let written = container.resources.requests.get(name);
    written
        .map(|quantity| if name == "cpu" { quantity.milli() } else { quantity.value() })
        .or_else(|| limit(container, name))
        .unwrap_or_default()
}
