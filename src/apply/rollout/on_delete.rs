//! A ReplicaSet: the wanted number of pods, of whatever template. A new template is for new pods only.

use super::census::Census;
use super::{RolloutInput, RolloutMemory};
use crate::model::TemplateHash;

/// Moves the targets. Returns the most pods that there may be.
pub(super) fn aim(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory) -> u32 {
    let newest = memory.newest_allowed(input);
    memory.targets = census.sets().map(|(hash, count)| (hash.clone(), count.alive)).collect();
    let alive: u32 = memory.targets.values().sum();
    shrink(census, memory, &newest, alive.saturating_sub(input.replicas));
    *memory.targets.entry(newest).or_default() += input.replicas.saturating_sub(alive);
    input.replicas
}

/// What does not serve goes first, then what is out of date.
fn shrink(census: &Census, memory: &mut RolloutMemory, newest: &TemplateHash, mut over: u32) {
    let mut order: Vec<TemplateHash> = memory.targets.keys().cloned().collect();
    order.sort_by_key(|hash| hash == newest);
    for serving in [false, true] {
        for hash in &order {
            let Some(target) = memory.targets.get_mut(hash) else { continue };
            let available = if serving { 0 } else { census.of(hash).available };
            let gone = target.saturating_sub(available).min(over);
            *target -= gone;
            over -= gone;
        }
    }
}
