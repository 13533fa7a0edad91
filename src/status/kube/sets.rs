//! StatefulSets, DaemonSets and ReplicaSets.

use super::Scope;
use super::metadata;
use super::settings::of_kind;
use super::workloads::{counts, shown};
use crate::model::{
    ClaimTemplate, DaemonUpdate, Kind, Progress, Stateful, StatefulUpdate, Strategy, View, Workload, WorkloadView,
};
use serde_json::{Map, Value, json};

/// The StatefulSets.
pub(super) fn stateful_sets(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::StatefulSet, scope).filter_map(|object| shown(view, object, stateful_spec, stateful_status)).collect()
}

/// The DaemonSets.
pub(super) fn daemon_sets(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::DaemonSet, scope).filter_map(|object| shown(view, object, daemon_spec, daemon_status)).collect()
}

/// The ReplicaSets.
pub(super) fn replica_sets(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::ReplicaSet, scope).filter_map(|object| shown(view, object, replica_spec, replica_status)).collect()
}

fn common(workload: &Workload) -> Value {
    json!({
        "selector": workload.selector,
        "template": metadata::redacted(&workload.snapshot.template),
        "minReadySeconds": workload.min_ready_seconds,
    })
}

fn stateful_spec(workload: &Workload, replicas: u32) -> Value {
    let mut shown = common(workload);
    shown["replicas"] = json!(replicas);
    let Strategy::Stateful(spec) = &workload.strategy else { return shown };
    shown["serviceName"] = json!(spec.service_name);
    shown["podManagementPolicy"] = json!(if spec.parallel { "Parallel" } else { "OrderedReady" });
    shown["updateStrategy"] = match &spec.update {
        StatefulUpdate::OnDelete => json!({ "type": "OnDelete" }),
        StatefulUpdate::Rolling { partition, max_unavailable } => json!({
            "type": "RollingUpdate",
            "rollingUpdate": { "partition": partition, "maxUnavailable": max_unavailable },
        }),
    };
    if spec.first > 0 {
        shown["ordinals"] = json!({ "start": spec.first });
    }
    if !spec.claims.is_empty() {
        put_claims(&mut shown, spec);
    }
    shown
}

/// The claim templates as they are written, and no volumes for them in the template.
fn put_claims(shown: &mut Value, spec: &Stateful) {
    let claim = |claim: &ClaimTemplate| {
        let mut metadata = json!(claim.meta);
        metadata["name"] = json!(claim.name);
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim.spec })
    };
    shown["volumeClaimTemplates"] = spec.claims.iter().map(claim).collect();
    if let Some(volumes) = shown.pointer_mut("/template/spec/volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !spec.claims.iter().any(|claim| volume["name"] == claim.name.as_str()));
    }
    let word = |deleted| if deleted { "Delete" } else { "Retain" };
    let retention = spec.retention;
    shown["persistentVolumeClaimRetentionPolicy"] =
        json!({ "whenDeleted": word(retention.delete_when_deleted), "whenScaled": word(retention.delete_when_scaled) });
}

/// `kubectl rollout status` compares the counts, then the two revisions.
fn stateful_status(state: &WorkloadView) -> Value {
    let mut status = counts(state);
    status.remove("unavailableReplicas");
    status.insert("updateRevision".into(), json!(state.hash));
    if state.updated >= state.current && state.progress == Progress::Done {
        status.insert("currentRevision".into(), json!(state.hash));
        status.insert("currentReplicas".into(), json!(state.updated));
    } else {
        status.insert("currentReplicas".into(), json!(state.current.saturating_sub(state.updated)));
    }
    Value::Object(status)
}

fn daemon_spec(workload: &Workload, _: u32) -> Value {
    let mut shown = common(workload);
    let Strategy::Daemon(update) = &workload.strategy else { return shown };
    shown["updateStrategy"] = match update {
        DaemonUpdate::Rolling { max_surge, max_unavailable } => json!({
            "type": "RollingUpdate",
            "rollingUpdate": { "maxSurge": max_surge, "maxUnavailable": max_unavailable },
        }),
        DaemonUpdate::OnDelete => json!({ "type": "OnDelete" }),
    };
    shown
}

fn daemon_status(state: &WorkloadView) -> Value {
    let mut status = Map::new();
    status.insert("observedGeneration".into(), json!(1));
    for (name, count) in [
        ("desiredNumberScheduled", state.replicas),
        ("currentNumberScheduled", state.current.min(state.replicas)),
        ("updatedNumberScheduled", state.updated.min(state.replicas)),
        ("numberReady", state.ready.min(state.replicas)),
        ("numberAvailable", state.available.min(state.replicas)),
        ("numberUnavailable", state.replicas.saturating_sub(state.available)),
        ("numberMisscheduled", state.current.saturating_sub(state.replicas)),
    ] {
        status.insert(name.into(), json!(count));
    }
    Value::Object(status)
}

fn replica_spec(workload: &Workload, replicas: u32) -> Value {
    let mut shown = common(workload);
    shown["replicas"] = json!(replicas);
    shown
}

fn replica_status(state: &WorkloadView) -> Value {
    let mut status = counts(state);
    status.remove("unavailableReplicas");
    status.remove("updatedReplicas");
    status.insert("fullyLabeledReplicas".into(), json!(state.current));
    Value::Object(status)
}
