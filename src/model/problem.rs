//! What is wrong with an input, where, and what to do about it.

use serde::{Deserialize, Serialize};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The unit is held.
    Error,
    /// It works, and differently from what the author may expect.
    Warning,
}

/// Whether a problem can be seen from one document alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Visible in the document itself.
    Document,
    /// Between objects: a missing Secret, a duplicate name.
    Repository,
}

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Path relative to the watched path, with `/`.
    pub file: String,
    /// Line, from 1; 0 if the whole file is meant.
    pub line: u32,
    /// Column, from 1; 0 if the whole line is meant.
    pub column: u32,
}

/// One problem. Ordered by place, so that a sorted list reads from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// Where.
    pub at: Location,
    /// The field, as `spec.template.spec.containers[0].image`; empty for a whole document.
    pub path: String,
    /// How bad.
    pub severity: Severity,
    /// Document or repository.
    pub scope: Scope,
    /// What is wrong, one sentence without a full stop. Never holds a value of a Secret.
    pub message: String,
    /// What to do about it, if we know.
    pub hint: Option<String>,
}

impl Problem {
    /// True if it holds the unit.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
