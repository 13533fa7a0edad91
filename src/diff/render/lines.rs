//! The fields of a change as lines of a diff.

use crate::diff::REDACTED;
use crate::model::FieldChange;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Added.
    Added,
    /// Removed.
    Removed,
    /// Changed on one line.
    Changed,
    /// There for orientation.
    Context,
}

impl Tone {
    /// The mark at the start of the line.
    pub(super) fn mark(self) -> char {
        match self {
            Tone::Added => '+',
            Tone::Removed => '-',
            Tone::Changed => '~',
            Tone::Context => ' ',
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// The longest `old → new` that stays on one line, in characters.
const ONE_LINE_MAX: usize = 100;

/// The lines of one field: `path: old → new` where that is short, else the old and new values line by line.
pub(super) fn of(field: &FieldChange) -> Vec<Line> {
    match (&field.old, &field.new) {
        (Some(old), Some(new)) => changed(&field.path, old, new),
        (None, Some(new)) => whole(Tone::Added, &field.path, new),
        (Some(old), None) => whole(Tone::Removed, &field.path, old),
        (None, None) => Vec::new(),
    }
}

fn changed(path: &str, old: &Value, new: &Value) -> Vec<Line> {
    if is_redacted(old) && is_redacted(new) {
        return vec![Line { tone: Tone::Changed, text: format!("{path}: {REDACTED} (changed)") }];
    }
    let (was, is) = (inline(old), inline(new));
    let fits = was.chars().count() + is.chars().count() <= ONE_LINE_MAX;
    if fits && !is_long_text(old) && !is_long_text(new) {
        return vec![Line { tone: Tone::Changed, text: format!("{path}: {was} → {is}") }];
    }
    let mut lines = vec![Line { tone: Tone::Changed, text: format!("{path}:") }];
    lines.extend(line_diff(&block(old), &block(new)));
    lines
}

fn whole(tone: Tone, path: &str, value: &Value) -> Vec<Line> {
    let is_short = !is_long_text(value) && inline(value).chars().count() <= ONE_LINE_MAX;
    let is_plain = !matches!(value, Value::Object(map) if !map.is_empty());
    if is_plain && is_short {
        return vec![Line { tone, text: format!("{path}: {}", inline(value)) }];
    }
    let mut lines = vec![Line { tone, text: format!("{path}:") }];
    lines.extend(block(value).lines().map(|line| Line { tone, text: format!("  {line}") }));
    lines
}

fn line_diff(old: &str, new: &str) -> Vec<Line> {
    let diff = TextDiff::from_lines(old, new);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(2).iter().enumerate() {
        if index > 0 {
            lines.push(Line { tone: Tone::Context, text: "  …".to_owned() });
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let tone = match change.tag() {
                ChangeTag::Equal => Tone::Context,
                ChangeTag::Delete => Tone::Removed,
                ChangeTag::Insert => Tone::Added,
            };
            lines.push(Line { tone, text: format!("  {}", change.value().trim_end_matches('\n')) });
        }
    }
    lines
}

fn is_redacted(value: &Value) -> bool {
    value.as_str() == Some(REDACTED)
}

fn is_long_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim_end_matches('\n').contains('\n'))
}

/// One line of JSON, which is YAML too; a redacted value without quotes.
fn inline(value: &Value) -> String {
    if is_redacted(value) { REDACTED.to_owned() } else { printable(&value.to_string()) }
}

/// Several lines: a text as it is, anything else as YAML.
fn block(value: &Value) -> String {
    match value.as_str() {
        Some(text) => printable(text),
        None => serde_saphyr::to_string(value).map_or_else(|_| value.to_string(), |yaml| printable(&yaml)),
    }
}

/// Without control characters, so that a manifest cannot move a terminal's cursor or hide a line from a reviewer.
#[must_use]
pub fn printable(text: &str) -> String {
    let is_hidden = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}
