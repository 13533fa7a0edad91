//! Telling nodes what to run and what to stop.

use super::core::Controller;
use super::event::Effect;
use super::nodes::RESEND_AFTER;
use super::timers::Timer;
use crate::model::{Assignment, Epoch, Generation, NodeName, PodRun, PodSnapshot, PodUid, StopOrder, TemplateHash};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Controller {
    /// Makes the assignment of a node anew, and tells it if it says something else than the last. A node that is not connected
    /// hears of nothing: its hello marks it again.
    pub(super) fn dispatch(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get(name).filter(|node| node.connected) else { return };
        let ((run, stop), erase) = (self.orders(name), self.erasures(name));
        let templates = self.templates(&run);
        let same =
            |last: &Arc<Assignment>| last.run == run && last.stop == stop && last.erase == erase && !is_newer(&templates, last);
        if node.assignment.as_ref().is_some_and(same) {
            return;
        }
        let generation = Generation(node.generation().max(node.floor).0 + 1);
        let new: Vec<PodUid> = run.keys().copied().collect();
        let assignment = Arc::new(Assignment { epoch: self.epoch, generation, run, stop, erase, templates });
        for uid in new {
            if let Some(placement) = self.placements.get_mut(&uid) {
                placement.generation.get_or_insert(generation);
                placement.untold = false;
            }
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.assignment = Some(assignment);
        }
        self.counters.assignments += 1;
        self.tell_range(name);
        self.assign(name);
    }

    /// What a node must run and stop.
    pub(super) fn orders(&self, name: &NodeName) -> (BTreeMap<PodUid, PodRun>, BTreeMap<PodUid, StopOrder>) {
        let mut run = BTreeMap::new();
        let mut stop = BTreeMap::new();
        for placement in self.placements.of_node(name) {
            let uid = placement.run.uid;
            match placement.stop_order() {
                Some(order) => drop(stop.insert(uid, order)),
                None => drop(run.insert(uid, placement.run.clone())),
            }
        }
        (run, stop)
    }

    fn templates(&self, run: &BTreeMap<PodUid, PodRun>) -> BTreeMap<TemplateHash, Arc<PodSnapshot>> {
        let known = run.values().filter_map(|pod| self.inputs.snapshots.get(&pod.hash));
        known.map(|snapshot| (snapshot.hash.clone(), Arc::clone(snapshot))).collect()
    }

    /// Sends the last assignment, if the node can hear it.
    fn assign(&mut self, name: &NodeName) {
        let Some(assignment) = self.nodes.get(name).and_then(|node| node.assignment.clone()) else { return };
        self.out.push(Effect::Assign { node: name.clone(), assignment });
        self.timers.set(Timer::Resend(name.clone()), self.now + RESEND_AFTER);
    }

    /// A node that returned is told what it missed.
    pub(super) fn catch_up(&mut self, name: &NodeName, in_force: (Epoch, Generation)) {
        let (run, stop) = self.orders(name);
        let last = self.nodes.get(name).and_then(|node| node.assignment.as_ref());
        // One that names pods which are gone by now would bring them back beside their replacements: it is made anew in this pass.
        let still_holds = |last: &&Arc<Assignment>| last.run == run && last.stop == stop;
        if last.filter(still_holds).is_some_and(|last| (last.epoch, last.generation) != in_force) {
            self.assign(name);
        }
        self.tell_network(name);
        self.tell_ingress(name);
        self.tell_missing(name);
    }

    /// Tells a node again what it has not acknowledged.
    pub(super) fn resend(&mut self, name: &NodeName) {
        let Some(node) = self.nodes.get(name).filter(|node| node.connected) else { return };
        let missing = self.tell_missing_or_assign(name, node.acknowledged < node.generation());
        if missing {
            self.timers.set(Timer::Resend(name.clone()), self.now + RESEND_AFTER);
        }
    }

    fn tell_missing_or_assign(&mut self, name: &NodeName, behind: bool) -> bool {
        if behind {
            self.assign(name);
        }
        let told = [self.tell_network(name), self.tell_ingress(name)].contains(&true);
        self.tell_missing(name) || behind || told
    }
}

/// Whether a template has other configuration than the agent was told last.
fn is_newer(templates: &BTreeMap<TemplateHash, Arc<PodSnapshot>>, last: &Assignment) -> bool {
    templates.iter().any(|(hash, snapshot)| {
        let told = last.templates.get(hash);
        told.is_some_and(|told| told.config.version != snapshot.config.version)
    })
}
