//! Blue/green: the new set becomes whole beside the old one, then the active Service switches at once, then the old set
//! goes. The fields are Argo Rollouts': <https://argo-rollouts.readthedocs.io/en/stable/features/bluegreen/>.
//!
//! Which template the active Service leads to is `memory.promoted`; the controller reads it when it makes endpoints.

use super::census::Census;
use super::{RolloutInput, RolloutMemory};
use crate::model::{BlueGreen, Moment, TemplateHash, WaitingOn};
use std::time::Duration;

/// Shorter texts in `driftless.dev/promote` are not enough to name a template.
const PROMOTE_DIGITS_MIN: usize = 6;

/// Moves the targets, and promotes. Returns the most pods that there may be.
pub(super) fn aim(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, spec: &BlueGreen) -> u32 {
    let hash = input.hash();
    let promoted = memory.promoted.clone().unwrap_or_else(|| first_promoted(input, census, memory));
    memory.promoted = Some(promoted.clone());
    if !input.workload.paused || memory.target(hash) > 0 || promoted == *hash {
        let tried = !memory.quarantined.contains(hash) || promoted == *hash || memory.target(&promoted) == 0;
        let target = if tried { input.replicas } else { memory.target(hash).min(input.replicas) };
        memory.targets.insert(hash.clone(), target);
    }
    note_whole(input, census, memory);
    if promoted != *hash && may_promote(input, memory, spec) {
        memory.promoted = Some(hash.clone());
        memory.switched_at = Some(input.now);
    }
    aim_others(input, census, memory, spec);
    input.replicas.saturating_mul(2)
}

/// The template to promote when none was: the wanted one if nothing else runs, else the other one that serves most.
fn first_promoted(input: &RolloutInput<'_>, census: &Census, memory: &RolloutMemory) -> TemplateHash {
    let others = census.sets().filter(|(found, count)| *found != input.hash() && count.alive > 0);
    let serving = others.max_by_key(|(_, count)| (count.available, count.alive)).map(|(found, _)| found.clone());
    serving.or_else(|| memory.serving(input.hash())).unwrap_or_else(|| input.hash().clone())
}

/// Notes since when the new set is whole.
fn note_whole(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory) {
    let whole = census.of(input.hash()).available >= input.replicas;
    let since = memory.whole_since.take().filter(|(hash, _)| hash == input.hash());
    memory.whole_since = whole.then(|| since.unwrap_or_else(|| (input.hash().clone(), input.now)));
}

/// True if the new set may be promoted now. A commit that names another template never promotes this one.
fn may_promote(input: &RolloutInput<'_>, memory: &RolloutMemory, spec: &BlueGreen) -> bool {
    if memory.whole_since.is_none() || input.workload.paused || memory.quarantined.contains(input.hash()) {
        return false;
    }
    is_named(input.hash(), spec) || promotion_at(memory, spec).is_some_and(|at| input.now >= at)
}

fn is_named(hash: &TemplateHash, spec: &BlueGreen) -> bool {
    spec.promote.as_deref().is_some_and(|text| text.len() >= PROMOTE_DIGITS_MIN && hash.as_str().starts_with(text))
}

/// The promoted set stays whole; once the new one is promoted, the old one stays for the delay and goes; sets in between
/// go at once.
fn aim_others(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory, spec: &BlueGreen) {
    let hash = input.hash().clone();
    let promoted = memory.promoted.clone().unwrap_or_else(|| hash.clone());
    let others = census.occupied > census.of(&hash).occupied;
    if !others {
        // Nothing is left that the delay keeps.
        memory.switched_at = None;
    } else if promoted == hash && memory.switched_at.is_none() {
        memory.switched_at = Some(input.now);
    }
    let delay_over = memory.switched_at.is_none_or(|at| input.now >= at + seconds(spec.scale_down_delay_seconds));
    for (other, target) in memory.targets.iter_mut().filter(|(other, _)| **other != hash) {
        if *other == promoted {
            *target = input.replicas;
        } else if promoted != hash || delay_over {
            *target = 0;
        }
    }
    if promoted != hash {
        memory.targets.entry(promoted).or_insert(input.replicas);
    }
}

/// What a whole new set waits for.
pub(super) fn waiting(input: &RolloutInput<'_>, memory: &RolloutMemory, spec: &BlueGreen, others: bool) -> Option<WaitingOn> {
    if memory.promoted.as_ref() == Some(input.hash()) {
        let at = memory.switched_at? + seconds(spec.scale_down_delay_seconds);
        return (others && at > input.now).then(|| WaitingOn::Delay(at.since(input.now)));
    }
    match promotion_at(memory, spec) {
        Some(at) => Some(WaitingOn::Delay(at.since(input.now))),
        None => Some(WaitingOn::Promotion(input.hash().clone())),
    }
}

/// When time alone promotes, or ends the old set.
pub(super) fn wake(input: &RolloutInput<'_>, memory: &RolloutMemory, spec: &BlueGreen) -> Option<Moment> {
    let end = memory.switched_at.map(|at| at + seconds(spec.scale_down_delay_seconds));
    let promoted = memory.promoted.as_ref() == Some(input.hash());
    let promotion = if promoted { None } else { promotion_at(memory, spec) };
    [end, promotion].into_iter().flatten().filter(|at| *at > input.now).min()
}

fn promotion_at(memory: &RolloutMemory, spec: &BlueGreen) -> Option<Moment> {
    let (_, whole_since) = memory.whole_since.as_ref().filter(|_| spec.auto_promotion)?;
    Some(*whole_since + seconds(spec.auto_promotion_seconds))
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}
