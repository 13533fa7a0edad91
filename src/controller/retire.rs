//! The way of a pod out: retired, out of its Services, told to stop, gone.

use super::core::Controller;
use super::endpoints::Use;
use super::happenings::Happening;
use super::placements::Retired;
use super::timers::Timer;
use crate::model::{ObjectKey, PodUid, Revision, StopReason};

impl Controller {
    /// Decides that a pod goes. It leaves its Services at once and is told to stop when nobody is sent to it any more. One that
    /// its node was never told of is forgotten.
    pub(super) fn retire(&mut self, uid: &PodUid, reason: StopReason, commit: Option<Revision>) {
        let Some(placement) = self.placements.get_mut(uid) else { return };
        if placement.retired.is_some() {
            return;
        }
        placement.retired = Some(Retired { reason, commit, told: false });
        if placement.untold {
            return self.gone(uid);
        }
        let workload = placement.run.workload.clone();
        let name = placement.run.name.clone();
        self.mark_services(&workload);
        self.dirty.retired.insert(*uid);
        self.records.touch(&workload);
        let message = format!("retired {name}: {}", why(reason));
        let happening = Happening { about: &workload, pod: Some(&name), warning: false, reason: "Retired", message };
        self.happenings.note(happening, self.now);
    }

    /// Takes a retired pod back that was not told to stop yet: it returns to its Services.
    pub(super) fn reinstate(&mut self, uid: &PodUid) {
        let Some(placement) = self.placements.get_mut(uid) else { return };
        if placement.retired.as_ref().is_none_or(|retired| retired.told) {
            return;
        }
        placement.retired = None;
        placement.lapsed = false;
        let workload = placement.run.workload.clone();
        let name = placement.run.name.clone();
        self.timers.clear(&Timer::Drained(*uid));
        self.mark_services(&workload);
        self.records.touch(&workload);
        let message = format!("{name} is needed after all");
        let happening = Happening { about: &workload, pod: Some(&name), warning: false, reason: "Reinstated", message };
        self.happenings.note(happening, self.now);
    }

    /// Tells the node to stop a retired pod, if it is out of use; else looks again later.
    pub(super) fn release(&mut self, uid: &PodUid) {
        let Some(placement) = self.placements.get(uid) else { return };
        if placement.retired.as_ref().is_none_or(|retired| retired.told) {
            return;
        }
        let workload = placement.run.workload.clone();
        let node = placement.node.clone();
        // An order that nobody hears would be heard later, when it may be wrong: it is decided when the node is back.
        if self.nodes.get(&node).is_none_or(|node| !node.connected) {
            return;
        }
        match self.services.in_use(uid, self.services.of_workload.get(&workload), self.now) {
            Use::Held => return,
            Use::Until(at) => return self.timers.set(Timer::Drained(*uid), at),
            Use::Free => {}
        }
        if let Some(retired) = self.placements.get_mut(uid).and_then(|placement| placement.retired.as_mut()) {
            retired.told = true;
        }
        self.dirty.nodes.insert(node);
        self.dirty.workloads.insert(workload);
    }

    /// The Services of a workload are to be looked at.
    pub(super) fn mark_services(&mut self, workload: &ObjectKey) {
        if let Some(services) = self.services.of_workload.get(workload) {
            self.dirty.services.extend(services.iter().cloned());
        }
    }
}

fn why(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Replaced => "a newer template takes its place",
        StopReason::ScaledDown => "fewer replicas are wanted",
        StopReason::Pruned => "its workload was deleted",
        StopReason::RolledBack => "the rollout that made it was given up",
        StopReason::Superseded => "it ended or was lost, and another takes its slot",
        StopReason::Finished => "its Job is over",
        StopReason::Misplaced => "its node is not one for it any more",
        StopReason::Evicted => "a taint of its node sends it away",
        StopReason::Preempted => "a pod of higher priority needs its room",
        StopReason::Drained => "its node is being drained",
    }
}
