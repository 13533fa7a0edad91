//! HorizontalPodAutoscalers, in the shape of `autoscaling/v2` whichever version was written.

use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{
    Autoscaler, AutoscalerView, Kind, MetricReading, MetricTarget, MetricUsage, Object, Quantity, ScaleBasis, ScaleChange,
    ScaleDecision, ScaleLimit, ScaleMetric, ScalePolicy, ScaleRules, SelectPolicy, View,
};
use serde_json::{Value, json};

/// The autoscalers.
pub(super) fn autoscalers(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::HorizontalPodAutoscaler, scope).filter_map(|object| autoscaler(view, object)).collect()
}

fn autoscaler(view: &View, object: &Object) -> Option<Value> {
    let autoscaler = object.autoscaler()?;
    let mut shown = metadata::of_object(view, object);
    shown.insert("spec".into(), spec(autoscaler));
    let state = view.autoscalers.get(&object.key);
    shown.insert("status".into(), state.map_or_else(|| json!({}), |state| status(view, autoscaler, state)));
    Some(Value::Object(shown))
}

fn spec(autoscaler: &Autoscaler) -> Value {
    let kind = Kind::named(&autoscaler.target_kind).unwrap_or(Kind::Deployment);
    let metrics: Vec<Value> = autoscaler.metrics.iter().map(|metric| of_metric(metric, "target", target(metric))).collect();
    json!({
        "scaleTargetRef": { "apiVersion": kind.api_version(), "kind": kind.as_str(), "name": autoscaler.target_name },
        "minReplicas": autoscaler.min_replicas,
        "maxReplicas": autoscaler.max_replicas,
        "metrics": metrics,
        "behavior": { "scaleUp": rules(&autoscaler.scale_up), "scaleDown": rules(&autoscaler.scale_down) },
    })
}

/// A metric with its target or its current value.
fn of_metric(metric: &ScaleMetric, field: &str, value: Value) -> Value {
    let name = metric.resource.as_str();
    match &metric.container {
        Some(container) => json!({
            "type": "ContainerResource",
            "containerResource": { "name": name, "container": container, field: value },
        }),
        None => json!({ "type": "Resource", "resource": { "name": name, field: value } }),
    }
}

fn target(metric: &ScaleMetric) -> Value {
    match metric.target {
        MetricTarget::Utilization(percent) => json!({ "type": "Utilization", "averageUtilization": percent }),
        MetricTarget::AverageValue(amount) => {
            json!({ "type": "AverageValue", "averageValue": metric.resource.quantity(amount) })
        }
    }
}

fn rules(rules: &ScaleRules) -> Value {
    let select = match rules.select {
        SelectPolicy::Max => "Max",
        SelectPolicy::Min => "Min",
        SelectPolicy::Disabled => "Disabled",
    };
    let policy = |policy: &ScalePolicy| {
        let (kind, value) = match policy.change {
            ScaleChange::Pods(pods) => ("Pods", pods),
            ScaleChange::Percent(percent) => ("Percent", percent),
        };
        json!({ "type": kind, "value": value, "periodSeconds": policy.period_seconds })
    };
    let mut shown = json!({
        "stabilizationWindowSeconds": rules.window_seconds,
        "selectPolicy": select,
        "policies": rules.policies.iter().map(policy).collect::<Vec<_>>(),
    });
    if rules.tolerance_milli != ScaleRules::up().tolerance_milli {
        shown["tolerance"] = json!(Quantity::from_milli(rules.tolerance_milli.into()));
    }
    shown
}

fn status(view: &View, autoscaler: &Autoscaler, state: &AutoscalerView) -> Value {
    let workload = view.workloads.get(&state.target);
    let current = workload.map_or(0, |workload| workload.current);
    let desired = workload.map_or(0, |workload| workload.autoscaled.unwrap_or(workload.replicas));
    let mut status = json!({ "currentReplicas": current, "desiredReplicas": desired });
    if let Some(at) = state.last_scale {
        status["lastScaleTime"] = json!(at.rfc3339());
    }
    if let Some(decision) = &state.decision {
        status["currentMetrics"] = current_metrics(autoscaler, decision);
        status["conditions"] = json!(conditions(autoscaler, decision));
    }
    status
}

/// One for each metric, in order; one that says nothing has a type only.
fn current_metrics(autoscaler: &Autoscaler, decision: &ScaleDecision) -> Value {
    let current = |(metric, reading): (&ScaleMetric, &MetricReading)| match reading.usage {
        Some(MetricUsage { average, percent }) => {
            let mut current = json!({ "averageValue": metric.resource.quantity(average) });
            if let Some(percent) = percent {
                current["averageUtilization"] = json!(percent);
            }
            of_metric(metric, "current", current)
        }
        None => json!({ "type": of_metric(metric, "current", Value::Null)["type"] }),
    };
    autoscaler.metrics.iter().zip(&decision.readings).map(current).collect()
}

/// With the reasons of Kubernetes' own controller.
fn conditions(autoscaler: &Autoscaler, decision: &ScaleDecision) -> Vec<Value> {
    let mut conditions = vec![able_to_scale(decision)];
    conditions.extend(scaling_active(autoscaler, decision));
    conditions.extend(scaling_limited(decision));
    conditions
}

fn condition(name: &str, holds: bool, reason: &str, message: &str) -> Value {
    json!({ "type": name, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message })
}

fn able_to_scale(decision: &ScaleDecision) -> Value {
    let wish = match decision.basis {
        ScaleBasis::Metric(index) => decision.readings.get(index).and_then(|reading| reading.wish.as_ref().ok()),
        ScaleBasis::Disabled | ScaleBasis::Bounds | ScaleBasis::Silence(_) => None,
    };
    let (reason, message) = match wish {
        Some(wish) if decision.stabilized && *wish > decision.replicas => {
            ("ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation")
        }
        Some(_) if decision.stabilized => (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        ),
        Some(_) | None => ("ReadyForNewScale", "recommended size matches current size"),
    };
    condition("AbleToScale", true, reason, message)
}

fn scaling_active(autoscaler: &Autoscaler, decision: &ScaleDecision) -> Option<Value> {
    let is = |holds, reason, message: &str| Some(condition("ScalingActive", holds, reason, message));
    match decision.basis {
        ScaleBasis::Disabled => is(false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero"),
        ScaleBasis::Bounds => None,
        ScaleBasis::Metric(index) => {
            let metric = autoscaler.metrics.get(index)?;
            is(true, "ValidMetricFound", &format!("the HPA was able to successfully calculate a replica count from {metric}"))
        }
        ScaleBasis::Silence(index) => {
            let metric = autoscaler.metrics.get(index)?;
            let why = decision.readings.get(index)?.wish.as_ref().err()?;
            let reason = if metric.container.is_some() { "FailedGetContainerResourceMetric" } else { "FailedGetResourceMetric" };
            is(false, reason, &format!("the HPA was unable to compute the replica count from {metric}: {why}"))
        }
    }
}

fn scaling_limited(decision: &ScaleDecision) -> Option<Value> {
    let is = |holds, reason, message| Some(condition("ScalingLimited", holds, reason, message));
    match (decision.basis, decision.limit) {
        (ScaleBasis::Disabled | ScaleBasis::Bounds | ScaleBasis::Silence(_), _) => None,
        (ScaleBasis::Metric(_), None) => is(false, "DesiredWithinRange", "the desired count is within the acceptable range"),
        (ScaleBasis::Metric(_), Some(ScaleLimit::Rise)) => {
            is(true, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
        }
        (ScaleBasis::Metric(_), Some(ScaleLimit::Fall)) => {
            is(true, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
        }
        (ScaleBasis::Metric(_), Some(ScaleLimit::Maximum)) => {
            is(true, "TooManyReplicas", "the desired replica count is more than the maximum replica count")
        }
        (ScaleBasis::Metric(_), Some(ScaleLimit::Minimum)) => {
            is(true, "TooFewReplicas", "the desired replica count is less than the minimum replica count")
        }
    }
}
