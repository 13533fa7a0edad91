//! The digest of a plan's intent: `Driftless-Plan: blake3:<hex>` on the audit branch.
//!
//! A contract: the digest that a reviewer saw is compared with the one that is executed, perhaps by another version. It covers, in
//! key order, each change's action, key and fields, as JSON with sorted keys. A Secret counts by the git object id of its new file,
//! since its values are not in the fields (not of its old one: a controller that has restarted knows that from an earlier commit). Golden tests pin it; a change of this form needs a new version in [`HEADER`].

use crate::model::{Action, Change, Desired, Kind};
use serde_json::{Value, json};

/// The first line of what is hashed.
const HEADER: &str = "driftless plan v1\n";

/// The digest of these changes.
pub(super) fn of(changes: &[Change], new: &Desired) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(HEADER.as_bytes());
    for change in changes {
        let mut line = String::new();
        write_canonical(&intent_of(change, new), &mut line);
        line.push('\n');
        hasher.update(line.as_bytes());
    }
    format!("blake3:{}", hasher.finalize().to_hex())
}

fn intent_of(change: &Change, new: &Desired) -> Value {
    let mut fields: Vec<Value> = change.fields.iter().map(|field| json!([field.path, field.old, field.new])).collect();
    fields.sort_by_key(|field| field[0].to_string());
    let mut intent = json!({
        "action": action_name(change.action),
        "kind": change.key.kind.as_str(),
        "namespace": change.key.namespace,
        "name": change.key.name,
        "fields": fields,
    });
    if change.key.kind == Kind::Secret {
        intent["blob"] = json!(new.objects.get(&change.key).map(|object| &object.source.blob));
    }
    intent
}

/// The action as it is spelt in digests and JSON.
pub(super) fn action_name(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace => "replace",
        Action::Scale => "scale",
        Action::Delete => "delete",
    }
}

/// JSON with sorted keys and no spaces, whatever order the map type keeps.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}
