//! Volume claims: data is deleted when that is ordered and nobody uses it, and no pod is started on data that is going.

use super::{World, template};
use crate::model::*;
use serde_json::json;
use std::sync::Arc;

pub(super) fn with_claim(image: &str) -> Arc<PodSnapshot> {
    template(json!({
        "containers": [{ "name": "web", "image": image, "volumeMounts": [{ "name": "data", "mountPath": "/data" }] }],
        "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }]
    }))
}

pub(super) fn data() -> ObjectKey {
    ObjectKey::new(Kind::PersistentVolumeClaim, "shop", "data")
}

impl World {
    fn order_erasure(&mut self, ordered: bool) {
        self.assignment.erase = ordered.then(data).into_iter().collect();
        self.assign();
    }

    fn has_data(&self) -> bool {
        self.host.claims().contains(&data())
    }

    /// The claims that a controller that greets the agent now hears of.
    fn told(&self) -> Vec<ObjectKey> {
        self.agent.hello(self.now).volumes.into_iter().collect()
    }
}

/// A claim with data on the host, and no pod.
fn with_data() -> World {
    let mut world = World::new();
    let uid = world.run(0, &with_claim("app:1"));
    world.order_stop(uid);
    world.pass(2_000);
    assert!(world.has_data() && world.gone.contains(&uid));
    world.assignment.stop.clear();
    world.take_transcript();
    world
}

#[test]
fn data_is_deleted_when_that_is_ordered_and_told_of_as_gone() {
    let mut world = with_data();
    assert_eq!(world.told(), [data()]);
    world.order_erasure(true);
    world.pass(2_000);
    assert!(!world.has_data());
    assert_eq!(world.told(), []);
    assert_eq!(world.take_transcript().matches("erase").count(), 1, "once");
}

#[test]
fn data_that_a_pod_uses_is_deleted_after_the_pod_only() {
    let mut world = World::new();
    let uid = world.run(0, &with_claim("app:1"));
    world.order_erasure(true);
    world.pass(60_000);
    assert!(world.has_data());
    world.order_stop(uid);
    world.pass(2_000);
    assert!(!world.has_data());
}

#[test]
fn a_pod_that_comes_while_its_old_data_is_being_deleted_waits_and_starts_with_none() {
    let mut world = with_data();
    world.order_erasure(true);
    world.pass(100);
    world.assignment.erase.clear();
    let snapshot = with_claim("app:2");
    let uid = world.run(1, &snapshot);
    let waits = &world.report(uid).message;
    assert!(
        world.transcript.join("").contains("erase") && !world.transcript.join("").contains("start"),
        "{}",
        world.take_transcript()
    );
    assert!(waits.contains("until the old data"), "{waits}");
    world.pass(2_000);
    assert!(world.report(uid).ready && world.has_data());
    assert_eq!(world.told(), [data()], "there is data again");
}

#[test]
fn an_agent_that_restarts_in_the_middle_tells_what_is_there() {
    let mut world = with_data();
    world.order_erasure(true);
    world.pass(100);
    world.restart_agent();
    assert_eq!(world.told(), []);
    world.assign();
    world.pass(2_000);
    assert_eq!((world.told(), world.has_data()), (Vec::new(), false));
}
