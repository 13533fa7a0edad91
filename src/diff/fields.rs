//! Which fields of two documents differ. List items are matched by what names them, as a person would.

use crate::model::FieldChange;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The fields that differ between two documents, ordered by path. A field that appears or disappears is given whole.
pub(super) fn compare(old: &Value, new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    walk("", Some(old), Some(new), &mut found);
    found
}

/// The fields of a document that is new: one for each top-level field, those of `metadata` without the name.
pub(super) fn all(new: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    for (key, value) in sorted(new) {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                let named = sorted(value).into_iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "namespace"));
                found.extend(named.map(|(key, value)| change(join("metadata", key), None, Some(value))));
            }
            _ => found.push(change(key.clone(), None, Some(value))),
        }
    }
    found
}

/// The path of a field below `parent`. Keys that hold a dot or a slash, as labels do, stand in brackets.
pub(super) fn join(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    match (parent.is_empty(), plain) {
        (_, false) => format!("{parent}[{key}]"),
        (true, true) => key.to_owned(),
        (false, true) => format!("{parent}.{key}"),
    }
}

fn change(path: String, old: Option<&Value>, new: Option<&Value>) -> FieldChange {
    FieldChange { path, old: old.cloned(), new: new.cloned() }
}

fn sorted(value: &Value) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = value.as_object().map(|map| map.iter().collect()).unwrap_or_default();
    entries.sort_by_key(|(key, _)| key.as_str());
    entries
}

fn walk(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<FieldChange>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => walk_map(path, old, new, found),
        (Some(Value::Array(before)), Some(Value::Array(after))) => walk_list(path, before, after, found),
        _ => found.push(change(path.to_owned(), old, new)),
    }
}

fn walk_map(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<FieldChange>) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        walk(&join(path, key), old.get(key), new.get(key), found);
    }
}

/// A list whose items have names is compared item by item; any other is one value.
fn walk_list(path: &str, old: &[Value], new: &[Value], found: &mut Vec<FieldChange>) {
    let Some((before, after)) = NAMING_FIELDS.iter().find_map(|field| Some((names(old, field)?, names(new, field)?))) else {
        found.push(FieldChange { path: path.to_owned(), old: Some(old.into()), new: Some(new.into()) });
        return;
    };
    let item = |list: &[Value], names: &[String], name: &String| {
        names.iter().position(|known| known == name).and_then(|index| list.get(index).cloned())
    };
    let added = after.iter().filter(|name| !before.contains(name));
    for name in before.iter().chain(added) {
        let (was, is) = (item(old, &before, name), item(new, &after, name));
        walk(&format!("{path}[{name}]"), was.as_ref(), is.as_ref(), found);
    }
    let stay = |names: &[String], others: &[String]| -> Vec<String> {
        names.iter().filter(|name| others.contains(name)).cloned().collect()
    };
    let (was, is) = (stay(&before, &after), stay(&after, &before));
    if was != is {
        found.push(FieldChange { path: format!("{path} (order)"), old: Some(was.into()), new: Some(is.into()) });
    }
}

/// What names an item, tried in this order. Kubernetes merges lists by the same fields (`patchMergeKey`); a mount path comes first
/// because a volume can be mounted twice.
const NAMING_FIELDS: [&str; 5] = ["mountPath", "name", "containerPort", "port", "key"];

/// The names of all items, if each has one of its own.
fn names(list: &[Value], field: &str) -> Option<Vec<String>> {
    let names: Vec<String> = list
        .iter()
        .map(|item| match item.get(field)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        })
        .collect::<Option<_>>()?;
    let distinct: BTreeSet<&String> = names.iter().collect();
    (distinct.len() == names.len()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(old: Value, new: Value, expected: &[&str]) {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
        let found: Vec<String> =
            compare(&old, &new).iter().map(|f| format!("{}: {} → {}", f.path, shown(&f.old), shown(&f.new))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_documents_have_no_changed_fields() {
        check(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]}), &[]);
    }

    #[test]
    fn a_field_is_named_by_its_path_and_list_items_by_their_name() {
        check(
            json!({"spec": {"containers": [{"name": "web", "image": "a:1"}, {"name": "log", "image": "l"}]}}),
            json!({"spec": {"containers": [{"name": "log", "image": "l"}, {"name": "web", "image": "a:2"}]}}),
            &[r#"spec.containers[web].image: "a:1" → "a:2""#, r#"spec.containers (order): ["web","log"] → ["log","web"]"#],
        );
    }

    #[test]
    fn an_item_that_comes_or_goes_is_given_whole() {
        check(
            json!({"env": [{"name": "A", "value": "1"}]}),
            json!({"env": [{"name": "B", "value": "2"}]}),
            &[r#"env[A]: {"name":"A","value":"1"} → none"#, r#"env[B]: none → {"name":"B","value":"2"}"#],
        );
    }

    #[test]
    fn a_volume_that_is_mounted_twice_is_told_apart_by_its_mount_path() {
        check(
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]}),
            json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "readOnly": true}]}),
            &["volumeMounts[/b].readOnly: none → true"],
        );
    }

    #[test]
    fn ports_without_names_are_told_apart_by_number() {
        check(
            json!({"ports": [{"port": 80, "targetPort": 1}, {"port": 81}]}),
            json!({"ports": [{"port": 80, "targetPort": 2}, {"port": 81}]}),
            &["ports[80].targetPort: 1 → 2"],
        );
    }

    #[test]
    fn a_list_of_plain_values_is_one_value() {
        check(json!({"args": ["-v", "1"]}), json!({"args": ["-v", "2"]}), &[r#"args: ["-v","1"] → ["-v","2"]"#]);
    }

    #[test]
    fn keys_with_dots_stand_in_brackets() {
        check(
            json!({"metadata": {"annotations": {"driftless.dev/promote": "a"}}}),
            json!({"metadata": {"annotations": {"driftless.dev/promote": "b"}}}),
            &[r#"metadata.annotations[driftless.dev/promote]: "a" → "b""#],
        );
    }
}
