//! The table as JSON Schemas: what is enforced, and what editors are given.

use super::table::{Field, Shape, Table, Type};
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// The kinds that are supported, as `(kind, apiVersion)`.
#[must_use]
pub fn supported_kinds() -> Vec<(&'static str, &'static str)> {
    let words = Table::get().kinds.supported.keys();
    words.filter_map(|word| word.split_once(' ')).map(|(api_version, kind)| (kind, api_version)).collect()
}

/// The JSON Schema that documents of a kind are held to, for editors; `None` if the kind is not supported.
#[must_use]
pub fn json_schema(kind: &str) -> Option<Value> {
    let table = Table::get();
    let (word, root) =
        table.kinds.supported.iter().find(|(word, _)| word.split_once(' ').is_some_and(|(_, name)| name == kind))?;
    let mut schema = schema_of(table, root);
    let api_version = word.split_once(' ').map_or("", |(api_version, _)| api_version);
    schema["$defs"][root]["properties"]["apiVersion"] = json!({"const": api_version});
    schema["$defs"][root]["properties"]["kind"] = json!({"const": kind});
    Some(schema)
}

/// The JSON Schema (draft 2020-12) of a type of the table.
pub(crate) fn schema_of(table: &Table, root: &str) -> Value {
    let mut wanted = BTreeSet::from([root.to_owned()]);
    let mut defs = Map::new();
    while let Some(name) = wanted.pop_first() {
        if defs.contains_key(&name) {
            continue;
        }
        let Some(kind) = table.types.get(&name) else { continue };
        defs.insert(name, type_schema(kind, &mut wanted));
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("https://driftless.dev/schemas/{root}.json"),
        "title": root,
        "$ref": format!("#/$defs/{root}"),
    });
    schema["$defs"] = Value::Object(defs);
    schema
}

fn type_schema(kind: &Type, wanted: &mut BTreeSet<String>) -> Value {
    let (fields, exactly_one, at_most_one) = match kind {
        Type::Scalar { schema, says } => {
            let mut schema = schema.clone();
            schema.insert("description".to_owned(), Value::String(says.clone()));
            return Value::Object(schema);
        }
        Type::Object { fields, exactly_one, at_most_one, .. } => (fields, exactly_one, at_most_one),
    };
    let properties: Map<String, Value> = fields.iter().map(|(name, field)| (name.clone(), field_schema(field, wanted))).collect();
    let required: Vec<&String> = fields.iter().filter(|(_, field)| field.required).map(|(name, _)| name).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let mut choices: Vec<Value> = exactly_one.iter().chain(at_most_one).map(|name| json!({"required": [name]})).collect();
    if !at_most_one.is_empty() {
        choices.push(json!({"not": {"anyOf": choices}}));
    }
    if !choices.is_empty() {
        schema["oneOf"] = Value::Array(choices);
    }
    schema
}

fn field_schema(field: &Field, wanted: &mut BTreeSet<String>) -> Value {
    if let Some(why) = &field.unsupported {
        return json!({"not": {}, "description": format!("Not supported: {why}")});
    }
    if let Some(why) = &field.ignored {
        return json!({"description": format!("Ignored: {why}")});
    }
    let mut reference = |name: &str| {
        wanted.insert(name.to_owned());
        if name == "Any" { json!({}) } else { json!({"$ref": format!("#/$defs/{name}")}) }
    };
    let mut schema = match field.shape() {
        Shape::One(name) => reference(name),
        Shape::List(name) => json!({"type": "array", "items": reference(name)}),
        Shape::Map(name) => json!({"type": "object", "additionalProperties": reference(name)}),
    };
    if let Value::Object(keywords) = &mut schema {
        keywords.extend(field.keywords.clone());
        if !field.about.is_empty() {
            keywords.insert("description".to_owned(), Value::String(field.about.clone()));
        }
        if let Some(default) = &field.default {
            keywords.insert("default".to_owned(), default.clone());
        }
    }
    schema
}

/// The compiled schema of a document type; compiled once per process.
pub(crate) fn validator(root: &str) -> Option<&'static Validator> {
    static VALIDATORS: OnceLock<BTreeMap<&'static str, Validator>> = OnceLock::new();
    let compiled = VALIDATORS.get_or_init(|| {
        let table = Table::get();
        let roots: BTreeSet<&str> = table.kinds.supported.values().map(String::as_str).collect();
        roots.into_iter().filter_map(|root| Some((root, jsonschema::draft202012::new(&schema_of(table, root)).ok()?))).collect()
    });
    compiled.get(root)
}
