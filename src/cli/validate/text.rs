//! Problems for people: with the line they are on, or one line each.

use crate::manifest::{DocumentReport, ProblemReport, Summary, ValidationReport};
use crate::model::Severity;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::collections::BTreeMap;

/// The problems of a report, by file and line. With `quotes` each has the line that it is on, unless that may be one of a Secret.
pub(super) fn problems(report: &ValidationReport, files: &[(String, Vec<u8>)], quotes: bool) -> Vec<String> {
    let sources: BTreeMap<&str, &[u8]> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let mut lines = Vec::new();
    for document in &report.documents {
        let source = if quotes { quotable(document, &sources) } else { None };
        for problem in &document.problems {
            let snippet = source.and_then(|source| snippet(&document.file, source, problem));
            lines.push(snippet.unwrap_or_else(|| line(&document.file, problem)));
        }
    }
    lines
}

/// The numbers in a sentence.
pub(super) fn summary(sum: &Summary) -> String {
    let count = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    format!(
        "{}, {}: {} accepted, {} ignored, {} rejected; {}, {}",
        count(sum.files, "file"),
        count(sum.documents, "document"),
        sum.accepted,
        sum.ignored,
        sum.rejected,
        count(sum.errors, "error"),
        count(sum.warnings, "warning")
    )
}

/// `file:line:column: error: message (hint)`
fn line(file: &str, problem: &ProblemReport) -> String {
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{}: {}: {}{hint}", place(file, problem), word(problem.severity), problem.message)
}

/// `file:line:column`
pub(super) fn place(file: &str, problem: &ProblemReport) -> String {
    match (problem.line, problem.column) {
        (0, _) => file.to_owned(),
        (line, 0) => format!("{file}:{line}"),
        (line, column) => format!("{file}:{line}:{column}"),
    }
}

/// The severity as a word.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The text of a document's file, unless a Secret is in it (two objects can be on one line), or could be in what was not understood.
fn quotable<'a>(document: &DocumentReport, sources: &BTreeMap<&str, &'a [u8]>) -> Option<&'a str> {
    let text = std::str::from_utf8(sources.get(document.file.as_str())?).ok()?;
    let is_understood = !document.kind.is_empty();
    let may_be_secret = if is_understood { has_secret(text) } else { text.contains("Secret") };
    (!may_be_secret).then_some(text)
}

/// Whether a text has `Secret` or `SecretList` as a word; `imagePullSecrets` and `ExternalSecret` are others.
fn has_secret(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word, "Secret" | "SecretList"))
}

/// The problem with the line that it is on.
fn snippet(file: &str, source: &str, problem: &ProblemReport) -> Option<String> {
    let number = usize::try_from(problem.line).ok()?;
    let text = source.lines().nth(number.checked_sub(1)?)?;
    let column = usize::try_from(problem.column).ok()?.saturating_sub(1);
    let start = text.char_indices().nth(column).map_or(text.len(), |(offset, _)| offset);
    let end = text[start..].find(" #").map_or(text.trim_end().len(), |offset| start + offset).max(start);
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let annotation = AnnotationKind::Primary.span(start..end);
    let mut group: Group<'_> = level
        .primary_title(problem.message.as_str())
        .element(Snippet::source(text).line_start(number).path(file).annotation(annotation));
    if let Some(hint) = &problem.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    Some(Renderer::styled().render(&[group]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::validate;

    fn shown(text: &str) -> String {
        let files = [("f.yaml".to_owned(), text.as_bytes().to_vec())];
        problems(&validate(&files, true), &files, true).join("\n")
    }

    #[test]
    fn a_problem_is_shown_with_its_line_a_caret_and_a_hint() {
        let shown = shown("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {k: v} # note\n");
        let plain = anstream::adapter::strip_str(&shown).to_string();
        for part in ["date is not a known field", "f.yaml:4:1", "date: {k: v} # note", "^^^^", "did you mean data?"] {
            assert!(plain.contains(part), "{part}:\n{plain}");
        }
    }

    #[test]
    fn a_file_with_a_secret_is_not_quoted_and_one_that_refers_to_secrets_is() {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: [hunter2]}\n";
        let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {nme: a} # hunter2\n";
        for text in [secret.to_owned(), format!("{secret}---\n{other}"), secret.replace("kind: ", "kind: [") + "# hunter2"] {
            let shown = shown(&text);
            assert!(shown.contains("error") && !shown.contains("hunter2"), "{shown}");
        }
        assert!(shown(&other.replace("# hunter2", "# secretKeyRef, imagePullSecrets")).contains("imagePullSecrets"));
    }
}
