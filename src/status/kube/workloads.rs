//! Deployments and Rollouts.

use super::super::words::{self, Standing};
use super::Scope;
use super::metadata;
use super::settings::of_kind;
use crate::model::{BlueGreen, Kind, Object, Progress, StalledBy, Strategy, View, WaitingOn, Workload, WorkloadView};
use serde_json::{Map, Value, json};

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
