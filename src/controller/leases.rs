//! Leases: whose pods may go on without us, and for how long; and when one that we lost sight of has stopped by itself.
//!
//! A pod with a lease runs for its term after the heartbeat that we last answered, and then stops itself, its agent alive or not. So a
//! number of a StatefulSet need not wait for its node for ever: once term, grace and a margin have passed since our answer, it is free.
//!
//! Two things keep a number from running twice. What was given up once is never renewed again: its agent may come back and ask, but it
//! is told to stop. And a pod that does not run begins only where it is *granted*: by a controller that acts, to the only pod of its number,
//! and not before an earlier controller's renewals have run out on every node that was not heard of yet. To be *extended* a lease need only
//! be valid, so what runs goes on while a new controller gathers what there is.

use super::core::Controller;
use super::event::Effect;
use super::happenings::Happening;
use super::placements::Placement;
use super::records::Occasion;
use super::work::Numbers;
use crate::model::{BootMoment, Kind, Lease, Moment, NodeName, ObjectKey, PodUid, Renewal, Strategy, TemplateHash, Workload};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a pod may run without us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tenure {
    /// Until it is told to stop.
    #[default]
    Open,
    /// For the term of its lease.
    Leased(Lease),
    /// Nobody knows: its template cannot be read any more. It is renewed in case that it has a lease, and never taken to be over.
    Unknown,
}

impl Controller {
    /// What pods of a template were given.
    pub(super) fn tenure(&self, workload: &ObjectKey, hash: &TemplateHash) -> Tenure {
        if workload.kind != Kind::StatefulSet {
            return Tenure::Open;
        }
        match self.inputs.snapshot(workload, hash) {
            Some(snapshot) => Lease::of(&snapshot.template).map_or(Tenure::Open, Tenure::Leased),
            None => Tenure::Unknown,
        }
    }

    /// Answers a heartbeat: from now on the pods of the node with a lease may go on for another term.
    pub(super) fn renew(&mut self, name: &NodeName, sent: BootMoment) {
        // An agent that knows no leases does not say what its clock shows.
        if sent == BootMoment::default() {
            return;
        }
        let kept: Vec<&Placement> = self.placements.leased_on(name).filter(|placement| !placement.lapsed).collect();
        let granted: BTreeSet<PodUid> =
            kept.iter().filter(|placement| self.may_begin(placement)).map(|placement| placement.run.uid).collect();
        let extended: BTreeSet<PodUid> = kept.iter().map(|placement| placement.run.uid).collect();
        if extended.is_empty() {
            return;
        }
        for uid in &extended {
            if let Some(placement) = self.placements.get_mut(uid) {
                placement.renewed = Some(self.now);
            }
        }
        self.out.push(Effect::Renew { node: name.clone(), renewal: Renewal { sent, extended, granted } });
    }

    /// Whether a pod may begin to run: no other of its number can be running.
    fn may_begin(&self, placement: &Placement) -> bool {
        let (key, slot) = (&placement.run.workload, placement.run.slot);
        let rival = |other: &Placement| other.run.slot == slot && other.run.uid != placement.run.uid && !other.lapsed;
        let Some(workload) = self.inputs.object(key).and_then(|object| object.workload()) else { return false };
        // Without a memory nobody knows where a predecessor has let it run.
        let after = if let Tenure::Leased(lease) = placement.tenure { lease.over_after() } else { Duration::ZERO };
        let is_settled = !self.inputs.memory_lost || self.now >= self.started + after;
        self.is_acting()
            && is_settled
            && placement.retired.is_none()
            && !self.placements.of_workload(key).any(rival)
            && !self.unheard_numbers(key, workload).contains_key(&slot)
    }

    /// When a pod has stopped by itself if its node is not heard again; `None` if that is not certain at any time.
    fn lapses_at(&self, placement: &Placement) -> Option<Moment> {
        let Tenure::Leased(lease) = placement.tenure else { return None };
        let facts = self.nodes.get(&placement.node)?.facts.as_ref()?;
        let is_enforced = facts.leases.contains(&placement.request.runtime);
        // One whose data is on the node has nowhere else to go.
        let is_open = is_enforced && !placement.lapsed && !self.claims.uses_any(&placement.run.uid);
        // A predecessor may have renewed it just before we began.
        is_open.then(|| placement.renewed.unwrap_or(self.started) + lease.over_after())
    }

    /// When the next pod of a silent node has stopped by itself.
    pub(super) fn next_lapse(&self, name: &NodeName) -> Option<Moment> {
        let ends = self.placements.leased_on(name).filter_map(|placement| self.lapses_at(placement));
        ends.filter(|at| *at > self.now).min()
    }

    /// Pods of lost nodes whose lease is over are given up, for good: their numbers are free.
    pub(super) fn lapse(&mut self) {
        let is_over =
            |placement: &&Placement| self.is_lost(placement) && self.lapses_at(placement).is_some_and(|at| at <= self.now);
        let over: Vec<PodUid> = self.placements.leased().filter(is_over).map(|placement| placement.run.uid).collect();
        for uid in over {
            let Some(placement) = self.placements.get_mut(&uid) else { continue };
            placement.lapsed = true;
            let (workload, pod, node) = (placement.run.workload.clone(), placement.run.name.clone(), placement.node.clone());
            let message = format!("the lease of {pod} on {node} has run out: it has stopped itself, and is replaced elsewhere");
            self.touch_workload(&workload);
            self.batch(Occasion::Node, &workload, message.clone());
            let happening = Happening { about: &workload, pod: Some(&pod), warning: true, reason: "LeaseExpired", message };
            self.happenings.note(happening, self.now);
        }
    }

    /// The node is heard again: what was given up and had not been retired yet is its own again.
    pub(super) fn take_lapsed_back(&mut self, name: &NodeName) {
        let here = self.placements.leased_on(name).filter(|placement| placement.lapsed && placement.retired.is_none());
        for uid in here.map(|placement| placement.run.uid).collect::<Vec<_>>() {
            if let Some(placement) = self.placements.get_mut(&uid) {
                placement.lapsed = false;
            }
        }
    }

    /// Until when a number of the memory may run on a node that was not heard of, if its pod had a lease.
    pub(super) fn runs_unheard_until(&self, remembered: &Numbers, number: u32) -> Option<Moment> {
        remembered.leases.get(&number).map(|seconds| self.started + Duration::from_secs(*seconds))
    }

    /// When time alone frees the next number of a StatefulSet that may run on a node not heard of.
    pub(super) fn next_unheard_end(&self, key: &ObjectKey, workload: &Workload) -> Option<Moment> {
        let remembered = self.works.get(key)?.numbers.as_ref().filter(|remembered| !remembered.leases.is_empty())?;
        let unheard = self.unheard_numbers(key, workload);
        unheard.keys().filter_map(|number| self.runs_unheard_until(remembered, *number)).filter(|at| *at > self.now).min()
    }

    /// What is recorded of the leases of a StatefulSet: after so many seconds without a controller the pod of each number has stopped.
    pub(super) fn current_leases(&self, key: &ObjectKey) -> BTreeMap<u32, u64> {
        let mut leases: BTreeMap<u32, Option<u64>> = BTreeMap::new();
        for placement in self.placements.of_workload(key).filter(|placement| key.kind == Kind::StatefulSet && !placement.lapsed) {
            let own = if let Tenure::Leased(lease) = placement.tenure { Some(lease.over_after().as_secs()) } else { None };
            let known = leases.entry(placement.run.slot).or_insert(Some(0));
            *known = (*known).zip(own).map(|(known, own)| known.max(own));
        }
        let workload = self.inputs.object(key).and_then(|object| object.workload());
        let unheard = workload.filter(|workload| matches!(workload.strategy, Strategy::Stateful(_)));
        let unheard = unheard.map(|workload| self.unheard_numbers(key, workload)).unwrap_or_default();
        let remembered = self.works.get(key).and_then(|work| work.numbers.as_ref());
        for number in unheard.into_keys() {
            let own = remembered.and_then(|remembered| remembered.leases.get(&number)).copied();
            let known = leases.entry(number).or_insert(Some(0));
            *known = (*known).zip(own).map(|(known, own)| known.max(own));
        }
        leases.into_iter().filter_map(|(number, seconds)| Some((number, seconds?))).collect()
    }
}
