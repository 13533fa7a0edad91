//! The core as a whole, with agents that do as they are told. Here: what a revision does, what changes nothing, and what people see;
//! the other topics have files of their own.

mod claims;
mod crons;
mod deletions;
mod drains;
mod images;
mod ingress;
mod jobs;
mod leases;
mod lost_nodes;
mod members;
mod network;
mod placement;
mod restarts;
mod rollouts;
mod scale;
mod services;
mod sets;
mod world;

use crate::model::*;
use std::collections::BTreeMap;
use std::time::Duration;
use world::{World, hash, node};

const SHOP: &str = "deployment web a 3\nservice web";

fn shop() -> World {
    let mut world = World::new(&["n1"]);
    world.push(SHOP);
    world.seconds(10);
    world
}

#[test]
fn a_first_revision_runs_and_is_told_twice() {
    let mut world = shop();
    assert_eq!(world.running("web"), "aaa");
    assert_eq!(world.behind("web"), "aaa");
    assert_eq!(world.progress("web"), Progress::Done);
    let subjects = world.subjects();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    assert!(world.files.contains_key("current/shop/Deployment/web.yaml"), "{:?}", world.files.keys());
}

#[test]
fn an_unchanged_revision_and_one_that_changes_no_object_tell_nobody_anything() {
    let mut world = shop();
    world.seconds(60);
    world.outcomes();
    let before = (world.assigns, world.endpoint_effects, world.core.view().counters.records);
    world.push(SHOP);
    world.push(SHOP);
    world.seconds(60);
    assert_eq!((world.assigns, world.endpoint_effects, world.core.view().counters.records), before);
}

#[test]
fn a_killed_pod_is_replaced_and_recorded_once() {
    let mut world = shop();
    world.outcomes();
    world.kill_one("web");
    world.seconds(30);
    assert_eq!(world.running("web"), "aaa");
    assert_eq!(world.records.len(), 1);
    assert_eq!(world.records[0].trigger, Trigger::Drift);
    assert_eq!(world.core.view().counters.drift, 1);
}

#[test]
fn drift_that_is_only_reported_is_left_alone() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 3 drift=report");
    world.seconds(10);
    world.kill_one("web");
    world.seconds(60);
    assert_eq!(world.running("web"), "aa");
    world.push("deployment web b 3 drift=report");
    world.seconds(60);
    assert_eq!(world.running("web"), "bbb", "a new release brings all back");
}

#[test]
fn a_config_map_that_nobody_uses_makes_one_record_and_no_assignment() {
    let mut world = shop();
    world.outcomes();
    let assigns = world.assigns;
    world.push("deployment web a 3\nservice web\nconfig settings x");
    world.seconds(30);
    assert_eq!(world.outcomes(), "converged");
    assert_eq!(world.assigns, assigns);
}

#[test]
fn a_controller_that_stood_down_does_nothing() {
    let mut world = shop();
    world.outcomes();
    world.give(crate::controller::Event::StoodDown(Epoch(9)));
    let assigns = world.assigns;
    world.push("deployment web b 3");
    world.seconds(60);
    assert_eq!((world.assigns, world.outcomes()), (assigns, String::new()));
    assert_eq!(world.running("web"), "aaa");
}

#[test]
fn a_lost_message_is_sent_again() {
    let mut world = shop();
    let before = world.assigns;
    world.push("deployment web b 3\nservice web");
    assert!(world.assigns > before);
    // The agent never got it: it is as before, and says so.
    let agent = world.agents.get_mut(&node("n1")).unwrap();
    agent.pods.retain(|_, pod| pod.run.hash == hash("web", 'a'));
    agent.in_force.1 = Generation(agent.in_force.1.0 - 1);
    agent.dirty = false;
    world.run(Duration::from_secs(60));
    assert_eq!(world.running("web"), "bbb");
}

#[test]
fn a_thousand_workloads_cost_nothing_to_look_at_again() {
    let mut world = World::new(&["n1"]);
    world.capacity = Amounts { cpu_milli: 1_000_000, memory_bytes: 1 << 40 };
    world.greet();
    let many: Vec<String> = (0..200).map(|index| format!("deployment w{index} a 1\nservice w{index}")).collect();
    world.push(&many.join("\n"));
    world.seconds(5);
    let before = (world.assigns, world.endpoint_effects);
    world.push(&many.join("\n"));
    assert_eq!((world.assigns, world.endpoint_effects), before);
}

#[test]
fn what_a_node_cannot_listen_for_is_a_problem_until_it_can_and_happens_once() {
    let mut world = shop();
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    let in_use = ServiceProblem { service: service.clone(), message: "cannot listen on 127.64.0.1:80".to_owned() };
    let told = |world: &World| -> Vec<String> {
        let view = world.core.view();
        view.problems.iter().map(|problem| format!("{}: {}", problem.about, problem.message)).collect()
    };
    let report = |problems: &[ServiceProblem]| Report { service_problems: Some(problems.to_vec()), ..Report::default() };
    world.report("n1", report(std::slice::from_ref(&in_use)));
    world.report("n1", report(&[in_use]));
    let expected = "node n1: cannot listen on 127.64.0.1:80";
    assert_eq!(told(&world), [format!("Service shop/web: {expected}")]);
    let view = world.core.view();
    let events: Vec<_> = view.events.iter().filter(|event| event.about == service).collect();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].warning, events[0].count, events[0].message.as_str()), (true, 1, expected));
    world.report("n1", report(&[]));
    assert_eq!(told(&world), Vec::<String>::new());
}

#[test]
fn what_is_wrong_with_a_node_is_a_problem_until_it_is_right_and_happens_once() {
    let mut world = shop();
    let dns = NodeProblem { reason: "DNSUnavailable".to_owned(), message: "cannot listen on 10.244.1.1:53".to_owned() };
    let told = |world: &World| -> Vec<String> {
        let view = world.core.view();
        view.problems.iter().map(|problem| format!("{}: {}", problem.about, problem.message)).collect()
    };
    let report = |problems: &[NodeProblem]| Report { node_problems: Some(problems.to_vec()), ..Report::default() };
    world.report("n1", report(std::slice::from_ref(&dns)));
    world.report("n1", report(std::slice::from_ref(&dns)));
    world.report("n1", Report::default());
    assert_eq!(told(&world), ["node n1: cannot listen on 10.244.1.1:53"]);
    let view = world.core.view();
    let events: Vec<_> = view.events.iter().filter(|event| event.reason == dns.reason).collect();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].about.name.as_str(), events[0].warning, events[0].count), ("n1", true, 1));
    world.report("n1", report(&[]));
    assert_eq!(told(&world), Vec::<String>::new());
}

#[test]
fn an_event_of_an_agent_that_is_about_no_pod_is_about_its_node() {
    let mut world = shop();
    let event = PodEvent { pod: None, warning: true, reason: "LedgerNotSaved".into(), message: "no space".into() };
    world.report("n1", Report { events: vec![event], ..Report::default() });
    let view = world.core.view();
    let found = view.events.iter().find(|event| event.reason == "LedgerNotSaved").expect("listed");
    assert_eq!((found.about.name.as_str(), found.pod.as_ref(), found.warning), ("n1", None, true));
}
