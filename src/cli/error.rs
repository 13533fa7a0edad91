//! The error that a command ends with.

use std::error::Error;
use std::fmt;

/// What a command returns.
pub type CliResult<T> = Result<T, CliError>;

/// An error at the edge: what failed, why (the source chain), and what to do about it.
#[derive(Debug)]
pub struct CliError {
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CliError {
    /// An error without a cause of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, source: None }
    }

    /// An error with its cause; the message must not repeat it.
    pub fn with_source(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { message: message.into(), hint: None, source: Some(source.into()) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error with its causes, in one line, and the hint.
    #[must_use]
    pub fn parts(&self) -> (String, Option<String>) {
        (crate::causes::in_full(self), self.hint.clone())
    }

    /// The whole message for a terminal: the error, its causes, the hint.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("error: {}", self.message);
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!("\n  cause: {error}"));
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  hint: {hint}"));
        }
        text
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
