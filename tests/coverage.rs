//! Every field that the support table calls supported is shown to do something: `coverage.txt` names the test.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of `schemas/` that are not about fields of manifests.
const OTHER_TABLES: &[&str] = &["kinds.yaml", "policy.yaml", "scalars.yaml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

/// The supported rows, as `Type.field`.
fn supported() -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for path in files(&root().join("schemas"), "yaml") {
        if OTHER_TABLES.iter().any(|other| path.ends_with(other)) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a readable table");
        let types: BTreeMap<String, Map<String, Value>> = serde_saphyr::from_str(&text).expect("a table of types");
        for (owner, fields) in types {
            let is_supported = |row: &Value| row.get("type").is_some() && row.get("unsupported").is_none();
            let names = fields.iter().filter(|(name, row)| !name.starts_with('$') && is_supported(row)).map(|(name, _)| name);
            rows.extend(names.map(|name| format!("{owner}.{name}")));
        }
    }
    rows
}

/// Each line's row, and the tests that it names.
fn lines() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("tests/coverage.txt")).expect("a readable list");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let written = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(words);
    written.map(|mut words| (words.remove(0), words)).collect()
}

/// The names of the functions without arguments, or of a stage alone, in all sources: among them every test.
fn functions() -> BTreeSet<String> {
    let sources = ["src", "tests"].into_iter().flat_map(|folder| files(&root().join(folder), "rs"));
    let mut names = BTreeSet::new();
    for path in sources {
        let text = fs::read_to_string(path).expect("a readable source file");
        let declared = text.lines().filter_map(|line| line.split_once("fn ")?.1.split_once('('));
        let is_test = |rest: &str| rest.starts_with(") {") || rest.starts_with("stage: &Stage) {");
        names.extend(declared.filter(|(_, rest)| is_test(rest)).map(|(name, _)| name.to_owned()));
    }
    names
}

/// The rows that a line speaks of: its own, or all of its type that have no line of their own.
fn rows_of<'a>(row: &'a str, supported: &'a BTreeSet<String>, named: &'a BTreeSet<&str>) -> Vec<&'a String> {
    let of_type = row.strip_suffix('*');
    let fits = |known: &&String| match of_type {
        Some(start) => known.starts_with(start) && !named.contains(known.as_str()),
        None => *known == row,
    };
    supported.iter().filter(fits).collect()
}

#[test]
fn every_supported_field_has_a_test_that_shows_what_it_does() {
    let (supported, lines, functions) = (supported(), lines(), functions());
    assert!(supported.len() > 300, "only {} rows were found", supported.len());
    let named: BTreeSet<&str> = lines.iter().map(|(row, _)| row.as_str()).collect();
    let mut faults = Vec::new();
    let mut shown = BTreeSet::new();
    for (row, tests) in &lines {
        let rows = rows_of(row, &supported, &named);
        if rows.is_empty() {
            faults.push(format!("{row}: the table supports no such field, or every one of them has a line of its own"));
        }
        shown.extend(rows);
        if tests.is_empty() {
            faults.push(format!("{row}: no test is named"));
        }
        faults
            .extend(tests.iter().filter(|test| !functions.contains(*test)).map(|test| format!("{row}: there is no test {test}")));
    }
    let missing = supported.iter().filter(|row| !shown.contains(row));
    faults.extend(missing.map(|row| format!("{row}: supported, and no line of tests/coverage.txt says which test shows it")));
    if named.len() < lines.len() {
        faults.push("a row has two lines".to_owned());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
