//! Pods.

use super::super::pods::{self, ShownPod};
use super::Scope;
use super::metadata;
use crate::model::{ContainerReport, ContainerState, Kind, View, object_uid};
use serde_json::{Map, Value, json};

/// The pods.
pub(super) fn pods(view: &View, scope: &Scope) -> Vec<Value> {
    let taken = pods::all(view).into_iter().filter(|pod| scope.takes(pod.namespace(), pod.name));
    taken.map(|pod| shown(view, &pod)).collect()
}

fn shown(view: &View, pod: &ShownPod<'_>) -> Value {
    let mut object = metadata::with_type("v1", "Pod", pod_metadata(pod));
    object.insert("spec".into(), spec(pod));
    object.insert("status".into(), status(view, pod));
    Value::Object(object)
}

fn pod_metadata(pod: &ShownPod<'_>) -> Value {
    let written = pod.snapshot.map(|snapshot| &snapshot.template.metadata.annotations);
    let mut annotations = written.map(metadata::shown_annotations).unwrap_or_default();
    annotations.extend(pod.own_labels());
    annotations.insert("driftless.dev/commit".into(), pod.revision.to_string());
    annotations.insert("driftless.dev/template-hash".into(), pod.hash.to_string());
    if pod.is_unclaimed() {
        annotations.insert("driftless.dev/unclaimed".into(), "true".into());
    }
    let mut metadata = json!({
        "name": pod.name,
        "namespace": pod.namespace(),
        "uid": pod.uid.to_string(),
        "annotations": annotations,
        "creationTimestamp": pod.view.since.rfc3339(),
    });
    metadata::put_labels(&mut metadata, &pod.labels());
    if pod.workload.kind != Kind::Pod {
        metadata["ownerReferences"] = json!([{
            "apiVersion": pod.workload.kind.api_version(),
            "kind": pod.workload.kind.as_str(),
            "name": pod.workload.name,
            "uid": object_uid(pod.workload).to_string(),
            "controller": true,
            "blockOwnerDeletion": false,
        }]);
    }
    metadata
}

/// The template's spec, or what the agent's report lets one say where the template is not known any more.
fn spec(pod: &ShownPod<'_>) -> Value {
    let mut spec = match pod.snapshot {
        Some(snapshot) => metadata::to_json(&metadata::redacted(&snapshot.template).spec),
        None => {
            let reports = pod.report().map_or(&[][..], |report| &report.containers);
            let containers = reports.iter().map(|report| {
                let mut container = json!({ "name": report.name, "resources": {} });
                if let Some(digest) = &report.image_digest {
                    container["image"] = json!(digest);
                }
                container
            });
            json!({ "containers": containers.collect::<Vec<_>>() })
        }
    };
    spec["nodeName"] = json!(pod.node);
    spec
}

fn status(view: &View, pod: &ShownPod<'_>) -> Value {
    let mut status = Map::new();
    status.insert("phase".into(), json!(pod.kubernetes_phase()));
    status.insert("conditions".into(), conditions(pod));
    status.insert("startTime".into(), json!(pod.view.since.rfc3339()));
    let message = pod.message();
    if pod.word() != pod.kubernetes_phase() {
        status.insert("reason".into(), json!(pod.word()));
    }
    if !message.is_empty() {
        status.insert("message".into(), json!(message));
    }
    if let Some(facts) = view.nodes.get(pod.node).and_then(|node| node.facts.as_ref()) {
        status.insert("hostIP".into(), json!(facts.found_at()));
    }
    if let Some(report) = pod.report() {
        if let Some(address) = report.address {
            status.insert("podIP".into(), json!(address));
            status.insert("podIPs".into(), json!([{ "ip": address }]));
        }
        let statuses =
            |reports: &[ContainerReport]| -> Value { reports.iter().map(|container| container_status(pod, container)).collect() };
        if !report.init_containers.is_empty() {
            status.insert("initContainerStatuses".into(), statuses(&report.init_containers));
        }
        status.insert("containerStatuses".into(), statuses(&report.containers));
    }
    Value::Object(status)
}

fn conditions(pod: &ShownPod<'_>) -> Value {
    let word = |yes: bool| if yes { "True" } else { "False" };
    let ready = if pod.is_out_of_sight() { "Unknown" } else { word(pod.is_ready()) };
    let initialized = word(pod.report().is_some() && pod.initializing().is_none());
    json!([
        { "type": "PodScheduled", "status": "True" },
        { "type": "Initialized", "status": initialized },
        { "type": "ContainersReady", "status": ready },
        { "type": "Ready", "status": ready },
    ])
}

fn container_status(pod: &ShownPod<'_>, container: &ContainerReport) -> Value {
    let template = pod.snapshot.map(|snapshot| &snapshot.template.spec);
    let written = template.and_then(|spec| spec.all_containers().find(|written| written.name == container.name));
    let image = written.and_then(|written| written.image.as_deref());
    // Where the template is not known yet, by the form of the id: a process is named by its pid and its start.
    let process = template.map_or_else(|| container.id.contains(':'), |spec| spec.is_process());
    let runtime = if process { "process" } else { "docker" };
    let id = if container.id.is_empty() { String::new() } else { format!("{runtime}://{}", container.id) };
    let mut status = json!({
        "name": container.name,
        "ready": container.ready,
        "started": container.started,
        "restartCount": container.restarts,
        "image": image.or(container.image_digest.as_deref()).unwrap_or(""),
        "imageID": container.image_digest.as_deref().unwrap_or(""),
        "containerID": id,
        "state": state(pod, container),
        "lastState": {},
    });
    if container.state != ContainerState::Ended && container.last_exit.is_some() {
        status["lastState"] = terminated(container);
    }
    status
}

fn state(pod: &ShownPod<'_>, container: &ContainerReport) -> Value {
    let waiting = |reason: &str| json!({ "waiting": { "reason": reason, "message": pod.message() } });
    match container.state {
        ContainerState::Waiting if pod.initializing().is_some() => waiting("PodInitializing"),
        ContainerState::Waiting => waiting("ContainerCreating"),
        ContainerState::BackOff => waiting("CrashLoopBackOff"),
        ContainerState::Ended => terminated(container),
        // When a restarted container started is not reported, so it is not said.
        ContainerState::Running if container.restarts > 0 => json!({ "running": {} }),
        ContainerState::Running => json!({ "running": { "startedAt": pod.view.since.rfc3339() } }),
    }
}

fn terminated(container: &ContainerReport) -> Value {
    match &container.last_exit {
        Some(exit) => json!({ "terminated": { "exitCode": exit.code, "reason": exit.reason } }),
        None => json!({ "terminated": { "exitCode": 0, "reason": "Completed" } }),
    }
}
