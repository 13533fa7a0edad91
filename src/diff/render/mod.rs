//! A plan as text for a terminal, as markdown for a pull request, and as JSON for programs.
//!
//! All three say the same: what happens to each object, the fields that differ, the effect in a sentence, the sum and the digest.

mod json;
mod lines;
mod markdown;
mod text;

pub use json::json;
pub use lines::printable;
pub use markdown::markdown;
pub use text::text;

use crate::model::{Action, Plan};

/// The last line of a plan: `Plan: 1 to create, 2 to update (5 pods replaced), 0 to delete, 12 unchanged. digest blake3:…`
#[must_use]
pub fn summary(plan: &Plan) -> String {
    format!("{} digest {}", tally(plan), plan.digest)
}

fn tally(plan: &Plan) -> String {
    let counts = plan.counts();
    let pods = match replaced(plan) {
        0 => String::new(),
        1 => " (1 pod replaced)".to_owned(),
        pods => format!(" ({pods} pods replaced)"),
    };
    format!(
        "Plan: {} to create, {} to update{pods}, {} to delete, {} unchanged.",
        counts.create, counts.update, counts.delete, plan.unchanged
    )
}

/// Pods that are stopped to be replaced by one of a new template.
fn replaced(plan: &Plan) -> u32 {
    plan.changes.iter().filter(|change| change.action == Action::Replace).map(|change| change.effect.stops).sum()
}

/// The mark before a change, as terraform and kubectl users know them.
fn mark(action: Action) -> &'static str {
    match action {
        Action::Create => "+",
        Action::Update | Action::Scale => "~",
        Action::Replace => "-/+",
        Action::Delete => "-",
    }
}

fn verb(action: Action) -> &'static str {
    super::digest::action_name(action)
}

fn revisions(plan: &Plan) -> String {
    let short = |revision: &Option<crate::model::Revision>| {
        revision.as_ref().map_or_else(|| "nothing".to_owned(), |revision| revision.short().to_owned())
    };
    format!("{} → {}", short(&plan.from), short(&plan.to))
}
