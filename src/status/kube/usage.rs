//! `metrics.k8s.io`: what pods and nodes use, as `kubectl top` asks for it.
//!
//! What was not measured twice has no cpu yet, and is left out, as metrics-server does; so is what was not heard of lately.

use super::super::pods::{self, ShownPod};
use super::Scope;
use super::metadata;
use super::resource::Group;
use crate::model::{ContainerUsage, Moment, NodeName, NodeView, SAMPLE_PERIOD, View};
use serde_json::{Value, json};

/// `PodMetrics`
pub(super) fn pods(view: &View, scope: &Scope) -> Vec<Value> {
    let all = pods::all(view);
    all.iter().filter(|pod| scope.takes(pod.namespace(), pod.name)).filter_map(of_pod).collect()
}

fn of_pod(pod: &ShownPod<'_>) -> Option<Value> {
    let (usage, at) = pod.view.usage.as_ref()?;
    let container = |(name, usage): (&String, &ContainerUsage)| -> Option<Value> {
        Some(json!({ "name": name, "usage": amounts(usage.cpu_milli?, usage.memory_bytes) }))
    };
    // The sum of some containers would pass for the use of the pod.
    let containers: Vec<Value> = usage.containers.iter().map(container).collect::<Option<_>>()?;
    if containers.is_empty() {
        return None;
    }
    let mut metadata = json!({ "name": pod.name, "namespace": pod.namespace() });
    metadata::put_labels(&mut metadata, &pod.labels());
    let mut shown = measured("PodMetrics", metadata, *at);
    shown["containers"] = json!(containers);
    Some(shown)
}

/// `NodeMetrics`
pub(super) fn nodes(view: &View, scope: &Scope) -> Vec<Value> {
    view.nodes.iter().filter(|(name, _)| scope.takes("", name.as_str())).filter_map(of_node).collect()
}

fn of_node((name, node): (&NodeName, &NodeView)) -> Option<Value> {
    let (usage, at) = node.usage?;
    let mut metadata = json!({ "name": name });
    if let Some(facts) = &node.facts {
        metadata::put_labels(&mut metadata, &facts.labels);
    }
    let mut shown = measured("NodeMetrics", metadata, at);
    shown["usage"] = amounts(usage.cpu_milli?, usage.memory_bytes);
    Some(shown)
}

fn measured(kind: &str, mut metadata: Value, at: Moment) -> Value {
    metadata::put_created(&mut metadata, Some(at));
    let mut shown = metadata::with_type(&Group::METRICS.to_string(), kind, metadata);
    shown.insert("timestamp".into(), json!(at.rfc3339()));
    shown.insert("window".into(), json!(format!("{}s", SAMPLE_PERIOD.as_secs())));
    Value::Object(shown)
}

fn amounts(cpu_milli: u64, memory_bytes: u64) -> Value {
    json!({ "cpu": format!("{cpu_milli}m"), "memory": format!("{}Ki", memory_bytes / 1024) })
}
