//! From targets to actions.

use super::census::{Census, is_alive, is_available};
use super::{Action, PodState, RolloutInput, RolloutMemory, Standing};
use crate::model::{StopReason, TemplateHash};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Brings the pods to the targets, with never more than `limit` pods that hold a slot. Old templates come first: what
/// serves is healed before what is new grows.
pub(super) fn act(input: &RolloutInput<'_>, census: &Census, memory: &RolloutMemory, limit: u32) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut room = limit.saturating_sub(census.occupied);
    let mut slots = FreeSlots::of(input.pods);
    let hash = input.hash();
    let mut hashes: Vec<&TemplateHash> = census.sets().map(|(found, _)| found).chain(memory.targets.keys()).collect();
    hashes.sort();
    hashes.dedup();
    hashes.sort_by_key(|found| *found == hash);
    for found in hashes {
        let (alive, target) = (census.of(found).alive, memory.target(found));
        retire(input, memory, found, alive.saturating_sub(target), &mut actions);
        let missing = target.saturating_sub(alive);
        let back = reinstate(input, found, missing, &mut actions);
        let missing = (missing - back).min(room);
        room -= missing;
        actions.extend((0..missing).map(|_| Action::Create { slot: slots.take(), hash: found.clone(), node: None }));
    }
    actions
}

/// Takes up to `missing` retired pods back that are ready and were not told to stop yet. Returns how many.
fn reinstate(input: &RolloutInput<'_>, hash: &TemplateHash, missing: u32, actions: &mut Vec<Action>) -> u32 {
    let draining = input.pods.iter().filter(|pod| pod.hash == hash && is_ready_to_return(pod.standing));
    let before = actions.len();
    actions.extend(draining.take(missing as usize).map(|pod| Action::Reinstate { uid: pod.uid }));
    u32::try_from(actions.len() - before).unwrap_or(missing)
}

fn is_ready_to_return(standing: Standing) -> bool {
    matches!(standing, Standing::Draining { since: Some(_) })
}

/// Retires what has ended, and `surplus` more: those that serve least go first, then those that are to leave their node.
fn retire(input: &RolloutInput<'_>, memory: &RolloutMemory, hash: &TemplateHash, surplus: u32, actions: &mut Vec<Action>) {
    let of_template = || input.pods.iter().filter(|pod| pod.hash == hash);
    let ended = of_template().filter(|pod| pod.standing == Standing::Ended && !is_alive(input, pod.standing));
    actions.extend(ended.map(|pod| Action::Retire { uid: pod.uid, reason: StopReason::Superseded }));
    let mut alive: Vec<&PodState<'_>> = of_template().filter(|pod| is_alive(input, pod.standing)).collect();
    alive.sort_by_key(|pod| {
        let since = if let Standing::Ready { since } = pod.standing { since.0 } else { 0 };
        let ready = matches!(pod.standing, Standing::Ready { .. });
        (is_available(input, pod.standing), ready, !pod.drained, Reverse(since), Reverse(pod.slot), pod.uid)
    });
    let reason = reason(input, memory, hash);
    actions.extend(alive.iter().take(surplus as usize).map(|pod| Action::Retire { uid: pod.uid, reason }));
}

fn reason(input: &RolloutInput<'_>, memory: &RolloutMemory, hash: &TemplateHash) -> StopReason {
    if memory.quarantined.contains(hash) {
        StopReason::RolledBack
    } else if memory.is_frozen(input) {
        StopReason::ScaledDown
    } else if hash != input.hash() {
        StopReason::Replaced
    } else if memory.replicas.is_none_or(|replicas| replicas <= input.replicas) {
        StopReason::Superseded
    } else {
        StopReason::ScaledDown
    }
}

/// The slots that no pod holds, lowest first. Pods on lost nodes hold theirs.
pub(super) struct FreeSlots {
    taken: BTreeSet<u32>,
    next: u32,
}

impl FreeSlots {
    pub(super) fn of(pods: &[PodState<'_>]) -> Self {
        Self { taken: pods.iter().map(|pod| pod.slot).collect(), next: 0 }
    }

    pub(super) fn take(&mut self) -> u32 {
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }
}
