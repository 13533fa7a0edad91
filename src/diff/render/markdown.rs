//! A plan for a pull request: a table to see at a glance, and the fields folded away below it.

use super::lines::{self, Line, Tone};
use super::{mark, revisions, tally, verb};
use crate::model::{Change, Plan};

/// The plan as GitHub-flavoured markdown.
#[must_use]
pub fn markdown(plan: &Plan) -> String {
    let mut out = format!("### Driftless plan `{}`\n\n", revisions(plan));
    out.push_str(&format!("{}\n\nDigest `{}`\n", tally(plan), plan.digest));
    if plan.is_empty() {
        return out;
    }
    if let Some(block) = &plan.blocked {
        let names: Vec<String> = block.objects.iter().map(|key| format!("`{key}`")).collect();
        out.push_str(&format!("\n> [!WARNING]\n> Deletions held back: {}\n> {}\n", escaped(&block.reason), names.join(", ")));
    }
    out.push_str("\n| | object | effect | downtime |\n|---|---|---|---|\n");
    for change in &plan.changes {
        out.push_str(&row(change));
    }
    for change in &plan.changes {
        out.push_str(&details(change));
    }
    out
}

fn row(change: &Change) -> String {
    let effect = if change.effect.estimate {
        format!("{} *(estimate)*", escaped(&change.effect.order))
    } else {
        escaped(&change.effect.order)
    };
    let downtime = if change.effect.downtime { "**yes**" } else { "no" };
    format!("| `{}` {} | `{}` | {effect} | {downtime} |\n", mark(change.action), verb(change.action), change.key)
}

fn details(change: &Change) -> String {
    let lines: Vec<String> = change.fields.iter().flat_map(lines::of).map(|line| fenced(&line)).collect();
    if lines.is_empty() {
        return String::new();
    }
    let body = lines.join("\n");
    let fence = "`".repeat(longest_backticks(&body).max(2) + 1);
    let place = format!("{}:{}", change.source.file, change.source.line);
    format!(
        "\n<details><summary><code>{}</code> {} (<code>{}</code>)</summary>\n\n{fence}diff\n{body}\n{fence}\n\n</details>\n",
        html(&change.key.to_string()),
        verb(change.action),
        html(&place),
    )
}

/// A diff fence knows `+` and `-` only: a line `old → new` gets the mark that GitHub paints orange.
fn fenced(line: &Line) -> String {
    let mark = match line.tone {
        Tone::Changed => '!',
        Tone::Added | Tone::Removed | Tone::Context => line.tone.mark(),
    };
    format!("{mark} {}", line.text)
}

fn longest_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
