//! Pods that stop themselves, and when their numbers are free.

use super::world::{FakeAgent, World, key, node};
use crate::controller::Event;
use crate::model::*;

const DB: &str = "StatefulSet/db";

/// A set of three with a lease of 30 s and a grace of 10 s: 45 s after the last answer its pods have stopped. One of them is on `n2`
/// alone; lost nodes are given up after 60 s.
fn db(more: &str) -> World {
    let mut world = World::new(&["n1", "n2", "n3", "n4"]);
    world.push(&format!("stateful db a 3 lease=30s grace=10 parallel {more}"));
    world.seconds(10);
    assert_eq!(world.progress(DB), Progress::Done);
    world
}

impl World {
    /// The node whose agent has a pod of this name, given by its name and whether it runs or may still.
    fn homes(&self, pod: &str) -> Vec<(String, bool)> {
        let pods = self.agents.iter().flat_map(|(node, agent)| agent.pods.values().map(move |pod| (node, pod)));
        let named = pods.filter(|(_, known)| known.run.name == pod);
        named.map(|(node, pod)| (node.to_string(), pod.may_run(self.now))).collect()
    }

    fn home(&self, pod: &str) -> String {
        let running: Vec<String> = self.homes(pod).into_iter().filter(|(_, runs)| *runs).map(|(node, _)| node).collect();
        assert_eq!(running.len(), 1, "{pod} runs on {running:?}");
        running[0].clone()
    }

    fn cut(&mut self, name: &str) {
        self.agents.get_mut(&node(name)).unwrap().up = false;
        self.give(Event::AgentLost { node: node(name) });
    }

    fn mend(&mut self, name: &str) {
        self.agents.get_mut(&node(name)).unwrap().up = true;
        self.hello(&node(name));
    }
}

#[test]
fn a_pod_whose_lease_has_run_out_is_replaced_elsewhere_and_the_old_one_is_told_to_go() {
    let mut world = db("");
    let away = world.home("db-1");
    world.cut(&away);
    world.seconds(35);
    assert_eq!(world.homes("db-1"), [(away.clone(), true)], "it may be in its grace, and is waited for");
    world.seconds(20);
    assert_eq!(world.homes("db-1"), [(away.clone(), false)], "it has stopped itself, and its node is not given up yet");
    world.seconds(15);
    assert_ne!(world.home("db-1"), away);
    assert_eq!(world.progress(DB), Progress::Done);
    let told = world.subjects();
    assert!(told.iter().any(|subject| subject.contains("db")), "{told:?}");
    world.mend(&away);
    world.seconds(30);
    assert_eq!(world.homes("db-1").len(), 1, "the old one is gone: {:?}", world.homes("db-1"));
    assert_ne!(world.home("db-1"), away);
}

#[test]
fn a_pod_whose_node_is_given_up_before_its_lease_is_over_is_waited_for() {
    let mut world = World::new(&["n1", "n2", "n3", "n4"]);
    world.push("stateful db a 3 lease=90s grace=10 parallel");
    world.seconds(10);
    let away = world.home("db-1");
    world.cut(&away);
    world.seconds(100);
    assert_eq!(world.homes("db-1").len(), 1, "{:?}", world.homes("db-1"));
    world.seconds(15);
    assert_ne!(world.home("db-1"), away);
}

#[test]
fn a_node_that_returns_in_time_keeps_its_pods() {
    let mut world = db("");
    let (away, before) = (world.home("db-1"), world.uids());
    world.cut(&away);
    world.seconds(50);
    world.mend(&away);
    world.seconds(10);
    assert_eq!((world.home("db-1"), world.uids(), world.progress(DB)), (away, before, Progress::Done));
}

#[test]
fn a_pod_whose_data_is_on_the_node_waits_for_it() {
    let mut world = db("claim=own");
    let away = world.home("db-1");
    world.cut(&away);
    world.seconds(300);
    assert_eq!(world.homes("db-1"), [(away.clone(), false)]);
    assert_eq!(world.progress(DB), Progress::Waiting(WaitingOn::Node(node(&away))));
    world.mend(&away);
    world.seconds(10);
    assert_eq!((world.home("db-1"), world.progress(DB)), (away, Progress::Done));
}

#[test]
fn where_nothing_would_stop_it_a_pod_with_a_lease_is_not_placed() {
    let mut world = World::new(&["n1"]);
    world.agents.get_mut(&node("n1")).unwrap().keeps_leases = false;
    world.hello(&node("n1"));
    world.push("stateful db a 1 lease=30s");
    world.seconds(5);
    let expected = "0/1 nodes fit: no leases of containers (they need an agent of this version that runs as root) on 1";
    assert_eq!(world.progress(DB), Progress::Waiting(WaitingOn::Placement(expected.to_owned())));
}

#[test]
fn the_next_controller_waits_a_full_lease_for_a_number_that_may_run_on_a_node_not_heard_of() {
    let mut world = db("");
    let away = world.home("db-1");
    world.cut(&away);
    // Just before it ends the first one may have answered a node that the next never hears.
    world.restart(false);
    world.push("stateful db a 3 lease=30s grace=10 parallel");
    world.greet();
    world.seconds(40);
    assert!(world.homes("db-1").iter().all(|(node, _)| *node == away), "{:?}", world.homes("db-1"));
    world.seconds(40);
    assert_ne!(world.home("db-1"), away);
    assert_eq!(world.progress(DB), Progress::Done);
}

#[test]
fn a_controller_that_still_gathers_extends_leases_and_grants_none() {
    let mut world = db("");
    let (away, other) = (world.home("db-1"), world.home("db-0"));
    world.cut(&away);
    world.restart(false);
    world.push("stateful db a 3 lease=30s grace=10 parallel");
    world.agents.get_mut(&node(&other)).unwrap().end_pods();
    world.greet();
    world.seconds(45);
    assert!(matches!(world.core.view().health, Health::Holding(_)), "{:?}", world.core.view().health);
    assert_eq!(world.homes("db-0"), [(other.clone(), false)], "what does not run does not begin yet");
    assert!(world.homes("db-2").iter().all(|(_, runs)| *runs), "what runs goes on");
    world.seconds(40);
    assert_eq!(world.home("db-0"), other);
}

#[test]
fn a_pod_that_was_given_up_does_not_begin_beside_its_replacement_for_the_next_controller() {
    // Longer than the next controller waits for nodes that it has not heard of.
    const SET: &str = "stateful db a 3 lease=90s grace=10 parallel";
    let mut world = World::new(&["n1", "n2", "n3", "n4"]);
    world.push(SET);
    world.seconds(10);
    let first = world.home("db-1");
    world.cut(&first);
    world.seconds(120);
    let second = world.home("db-1");
    assert_ne!(first, second);
    world.restart(false);
    world.agents.get_mut(&node(&second)).unwrap().up = false;
    world.agents.get_mut(&node(&first)).unwrap().up = true;
    world.push(SET);
    world.greet();
    // The world sees to it that no two of one name run.
    world.seconds(100);
    world.mend(&second);
    world.seconds(60);
    assert_eq!((world.homes("db-1").len(), world.progress(DB)), (1, Progress::Done));
}

#[test]
fn a_set_that_shrinks_is_not_held_up_by_a_number_that_was_given_up() {
    let mut world = World::new(&["n1", "n2", "n3", "n4"]);
    world.push("stateful db a 3 lease=30s grace=10");
    world.seconds(15);
    let away = world.home("db-2");
    world.cut(&away);
    world.seconds(75);
    world.push("stateful db a 1 lease=30s grace=10");
    world.seconds(30);
    assert_eq!(
        (world.progress(DB), world.running(DB).len()),
        (Progress::Done, 2),
        "db-0, and what is left of db-2 on the lost node"
    );
}

#[test]
fn an_agent_that_knows_no_leases_is_answered_nothing() {
    let mut world = db("");
    world.agents.insert(node("n5"), FakeAgent { keeps_leases: false, ..FakeAgent::new() });
    world.hello(&node("n5"));
    let effects = world.core.handle(Event::AgentHeartbeat { node: node("n1"), sent: BootMoment(0) }, world.now);
    assert!(effects.iter().all(|effect| !matches!(effect, crate::controller::Effect::Renew { .. })), "{effects:?}");
    assert!(world.core.view().workloads.contains_key(&key(DB)));
}
