//! Tables for ReplicaSets, StatefulSets and DaemonSets.

use super::{NOW, daemon, hash, memory, nodes, pods, stateful, states, take_on, told, workload};
use crate::apply::rollout::{RolloutInput, RolloutMemory, step};
use crate::model::{DaemonUpdate, NodeName, Progress, Stateful, StatefulUpdate, Strategy, WaitingOn, Workload};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn parallel() -> Strategy {
    Strategy::Stateful(Stateful { parallel: true, ..Stateful::default() })
}

fn take(workload: &Workload, replicas: u32, before: &str, known: &RolloutMemory) -> (String, Progress) {
    let pods = pods(before);
    let step = take_on(workload, replicas, &pods, &BTreeMap::new(), known, NOW);
    (told(&step.actions, &pods), step.progress)
}

fn check(workload: &Workload, replicas: u32, before: &str, expected: &str) {
    let (actions, progress) = take(workload, replicas, before, &memory(""));
    assert_eq!(actions, expected, "for {before:?}, {progress:?}");
}

fn check_daemon(workload: &Workload, on: &str, before: &str, expected: &str) {
    let (pods, nodes) = (pods(before), nodes(on));
    let step = take_on(workload, u32::try_from(nodes.len()).unwrap(), &pods, &nodes, &memory(""), NOW);
    assert_eq!(told(&step.actions, &pods), expected, "for {before:?} on {on:?}, {:?}", step.progress);
}

#[test]
fn a_replica_set_gives_its_new_template_to_new_pods_only() {
    let set = workload('b', Strategy::OnDelete);
    check(&set, 3, "", "+0b, +1b, +2b");
    check(&set, 3, "0a+ 1a+ 2a+", "");
    check(&set, 3, "0a+ 1a+", "+2b");
    check(&set, 3, "0a+ 1ax 2a+", "-1a Superseded");
    check(&set, 1, "0a+ 1b- 2a+", "-2a Replaced, -1b Superseded");
    assert_eq!(take(&set, 2, "0a+ 1a+", &memory("a=2")).1, Progress::Done);
}

#[test]
fn stateful_pods_come_in_order_and_go_in_reverse() {
    let set = workload('a', stateful(0, 1));
    check(&set, 3, "", "+0a");
    check(&set, 3, "0a-", "");
    check(&set, 3, "0a+", "+1a");
    check(&set, 3, "0a+ 1a+ 2a+", "");
    check(&set, 3, "0a+ 2a+", "+1a");
    check(&set, 1, "0a+ 1a+ 2a+", "-2a ScaledDown");
    check(&set, 1, "0a+ 1a+ 2a!", "");
    check(&set, 1, "0a+ 1a+", "-1a ScaledDown");
    check(&set, 1, "0a- 1a+", "-1a ScaledDown");
    check(&set, 3, "0a+ 1a~ 2a+", "=1a");
}

#[test]
fn a_pod_that_is_known_to_have_stopped_with_its_node_is_given_up_and_then_replaced() {
    let set = workload('a', stateful(0, 1));
    check(&set, 3, "0a+ 1a? 2a+", "-1a Superseded");
    check(&set, 3, "0a+ 1a% 2a+", "+1a");
    check(&set, 1, "0a+ 1a+ 2a%", "-1a ScaledDown");
    check(&workload('b', stateful(0, 1)), 3, "0a+ 1a+ 2a%", "+2b");
}

#[test]
fn parallel_stateful_pods_come_and_go_at_once() {
    let set = workload('a', parallel());
    check(&set, 3, "", "+0a, +1a, +2a");
    check(&set, 3, "1a-", "+0a, +2a");
    check(&set, 1, "0a+ 1a+ 2a+", "-2a ScaledDown, -1a ScaledDown");
}

#[test]
fn a_new_template_goes_from_the_highest_number_down() {
    let set = workload('b', stateful(0, 1));
    check(&set, 3, "0a+ 1a+ 2a+", "-2a Replaced");
    check(&set, 3, "0a+ 1a+ 2a!", "");
    check(&set, 3, "0a+ 1a+", "+2b");
    check(&set, 3, "0a+ 1a+ 2b-", "");
    check(&set, 3, "0a+ 1a+ 2b+", "-1a Replaced");
    check(&set, 3, "0b+ 1b+ 2b+", "");
    check(&workload('b', stateful(0, 2)), 4, "0a+ 1a+ 2a+ 3a+", "-3a Replaced, -2a Replaced");
    check(&workload('b', stateful(0, 2)), 4, "0a+ 1a+ 2b- 3b+", "-1a Replaced");
}

#[test]
fn numbers_below_the_partition_keep_and_regain_the_old_template() {
    let set = workload('b', stateful(2, 1));
    let known = RolloutMemory { completed: Some(hash('a')), ..memory("a=3") };
    assert_eq!(take(&set, 3, "0a+ 1a+ 2a+", &known).0, "-2a Replaced");
    assert_eq!(take(&set, 3, "0a+ 1a+", &known).0, "+2b");
    assert_eq!(take(&set, 3, "0a+ 2b+", &known).0, "+1a");
    assert_eq!(take(&set, 3, "0a+ 1a+ 2b+", &known), (String::new(), Progress::Done));
}

#[test]
fn on_delete_a_number_gets_the_new_template_when_its_pod_is_gone() {
    let set = workload('b', Strategy::Stateful(Stateful { update: StatefulUpdate::OnDelete, ..Stateful::default() }));
    check(&set, 3, "0a+ 1a+ 2a+", "");
    check(&set, 3, "0a+ 2a+", "+1b");
}

#[test]
fn a_broken_pod_does_not_stand_in_the_way_of_its_own_fix() {
    let fixed = workload('c', stateful(0, 1));
    check(&fixed, 3, "0a+ 1a+ 2b-", "-2b Replaced");
    check(&fixed, 3, "0a-", "-0a Replaced");
    check(&workload('a', stateful(0, 1)), 3, "0a+ 1a+ 2b-", "-2b Replaced");
    // One at a time all the same: the fix may be broken too.
    check(&fixed, 3, "0b- 1b- 2b-", "-2b Replaced");
    check(&fixed, 3, "0b- 1b- 2c-", "");
}

#[test]
fn a_number_waits_for_its_silent_node() {
    let set = workload('a', stateful(0, 1));
    let waits = Progress::Waiting(WaitingOn::Node(NodeName::new("n7")));
    assert_eq!(take(&set, 2, "0a+ 1ao@n7", &memory("a=2")), (String::new(), waits.clone()));
    assert_eq!(take(&workload('b', stateful(0, 1)), 2, "0a+ 1ao@n7", &memory("a=2")), (String::new(), waits.clone()));
    let pods = pods("0a+");
    let states = states(&pods);
    let (nodes, known) = (BTreeMap::new(), BTreeSet::new());
    let unheard = BTreeMap::from([(1, NodeName::new("n7"))]);
    let (memory, workload) = (memory("a=2"), &set);
    let input = RolloutInput {
        workload,
        replicas: 2,
        pods: &states,
        nodes: &nodes,
        unheard: &unheard,
        known: &known,
        memory: &memory,
        now: NOW,
    };
    let step = step(&input);
    assert_eq!((step.actions, step.progress, step.memory.target(&hash('a'))), (Vec::new(), waits, 2));
}

#[test]
fn a_rollout_that_waits_for_a_node_does_not_age() {
    let set = workload('b', stateful(0, 1));
    let begun = take_on(&set, 2, &pods("0ao 1b+"), &BTreeMap::new(), &memory("a=1 b=1"), NOW);
    let late = take_on(&set, 2, &pods("0ao 1b+"), &BTreeMap::new(), &begun.memory, NOW + Duration::from_secs(6_000));
    assert_eq!(late.progress, Progress::Waiting(WaitingOn::Node(NodeName::new("n"))));
}

#[test]
fn a_failed_template_stops_at_one_number_and_what_vanishes_comes_back_old() {
    let set = workload('b', stateful(0, 1));
    let failed = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), ..memory("a=2 b=1") };
    assert_eq!(take(&set, 3, "0a+ 1a+ 2b-", &failed).0, "");
    assert_eq!(take(&set, 3, "0a+ 2b-", &failed).0, "+1a");
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_that_suits() {
    let set = workload('a', daemon(0, 1));
    check_daemon(&set, "n1 n2", "", "+0a@n1, +1a@n2");
    check_daemon(&set, "n1 n2 n3", "0a+@n1 1a+@n2", "+2a@n3");
    check_daemon(&set, "n1", "0a+@n1 1a+@n2", "-1a Misplaced");
    check_daemon(&set, "n1 n2", "0a+@n1 1a~@n2", "=1a");
    check_daemon(&set, "n1 n2", "0a+@n1 1a!@n2", "");
    check_daemon(&set, "n1 n2?", "0a+@n1", "");
    check_daemon(&set, "n1", "0a+@n1 1a?@n2", "");
    check_daemon(&set, "n1", "0ax@n1", "-0a Superseded");
    check_daemon(&set, "n1", "0a+@n1 1a+@n1", "-1a Superseded");
}

#[test]
fn a_new_daemon_takes_the_place_of_the_old_one_node_by_node() {
    let set = workload('b', daemon(0, 1));
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2", "-0a Replaced");
    check_daemon(&set, "n1 n2", "0a!@n1 1a+@n2", "");
    check_daemon(&set, "n1 n2", "1a+@n2", "+0b@n1");
    check_daemon(&set, "n1 n2", "0b-@n1 1a+@n2", "");
    check_daemon(&set, "n1 n2", "0b+@n1 1a+@n2", "-1a Replaced");
    check_daemon(&set, "n1 n2", "0a+@n1 1a-@n2", "-1a Replaced");
    check_daemon(&workload('b', daemon(0, 2)), "n1 n2 n3", "0a+@n1 1a+@n2 2a+@n3", "-0a Replaced, -1a Replaced");
    check_daemon(&workload('b', Strategy::Daemon(DaemonUpdate::OnDelete)), "n1 n2", "0a+@n1", "+1b@n2");
}

#[test]
fn a_surging_daemon_comes_before_the_old_one_goes() {
    let set = workload('b', daemon(1, 0));
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2", "+2b@n1");
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2 2b-@n1", "");
    check_daemon(&set, "n1 n2", "0a+@n1 1a+@n2 2b+@n1", "-0a Replaced");
    check_daemon(&set, "n1 n2", "0a~@n1 1a+@n2 2b-@n1", "=0a");
    check_daemon(&set, "n1 n2", "0a!@n1 1a+@n2 2b+@n1", "");
    check_daemon(&set, "n1 n2", "1a+@n2 2b+@n1", "+0b@n2");
}

#[test]
fn a_failed_daemon_leaves_the_old_ones_alone() {
    let set = workload('b', daemon(1, 0));
    let failed = RolloutMemory { quarantined: BTreeSet::from([hash('b')]), ..memory("a=2 b=1") };
    let (before, on) = (pods("0a+@n1 1a+@n2 2b-@n1"), nodes("n1 n2 n3"));
    let step = take_on(&set, 3, &before, &on, &failed, NOW);
    assert_eq!(told(&step.actions, &before), "+3a@n3");
}
