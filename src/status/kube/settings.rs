//! Namespaces, ConfigMaps and Secrets.

use super::Scope;
use super::metadata::{self, REDACTED};
use crate::model::{Body, Kind, Object, View};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The objects of a kind that a scope takes.
pub(super) fn of_kind<'a>(view: &'a View, kind: Kind, scope: &'a Scope) -> impl Iterator<Item = &'a Arc<Object>> {
    let objects = view.objects.iter().filter(move |(key, _)| key.kind == kind && scope.takes(&key.namespace, &key.name));
    objects.map(|(_, object)| object)
}

/// Namespaces: those of the revision, and those that its objects are in without one being written.
pub(super) fn namespaces(view: &View, scope: &Scope) -> Vec<Value> {
    let in_use = view.objects.keys().map(|key| key.namespace.as_str());
    let in_use = in_use.chain(view.workloads.keys().map(|key| key.namespace.as_str()));
    let written: BTreeMap<&str, &Arc<Object>> = view
        .objects
        .iter()
        .filter(|(key, _)| key.kind == Kind::Namespace)
        .map(|(key, object)| (key.name.as_str(), object))
        .collect();
    let names: BTreeSet<&str> = in_use.filter(|name| !name.is_empty()).chain(written.keys().copied()).collect();
    let taken = names.into_iter().filter(|name| scope.name.as_deref().is_none_or(|wanted| wanted == *name));
    taken.map(|name| namespace(view, name, written.get(name).copied())).collect()
}

fn namespace(view: &View, name: &str, written: Option<&Arc<Object>>) -> Value {
    let mut object = match written {
        Some(object) => metadata::of_object(view, object),
        None => {
            let metadata = json!({ "name": name, "uid": metadata::derived_uid("Namespace", name).to_string() });
            metadata::with_type("v1", "Namespace", metadata)
        }
    };
    object.insert("spec".into(), json!({}));
    object.insert("status".into(), json!({ "phase": "Active" }));
    Value::Object(object)
}

/// ConfigMaps: texts in `data`, everything else in `binaryData`.
pub(super) fn config_maps(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::ConfigMap, scope).map(|object| config_map(view, object)).collect()
}

fn config_map(view: &View, object: &Object) -> Value {
    let mut shown = metadata::of_object(view, object);
    let (mut data, mut binary) = (Map::new(), Map::new());
    if let Body::ConfigMap(entries) = &object.body {
        for (key, bytes) in entries {
            match std::str::from_utf8(bytes) {
                Ok(text) => data.insert(key.clone(), json!(text)),
                Err(_) => binary.insert(key.clone(), json!(STANDARD.encode(bytes))),
            };
        }
    }
    if !data.is_empty() {
        shown.insert("data".into(), Value::Object(data));
    }
    if !binary.is_empty() {
        shown.insert("binaryData".into(), Value::Object(binary));
    }
    Value::Object(shown)
}

/// Secrets: their keys, and `<redacted>` (in base64, as the field wants it) for every value.
pub(super) fn secrets(view: &View, scope: &Scope) -> Vec<Value> {
    of_kind(view, Kind::Secret, scope).map(|object| secret(view, object)).collect()
}

fn secret(view: &View, object: &Object) -> Value {
    let mut shown = metadata::of_object(view, object);
    if let Body::Secret(entries) = &object.body {
        let value = STANDARD.encode(REDACTED);
        let data: Map<String, Value> = entries.keys().map(|key| (key.clone(), json!(value))).collect();
        shown.insert("data".into(), Value::Object(data));
    }
    let kind = object.written["type"].as_str().unwrap_or("Opaque");
    shown.insert("type".into(), json!(kind));
    Value::Object(shown)
}
