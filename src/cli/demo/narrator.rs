//! What the demo says, on stdout: titles, what is done, and what was seen.

use crate::cli::{CliResult, print_line};

/// Counts the steps and prints.
pub(super) struct Narrator {
    step: u32,
}

impl Narrator {
    pub(super) fn new() -> Self {
        Self { step: 0 }
    }

    /// The headline.
    pub(super) fn title(&mut self, text: &str) -> CliResult<()> {
        print_line(&format!("{BOLD}{text}{PLAIN}"))
    }

    /// A new step begins.
    pub(super) fn step(&mut self, text: &str) -> CliResult<()> {
        self.step += 1;
        print_line(&format!("\n{BOLD}{}. {text}{PLAIN}", self.step))
    }

    /// Something is being done.
    pub(super) fn act(&mut self, text: &str) -> CliResult<()> {
        print_line(&format!("   → {text}"))
    }

    /// Something was seen to happen.
    pub(super) fn saw(&mut self, text: &str) -> CliResult<()> {
        print_line(&format!("   {GREEN}✓{PLAIN} {text}"))
    }

    /// Text as it is, indented.
    pub(super) fn quote(&mut self, text: &str) -> CliResult<()> {
        text.lines().try_for_each(|line| print_line(&format!("     {line}")))
    }

    /// A word aside.
    pub(super) fn note(&mut self, text: &str) -> CliResult<()> {
        print_line(&format!("\n{text}"))
    }
}

const BOLD: &str = "\x1b[1m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";
