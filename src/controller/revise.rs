//! Taking a revision over: the plan, the brake, and what becomes dirty.

use super::core::Controller;
use super::event::{Commit, LoadedRevision};
use super::inputs::{Applied, Pruning};
use super::placements::Placement;
use super::records::Reconcile;
use crate::apply::prune;
use crate::diff;
use crate::model::{
    Action, Change, Desired, Kind, Object, ObjectKey, Plan, PodSnapshot, PodUid, PruneBlock, StopReason, TemplateHash, Trigger,
    UnitState,
};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Controller {
    /// Takes a revision over. An unchanged one changes nothing.
    pub(super) fn revise(&mut self, loaded: LoadedRevision) {
        let LoadedRevision { mut desired, trigger, actor, commits } = loaded;
        let first = !self.inputs.revised;
        let told = first && desired.revision == self.inputs.effective.revision;
        self.inputs.revised = true;
        let mut plan = diff::intent(&self.inputs.effective, &desired);
        let block = self.hold_back(&mut plan, &mut desired, &commits);
        if !plan.is_empty() {
            let observed = self.observed(&plan);
            diff::estimate(&mut plan, &self.inputs.effective, &desired, &observed);
        }
        let unblocked = std::mem::replace(&mut self.inputs.block, block);
        let old = std::mem::replace(&mut self.inputs.effective, desired);
        let changed: BTreeSet<ObjectKey> = plan.changes.iter().map(|change| change.key.clone()).collect();
        self.take_over(&plan, &old, first);
        self.note_blocked(unblocked.as_ref());
        self.dirty.ingress |= first || Self::concerns_ingress(&changed);
        self.reindex_changed(&changed, first);
        self.reconsider(&changed, first);
        self.claim();
        if first {
            self.doubt_forgotten_jobs();
        }
        self.note_held(trigger, &actor, told);
        self.note_block(trigger, &actor, &plan);
        if !plan.is_empty() {
            self.supersede();
            self.sweep_snapshots();
            let pending = changed.into_iter().filter(|key| key.kind.is_workload()).collect();
            let from = old.objects;
            self.open(Reconcile::new(plan, &from, &self.inputs.effective, trigger, actor, pending, self.now));
        } else if first {
            self.resume(plan, trigger, actor);
        }
    }

    /// Rollouts that an earlier controller left unfinished are told when they end.
    fn resume(&mut self, plan: Plan, trigger: Trigger, actor: String) {
        let unfinished = |key: &ObjectKey, hash: &TemplateHash| {
            let work = self.works.get(key);
            work.is_some_and(|work| work.memory.target_of_others(hash) > 0 && !work.memory.quarantined.contains(hash))
        };
        let workloads = self.inputs.effective.workloads();
        let pending: BTreeSet<ObjectKey> =
            workloads.filter(|(key, workload)| unfinished(key, &workload.snapshot.hash)).map(|(key, _)| key.clone()).collect();
        if !pending.is_empty() {
            self.open(Reconcile::resumed(plan, trigger, actor, pending, self.now));
        }
    }

    /// Holds deletions back where the brake says so: their objects stay desired. Returns what is held back and why.
    fn hold_back(&self, plan: &mut Plan, desired: &mut Desired, commits: &[Commit]) -> Option<PruneBlock> {
        let deletions = |plan: &Plan| -> BTreeSet<ObjectKey> {
            plan.changes.iter().filter(|change| change.action == Action::Delete).map(|change| change.key.clone()).collect()
        };
        self.keep_unread(&deletions(plan), plan, desired);
        let deletions = deletions(plan);
        if deletions.is_empty() {
            return None;
        }
        let old = &self.inputs.effective.objects;
        let trailers = commits.iter().map(|commit| (&commit.revision, commit.trailers.as_slice()));
        let mut approvals = prune::approvals(trailers);
        for approval in &mut approvals {
            let commit = commits.iter().find(|commit| commit.revision == approval.revision);
            approval.kept = commit.map(|commit| commit.objects.clone()).unwrap_or_default();
        }
        let (allowed, block) = prune::brake(&deletions, old, &desired.policy.prune, &approvals);
        for key in deletions.difference(&allowed) {
            if let Some(object) = old.get(key) {
                desired.objects.insert(key.clone(), Arc::clone(object));
            }
        }
        plan.changes.retain(|change| change.action != Action::Delete || allowed.contains(&change.key));
        plan.blocked.clone_from(&block);
        block
    }

    /// A unit that cannot be read and whose last good state is not known deletes nothing: what was applied of it stays desired.
    fn keep_unread(&self, deletions: &BTreeSet<ObjectKey>, plan: &mut Plan, desired: &mut Desired) {
        let is_unread = |key: &ObjectKey| {
            let unit = self.inputs.applied.get(key).map(|applied| applied.unit.as_str());
            let state = desired.units.iter().find(|(name, _)| Some(name.as_str()) == unit).map(|(_, state)| state);
            matches!(state, Some(UnitState::Held { at: None, .. }))
        };
        let unread: BTreeSet<&ObjectKey> = deletions.iter().filter(|key| is_unread(key)).collect();
        for key in &unread {
            if let Some(object) = self.inputs.effective.objects.get(*key) {
                desired.objects.insert((*key).clone(), Arc::clone(object));
            }
        }
        plan.changes.retain(|change| change.action != Action::Delete || !unread.contains(&change.key));
    }

    /// What runs of the workloads that change, for the estimate.
    fn observed(&self, plan: &Plan) -> diff::Observed {
        let mut observed = diff::Observed::default();
        let changing = plan.changes.iter().map(|change| &change.key).filter(|key| key.kind.is_workload());
        // What a Node's change sends away may be of any workload.
        let any = self.works.keys().filter(|_| plan.changes.iter().any(|change| change.key.kind == Kind::Node));
        for key in changing.chain(any) {
            let mut pods = diff::ObservedPods {
                autoscaled: self.works.get(key).and_then(|work| work.autoscaled),
                ..diff::ObservedPods::default()
            };
            for placement in self.placements.of_workload(key).filter(|placement| placement.retired.is_none()) {
                *pods.nodes.entry(placement.node.clone()).or_default() += 1;
            }
            observed.workloads.insert(key.clone(), pods);
        }
        observed
    }

    /// Puts what changed in force. The first revision of a reign puts everything in force, since nothing is yet.
    fn take_over(&mut self, plan: &Plan, old: &Desired, first: bool) {
        for change in &plan.changes {
            self.apply_change(change, plan, old);
        }
        let objects = self.inputs.effective.objects.clone();
        let stale = |object: &Object| {
            let snapshot = object.snapshot();
            let known =
                |snapshot: &Arc<PodSnapshot>| self.inputs.snapshots.get(&snapshot.hash).map(|known| &known.config.version);
            snapshot.is_some_and(|snapshot| known(snapshot) != Some(&snapshot.config.version))
        };
        let entering: Vec<Arc<Object>> = objects
            .into_values()
            .filter(|object| first || stale(object) || !self.inputs.applied.contains_key(&object.key))
            .collect();
        for object in entering {
            self.enter(&object);
        }
    }

    fn apply_change(&mut self, change: &Change, plan: &Plan, old: &Desired) {
        let key = &change.key;
        self.records.touch(key);
        if change.action == Action::Delete {
            return self.apply_deletion(key, plan, old);
        }
        self.inputs.unreadable.remove(key);
        let created = self.inputs.applied.get(key).and_then(|applied| applied.created);
        let created = if change.action == Action::Create { Some(self.wall()) } else { created };
        let applied = Applied {
            commit: Some(change.source.revision.clone()),
            path: change.source.file.clone(),
            unit: change.source.unit.as_str().to_owned(),
            blocked: false,
            created,
        };
        self.inputs.applied.insert(key.clone(), applied);
        if let Some(object) = self.inputs.object(key).cloned() {
            if let Some(before) = old.objects.get(key) {
                self.change_cron(before, &object);
            }
            self.enter(&object);
        }
    }

    /// Makes place for an object in every room, and marks it.
    fn enter(&mut self, object: &Arc<Object>) {
        let key = &object.key;
        if object.cron_job().is_some() {
            self.dirty.crons.insert(key.clone());
        }
        // What a commit has is not a CronJob's any more.
        self.inputs.made.remove(key);
        self.inputs.applied.entry(key.clone()).or_insert_with(|| Applied {
            commit: Some(object.source.revision.clone()),
            path: object.source.file.clone(),
            unit: object.source.unit.as_str().to_owned(),
            blocked: false,
            created: None,
        });
        if object.claim().is_some() {
            self.keep_claim(key);
        }
        if let Some(spec) = object.service() {
            self.provide(key, spec);
        }
        if let Some(snapshot) = object.snapshot() {
            let revision = object.source.revision.clone();
            let known = self.inputs.snapshots.insert(snapshot.hash.clone(), Arc::clone(snapshot));
            if known.is_some_and(|known| known.config.version != snapshot.config.version) {
                self.dirty.nodes.extend(self.placements.of_workload(key).map(|placement| placement.node.clone()));
            }
            if self.inputs.pruning.remove(key).is_some() {
                self.take_back_pruned(key);
            }
            self.inputs.pruned.remove(key);
            let work = self.works.entry(key.clone()).or_default();
            work.forgone = 0;
            work.churn = super::work::Churn::default();
            work.origins.entry(snapshot.hash.clone()).or_insert(revision);
            self.dirty.workloads.insert(key.clone());
        }
    }

    /// A workload that was deleted is wanted again: what was not told to stop yet is its own again.
    fn take_back_pruned(&mut self, key: &ObjectKey) {
        let pruned =
            |placement: &&Placement| placement.retired.as_ref().is_some_and(|retired| retired.reason == StopReason::Pruned);
        let left: Vec<PodUid> = self.placements.of_workload(key).filter(pruned).map(|placement| placement.run.uid).collect();
        for uid in left {
            self.reinstate(&uid);
        }
    }

    fn apply_deletion(&mut self, key: &ObjectKey, plan: &Plan, old: &Desired) {
        self.take_back_provisions(key);
        if key.kind == Kind::CronJob {
            self.delete_cron(key, self.inputs.effective.revision.clone());
        }
        if key.kind == Kind::Service {
            self.services.workloads_of.remove(key);
            self.dirty.services.insert(key.clone());
        }
        if let Some(object) = old.objects.get(key).filter(|_| key.kind.is_workload()) {
            let commit = self.inputs.effective.revision.clone();
            let after = plan.changes.iter().find(|change| change.renamed_from.as_ref() == Some(key));
            self.inputs.pruning.insert(key.clone(), Pruning { commit, after: after.map(|change| change.key.clone()) });
            self.inputs.pruned.insert(key.clone(), Arc::clone(object));
            self.dirty.workloads.insert(key.clone());
        } else {
            let applied = self.inputs.applied.remove(key);
            if let Some(object) = old.objects.get(key).filter(|_| key.kind == Kind::PersistentVolumeClaim) {
                self.prune_claim(object, applied.as_ref());
            }
        }
    }

    /// The indexes of every namespace in which something changed.
    fn reindex_changed(&mut self, changed: &BTreeSet<ObjectKey>, first: bool) {
        let all = self.inputs.effective.objects.keys().filter(|_| first);
        let namespaces: BTreeSet<String> = all.chain(changed).map(|key| key.namespace.clone()).collect();
        for namespace in namespaces {
            self.reindex(&namespace);
        }
    }

    /// Objects whose deletion began or ceased to be held back are recorded anew.
    fn note_blocked(&mut self, before: Option<&PruneBlock>) {
        let keys = |block: Option<&PruneBlock>| block.map(|block| block.objects.clone()).unwrap_or_default();
        let (before, after) = (keys(before), keys(self.inputs.block.as_ref()));
        for key in before.iter().chain(&after).filter(|key| before.contains(key) != after.contains(key)) {
            self.records.touch(key);
        }
    }

    /// Forgets templates that nothing is made of any more.
    fn sweep_snapshots(&mut self) {
        let made = self.inputs.made.values().map(|made| &made.object);
        let wanted = self.inputs.effective.objects.values().chain(made).filter_map(|object| object.snapshot());
        let mut kept: BTreeSet<TemplateHash> = wanted.map(|snapshot| snapshot.hash.clone()).collect();
        for work in self.works.values_mut() {
            kept.extend(work.memory.targets.keys().chain(&work.memory.job.run.templates).cloned());
            work.origins.retain(|hash, _| kept.contains(hash));
            work.images.retain(|hash, _| kept.contains(hash));
        }
        self.inputs.snapshots.retain(|hash, _| kept.contains(hash));
    }
}
