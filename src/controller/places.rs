//! Which node a pod is for: any that fits, the one that it is bound to, or, for a DaemonSet, each that suits.
//!
//! A number of a StatefulSet must never run twice. So where a controller starts from the memory and some node has not been heard of,
//! a number that could run there waits for it, however long that takes.

use super::core::Controller;
use super::placements::Placement;
use crate::apply::schedule::{Request, matches};
use crate::model::{Kind, NodeName, ObjectKey, Strategy, Taint, WaitingOn, Workload};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Controller {
    /// The request of a pod that is for one node (`on`), or whose volumes are on one (`bound`); what it waits for if that one is not heard.
    pub(super) fn pinned(
        &self,
        request: &Arc<Request>,
        on: Option<&NodeName>,
        bound: Option<&NodeName>,
    ) -> Result<Arc<Request>, WaitingOn> {
        let on = request.pinned.as_ref().or(on);
        if let Some((on, bound)) = on.zip(bound).filter(|(on, bound)| on != bound) {
            return Err(WaitingOn::Placement(format!("the pod is for {on}, and the data of its volumes is on {bound}")));
        }
        match on.or(bound) {
            Some(name) if request.pinned.is_none() && self.nodes.get(name).is_none_or(|node| !node.ready) => {
                Err(WaitingOn::Node(name.clone()))
            }
            Some(name) if request.pinned.is_none() => {
                Ok(Arc::new(Request { pinned: Some(name.clone()), ..Request::clone(request) }))
            }
            Some(_) | None => Ok(Arc::clone(request)),
        }
    }

    /// The nodes that are to have a pod of a DaemonSet, and whether each is heard. Lost ones do not count until they return.
    pub(super) fn nodes_for(&self, key: &ObjectKey, workload: &Workload) -> BTreeMap<NodeName, bool> {
        if !matches!(workload.strategy, Strategy::Daemon(_)) {
            return BTreeMap::new();
        }
        let request = self.request(key, &workload.snapshot.hash);
        let present = self.nodes.by_name.iter().filter(|(_, node)| !node.lost);
        let suited = present.filter(|(name, _)| matches(&request, &self.capacity, name).is_none());
        suited.map(|(name, node)| (name.clone(), node.ready)).collect()
    }

    /// The numbers of a StatefulSet that may run on a node that has not been heard of in this reign.
    pub(super) fn unheard_numbers(&self, key: &ObjectKey, workload: &Workload) -> BTreeMap<u32, NodeName> {
        let (Strategy::Stateful(spec), Some(work)) = (&workload.strategy, self.works.get(key)) else { return BTreeMap::new() };
        let (Some(first), Some(remembered)) = (self.nodes.unheard().next(), &work.numbers) else { return BTreeMap::new() };
        let of_memory = spec.first..spec.first.saturating_add(remembered.replicas);
        let recorded =
            |number: u32| remembered.places.get(&number).filter(|name| self.nodes.unheard().any(|unheard| unheard == *name));
        let may_run = |number: &u32| match self.runs_unheard_until(remembered, *number) {
            // Another pod of it that is seen may be one that was given up before.
            Some(end) => self.now < end && (recorded(*number).is_some() || !work.seen.contains(number)),
            None => !work.seen.contains(number),
        };
        let numbers = of_memory.chain(remembered.places.keys().copied()).filter(may_run);
        numbers.map(|number| (number, recorded(number).unwrap_or(first).clone())).collect()
    }

    /// A pod of this number is known, or known not to be: it is not looked for any more.
    pub(super) fn note_seen(&mut self, key: &ObjectKey, slot: u32) {
        if key.kind == Kind::StatefulSet
            && let Some(work) = self.works.get_mut(key)
        {
            work.seen.insert(slot);
        }
    }

    /// True if a pod waits for its node, however long it is away: for its number, unless its lease has run out there, or for its volumes.
    pub(super) fn is_bound(&self, placement: &Placement) -> bool {
        let kind = placement.run.workload.kind;
        (kind == Kind::StatefulSet && !placement.lapsed) || (kind != Kind::DaemonSet && self.claims.uses_any(&placement.run.uid))
    }

    /// How long a pod waits for its silent node: as its tolerations of that say, else as long as any; `None` for ever.
    /// <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions>
    pub(super) fn patience(&self, placement: &Placement) -> Option<Duration> {
        let tolerations = &placement.request.rules.tolerations;
        let states = ["node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"].map(Taint::evicting);
        match states.iter().find(|state| state.is_tolerated(tolerations)) {
            // One of a DaemonSet tolerates everything, and is replaced nowhere; whether its node counts is another question.
            Some(state) if placement.run.workload.kind != Kind::DaemonSet => state.patience(tolerations),
            Some(_) | None => Some(self.inputs.newest_policy().replace_after),
        }
    }

    /// True if the node of a pod has been silent for longer than the pod waits.
    pub(super) fn is_lost(&self, placement: &Placement) -> bool {
        self.nodes.get(&placement.node).is_some_and(|node| node.has_lost(self.patience(placement)))
    }

    /// True if a pod is replaced elsewhere, since its node is lost.
    pub(super) fn is_replaceable(&self, placement: &Placement) -> bool {
        placement.run.workload.kind != Kind::DaemonSet && !self.is_bound(placement) && self.is_lost(placement)
    }

    /// Workloads for which it matters which nodes there are.
    pub(super) fn touch_placed(&mut self) {
        let matters = |key: &&ObjectKey| matches!(key.kind, Kind::StatefulSet | Kind::DaemonSet);
        self.dirty.workloads.extend(self.works.keys().filter(matters).cloned());
    }
}
