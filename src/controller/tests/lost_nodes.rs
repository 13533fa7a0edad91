//! Nodes that go and come back.

use super::world::{World, node};
use super::{SHOP, shop};
use crate::model::*;
use std::time::Duration;

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

/// The host of an agent goes down, and its stream ends.
fn stop(world: &mut World, name: &str) {
    world.agents.get_mut(&node(name)).unwrap().up = false;
    world.give(crate::controller::Event::AgentLost { node: node(name) });
}

#[test]
fn a_pod_waits_for_its_silent_node_as_long_as_it_tolerates_that() {
    let unreachable = "tolerates=node.kubernetes.io/unreachable";
    let cases = [(format!("{unreachable}:30"), 35), (format!("{unreachable}:120"), 125), (String::new(), 65)];
    for (words, replaced) in cases {
        let mut world = World::new(&["n1", "n2"]);
        world.push(&format!("node n1 cordoned\ndeployment web a 1 {words}"));
        world.seconds(10);
        world.push(&format!("deployment web a 1 {words}"));
        stop(&mut world, "n2");
        world.seconds(replaced - 10);
        assert_eq!(world.agents[&node("n1")].pods.len(), 0, "{words}: it is waited for");
        world.seconds(15);
        assert_eq!(world.agents[&node("n1")].pods.len(), 1, "{words}: it is replaced");
    }
}

#[test]
fn a_pod_that_tolerates_silence_for_ever_is_never_replaced() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("node n1 cordoned\ndeployment web a 1 tolerates=node.kubernetes.io/not-ready");
    world.seconds(10);
    world.push("deployment web a 1 tolerates=node.kubernetes.io/not-ready");
    stop(&mut world, "n2");
    world.seconds(600);
    assert_eq!(world.agents[&node("n1")].pods.len(), 0);
    assert!(world.subjects().iter().all(|subject| !subject.contains("lost")), "and is not said to be lost");
}

#[test]
fn a_node_that_announced_its_absence_is_waited_for_and_nobody_is_sent_there() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 4\nservice web");
    world.seconds(10);
    world.report("n2", Report { away: Some(Duration::from_secs(300)), ..Report::default() });
    world.seconds(5);
    assert_eq!(world.behind("web").len(), 4, "it serves until it goes");
    stop(&mut world, "n2");
    assert_eq!(world.behind("web").len(), 2, "without waiting for the silence");
    let problems: Vec<String> = world.core.view().problems.iter().map(|problem| problem.message.clone()).collect();
    assert!(problems.contains(&"away for 295 s, as it announced; it is waited for".to_owned()), "{problems:?}");
    world.seconds(280);
    assert_eq!(world.agents[&node("n1")].pods.len(), 2, "its pods are not replaced");
    world.seconds(30);
    assert_eq!(world.agents[&node("n1")].pods.len(), 4, "until the time is over");
}

#[test]
fn a_node_that_is_back_from_its_absence_is_as_any_other() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 2\nservice web");
    world.seconds(10);
    world.report("n2", Report { away: Some(Duration::from_secs(300)), ..Report::default() });
    stop(&mut world, "n2");
    world.seconds(30);
    world.agents.get_mut(&node("n2")).unwrap().up = true;
    world.hello(&node("n2"));
    world.seconds(10);
    assert_eq!((world.behind("web").len(), world.core.view().nodes[&node("n2")].away_until), (2, None));
    stop(&mut world, "n2");
    world.seconds(80);
    assert_eq!(world.agents[&node("n1")].pods.len(), 2, "what it announced before counts no more");
}

#[test]
fn nodes_that_announced_their_absence_do_not_pull_the_brake() {
    let mut world = World::new(&["n1", "n2", "n3", "n4"]);
    world.push("deployment web a 4\nservice web");
    world.seconds(10);
    for name in ["n3", "n4"] {
        world.report(name, Report { away: Some(Duration::from_secs(900)), ..Report::default() });
        stop(&mut world, name);
    }
    stop(&mut world, "n2");
    world.seconds(90);
    assert_eq!(world.agents[&node("n1")].pods.len(), 2, "the pod of the one that said nothing is replaced");
}

#[test]
fn a_node_with_full_disks_takes_no_new_pods_and_keeps_its_own() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 2");
    world.seconds(10);
    let full = NodeConditions { disk_pressure: Some("the disk of /state is full".to_owned()) };
    world.report("n2", Report { conditions: Some(full), ..Report::default() });
    world.push("deployment web a 4");
    world.seconds(10);
    assert_eq!((world.agents[&node("n1")].pods.len(), world.agents[&node("n2")].pods.len()), (3, 1));
    let view = world.core.view();
    assert!(view.events.iter().any(|event| event.reason == "NodeHasDiskPressure"));
    assert!(view.problems.iter().any(|problem| problem.message == "no new pods go there: the disk of /state is full"));
    world.report("n2", Report { conditions: Some(NodeConditions::default()), ..Report::default() });
    world.push("deployment web a 6");
    world.seconds(10);
    assert_eq!((world.agents[&node("n1")].pods.len(), world.agents[&node("n2")].pods.len()), (3, 3));
}

#[test]
fn an_agent_that_comes_back_with_nothing_is_not_told_of_pods_that_are_gone() {
    let mut world = World::new(&["n1"]);
    world.push("stateful db a 1");
    world.seconds(10);
    world.wipe("n1");
    world.hello(&node("n1"));
    world.seconds(20);
    assert_eq!(world.agents[&node("n1")].pods.len(), 1, "the old pod of this number does not run beside the new one");
}
