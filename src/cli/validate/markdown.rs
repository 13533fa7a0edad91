//! Problems as a comment on a pull request.

use super::text;
use crate::manifest::ValidationReport;
use std::fmt::Write;

/// Rows of the table; a comment has room for 65,536 characters.
const ROWS_MAX: usize = 200;

/// The report as markdown: a sentence, then a table of the problems.
pub(super) fn comment(report: &ValidationReport) -> String {
    let mut page = format!("**driftless validate**: {}\n", text::summary(&report.summary));
    let problems =
        || report.documents.iter().flat_map(|document| document.problems.iter().map(move |problem| (document, problem)));
    if problems().next().is_none() {
        return page;
    }
    page.push_str("\n| | where | what |\n|---|---|---|\n");
    for (document, problem) in problems().take(ROWS_MAX) {
        let hint = problem.hint.as_ref().map(|hint| format!(" <br>*{}*", cell(hint))).unwrap_or_default();
        let place = cell(&text::place(&document.file, problem));
        let _ = writeln!(page, "| {} | `{place}` | {}{hint} |", text::word(problem.severity), cell(&problem.message));
    }
    let more = problems().count().saturating_sub(ROWS_MAX);
    if more > 0 {
        let _ = writeln!(page, "\nand {more} more");
    }
    page
}

/// What would end a cell or begin markup is escaped.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '\\' | '[' => cell.extend(['\\', c]),
            '\n' | '\r' => cell.push(' '),
            _ => cell.push(c),
        }
    }
    cell
}
