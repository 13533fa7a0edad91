//! Nodes that go and come back.

use super::world::{World, node};
use super::{SHOP, shop};
use crate::model::*;

#[test]
fn pods_of_a_lost_node_are_replaced_and_the_surplus_goes_when_it_returns() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 4\nservice web");
    world.seconds(10);
    assert_eq!(world.agents[&node("n2")].pods.len(), 2);
    world.outcomes();
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.give(crate::controller::Event::AgentLost { node: node("n2") });
    world.seconds(50);
    assert_eq!(world.agents[&node("n1")].pods.len(), 2, "it is waited for");
    assert_eq!(world.behind("web").len(), 2, "but nobody is sent there");
    world.seconds(30);
    assert_eq!(world.agents[&node("n1")].pods.len(), 4);
    world.agents.get_mut(&node("n2")).unwrap().up = true;
    world.hello(&node("n2"));
    world.seconds(60);
    assert_eq!(world.running("web").len(), 4);
    assert!(world.records.iter().any(|record| record.trigger == Trigger::Node), "{:?}", world.subjects());
}

#[test]
fn with_one_node_nothing_is_moved() {
    let mut world = shop();
    let pods = world.uids();
    world.agents.get_mut(&node("n1")).unwrap().up = false;
    world.seconds(300);
    world.agents.get_mut(&node("n1")).unwrap().up = true;
    world.hello(&node("n1"));
    world.seconds(30);
    assert_eq!(world.uids(), pods);
}

#[test]
fn when_most_nodes_vanish_at_once_nothing_is_replaced() {
    let mut world = World::new(&["n1", "n2", "n3", "n4"]);
    world.push("deployment web a 4\nservice web");
    world.seconds(10);
    for name in ["n2", "n3", "n4"] {
        world.agents.get_mut(&node(name)).unwrap().up = false;
    }
    world.seconds(300);
    assert_eq!(world.agents[&node("n1")].pods.len(), 1);
    assert_eq!(world.behind("web").len(), 4, "endpoints stay as they were");
}

#[test]
fn when_most_nodes_vanish_one_after_the_other_endpoints_lead_to_all_again() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    world.push("deployment web a 3\nservice web");
    world.seconds(10);
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.seconds(20);
    assert_eq!(world.behind("web").len(), 2);
    world.agents.get_mut(&node("n3")).unwrap().up = false;
    world.seconds(20);
    assert_eq!(world.behind("web").len(), 3, "it is probably us who are cut off");
}

#[test]
fn a_stop_that_a_node_cannot_hear_is_decided_again_when_it_is_back() {
    let mut world = shop();
    let pods = world.uids();
    world.agents.get_mut(&node("n1")).unwrap().up = false;
    world.give(crate::controller::Event::AgentLost { node: node("n1") });
    world.push("deployment web a 2\nservice web");
    world.seconds(5);
    world.push("deployment web a 4\nservice web");
    world.push(SHOP);
    world.agents.get_mut(&node("n1")).unwrap().up = true;
    world.hello(&node("n1"));
    world.seconds(20);
    assert_eq!(world.uids(), pods, "none was stopped, and the fourth was never told");
    assert_eq!(world.core.view().counters.drift, 0);
}

#[test]
fn a_node_that_never_had_a_service_does_not_hold_its_pods_up() {
    let mut world = World::new(&["n1", "n2"]);
    world.give(crate::controller::Event::AgentLost { node: node("n2") });
    world.push("deployment web a 2\nservice web\ndeployment other a 2");
    world.seconds(5);
    world.push("deployment other a 2");
    world.seconds(1);
    world.hello(&node("n2"));
    world.seconds(30);
    assert_eq!(world.running("web"), "");
    assert_eq!(world.running("other"), "aa");
}

#[test]
fn a_node_that_returns_is_asked_whether_it_still_uses_a_pod_before_that_stops() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 2\nservice web");
    world.seconds(10);
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.give(crate::controller::Event::AgentLost { node: node("n2") });
    world.seconds(15);
    world.push("deployment web a 1\nservice web");
    world.seconds(15);
    world.agents.get_mut(&node("n2")).unwrap().up = true;
    world.hello(&node("n2"));
    let stopping = |world: &World| world.agents[&node("n2")].pods.values().filter(|pod| pod.stopping.is_some()).count();
    assert_eq!(stopping(&world), 0, "it has not heard yet that its pod left the Service");
    world.seconds(10);
    assert_eq!((world.agents[&node("n2")].pods.len(), world.behind("web")), (0, "a".into()));
}
