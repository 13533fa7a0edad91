//! Rolling update, a few pods at a time.
//!
//! The arithmetic is Kubernetes' (`pkg/controller/deployment/rolling.go`): the new template grows as far as maxSurge
//! allows; old pods that are not available go first; available ones go only as far as maxUnavailable allows.

use super::census::Census;
use super::{RolloutInput, RolloutMemory};
use crate::model::TemplateHash;

/// Moves the targets; `bounds` are (maxSurge, maxUnavailable). Returns the most pods that there may be.
pub(super) fn aim(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, bounds: (u32, u32)) -> u32 {
    let (surge, unavailable) = bounds;
    let limit = input.replicas.saturating_add(surge);
    let min_available = input.replicas.saturating_sub(unavailable);
    let frozen = memory.is_frozen(input);
    if frozen {
        scale_frozen(input, census, memory, bounds);
    } else {
        grow(input, memory, limit);
    }
    // What comes back is counted in the next step, and not taken away again in this one.
    if !take_back(census, memory, min_available) && !frozen {
        shrink(input, census, memory, min_available);
    }
    limit
}

/// The new template grows while there is room for surge, or shrinks to what is wanted.
fn grow(input: &RolloutInput<'_>, memory: &mut RolloutMemory, limit: u32) {
    let hash = input.hash();
    let target = memory.target(hash);
    let others = memory.target_of_others(hash);
    let next = if target >= input.replicas {
        input.replicas
    } else {
        let room = limit.saturating_sub(target.saturating_add(others));
        target + room.min(input.replicas - target)
    };
    memory.targets.insert(hash.clone(), next);
}

/// Templates grow again by retired pods that were not told to stop yet, where fewer than `min_available` are available: what
/// was to take their place has failed meanwhile. Returns whether any pod comes back.
fn take_back(census: &Census, memory: &mut RolloutMemory, min_available: u32) -> bool {
    let least = min_available.saturating_sub(census.available);
    let mut missing = least;
    for (hash, count) in census.sets().filter(|(_, count)| count.returnable > 0) {
        let coming_back = memory.target(hash).saturating_sub(count.alive).min(count.returnable);
        let back = (count.returnable - coming_back).min(missing.saturating_sub(coming_back));
        if back > 0 {
            // Alive ones that do not serve make room for it in the next step.
            memory.targets.insert(hash.clone(), memory.target(hash).max(count.alive) + back);
        }
        missing = missing.saturating_sub(back + coming_back);
    }
    missing < least
}

/// Old templates shrink while at least `min_available` pods are available.
fn shrink(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, min_available: u32) {
    let hash = input.hash();
    let target = memory.target(hash);
    let total = target + memory.target_of_others(hash);
    let new_unavailable = target.saturating_sub(census.of(hash).available);
    let mut useless = total.saturating_sub(min_available).saturating_sub(new_unavailable);
    let mut spare = census.available.saturating_sub(min_available);
    if useless == 0 {
        return;
    }
    for (old, target) in old_targets(memory, hash) {
        let unavailable = target.saturating_sub(census.of(old).available).min(useless);
        *target -= unavailable;
        useless -= unavailable;
    }
    for (_, target) in old_targets(memory, hash) {
        let gone = (*target).min(spare);
        *target -= gone;
        spare -= gone;
    }
}

/// The targets of the other templates, in the order of their hashes.
fn old_targets<'m>(
    memory: &'m mut RolloutMemory,
    hash: &'m TemplateHash,
) -> impl Iterator<Item = (&'m TemplateHash, &'m mut u32)> {
    memory.targets.iter_mut().filter(move |(other, _)| *other != hash)
}

/// No new template goes out; the wanted number still follows, on the template that serves. New pods that are not available
/// stay as they are, within `surge`, for people to look at.
pub(super) fn scale_frozen(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, bounds: (u32, u32)) {
    let hash = input.hash().clone();
    let Some(serving) = memory.serving(&hash) else {
        if memory.target(&hash) > 0 {
            memory.targets.insert(hash, input.replicas);
        }
        return;
    };
    let total = memory.target(&hash) + memory.target_of_others(&hash);
    if total < input.replicas {
        *memory.targets.entry(serving).or_default() += input.replicas - total;
        return;
    }
    let (surge, unavailable) = bounds;
    let unready = memory.target(&hash).saturating_sub(census.of(&hash).available);
    let mut over = total.saturating_sub(input.replicas + surge.min(unready));
    let mut spare = census.available.saturating_sub(input.replicas.saturating_sub(unavailable));
    let mut order: Vec<TemplateHash> = memory.targets.keys().cloned().collect();
    order.sort_by_key(|found| (*found != serving, *found != hash));
    for found in order {
        let Some(target) = memory.targets.get_mut(&found) else { continue };
        let useless = target.saturating_sub(census.of(&found).available).min(over);
        let spared = (*target - useless).min(over - useless).min(spare);
        *target -= useless + spared;
        over -= useless + spared;
        spare -= spared;
    }
}
