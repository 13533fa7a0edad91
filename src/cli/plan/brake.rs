//! Which deletions of the plan the controller would hold back.

use super::super::CliResult;
use super::clone::unreadable;
use crate::apply::prune;
use crate::manifest::{DigestKey, Loaded};
use crate::model::{Action, Desired, ObjectKey, Plan, Revision};
use crate::sync::Loader;
use std::collections::BTreeSet;

/// Fills in [`Plan::blocked`]. Approvals are looked for in every commit between the two revisions, since a merge leaves a trailer in
/// the merged commit; each covers the deletions that its own tree has already made.
pub(super) fn apply(plan: &mut Plan, old: &Desired, new: &Loaded, loader: &mut Loader, key: &DigestKey) -> CliResult<()> {
    let deletions: BTreeSet<ObjectKey> =
        plan.changes.iter().filter(|change| change.action == Action::Delete).map(|change| change.key.clone()).collect();
    let Some(to) = plan.to.clone().filter(|_| !deletions.is_empty()) else { return Ok(()) };
    let commits = loader.mirror().commits_between(plan.from.as_ref(), &to).map_err(unreadable)?;
    let trailers = commits.iter().map(|commit| (&commit.revision, commit.trailers.as_slice()));
    let mut approvals = prune::approvals(trailers);
    for approval in approvals.iter_mut().filter(|approval| approval.revision != to) {
        let still_there = objects_at(&approval.revision, new, loader, key);
        approval.kept = deletions.iter().filter(|key| still_there.contains(*key)).cloned().collect();
    }
    plan.blocked = prune::brake(&deletions, &old.objects, &new.desired.policy.prune, &approvals).1;
    Ok(())
}

/// The objects of a commit's tree; none if the watched path is not in it.
fn objects_at(revision: &Revision, new: &Loaded, loader: &mut Loader, key: &DigestKey) -> BTreeSet<ObjectKey> {
    let loaded = loader.load(revision, &new.good, key);
    loaded.map(|loaded| loaded.desired.objects.into_keys().collect()).unwrap_or_default()
}
