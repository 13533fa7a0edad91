//! Events.

use super::Scope;
use super::metadata;
use crate::model::{EventView, View, object_uid};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The events, oldest first.
pub(super) fn events(view: &View, scope: &Scope) -> Vec<Value> {
    let uids = pod_uids(view);
    let shown = view.events.iter().map(|event| {
        let namespace = if event.about.namespace.is_empty() { "default" } else { &event.about.namespace };
        (namespace, name(event), event)
    });
    let taken = shown.filter(|(namespace, name, _)| scope.takes(namespace, name));
    taken.map(|(namespace, name, event)| event_object(namespace, &name, event, &uids)).collect()
}

/// Unique, and the same however often the event happens again.
fn name(event: &EventView) -> String {
    let about = event.pod.as_deref().unwrap_or(&event.about.name);
    let text = format!("{}\n{}\n{}\n{}", event.about, event.reason, event.message, event.first.0);
    format!("{about}.{:016x}", metadata::derived_uid("Event", &text).as_u64_pair().0)
}

fn pod_uids(view: &View) -> BTreeMap<(&str, &str), String> {
    let pods = super::super::pods::all(view);
    pods.iter().map(|pod| ((pod.workload.namespace.as_str(), pod.name), pod.uid.to_string())).collect()
}

fn event_object(namespace: &str, name: &str, event: &EventView, uids: &BTreeMap<(&str, &str), String>) -> Value {
    let metadata = json!({
        "name": name,
        "namespace": namespace,
        "uid": metadata::derived_uid("Event", name).to_string(),
        "creationTimestamp": event.first.rfc3339(),
    });
    let mut shown = metadata::with_type("v1", "Event", metadata);
    shown.insert("involvedObject".into(), involved(namespace, event, uids));
    shown.insert("type".into(), json!(if event.warning { "Warning" } else { "Normal" }));
    shown.insert("reason".into(), json!(event.reason));
    shown.insert("message".into(), json!(event.message));
    shown.insert("count".into(), json!(event.count));
    shown.insert("firstTimestamp".into(), json!(event.first.rfc3339()));
    shown.insert("lastTimestamp".into(), json!(event.last.rfc3339()));
    shown.insert("source".into(), json!({ "component": "driftless" }));
    shown.insert("reportingComponent".into(), json!("driftless"));
    shown.insert("reportingInstance".into(), json!(""));
    Value::Object(shown)
}

fn involved(namespace: &str, event: &EventView, uids: &BTreeMap<(&str, &str), String>) -> Value {
    let about = &event.about;
    match &event.pod {
        Some(pod) => {
            let uid = uids.get(&(about.namespace.as_str(), pod.as_str())).cloned().unwrap_or_default();
            json!({ "apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod, "uid": uid })
        }
        None => json!({
            "apiVersion": about.kind.api_version(),
            "kind": about.kind.as_str(),
            "namespace": about.namespace,
            "name": about.name,
            "uid": object_uid(about).to_string(),
        }),
    }
}
