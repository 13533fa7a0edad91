//! The next controller: what it finds, with and without the memory of the last.

use super::world::{self, World, hash};
use super::{SHOP, shop};
use crate::model::*;

#[test]
fn a_restart_with_its_memory_restarts_nothing_and_records_nothing() {
    let mut world = shop();
    world.outcomes();
    let pods = world.uids();
    world.restart(false);
    world.push(SHOP);
    assert_eq!(world.core.view().health, Health::Holding("waiting for n1 to say hello".to_owned()));
    world.greet();
    assert_eq!(world.core.view().health, Health::Acting);
    world.seconds(60);
    assert_eq!(world.uids(), pods);
    assert_eq!(world.outcomes(), "");
    assert_eq!(world.behind("web"), "aaa");
}

#[test]
fn what_was_created_before_a_restart_keeps_its_time() {
    let source = "deployment web a 1\nstateful db a 1 claim=own";
    let mut world = World::new(&["n1"]);
    world.push(source);
    world.seconds(30);
    let times = |world: &World| {
        let view = world.core.view();
        let nodes: Vec<_> = view.nodes.iter().map(|(name, node)| (name.clone(), node.created)).collect();
        (view.created.clone(), nodes)
    };
    let before = times(&world);
    assert_eq!(before.0.len(), 3, "two workloads and the claim that one of them made: {before:?}");
    assert!(before.1.iter().all(|(_, created)| created.is_some()), "{before:?}");
    world.restart(false);
    world.push(source);
    world.greet();
    world.seconds(30);
    assert_eq!(times(&world), before);
}

#[test]
fn a_restart_in_the_middle_of_a_rollout_goes_on_and_tells_its_end() {
    let mut world = shop();
    world.push("deployment web b 3\nservice web");
    world.seconds(4);
    assert_eq!(world.running("web"), "aab");
    world.outcomes();
    world.restart(false);
    world.greet();
    world.load(world::desired("deployment web b 3\nservice web", &Revision::new(format!("{:040}", 2))), &[]);
    world.seconds(60);
    assert_eq!(world.running("web"), "bbb");
    assert_eq!(world.subjects(), ["shop/web: finished the rollout that was under way"]);
}

#[test]
fn a_failed_template_stays_failed_over_a_restart() {
    let mut world = shop();
    world.broken.insert('b');
    world.push("deployment web b 3 deadline=30\nservice web");
    world.seconds(60);
    world.outcomes();
    let pods = world.uids();
    world.restart(false);
    world.greet();
    world.push("deployment web b 3 deadline=30\nservice web");
    world.seconds(60);
    assert_eq!(world.progress("web"), Progress::Stalled(StalledBy::Quarantined(hash("web", 'b'))));
    assert_eq!((world.uids(), world.outcomes()), (pods, String::new()));
}

#[test]
fn a_restart_without_memory_restarts_nothing() {
    let mut world = shop();
    let pods = world.uids();
    world.restart(true);
    world.greet();
    world.push(SHOP);
    world.seconds(60);
    assert_eq!(world.uids(), pods);
    assert_eq!(world.progress("web"), Progress::Done);
}

#[test]
fn pods_of_an_unknown_workload_are_kept_and_shown() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 2\ndeployment other a 1");
    world.seconds(10);
    world.restart(true);
    world.greet();
    world.push("deployment web a 2");
    world.seconds(60);
    assert_eq!(world.running("other"), "a");
    assert!(world.core.view().problems.iter().any(|problem| problem.message.contains("unclaimed")));
    world.push("deployment web a 2\ndeployment other a 1");
    world.seconds(10);
    assert!(!world.core.view().problems.iter().any(|problem| problem.message.contains("unclaimed")));
    assert_eq!(world.running("other"), "a");
}
