//! The progress deadline, and what a failed rollout leaves behind.
//!
//! As in Kubernetes progress is more updated or available pods, or fewer old ones; a paused rollout does not age, nor does one that
//! waits for a node to return. What we add: a template that failed while an old one serves is quarantined, so that it is not tried again until it changes.

use super::census::Census;
use super::{Mark, RolloutInput, RolloutMemory, Standing};
use crate::model::{Moment, StalledBy};
use std::time::Duration;

/// Notes progress and says whether the rollout has failed.
pub(super) fn judge(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory) -> Option<StalledBy> {
    let hash = input.hash();
    if let Some((failed, message)) = &memory.failed
        && failed == hash
        && memory.target_of_others(hash) > 0
    {
        return Some(StalledBy::Deadline(message.clone()));
    }
    memory.failed = None;
    if memory.quarantined.contains(hash) && memory.target_of_others(hash) > 0 {
        return Some(StalledBy::Quarantined(hash.clone()));
    }
    if input.workload.paused || input.silent_node().is_some() || is_past_danger(input, census, memory) {
        memory.mark = None;
        return None;
    }
    note(input, census, memory);
    if at(input, memory).is_none_or(|at| input.now < at) {
        return None;
    }
    let message = last_message(input);
    if memory.target_of_others(hash) > 0 {
        memory.quarantined.insert(hash.clone());
        memory.failed = Some((hash.clone(), message.clone()));
    }
    Some(StalledBy::Deadline(message))
}

/// When the deadline passes if nothing moves.
pub(super) fn at(input: &RolloutInput<'_>, memory: &RolloutMemory) -> Option<Moment> {
    let mark = memory.mark.as_ref()?;
    Some(mark.at + Duration::from_secs(u64::from(input.workload.progress_deadline_seconds)))
}

/// A rollout that was completed is not one any more, and one whose new pods are all available only waits for old ones to go.
fn is_past_danger(input: &RolloutInput<'_>, census: &Census, memory: &RolloutMemory) -> bool {
    let hash = input.hash();
    let healing = memory.completed.as_ref() == Some(hash) && memory.target_of_others(hash) == 0;
    healing || input.missing(census) == 0
}

fn note(input: &RolloutInput<'_>, census: &Census, memory: &mut RolloutMemory) {
    let hash = input.hash();
    let new = census.of(hash);
    let old = census.occupied - new.occupied;
    let moved =
        memory.mark.as_ref().is_none_or(|mark| new.alive > mark.updated || new.available > mark.available || old < mark.old);
    if moved {
        memory.mark = Some(Mark { hash: hash.clone(), updated: new.alive, available: new.available, old, at: input.now });
    }
}

/// What is said of a new pod that is not ready.
fn last_message(input: &RolloutInput<'_>) -> String {
    let new = input.pods.iter().filter(|pod| pod.hash == input.hash() && pod.standing == Standing::Unready);
    let message = new.map(|pod| pod.message).find(|message| !message.is_empty());
    message.unwrap_or("its pods did not become ready").to_owned()
}
