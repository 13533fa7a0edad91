//! HorizontalPodAutoscalers.

use super::super::findings::Findings;
use super::part;
use crate::model::{Autoscaler, Quantity};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAutoscaler {
    scale_target_ref: ScaleTarget,
    min_replicas: Option<u32>,
    max_replicas: u32,
    #[serde(default)]
    metrics: Vec<Metric>,
    #[serde(default)]
    behavior: Behavior,
}

#[derive(Deserialize)]
struct ScaleTarget {
    kind: String,
    name: String,
}

#[derive(Deserialize)]
struct Metric {
    resource: Option<ResourceMetric>,
}

#[derive(Deserialize)]
struct ResourceMetric {
    target: MetricTarget,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricTarget {
    r#type: String,
    average_utilization: Option<u32>,
    average_value: Option<Quantity>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Behavior {
    scale_up: ScaleRules,
    scale_down: ScaleRules,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ScaleRules {
    stabilization_window_seconds: Option<u32>,
}

pub(super) fn autoscaler(value: &Value, findings: &mut Findings<'_>) -> Option<Autoscaler> {
    let written: WrittenAutoscaler = part(value, "/spec", findings)?;
    let min_replicas = written.min_replicas.unwrap_or(1);
    if min_replicas > written.max_replicas {
        findings.error("/spec/minReplicas", "must not exceed maxReplicas", None);
    }
    // Without metrics Kubernetes looks at cpu, and wants 80 % of the request.
    let (cpu_percent, cpu_average_milli) = match written.metrics.into_iter().next() {
        None => (Some(80), None),
        Some(metric) => metric_target(metric, findings)?,
    };
    Some(Autoscaler {
        target_kind: written.scale_target_ref.kind,
        target_name: written.scale_target_ref.name,
        min_replicas,
        max_replicas: written.max_replicas,
        cpu_percent,
        cpu_average_milli,
        scale_down_window_seconds: written.behavior.scale_down.stabilization_window_seconds.unwrap_or(300),
        scale_up_window_seconds: written.behavior.scale_up.stabilization_window_seconds.unwrap_or(0),
    })
}

fn metric_target(metric: Metric, findings: &mut Findings<'_>) -> Option<(Option<u32>, Option<u64>)> {
    let pointer = "/spec/metrics/0/resource";
    let Some(resource) = metric.resource else {
        findings.error(pointer, "is required when the type is Resource", None);
        return None;
    };
    let target = resource.target;
    let (wanted, is_there, other) = match target.r#type.as_str() {
        "Utilization" => ("averageUtilization", target.average_utilization.is_some(), target.average_value.is_some()),
        _ => ("averageValue", target.average_value.is_some_and(|value| value.milli() > 0), target.average_utilization.is_some()),
    };
    if !is_there || other {
        findings.error(
            &format!("{pointer}/target"),
            &format!("must have {wanted} alone when the type is {}", target.r#type),
            None,
        );
        return None;
    }
    Some((target.average_utilization, target.average_value.map(Quantity::milli)))
}
