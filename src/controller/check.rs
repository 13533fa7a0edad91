//! The full recompute: what a pass from scratch would say, against what the incremental passes arrived at.

use super::core::Controller;
use super::endpoints::is_same;
use crate::apply::rollout::{Action, RolloutStep};
use crate::model::ObjectKey;

impl Controller {
    /// Recomputes everything from scratch and compares it with what the incremental passes arrived at. Nothing to compare
    /// while it does not act.
    ///
    /// # Errors
    /// The first difference, as a person reads it: a bug.
    pub fn check(&self) -> Result<(), String> {
        self.placements.check()?;
        self.claims.check(|uid| self.placements.get(uid).is_some())?;
        if !self.is_acting() {
            return Ok(());
        }
        for key in self.works.keys() {
            self.check_workload(key)?;
        }
        for key in self.services.keys() {
            self.check_service(&key)?;
        }
        if let Some(placement) = self.nodes.by_name.keys().find_map(|name| self.overstays(name)) {
            return Err(format!("{} should have left {} for a taint", placement.run.name, placement.node));
        }
        if let Some((name, step)) = self.nodes.draining.iter().find_map(|name| Some((name, self.lingers(name)?))) {
            return Err(format!("{step:?} is due on {name}, which is being drained"));
        }
        self.check_ingress()?;
        for (name, node) in self.nodes.by_name.iter().filter(|(_, node)| node.connected) {
            let Some(assignment) = &node.assignment else { continue };
            let (run, stop) = self.orders(name);
            if assignment.run != run || assignment.stop != stop || assignment.erase != self.erasures(name) {
                return Err(format!("the assignment of node {name} differs from its placements"));
            }
        }
        Ok(())
    }

    fn check_workload(&self, key: &ObjectKey) -> Result<(), String> {
        let Some(workload) = self.inputs.object(key).and_then(|object| object.workload()) else {
            let left = self.placements.of_workload(key).any(|placement| placement.retired.is_none());
            let pruned = self.inputs.pruning.contains_key(key) && !self.waits_for_rename(key);
            return if left && pruned { Err(format!("{key} is deleted, and has pods that are not retired")) } else { Ok(()) };
        };
        let Some(work) = self.works.get(key) else { return Err(format!("{key} has no place")) };
        let Some(step) = self.think(key, workload) else { return Err(format!("{key} cannot be computed")) };
        let RolloutStep { actions, memory, .. } = step;
        let waits = self.dirty.unplaced.contains(key) || work.churn.delay(self.now).is_some();
        if let Some(action) = actions.iter().find(|action| !(waits && matches!(action, Action::Create { .. }))) {
            return Err(format!("{key} would do {action:?} without anything having happened"));
        }
        if memory.job.run != work.memory.job.run {
            return Err(format!("{key} would be at {:?} instead of {:?}", memory.job.run, work.memory.job.run));
        }
        if memory.targets != work.memory.targets || memory.promoted != work.memory.promoted {
            return Err(format!("{key} would aim at {:?} instead of {:?}", memory.targets, work.memory.targets));
        }
        Ok(())
    }

    fn check_service(&self, key: &ObjectKey) -> Result<(), String> {
        let wanted = self.contents(key);
        let Some(service) = self.services.get(key) else {
            return if wanted.removed { Ok(()) } else { Err(format!("{key} was never told")) };
        };
        if !is_same(&service.set, &wanted) {
            return Err(format!("{key} leads to {:?}, which is out of date", service.set.ports));
        }
        Ok(())
    }
}
