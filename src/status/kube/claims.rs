//! Volume claims: those of the revision, and those that StatefulSets made.

use super::Scope;
use super::metadata;
use crate::model::{ClaimView, Kind, ObjectKey, View, object_uid};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The claims, in the order of namespace and name.
pub(super) fn claims(view: &View, scope: &Scope) -> Vec<Value> {
    let written = view.objects.keys().filter(|key| key.kind == Kind::PersistentVolumeClaim);
    let keys: BTreeSet<&ObjectKey> = written.chain(view.claims.keys()).collect();
    let taken = keys.into_iter().filter(|key| scope.takes(&key.namespace, &key.name));
    taken.map(|key| claim(view, key)).collect()
}

fn claim(view: &View, key: &ObjectKey) -> Value {
    let state = view.claims.get(key).cloned().unwrap_or_default();
    let object = view.objects.get(key);
    let mut shown = object.map_or_else(|| made(key, &state), |object| metadata::of_object(view, object));
    let spec = object.and_then(|object| object.claim()).map(|spec| json!(spec));
    let spec = spec.or_else(|| Some(state.written.as_ref()?.get("spec")?.clone()));
    let mut spec = spec.unwrap_or_else(|| json!({}));
    let mut status = json!({ "phase": if state.node.is_some() { "Bound" } else { "Pending" } });
    if let Some(node) = &state.node {
        // The volume has no object of its own: it is a folder on this node.
        spec["volumeName"] = json!(node);
        status["accessModes"] = spec["accessModes"].clone();
    }
    if state.deleting
        && let Some(metadata) = shown.get_mut("metadata")
    {
        metadata["deletionTimestamp"] = json!(view.at.rfc3339());
    }
    shown.insert("spec".into(), spec);
    shown.insert("status".into(), status);
    Value::Object(shown)
}

/// A claim that no file of the repo has.
fn made(key: &ObjectKey, state: &ClaimView) -> Map<String, Value> {
    let written = state.written.as_ref().and_then(|written| written.get("metadata").cloned());
    let mut metadata = written.unwrap_or_else(|| json!({}));
    metadata["name"] = json!(key.name);
    metadata["namespace"] = json!(key.namespace);
    metadata["uid"] = json!(object_uid(key).to_string());
    metadata::with_type(Kind::PersistentVolumeClaim.api_version(), Kind::PersistentVolumeClaim.as_str(), metadata)
}
