//! Tables for Deployments and Rollouts: rolling, recreate and blue/green.

use super::{NOW, Pod, blue_green, hash, memory, pods, rolling, take_on, told, uid, workload};
use crate::apply::rollout::{Action, RolloutMemory, RolloutStep, Standing};
use crate::model::{Moment, NodeName, Progress, StalledBy, Strategy, WaitingOn, Workload};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn take(workload: &Workload, replicas: u32, pods: &[Pod], memory: &RolloutMemory, now: Moment) -> RolloutStep {
    take_on(workload, replicas, pods, &BTreeMap::new(), memory, now)
}

fn check(workload: &Workload, replicas: u32, before: &str, expected: &str) {
    let pods = pods(before);
    let step = take(workload, replicas, &pods, &memory(""), NOW);
    assert_eq!(told(&step.actions, &pods), expected, "for {before:?}, {:?}", step.progress);
}

#[test]
fn rolling_takes_these_steps() {
    let one_more = workload('b', rolling(1, 0));
    check(&one_more, 3, "", "+0b, +1b, +2b");
    check(&one_more, 3, "0a+ 1a+ 2a+", "+3b");
    check(&one_more, 3, "0a+ 1a+ 2a+ 3b-", "");
    check(&one_more, 3, "0a+ 1a+ 2a+ 3b+", "-2a Replaced");
    check(&one_more, 3, "0a+ 1a+ 2a~ 3b+", "");
    check(&one_more, 3, "0a+ 1a+ 2a! 3b+", "");
    check(&one_more, 3, "0a+ 1a+ 2a~ 3b-", "=2a");
    check(&one_more, 3, "0a+ 1a+ 2a= 3b-", "");
    check(&one_more, 3, "0a+ 1a+ 3b+", "+2b");
    check(&one_more, 3, "0b+ 1b+ 2b+", "");
    let one_fewer = workload('b', rolling(0, 1));
    check(&one_fewer, 3, "0a+ 1a+ 2a+", "-2a Replaced");
    check(&one_fewer, 3, "0a+ 1a+ 2a!", "");
    check(&one_fewer, 3, "0a+ 1a+", "+2b");
    check(&one_fewer, 3, "0a+ 1a- 2a+", "-1a Replaced");
}

#[test]
fn a_retired_pod_comes_back_whatever_fails_while_it_drains() {
    let one_more = workload('b', rolling(1, 0));
    check(&one_more, 3, "0a+ 1a- 2a~ 3b+", "=2a");
    check(&one_more, 3, "0a+ 1a- 2a~ 3b-", "=2a");
    check(&workload('a', rolling(0, 1)), 3, "0a+ 1a- 2a- 3a~", "=3a");
    let stalled = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), ..memory("a=2 b=1") };
    let before = pods("0a+ 1a+ 2a~ 3b-");
    assert_eq!(told(&take(&one_more, 3, &before, &stalled, NOW).actions, &before), "=2a");
}

#[test]
fn a_first_rollout_that_never_worked_is_not_taken_for_a_completed_one_after_a_restart() {
    let alone = pods("0b- 1b- 2b-");
    let first = workload('b', rolling(1, 0));
    let begun = take(&first, 3, &alone, &memory("b=3"), NOW);
    let late = take(&first, 3, &alone, &begun.memory, NOW + Duration::from_secs(600));
    assert_eq!(late.progress, Progress::Stalled(StalledBy::Deadline("no answer".to_owned())));
}

#[test]
fn what_is_not_available_goes_first() {
    check(&workload('a', rolling(1, 0)), 2, "0a+ 1a- 2a+", "-1a Superseded");
    check(&workload('b', rolling(1, 0)), 3, "0a- 1a+ 2a+ 3b+", "-0a Replaced");
}

#[test]
fn a_pod_that_ended_or_is_lost_is_replaced() {
    let steady = workload('a', rolling(1, 0));
    check(&steady, 3, "0a+ 1a+ 2ax", "-2a Superseded, +3a");
    check(&steady, 3, "0a+ 1a+ 2a?", "+3a");
    check(&steady, 3, "0a+ 1a+ 2a=", "+3a");
    check(&steady, 3, "0a+ 1a+ 2a+ 3a-", "-3a Superseded");
}

#[test]
fn recreate_takes_these_steps() {
    let recreate = workload('b', Strategy::Recreate);
    check(&recreate, 2, "", "+0b, +1b");
    check(&recreate, 2, "0a+ 1a+", "-1a Replaced, -0a Replaced");
    check(&recreate, 2, "0a! 1a~", "");
    check(&recreate, 2, "0a!", "");
    check(&recreate, 2, "0b+ 1b+", "");
    check(&recreate, 2, "0b+", "+1b");
}

#[test]
fn blue_green_takes_these_steps() {
    let auto = workload('b', blue_green(true, None));
    check(&auto, 2, "", "+0b, +1b");
    check(&auto, 2, "0a+ 1a+", "+2b, +3b");
    check(&auto, 2, "0a+ 1a+ 2b+ 3b-", "");
    check(&auto, 2, "0a+ 1a+ 2b+ 3b+", "");
}

/// Takes steps and performs them on the spot, with every pod ready at once, for so many seconds.
fn play(workload: &Workload, replicas: u32, pods: &mut Vec<Pod>, memory: &mut RolloutMemory, from: Moment, seconds: u64) {
    for second in 0..seconds {
        let now = from + Duration::from_secs(second);
        let taken = take(workload, replicas, pods, memory, now);
        *memory = taken.memory;
        for action in taken.actions {
            match action {
                Action::Create { slot, hash, .. } => {
                    let (standing, node) = (Standing::Ready { since: now }, NodeName::new("n"));
                    pods.push(Pod { slot, hash, standing, node, heard: true, retired: false });
                }
                Action::Reinstate { .. } => panic!("nothing drains here"),
                Action::Retire { uid: gone, .. } => pods.retain(|pod| uid(pod.slot, &pod.hash) != gone),
            }
        }
    }
}

#[test]
fn blue_green_promotes_when_whole_and_drops_the_old_set_after_the_delay() {
    let mut memory = RolloutMemory { promoted: Some(hash('a')), ..memory("a=2") };
    let mut all = pods("0a+ 1a+");
    let next = workload('b', blue_green(true, None));
    play(&next, 2, &mut all, &mut memory, NOW, 2);
    assert_eq!((memory.promoted.clone(), all.len()), (Some(hash('b')), 4));
    play(&next, 2, &mut all, &mut memory, NOW + Duration::from_secs(2), 28);
    assert_eq!(all.len(), 4, "the old set stays for 30 s");
    play(&next, 2, &mut all, &mut memory, NOW + Duration::from_secs(31), 2);
    assert!(all.iter().all(|pod| pod.hash == hash('b')) && all.len() == 2, "{all:?}");
    assert_eq!(take(&next, 2, &all, &memory, NOW + Duration::from_secs(34)).progress, Progress::Done);
}

#[test]
fn a_whole_set_is_promoted_by_itself_only_after_the_seconds_that_are_asked_for() {
    let mut memory = RolloutMemory { promoted: Some(hash('a')), ..memory("a=2") };
    let mut all = pods("0a+ 1a+");
    let mut next = workload('b', blue_green(true, None));
    let Strategy::BlueGreen(spec) = &mut next.strategy else { panic!("blue/green") };
    spec.auto_promotion_seconds = 20;
    play(&next, 2, &mut all, &mut memory, NOW, 21);
    assert_eq!(memory.promoted, Some(hash('a')));
    play(&next, 2, &mut all, &mut memory, NOW + Duration::from_secs(21), 1);
    assert_eq!(memory.promoted, Some(hash('b')), "whole at the second step, a second after the first");
}

#[test]
fn an_old_set_that_is_gone_before_the_delay_is_over_is_not_aimed_at_any_more() {
    let next = workload('b', blue_green(true, None));
    let promoted = RolloutMemory { promoted: Some(hash('b')), switched_at: Some(NOW), ..memory("a=2 b=2") };
    let left = pods("0b+ 1b+");
    let step = take(&next, 2, &left, &promoted, NOW + Duration::from_secs(5));
    assert_eq!((step.memory.targets.get(&hash('a')), step.memory.switched_at), (None, None));
    let again = take(&next, 2, &left, &step.memory, NOW + Duration::from_secs(5));
    assert_eq!(again.memory, step.memory, "a second look at the same world says the same");
}

#[test]
fn going_back_within_the_delay_is_immediate() {
    let mut memory = RolloutMemory { promoted: Some(hash('a')), ..memory("a=2") };
    let mut all = pods("0a+ 1a+");
    play(&workload('b', blue_green(true, None)), 2, &mut all, &mut memory, NOW, 5);
    assert_eq!(memory.promoted, Some(hash('b')));
    let back = take(&workload('a', blue_green(true, None)), 2, &all, &memory, NOW + Duration::from_secs(6));
    assert_eq!(back.memory.promoted, Some(hash('a')));
    assert!(!back.actions.iter().any(|action| matches!(action, Action::Create { .. })), "{:?}", back.actions);
}

#[test]
fn promotion_by_hand_wants_enough_of_the_hash_of_this_release() {
    let memory = RolloutMemory { promoted: Some(hash('a')), ..memory("a=2 b=2") };
    let all = pods("0a+ 1a+ 2b+ 3b+");
    let promoted = |text: Option<&str>| take(&workload('b', blue_green(false, text)), 2, &all, &memory, NOW).memory.promoted;
    for (text, expected) in [(None, 'a'), (Some("bbbbb"), 'a'), (Some("aaaaaa"), 'a'), (Some("bbbbbb"), 'b')] {
        assert_eq!(promoted(text), Some(hash(expected)), "{text:?}");
    }
    assert_eq!(promoted(Some(&"b".repeat(40))), Some(hash('b')));
}

#[test]
fn a_paused_workload_is_healed_and_scaled_with_its_old_template() {
    let paused = Workload { paused: true, ..workload('b', rolling(1, 0)) };
    let known = RolloutMemory { replicas: Some(3), ..memory("a=3") };
    let before = pods("0a+ 1a+");
    assert_eq!(told(&take(&paused, 3, &before, &known, NOW).actions, &before), "+2a");
    assert_eq!(told(&take(&paused, 4, &before, &known, NOW).actions, &before), "+2a, +3a");
    assert_eq!(told(&take(&paused, 1, &before, &known, NOW).actions, &before), "-1a ScaledDown");
}

#[test]
fn the_deadline_quarantines_only_where_an_old_template_serves() {
    let late = NOW + Duration::from_secs(600);
    let next = workload('b', rolling(1, 0));
    let stuck = pods("0a+ 1a+ 2a+ 3b-");
    let begun = take(&next, 3, &stuck, &memory("a=3 b=1"), NOW);
    assert_eq!(begun.wake, Some(late));
    let failed = take(&next, 3, &stuck, &begun.memory, late);
    assert_eq!(failed.progress, Progress::Stalled(StalledBy::Deadline("no answer".to_owned())));
    assert_eq!(failed.memory.quarantined, BTreeSet::from([hash('b')]));
    let alone = pods("0b- 1b- 2b-");
    let begun = take(&next, 3, &alone, &memory(""), NOW);
    let failed = take(&next, 3, &alone, &RolloutMemory { completed: None, ..begun.memory }, late);
    assert!(failed.memory.quarantined.is_empty());
    let recovered = take(&next, 3, &pods("0b+ 1b+ 2b+"), &failed.memory, late);
    assert_eq!(recovered.progress, Progress::Done);
}

#[test]
fn pods_wait_to_be_available_for_min_ready_seconds() {
    let slow = Workload { min_ready_seconds: 200, ..workload('b', rolling(1, 0)) };
    let young = pods("0b+ 1b+");
    let waiting = take(&slow, 2, &young, &memory("b=2"), NOW);
    assert_eq!(waiting.progress, Progress::Waiting(WaitingOn::Availability { missing: 2 }));
    assert_eq!(waiting.wake, Some(NOW + Duration::from_secs(100)));
    assert_eq!(take(&slow, 2, &young, &waiting.memory, NOW + Duration::from_secs(100)).progress, Progress::Done);
}

#[test]
fn an_old_replica_comes_back_with_its_old_template() {
    let stalled = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), replicas: Some(3), ..memory("a=3 b=1") };
    let before = pods("0a+ 1a+ 3b-");
    assert_eq!(told(&take(&workload('b', rolling(1, 0)), 3, &before, &stalled, NOW).actions, &before), "+2a");
}

#[test]
fn what_was_started_after_the_last_record_is_not_undone_by_a_restart() {
    let remembered = RolloutMemory { remembered: true, replicas: Some(3), ..memory("a=3 b=1") };
    let before = pods("0a+ 2a! 1a+ 3b+ 4b-");
    assert_eq!(told(&take(&workload('b', rolling(1, 0)), 3, &before, &remembered, NOW).actions, &before), "");
    let vanished = pods("0a+ 3b-");
    assert_eq!(told(&take(&workload('b', rolling(1, 0)), 3, &vanished, &remembered, NOW).actions, &vanished), "+1a, +2a");
}
