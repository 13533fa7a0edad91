//! How records and status say things.

use super::records::Occasion;
use crate::model::{
    Action, Change, JobSpec, KeyFingerprint, Kind, NodeName, Object, ObjectKey, Outcome, Plan, PodTemplate, Problem, PruneBlock,
    StalledBy, Strategy, Workload,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The subject of a reconcile, but for what became of it.
#[derive(Debug)]
pub(super) struct Subject {
    /// `shop/web`, or `3 objects in shop`.
    about: String,
    /// What is done, when it has been, is being, and could not be done.
    done: String,
    doing: String,
    failed: String,
}

impl Subject {
    pub(super) fn of(plan: &Plan, old: &BTreeMap<ObjectKey, Arc<Object>>, new: &BTreeMap<ObjectKey, Arc<Object>>) -> Self {
        match plan.changes.as_slice() {
            [only] => Self::one(only, old.get(&only.key), new.get(&only.key)),
            _ => Self::several(plan, old, new),
        }
    }

    fn one(change: &Change, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) -> Self {
        let (action, key) = (change.action, &change.key);
        let about = key.short();
        let old = old.and_then(|object| object.workload());
        let Some(workload) = new.and_then(|object| object.workload()) else {
            let verb = match action {
                Action::Create => "create",
                Action::Delete => "delete",
                Action::Update | Action::Replace | Action::Scale => "update",
            };
            return Self::plain(about, verb, &key.kind.to_string());
        };
        // Where an autoscaler decides, the plan knows its number.
        let count = if key.kind == Kind::DaemonSet {
            "to every node".to_owned()
        } else {
            pods(workload.replicas.unwrap_or(change.effect.starts.max(1)))
        };
        if let Strategy::Job(job) = &workload.strategy {
            return Self::job(about, action, job, workload.replicas.unwrap_or(1), &images(old, workload));
        }
        match action {
            Action::Scale => {
                let before = old.map_or(1, |old| old.replicas.unwrap_or(1));
                let text = format!("{before} → {count}");
                Self {
                    about,
                    done: format!("scaled {text}"),
                    doing: format!("scaling {text}"),
                    failed: format!("scaling {text} failed"),
                }
            }
            Action::Create | Action::Replace => {
                let what = images(old, workload);
                let (done, doing) = (format!("rolled out {count}{what}"), format!("rolling out {count}{what}"));
                Self { about, done, doing, failed: format!("rollout failed{what}") }
            }
            Action::Update | Action::Delete => Self::plain(about, "update", &key.kind.to_string()),
        }
    }

    fn job(about: String, action: Action, job: &JobSpec, parallelism: u32, what: &str) -> Self {
        if !matches!(action, Action::Create | Action::Replace) {
            return Self::plain(about, "update", "Job");
        }
        let count = pods(job.completions.unwrap_or(parallelism));
        let (done, doing) = (format!("ran {count} to completion{what}"), format!("running {count} to completion{what}"));
        Self { about, done, doing, failed: format!("the Job failed{what}") }
    }

    /// Several objects; if one workload alone changes its pods, it is what the reader looks for.
    fn several(plan: &Plan, old: &BTreeMap<ObjectKey, Arc<Object>>, new: &BTreeMap<ObjectKey, Arc<Object>>) -> Self {
        let rolled: Vec<_> = plan.changes.iter().filter(|change| change.action == Action::Replace).collect();
        if let ([only], true) = (rolled.as_slice(), plan.changes.len() <= 2) {
            let others = plan.changes.iter().filter(|change| change.key != only.key).map(|change| change.key.to_string());
            let with = format!(" (with {})", others.collect::<Vec<_>>().join(", "));
            let one = Self::one(only, old.get(&only.key), new.get(&only.key));
            return Self { done: one.done + &with, doing: one.doing + &with, failed: one.failed + &with, about: one.about };
        }
        let namespaces: BTreeSet<&str> =
            plan.changes.iter().map(|change| change.key.namespace.as_str()).filter(|namespace| !namespace.is_empty()).collect();
        let place = match namespaces.len() {
            0 => String::new(),
            1 => format!(" in {}", namespaces.first().copied().unwrap_or_default()),
            count => format!(" in {count} namespaces"),
        };
        let counts = plan.counts();
        let parts = [(counts.create, "created"), (counts.update, "updated"), (counts.delete, "deleted")];
        let parts: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let parts = parts.join(", ");
        let only_deletes = counts.create + counts.update == 0;
        Self {
            about: format!("{} objects{place}", plan.changes.len()),
            done: parts.clone(),
            doing: if only_deletes { "deleting".to_owned() } else { format!("rolling out ({parts})") },
            failed: format!("rollout failed ({parts})"),
        }
    }

    /// What an earlier controller began.
    pub(super) fn resumed(keys: &BTreeSet<ObjectKey>) -> Self {
        let about = match keys.len() {
            1 => keys.first().map(ObjectKey::short).unwrap_or_default(),
            count => format!("{count} workloads"),
        };
        let text = |verb: &str| format!("{verb} the rollout that was under way");
        Self { about, done: text("finished"), doing: text("going on with"), failed: text("could not finish") }
    }

    fn plain(about: String, verb: &str, kind: &str) -> Self {
        let (done, doing) =
            (format!("{verb}d {kind}"), format!("{} {kind}", verb.replace("ate", "ating").replace("ete", "eting")));
        Self { about, done, doing, failed: format!("could not {verb} {kind}") }
    }

    /// The subject, for what became of it.
    pub(super) fn subject(&self, outcome: Outcome) -> String {
        let text = match outcome {
            Outcome::Planned => &self.doing,
            Outcome::Failed => &self.failed,
            Outcome::Superseded => return format!("{}: {}, superseded", self.about, self.doing),
            Outcome::Converged | Outcome::Blocked | Outcome::Held => &self.done,
        };
        format!("{}: {text}", self.about)
    }
}

/// `, nginx:1.26 → 1.27`, `, nginx:1.27` for a new one, and nothing if no image changes.
fn images(old: Option<&Workload>, new: &Workload) -> String {
    let of = |template: &PodTemplate| -> BTreeMap<String, String> {
        let containers = template.spec.all_containers();
        containers.filter_map(|container| Some((container.name.clone(), container.image.clone()?))).collect()
    };
    let before = old.map(|old| of(&old.snapshot.template)).unwrap_or_default();
    let after = of(&new.snapshot.template);
    let differing = after.iter().filter(|(name, image)| before.get(*name) != Some(*image));
    let texts: Vec<String> = differing.map(|(name, image)| image_change(before.get(name), image)).collect();
    if texts.is_empty() { String::new() } else { format!(", {}", texts.join(", ")) }
}

fn image_change(before: Option<&String>, after: &str) -> String {
    let Some(before) = before else { return after.to_owned() };
    match (before.rsplit_once(':'), after.rsplit_once(':')) {
        (Some((old, _)), Some((new, tag))) if old == new && !tag.contains('/') => format!("{before} → {tag}"),
        _ => format!("{before} → {after}"),
    }
}

/// `1 pod`, `3 pods`
pub(super) fn pods(count: u32) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

/// Why a rollout does not go on.
pub(super) fn stalled(by: &StalledBy) -> String {
    match by {
        StalledBy::Deadline(message) => format!("no progress within the deadline: {message}"),
        StalledBy::Quarantined(hash) => {
            format!("template {} failed before and is not tried again until it changes", hash.short())
        }
        StalledBy::JobFailed(reason, message) => format!("{message} ({reason})"),
        StalledBy::Forgotten(why) => format!("{why}; it is not run again"),
    }
}

/// What became of each workload of a reconcile.
pub(super) fn endings(
    outcome: Outcome,
    pending: &BTreeSet<ObjectKey>,
    done: &BTreeMap<ObjectKey, String>,
    failed: &BTreeMap<ObjectKey, String>,
) -> String {
    let mut lines = Vec::new();
    let rest = |key: &ObjectKey| if key.kind == Kind::Job { "" } else { " The old pods keep serving." };
    lines.extend(failed.iter().map(|(key, why)| format!("{}: failed: {why}.{}", key.short(), rest(key))));
    lines.extend(done.iter().map(|(key, how)| format!("{}: {how}", key.short())));
    if outcome == Outcome::Superseded {
        lines.extend(pending.iter().map(|key| format!("{}: not finished, a newer revision came first", key.short())));
    }
    if lines.is_empty() { String::new() } else { format!("\nOutcome:\n  {}\n", lines.join("\n  ")) }
}

/// `units web, api held`
pub(super) fn held_subject(units: &[String]) -> String {
    match units {
        [] => "all units are read again".to_owned(),
        [unit] => format!("unit {unit} held: it has errors"),
        _ => format!("{} units held: they have errors ({})", units.len(), units.join(", ")),
    }
}

/// Who acts when nodes join.
pub(super) const JOINED_RULE: &str = "rule: a node is recorded before it is told to run anything";

/// `n1 joins the cluster`
pub(super) fn joined_subject(nodes: &[&str]) -> String {
    match nodes {
        [node] => format!("node {node} joins the cluster"),
        _ => format!("{} nodes join the cluster: {}", nodes.len(), nodes.join(", ")),
    }
}

/// Who let a node in.
pub(super) fn admitted_rule(token: &str) -> String {
    format!("rule: a host with a valid token may join (token {token})")
}

/// What is to be known of a node that was let in.
pub(super) fn admitted_body(name: &NodeName, key: Option<&KeyFingerprint>) -> String {
    key.map(|key| format!("{name} is who has the key {key}\n")).unwrap_or_default()
}

/// The problems that hold units, one to a line, with their places.
pub(super) fn held_body<'a>(problems: impl Iterator<Item = &'a Problem>) -> String {
    let lines: Vec<String> = problems
        .map(|problem| {
            let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!("{}:{}:{}: {}{hint}", problem.at.file, problem.at.line, problem.at.column, problem.message)
        })
        .collect();
    match lines.is_empty() {
        true => "Every unit is at the newest revision.\n".to_owned(),
        false => format!(
            "Their objects stay as they were at the last good revision; nothing of them is pruned.\n\n{}\n",
            lines.join("\n")
        ),
    }
}

/// `deletion of 6 objects held back`
pub(super) fn blocked_subject(objects: &[ObjectKey]) -> String {
    match objects {
        [only] => format!("deletion of {} {} held back", only.kind, only.short()),
        _ => format!("deletion of {} objects held back", objects.len()),
    }
}

/// What is held back, and how to approve it.
pub(super) fn blocked_body(block: &PruneBlock) -> String {
    let names: Vec<String> = block.objects.iter().map(ToString::to_string).collect();
    format!("{}\n\n  {}\n", capitalized(&block.reason), names.join("\n  "))
}

/// A sentence from a reason.
pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

/// The subject of gathered corrections.
pub(super) fn batch_subject(occasion: Occasion, notes: &[(ObjectKey, String)]) -> String {
    let keys: BTreeSet<&ObjectKey> = notes.iter().map(|(key, _)| key).collect();
    match (notes, occasion) {
        ([(key, message)], _) => format!("{}: {message}", key.short()),
        ([.., (key, message)], Occasion::Run) if keys.len() == 1 => format!("{}: {message}", key.short()),
        (_, Occasion::Erasure) => format!("the data of {} claims is deleted", keys.len()),
        (_, Occasion::Run) => format!("{} Jobs ran", keys.len()),
        (_, Occasion::Scale) => format!("{} workloads scaled by their autoscalers", keys.len()),
        (_, Occasion::Node) => format!("{} workloads lost pods on a node", keys.len()),
        _ if keys.len() == 1 => {
            format!("{}: {} corrections of drift", keys.first().map(|key| key.short()).unwrap_or_default(), notes.len())
        }
        _ => format!("{} corrections of drift in {} workloads", notes.len(), keys.len()),
    }
}

/// Gathered corrections, one to a line.
pub(super) fn batch_body(notes: &[(ObjectKey, String)]) -> String {
    notes.iter().map(|(key, message)| format!("{}: {message}\n", key.short())).collect()
}

/// The rule that acted, where it was not a person.
pub(super) fn rule(occasion: Occasion) -> &'static str {
    match occasion {
        Occasion::Drift => "rule: what a commit wants is restored",
        Occasion::Node => "rule: pods that lose their place are replaced elsewhere",
        Occasion::Scale => "rule: autoscaler",
        Occasion::Erasure => "rule: the data of deleted claims goes once no pod uses it",
        Occasion::Run => "rule: Jobs run to completion, CronJobs by their schedule",
    }
}
