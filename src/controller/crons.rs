//! CronJobs at work: Jobs that are in no commit are made, kept for a while, and removed with their CronJob.

use super::core::Controller;
use super::happenings::Happening;
use super::inputs::{Applied, Pruning};
use super::records::Occasion;
use super::timers::Timer;
use crate::apply::cron::{CronStep, Missed, step};
use crate::model::{CronJob, CronRun, CronView, JobRun, MadeBy, Moment, Object, ObjectKey, Revision, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A Job that a CronJob made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) object: Arc<Object>,
    pub(super) by: MadeBy,
}

impl Controller {
    /// What the clock on the wall shows.
    pub(super) fn wall(&self) -> Moment {
        self.to_wall(self.now)
    }

    /// A time of ours, as the clock on the wall would show it: what is remembered across restarts.
    pub(super) fn to_wall(&self, at: Moment) -> Moment {
        Moment(at.0.saturating_add_signed(self.wall_ahead_ms))
    }

    /// The clock on the wall was set: every schedule is looked at again. Our own time goes on as it did.
    pub(super) fn clock_set(&mut self, ahead_ms: i64) {
        self.wall_ahead_ms = ahead_ms;
        self.dirty.crons.extend(self.crons.keys().cloned());
    }

    /// Looks at a CronJob: makes the Job that is due, and removes those that were kept for long enough.
    pub(super) fn work_on_cron(&mut self, key: &ObjectKey) {
        let Some(object) = self.inputs.object(key).cloned() else { return };
        let Some(cron) = object.cron_job() else { return };
        let now = self.wall();
        let memory = self.crons.entry(key.clone()).or_insert(CronRun { since: now, last: None }).clone();
        let active = self.active_jobs(key);
        let CronStep { start, replace, missed, wake, memory: after } = step(cron, &memory, active.len(), now);
        if replace {
            active.iter().for_each(|job| self.unmake(job, None));
        }
        if let Some(due) = start {
            self.make_job(&object, due);
        }
        if let Some(missed) = missed {
            self.note_missed(key, missed);
        }
        if after != memory {
            self.records.touch(key);
            self.crons.insert(key.clone(), after);
        }
        self.keep_history(key, cron);
        match wake {
            Some(at) => self.timers.set(Timer::Cron(key.clone()), Moment(at.0.saturating_add_signed(-self.wall_ahead_ms))),
            None => self.timers.clear(&Timer::Cron(key.clone())),
        }
    }

    fn make_job(&mut self, cron: &Arc<Object>, due: Moment) {
        let Some(object) = cron.made_job(due).filter(|object| self.inputs.object(&object.key).is_none()) else { return };
        let key = object.key.clone();
        self.take_in_job(cron, object, due, JobRun::default());
        self.batch(Occasion::Run, &key, format!("started by {}", cron.key));
        let message = format!("Created job {}", key.name);
        let happening = Happening { about: &cron.key, pod: None, warning: false, reason: "SuccessfulCreate", message };
        self.happenings.note(happening, self.now);
    }

    /// Makes place for a Job of a CronJob in every room.
    fn take_in_job(&mut self, cron: &Object, object: Object, due: Moment, run: JobRun) {
        let key = object.key.clone();
        let revision = object.source.revision.clone();
        let applied = Applied {
            commit: Some(revision.clone()),
            path: object.source.file.clone(),
            unit: object.source.unit.as_str().to_owned(),
            blocked: false,
            created: Some(self.wall()),
        };
        self.inputs.applied.insert(key.clone(), applied);
        self.inputs.pruning.remove(&key);
        let work = self.works.entry(key.clone()).or_default();
        work.memory.job.run = run;
        if let Some(snapshot) = object.snapshot() {
            work.origins.insert(snapshot.hash.clone(), revision);
            self.inputs.snapshots.insert(snapshot.hash.clone(), Arc::clone(snapshot));
        }
        let by = MadeBy { cron_job: cron.key.name.clone(), due };
        self.inputs.made.insert(key.clone(), Made { object: Arc::new(object), by });
        self.records.touch(&key);
        self.records.touch(&cron.key);
        self.dirty.workloads.insert(key);
    }

    /// An agent brings pods of a Job that was made and that no record tells of: the controller ended before. It is taken for the
    /// run that those pods are of, and its time is not due again.
    pub(super) fn recognize_job(&mut self, job: &ObjectKey) {
        if self.inputs.knows(job) {
            return;
        }
        let Some(by) = MadeBy::of_job(job) else { return };
        let owner = by.owner(&job.namespace);
        let Some(cron) = self.inputs.object(&owner).cloned() else { return };
        let Some(object) = cron.made_job(by.due) else { return };
        let run = match object.workload().map(|workload| &workload.strategy) {
            Some(Strategy::Job(spec)) => Some(spec.run.clone()),
            _ => None,
        };
        let pods = self.placements.unclaimed.values().filter(|(_, report)| report.workload == *job);
        let templates: BTreeSet<_> = pods.map(|(_, report)| report.hash.clone()).collect();
        self.take_in_job(&cron, object, by.due, JobRun { run, templates, ..JobRun::default() });
        let since = self.wall();
        let memory = self.crons.entry(owner).or_insert(CronRun { since, last: None });
        memory.last = memory.last.max(Some(by.due));
    }

    /// The Jobs of a CronJob, by the time that they were due.
    fn jobs_of(&self, cron: &ObjectKey) -> Vec<ObjectKey> {
        let of_cron = |(key, made): &(&ObjectKey, &Made)| made.by.owner(&key.namespace) == *cron;
        let mut jobs: Vec<(Moment, ObjectKey)> =
            self.inputs.made.iter().filter(of_cron).map(|(key, made)| (made.by.due, key.clone())).collect();
        jobs.sort();
        jobs.into_iter().map(|(_, key)| key).collect()
    }

    fn run_of(&self, job: &ObjectKey) -> Option<&JobRun> {
        self.works.get(job).map(|work| &work.memory.job.run)
    }

    fn active_jobs(&self, cron: &ObjectKey) -> Vec<ObjectKey> {
        let is_active = |job: &ObjectKey| self.run_of(job).is_some_and(|run| run.outcome.is_none());
        self.jobs_of(cron).into_iter().filter(is_active).collect()
    }

    /// The oldest Jobs that are over go, as far as there are more than are to be kept, and those whose time to live is over.
    fn keep_history(&mut self, cron: &ObjectKey, spec: &CronJob) {
        let mut over: BTreeMap<bool, Vec<ObjectKey>> = BTreeMap::new();
        for job in self.jobs_of(cron) {
            if let Some(outcome) = self.run_of(&job).and_then(|run| run.outcome.as_ref()) {
                over.entry(outcome.complete).or_default().push(job);
            }
        }
        for (complete, jobs) in over {
            let kept = if complete { spec.successful_kept } else { spec.failed_kept };
            let excess = jobs.len().saturating_sub(kept as usize);
            jobs.iter().take(excess).for_each(|job| self.unmake(job, None));
        }
    }

    /// Removes a Job that a CronJob made, with its pods; `commit` if one asked for it.
    fn unmake(&mut self, job: &ObjectKey, commit: Option<Revision>) {
        let Some(made) = self.inputs.made.remove(job) else { return };
        self.inputs.pruning.insert(job.clone(), Pruning { commit, after: None });
        self.inputs.pruned.insert(job.clone(), made.object);
        self.records.touch(job);
        self.dirty.workloads.insert(job.clone());
    }

    /// A commit deleted a CronJob: its Jobs go with it.
    pub(super) fn delete_cron(&mut self, cron: &ObjectKey, commit: Option<Revision>) {
        for job in self.jobs_of(cron) {
            self.unmake(&job, commit.clone());
        }
        self.crons.remove(cron);
        self.dirty.crons.remove(cron);
        self.timers.clear(&Timer::Cron(cron.clone()));
    }

    /// A commit changed a CronJob: another schedule is not made up for.
    pub(super) fn change_cron(&mut self, old: &Object, new: &Object) {
        let when = |object: &Object| object.cron_job().map(|cron| (cron.schedule.clone(), cron.time_zone.clone()));
        let now = self.wall();
        if let Some(memory) = self.crons.get_mut(&new.key).filter(|_| when(old) != when(new)) {
            memory.since = now;
        }
    }

    /// A Job came to its end: its CronJob may have waited for it, and keeps so many only. With a time to live it goes by itself.
    pub(super) fn mind_cron(&mut self, job: &ObjectKey) {
        let Some(made) = self.inputs.made.get(job) else { return };
        self.dirty.crons.insert(made.by.owner(&job.namespace));
    }

    /// A Job of a CronJob whose time to live is over goes as a whole.
    pub(super) fn expire_job(&mut self, job: &ObjectKey) {
        let Some(made) = self.inputs.made.get(job) else { return };
        let Some(Strategy::Job(spec)) = made.object.workload().map(|workload| &workload.strategy) else { return };
        let outcome = self.run_of(job).and_then(|run| run.outcome.as_ref());
        let kept = spec.ttl_seconds_after_finished.map(|seconds| std::time::Duration::from_secs(u64::from(seconds)));
        if let (Some(outcome), Some(kept)) = (outcome, kept)
            && self.now >= outcome.at + kept
        {
            self.unmake(job, None);
        }
    }

    fn note_missed(&mut self, cron: &ObjectKey, missed: Missed) {
        let (warning, reason, message) = match missed {
            Missed::TooLate(at) => (true, "MissSchedule", format!("Missed scheduled time to start a job: {}", at.rfc3339())),
            Missed::TooMany => {
                let message = "too many missed start times (> 100): they are given up, and the schedule goes on from now";
                (true, "TooManyMissedTimes", message.to_owned())
            }
            Missed::Forbidden(at) => {
                let message = format!("Not starting the job of {} because a prior execution is still running", at.rfc3339());
                (false, "JobAlreadyActive", message)
            }
        };
        self.happenings.note(Happening { about: cron, pod: None, warning, reason, message }, self.now);
    }

    /// CronJobs for status.
    pub(super) fn cron_views(&self) -> BTreeMap<ObjectKey, CronView> {
        let view = |(key, run): (&ObjectKey, &CronRun)| {
            let view = CronView { last: run.last, jobs: self.jobs_of(key), active: self.active_jobs(key) };
            (key.clone(), view)
        };
        self.crons.iter().map(view).collect()
    }
}
