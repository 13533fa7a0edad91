//! What is wrong with the new tree: which units are held, and why.

use crate::diff::render::printable;
use crate::model::{Desired, Problem, Severity, UnitState};
use serde_json::{Value, json};

/// Whether something of the new tree cannot be used.
pub(super) fn any_error(new: &Desired) -> bool {
    all(new).any(Problem::is_error)
}

/// Every problem of the new tree, and what becomes of the units that have errors.
pub(super) fn text(new: &Desired) -> String {
    let mut text: String = all(new).map(|problem| printable(&line(problem))).collect();
    for (unit, state) in &new.units {
        if let UnitState::Held { at, .. } = state {
            let stays =
                at.as_ref().map_or("no earlier revision of it is good".to_owned(), |at| format!("it stays at {}", at.short()));
            text.push_str(&format!("held: unit {unit} has errors; {stays}\n"));
        }
    }
    text
}

fn all(new: &Desired) -> impl Iterator<Item = &Problem> {
    new.problems.iter().chain(new.units.values().flat_map(UnitState::problems))
}

/// `error: shop/web.yaml:12:5: unknown field "imge"` and the hint.
fn line(problem: &Problem) -> String {
    let word = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let hint = problem.hint.as_ref().map_or(String::new(), |hint| format!("  hint: {hint}\n"));
    format!("{word}: {}: {}\n{hint}", place(problem), sentence(problem))
}

fn place(problem: &Problem) -> String {
    let at = &problem.at;
    match (at.line, at.column) {
        (0, _) => at.file.clone(),
        (line, 0) => format!("{}:{line}", at.file),
        (line, column) => format!("{}:{line}:{column}", at.file),
    }
}

/// The message, which often begins with the field by itself.
fn sentence(problem: &Problem) -> String {
    if problem.message.starts_with(&problem.path) {
        problem.message.clone()
    } else {
        format!("{}: {}", problem.path, problem.message)
    }
}

/// The held units as a section of a pull request's comment.
pub(super) fn markdown(new: &Desired) -> String {
    let mut text = String::new();
    for (unit, state) in new.units.iter().filter(|(_, state)| state.is_held()) {
        text.push_str(&format!("\n> [!CAUTION]\n> Unit `{unit}` has errors and stays as it is:\n"));
        for problem in state.problems().iter().filter(|problem| problem.is_error()) {
            text.push_str(&format!("> - `{}` {}\n", place(problem), sentence(problem).replace('<', "&lt;")));
        }
    }
    text
}

/// The held units for programs: `[ { "unit", "at", "failed", "problems": [ … ] } ]`.
pub(super) fn json(new: &Desired) -> Value {
    let held = new.units.iter().filter_map(|(unit, state)| match state {
        UnitState::Held { at, failed, problems } => {
            Some(json!({ "unit": unit, "at": at, "failed": failed, "problems": problems }))
        }
        UnitState::Loaded { .. } => None,
    });
    held.collect()
}
