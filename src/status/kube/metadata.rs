//! `metadata` of every object, and the redaction of what a template says.

use crate::model::{Kind, Moment, Object, ObjectKey, PodTemplate, View, object_uid};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What stands for a value that is not shown.
pub(super) const REDACTED: &str = "<redacted>";

/// kubectl keeps a whole copy of the manifest in it, with what we redact.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `apiVersion`, `kind` and `metadata` of an object of the revision, with where it comes from as annotations.
pub(super) fn of_object(view: &View, object: &Object) -> Map<String, Value> {
    let mut annotations = shown_annotations(&object.meta.annotations);
    let source = &object.source;
    annotations.insert("driftless.dev/source".into(), format!("{}:{}", source.file, source.line));
    annotations.insert("driftless.dev/commit".into(), source.revision.to_string());
    annotations.insert("driftless.dev/unit".into(), source.unit.to_string());
    if let Some(snapshot) = object.snapshot() {
        annotations.insert("driftless.dev/template-hash".into(), snapshot.hash.to_string());
    }
    let mut metadata = json!({
        "name": object.key.name,
        "uid": object_uid(&object.key).to_string(),
        "annotations": annotations,
        "generation": 1,
    });
    put_labels(&mut metadata, &object.meta.labels);
    put_owner(&mut metadata, view, &object.key);
    put_created(&mut metadata, view.created.get(&object.key).copied());
    if !object.key.namespace.is_empty() {
        metadata["namespace"] = json!(object.key.namespace);
    }
    with_type(object.key.kind.api_version(), object.key.kind.as_str(), metadata)
}

/// `apiVersion`, `kind` and `metadata` together.
pub(super) fn with_type(api_version: &str, kind: &str, metadata: Value) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("apiVersion".into(), json!(api_version));
    object.insert("kind".into(), json!(kind));
    object.insert("metadata".into(), metadata);
    object
}

/// A Job that a CronJob made says so.
fn put_owner(metadata: &mut Value, view: &View, key: &ObjectKey) {
    if let Some((owner, _)) = view.crons.iter().find(|(_, cron)| cron.jobs.contains(key)) {
        metadata["ownerReferences"] = json!([{
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": owner.name,
            "uid": object_uid(owner).to_string(),
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
    }
}

/// Adds labels, if there are any.
pub(super) fn put_labels(metadata: &mut Value, labels: &BTreeMap<String, String>) {
    if !labels.is_empty() {
        metadata["labels"] = json!(labels);
    }
}

/// Adds the creation time, if it is known.
pub(super) fn put_created(metadata: &mut Value, created: Option<Moment>) {
    if let Some(created) = created {
        metadata["creationTimestamp"] = json!(created.rfc3339());
    }
}

/// Annotations as they are shown.
pub(super) fn shown_annotations(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut shown = annotations.clone();
    shown.remove(LAST_APPLIED);
    shown
}

/// A uid for what is no object of the revision: a node, an event, an implied namespace.
pub(super) fn derived_uid(kind: &str, name: &str) -> Uuid {
    let space = object_uid(&crate::model::ObjectKey::new(Kind::Namespace, "", ""));
    Uuid::new_v5(&space, format!("{kind}/{name}").as_bytes())
}

/// A template with its literal environment values redacted: people put passwords there.
pub(super) fn redacted(template: &PodTemplate) -> PodTemplate {
    let mut template = template.clone();
    template.metadata.annotations = shown_annotations(&template.metadata.annotations);
    let spec = &mut template.spec;
    let containers = spec.init_containers.iter_mut().chain(&mut spec.containers);
    let variables = containers.flat_map(|container| &mut container.env);
    for value in variables.filter_map(|variable| variable.value.as_mut()) {
        *value = REDACTED.into();
    }
    template
}

/// A value as JSON; ours always serialise.
pub(super) fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
