//! What pods are said to use.

use super::{World, template};
use crate::agent::core::Event;
use crate::model::*;
use serde_json::json;
use std::time::Duration;

/// A world in which samples are taken every ten seconds.
fn sampled() -> World {
    let mut world = World::new();
    world.agent.settings.sample_every = Some(Duration::from_secs(10));
    world
}

fn of(cpu_milli: Option<u64>, memory_bytes: u64) -> ContainerUsage {
    ContainerUsage { cpu_milli, memory_bytes }
}

#[test]
fn the_first_sample_tells_memory_and_the_second_cpu_of_each_container_and_sidecar() {
    let mut world = sampled();
    world.behave("app:1", |behaviour| (behaviour.cpu_milli, behaviour.memory_bytes) = (200, 5000));
    world.behave("log:1", |behaviour| (behaviour.cpu_milli, behaviour.memory_bytes) = (30, 700));
    let log = json!({ "name": "log", "image": "log:1", "restartPolicy": "Always" });
    let app = json!({ "name": "app", "image": "app:1" });
    let uid = world.run(0, &template(json!({ "initContainers": [log], "containers": [app] })));
    world.pass(10_500);
    let first = world.usage[&uid].clone();
    assert_eq!((first.cpu_milli, first.memory_bytes), (None, Some(5700)));
    assert_eq!(first.containers["app"], of(None, 5000));
    world.pass(10_500);
    let second = &world.usage[&uid];
    assert_eq!((second.cpu_milli, second.memory_bytes), (Some(230), Some(5700)));
    let names: Vec<&str> = second.containers.keys().map(String::as_str).collect();
    assert_eq!(names, ["app", "log"], "the sandbox is nobody's business");
    assert_eq!(second.containers["log"], of(Some(30), 700));
}

#[test]
fn a_container_that_was_started_again_is_measured_anew() {
    let mut world = sampled();
    let app = json!({ "name": "app", "image": "app:1" });
    let uid = world.run(0, &template(json!({ "containers": [app] })));
    world.pass(21_000);
    assert_eq!(world.usage[&uid].cpu_milli, Some(10));
    let id = world.host.containers().next().expect("a container").id.clone();
    world.host.crash(&id, 1, world.now);
    world.pass(10_000);
    assert_eq!(world.usage[&uid].cpu_milli, None, "what the one before has used is no part of it");
    world.pass(10_000);
    assert_eq!(world.usage[&uid].cpu_milli, Some(10));
}

#[test]
fn a_host_is_measured_as_a_whole_also_without_pods() {
    let mut world = sampled();
    world.tell(Event::Wake);
    world.pass(500);
    assert_eq!(world.host_usage, Some(HostUsage { cpu_milli: None, memory_bytes: 0 }));
    world.behave("app:1", |behaviour| (behaviour.cpu_milli, behaviour.memory_bytes) = (200, 5000));
    world.run(0, &template(json!({ "containers": [{ "name": "app", "image": "app:1" }] })));
    world.pass(20_000);
    assert_eq!(world.host_usage, Some(HostUsage { cpu_milli: Some(200), memory_bytes: 5000 }));
}
