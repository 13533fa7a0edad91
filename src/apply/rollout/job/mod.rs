//! Jobs: pods that run to completion, and never again.
//!
//! Role: the step of a workload whose strategy is [`Strategy::Job`](crate::model::Strategy::Job). The rules are those of
//! Kubernetes' Job controller (<https://kubernetes.io/docs/concepts/workloads/controllers/job/>): `count` takes in how pods ended,
//! `verdict` says whether the Job is over, `roster` which pods there are, and [`step`] creates what is missing.
//!
//! A *run* is one go of one template. What is known of it ([`JobRun`](crate::model::JobRun)) is cluster memory. Another template
//! is another run, which begins once the pods of the last one are gone.
//!
//! Invariants:
//! - A run that is over starts no pod.
//! - No pod is started that, with those that run and those that succeeded, would exceed `completions`.
//! - A pod is counted once: as succeeded, as failed, or (by a `podFailurePolicy`) not at all. One that is lost with its node, or was
//!   removed by somebody else, counts as failed.
//! - A run that nobody remembers is not taken up: it may have run.
//!
//! Deliberately absent: the removal of the Job itself, which is a commit's, or its CronJob's.

mod backoff;
mod count;
mod roster;
#[cfg(test)]
mod tests;
mod verdict;

pub use backoff::Strikes;

use super::{Action, PodState, RolloutInput, RolloutStep};
use crate::model::{JobRun, JobSpec, Moment, PodUid, Progress, StalledBy, StopReason, WaitingOn};
use roster::Roster;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a Job carries from step to step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobMemory {
    /// What is remembered across restarts.
    pub run: JobRun,
    /// Its pods that ran at the last step, with their slots: one that is not there any more was removed by somebody else.
    pub alive: BTreeMap<PodUid, u32>,
    /// Failures in a row.
    pub strikes: Strikes,
    /// The same of each index, where each has a limit of its own.
    pub index_strikes: BTreeMap<u32, Strikes>,
}

impl JobMemory {
    /// Pods that ran when it was last remembered are lost with their node.
    pub fn lose(&mut self, pods: u32, now: Moment) {
        self.run.failed = self.run.failed.saturating_add(pods);
        self.strikes.add(now);
    }
}

/// Takes one step of a Job.
pub(super) fn step(input: &RolloutInput<'_>, spec: &JobSpec) -> RolloutStep {
    let mut memory = input.memory.clone();
    let job = &mut memory.job;
    take_up(input, spec, job);
    let mut roster = Roster::of(input, &job.run);
    if job.run.outcome.is_none() && job.run.doubt.is_none() {
        let fatal = count::take_in(input, spec, job, &roster);
        roster = Roster::of(input, &job.run);
        note_start(input, job);
        job.run.outcome = verdict::of(input, spec, &job.run, &roster, fatal);
        if job.run.outcome.is_some() {
            job.run.counted.clear();
        }
    }
    job.alive = roster.alive.iter().map(|pod| (pod.uid, pod.slot)).collect();
    let mut actions = roster.strangers.iter().map(|pod| retire(pod, StopReason::Replaced)).collect::<Vec<_>>();
    actions.extend(surplus(input, spec, &job.run, &roster));
    if actions.is_empty() {
        actions = missing(input, spec, job, &roster);
    }
    for action in &actions {
        if let Action::Retire { uid, .. } = action {
            job.alive.remove(uid);
        }
    }
    let progress = progress(input, spec, job, &roster, &actions);
    let wake = wake(input, spec, job);
    memory.targets.clear();
    RolloutStep { actions, progress, wake, memory }
}

fn retire(pod: &PodState<'_>, reason: StopReason) -> Action {
    Action::Retire { uid: pod.uid, reason }
}

/// Begins a run where another template is wanted than the last one. Where nothing is remembered, the pods that are there are taken
/// for those of this run: their template may differ by its configuration alone.
fn take_up(input: &RolloutInput<'_>, spec: &JobSpec, job: &mut JobMemory) {
    if job.run.run.as_ref() != Some(&spec.run) {
        let is_known = job.run.run.is_some();
        let found = input.pods.iter().filter(|pod| !is_known && !pod.retired).map(|pod| pod.hash.clone());
        let run = JobRun { run: Some(spec.run.clone()), templates: found.collect(), ..JobRun::default() };
        *job = JobMemory { run, ..JobMemory::default() };
    }
    if job.run.outcome.is_none() {
        job.run.templates.insert(input.hash().clone());
    }
}

/// A Job starts when it is first allowed to run, and again when it was suspended in between.
fn note_start(input: &RolloutInput<'_>, job: &mut JobMemory) {
    if input.workload.paused {
        job.run.started = None;
    } else {
        job.run.started.get_or_insert(input.now);
    }
}

/// Pods that are not wanted: all that run once the Job is over or while it is suspended, those above its parallelism, what was
/// counted as lost and came back; and what has ended, once it was kept for long enough.
fn surplus(input: &RolloutInput<'_>, spec: &JobSpec, run: &JobRun, roster: &Roster<'_>) -> Vec<Action> {
    let returned = roster.returned.iter().map(|pod| retire(pod, StopReason::Superseded));
    if run.outcome.is_some() {
        let ended = roster.ended.iter().filter(|_| is_expired(input, spec, run));
        let over = roster.alive.iter().chain(ended);
        return returned.chain(over.map(|pod| retire(pod, StopReason::Finished))).collect();
    }
    let (useful, useless) = roster.by_use(spec, run);
    let over = useful.len().saturating_sub(wanted(input, spec, run, roster) as usize);
    let last = useful.into_iter().rev().take(over);
    returned.chain(useless.into_iter().chain(last).map(|pod| retire(pod, StopReason::ScaledDown))).collect()
}

/// How many pods should run now.
fn wanted(input: &RolloutInput<'_>, spec: &JobSpec, run: &JobRun, roster: &Roster<'_>) -> u32 {
    match spec.completions {
        _ if input.workload.paused || run.doubt.is_some() => 0,
        None if run.succeeded > 0 => roster.alive_count().min(input.replicas),
        None => input.replicas,
        Some(_) if spec.indexed => input.replicas.min(roster.open_indexes(spec, run)),
        Some(completions) => input.replicas.min(completions.saturating_sub(run.succeeded)),
    }
}

/// The pods that should be started now. Those that are on their way out take up their room until they are gone.
fn missing(input: &RolloutInput<'_>, spec: &JobSpec, job: &JobMemory, roster: &Roster<'_>) -> Vec<Action> {
    if job.run.outcome.is_some() || roster.has_strangers || job.strikes.blocks(input.now) {
        return Vec::new();
    }
    let room = wanted(input, spec, &job.run, roster).saturating_sub(roster.alive_count() + roster.leaving) as usize;
    let create = |slot| Action::Create { slot, hash: input.hash().clone(), node: None };
    if !spec.indexed {
        let mut slots = super::act::FreeSlots::of(input.pods);
        return (0..room).map(|_| create(slots.take())).collect();
    }
    let waits = |index: &u32| job.index_strikes.get(index).is_some_and(|strikes| strikes.blocks(input.now));
    roster.idle_indexes(spec, &job.run).filter(|index| !waits(index)).take(room).map(create).collect()
}

fn is_expired(input: &RolloutInput<'_>, spec: &JobSpec, run: &JobRun) -> bool {
    expiry(spec, run).is_some_and(|at| input.now >= at)
}

/// When the pods of a Job that is over are removed.
fn expiry(spec: &JobSpec, run: &JobRun) -> Option<Moment> {
    let kept = Duration::from_secs(u64::from(spec.ttl_seconds_after_finished?));
    run.outcome.as_ref().map(|outcome| outcome.at + kept)
}

/// How far it is, in the order in which a person wants to know.
fn progress(input: &RolloutInput<'_>, spec: &JobSpec, job: &JobMemory, roster: &Roster<'_>, actions: &[Action]) -> Progress {
    let run = &job.run;
    if let Some(doubt) = &run.doubt {
        return Progress::Stalled(StalledBy::Forgotten(doubt.clone()));
    }
    match &run.outcome {
        Some(outcome) if !outcome.complete => {
            return Progress::Stalled(StalledBy::JobFailed(outcome.reason.clone(), outcome.message.clone()));
        }
        Some(_) if roster.alive.is_empty() => return Progress::Done,
        Some(_) => return Progress::Waiting(WaitingOn::Stops),
        None => {}
    }
    if input.workload.paused {
        return Progress::Waiting(WaitingOn::Unpause);
    }
    if !actions.is_empty() {
        let wanted = spec.completions.map_or_else(String::new, |wanted| format!(" of {wanted}"));
        return Progress::Progressing(format!("{}{wanted} pods have completed", run.succeeded));
    }
    if roster.has_strangers {
        return Progress::Waiting(WaitingOn::Stops);
    }
    match retry_at(job).filter(|at| *at > input.now && roster.alive.is_empty()) {
        Some(at) => Progress::Waiting(WaitingOn::Retry { failed: run.failed, left: at.since(input.now) }),
        None => Progress::Waiting(WaitingOn::Completion { succeeded: run.succeeded, wanted: spec.completions }),
    }
}

/// When the next failed pod is replaced.
fn retry_at(job: &JobMemory) -> Option<Moment> {
    job.index_strikes.values().filter_map(Strikes::until).chain(job.strikes.until()).min()
}

/// When time alone changes the answer.
fn wake(input: &RolloutInput<'_>, spec: &JobSpec, job: &JobMemory) -> Option<Moment> {
    if job.run.outcome.is_some() {
        return expiry(spec, &job.run).filter(|at| *at > input.now);
    }
    let retries = job.index_strikes.values().filter_map(Strikes::until).chain(job.strikes.until());
    retries.chain(verdict::deadline(spec, &job.run)).filter(|at| *at > input.now).min()
}
