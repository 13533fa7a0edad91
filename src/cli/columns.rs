//! Tables on a terminal, as kubectl lays them out, with colour for what is well and what is not.

use super::{CliError, CliResult};
use anstyle::{AnsiColor, Style};
use std::io::{ErrorKind, Write};

/// Rows of cells under headings.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Spaces between columns.
const GAP: usize = 3;

impl Columns {
    /// An empty table.
    pub(super) fn new(headings: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { headings: headings.into_iter().map(|heading| heading.into().to_uppercase()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row.iter().map(|cell| one_line(cell)).collect());
    }

    /// True if it has no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table with its headings, coloured; stdout removes the colours where it is not a terminal.
    pub(super) fn render(&self) -> String {
        let widths = self.widths();
        let bold = Style::new().bold();
        let mut text = line(&self.headings, &widths, |_| bold);
        for row in &self.rows {
            text.push_str(&line(row, &widths, style));
        }
        text
    }

    /// The rows alone, in the widths of `like` where theirs are not wider: what a stream appends to a table.
    pub(super) fn render_rows(&self, like: &Columns) -> String {
        let widths = like.widths();
        self.rows.iter().map(|row| line(row, &widths, style)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let lines = || std::iter::once(&self.headings).chain(&self.rows);
        (0..self.headings.len())
            .map(|at| lines().filter_map(|line| line.get(at)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect()
    }
}

fn line(cells: &[String], widths: &[usize], style: impl Fn(&str) -> Style) -> String {
    let mut text = String::new();
    for (at, cell) in cells.iter().enumerate() {
        let style = style(cell);
        text.push_str(&format!("{style}{cell}{style:#}"));
        if at + 1 < cells.len() {
            let pad = widths.get(at).copied().unwrap_or(0).saturating_sub(width(cell)) + GAP;
            text.extend(std::iter::repeat_n(' ', pad));
        }
    }
    format!("{}\n", text.trim_end())
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// What comes from a cluster is data: no line breaks and no control sequences of the terminal.
fn one_line(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Colour says again what the word says.
fn style(cell: &str) -> Style {
    let colour = match cell {
        "Running" | "Ready" | "Healthy" | "Active" | "Completed" | "Done" | "Loaded" | "converged" => AnsiColor::Green,
        "Pending" | "ContainerCreating" | "Terminating" | "Progressing" | "Waiting" | "Paused" | "planned" | "superseded" => {
            AnsiColor::Yellow
        }
        "CrashLoopBackOff" | "Error" | "NotReady" | "Unknown" | "Degraded" | "Stalled" | "Held" | "Warning" | "failed"
        | "held" | "blocked" => AnsiColor::Red,
        _ => return Style::new(),
    };
    colour.on_default()
}

/// Writes data to stdout. A reader that has gone (`| head`) is no error.
///
/// # Errors
/// If stdout is full or broken.
pub(super) fn write_stdout(text: &str) -> CliResult<()> {
    let mut stdout = anstream::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::with_source("cannot write to stdout", error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Says something beside the data, on stderr.
pub(super) fn note(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_end_in_spaces() {
        let mut table = Columns::new(["Name", "Status", "Age"]);
        table.push(vec!["web".into(), "ok".into(), "3d".into()]);
        table.push(vec!["a-long-name".into(), String::new(), String::new()]);
        assert_eq!(
            anstream::adapter::strip_str(&table.render()).to_string(),
            "NAME          STATUS   AGE\nweb           ok       3d\na-long-name\n"
        );
    }

    #[test]
    fn a_cell_cannot_send_control_sequences_to_the_terminal() {
        let mut table = Columns::new(["Name"]);
        table.push(vec!["a\u{1b}[31m\nb".into()]);
        assert_eq!(anstream::adapter::strip_str(&table.render()).to_string(), "NAME\na [31m b\n");
    }
}
