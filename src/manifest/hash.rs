//! The template hash: what decides that pods are replaced.
//!
//! Contract `v1`, pinned by golden tests. The hash covers the template *as written*, in canonical form, and the digests of the
//! ConfigMaps and Secrets that it refers to. Canonical form:
//!
//! 1. nulls, empty lists and empty maps of texts are left out;
//! 2. a field that says what the table gives as its default is left out (`protocol: TCP`);
//! 3. quantities are exact thousandths (`500m` = `0.5` = `5e-1`);
//! 4. of the template's metadata only labels and annotations count, and kubectl's `last-applied-configuration` does not;
//! 5. keys are sorted; the order of lists counts.
//!
//! Everything else that is written counts, ignored fields too, as in Kubernetes. So neither a new default nor an upgrade changes a
//! hash: what a document says does not change by itself.

use super::table::{Field, Shape, Table};
use crate::model::{Quantity, SecretBytes, TemplateHash};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Names the contract; part of what is hashed.
const CONTRACT: &[u8] = b"driftless template v1\n";

/// Hexadecimal digits of a template hash.
const HASH_DIGITS: usize = 40;

/// Digests of configuration, by `ConfigMap/name` and `Secret/name`. A missing optional object has none.
pub type ConfigDigests = BTreeMap<String, String>;

/// The key of the digests of Secrets within template hashes, so that a hash reveals nothing. It derives from the cluster's
/// identity and survives a lost disk.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestKey([u8; 32]);

impl DigestKey {
    /// A key from 32 bytes of key material.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of no cluster, for CI: hashes made with it are good for comparing two trees with each other only.
    #[must_use]
    pub fn unkeyed() -> Self {
        Self([0; 32])
    }
}

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(redacted)")
    }
}

/// The hash of a template as it is written, with the digests of what it refers to.
#[must_use]
pub fn template_hash(template_written: &Value, config_digests: &ConfigDigests) -> TemplateHash {
    combine(&template_digest(template_written), config_digests)
}

/// The digest of a template's canonical form: the part of its hash that one document decides.
pub(super) fn template_digest(template_written: &Value) -> [u8; 32] {
    let canonical = canonical(Table::get(), Shape::One("PodTemplate"), None, template_written);
    let mut text = String::new();
    write_sorted(&canonical.unwrap_or_default(), &mut text);
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// The hash from the digests of its parts.
pub(super) fn combine(template: &[u8; 32], config_digests: &ConfigDigests) -> TemplateHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(CONTRACT);
    hasher.update(template);
    for (name, digest) in config_digests {
        hash_part(&mut hasher, name.as_bytes());
        hash_part(&mut hasher, digest.as_bytes());
    }
    let hex = hasher.finalize().to_hex();
    TemplateHash::new(hex.as_str().get(..HASH_DIGITS).unwrap_or_default())
}

/// Names the contents that these are the digests of; empty for none.
pub(super) fn config_version(digests: &ConfigDigests) -> String {
    if digests.is_empty() { String::new() } else { combine(&[0; 32], digests).as_str().to_owned() }
}

/// The digest of a ConfigMap's contents.
#[must_use]
pub fn config_map_digest(data: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (key, bytes) in data {
        hash_part(&mut hasher, key.as_bytes());
        hash_part(&mut hasher, bytes);
    }
    hasher.finalize().to_hex().to_string()
}

/// The keyed digest of a Secret's contents.
#[must_use]
pub fn secret_digest(data: &BTreeMap<String, SecretBytes>, key: &DigestKey) -> String {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    for (name, bytes) in data {
        hash_part(&mut hasher, name.as_bytes());
        hash_part(&mut hasher, bytes.expose());
    }
    hasher.finalize().to_hex().to_string()
}

/// A digest of a Secret's contents for comparing within one process. Never printed or stored: it is not keyed.
pub(super) fn fingerprint(data: &BTreeMap<String, SecretBytes>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in data {
        hash_part(&mut hasher, name.as_bytes());
        hash_part(&mut hasher, bytes.expose());
    }
    *hasher.finalize().as_bytes()
}

/// Length first, so that no two lists of parts have the same bytes.
pub(super) fn hash_part(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(part);
}

/// The canonical form of a value of the table; `None` if it says nothing.
fn canonical(table: &Table, shape: Shape<'_>, row: Option<&Field>, value: &Value) -> Option<Value> {
    let form = match (shape, value) {
        (_, Value::Null) => return None,
        (Shape::One("Quantity"), value) => canonical_quantity(value),
        (Shape::One(name), Value::Object(map)) => Value::Object(canonical_fields(table, name, map)),
        (Shape::List(name), Value::Array(items)) => {
            let items: Vec<Value> =
                items.iter().map(|item| canonical(table, Shape::One(name), None, item).unwrap_or_default()).collect();
            Value::Array(items)
        }
        (Shape::One(_) | Shape::List(_) | Shape::Map(_), value) => value.clone(),
    };
    let says_nothing = match (&form, shape) {
        (Value::Array(items), Shape::List(_)) => items.is_empty(),
        (Value::Object(map), Shape::Map(_)) => map.is_empty(),
        _ => false,
    };
    let is_default = row.and_then(|row| row.default.as_ref()).is_some_and(|default| *default == form);
    (!says_nothing && !is_default).then_some(form)
}

fn canonical_fields(table: &Table, owner: &str, map: &Map<String, Value>) -> Map<String, Value> {
    let mut canonical_map = Map::new();
    for (key, value) in map {
        let row = table.row(owner, key);
        if owner == "TemplateMeta" && !matches!(key.as_str(), "labels" | "annotations") {
            continue;
        }
        let mut value = value.clone();
        if owner == "TemplateMeta"
            && let Value::Object(notes) = &mut value
        {
            notes.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        let shape = row.filter(|row| !row.as_written).map_or(Shape::One("Any"), Field::shape);
        if let Some(form) = canonical(table, shape, row, &value) {
            canonical_map.insert(key.clone(), form);
        }
    }
    canonical_map
}

fn canonical_quantity(value: &Value) -> Value {
    serde_json::from_value::<Quantity>(value.clone()).map_or_else(|_| value.clone(), |amount| Value::String(amount.canonical()))
}

/// JSON with sorted keys, whatever order the map type keeps.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            text.push('{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(key.clone()).to_string());
                text.push(':');
                write_sorted(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_sorted(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests;
