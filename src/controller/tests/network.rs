//! Ranges of nodes, and who hears of whom.

use super::world::{World, node};
use crate::model::{Cidr, NodeNetwork};
use std::sync::Arc;

const PODS: &str = "10.244.0.0/16";
const SHOP: &str = "deployment web a 3\nservice web";

fn told<'a>(world: &'a World, name: &str) -> &'a Arc<NodeNetwork> {
    world.agents[&node(name)].network.as_ref().expect("it was told")
}

fn range(world: &World, name: &str) -> Cidr {
    told(world, name).pods
}

fn networked(nodes: &[&str]) -> World {
    let mut world = World::networked(nodes, PODS);
    world.push(SHOP);
    world.seconds(3);
    world
}

#[test]
fn every_node_has_a_range_of_its_own_and_hears_of_all_others() {
    let world = networked(&["n1", "n2", "n3"]);
    let whole: Cidr = PODS.parse().unwrap();
    for name in ["n1", "n2", "n3"] {
        let network = told(&world, name);
        let peers: Vec<&str> = network.peers.keys().map(|peer| peer.as_str()).collect();
        assert_eq!(peers, ["n1", "n2", "n3"].into_iter().filter(|peer| *peer != name).collect::<Vec<_>>());
        assert!(whole.contains(network.pods.first()) && network.pods.prefix() == 24);
        assert!(network.peers.values().all(|peer| peer.pods.is_some_and(|range| !range.overlaps(&network.pods))));
    }
}

#[test]
fn a_node_is_told_nothing_of_the_network_before_a_revision_was_taken_over() {
    let mut world = World::networked(&["n1"], PODS);
    world.seconds(3);
    assert_eq!(world.agents[&node("n1")].network, None);
    world.push(SHOP);
    world.seconds(3);
    assert_eq!(told(&world, "n1").domain, "cluster.local");
}

#[test]
fn a_range_stays_with_its_node_over_a_restart_with_the_memory_and_without_it() {
    let mut world = networked(&["n1", "n2"]);
    let before = (range(&world, "n1"), range(&world, "n2"), told(&world, "n1").version);
    for wiped in [false, true] {
        world.restart(wiped);
        world.push(SHOP);
        world.greet();
        world.seconds(30);
        assert_eq!((range(&world, "n1"), range(&world, "n2")), (before.0, before.1));
        assert!(told(&world, "n1").version > before.2, "a later reign tells a later version");
    }
}

#[test]
fn a_node_that_comes_when_no_range_is_left_is_told_of_and_gets_none() {
    let mut world = World::networked(&["n1", "n2"], "10.244.0.0/24");
    world.push(SHOP);
    world.seconds(3);
    let named: Vec<bool> = ["n1", "n2"].iter().map(|name| world.agents[&node(name)].network.is_some()).collect();
    assert_eq!(named.iter().filter(|told| **told).count(), 1, "{named:?}");
    let events = world.core.view().events.iter().map(|event| event.message.clone()).collect::<Vec<_>>().join("\n");
    assert!(events.contains("choose a larger --pod-cidr"), "{events}");
}

#[test]
fn a_node_that_comes_back_without_it_is_told_again() {
    let mut world = networked(&["n1", "n2"]);
    let before = world.agents.get_mut(&node("n2")).unwrap().network.take().unwrap();
    world.hello(&node("n2"));
    assert_eq!(*told(&world, "n2"), before);
}
