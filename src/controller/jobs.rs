//! Jobs across reigns: what the memory cannot tell is not run.

use super::core::Controller;
use super::happenings::Happening;
use crate::model::{Epoch, Hello, JobOutcome, Kind, NodeName, ObjectKey, Progress, Strategy};
use std::collections::BTreeMap;

/// Why a Job is held, or given up: nobody can tell whether it has run.
const FORGOTTEN: &str = "Forgotten";

impl Controller {
    /// A node that the memory names says what it runs. An agent without a memory of its own cannot tell what became of pods that
    /// ran there; one that has its memory never had those that it does not bring. A Job of which nobody can tell is held until a commit
    /// decides; one that a CronJob made is in no commit, so it has failed, and the CronJob goes on.
    pub(super) fn recall_jobs(&mut self, name: &NodeName, hello: &Hello) {
        let mut brought: BTreeMap<&ObjectKey, u32> = BTreeMap::new();
        for report in &hello.pods {
            *brought.entry(&report.workload).or_default() += 1;
        }
        for (key, work) in &mut self.works {
            let Some(remembered) = work.remembered.remove(name) else { continue };
            let missing = remembered.saturating_sub(brought.get(key).copied().unwrap_or(0));
            if missing == 0 || hello.assignment.0 > Epoch(0) || work.memory.job.run.outcome.is_some() {
                continue;
            }
            let doubt =
                format!("{missing} of its pods ran on {name}, whose agent has lost its memory: they may have ended there");
            let run = &mut work.memory.job.run;
            if self.inputs.made.contains_key(key) {
                run.outcome = Some(JobOutcome { complete: false, reason: FORGOTTEN.to_owned(), message: doubt, at: self.now });
            } else {
                run.doubt = Some(doubt);
            }
            self.dirty.workloads.insert(key.clone());
            self.records.touch(key);
        }
    }

    /// Nodes that were waited for long enough are lost with the pods that the memory knows there.
    pub(super) fn give_up_remembered_jobs(&mut self) {
        for work in self.works.values_mut() {
            let lost: u32 = std::mem::take(&mut work.remembered).into_values().sum();
            if lost > 0 {
                work.memory.job.lose(lost, self.now);
            }
        }
    }

    /// Where there was a memory and it is gone, a Job of which no agent knows anything may have run.
    pub(super) fn doubt_forgotten_jobs(&mut self) {
        if !self.inputs.memory_lost {
            return;
        }
        for (key, workload) in self.inputs.effective.workloads() {
            let Strategy::Job(spec) = &workload.strategy else { continue };
            let is_known = self.placements.of_workload(key).any(|placement| placement.run.hash == workload.snapshot.hash);
            let Some(work) = self.works.get_mut(key).filter(|work| !is_known && work.memory.job.run.is_untried()) else {
                continue;
            };
            work.memory.job.run.run = Some(spec.run.clone());
            work.memory.job.run.doubt = Some("the cluster memory is missing, and it may have run before".to_owned());
            self.dirty.workloads.insert(key.clone());
        }
    }

    /// Says what became of a Job: an event, and what the audit branch is told of it.
    pub(super) fn note_job(&mut self, key: &ObjectKey) {
        let Some(work) = self.works.get(key) else { return };
        let (warning, reason, message) = match (&work.progress, &work.memory.job.run.outcome) {
            (Progress::Done | Progress::Stalled(_), Some(JobOutcome { complete: true, .. })) => {
                (false, "Completed".to_owned(), "Job completed".to_owned())
            }
            (Progress::Stalled(_), Some(JobOutcome { reason, message, .. })) => (true, reason.clone(), message.clone()),
            (Progress::Stalled(stalled), None) => (true, FORGOTTEN.to_owned(), super::words::stalled(stalled)),
            _ => return,
        };
        self.records.touch(key);
        self.records.ended_jobs.insert(key.clone());
        self.mind_cron(key);
        self.happenings.note(Happening { about: key, pod: None, warning, reason: &reason, message }, self.now);
    }

    /// After a pass: Jobs that ended or were removed, and that no record has told of yet, are told with the next batch.
    pub(super) fn tell_ended_jobs(&mut self) {
        for key in std::mem::take(&mut self.records.ended_jobs) {
            if !self.records.is_touched(&key) {
                continue;
            }
            let run = self.works.get(&key).map(|work| &work.memory.job.run);
            let message = match run.map(|run| (run.succeeded, &run.outcome)) {
                None => "removed".to_owned(),
                Some((succeeded, Some(outcome))) if outcome.complete => format!("completed, {succeeded} pods succeeded"),
                Some((_, Some(outcome))) => format!("failed: {}", outcome.message),
                Some((_, None)) => continue,
            };
            self.batch(super::records::Occasion::Run, &key, message);
        }
    }

    /// True for an object whose pods run to completion.
    pub(super) fn is_job(key: &ObjectKey) -> bool {
        key.kind == Kind::Job
    }
}
