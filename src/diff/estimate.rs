//! What is observed to run, and the effects of a plan on it.

use super::effect::{self, Counts, Scene};
use crate::model::{CurrentObject, Desired, Effect, NodeName, ObjectKey, Plan, View};
use std::collections::BTreeMap;

/// The pods that run, as far as a plan needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// By workload; one that is absent has no pods.
    pub workloads: BTreeMap<ObjectKey, ObservedPods>,
}

/// The pods of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedPods {
    /// How many each node has, of any template.
    pub nodes: BTreeMap<NodeName, u32>,
    /// What the autoscaler last asked for.
    pub autoscaled: Option<u32>,
}

impl Observed {
    /// From the `current/` tree of the audit branch.
    #[must_use]
    pub fn from_current(current: &BTreeMap<ObjectKey, CurrentObject>) -> Self {
        let mut observed = Self::default();
        for (key, object) in current {
            let Some(pods) = &object.pods else { continue };
            let mut seen = ObservedPods { autoscaled: pods.autoscaled, ..ObservedPods::default() };
            for (node, count) in pods.sets.values().flat_map(|set| &set.nodes) {
                *seen.nodes.entry(node.clone()).or_default() += count;
            }
            observed.workloads.insert(key.clone(), seen);
        }
        observed
    }

    /// From the controller's picture: pods that are told to run or reported, and not on their way out.
    #[must_use]
    pub fn from_view(view: &View) -> Self {
        let mut observed = Self::default();
        for (key, workload) in &view.workloads {
            let seen = ObservedPods { autoscaled: workload.autoscaled, ..ObservedPods::default() };
            observed.workloads.insert(key.clone(), seen);
        }
        for pod in view.pods.iter().filter(|pod| pod.stopping.is_none()) {
            let ended = pod.report.as_ref().is_some_and(|report| report.phase.is_terminal());
            let told = pod.told.as_ref().map(|told| &told.workload);
            let Some(workload) = told.or(pod.report.as_ref().map(|report| &report.workload)) else { continue };
            if !ended {
                let seen = observed.workloads.entry(workload.clone()).or_default();
                *seen.nodes.entry(pod.node.clone()).or_default() += 1;
            }
        }
        observed
    }

    /// What runs of a workload now, as the end of a sentence.
    pub(super) fn describe(&self, key: &ObjectKey) -> String {
        let nodes = self.workloads.get(key).map(|pods| &pods.nodes);
        let places: Vec<String> = nodes
            .into_iter()
            .flatten()
            .filter(|(_, count)| **count > 0)
            .map(|(node, count)| format!("{count} on {node}"))
            .collect();
        if places.is_empty() { " (none runs now)".to_owned() } else { format!(" (now {})", places.join(", ")) }
    }
}

/// Replaces the effects of a plan, which suppose that as many pods run as were wanted, by those on what is observed, and marks them as
/// estimates. The intent and its digest stay as they are. `old` and `new` are those that the plan was made from.
pub fn estimate(plan: &mut Plan, old: &Desired, new: &Desired, observed: &Observed) {
    let scene = Scene::new(old, new, plan);
    let counts = Counts::Observed(observed);
    let effects: Vec<Effect> = plan.changes.iter().map(|change| effect::of(change, &scene, &counts)).collect();
    for (change, effect) in plan.changes.iter_mut().zip(effects) {
        change.effect = effect;
    }
}
