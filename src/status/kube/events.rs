//! Events.

use super::Scope;
use super::metadata;
use super::resource::Group;
use crate::model::{EventView, View, object_uid};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Who says what the controller saw or did.
const CONTROLLER: &str = "driftless-controller";

/// Who says what happened on a host.
const AGENT: &str = "driftless-agent";

/// `v1 Event`s, oldest first.
pub(super) fn events(view: &View, scope: &Scope) -> Vec<Value> {
    taken(view, scope, event_object)
}

/// The same as `events.k8s.io/v1` has them.
pub(super) fn series_events(view: &View, scope: &Scope) -> Vec<Value> {
    taken(view, scope, series_object)
}

type Uids<'a> = BTreeMap<(&'a str, &'a str), String>;

fn taken(view: &View, scope: &Scope, object: fn(&str, &str, &EventView, &Uids<'_>) -> Value) -> Vec<Value> {
    let uids = pod_uids(view);
    let shown = view.events.iter().map(|event| {
        let namespace = if event.about.namespace.is_empty() { "default" } else { &event.about.namespace };
        (namespace, name(event), event)
    });
    let taken = shown.filter(|(namespace, name, _)| scope.takes(namespace, name));
    taken.map(|(namespace, name, event)| object(namespace, &name, event, &uids)).collect()
}

/// Unique, and the same however often the event happens again.
fn name(event: &EventView) -> String {
    let about = event.pod.as_deref().unwrap_or(&event.about.name);
    let host = event.node.as_ref().map_or("", |node| node.as_str());
    let text = format!("{}\n{host}\n{}\n{}\n{}", event.about, event.reason, event.message, event.first.0);
    format!("{about}.{:016x}", metadata::derived_uid("Event", &text).as_u64_pair().0)
}

fn pod_uids(view: &View) -> Uids<'_> {
    let pods = super::super::pods::all(view);
    pods.iter().map(|pod| ((pod.workload.namespace.as_str(), pod.name), pod.uid.to_string())).collect()
}

fn metadata_of(namespace: &str, name: &str, event: &EventView) -> Value {
    json!({
        "name": name,
        "namespace": namespace,
        "uid": metadata::derived_uid("Event", name).to_string(),
        "creationTimestamp": event.first.rfc3339(),
    })
}

/// Which part of Driftless says it, and on which host.
fn reporter(event: &EventView) -> (&'static str, &str) {
    event.node.as_ref().map_or((CONTROLLER, ""), |node| (AGENT, node.as_str()))
}

fn source(event: &EventView) -> Value {
    match reporter(event) {
        (component, "") => json!({ "component": component }),
        (component, host) => json!({ "component": component, "host": host }),
    }
}

fn kind_of(event: &EventView) -> &'static str {
    if event.warning { "Warning" } else { "Normal" }
}

fn event_object(namespace: &str, name: &str, event: &EventView, uids: &Uids<'_>) -> Value {
    let (component, host) = reporter(event);
    let mut shown = metadata::with_type("v1", "Event", metadata_of(namespace, name, event));
    shown.insert("involvedObject".into(), involved(namespace, event, uids));
    shown.insert("type".into(), json!(kind_of(event)));
    shown.insert("reason".into(), json!(event.reason));
    shown.insert("message".into(), json!(event.message));
    shown.insert("count".into(), json!(event.count));
    shown.insert("firstTimestamp".into(), json!(event.first.rfc3339()));
    shown.insert("lastTimestamp".into(), json!(event.last.rfc3339()));
    shown.insert("source".into(), source(event));
    shown.insert("reportingComponent".into(), json!(component));
    shown.insert("reportingInstance".into(), json!(host));
    Value::Object(shown)
}

/// Times stand in the `deprecated` fields, as Kubernetes itself shows an event that was counted and not written as a series.
fn series_object(namespace: &str, name: &str, event: &EventView, uids: &Uids<'_>) -> Value {
    let (component, host) = reporter(event);
    let api_version = Group::EVENTS.to_string();
    let mut shown = metadata::with_type(&api_version, "Event", metadata_of(namespace, name, event));
    shown.insert("eventTime".into(), Value::Null);
    shown.insert("regarding".into(), involved(namespace, event, uids));
    shown.insert("type".into(), json!(kind_of(event)));
    shown.insert("reason".into(), json!(event.reason));
    shown.insert("note".into(), json!(event.message));
    shown.insert("reportingController".into(), json!(component));
    shown.insert("reportingInstance".into(), json!(host));
    shown.insert("deprecatedSource".into(), source(event));
    shown.insert("deprecatedCount".into(), json!(event.count));
    shown.insert("deprecatedFirstTimestamp".into(), json!(event.first.rfc3339()));
    shown.insert("deprecatedLastTimestamp".into(), json!(event.last.rfc3339()));
    Value::Object(shown)
}

fn involved(namespace: &str, event: &EventView, uids: &Uids<'_>) -> Value {
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
