//! Rollouts: how the pods of one workload come to be what its revision wants.
//!
//! Role: [`step`] looks at one workload and says which pods to create and which to retire *now*. Inputs: the workload, the
//! number of pods wanted, every pod that was told and is not gone, what was decided before ([`RolloutMemory`]), the time.
//! Outputs: actions, how far it is, when to look again, and the memory for the next step. A pure function: given the same
//! input it says the same, and a step whose actions were not carried out is simply taken again.
//!
//! As in Kubernetes each template has a *target*, the number of pods it is to have (a ReplicaSet there). A strategy moves
//! targets only; `act` brings the pods to them. So a pod that vanishes during a rollout comes back with its own template,
//! old or new. Where pods are bound to a place of their own (the numbers of a StatefulSet, the nodes of a DaemonSet), `stateful` and
//! `daemon` decide for each place, and the targets say what comes of that.
//!
//! Invariants:
//! - A slot is taken from the telling until the node has acknowledged the removal, so nothing is created twice and the
//!   limits hold between telling and hearing. Pods on a lost node are not counted: nobody can acknowledge for them.
//! - Rolling never has more than replicas + maxSurge pods, and retires an available pod only while more than
//!   replicas - maxUnavailable are available. Blue/green never has more than two sets. A StatefulSet never has two pods of one
//!   number, a DaemonSet never two of one template on a node.
//! - A retired pod that was not told to stop yet is taken back before a new one is made, and where the limits would be broken
//!   by its end: what was retired beside a healthy pod stays if that pod fails meanwhile.
//! - A failed template is quarantined if an old one still serves, and the old one stays.
//! - A Job has rules of its own, in `job`: it ends.
//!
//! Deliberately absent: nodes and placement (`apply::schedule`), Services and draining (`controller`), and any state.

mod act;
mod blue_green;
mod census;
mod daemon;
mod deadline;
mod job;
mod memory;
mod on_delete;
mod progress;
mod recreate;
mod rolling;
mod stateful;
#[cfg(test)]
mod tests;
mod turns;

use crate::model::{ContainerReport, Moment, NodeName, PodUid, Progress, StopReason, Strategy, TemplateHash, Workload};
use census::Census;
pub use job::{JobMemory, Strikes};
pub use memory::{Mark, RolloutMemory};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a step may look at.
#[derive(Debug, Clone, Copy)]
pub struct RolloutInput<'a> {
    /// The workload as desired.
    pub workload: &'a Workload,
    /// How many pods it should have: what is written, or what the autoscaler says, or one for each of `nodes`.
    pub replicas: u32,
    /// Every pod of it that was told to a node and has not been acknowledged as gone.
    pub pods: &'a [PodState<'a>],
    /// DaemonSet: the nodes that suit, and whether each is heard. Lost nodes are left out.
    pub nodes: &'a BTreeMap<NodeName, bool>,
    /// StatefulSet: numbers whose pod may run on a node that has not been heard of yet.
    pub unheard: &'a BTreeMap<u32, NodeName>,
    /// The templates that new pods can be made of, besides the wanted one.
    pub known: &'a BTreeSet<TemplateHash>,
    /// What the last step decided.
    pub memory: &'a RolloutMemory,
    /// The time.
    pub now: Moment,
}

/// A pod, as a rollout sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodState<'a> {
    /// Its uid.
    pub uid: PodUid,
    /// Its slot.
    pub slot: u32,
    /// Its template.
    pub hash: &'a TemplateHash,
    /// Where it runs.
    pub node: &'a NodeName,
    /// Whether its node is heard.
    pub heard: bool,
    /// Whether it waits for its node, and is never replaced elsewhere: for its number or its volumes.
    pub bound: bool,
    /// Whether its node is being drained.
    pub drained: bool,
    /// Where it stands.
    pub standing: Standing,
    /// True once it is to go, wherever it stands.
    pub retired: bool,
    /// How it ended, if it has.
    pub end: Option<PodEnd<'a>>,
    /// How often its containers were restarted on the spot.
    pub restarts: u32,
    /// What its agent last said of it, for people.
    pub message: &'a str,
}

/// How a pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodEnd<'a> {
    /// Whether all its containers ended with 0.
    pub succeeded: bool,
    /// When that was heard.
    pub at: Moment,
    /// Its containers, with their exit codes.
    pub containers: &'a [ContainerReport],
}

/// Where a pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Told, starting, running without being ready, or on a node that is silent.
    Unready,
    /// Ready since then.
    Ready {
        /// When it became ready.
        since: Moment,
    },
    /// It has ended and will not run again.
    Ended,
    /// Its node has been away for too long: it is replaced elsewhere, and counts again if the node returns.
    Lost,
    /// It was retired and is leaving its Services; its agent has not been told to stop it yet.
    Draining {
        /// Since when it is ready, if it is: then it can be taken back.
        since: Option<Moment>,
    },
    /// Its agent has been told to stop it.
    Stopping,
}

/// What to do next. Carried out or not, the next step starts from what was told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RolloutStep {
    /// In order.
    pub actions: Vec<Action>,
    /// How far it is.
    pub progress: Progress,
    /// When time alone changes the answer.
    pub wake: Option<Moment>,
    /// For the next step.
    pub memory: RolloutMemory,
}

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a pod of this template in this slot, where a node can take it.
    Create {
        /// A slot that no pod holds.
        slot: u32,
        /// Its template.
        hash: TemplateHash,
        /// The node that it is for; any, if none is named.
        node: Option<NodeName>,
    },
    /// Bring a retired pod that has not been told to stop back into its Services: it is needed after all.
    Reinstate {
        /// The pod.
        uid: PodUid,
    },
    /// Take a pod out of its Services, then stop it.
    Retire {
        /// The pod.
        uid: PodUid,
        /// Why.
        reason: StopReason,
    },
}

/// Takes one step.
pub fn step(input: &RolloutInput<'_>) -> RolloutStep {
    let mut memory = input.memory.clone();
    let census = Census::take(input);
    adopt(input, &census, &mut memory);
    if let Strategy::Job(spec) = &input.workload.strategy {
        return job::step(input, spec);
    }
    let actions = decide(input, &census, &mut memory);
    let progress = progress::judge(input, &census, &mut memory, &actions);
    let wake = wake(input, &census, &memory);
    memory.replicas = Some(input.replicas);
    memory.targets.retain(|hash, target| *target > 0 || census.of(hash).occupied > 0);
    RolloutStep { actions, progress, wake, memory }
}

/// What to do, and the targets that this aims at.
fn decide(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory) -> Vec<Action> {
    let limit = match &input.workload.strategy {
        Strategy::Rolling { max_surge, max_unavailable } => {
            rolling::aim(input, census, memory, Workload::rolling_bounds(max_surge, max_unavailable, input.replicas))
        }
        Strategy::Recreate => recreate::aim(input, census, memory),
        Strategy::BlueGreen(blue_green) => blue_green::aim(input, census, memory, blue_green),
        Strategy::OnDelete => on_delete::aim(input, census, memory),
        Strategy::Stateful(spec) => return stateful::act(input, census, memory, spec),
        Strategy::Daemon(update) => return daemon::act(input, census, memory, update),
        // It has steps of its own.
        Strategy::Job(_) => return Vec::new(),
    };
    act::act(input, census, memory, limit)
}

/// Gives a target to every template that has pods and none yet (after a restart without memory, or when a lost node
/// returns), forgets what belongs to an older revision, and lowers targets that can no longer be reached.
fn adopt(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory) {
    let hash = input.hash();
    for (found, count) in census.sets() {
        if count.alive > 0 {
            let target = memory.targets.entry(found.clone()).or_insert(count.alive);
            *target = if memory.remembered { count.alive.max(*target) } else { *target };
        }
    }
    memory.remembered = false;
    for (old, target) in &mut memory.targets {
        if old != hash && !input.known.contains(old) {
            *target = (*target).min(census.of(old).alive);
        }
    }
    if memory.failed.as_ref().is_some_and(|(failed, _)| failed != hash) {
        memory.failed = None;
    }
    if memory.mark.as_ref().is_some_and(|mark| mark.hash != *hash) {
        memory.mark = None;
    }
    // After a restart: what is whole was completed before; what is not may be a first rollout that never worked.
    let whole = memory.only(hash) && memory.target(hash) >= input.replicas && census.of(hash).available >= input.replicas;
    if memory.completed.is_none() && memory.mark.is_none() && whole && input.replicas > 0 {
        memory.completed = Some(hash.clone());
    }
}

/// When time alone changes the answer.
fn wake(input: &RolloutInput<'_>, census: &Census, memory: &RolloutMemory) -> Option<Moment> {
    let blue_green = input.workload.strategy.blue_green().and_then(|spec| blue_green::wake(input, memory, spec));
    [census.next_available, deadline::at(input, memory), blue_green].into_iter().flatten().filter(|at| *at > input.now).min()
}

impl RolloutInput<'_> {
    /// The wanted template.
    fn hash(&self) -> &TemplateHash {
        &self.workload.snapshot.hash
    }
}
