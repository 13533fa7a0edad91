//! The table as a page for people: docs/manifests.md.

use super::policy::POLICY_TYPE;
use super::table::{AnnotationForm, Field, Shape, Table, Type};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

const INTRODUCTION: &str = "# Manifests

<!-- Made from schemas/ by `driftless schema --markdown`; a test compares it. Change the table, not this page. -->

Manifests are written as Kubernetes writes them. This page lists what becomes of every field:

- **supported**: it does what Kubernetes documents;
- **ignored**: harmless without Kubernetes; accepted, with one warning for all such fields of a document;
- **unsupported**: known to Kubernetes, not to us; refused, with what to do instead.

Any other field is *unknown* and refused with its line, its column and the nearest known name. [What is different from
Kubernetes](kubernetes-differences.md) has the same from the other side.

Editors read the JSON Schemas: `driftless schema --all DIR` writes one for each kind and one for all of them. With the YAML language server a
first line names the one to use:

```yaml
# yaml-language-server: $schema=schemas/Deployment.json
apiVersion: apps/v1
kind: Deployment
```
";

/// The page.
#[must_use]
pub fn reference_markdown() -> String {
    let table = Table::get();
    let mut page = INTRODUCTION.to_owned();
    kinds(table, &mut page);
    annotations(table, &mut page);
    others_annotations(table, &mut page);
    policy(table, &mut page);
    let mut shown = BTreeSet::new();
    page.push_str("\n# Fields\n");
    for (word, root) in &table.kinds.supported {
        let _ = write!(page, "\n## {root}\n\n`{word}`\n");
        object(table, root, &mut page);
        shown.insert(root.clone());
    }
    for root in table.kinds.supported.values() {
        for name in below(table, root) {
            if shown.insert(name.clone()) {
                let _ = write!(page, "\n### {name}\n");
                object(table, &name, &mut page);
            }
        }
    }
    page
}

fn kinds(table: &Table, page: &mut String) {
    page.push_str("\n# Kinds\n\n| apiVersion and kind | state | |\n|---|---|---|\n");
    let kinds = &table.kinds;
    for word in kinds.supported.keys() {
        let _ = writeln!(page, "| `{word}` | supported | |");
    }
    for (word, why) in &kinds.ignored {
        let _ = writeln!(page, "| `{word}` | ignored | {why} |");
    }
    for (word, instead) in &kinds.unsupported {
        let _ = writeln!(page, "| `{word}` | unsupported | {instead} |");
    }
    for (word, newer) in &kinds.renamed {
        let _ = writeln!(page, "| `{word}` | removed from Kubernetes | read as {newer}, with a warning |");
    }
    for (word, newer) in &kinds.removed {
        let _ = writeln!(page, "| `{word}` | removed from Kubernetes | write {newer} |");
    }
    page.push_str(
        "\nAny other kind is refused by name, unless `ignoreKinds` in `driftless.yaml` lists it as `Kind` or `Kind.group`.\n",
    );
}

fn annotations(table: &Table, page: &mut String) {
    page.push_str("\n# Annotations\n\n| annotation | values | on |\n|---|---|---|\n");
    for (name, row) in &table.kinds.annotations {
        let values = match &row.unsupported {
            Some(why) => format!("unsupported: {why}"),
            None if row.form == Some(AnnotationForm::Term) => "a duration from `10s` to `1h`".to_owned(),
            None if row.values.is_empty() => "any text".to_owned(),
            None => row.values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
        };
        let refused: String = row.refused.iter().map(|(value, why)| format!("; not `{value}`: {why}")).collect();
        let _ = writeln!(page, "| `{name}` | {values}{refused} | {} |", row.kinds.join(", "));
    }
}

/// What other controllers honour.
fn others_annotations(table: &Table, page: &mut String) {
    page.push_str(
        "\n## Of others\n\nAnnotations and labels that promise protection are refused, as nothing here would keep the promise. `*` stands for any \
         end. Those that are in no table are notes.\n\n| annotation or label | state | |\n|---|---|---|\n",
    );
    let guards = table.kinds.guarded_annotations.iter().chain(&table.kinds.guarded_labels);
    for (name, guard) in guards {
        let unless: String = guard.unless.iter().map(|value| format!("; `{value}` is accepted")).collect();
        let _ = writeln!(page, "| `{name}` | unsupported | {}{unless} |", guard.why);
    }
    for (name, row) in &table.kinds.honoured_annotations {
        let values: Vec<String> = row.values.iter().map(|value| format!("`{value}`")).collect();
        let _ = writeln!(page, "| `{name}` | supported | {}: {} |", values.join(", "), row.about);
    }
    for (name, why) in &table.kinds.inert_annotations {
        let _ = writeln!(page, "| `{name}` | ignored | {why} |");
    }
}

/// `driftless.yaml`
fn policy(table: &Table, page: &mut String) {
    page.push_str(
        "\n# driftless.yaml\n\nThe file `driftless.yaml` at the root of the watched path is read alike by `driftless validate`, `driftless plan` \
         and the controller. With a mistake in it every unit is held.\n",
    );
    for name in below(table, POLICY_TYPE) {
        if name != POLICY_TYPE {
            let _ = write!(page, "\n### {name}\n");
        }
        object(table, &name, page);
    }
}

fn object(table: &Table, name: &str, page: &mut String) {
    let Some(Type::Object { fields, exactly_one, at_most_one, others }) = table.types.get(name) else { return };
    for (amount, names) in [("Exactly", exactly_one), ("At most", at_most_one)] {
        if !names.is_empty() {
            let _ = write!(page, "\n{amount} one of {} can be there.\n", names.join(", "));
        }
    }
    page.push_str("\n| field | type | state | |\n|---|---|---|---|\n");
    for state in ["supported", "ignored", "unsupported"] {
        for (name, field) in fields.iter().filter(|(_, field)| field.state() == state) {
            let _ = writeln!(page, "| `{name}` | {} | {state} | {} |", type_cell(table, field), note(field));
        }
    }
    if let Some(row) = others {
        let _ = writeln!(page, "| any other with a domain | {} | {} | {} |", type_cell(table, row), row.state(), note(row));
    }
}

fn type_cell(table: &Table, field: &Field) -> String {
    let (name, wrap) = match field.shape() {
        Shape::One("Any") => return String::new(),
        Shape::One(name) => (name, "{}"),
        Shape::List(name) => (name, "list of {}"),
        Shape::Map(name) => (name, "map of {}"),
    };
    let cell = if table.fields(name).is_some() { format!("[{name}](#{})", name.to_lowercase()) } else { name.to_owned() };
    wrap.replace("{}", &cell)
}

fn note(field: &Field) -> String {
    if let (Some(why), instead) = (&field.unsupported, field.instead.as_deref().unwrap_or_default()) {
        return format!("{why}; {instead}");
    }
    if let Some(why) = &field.ignored {
        return why.clone();
    }
    let mut parts = Vec::new();
    if field.required {
        parts.push("required".to_owned());
    }
    parts.extend(Some(field.about.clone()).filter(|about| !about.is_empty()));
    if let Some(values) = field.keywords.get("enum").and_then(Value::as_array) {
        let names: Vec<String> =
            values.iter().filter_map(|value| value.as_str()).map(|value| format!("`{value:?}`").replace('"', "")).collect();
        parts.push(format!("one of {}", names.join(", ")));
    }
    if let Some(default) = field.default.as_ref().filter(|default| says_something(default)) {
        parts.push(format!("`{}` if absent", default.as_str().map_or_else(|| default.to_string(), str::to_owned)));
    }
    parts.extend(field.refused.iter().map(|(value, why)| format!("not `{value}`: {why}")));
    parts.join("; ")
}

/// Whether a default is worth a word: an empty one is what everybody expects.
fn says_something(default: &Value) -> bool {
    match default {
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The object types below a type, in reading order.
fn below(table: &Table, root: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(name) = open.pop() {
        let Some(fields) = table.fields(&name) else { continue };
        if names.contains(&name) {
            continue;
        }
        names.push(name);
        let targets = fields.values().map(|field| match field.shape() {
            Shape::One(target) | Shape::List(target) | Shape::Map(target) => target.to_owned(),
        });
        open.extend(targets.collect::<Vec<_>>().into_iter().rev());
    }
    names
}
