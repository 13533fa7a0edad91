//! A pass: whatever is dirty is computed again from one picture, until nothing is dirty.

use super::core::Controller;
use super::happenings::Happening;
use super::placements::Placement;
use super::priority::Unplaced;
use super::timers::Timer;
use crate::apply::rollout::{Action, PodState, RolloutInput, RolloutMemory, RolloutStep, step};
use crate::model::{
    Incarnation, JobRun, Kind, NodeName, Object, ObjectKey, PodRun, PodUid, Progress, Revision, StopReason, Strategy,
    TemplateHash, WaitingOn, Workload,
};
use std::collections::BTreeSet;

/// Steps of one workload in one pass; what is left is taken up by the next event. A rollout settles in two or three.
const STEPS_MAX: usize = 8;

impl Controller {
    pub(super) fn pass(&mut self) {
        let mut worked = false;
        loop {
            if let Some(key) = self.dirty.crons.pop_first() {
                self.work_on_cron(&key);
            } else if !self.dirty.workloads.is_empty() {
                for key in self.in_turn() {
                    self.work_on(&key);
                }
            } else if self.dirty.drains && self.drain() {
                // What moves changes what its workload wants.
            } else if let Some(key) = self.dirty.services.pop_first() {
                self.publish(&key);
            } else if let Some(uid) = self.dirty.retired.pop_first() {
                self.release(&uid);
            } else {
                break;
            }
            worked = true;
        }
        if std::mem::take(&mut self.dirty.ingress) {
            self.route();
        }
        self.settle();
        self.tell_ended_jobs();
        // Last, so that what is done was recorded before.
        let nodes = std::mem::take(&mut self.dirty.nodes);
        self.note_joined(&nodes);
        nodes.iter().for_each(|name| self.dispatch(name));
        self.counters.passes += u64::from(worked || !nodes.is_empty());
    }

    fn work_on(&mut self, key: &ObjectKey) {
        self.dirty.drains |= !self.nodes.draining.is_empty();
        self.mark_services(key);
        self.records.look_at(key);
        self.withdraw(key);
        self.expire_job(key);
        let Some(object) = self.inputs.object(key).cloned() else { return self.empty_out(key) };
        let Some(workload) = object.workload() else { return };
        let before = self.works.get(key).map(|work| remembered(&work.memory));
        for _ in 0..STEPS_MAX {
            if !self.step_once(&object, workload) {
                break;
            }
        }
        if self.works.get(key).map(|work| remembered(&work.memory)) != before {
            self.records.touch(key);
        }
    }

    /// Takes one step. Returns whether the next one may find more to do.
    fn step_once(&mut self, object: &Object, workload: &Workload) -> bool {
        let key = &object.key;
        let Some(step) = self.think(key, workload) else { return false };
        let acted = self.carry_out(object, workload, &step);
        let replicas = self.wanted(key, workload);
        let (now, unheard_end) = (self.now, self.next_unheard_end(key, workload));
        let Some(work) = self.works.get_mut(key) else { return false };
        let delay = work.churn.delay(now);
        work.replicas = replicas;
        let progress = match acted.refused {
            Some(waiting) if !matches!(step.progress, Progress::Stalled(_)) => Progress::Waiting(waiting),
            Some(_) | None => step.progress,
        };
        let before = std::mem::replace(&mut work.progress, progress);
        let decided = |memory: &RolloutMemory| (memory.targets.clone(), memory.quarantined.clone(), remembered(memory));
        let moved = decided(&work.memory) != decided(&step.memory);
        work.memory = step.memory;
        match [step.wake, delay.filter(|_| acted.delayed), unheard_end].into_iter().flatten().min() {
            Some(at) => self.timers.set(Timer::Workload(key.clone()), at),
            None => self.timers.clear(&Timer::Workload(key.clone())),
        }
        self.note_progress(key, &before);
        acted.changed || moved
    }

    /// The next step of a workload, as things are.
    pub(super) fn think(&self, key: &ObjectKey, workload: &Workload) -> Option<RolloutStep> {
        let work = self.works.get(key)?;
        let pods: Vec<PodState<'_>> = self.placements.of_workload(key).map(|placement| self.state(placement)).collect();
        let targets = work.memory.targets.keys().chain(pods.iter().map(|pod| pod.hash));
        let known: BTreeSet<TemplateHash> = targets.filter(|hash| self.inputs.snapshots.contains_key(*hash)).cloned().collect();
        let nodes = self.nodes_for(key, workload);
        let unheard = self.unheard_numbers(key, workload);
        let replicas = self.wanted(key, workload).saturating_add(u32::from(self.is_moving(key)));
        let (memory, now) = (&work.memory, self.now);
        Some(step(&RolloutInput {
            workload,
            replicas,
            pods: &pods,
            nodes: &nodes,
            unheard: &unheard,
            known: &known,
            memory,
            now,
        }))
    }

    fn state<'a>(&self, placement: &'a Placement) -> PodState<'a> {
        let node = self.nodes.get(&placement.node);
        let bound = self.is_bound(placement);
        let state = placement.state(node.is_some_and(|node| node.ready), self.is_lost(placement), bound);
        PodState { drained: self.is_draining(&placement.node), ..state }
    }

    /// How many pods are wanted: what is written or what the autoscaler says, without those that drift took and policy leaves; for a
    /// DaemonSet, one for each node that suits.
    pub(super) fn wanted(&self, key: &ObjectKey, workload: &Workload) -> u32 {
        let Some(work) = self.works.get(key) else { return 0 };
        if matches!(workload.strategy, Strategy::Daemon(_)) {
            return u32::try_from(self.nodes_for(key, workload).len()).unwrap_or(u32::MAX);
        }
        let written = workload.replicas.unwrap_or(1);
        work.autoscaled.unwrap_or(written).saturating_sub(work.forgone)
    }

    fn carry_out(&mut self, object: &Object, workload: &Workload, step: &RolloutStep) -> Acted {
        let key = &object.key;
        let healing = step.memory.completed.as_ref() == Some(&workload.snapshot.hash);
        let delay = self.works.get(key).and_then(|work| work.churn.delay(self.now)).filter(|_| healing);
        let numbered = matches!(workload.strategy, Strategy::Stateful(_));
        let mut acted = Acted::default();
        for action in &step.actions {
            match action {
                Action::Create { .. } if delay.is_some() => acted.delayed = true,
                // Where one pod finds no place, its like find none either; those that are for a node of their own may.
                Action::Create { node: None, .. } if acted.stuck && !numbered => {}
                Action::Create { slot, hash, node } => match self.create(object, *slot, hash, node.as_ref()) {
                    Ok(()) => acted.changed = true,
                    Err(unplaced) => {
                        acted.stuck = !unplaced.makes_room;
                        acted.refused = Some(unplaced.waiting);
                    }
                },
                Action::Reinstate { uid } => {
                    self.reinstate(uid);
                    acted.changed = true;
                }
                Action::Retire { uid, reason } => {
                    self.note_ended(key, *reason);
                    self.retire(uid, *reason, self.commit_for(*reason));
                    acted.changed = true;
                }
            }
        }
        acted
    }

    /// The commit that asks for a stop; none where it was not a commit.
    pub(super) fn commit_for(&self, reason: StopReason) -> Option<Revision> {
        match reason {
            StopReason::Replaced
            | StopReason::ScaledDown
            | StopReason::Pruned
            | StopReason::RolledBack
            | StopReason::Evicted
            | StopReason::Drained => self.inputs.effective.revision.clone(),
            StopReason::Superseded | StopReason::Misplaced | StopReason::Finished | StopReason::Preempted => None,
        }
    }

    /// A pod that ended for good and is replaced may end again: replacements are slowed down like those after drift.
    fn note_ended(&mut self, key: &ObjectKey, reason: StopReason) {
        let now = self.now;
        if reason == StopReason::Superseded
            && let Some(work) = self.works.get_mut(key)
        {
            work.churn.note(now);
        }
    }

    /// Starts a pod where a node can take it, or on the one that it is for.
    fn create(&mut self, object: &Object, slot: u32, hash: &TemplateHash, on: Option<&NodeName>) -> Result<(), Unplaced> {
        let key = &object.key;
        let request = self.request(key, hash);
        let pod = format!("{}-{slot}", key.name);
        let claims = self.claims_for(key, &pod, hash);
        let node = self.find_node((key, slot, hash), &request, on, &claims)?;
        let run = self.name_pod(object, slot, hash);
        let (name, message) = (run.name.clone(), format!("{} goes to {node}", run.name));
        self.capacity.reserve(&node, &request);
        self.dirty.nodes.insert(node.clone());
        let tenure = self.tenure(key, hash);
        let placement = Placement { tenure, ..Placement::new(node.clone(), run, request, self.now) };
        self.use_claims(&placement);
        self.placements.insert(placement);
        self.note_seen(key, slot);
        self.evict(&node);
        self.records.touch(key);
        let happening = Happening { about: key, pod: Some(&name), warning: false, reason: "Scheduled", message };
        self.happenings.note(happening, self.now);
        if Self::is_job(key) {
            let (reason, message) = ("SuccessfulCreate", format!("Created pod: {name}"));
            self.happenings.note(Happening { about: key, pod: None, warning: false, reason, message }, self.now);
        }
        Ok(())
    }

    /// A new pod: uid and name derive from what makes it that pod. A bare Pod and the pods of a StatefulSet keep their names.
    fn name_pod(&mut self, object: &Object, slot: u32, hash: &TemplateHash) -> PodRun {
        let workload = object.key.clone();
        let work = self.works.get(&workload);
        let origin = work.and_then(|work| work.origins.get(hash)).cloned();
        let images = work.and_then(|work| work.images.get(hash)).cloned().unwrap_or_default();
        let revision = origin.unwrap_or_else(|| object.source.revision.clone());
        loop {
            self.incarnations += 1;
            let incarnation = Incarnation { epoch: self.epoch, counter: self.incarnations };
            let uid = PodUid::derive(&self.settings.cluster_id, &workload, slot, hash, incarnation);
            let lasting = lasting_name(&workload, slot);
            let is_lasting = lasting.is_some();
            let usual = || format!("{}-{}-{}", workload.name, hash.short(), uid.tail());
            let name = match object.workload().map(|workload| &workload.strategy) {
                Some(Strategy::Job(spec)) => PodRun::job_pod_name(&workload.name, spec.indexed.then_some(slot), &uid),
                _ => lasting.unwrap_or_else(usual),
            };
            if is_lasting || self.placements.of_workload(&workload).all(|placement| placement.run.name != name) {
                return PodRun { uid, name, workload, slot, hash: hash.clone(), revision, images };
            }
        }
    }

    /// A workload that a commit deleted: its pods go, then it is forgotten.
    fn empty_out(&mut self, key: &ObjectKey) {
        if self.waits_for_rename(key) {
            return;
        }
        let Some(commit) = self.inputs.pruning.get(key).map(|pruning| pruning.commit.clone()) else { return };
        let left: Vec<PodUid> = self.placements.of_workload(key).map(|placement| placement.run.uid).collect();
        let is_made = Self::is_job(key);
        for uid in &left {
            let reason = if is_made && commit.is_none() { StopReason::Finished } else { StopReason::Pruned };
            self.retire(uid, reason, commit.clone());
        }
        // A number that may still run somewhere is waited for, and then stopped.
        let pruned = self.inputs.pruned.get(key).cloned();
        let awaits = |object: &Object| object.workload().is_some_and(|workload| !self.unheard_numbers(key, workload).is_empty());
        if left.is_empty() && !pruned.is_some_and(|object| awaits(&object)) {
            self.inputs.pruning.remove(key);
            if let Some(object) = self.inputs.pruned.remove(key) {
                self.delete_claims_of(&object);
            }
            self.inputs.applied.remove(key);
            self.works.remove(key);
            self.services.of_workload.remove(key);
            self.dirty.unplaced.remove(key);
            self.timers.clear(&Timer::Workload(key.clone()));
            self.timers.clear(&Timer::Scale(key.clone()));
            self.records.touch(key);
            if Self::is_job(key) {
                self.records.ended_jobs.insert(key.clone());
            }
        }
    }

    /// True if a deleted workload waits for the one that seems to be the same under a new name.
    pub(super) fn waits_for_rename(&self, key: &ObjectKey) -> bool {
        let after = self.inputs.pruning.get(key).and_then(|pruning| pruning.after.as_ref());
        let wanted = after.filter(|after| self.inputs.object(after).is_some());
        wanted.and_then(|after| self.works.get(after)).is_some_and(|work| work.progress != Progress::Done)
    }

    /// Deleted workloads that waited for this one may go.
    fn let_go(&mut self, renamed: &ObjectKey) {
        let waiting = self.inputs.pruning.iter().filter(|(_, pruning)| pruning.after.as_ref() == Some(renamed));
        self.dirty.workloads.extend(waiting.map(|(key, _)| key.clone()));
    }

    fn note_progress(&mut self, key: &ObjectKey, before: &Progress) {
        let Some(work) = self.works.get(key) else { return };
        if work.progress == *before {
            return;
        }
        if work.progress == Progress::Done {
            self.let_go(key);
        }
        if Self::is_job(key) {
            self.note_job(key);
        }
        let Some(work) = self.works.get(key) else { return };
        let (warning, reason, message) = match &work.progress {
            Progress::Done | Progress::Stalled(_) if Self::is_job(key) => return,
            Progress::Done if !matches!(before, Progress::Done) => {
                (false, "Complete", format!("{} pods are available", work.replicas))
            }
            Progress::Stalled(stalled) => (true, "ProgressDeadlineExceeded", super::words::stalled(stalled)),
            Progress::Waiting(WaitingOn::Placement(refusals)) => (true, "FailedScheduling", refusals.clone()),
            Progress::Done | Progress::Progressing(_) | Progress::Waiting(_) => return,
        };
        self.records.touch(key);
        self.happenings.note(Happening { about: key, pod: None, warning, reason, message }, self.now);
    }
}

/// What of a rollout the cluster memory has, beside its pods.
fn remembered(memory: &RolloutMemory) -> (Option<TemplateHash>, JobRun) {
    (memory.promoted.clone(), memory.job.run.clone())
}

/// The name that a pod has in each of its incarnations, if it has one.
fn lasting_name(workload: &ObjectKey, slot: u32) -> Option<String> {
    if workload.kind == Kind::Pod {
        return Some(workload.name.clone());
    }
    (workload.kind == Kind::StatefulSet).then(|| format!("{}-{slot}", workload.name))
}

/// What came of a step.
#[derive(Debug, Default)]
struct Acted {
    /// Something else is told now.
    changed: bool,
    /// What a pod waits for that finds no place.
    refused: Option<WaitingOn>,
    /// Its like will find none either, for all that is known.
    stuck: bool,
    /// Replacements wait because too many were needed lately.
    delayed: bool,
}
