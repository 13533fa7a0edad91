//! Nothing that an accepted document says is dropped in silence.
//!
//! Every leaf of it, as an independent reader sees it, is either ignored by the table, and a warning says so; or supported, and then it is
//! found again in the document that the types print ([`printed`]). So a field that the table promises and the code drops is seen.

use super::Corpus;
use super::printed;
use driftless::manifest::{self, DocumentReport, ProblemReport, Status};
use driftless::model::{Object, ObjectKey, Quantity};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Fields that are supported and leave no trace in the types, and why that is right. Another one is a field that has one value only.
const WITHOUT_TRACE: &[(&str, &str)] = &[
    ("ScaleTarget.apiVersion", "the kind says it"),
    ("Secret.type", "any is accepted; it is for people and tools"),
    ("ClaimTemplate.apiVersion", "a claim template is a claim"),
    ("ClaimTemplate.kind", "a claim template is a claim"),
    ("JobSpec.podReplacementPolicy", "a pod is replaced once it has ended, whichever is written"),
];

/// kubectl's copy of the whole document. It is left out on purpose: it would repeat the values of a Secret.
const LAST_APPLIED: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// A document as an independent reader sees it.
pub(crate) struct Written(Value);

impl Written {
    /// The text at a pointer, empty if there is none.
    pub(crate) fn word(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether something is written at a pointer.
    pub(crate) fn has(&self, pointer: &str) -> bool {
        self.0.pointer(pointer).is_some()
    }

    /// The pointers of everything that has no parts, and what is there. In Kubernetes a null is absent.
    fn leaves(&self) -> Vec<(String, &Value)> {
        let mut leaves = Vec::new();
        walk(&self.0, String::new(), &mut leaves);
        leaves
    }

    fn is_of(&self, document: &DocumentReport) -> bool {
        let namespace = self.word("/metadata/namespace");
        let is_there = document.namespace == namespace || namespace.is_empty() && document.namespace == "default";
        is_there && document.kind == self.word("/kind") && document.name == self.word("/metadata/name")
    }
}

fn walk<'a>(value: &'a Value, pointer: String, leaves: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Null => {}
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                walk(value, format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| walk(item, format!("{pointer}/{index}"), leaves));
        }
        Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            leaves.push((pointer, value))
        }
    }
}

/// The documents of a file, those of Lists taken apart; what the independent reader cannot read is left out.
pub(crate) fn written(bytes: &[u8]) -> Vec<Written> {
    let text = String::from_utf8_lossy(bytes);
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let values = serde_saphyr::from_multiple_with_options(text.trim_start_matches('\u{feff}'), options);
    let items =
        values.unwrap_or_default().into_iter().flat_map(|value: Value| match value.get("items").and_then(Value::as_array) {
            Some(items) => items.clone(),
            None => vec![value],
        });
    items.map(Written).collect()
}

/// The schema of a kind, through which pointers are followed to the rows of the table.
struct Schema(Value);

impl Schema {
    fn of(kind: &str) -> Self {
        Self(manifest::json_schema(kind).unwrap_or_else(|| panic!("{kind} has a schema")))
    }

    /// The type of documents of a version.
    fn root(&self, api_version: &str) -> &str {
        let types = self.0["$defs"].as_object().expect("types");
        let is_it = |of: &Value| of["properties"]["apiVersion"]["const"] == api_version;
        types.iter().find(|(_, of)| is_it(of)).map_or("", |(name, _)| name)
    }

    /// Every row that a pointer passes, as `Type.field`, and the last one itself.
    fn rows(&self, api_version: &str, pointer: &str) -> (Vec<String>, &Value) {
        let mut of: &str = self.root(api_version);
        let (mut passed, mut row) = (Vec::new(), &Value::Null);
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let field = &self.0["$defs"][of]["properties"][&step];
            // An index, or a key of a map: the type of what is there is known already.
            if field.is_null() {
                continue;
            }
            passed.push(format!("{of}.{step}"));
            row = field;
            let target = ["", "/items", "/additionalProperties"].map(|part| format!("{part}/$ref"));
            let target = target.iter().find_map(|pointer| field.pointer(pointer)?.as_str()?.strip_prefix("#/$defs/"));
            of = target.unwrap_or_default();
        }
        (passed, row)
    }

    /// Every supported row of the kind.
    fn supported(&self) -> BTreeSet<String> {
        let types = self.0["$defs"].as_object().expect("types").iter();
        let rows = types.flat_map(|(name, of)| of["properties"].as_object().into_iter().flatten().map(move |row| (name, row)));
        let is_ignored = |row: &Value| row["description"].as_str().is_some_and(|about| about.starts_with("Ignored: "));
        rows.filter(|(_, (_, row))| row.get("not").is_none() && !is_ignored(row))
            .map(|(name, (field, _))| format!("{name}.{field}"))
            .collect()
    }
}

/// Whether a row admits one value only, so that nothing needs to remember it.
fn has_one_value(row: &Value) -> bool {
    row.get("const").is_some() || row["enum"].as_array().is_some_and(|values| values.len() == 1)
}

/// Whether what is printed says what was written: the same, or the same amount; and what says nothing may be left out.
fn says(printed: Option<&Value>, pointer: &str, written: &Value) -> bool {
    let says_nothing = match written {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    let Some(printed) = printed else { return says_nothing };
    let amount = |value: &Value| serde_json::from_value::<Quantity>(value.clone()).ok();
    let packed = |value: &Value| value.as_str().map(|text| text.split_whitespace().collect::<String>());
    let is_base64 = pointer.starts_with("/binaryData/") || pointer.starts_with("/data/");
    printed == written
        || says_nothing && printed.is_null()
        || amount(written).is_some() && amount(printed) == amount(written)
        || is_base64 && packed(printed) == packed(written)
}

/// Whether a problem warns that something else takes the place of what the pointer leads to.
fn is_replaced(problem: &ProblemReport, pointer: &str) -> bool {
    let above = pointer.match_indices('/').skip(1).map(|(end, _)| &pointer[..end]);
    let spelt = |pointer: &str| {
        let steps = pointer.split('/').skip(1);
        let step = |step: &str| if step.parse::<usize>().is_ok() { format!("[{step}]") } else { format!(".{step}") };
        steps.map(step).collect::<String>()
    };
    problem.message.ends_with("takes the place of this volume") && above.map(spelt).any(|path| path[1..] == problem.path)
}

/// Words that say what is so without them, and that nothing needs to remember.
const DEFAULTS: [(&str, &str); 4] = [
    ("ServiceSpec.type", "ClusterIP"),
    ("ServiceSpec.sessionAffinity", "None"),
    ("ServiceSpec.internalTrafficPolicy", "Cluster"),
    ("ServiceSpec.externalTrafficPolicy", "Cluster"),
];

/// What was heard of a corpus.
#[derive(Default)]
struct Heard {
    documents: usize,
    honoured: usize,
    ignored: usize,
    rows: BTreeSet<String>,
    lost: Vec<String>,
}

impl Heard {
    fn of(corpus: &Corpus) -> Self {
        let mut heard = Self::default();
        let mut accepted: BTreeMap<&str, Vec<&DocumentReport>> = BTreeMap::new();
        for document in corpus.report.documents.iter().filter(|document| document.status == Status::Accepted) {
            accepted.entry(&document.file).or_default().push(document);
        }
        for (file, bytes) in &corpus.files {
            let Some(accepted) = accepted.get(file.as_str()) else { continue };
            let objects = printed::objects_of(file, bytes);
            let mut met = BTreeSet::new();
            for written in written(bytes) {
                let Some(document) = accepted.iter().find(|document| written.is_of(document)) else { continue };
                let object = objects.values().find(|object| is_of(&object.key, document)).expect("what is accepted is an object");
                // Of two with one name the first counts.
                if met.insert(object.key.clone()) {
                    heard.document(document, &written, object);
                }
            }
        }
        heard
    }

    fn document(&mut self, document: &DocumentReport, written: &Written, object: &Arc<Object>) {
        self.documents += 1;
        let (schema, printed) = (Schema::of(&document.kind), printed::document(object));
        let api_version = object.written["apiVersion"].as_str().unwrap_or_default();
        let place = format!("{} {} {}", document.file, document.kind, document.name);
        let warned = || document.problems.iter().any(|problem| problem.message.starts_with("without effect here: "));
        for (pointer, value) in written.leaves() {
            match manifest::state_of(api_version, &document.kind, &pointer) {
                Some("ignored") if warned() => self.ignored += 1,
                Some("ignored") => self.lost.push(format!("{place}: {pointer} is ignored without a warning")),
                Some("supported") => {
                    let (rows, row) = schema.rows(api_version, &pointer);
                    let is_traceless = has_one_value(row)
                        || pointer == LAST_APPLIED
                        || rows
                            .last()
                            .is_some_and(|row| DEFAULTS.iter().any(|(known, default)| known == row && value == default))
                        || WITHOUT_TRACE.iter().any(|(known, _)| rows.last().is_some_and(|name| name == known))
                        || document.problems.iter().any(|problem| is_replaced(problem, &pointer));
                    if is_traceless || says(printed.pointer(&pointer), &pointer, value) {
                        self.honoured += 1;
                        self.rows.extend(rows);
                    } else {
                        let found = printed.pointer(&pointer);
                        self.lost.push(format!("{place}: {pointer} says {value}, and what was heard is {found:?}"));
                    }
                }
                other => self.lost.push(format!("{place}: {pointer} is {other:?}, and the document was accepted")),
            }
        }
    }
}

fn is_of(key: &ObjectKey, document: &DocumentReport) -> bool {
    key.kind.as_str() == document.kind && key.name == document.name && key.namespace == document.namespace
}

#[test]
fn no_field_of_an_accepted_document_is_dropped_in_silence() {
    for corpus in Corpus::all() {
        let heard = Heard::of(&corpus);
        println!(
            "{} accepted documents: {} fields found again in the types, {} ignored with a warning",
            heard.documents, heard.honoured, heard.ignored
        );
        assert!(heard.lost.is_empty(), "{} fields: {}", heard.lost.len(), heard.lost.join("\n"));
        assert!(heard.honoured > 400 && heard.ignored > 5, "only {} and {}", heard.honoured, heard.ignored);
    }
}

/// So that the test above means something for every row of the table, wherever it runs.
#[test]
fn our_own_documents_say_every_supported_field() {
    let heard = Heard::of(&Corpus::own());
    let kinds: BTreeSet<&str> = manifest::supported_kinds().into_iter().map(|(kind, _)| kind).collect();
    let supported: BTreeSet<String> = kinds.into_iter().flat_map(|kind| Schema::of(kind).supported()).collect();
    let missing: Vec<&String> = supported.difference(&heard.rows).collect();
    assert!(missing.is_empty(), "tests/corpus/manifests has no document with {missing:#?}");
}
