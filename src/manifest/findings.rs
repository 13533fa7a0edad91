//! Collecting what is wrong with one document.

use super::yaml::{Mark, Node};
use crate::model::{Location, Problem, Scope, Severity};

/// How many problems of one document are listed; the rest is counted. It bounds the work on a hostile document, too.
const PROBLEMS_MAX: usize = 100;

/// The problems of one document, with what is needed to say where they are.
pub(crate) struct Findings<'a> {
    file: &'a str,
    node: &'a Node,
    /// Put before every path: `items[2].` for an item of a List.
    prefix: String,
    /// In a Secret no value is ever quoted.
    pub(crate) is_secret: bool,
    problems: Vec<Problem>,
    /// Errors beyond the limit.
    more: usize,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(file: &'a str, node: &'a Node, prefix: String, is_secret: bool) -> Self {
        Self { file, node, prefix, is_secret, problems: Vec::new(), more: 0 }
    }

    /// Where a pointer leads, and how people write it.
    pub(crate) fn place(&self, pointer: &str) -> (Location, String) {
        let (mark, path) = self.node.locate(pointer);
        (self.at(mark), format!("{}{path}", self.prefix))
    }

    /// Whether a pointer leads to something that is written.
    pub(crate) fn has(&self, pointer: &str) -> bool {
        self.node.pointed(pointer).is_some()
    }

    fn at(&self, mark: Mark) -> Location {
        Location { file: self.file.to_owned(), line: mark.line, column: mark.column }
    }

    /// An error at a value; the message follows the path.
    pub(crate) fn error(&mut self, pointer: &str, message: &str, hint: Option<String>) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let (at, path) = self.place(pointer);
        let message = if path.is_empty() { message.to_owned() } else { format!("{path} {message}") };
        self.push(at, path, Severity::Error, message, hint);
    }

    /// An error at a key of the mapping that `parent` leads to.
    pub(crate) fn error_at_key(&mut self, parent: &str, key: &str, message: &str, hint: Option<String>) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let (mark, path) = self.node.locate_key(parent, key);
        let path = format!("{}{path}", self.prefix);
        let message = format!("{path} {message}");
        self.push(self.at(mark), path, Severity::Error, message, hint);
    }

    /// True once so many problems are listed that further ones are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX
    }

    /// A warning, in its own words.
    pub(crate) fn warning(&mut self, pointer: &str, message: String, hint: Option<String>) {
        let (at, path) = self.place(pointer);
        self.push(at, path, Severity::Warning, message, hint);
    }

    /// True if an error lies at or below a pointer; if there are too many to list, one more is not worth the search.
    pub(crate) fn has_error_below(&self, pointer: &str) -> bool {
        if self.is_full() {
            return true;
        }
        let (_, path) = self.place(pointer);
        self.problems.iter().any(|problem| problem.is_error() && problem.path.starts_with(&path))
    }

    /// The problems, from top to bottom, and how many more there are.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems;
        problems.sort();
        if let Some(last) = problems.last().cloned().filter(|_| self.more > 0) {
            let message = format!("{} more problems in this document", self.more);
            problems.push(Problem { path: String::new(), severity: Severity::Error, message, hint: None, ..last });
        }
        problems
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// A short text in quotes, for a message; nothing of a Secret and nothing long.
    pub(crate) fn quoted(&self, text: &str) -> Option<String> {
        (!self.is_secret && text.len() <= 80).then(|| format!("{text:?}"))
    }

    fn push(&mut self, at: Location, path: String, severity: Severity, message: String, hint: Option<String>) {
        self.problems.push(Problem { at, path, severity, scope: Scope::Document, message, hint });
    }
}
