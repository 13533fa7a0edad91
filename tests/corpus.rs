//! Real manifests of public repositories: nothing panics, everything gets a verdict, in bounded time.
//!
//! The corpus lies beside the project and is not part of it; without it this says so and passes.

use driftless::manifest::{self, DocumentReport, Status, ValidationReport};
use driftless::model::{Scope, Severity};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn corpus() -> Option<Vec<(String, Vec<u8>)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/manifests");
    if !root.is_dir() {
        return None;
    }
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("a readable file"))
    };
    Some(paths.into_iter().map(read).collect())
}

#[test]
fn every_document_of_the_corpus_gets_a_verdict() {
    let Some(files) = corpus() else {
        eprintln!("SKIPPED: there is no corpus at ../shared/corpus/manifests");
        return;
    };
    for each in [true, false] {
        let report = manifest::validate(&files, each);
        assert!(report.summary.documents >= 2_000, "only {} documents", report.summary.documents);
        for document in &report.documents {
            let has_error = !errors(document).is_empty();
            assert_eq!(
                has_error,
                document.status == Status::Rejected,
                "{} {}: a document is rejected for its own errors: {:?}",
                document.file,
                document.index,
                document.problems
            );
            let is_placed = document
                .problems
                .iter()
                .all(|problem| problem.line > 0 || document.kind == "Kustomization" || document.kind == "Chart");
            assert!(is_placed, "{} {}: a problem without a line: {:?}", document.file, document.index, document.problems);
        }
    }
}

/// A row of `workloads.tsv`.
struct Workload {
    file: String,
    document: usize,
    kind: String,
    name: String,
    tier: String,
    fields: Vec<String>,
}

/// The rows whose files are in the corpus; it leaves some out.
fn workloads_of_corpus() -> Option<Vec<Workload>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/manifests");
    Some(workloads()?.into_iter().filter(|workload| root.join(&workload.file).is_file()).collect())
}

fn workloads() -> Option<Vec<Workload>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/workloads.tsv");
    let text = fs::read_to_string(path).ok()?;
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Workload {
            file: format!("{}/{}", columns[0], columns[1]),
            document: columns[2].parse().expect("a number"),
            kind: columns[3].to_owned(),
            name: columns[4].to_owned(),
            tier: columns[5].to_owned(),
            fields: columns.get(6).unwrap_or(&"").split(',').filter(|field| !field.is_empty()).map(str::to_owned).collect(),
        }
    };
    Some(text.lines().skip(1).map(row).collect())
}

/// What we say of a workload; the items of a List share their number.
fn report_of<'a>(report: &'a ValidationReport, workload: &Workload) -> &'a DocumentReport {
    let documents =
        || report.documents.iter().filter(|document| document.file == workload.file && document.index == workload.document);
    let is_it = |document: &&DocumentReport| document.kind == workload.kind && document.name == workload.name;
    documents()
        .find(is_it)
        .or_else(|| documents().next())
        .unwrap_or_else(|| panic!("{} {} is not there", workload.file, workload.document))
}

fn errors(document: &DocumentReport) -> Vec<String> {
    let of_document =
        document.problems.iter().filter(|problem| problem.severity == Severity::Error && problem.scope == Scope::Document);
    of_document.map(|problem| format!("{}:{}: {}", document.file, problem.line, problem.message)).collect()
}

#[test]
fn workloads_that_should_run_are_refused_for_what_is_not_there_yet_only() {
    let (Some(files), Some(workloads)) = (corpus(), workloads_of_corpus()) else {
        eprintln!("SKIPPED: there is no corpus at ../shared/corpus");
        return;
    };
    let report = manifest::validate(&files, true);
    let refused: Vec<String> = workloads
        .iter()
        .filter(|workload| workload.tier == "supported")
        .flat_map(|workload| errors(report_of(&report, workload)))
        .collect();
    // Of two the API version was removed from Kubernetes, and two are Jobs that it refuses as well.
    let known = [
        "not supported",
        "was removed from Kubernetes",
        "must be Never or OnFailure in a Job",
        "is not kept on disk",
        "not \"${",
    ];
    let is_known = |error: &str| known.iter().any(|words| error.contains(words));
    let misread: Vec<&String> = refused.iter().filter(|error| !is_known(error)).collect();
    assert!(misread.is_empty(), "{misread:#?}");
    println!("{} fields and kinds of supported workloads are not there yet:\n{}", refused.len(), refused.join("\n"));
}

#[test]
fn mistakes_and_volumes_of_the_past_are_refused_at_their_line() {
    let (Some(files), Some(workloads)) = (corpus(), workloads_of_corpus()) else {
        eprintln!("SKIPPED: there is no corpus at ../shared/corpus");
        return;
    };
    let report = manifest::validate(&files, true);
    // dnsConfig is listed for what is in it; a DaemonSet is refused as a whole as long as there are none.
    for workload in workloads.iter().filter(|workload| workload.tier == "unlisted" && workload.fields != ["pod.dnsConfig"]) {
        let document = report_of(&report, workload);
        let bytes = files.iter().find(|(file, _)| *file == workload.file).map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        let lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        let names = || workload.fields.iter().flat_map(|field| field.split('.')).map(|part| part.trim_end_matches("[]"));
        let is_at_its_line = document.problems.iter().filter(|problem| problem.severity == Severity::Error).any(|problem| {
            let line = usize::try_from(problem.line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
            line.is_some_and(|line| document.kind == "DaemonSet" || names().any(|name| line.contains(name)))
        });
        assert!(is_at_its_line, "{} {:?}: {:?}", workload.file, workload.fields, document.problems);
    }
}

/// Every field of every accepted document: supported, or ignored with a warning that names it (or says how many more there are).
#[test]
fn no_field_of_an_accepted_document_is_dropped_in_silence() {
    let Some(files) = corpus() else {
        eprintln!("SKIPPED: there is no corpus at ../shared/corpus/manifests");
        return;
    };
    let report = manifest::validate(&files, true);
    let mut by_file: BTreeMap<&str, Vec<&DocumentReport>> = BTreeMap::new();
    for document in report.documents.iter().filter(|document| document.status == Status::Accepted) {
        by_file.entry(&document.file).or_default().push(document);
    }
    let (mut honoured, mut ignored) = (0, 0);
    for (file, bytes) in &files {
        let Some(accepted) = by_file.get(file.as_str()) else { continue };
        for (kind, name, value) in objects(bytes) {
            let Some(document) = accepted.iter().find(|document| document.kind == kind && document.name == name) else {
                continue;
            };
            let mut leaves = Vec::new();
            walk(&value, String::new(), &mut leaves);
            for pointer in leaves {
                let state = manifest::state_of(&document.api_version, &document.kind, &pointer);
                match state {
                    Some("supported") => honoured += 1,
                    Some("ignored") => {
                        ignored += 1;
                        let is_warned =
                            document.problems.iter().any(|problem| problem.message.starts_with("without effect here: "));
                        assert!(is_warned, "{file} {name}: {pointer} is ignored without a warning");
                    }
                    other => panic!("{file} {name}: {pointer} is {other:?}, and the document was accepted"),
                }
            }
        }
    }
    println!(
        "{honoured} fields honoured, {ignored} ignored with a warning, of {} accepted documents",
        by_file.values().flatten().count()
    );
    assert!(honoured > 1_000, "only {honoured} fields were seen");
}

/// The objects of a file by an independent reader, those of Lists taken apart; what it cannot read is left out.
fn objects(bytes: &[u8]) -> Vec<(String, String, Value)> {
    let text = String::from_utf8_lossy(bytes);
    let values: Vec<Value> = serde_saphyr::from_multiple(text.trim_start_matches('\u{feff}')).unwrap_or_default();
    let items = values.into_iter().flat_map(|value| match value.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![value],
    });
    let word = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    items.map(|value| (word(&value, "/kind"), word(&value, "/metadata/name"), value)).collect()
}

/// The pointers of everything that has no parts. In Kubernetes a null is absent.
fn walk(value: &Value, pointer: String, leaves: &mut Vec<String>) {
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
        Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => leaves.push(pointer),
    }
}
