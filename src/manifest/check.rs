//! One document against the table: nulls dropped as Kubernetes drops them, ignored fields summed up, and the schema's errors turned
//! into sentences with a place.

use super::findings::Findings;
use super::names::nearest;
use super::schema;
use super::table::{Field, Shape, Table, Type};
use super::templates;
use super::yaml::escape;
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

/// How many known fields a hint lists.
const KNOWN_NAMED_MAX: usize = 12;

/// How many ignored fields a warning names.
const IGNORED_NAMED_MAX: usize = 5;

/// Drops nulls, then reports every breach of the schema of `root`, and the ignored fields.
pub(crate) fn check(root: &str, value: &mut Value, findings: &mut Findings<'_>) {
    let table = Table::get();
    let mut ignored = Vec::new();
    tidy(table, Shape::One(root), value, String::new(), &mut ignored);
    let Some(validator) = schema::validator(root) else {
        findings.error("", "cannot be checked: its schema is missing from this build", None);
        return;
    };
    let checker = Checker { table, root };
    let (unions, others): (Vec<_>, Vec<_>) = validator.iter_errors(value).partition(is_union);
    for error in others.iter().chain(&unions) {
        checker.report(error, findings);
    }
    warn_of_ignored(&ignored, findings);
}

fn is_union(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. })
}

/// In Kubernetes a null field is an absent one, and a null in a map of texts an empty text.
fn tidy(table: &Table, shape: Shape<'_>, value: &mut Value, pointer: String, ignored: &mut Vec<String>) {
    match (shape, value) {
        (Shape::One(name), Value::Object(map)) => {
            let Some(fields) = table.fields(name) else { return };
            map.retain(|_, value| !value.is_null());
            for (key, value) in map {
                let pointer = format!("{pointer}/{}", escape(key));
                match fields.get(key) {
                    Some(field) if field.ignored.is_some() => ignored.push(pointer),
                    Some(field) => tidy(table, field.shape(), value, pointer, ignored),
                    None => {}
                }
            }
        }
        (Shape::List(name), Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                tidy(table, Shape::One(name), item, format!("{pointer}/{index}"), ignored);
            }
        }
        (Shape::Map(_), Value::Object(map)) => {
            for value in map.values_mut().filter(|value| value.is_null()) {
                *value = Value::String(String::new());
            }
        }
        (Shape::One(_) | Shape::List(_) | Shape::Map(_), _) => {}
    }
}

fn warn_of_ignored(ignored: &[String], findings: &mut Findings<'_>) {
    let Some(first) = ignored.first() else { return };
    let names: Vec<String> = ignored.iter().take(IGNORED_NAMED_MAX).map(|pointer| findings.place(pointer).1).collect();
    let more = ignored.len().saturating_sub(IGNORED_NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!("without effect here: {}{rest}", names.join(", "));
    findings.warning(first, message, None);
}

struct Checker<'a> {
    table: &'a Table,
    root: &'a str,
}

impl Checker<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other keyword is a value of the wrong type or form")]
    fn report(&self, error: &ValidationError<'_>, findings: &mut Findings<'_>) {
        let pointer = error.instance_path().as_str();
        let (shape, row) = self.table.at(self.root, pointer);
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for name in unexpected {
                    self.report_unknown(pointer, shape, name, findings);
                }
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                findings.error(&format!("{pointer}/{}", escape(name)), "is required", None);
            }
            Kind::Not { .. } | Kind::FalseSchema if row.is_some_and(|row| row.unsupported.is_some()) => {
                report_unsupported(pointer, row, findings);
            }
            Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } => self.report_choice(pointer, shape, findings),
            Kind::Enum { options } => report_enum(pointer, row, options, error.instance(), findings),
            Kind::MinItems { .. } => once(pointer, "must have at least one item", None, findings),
            Kind::MaxItems { limit } => once(pointer, &format!("must have at most {limit} item(s)"), None, findings),
            _ => self.report_value(pointer, shape, error, findings),
        }
    }

    fn report_unknown(&self, parent: &str, shape: Shape<'_>, name: &str, findings: &mut Findings<'_>) {
        let Shape::One(owner) = shape else { return };
        if findings.is_full() {
            findings.error_at_key(parent, name, "is not a known field", None);
            return;
        }
        let known = self.table.fields(owner).into_iter().flat_map(|fields| fields.keys().map(String::as_str));
        let hint = match nearest(name, known) {
            Some(meant) => format!("did you mean {meant}?"),
            None => self
                .home_of(name)
                .map_or_else(|| self.known_in(owner), |home| format!("{name} is a field of {home}: is the indentation right?")),
        };
        findings.error_at_key(parent, name, "is not a known field", Some(hint));
    }

    /// The fields that can be there, if they are few enough to be read.
    fn known_in(&self, owner: &str) -> String {
        let fields = self.table.fields(owner).into_iter().flatten();
        let known: Vec<&str> = fields.filter(|(_, row)| row.state() == "supported").map(|(name, _)| name.as_str()).collect();
        if known.len() <= KNOWN_NAMED_MAX {
            format!("known here are {}", known.join(", "))
        } else {
            format!("`driftless schema` and docs/manifests.md list the fields of {owner}")
        }
    }

    /// The one type below this document that has such a field: a field at the wrong depth.
    fn home_of(&self, name: &str) -> Option<&str> {
        let homes = ["PodSpec", "Container", "DeploymentSpec", "ServiceSpec", "RolloutSpec", "AutoscalerSpec", "ObjectMeta"];
        let mut homes = homes.into_iter().filter(|home| self.table.fields(home).is_some_and(|fields| fields.contains_key(name)));
        homes.next()
    }

    fn report_choice(&self, pointer: &str, shape: Shape<'_>, findings: &mut Findings<'_>) {
        let Shape::One(owner) = shape else { return };
        let Some(Type::Object { fields, exactly_one, at_most_one, .. }) = self.table.types.get(owner) else { return };
        if findings.has_error_below(pointer) {
            return;
        }
        let (amount, names) = if exactly_one.is_empty() { ("at most", at_most_one) } else { ("exactly", exactly_one) };
        let usable: Vec<&str> = names
            .iter()
            .filter(|name| fields.get(*name).is_some_and(|field| field.state() == "supported"))
            .map(String::as_str)
            .collect();
        findings.error(pointer, &format!("must have {amount} one of {}", usable.join(", ")), None);
    }

    /// A value of the wrong type or form.
    fn report_value(&self, pointer: &str, shape: Shape<'_>, error: &ValidationError<'_>, findings: &mut Findings<'_>) {
        let instance = error.instance().as_ref();
        let wanted = match shape {
            Shape::One(name) => self.table.says(name).unwrap_or("a mapping"),
            Shape::List(_) => "a list",
            Shape::Map(_) => "a mapping",
        };
        let is_type = matches!(error.kind(), Kind::Type { .. });
        let found = match instance {
            Value::String(text) if !is_type => findings.quoted(text),
            Value::Number(number) if !is_type && !findings.is_secret => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                Some(type_name(instance).to_owned())
            }
        };
        let found = found.map(|found| format!(", not {found}")).unwrap_or_default();
        once(pointer, &format!("must be {wanted}{found}"), hint_for(wanted, instance, is_type), findings);
    }
}

/// What helps with a value of the wrong type or form.
fn hint_for(wanted: &str, instance: &Value, is_type: bool) -> Option<String> {
    if let Some(hint) = instance.as_str().and_then(templates::hint) {
        return Some(hint.to_owned());
    }
    match instance {
        Value::Bool(_) if is_type && wanted.starts_with("a ") => {
            Some("put it in quotes: yes, no, on, off, true and false are booleans in YAML".to_owned())
        }
        Value::Number(_) if is_type => Some("put it in quotes".to_owned()),
        Value::String(text) if is_type && text.parse::<f64>().is_ok() => Some("write it without quotes".to_owned()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn report_unsupported(pointer: &str, row: Option<&Field>, findings: &mut Findings<'_>) {
    let why = row.and_then(|row| row.unsupported.as_deref()).unwrap_or_default();
    let hint = row.and_then(|row| row.instead.clone());
    findings.error(pointer, &format!("is not supported: {why}"), hint);
}

fn report_enum(pointer: &str, row: Option<&Field>, options: &Value, found: &Value, findings: &mut Findings<'_>) {
    let written = if found.is_string() { String::new() } else { found.to_string() };
    let text = found.as_str().unwrap_or(&written);
    if let Some(why) = row.and_then(|row| row.refused.get(text)) {
        once(pointer, &format!("{text} is not supported"), Some(why.clone()), findings);
        return;
    }
    let options = options.as_array().into_iter().flatten();
    let names: Vec<String> = options.map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let found = findings.quoted(text).map(|found| format!(", not {found}")).unwrap_or_default();
    let meant = nearest(text, names.iter().copied()).map(|meant| format!("did you mean {meant}?"));
    let instead = row.and_then(|row| row.instead.clone());
    let hint = templates::hint(text).map(str::to_owned).or(meant).or(instead);
    once(pointer, &format!("must be {}{found}", names.join(" or ")), hint, findings);
}

/// One error per value is enough: a text that breaks a pattern breaks the length as well.
fn once(pointer: &str, message: &str, hint: Option<String>, findings: &mut Findings<'_>) {
    if !findings.has_error_below(pointer) {
        findings.error(pointer, message, hint);
    }
}

/// A value's type, in words.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
