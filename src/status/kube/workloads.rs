//! Deployments, Rollouts and HorizontalPodAutoscalers.

use super::super::pods::{self, ShownPod};
use super::super::words::{self, Standing};
use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{
    Autoscaler, BlueGreen, Kind, Object, ObjectKey, Progress, Quantity, StalledBy, Strategy, View, WaitingOn, Workload,
    WorkloadView,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The Deployments.
pub(super) fn deployments(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::Deployment, scope).filter_map(|object| shown(view, object, spec, deployment_status)).collect()
}

/// The Rollouts.
pub(super) fn rollouts(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::Rollout, scope).filter_map(|object| shown(view, object, spec, rollout_status)).collect()
}

/// A workload with the number of pods that it has now; `None` if the object is none.
pub(super) fn shown(
    view: &View,
    object: &Object,
    spec: fn(&Workload, u32) -> Value,
    status: fn(&WorkloadView) -> Value,
) -> Option<Value> {
    let workload = object.workload()?;
    let state = view.workloads.get(&object.key);
    let replicas = state.map(|state| state.replicas).or(workload.replicas).unwrap_or(1);
    let mut shown = metadata::of_object(view, object);
    shown.insert("spec".into(), spec(workload, replicas));
    shown.insert("status".into(), state.map_or_else(|| json!({}), status));
    Some(Value::Object(shown))
}

fn spec(workload: &Workload, replicas: u32) -> Value {
    let mut spec = json!({
        "replicas": replicas,
        "selector": workload.selector,
        "template": metadata::redacted(&workload.snapshot.template),
        "strategy": strategy(&workload.strategy),
        "minReadySeconds": workload.min_ready_seconds,
        "progressDeadlineSeconds": workload.progress_deadline_seconds,
    });
    if workload.paused {
        spec["paused"] = json!(true);
    }
    spec
}

fn strategy(strategy: &Strategy) -> Value {
    match strategy {
        Strategy::Recreate => json!({ "type": "Recreate" }),
        Strategy::Rolling { max_surge, max_unavailable } => json!({
            "type": "RollingUpdate",
            "rollingUpdate": { "maxSurge": max_surge, "maxUnavailable": max_unavailable },
        }),
        Strategy::BlueGreen(blue_green) => json!({ "blueGreen": blue_green_json(blue_green) }),
        Strategy::Job(_) => Value::Null,
        // Only in `sets`, which shows them in another place.
        Strategy::OnDelete | Strategy::Stateful(_) | Strategy::Daemon(_) => json!({ "type": "OnDelete" }),
    }
}

fn blue_green_json(blue_green: &BlueGreen) -> Value {
    let mut shown = json!({
        "activeService": blue_green.active_service,
        "autoPromotionEnabled": blue_green.auto_promotion,
        "scaleDownDelaySeconds": blue_green.scale_down_delay_seconds,
    });
    if let Some(preview) = &blue_green.preview_service {
        shown["previewService"] = json!(preview);
    }
    if blue_green.auto_promotion_seconds > 0 {
        shown["autoPromotionSeconds"] = json!(blue_green.auto_promotion_seconds);
    }
    shown
}

pub(super) fn counts(state: &WorkloadView) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("observedGeneration".into(), json!(1));
    for (name, count) in [
        ("replicas", state.current),
        ("updatedReplicas", state.updated),
        ("readyReplicas", state.ready),
        ("availableReplicas", state.available),
        ("unavailableReplicas", state.replicas.saturating_sub(state.available)),
    ] {
        status.insert(name.into(), json!(count));
    }
    status
}

/// `kubectl rollout status` waits on the counts, and gives up on `ProgressDeadlineExceeded`.
fn deployment_status(state: &WorkloadView) -> Value {
    let Standing { sentence, .. } = words::standing(&state.progress);
    let (progressing, reason) = match &state.progress {
        Progress::Done => ("True", "NewReplicaSetAvailable"),
        Progress::Progressing(_) | Progress::Waiting(_) => ("True", "ReplicaSetUpdated"),
        Progress::Stalled(StalledBy::Deadline(_)) => ("False", "ProgressDeadlineExceeded"),
        Progress::Stalled(StalledBy::Quarantined(_) | StalledBy::JobFailed(..) | StalledBy::Forgotten(_)) => {
            ("False", "TemplateQuarantined")
        }
    };
    let available = state.available >= state.replicas;
    let (available, available_reason) =
        if available { ("True", "MinimumReplicasAvailable") } else { ("False", "MinimumReplicasUnavailable") };
    let mut status = counts(state);
    status.insert(
        "conditions".into(),
        json!([
            { "type": "Available", "status": available, "reason": available_reason, "message": format!("{} of {} pods are available", state.available, state.replicas) },
            { "type": "Progressing", "status": progressing, "reason": reason, "message": sentence },
        ]),
    );
    Value::Object(status)
}

/// As Argo Rollouts names the phases: <https://argo-rollouts.readthedocs.io/en/stable/features/specification/>.
fn rollout_status(state: &WorkloadView) -> Value {
    let Standing { sentence, .. } = words::standing(&state.progress);
    let phase = match &state.progress {
        Progress::Done => "Healthy",
        Progress::Waiting(WaitingOn::Promotion(_) | WaitingOn::Unpause) => "Paused",
        Progress::Progressing(_) | Progress::Waiting(_) => "Progressing",
        Progress::Stalled(_) => "Degraded",
    };
    let mut status = counts(state);
    status.insert("phase".into(), json!(phase));
    status.insert("currentPodHash".into(), json!(state.hash));
    if !sentence.is_empty() {
        status.insert("message".into(), json!(sentence));
    }
    if let Some(promoted) = &state.promoted {
        status.insert("stableRS".into(), json!(promoted));
        status.insert("blueGreen".into(), json!({ "activeSelector": promoted, "previewSelector": state.hash }));
    }
    Value::Object(status)
}

/// The autoscalers.
pub(super) fn autoscalers(view: &View, scope: &Scope) -> Vec<Value> {
    let shown = pods::all(view);
    let pods = pods::by_workload(&shown);
    of_kind(view, Kind::HorizontalPodAutoscaler, scope).filter_map(|object| autoscaler(view, object, &pods)).collect()
}

type Pods<'p, 'a> = BTreeMap<&'a ObjectKey, Vec<&'p ShownPod<'a>>>;

fn autoscaler(view: &View, object: &Object, pods: &Pods<'_, '_>) -> Option<Value> {
    let autoscaler = object.autoscaler()?;
    let kind = Kind::named(&autoscaler.target_kind).unwrap_or(Kind::Deployment);
    let target = ObjectKey::new(kind, object.key.namespace.clone(), autoscaler.target_name.clone());
    let mut shown = metadata::of_object(view, object);
    shown.insert(
        "spec".into(),
        json!({
            "scaleTargetRef": { "apiVersion": kind.api_version(), "kind": kind.as_str(), "name": autoscaler.target_name },
            "minReplicas": autoscaler.min_replicas,
            "maxReplicas": autoscaler.max_replicas,
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": wanted(autoscaler) } }],
            "behavior": {
                "scaleUp": { "stabilizationWindowSeconds": autoscaler.scale_up_window_seconds },
                "scaleDown": { "stabilizationWindowSeconds": autoscaler.scale_down_window_seconds },
            },
        }),
    );
    shown.insert("status".into(), autoscaler_status(view, &target, pods));
    Some(Value::Object(shown))
}

fn wanted(autoscaler: &Autoscaler) -> Value {
    match (autoscaler.cpu_percent, autoscaler.cpu_average_milli) {
        (Some(percent), _) => json!({ "type": "Utilization", "averageUtilization": percent }),
        (None, Some(milli)) => json!({ "type": "AverageValue", "averageValue": cpu(milli) }),
        (None, None) => json!({ "type": "Utilization" }),
    }
}

fn cpu(milli: u64) -> String {
    Quantity::from_milli(i128::from(milli)).to_string()
}

fn autoscaler_status(view: &View, target: &ObjectKey, pods: &Pods<'_, '_>) -> Value {
    let state = view.workloads.get(target);
    let current = state.map_or(0, |state| state.current);
    let desired = state.map_or(0, |state| state.autoscaled.unwrap_or(state.replicas));
    let mut status = json!({ "currentReplicas": current, "desiredReplicas": desired });
    if let Some(used) = pods.get(target).and_then(|pods| cpu_in_use(pods)) {
        let mut now = json!({ "averageValue": cpu(used.average_milli) });
        if let Some(percent) = used.percent {
            now["averageUtilization"] = json!(percent);
        }
        status["currentMetrics"] = json!([{ "type": "Resource", "resource": { "name": "cpu", "current": now } }]);
    }
    status
}

struct CpuInUse {
    average_milli: u64,
    percent: Option<u64>,
}

/// The average over the pods that have a sample; `None` while there is none.
fn cpu_in_use(pods: &[&ShownPod<'_>]) -> Option<CpuInUse> {
    let (mut used, mut requested, mut samples) = (0_u64, 0_u64, 0_u64);
    for pod in pods {
        let Some(milli) = pod.view.cpu_milli else { continue };
        used = used.saturating_add(milli);
        requested += pod.snapshot.map_or(0, |snapshot| snapshot.template.spec.requests().cpu_milli);
        samples += 1;
    }
    let average_milli = used.checked_div(samples)?;
    Some(CpuInUse { average_milli, percent: (used.saturating_mul(100)).checked_div(requested) })
}
