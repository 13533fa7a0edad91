//! The support table in memory: what becomes of every field of every kind. See `schemas/README.md` for its language.

use super::yaml;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The files of `schemas/` that hold types.
const TYPE_FILES: [&str; 9] = [
    include_str!("../../schemas/scalars.yaml"),
    include_str!("../../schemas/meta.yaml"),
    include_str!("../../schemas/pod.yaml"),
    include_str!("../../schemas/placement.yaml"),
    include_str!("../../schemas/workload.yaml"),
    include_str!("../../schemas/batch.yaml"),
    include_str!("../../schemas/service.yaml"),
    include_str!("../../schemas/ingress.yaml"),
    include_str!("../../schemas/policy.yaml"),
];

/// The whole table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) types: BTreeMap<String, Type>,
    pub(crate) kinds: Kinds,
}

/// What becomes of each `apiVersion kind`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kinds {
    /// To the type of the whole document.
    pub(crate) supported: BTreeMap<String, String>,
    /// To the reason why it is harmless.
    pub(crate) ignored: BTreeMap<String, String>,
    /// To what to do instead.
    pub(crate) unsupported: BTreeMap<String, String>,
    /// To the apiVersion that took its place.
    pub(crate) removed: BTreeMap<String, String>,
    /// The same, and nothing else has changed.
    pub(crate) renamed: BTreeMap<String, String>,
    /// Our own annotations.
    pub(crate) annotations: BTreeMap<String, AnnotationRow>,
    /// Annotations of others that promise protection.
    pub(crate) guarded_annotations: BTreeMap<String, Guard>,
    /// Labels that promise protection.
    pub(crate) guarded_labels: BTreeMap<String, Guard>,
    /// Annotations of others that are honoured.
    pub(crate) honoured_annotations: BTreeMap<String, Honoured>,
    /// Annotations of others that would change something, to why they have no effect.
    pub(crate) inert_annotations: BTreeMap<String, String>,
}

/// What an annotation of others does here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Honoured {
    /// The values it can have.
    pub(crate) values: Vec<String>,
    pub(crate) about: String,
}

/// Why a promise of protection is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Guard {
    pub(crate) why: String,
    /// Values that promise nothing, or what holds anyway.
    pub(crate) unless: Vec<String>,
}

/// The row for a name: a key that ends with `*` stands for all names that begin like it.
pub(crate) fn row_for<'a, V>(rows: &'a BTreeMap<String, V>, name: &str) -> Option<&'a V> {
    rows.get(name).or_else(|| {
        rows.iter().find(|(key, _)| key.strip_suffix('*').is_some_and(|start| name.starts_with(start))).map(|(_, row)| row)
    })
}

/// One of our annotations.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AnnotationRow {
    /// The values it can have; any, if empty.
    pub(crate) values: Vec<String>,
    /// What form its value has, where it can have more than can be listed.
    pub(crate) form: Option<AnnotationForm>,
    /// The kinds that it can be on.
    pub(crate) kinds: Vec<String>,
    /// Values that are known and not honoured, and why.
    pub(crate) refused: BTreeMap<String, String>,
    /// Why it is not honoured at all.
    pub(crate) unsupported: Option<String>,
}

/// A form of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnnotationForm {
    /// The term of a lease.
    Term,
}

/// A type: an object with fields, or a scalar.
#[derive(Debug)]
pub(crate) enum Type {
    Object {
        fields: BTreeMap<String, Field>,
        exactly_one: Vec<String>,
        at_most_one: Vec<String>,
        /// The row of names with a domain that are not listed.
        others: Option<Box<Field>>,
    },
    Scalar {
        schema: Map<String, Value>,
        says: String,
    },
}

/// A row of the table.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Field {
    #[serde(rename = "type")]
    written_type: String,
    pub(crate) required: bool,
    pub(crate) default: Option<Value>,
    /// Whether the template hash takes its value as written.
    #[serde(rename = "asWritten")]
    pub(crate) as_written: bool,
    pub(crate) about: String,
    pub(crate) ignored: Option<String>,
    pub(crate) unsupported: Option<String>,
    pub(crate) instead: Option<String>,
    /// Values that Kubernetes knows and we refuse, and why.
    pub(crate) refused: BTreeMap<String, String>,
    /// JSON Schema keywords.
    #[serde(flatten)]
    pub(crate) keywords: Map<String, Value>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    /// One value of a type.
    One(&'a str),
    /// A list of them.
    List(&'a str),
    /// A map from text to them.
    Map(&'a str),
}

impl<'a> Shape<'a> {
    fn parse(text: &'a str) -> Self {
        if let Some(name) = text.strip_suffix("[]") {
            Shape::List(name)
        } else if let Some(name) = text.strip_suffix("{}") {
            Shape::Map(name)
        } else {
            Shape::One(text)
        }
    }
}

impl Field {
    /// What it holds; `Any` where the row names no type.
    pub(crate) fn shape(&self) -> Shape<'_> {
        Shape::parse(if self.written_type.is_empty() { "Any" } else { &self.written_type })
    }

    /// The state as a word.
    pub(crate) fn state(&self) -> &'static str {
        if self.unsupported.is_some() {
            "unsupported"
        } else if self.ignored.is_some() {
            "ignored"
        } else {
            "supported"
        }
    }
}

impl Kinds {
    /// The type of documents of an `apiVersion kind`, and the apiVersion as which they are read if it is another one.
    pub(crate) fn root(&self, api_version: &str, kind: &str) -> Option<(&str, Option<&str>)> {
        let newer = self.renamed.get(&format!("{api_version} {kind}")).map(String::as_str);
        Some((self.supported.get(&format!("{} {kind}", newer.unwrap_or(api_version)))?, newer))
    }
}

impl Table {
    /// The table that is built in. It is read once; a mistake in it fails the tests, and at run time leaves the table empty, which
    /// refuses everything.
    pub(crate) fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Table::read().unwrap_or_default())
    }

    /// Reads the files of `schemas/`.
    pub(super) fn read() -> Result<Table, String> {
        let mut types = BTreeMap::new();
        for text in TYPE_FILES {
            let Value::Object(rows) = value_of(text)? else { return Err("a file of schemas/ is no mapping".to_owned()) };
            for (name, row) in rows {
                let read = read_type(row).map_err(|error| format!("{name}: {error}"))?;
                types.insert(name, read);
            }
        }
        let kinds = value_of(include_str!("../../schemas/kinds.yaml"))?;
        let kinds = serde_json::from_value(kinds).map_err(|error| format!("kinds.yaml: {error}"))?;
        Ok(Table { types, kinds })
    }

    /// The fields of an object type.
    pub(crate) fn fields(&self, name: &str) -> Option<&BTreeMap<String, Field>> {
        match self.types.get(name)? {
            Type::Object { fields, .. } => Some(fields),
            Type::Scalar { .. } => None,
        }
    }

    /// The row of a field: its own, or that of all names with a domain.
    pub(crate) fn row(&self, owner: &str, name: &str) -> Option<&Field> {
        let Type::Object { fields, others, .. } = self.types.get(owner)? else { return None };
        fields.get(name).or_else(|| others.as_deref().filter(|_| name.contains('/')))
    }

    /// What a scalar type must be.
    pub(crate) fn says(&self, name: &str) -> Option<&str> {
        match self.types.get(name)? {
            Type::Scalar { says, .. } => Some(says),
            Type::Object { .. } => None,
        }
    }

    /// The shape and the row (if the last step is a field) that a JSON pointer leads to from a type.
    pub(crate) fn at<'a>(&'a self, root: &'a str, pointer: &str) -> (Shape<'a>, Option<&'a Field>) {
        let mut shape = Shape::One(root);
        let mut row = None;
        for step in pointer.split('/').skip(1) {
            match shape {
                Shape::List(name) | Shape::Map(name) => shape = Shape::One(name),
                Shape::One(name) => {
                    let key = step.replace("~1", "/").replace("~0", "~");
                    row = self.row(name, &key);
                    shape = row.map_or(Shape::One("Any"), Field::shape);
                }
            }
        }
        (shape, row)
    }
}

fn value_of(text: &str) -> Result<Value, String> {
    let (mut documents, error) = yaml::read(text, 1);
    match (error, documents.pop()) {
        (Some(error), _) => Err(format!("line {}: {error}", error.at.line)),
        (None, Some(document)) if document.duplicates.is_empty() => Ok(document.root.to_value()),
        (None, Some(_)) => Err("a row is there twice".to_owned()),
        (None, None) => Err("a file of schemas/ is empty".to_owned()),
    }
}

fn read_type(row: Value) -> Result<Type, String> {
    let Value::Object(mut rows) = row else { return Err("a type is a mapping".to_owned()) };
    if let (Some(Value::Object(schema)), Some(Value::String(says))) = (rows.remove("scalar"), rows.get("says")) {
        return Ok(Type::Scalar { schema, says: says.clone() });
    }
    let mut names =
        |key: &str| -> Vec<String> { rows.remove(key).and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default() };
    let (exactly_one, at_most_one) = (names("$exactlyOne"), names("$atMostOne"));
    let others = rows.remove("$others").map(serde_json::from_value).transpose().map_err(|error| format!("$others: {error}"))?;
    let fields = rows
        .into_iter()
        .map(|(name, row)| {
            let field = serde_json::from_value(row).map_err(|error| format!("{name}: {error}"))?;
            Ok((name, field))
        })
        .collect::<Result<_, String>>()?;
    Ok(Type::Object { fields, exactly_one, at_most_one, others })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_the_table_names_is_in_the_table() {
        let table = Table::read().expect("schemas/ is readable");
        for (owner, kind) in &table.types {
            let Type::Object { fields, .. } = kind else { continue };
            for (name, field) in fields {
                let (Shape::One(target) | Shape::List(target) | Shape::Map(target)) = field.shape();
                assert!(target == "Any" || table.types.contains_key(target), "{owner}.{name}: no type {target}");
                let is_supported = field.state() == "supported";
                assert_eq!(
                    is_supported,
                    !field.written_type.is_empty(),
                    "{owner}.{name}: a supported row has a type, others none"
                );
                assert!(field.unsupported.is_none() || field.instead.is_some(), "{owner}.{name}: say what to do instead");
            }
        }
    }

    #[test]
    fn every_supported_kind_has_a_type() {
        let table = Table::read().expect("schemas/ is readable");
        for (kind, name) in &table.kinds.supported {
            assert!(table.fields(name).is_some(), "{kind}: no type {name}");
        }
    }
}
