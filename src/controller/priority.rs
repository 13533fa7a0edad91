//! Priorities: who is placed first, and for whom lower pods make room.
//!
//! Invariants: a pod makes room only for one of strictly higher priority, on a node that hears it, and disruption budgets are kept as
//! far as possible. What a higher pod waits for is set aside for it (*nominated*) until it is placed, so that no lower one takes it
//! meanwhile.

use super::core::Controller;
use super::happenings::Happening;
use super::inputs::Inputs;
use super::placements::Placement;
use super::records::Occasion;
use crate::apply::budget;
use crate::apply::schedule::{Request, Resident, place, preempt};
use crate::model::{
    BudgetView, Kind, NodeName, Object, ObjectKey, PodSpec, PodTemplate, PodUid, PriorityClass, StopReason, TemplateHash,
    WaitingOn,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Room that is set aside for pods that wait, by workload and slot.
pub(super) type Nominated = BTreeMap<ObjectKey, BTreeMap<u32, (NodeName, Arc<Request>)>>;

/// The classes of priority, and which workloads have one.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranks {
    classes: BTreeMap<String, PriorityClass>,
    /// The class of pods that name none.
    default: PriorityClass,
    /// The workloads whose pods have another priority than 0.
    of: BTreeMap<ObjectKey, i32>,
    /// The disruption budgets.
    budgets: Vec<ObjectKey>,
}

/// Why a pod has no place yet.
#[derive(Debug)]
pub(super) struct Unplaced {
    /// What it waits for.
    pub(super) waiting: WaitingOn,
    /// True if room is being made for it.
    pub(super) makes_room: bool,
}

impl Inputs {
    /// Reads classes and budgets anew.
    pub(super) fn rank(&mut self) {
        let objects = &self.effective.objects;
        let written = objects.values().filter_map(|object| Some((object.key.name.clone(), object.priority_class()?.clone())));
        let built_in = PriorityClass::built_in().into_iter().map(|(name, class)| (name.to_owned(), class));
        let classes: BTreeMap<String, PriorityClass> = written.chain(built_in).collect();
        // Where several claim to be the default, Kubernetes takes the lowest.
        let default = classes.values().filter(|class| class.global_default).min_by_key(|class| class.value);
        let default = default.cloned().unwrap_or_default();
        let budgets = objects.keys().filter(|key| key.kind == Kind::PodDisruptionBudget).cloned().collect();
        self.ranks = Ranks { classes, default, of: BTreeMap::new(), budgets };
        let workloads = self.effective.workloads();
        let ranked = workloads.map(|(key, workload)| (key.clone(), self.class(&workload.snapshot.template.spec).value));
        self.ranks.of = ranked.filter(|(_, value)| *value != 0).collect();
    }

    /// The class of a pod. A class that is not there has no priority: the manifest's checks have said so.
    fn class(&self, spec: &PodSpec) -> &PriorityClass {
        spec.priority_class_name.as_ref().and_then(|name| self.ranks.classes.get(name)).unwrap_or(&self.ranks.default)
    }

    /// The disruption budgets that count a pod.
    pub(super) fn protectors(&self, placement: &Placement) -> Vec<ObjectKey> {
        let run = &placement.run;
        let template = self.snapshot(&run.workload, &run.hash).map(|snapshot| &snapshot.template);
        let protects = |key: &&ObjectKey| {
            let budget = self.object(key).and_then(|object: &Arc<Object>| object.budget());
            key.namespace == run.workload.namespace && budget.is_some_and(|budget| selects(budget.selector.as_ref(), template))
        };
        self.ranks.budgets.iter().filter(protects).cloned().collect()
    }

    fn class_of(&self, workload: &ObjectKey, hash: &TemplateHash) -> &PriorityClass {
        self.snapshot(workload, hash).map_or(&self.ranks.default, |snapshot| self.class(&snapshot.template.spec))
    }
}

impl Controller {
    /// The dirty workloads, those of the highest priority first.
    pub(super) fn in_turn(&mut self) -> Vec<ObjectKey> {
        let mut keys: Vec<ObjectKey> = std::mem::take(&mut self.dirty.workloads).into_iter().collect();
        if !self.inputs.ranks.of.is_empty() {
            keys.sort_by_key(|key| Reverse(self.rank(key)));
        }
        keys
    }

    fn rank(&self, workload: &ObjectKey) -> i32 {
        self.inputs.ranks.of.get(workload).copied().unwrap_or(0)
    }

    /// A node for a pod, `on` if it is for that one: one that has room, one whose room is set aside for a lower pod, or (not yet) one where lower pods go for it.
    pub(super) fn find_node(
        &mut self,
        (key, slot, hash): (&ObjectKey, u32, &TemplateHash),
        request: &Arc<Request>,
        on: Option<&NodeName>,
        claims: &BTreeSet<ObjectKey>,
    ) -> Result<NodeName, Unplaced> {
        self.withdraw_one(key, slot);
        let bound = self.node_of(claims).and_then(|bound| self.pinned(request, on, bound.as_ref()));
        let request = &match bound {
            Ok(request) => request,
            Err(waiting) => {
                self.dirty.unplaced.insert(key.clone());
                return Err(Unplaced { waiting, makes_room: false });
            }
        };
        let mut refusals = match place(request, &mut self.capacity) {
            Ok(node) => return Ok(node),
            Err(refusals) => refusals.to_string(),
        };
        let class = self.inputs.class_of(key, hash).clone();
        if self.overrule(class.value) {
            match place(request, &mut self.capacity) {
                Ok(node) => return Ok(node),
                Err(again) => refusals = again.to_string(),
            }
        }
        self.dirty.unplaced.insert(key.clone());
        let may_preempt = class.preemption_policy != "Never" && !(self.inputs.ranks.of.is_empty() && class.value <= 0);
        let room = if may_preempt { self.make_room(key, slot, class.value, request) } else { None };
        if let Some(node) = &room {
            refusals.push_str(&format!("; lower pods make room on {node}"));
        }
        Err(Unplaced { waiting: WaitingOn::Placement(refusals), makes_room: room.is_some() })
    }

    /// Lower pods go, where that helps; their room is set aside.
    fn make_room(&mut self, key: &ObjectKey, slot: u32, priority: i32, request: &Arc<Request>) -> Option<NodeName> {
        let allowed = self.inputs.ranks.budgets.iter().filter_map(|budget| Some((budget.clone(), self.budget(budget)?.allowed)));
        let allowed: BTreeMap<ObjectKey, u32> = allowed.collect();
        let (placements, inputs) = (&self.placements, &self.inputs);
        let residents = |name: &NodeName| placements.of_node(name).map(|placement| resident(placement, inputs)).collect();
        let plan = preempt(request, priority, &mut self.capacity, &residents, &allowed)?;
        for uid in &plan.victims {
            self.preempt_one(uid, &plan.node, key, priority);
        }
        self.capacity.reserve(&plan.node, request);
        self.nominated.entry(key.clone()).or_default().insert(slot, (plan.node.clone(), Arc::clone(request)));
        Some(plan.node)
    }

    fn preempt_one(&mut self, uid: &PodUid, node: &NodeName, by: &ObjectKey, priority: i32) {
        let Some(placement) = self.placements.get(uid) else { return };
        let (workload, pod) = (placement.run.workload.clone(), placement.run.name.clone());
        let message = format!("{pod} makes room on {node} for {} of priority {priority}", by.short());
        let happening =
            Happening { about: &workload, pod: Some(&pod), warning: true, reason: "Preempted", message: message.clone() };
        self.happenings.note(happening, self.now);
        self.batch(Occasion::Node, &workload, message);
        self.retire(uid, StopReason::Preempted, None);
        self.touch_workload(&workload);
    }

    /// What is set aside for a workload is free again.
    pub(super) fn withdraw(&mut self, key: &ObjectKey) {
        for (node, request) in self.nominated.remove(key).unwrap_or_default().into_values() {
            self.capacity.release(&node, &request);
        }
    }

    fn withdraw_one(&mut self, key: &ObjectKey, slot: u32) {
        let Some(slots) = self.nominated.get_mut(key) else { return };
        let found = slots.remove(&slot);
        if slots.is_empty() {
            self.nominated.remove(key);
        }
        if let Some((node, request)) = found {
            self.capacity.release(&node, &request);
        }
    }

    /// What is set aside for lower pods is free again; they look anew. Returns whether there was any.
    fn overrule(&mut self, priority: i32) -> bool {
        let lower: Vec<ObjectKey> = self.nominated.keys().filter(|key| self.rank(key) < priority).cloned().collect();
        for key in &lower {
            self.withdraw(key);
            self.touch_workload(key);
        }
        !lower.is_empty()
    }

    /// Workloads for which room is set aside on a node that is no longer heard look elsewhere.
    pub(super) fn forsake(&mut self, name: &NodeName) {
        let waiting = self.nominated.iter().filter(|(_, slots)| slots.values().any(|(node, _)| node == name));
        let waiting: BTreeSet<ObjectKey> = waiting.map(|(key, _)| key.clone()).collect();
        self.dirty.workloads.extend(waiting);
    }

    /// What a disruption budget allows now.
    pub(super) fn budget(&self, key: &ObjectKey) -> Option<BudgetView> {
        let rule = self.inputs.object(key)?.budget()?;
        let alive = |placement: &&Placement| {
            let ended = placement.report.as_ref().is_some_and(|report| report.phase.is_terminal());
            placement.retired.is_none() && !ended && selects(rule.selector.as_ref(), self.template_of(placement))
        };
        let pods: Vec<&Placement> = self.placements.in_namespace(&key.namespace).filter(alive).collect();
        let is_healthy = |pod: &Placement| pod.is_serving() && self.nodes.get(&pod.node).is_some_and(|node| node.ready);
        let healthy = pods.iter().filter(|pod| is_healthy(pod)).count();
        let owners: BTreeSet<&ObjectKey> = pods.iter().map(|pod| &pod.run.workload).collect();
        let wanted = |owner: &ObjectKey| Some(self.wanted(owner, self.inputs.object(owner)?.workload()?));
        let wanted: u32 = owners.into_iter().filter_map(wanted).sum();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Some(budget::status(rule, count(pods.len()), wanted, count(healthy)))
    }
}

/// A pod that might make room.
fn resident(placement: &Placement, inputs: &Inputs) -> Resident {
    let run = &placement.run;
    Resident {
        uid: run.uid,
        request: Arc::clone(&placement.request),
        priority: inputs.class_of(&run.workload, &run.hash).value,
        leaving: placement.retired.is_some(),
        since: placement.since,
        budgets: inputs.protectors(placement),
    }
}

/// An empty selector takes every pod of the namespace, an absent one none.
fn selects(selector: Option<&crate::model::LabelSelector>, template: Option<&PodTemplate>) -> bool {
    selector.zip(template).is_some_and(|(selector, template)| selector.matches(&template.metadata.labels))
}
