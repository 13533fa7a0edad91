//! The room from its door: trees in, desired and problems out.

use super::*;
use crate::model::{Policy, Problem, Revision, UnitName, UnitState};
use std::collections::BTreeMap;
use std::sync::Arc;

mod batch;
mod between;
mod documents;
mod holding;
mod lists;
mod placement;
mod properties;
mod rules;
mod scale;
mod secrets;
mod table;
mod warnings;

/// A tree of files at a revision.
fn tree(revision: &str, files: &[(&str, &str)]) -> TreeInput {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), Arc::new(parse(path, "blob", text.as_bytes())))).collect();
    TreeInput {
        revision: Revision::new(revision),
        files,
        problems: Vec::new(),
        policy: Policy::default(),
        rendered: BTreeMap::new(),
    }
}

/// `file:line:column: severity: message (hint)`, one per line.
fn lines(problems: &[Problem]) -> String {
    let line = |problem: &Problem| {
        let word = if problem.is_error() { "error" } else { "warning" };
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{}:{}:{}: {word}: {}{hint}\n", problem.at.file, problem.at.line, problem.at.column, problem.message)
    };
    problems.iter().map(line).collect()
}

type Good = BTreeMap<UnitName, Arc<GoodUnit>>;

fn loaded(input: &TreeInput, good: &Good) -> Loaded {
    load(input, good, &DigestKey::unkeyed())
}

/// All problems of all units.
fn all_problems(loaded: &Loaded) -> String {
    let of_units: Vec<Problem> = loaded.desired.units.values().flat_map(UnitState::problems).cloned().collect();
    lines(&of_units)
}

/// A Deployment of one container, with more YAML for its pod spec.
fn deployment(name: &str, more: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: main
        image: busybox:1
{more}"
    )
}
