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
mod on_delete;
mod recreate;
mod rolling;
mod stateful;
#[cfg(test)]
mod tests;
mod turns;

use crate::model::{
    ContainerReport, DaemonUpdate, Moment, NodeName, PodUid, Progress, Stateful, StatefulUpdate, StopReason, Strategy,
    TemplateHash, WaitingOn, Workload,
};
use census::Census;
pub use job::{JobMemory, Strikes};
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

/// What a rollout carries from step to step. All of it can be rebuilt from the cluster memory or by observing again; the
/// times start anew after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolloutMemory {
    /// How many pods each template is to have.
    pub targets: BTreeMap<TemplateHash, u32>,
    /// The number of pods that the last step was asked for.
    pub replicas: Option<u32>,
    /// The last progress of the rollout under way.
    pub mark: Option<Mark>,
    /// The template whose rollout was completed last.
    pub completed: Option<TemplateHash>,
    /// The template that missed its deadline, and the last thing seen of its pods.
    pub failed: Option<(TemplateHash, String)>,
    /// Templates that failed while an old one served; not tried again until they change.
    pub quarantined: BTreeSet<TemplateHash>,
    /// True if the targets come from the cluster memory, which is only as new as the last record: what runs by now counts.
    pub remembered: bool,
    /// Blue/green: the template that the active Service leads to.
    pub promoted: Option<TemplateHash>,
    /// Blue/green: when it was promoted.
    pub switched_at: Option<Moment>,
    /// Blue/green: since when the set of the wanted template is whole.
    pub whole_since: Option<(TemplateHash, Moment)>,
    /// Jobs: what became of the run so far.
    pub job: JobMemory,
}

/// A rollout's last progress, as Kubernetes counts it: more updated or available pods, or fewer old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The template that is rolled out.
    pub hash: TemplateHash,
    /// Pods of it.
    pub updated: u32,
    /// Available pods of it.
    pub available: u32,
    /// Pods of other templates.
    pub old: u32,
    /// When that was reached.
    pub at: Moment,
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
    let progress = progress(input, &census, &mut memory, &actions);
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

/// How far it is, in the order in which a person wants to know.
fn progress(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, actions: &[Action]) -> Progress {
    let new = census.of(input.hash());
    let old = if input.keeps_old() { 0 } else { census.occupied - new.occupied };
    if let Some(stalled) = deadline::judge(input, census, memory) {
        return Progress::Stalled(stalled);
    }
    if input.workload.paused && (new.alive < input.replicas || old > 0) {
        return Progress::Waiting(WaitingOn::Unpause);
    }
    if actions.is_empty()
        && let Some(node) = input.silent_node()
    {
        return Progress::Waiting(WaitingOn::Node(node.clone()));
    }
    let missing = input.missing(census);
    if missing > 0 {
        return unavailable(input, census, actions, missing);
    }
    if let Some(spec) = input.workload.strategy.blue_green()
        && let Some(waiting) = blue_green::waiting(input, memory, spec, old > 0)
    {
        return Progress::Waiting(waiting);
    }
    if !actions.is_empty() {
        return Progress::Progressing(format!("{} pods are on their way out", census.occupied - new.alive.min(input.replicas)));
    }
    if let Some(waiting) = departures(census) {
        return Progress::Waiting(waiting);
    }
    if old > 0 {
        return Progress::Waiting(WaitingOn::Stops);
    }
    if memory.target_of_others(input.hash()) == 0 {
        memory.completed = Some(input.hash().clone());
    }
    memory.mark = None;
    Progress::Done
}

/// Not all new pods are available: because of what is being done, of pods that hold the room, or of the new pods themselves.
fn unavailable(input: &RolloutInput<'_>, census: &Census, actions: &[Action], missing: u32) -> Progress {
    if !actions.is_empty() {
        return Progress::Progressing(format!(
            "{} of {} new pods are available",
            input.replicas.saturating_sub(missing),
            input.replicas
        ));
    }
    let blocked = if census.of(input.hash()).alive < input.replicas { departures(census) } else { None };
    Progress::Waiting(blocked.unwrap_or(WaitingOn::Availability { missing }))
}

/// What retired pods are waited for.
fn departures(census: &Census) -> Option<WaitingOn> {
    if census.draining > 0 {
        return Some(WaitingOn::Drain);
    }
    (census.stopping > 0).then_some(WaitingOn::Stops)
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

    /// How many pods are not available of those that the finished rollout has.
    fn missing(&self, census: &Census) -> u32 {
        let of_new = |goal: u32| goal.saturating_sub(census.of(self.hash()).available);
        let of_all = self.replicas.saturating_sub(census.available);
        match &self.workload.strategy {
            Strategy::Rolling { .. } | Strategy::Recreate | Strategy::BlueGreen(_) | Strategy::Job(_) => of_new(self.replicas),
            Strategy::Daemon(DaemonUpdate::Rolling { .. }) => of_new(self.replicas),
            Strategy::OnDelete | Strategy::Daemon(DaemonUpdate::OnDelete) => of_all,
            Strategy::Stateful(spec) => match spec.update {
                StatefulUpdate::OnDelete => of_all,
                StatefulUpdate::Rolling { partition, .. } => {
                    of_new(self.replicas.saturating_sub(partition.saturating_sub(spec.first))).max(of_all)
                }
            },
        }
    }

    /// True if pods of older templates are there to stay.
    fn keeps_old(&self) -> bool {
        let partition =
            |spec: &Stateful| matches!(spec.update, StatefulUpdate::Rolling { partition, .. } if partition > spec.first);
        matches!(&self.workload.strategy, Strategy::Stateful(spec) if partition(spec)) || self.workload.strategy.keeps_what_runs()
    }

    /// A node that is away and that a pod, or a place for one, waits for.
    fn silent_node(&self) -> Option<&NodeName> {
        let every_node = matches!(self.workload.strategy, Strategy::Daemon(_));
        let waits = |pod: &&PodState<'_>| !pod.heard && (pod.bound || every_node) && pod.standing != Standing::Lost;
        let of_pods = self.pods.iter().find(waits).map(|pod| pod.node);
        of_pods
            .or_else(|| self.unheard.values().next())
            .or_else(|| self.nodes.iter().find(|(_, heard)| !**heard).map(|(node, _)| node))
    }
}

impl RolloutMemory {
    /// How many pods a template is to have.
    #[must_use]
    pub fn target(&self, hash: &TemplateHash) -> u32 {
        self.targets.get(hash).copied().unwrap_or(0)
    }

    /// How many pods all templates but this one are to have.
    #[must_use]
    pub fn target_of_others(&self, hash: &TemplateHash) -> u32 {
        self.targets.iter().filter(|(other, _)| *other != hash).map(|(_, target)| target).sum()
    }

    fn only(&self, hash: &TemplateHash) -> bool {
        self.target(hash) > 0 && self.target_of_others(hash) == 0
    }

    /// The template with the most pods among the others: the one that serves while the new one does not.
    fn serving(&self, hash: &TemplateHash) -> Option<TemplateHash> {
        let others = self.targets.iter().filter(|(other, target)| *other != hash && **target > 0);
        others.max_by_key(|(_, target)| **target).map(|(other, _)| other.clone())
    }

    /// The template that pods have which do not get the wanted one yet: that of the last completed rollout, else the one that serves.
    fn base(&self, input: &RolloutInput<'_>) -> TemplateHash {
        let wanted = input.hash();
        let known = |hash: &TemplateHash| hash == wanted || input.known.contains(hash);
        let completed = self.completed.clone().filter(known);
        completed.or_else(|| self.serving(wanted).filter(known)).unwrap_or_else(|| wanted.clone())
    }

    /// The template that new pods may have: the wanted one, unless it failed while another serves.
    fn newest_allowed(&self, input: &RolloutInput<'_>) -> TemplateHash {
        if self.is_frozen(input) { self.base(input) } else { input.hash().clone() }
    }

    /// Sets the targets to what the actions lead to. What cannot be seen yet keeps its own.
    fn aim_at(&mut self, input: &RolloutInput<'_>, census: &Census, actions: &[Action]) {
        let before = std::mem::take(&mut self.targets);
        self.targets = census.sets().map(|(hash, count)| (hash.clone(), count.alive)).collect();
        let template = |uid: &PodUid| input.pods.iter().find(|pod| pod.uid == *uid).map(|pod| (pod.hash, pod.standing));
        for action in actions {
            match action {
                Action::Create { hash, .. } => *self.targets.entry(hash.clone()).or_default() += 1,
                Action::Reinstate { uid } => {
                    if let Some((hash, _)) = template(uid) {
                        *self.targets.entry(hash.clone()).or_default() += 1;
                    }
                }
                Action::Retire { uid, .. } => {
                    if let Some((hash, standing)) = template(uid)
                        && census::is_alive(input, standing)
                        && let Some(target) = self.targets.get_mut(hash)
                    {
                        *target = target.saturating_sub(1);
                    }
                }
            }
        }
        for (hash, target) in before.into_iter().filter(|_| !input.unheard.is_empty()) {
            let now = self.targets.entry(hash).or_default();
            *now = target.max(*now);
        }
    }

    /// True if no new template may go out: paused, or this one failed while another serves.
    fn is_frozen(&self, input: &RolloutInput<'_>) -> bool {
        let hash = input.hash();
        input.workload.paused || (self.quarantined.contains(hash) && self.target_of_others(hash) > 0)
    }
}
