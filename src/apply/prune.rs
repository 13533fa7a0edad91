//! The brake on deletions: a revision that deletes suspiciously much is applied without its deletions, until a commit approves them.
//!
//! A misplaced `rm`, a wrong `--path` or an emptied branch looks exactly like the wish to delete everything. So deletions, and only
//! they, wait for a second word where there are too many of them. The word is in git, as all others: a trailer of a commit, or a list
//! of names in `driftless.yaml`.

use crate::model::{Kind, Object, ObjectKey, PruneBlock, PrunePolicy, Revision, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The trailer of a commit message that approves deletions.
pub const TRAILER: &str = "Driftless-Allow-Prune";

/// The word of one commit that deletions may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The commit that gives it.
    pub revision: Revision,
    /// How many it allows.
    pub amount: Amount,
    /// The objects that the tree of that commit still has: their deletion came later and is not approved by it. Empty for the newest
    /// commit.
    pub kept: BTreeSet<ObjectKey>,
}

/// How many deletions an approval allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// `Driftless-Allow-Prune: all`
    All,
    /// `Driftless-Allow-Prune: 12`: up to so many objects.
    UpTo(usize),
}

/// The approvals in the trailers of the commits between the last applied revision and the new one. Each approves all that is
/// deleted, unless [`Approval::kept`] is filled in from that commit's own tree. A trailer that is neither a count nor `all` approves
/// nothing.
pub fn approvals<'a>(commits: impl IntoIterator<Item = (&'a Revision, &'a [(String, String)])>) -> Vec<Approval> {
    let mut found = Vec::new();
    for (revision, trailers) in commits {
        let values = trailers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(TRAILER)).map(|(_, value)| value.trim());
        for amount in values.filter_map(Amount::parse) {
            found.push(Approval { revision: revision.clone(), amount, kept: BTreeSet::new() });
        }
    }
    found
}

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("all") { Some(Self::All) } else { text.parse().ok().map(Self::UpTo) }
    }
}

/// Sorts `deletions` (keys of `old`, which is every object that was applied) into those that may go out and those that are held back,
/// with the reason. All that is not approved goes or stays as one: which half of a mistake to carry out is nobody's guess.
#[must_use]
pub fn brake(
    deletions: &BTreeSet<ObjectKey>,
    old: &BTreeMap<ObjectKey, Arc<Object>>,
    policy: &PrunePolicy,
    approvals: &[Approval],
) -> (BTreeSet<ObjectKey>, Option<PruneBlock>) {
    let is_approved =
        |key: &ObjectKey| is_named(key, policy) || approvals.iter().any(|approval| covers(approval, key, deletions));
    let (approved, open): (BTreeSet<ObjectKey>, BTreeSet<ObjectKey>) = deletions.iter().cloned().partition(is_approved);
    let Some(limit) = exceeded(&open, deletions, old, policy) else { return (deletions.clone(), None) };
    let reason = format!("{limit}. {}", how_to_approve(&open, deletions, approvals));
    (approved, Some(PruneBlock { objects: open.into_iter().collect(), reason }))
}

/// Whether `driftless.yaml` names the object, as `Kind/namespace/name` or `Kind/name`.
fn is_named(key: &ObjectKey, policy: &PrunePolicy) -> bool {
    policy.approve.iter().any(|name| name.trim() == spelt(key))
}

fn spelt(key: &ObjectKey) -> String {
    format!("{}/{}", key.kind, key.short())
}

/// Whether an approval reaches this deletion: it was introduced up to that commit, together with no more than it allows.
fn covers(approval: &Approval, key: &ObjectKey, deletions: &BTreeSet<ObjectKey>) -> bool {
    let introduced = deletions.difference(&approval.kept).count();
    let is_enough = match approval.amount {
        Amount::All => true,
        Amount::UpTo(count) => introduced <= count,
    };
    is_enough && !approval.kept.contains(key)
}

/// The first limit that the open deletions exceed, as the beginning of a reason.
fn exceeded(
    open: &BTreeSet<ObjectKey>,
    deletions: &BTreeSet<ObjectKey>,
    old: &BTreeMap<ObjectKey, Arc<Object>>,
    policy: &PrunePolicy,
) -> Option<String> {
    if open.is_empty() {
        return None;
    }
    if old.keys().all(|key| deletions.contains(key)) {
        return Some(format!("the revision would delete everything ({})", objects(old.len())));
    }
    if let Some(volume) = open.iter().find(|key| holds_data(key, old)) {
        return Some(format!("the revision would delete {volume}, which holds data"));
    }
    let workloads = |keys: &mut dyn Iterator<Item = &ObjectKey>| keys.filter(|key| key.kind.is_workload()).count();
    let (gone, all) = (workloads(&mut open.iter()), workloads(&mut old.keys()));
    if at_least(gone, policy.min_workloads) && gone * 100 > all * policy.max_workload_percent as usize {
        let percent = policy.max_workload_percent;
        return Some(format!("the revision would delete {gone} of {all} workloads, more than {percent} %"));
    }
    if at_least(open.len(), policy.max_objects.saturating_add(1)) {
        let max = policy.max_objects;
        return Some(format!("the revision would delete {}, more than {max}", objects(open.len())));
    }
    None
}

fn at_least(count: usize, limit: u32) -> bool {
    count >= limit as usize
}

fn objects(count: usize) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

/// Whether deleting an object destroys data. A new kind has to answer here.
fn holds_data(key: &ObjectKey, old: &BTreeMap<ObjectKey, Arc<Object>>) -> bool {
    match key.kind {
        Kind::PersistentVolumeClaim => true,
        Kind::StatefulSet => old.get(key).is_some_and(|set| takes_its_volumes_along(set)),
        Kind::Namespace
        | Kind::PriorityClass
        | Kind::Node
        | Kind::ConfigMap
        | Kind::Secret
        | Kind::Service
        | Kind::Ingress
        | Kind::Deployment
        | Kind::Rollout
        | Kind::DaemonSet
        | Kind::ReplicaSet
        | Kind::Job
        | Kind::CronJob
        | Kind::Pod
        | Kind::HorizontalPodAutoscaler
        | Kind::PodDisruptionBudget => false,
    }
}

fn takes_its_volumes_along(set: &Object) -> bool {
    let strategy = set.workload().map(|workload| &workload.strategy);
    matches!(strategy, Some(Strategy::Stateful(spec)) if !spec.claims.is_empty() && spec.retention.delete_when_deleted)
}

fn how_to_approve(open: &BTreeSet<ObjectKey>, deletions: &BTreeSet<ObjectKey>, approvals: &[Approval]) -> String {
    let too_small = approvals.iter().find_map(|approval| match approval.amount {
        Amount::UpTo(count) if count < deletions.difference(&approval.kept).count() => Some((approval, count)),
        Amount::UpTo(_) | Amount::All => None,
    });
    let earlier = too_small
        .map_or_else(String::new, |(approval, count)| format!("Commit {} allows {count} only. ", approval.revision.short()));
    let name = open.first().map(spelt).unwrap_or_default();
    format!(
        "{earlier}Nothing of it is deleted until a commit with the trailer `{TRAILER}: {}` (or `all`) approves it, or \
         `prune.approve` in driftless.yaml names the objects (as {name}).",
        deletions.len()
    )
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
