//! The table as JSON Schemas: what is enforced, and what editors are given.

use super::policy::POLICY_TYPE;
use super::table::{Field, Shape, Table, Type};
use super::units::POLICY_FILE;
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// The dialect of the schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Names with a domain, which `$others` stands for.
const WITH_DOMAIN: &str = "^[^/]+/[^/]+$";

/// The kinds that are supported, as `(kind, apiVersion)`.
#[must_use]
pub fn supported_kinds() -> Vec<(&'static str, &'static str)> {
    let words = Table::get().kinds.supported.keys();
    words.filter_map(|word| word.split_once(' ')).map(|(api_version, kind)| (kind, api_version)).collect()
}

/// The JSON Schema that documents of a kind are held to, for editors, or that of `driftless.yaml`; `None` if the kind is not supported.
#[must_use]
pub fn json_schema(kind: &str) -> Option<Value> {
    let table = Table::get();
    if kind == POLICY_FILE {
        return Some(schema_of(table, POLICY_TYPE));
    }
    let of_kind =
        |word: &str| word.split_once(' ').filter(|(_, name)| *name == kind).map(|(api_version, _)| api_version.to_owned());
    let versions: Vec<(String, &str)> =
        table.kinds.supported.iter().filter_map(|(word, root)| Some((of_kind(word)?, root.as_str()))).collect();
    let mut schema = schema_of(table, versions.first()?.1);
    let roots: Vec<Value> = versions.iter().map(|(_, root)| json!({"$ref": format!("#/$defs/{root}")})).collect();
    if let Value::Object(keywords) = &mut schema
        && roots.len() > 1
    {
        keywords.remove("$ref");
        keywords.insert("oneOf".to_owned(), Value::Array(roots));
        keywords.insert("title".to_owned(), json!(kind));
        keywords.insert("$id".to_owned(), json!(id_of(kind)));
    }
    for (api_version, root) in versions {
        if schema["$defs"].get(root).is_none()
            && let (Value::Object(defs), Value::Object(more)) = (&mut schema["$defs"], schema_of(table, root)["$defs"].take())
        {
            for (name, of) in more {
                defs.entry(name).or_insert(of);
            }
        }
        schema["$defs"][root]["properties"]["apiVersion"] = json!({"const": api_version});
        schema["$defs"][root]["properties"]["kind"] = json!({"const": kind});
    }
    Some(schema)
}

/// One JSON Schema for documents of every supported kind: which one holds follows from apiVersion and kind.
#[must_use]
pub fn json_schema_of_all(file_of: impl Fn(&str) -> String) -> Value {
    let rules = supported_kinds().into_iter().map(|(kind, api_version)| {
        let is_it = json!({"properties": {"apiVersion": {"const": api_version}, "kind": {"const": kind}}});
        json!({"if": is_it, "then": {"$ref": file_of(kind)}})
    });
    json!({
        "$schema": DIALECT,
        "title": "A manifest",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "allOf": rules.collect::<Vec<Value>>(),
    })
}

/// What becomes of the field that a JSON pointer leads to in a document: `supported`, or `ignored` or `unsupported` with what is above it.
/// `None` if the table does not know it.
#[must_use]
pub fn state_of(api_version: &str, kind: &str, pointer: &str) -> Option<&'static str> {
    let table = Table::get();
    let (root, _) = table.kinds.root(api_version, kind)?;
    let ends = pointer.match_indices('/').skip(1).map(|(end, _)| &pointer[..end]);
    let states = ends.chain([pointer]).map(|part| table.at(root, part).1.map(Field::state));
    states.into_iter().find(|state| *state != Some("supported")).unwrap_or(Some("supported"))
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
        "$schema": DIALECT,
        "$id": id_of(root),
        "title": root,
        "$ref": format!("#/$defs/{root}"),
    });
    schema["$defs"] = Value::Object(defs);
    schema
}

fn id_of(name: &str) -> String {
    format!("https://driftless.dev/schemas/{name}.json")
}

fn type_schema(kind: &Type, wanted: &mut BTreeSet<String>) -> Value {
    let (fields, exactly_one, at_most_one, others) = match kind {
        Type::Scalar { schema, says } => {
            let mut schema = schema.clone();
            schema.insert("description".to_owned(), Value::String(says.clone()));
            return Value::Object(schema);
        }
        Type::Object { fields, exactly_one, at_most_one, others } => (fields, exactly_one, at_most_one, others),
    };
    let properties: Map<String, Value> = fields.iter().map(|(name, field)| (name.clone(), field_schema(field, wanted))).collect();
    let required: Vec<&String> = fields.iter().filter(|(_, field)| field.required).map(|(name, _)| name).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if let Some(row) = others {
        schema["patternProperties"] = json!({WITH_DOMAIN: field_schema(row, wanted)});
    }
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

/// The compiled schema of a document type; each is compiled once per process, when it is first asked for.
pub(crate) fn validator(root: &str) -> Option<&'static Validator> {
    static VALIDATORS: OnceLock<BTreeMap<&'static str, OnceLock<Option<Validator>>>> = OnceLock::new();
    let table = Table::get();
    let slots = VALIDATORS.get_or_init(|| {
        let roots = table.kinds.supported.values().map(String::as_str).chain([POLICY_TYPE]);
        roots.map(|root| (root, OnceLock::new())).collect()
    });
    slots.get(root)?.get_or_init(|| jsonschema::draft202012::new(&schema_of(table, root)).ok()).as_ref()
}
