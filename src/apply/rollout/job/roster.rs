//! Which pods a run has, and what they stand for.

use super::super::{PodState, RolloutInput, Standing};
use crate::model::{JobRun, JobSpec};
use std::collections::BTreeSet;

/// The pods of a Job, sorted.
pub(super) struct Roster<'a> {
    /// Pods of this run that run, or will.
    pub(super) alive: Vec<&'a PodState<'a>>,
    /// Pods of this run that have ended.
    pub(super) ended: Vec<&'a PodState<'a>>,
    /// Pods of this run on a lost node.
    pub(super) lost: Vec<&'a PodState<'a>>,
    /// Pods that were counted as failed, with their node, and run again.
    pub(super) returned: Vec<&'a PodState<'a>>,
    /// Pods of another run that are to go.
    pub(super) strangers: Vec<&'a PodState<'a>>,
    /// Whether a pod of another run is still there.
    pub(super) has_strangers: bool,
    /// Pods of this run that are on their way out.
    pub(super) leaving: u32,
    /// The slots of pods that run or are on their way out.
    taken: BTreeSet<u32>,
}

impl<'a> Roster<'a> {
    pub(super) fn of(input: &RolloutInput<'a>, run: &JobRun) -> Self {
        let mut roster = Self {
            alive: Vec::new(),
            ended: Vec::new(),
            lost: Vec::new(),
            returned: Vec::new(),
            strangers: Vec::new(),
            has_strangers: false,
            leaving: 0,
            taken: BTreeSet::new(),
        };
        for pod in input.pods {
            roster.sort(pod, run);
        }
        roster
    }

    fn sort(&mut self, pod: &'a PodState<'a>, run: &JobRun) {
        let is_lost = pod.standing == Standing::Lost;
        if !run.templates.contains(pod.hash) {
            // One that was not heard of for too long is not waited for.
            self.has_strangers |= !is_lost;
            if !pod.retired {
                self.strangers.push(pod);
            }
            return;
        }
        match pod.standing {
            Standing::Lost if pod.retired => {}
            Standing::Lost => self.lost.push(pod),
            Standing::Draining { .. } | Standing::Stopping => {
                self.leaving += 1;
                self.taken.insert(pod.slot);
            }
            Standing::Ended => self.ended.push(pod),
            Standing::Unready | Standing::Ready { .. } if run.counted.contains(&pod.uid) => self.returned.push(pod),
            Standing::Unready | Standing::Ready { .. } => {
                self.alive.push(pod);
                self.taken.insert(pod.slot);
            }
        }
    }

    pub(super) fn alive_count(&self) -> u32 {
        u32::try_from(self.alive.len()).unwrap_or(u32::MAX)
    }

    /// How many indexes are neither done nor given up.
    pub(super) fn open_indexes(&self, spec: &JobSpec, run: &JobRun) -> u32 {
        let closed = run.succeeded_indexes.iter().chain(run.failed_indexes.iter()).filter(|index| *index < spec.indexes());
        spec.indexes().saturating_sub(u32::try_from(closed.count()).unwrap_or(u32::MAX))
    }

    /// The open indexes that no pod works on, lowest first.
    pub(super) fn idle_indexes(&self, spec: &JobSpec, run: &JobRun) -> impl Iterator<Item = u32> {
        (0..spec.indexes()).filter(move |index| self.is_open(*index, spec, run) && !self.taken.contains(index))
    }

    /// The pods that run, best first (ready ones, then the oldest), and those that work on what another does, or has done.
    pub(super) fn by_use(&self, spec: &JobSpec, run: &JobRun) -> (Vec<&'a PodState<'a>>, Vec<&'a PodState<'a>>) {
        let mut pods = self.alive.clone();
        pods.sort_by_key(|pod| {
            let since = if let Standing::Ready { since } = pod.standing { since.0 } else { u64::MAX };
            (since, pod.slot, pod.uid)
        });
        let mut seen = BTreeSet::new();
        pods.into_iter().partition(|pod| !spec.indexed || (self.is_open(pod.slot, spec, run) && seen.insert(pod.slot)))
    }

    fn is_open(&self, index: u32, spec: &JobSpec, run: &JobRun) -> bool {
        index < spec.indexes() && !run.succeeded_indexes.contains(index) && !run.failed_indexes.contains(index)
    }
}
