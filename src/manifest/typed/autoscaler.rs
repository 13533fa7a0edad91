//! HorizontalPodAutoscalers, of `autoscaling/v2` and `v1`.

use super::super::findings::Findings;
use super::part;
use crate::model::{
    Autoscaler, Meta, MetricTarget, Quantity, ScaleChange, ScaleMetric, ScalePolicy, ScaleRules, ScaledResource, SelectPolicy,
};
use serde::Deserialize;
use serde_json::Value;

/// What Kubernetes wants of the cpu requested, in percent, where nothing is said.
const CPU_PERCENT: u32 = 80;

/// Where `autoscaling/v1` has the fields that only v2 knows, for round trips through Kubernetes' API.
const V2_ANNOTATIONS: [&str; 2] = ["autoscaling.alpha.kubernetes.io/metrics", "autoscaling.alpha.kubernetes.io/behavior"];

/// The spec of both versions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAutoscaler {
    scale_target_ref: ScaleTarget,
    min_replicas: Option<u32>,
    max_replicas: u32,
    #[serde(rename = "targetCPUUtilizationPercentage")]
    cpu_percent: Option<u32>,
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
#[serde(rename_all = "camelCase")]
struct Metric {
    r#type: String,
    resource: Option<ResourceMetric>,
    container_resource: Option<ResourceMetric>,
}

#[derive(Deserialize)]
struct ResourceMetric {
    name: String,
    container: Option<String>,
    target: WrittenTarget,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenTarget {
    r#type: String,
    average_utilization: Option<u32>,
    average_value: Option<Quantity>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Behavior {
    scale_up: WrittenRules,
    scale_down: WrittenRules,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenRules {
    stabilization_window_seconds: Option<u32>,
    select_policy: Option<String>,
    policies: Option<Vec<WrittenPolicy>>,
    tolerance: Option<Quantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPolicy {
    r#type: String,
    value: u32,
    period_seconds: u32,
}

pub(super) fn autoscaler(value: &Value, meta: &Meta, findings: &mut Findings<'_>) -> Option<Autoscaler> {
    let written: WrittenAutoscaler = part(value, "/spec", findings)?;
    let min_replicas = written.min_replicas.unwrap_or(1);
    if min_replicas > written.max_replicas {
        findings.error("/spec/minReplicas", "must not exceed maxReplicas", None);
    }
    refuse_v2_annotations(meta, findings);
    let metrics = if written.metrics.is_empty() {
        vec![ScaleMetric::cpu(written.cpu_percent.unwrap_or(CPU_PERCENT))]
    } else {
        let metrics = written.metrics.into_iter().enumerate();
        metrics.map(|(index, metric)| self::metric(metric, &format!("/spec/metrics/{index}"), findings)).collect::<Option<_>>()?
    };
    Some(Autoscaler {
        target_kind: written.scale_target_ref.kind,
        target_name: written.scale_target_ref.name,
        min_replicas,
        max_replicas: written.max_replicas,
        metrics,
        scale_up: rules(written.behavior.scale_up, ScaleRules::up()),
        scale_down: rules(written.behavior.scale_down, ScaleRules::down()),
    })
}

/// Kubernetes would read them; to pass them over would scale by other rules than those that are written.
fn refuse_v2_annotations(meta: &Meta, findings: &mut Findings<'_>) {
    for key in V2_ANNOTATIONS.into_iter().filter(|key| meta.annotations.contains_key(*key)) {
        let hint = "write autoscaling/v2, whose spec has metrics and behavior".to_owned();
        findings.error_at_key("/metadata/annotations", key, "is not read", Some(hint));
    }
}

/// A metric has the one source that its type names.
fn metric(metric: Metric, pointer: &str, findings: &mut Findings<'_>) -> Option<ScaleMetric> {
    let (wanted, source, unwanted, other) = match metric.r#type.as_str() {
        "ContainerResource" => ("containerResource", metric.container_resource, "resource", metric.resource.is_some()),
        _ => ("resource", metric.resource, "containerResource", metric.container_resource.is_some()),
    };
    if other {
        let message = format!("must not be there when the type is {}", metric.r#type);
        findings.error(&format!("{pointer}/{unwanted}"), &message, None);
    }
    let pointer = format!("{pointer}/{wanted}");
    let Some(source) = source else {
        findings.error(&pointer, &format!("is required when the type is {}", metric.r#type), None);
        return None;
    };
    let resource = if source.name == "memory" { ScaledResource::Memory } else { ScaledResource::Cpu };
    let target = target(resource, &source.target, &format!("{pointer}/target"), findings)?;
    Some(ScaleMetric { resource, container: source.container, target })
}

fn target(resource: ScaledResource, target: &WrittenTarget, pointer: &str, findings: &mut Findings<'_>) -> Option<MetricTarget> {
    let amount = target.average_value.map(|value| match resource {
        ScaledResource::Cpu => value.milli(),
        ScaledResource::Memory => value.value(),
    });
    let found = match (target.r#type.as_str(), target.average_utilization, amount) {
        ("Utilization", Some(percent), None) => Ok(MetricTarget::Utilization(percent)),
        ("Utilization", ..) => Err("averageUtilization"),
        (_, None, Some(amount)) if amount > 0 => Ok(MetricTarget::AverageValue(amount)),
        _ => Err("averageValue above 0"),
    };
    if let Err(wanted) = found {
        findings.error(pointer, &format!("must have {wanted} alone when the type is {}", target.r#type), None);
    }
    found.ok()
}

/// What is written, and the default of each field that is not.
fn rules(written: WrittenRules, default: ScaleRules) -> ScaleRules {
    let policy = |policy: WrittenPolicy| ScalePolicy {
        change: if policy.r#type == "Pods" { ScaleChange::Pods(policy.value) } else { ScaleChange::Percent(policy.value) },
        period_seconds: policy.period_seconds,
    };
    ScaleRules {
        window_seconds: written.stabilization_window_seconds.unwrap_or(default.window_seconds),
        select: match written.select_policy.as_deref() {
            Some("Min") => SelectPolicy::Min,
            Some("Disabled") => SelectPolicy::Disabled,
            Some(_) => SelectPolicy::Max,
            None => default.select,
        },
        policies: written.policies.map_or(default.policies, |policies| policies.into_iter().map(policy).collect()),
        tolerance_milli: written
            .tolerance
            .map_or(default.tolerance_milli, |tolerance| u32::try_from(tolerance.milli()).unwrap_or(u32::MAX)),
    }
}
