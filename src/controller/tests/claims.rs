//! Volume claims: where their data is, and how it goes.

use super::world::{FakeAgent, TICK, World, key, node};
use super::*;
use std::collections::BTreeSet;

impl World {
    /// The claims whose data each node has: `n1: data`.
    fn data(&self) -> String {
        let held = self.agents.iter().map(|(name, agent)| {
            let names: Vec<&str> = agent.volumes.iter().map(|volume| volume.name.as_str()).collect();
            format!("{name}: {}", names.join(" "))
        });
        held.collect::<Vec<_>>().join(", ")
    }

    fn node_of(&self, workload: &str) -> NodeName {
        let has = |agent: &FakeAgent| agent.pods.values().any(|pod| pod.run.workload == key(workload));
        let found = self.agents.iter().find(|(_, agent)| has(agent));
        found.map(|(name, _)| name.clone()).expect("a pod")
    }
}

/// A set with a claim per pod, and a Deployment that is its one pod's.
const DB: &str = "StatefulSet/db";
const ONE: &str = "db";

#[test]
fn the_first_pod_with_a_claim_decides_where_its_data_is_and_later_ones_run_there() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.push("claim data\nrecreate db a 1 claim=data");
    world.seconds(10);
    let home = world.node_of(ONE);
    for letter in ["b", "c", "d"] {
        world.push(&format!("claim data\nrecreate db {letter} 1 claim=data"));
        world.seconds(20);
        assert_eq!(world.node_of(ONE), home);
    }
}

#[test]
fn the_claims_of_a_stateful_set_stay_when_it_shrinks_and_are_used_again() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("stateful db a 3 claim=own");
    world.seconds(20);
    let before = world.data();
    assert_eq!(before.matches("data-db-").count(), 3, "{before}");
    world.push("stateful db a 1 claim=own");
    world.seconds(20);
    assert_eq!(world.data(), before, "a claim outlives its pod");
    world.push("stateful db a 3 claim=own");
    world.seconds(20);
    assert_eq!((world.data(), world.progress(DB)), (before, Progress::Done), "each number is where its data is");
}

#[test]
fn deleting_a_claim_is_held_back_until_a_commit_approves_it_and_then_its_data_goes() {
    let mut world = World::new(&["n1"]);
    world.push("claim data\nclaim kept\ndeployment web a 1 claim=data\ndeployment other a 1 claim=kept");
    world.seconds(10);
    assert_eq!(world.data(), "n1: data kept");
    world.push("claim kept\ndeployment other a 1 claim=kept");
    world.seconds(20);
    assert_eq!(world.data(), "n1: data kept", "the brake holds the deletion of data");
    world.push_with("claim kept\ndeployment other a 1 claim=kept", &[("Driftless-Allow-Prune", "all")]);
    for _ in 0..60 {
        world.run(TICK);
        let in_use = world.agents[&node("n1")].pods.values().any(|pod| pod.run.workload == key("Deployment/web"));
        assert!(!in_use || world.data() == "n1: data kept", "data goes after its pod");
    }
    assert_eq!(world.data(), "n1: kept");
}

#[test]
fn a_controller_that_lost_its_memory_hears_from_agents_where_data_is() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.push("claim data\nrecreate db a 1 claim=data");
    world.seconds(10);
    let home = world.node_of(ONE);
    world.push("claim data\nrecreate db a 0 claim=data");
    world.seconds(10);
    world.restart(true);
    world.greet();
    world.push("claim data\nrecreate db a 1 claim=data");
    world.seconds(30);
    assert_eq!(world.progress("db"), Progress::Done);
    assert_eq!(world.node_of(ONE), home);
}

/// All deletions are approved.
const APPROVED: [(&str, &str); 1] = [("Driftless-Allow-Prune", "all")];

#[test]
fn a_set_that_says_so_deletes_the_claims_of_the_pods_that_it_shrinks_by_and_no_others() {
    let mut world = World::new(&["n1"]);
    world.push("stateful db a 3 claim=own goes=scaled");
    world.seconds(20);
    world.push("stateful db a 1 claim=own goes=scaled");
    for _ in 0..60 {
        world.run(TICK);
        let slots: BTreeSet<u32> = world.agents[&node("n1")].pods.values().map(|pod| pod.run.slot).collect();
        let held = world.data();
        assert!(slots.iter().all(|slot| held.contains(&format!("data-db-{slot}"))), "{held} of the pods {slots:?}");
    }
    assert_eq!(world.data(), "n1: data-db-0");
    world.push("stateful db a 2 claim=own goes=scaled");
    world.seconds(20);
    assert_eq!((world.data().as_str(), world.progress(DB)), ("n1: data-db-0 data-db-1", Progress::Done), "a new one");
    world.push_with("deployment other a 1", &APPROVED);
    world.seconds(20);
    assert_eq!(world.data(), "n1: data-db-0 data-db-1", "deleting the set is something else");
}

#[test]
fn a_set_that_takes_its_claims_along_is_deleted_with_an_approval_only() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment other a 1\nstateful db a 2 claim=own goes=deleted");
    world.seconds(20);
    world.push("deployment other a 1\nstateful db a 1 claim=own goes=deleted");
    world.seconds(20);
    let before = world.data();
    assert_eq!(before.matches("data-db-").count(), 2, "{before}: shrinking is something else");
    world.push("deployment other a 1");
    world.seconds(20);
    assert_eq!((world.data(), world.running(DB)), (before, "a".to_owned()), "the brake holds what would delete data");
    world.push_with("deployment other a 1", &APPROVED);
    world.seconds(20);
    assert_eq!((world.data().as_str(), world.running(DB).as_str()), ("n1: , n2: ", ""));
}

#[test]
fn an_approved_deletion_is_carried_out_by_the_next_controller() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment other a 1\nclaim data\nrecreate db a 1 claim=data");
    world.seconds(10);
    let home = world.node_of(ONE);
    world.agents.get_mut(&home).expect("a node").up = false;
    world.push_with("deployment other a 1", &APPROVED);
    world.seconds(150);
    assert!(world.data().contains("data"), "the node is away");
    world.restart(false);
    world.agents.get_mut(&home).expect("a node").up = true;
    world.greet();
    world.push("deployment other a 1");
    world.seconds(30);
    assert_eq!(world.data(), "n1: , n2: ");
    assert_eq!(world.subjects().pop(), Some(format!("shop/data: its data on {home} is deleted")));
    let left = world.files.keys().filter(|path| path.contains("PersistentVolumeClaim")).count();
    assert_eq!(left, 0, "nothing is remembered of it: {:#?}", world.files);
}

#[test]
fn a_claim_that_is_wanted_again_before_its_node_was_told_keeps_its_data() {
    let mut world = World::new(&["n1", "n2"]);
    let text = "deployment other a 1\nclaim data\nrecreate db a 1 claim=data";
    world.push(text);
    world.seconds(10);
    world.stop = Duration::from_secs(30);
    world.push_with("deployment other a 1", &APPROVED);
    world.seconds(10);
    world.push(text);
    world.seconds(60);
    assert_eq!(world.data().matches("data").count(), 1);
    assert_eq!(world.progress(ONE), Progress::Done);
}
