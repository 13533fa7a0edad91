//! Recreate: every old pod is gone before the first new one starts.

use super::census::Census;
use super::rolling::scale_frozen;
use super::{RolloutInput, RolloutMemory};

/// Moves the targets. Returns the most pods that there may be.
pub(super) fn aim(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory) -> u32 {
    if memory.is_frozen(input) {
        scale_frozen(input, census, memory, (0, 0));
        return input.replicas;
    }
    let hash = input.hash();
    memory.targets.values_mut().for_each(|target| *target = 0);
    let old = census.occupied - census.of(hash).occupied;
    let target = if old == 0 { input.replicas } else { census.of(hash).alive.min(input.replicas) };
    memory.targets.insert(hash.clone(), target);
    input.replicas
}
