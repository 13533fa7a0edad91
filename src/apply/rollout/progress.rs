//! How far a rollout is, and what it waits for.

use super::census::Census;
use super::{Action, PodState, RolloutInput, RolloutMemory, Standing, blue_green, deadline};
use crate::model::{DaemonUpdate, NodeName, Progress, Stateful, StatefulUpdate, Strategy, WaitingOn};

/// How far it is, in the order in which a person wants to know.
pub(super) fn judge(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, actions: &[Action]) -> Progress {
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

impl RolloutInput<'_> {
    /// How many pods are not available of those that the finished rollout has.
    pub(super) fn missing(&self, census: &Census) -> u32 {
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
    pub(super) fn silent_node(&self) -> Option<&NodeName> {
        let every_node = matches!(self.workload.strategy, Strategy::Daemon(_));
        let waits = |pod: &&PodState<'_>| !pod.heard && (pod.bound || every_node) && pod.standing != Standing::Lost;
        let of_pods = self.pods.iter().find(waits).map(|pod| pod.node);
        of_pods
            .or_else(|| self.unheard.values().next())
            .or_else(|| self.nodes.iter().find(|(_, heard)| !**heard).map(|(node, _)| node))
    }
}
