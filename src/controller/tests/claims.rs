//! Volume claims: where their data is, and how it goes.

use super::world::{TICK, World, key, node};
use super::*;

impl World {
    /// The claims whose data each node has: `n1: data`.
    fn data(&self) -> String {
        let held = self.agents.iter().map(|(name, agent)| {
            let names: Vec<&str> = agent.volumes.iter().map(|volume| volume.name.as_str()).collect();
            format!("{name}: {}", names.join(" "))
        });
        held.collect::<Vec<_>>().join(", ")
    }

    fn node_of_only_pod(&self) -> NodeName {
        let with_pods = self.agents.iter().find(|(_, agent)| !agent.pods.is_empty());
        with_pods.map(|(name, _)| name.clone()).expect("a pod")
    }
}

const DB: &str = "StatefulSet/db";

#[test]
fn the_first_pod_with_a_claim_decides_where_its_data_is_and_later_ones_run_there() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.push("claim data\nrecreate db a 1 claim=data");
    world.seconds(10);
    let home = world.node_of_only_pod();
    for letter in ["b", "c", "d"] {
        world.push(&format!("claim data\nrecreate db {letter} 1 claim=data"));
        world.seconds(20);
        assert_eq!(world.node_of_only_pod(), home);
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
    let home = world.node_of_only_pod();
    world.push("claim data\nrecreate db a 0 claim=data");
    world.seconds(10);
    world.restart(true);
    world.greet();
    world.push("claim data\nrecreate db a 1 claim=data");
    world.seconds(30);
    assert_eq!(world.progress("db"), Progress::Done);
    assert_eq!(world.node_of_only_pod(), home);
}
