//! A plan for a terminal, in the manner of `kubectl diff` and `terraform plan`. Readable without colour: every line has its mark.

use super::lines::{self, Tone, printable};
use super::{mark, revisions, summary, verb};
use crate::model::{Action, Change, Plan};
use anstyle::{AnsiColor, Style};

/// The plan as text, with colour if asked.
#[must_use]
pub fn text(plan: &Plan, colour: bool) -> String {
    let paint = Paint { colour };
    let mut out = String::new();
    if plan.is_empty() {
        out.push_str("Nothing changes.\n\n");
    } else {
        out.push_str(&format!("{}\n\n", paint.bold(&format!("driftless plan {}", revisions(plan)))));
    }
    for change in &plan.changes {
        write_change(change, paint, &mut out);
    }
    if let Some(block) = &plan.blocked {
        let names: Vec<String> = block.objects.iter().map(ToString::to_string).collect();
        out.push_str(&paint.tone(Tone::Removed, &format!("! deletions held back: {}", block.reason)));
        out.push_str(&format!("\n    held: {}\n\n", names.join(", ")));
    }
    out.push_str(&format!("{}\n", paint.bold(&summary(plan))));
    out
}

fn write_change(change: &Change, paint: Paint, out: &mut String) {
    let head = format!("{:<3} {:<7} {}", mark(change.action), verb(change.action), change.key);
    let place = printable(&format!("{}:{}", change.source.file, change.source.line));
    out.push_str(&format!("{}  ({place})\n", paint.tone(tone_of(change.action), &head)));
    if let Some(old) = &change.renamed_from {
        out.push_str(&format!("    probably renamed from {old}\n"));
    }
    for line in change.fields.iter().flat_map(lines::of) {
        out.push_str(&format!("    {}\n", paint.tone(line.tone, &format!("{} {}", line.tone.mark(), line.text))));
    }
    if !change.effect.order.is_empty() {
        let word = if change.effect.estimate { "effect (estimate)" } else { "effect" };
        let downtime = if change.effect.downtime { " [downtime]" } else { "" };
        out.push_str(&format!("    {word}: {}{downtime}\n", change.effect.order));
    }
    out.push('\n');
}

fn tone_of(action: Action) -> Tone {
    match action {
        Action::Create => Tone::Added,
        Action::Update | Action::Scale | Action::Replace => Tone::Changed,
        Action::Delete => Tone::Removed,
    }
}

#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn tone(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Added => AnsiColor::Green.on_default(),
            Tone::Removed => AnsiColor::Red.on_default(),
            Tone::Changed => AnsiColor::Yellow.on_default(),
            Tone::Context => Style::new().dimmed(),
        };
        self.styled(style, text)
    }

    fn bold(self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    fn styled(self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
