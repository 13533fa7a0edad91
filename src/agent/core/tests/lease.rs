//! Pods that run only while the controller is heard.

use super::{World, simple};
use crate::model::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A template whose pods have a lease of 30 s, and a grace of 5 s.
fn leased(image: &str) -> Arc<PodSnapshot> {
    let mut snapshot = simple(image, json!({}));
    let template = &mut Arc::make_mut(&mut snapshot).template;
    template.metadata.annotations.insert(LEASE.to_owned(), "30s".to_owned());
    template.spec.termination_grace_period_seconds = 5;
    snapshot
}

/// What the boot clock shows at a time of these tests.
fn boot(at: Moment) -> BootMoment {
    BootMoment(at.0)
}

impl World {
    /// The controller answers a heartbeat of so many milliseconds ago.
    fn renew(&mut self, uid: PodUid, granted: bool, ago: u64) {
        let (all, none) = (BTreeSet::from([uid]), BTreeSet::new());
        let sent = boot(self.now - Duration::from_millis(ago));
        let renewal = Renewal { sent, granted: if granted { all.clone() } else { none }, extended: all };
        self.tell(super::Event::Renewed(renewal));
        self.pass(100);
    }

    /// A pod that runs with a lease from now on.
    fn run_leased(&mut self, image: &str) -> PodUid {
        let uid = self.run(0, &leased(image));
        self.renew(uid, true, 0);
        assert_eq!(self.running().len(), 1);
        uid
    }
}

#[test]
fn a_pod_with_a_lease_asks_for_it_at_once_and_starts_when_it_has_it() {
    let mut world = World::new();
    let uid = world.run(0, &leased("web:1"));
    assert_eq!(world.take_transcript(), "0.0 beat");
    assert_eq!(world.report(uid).message, "it has no lease: waiting for the controller to renew it");
    world.renew(uid, false, 0);
    assert!(world.running().is_empty(), "an extension is none where there is nothing to extend");
    world.renew(uid, true, 1_000);
    assert_eq!(world.running().len(), 1);
    let until = world.host.containers().next().and_then(|container| container.lease);
    assert_eq!(until, Some(boot(world.now) + Duration::from_millis(30_000 - 1_100)), "it counts from the heartbeat");
}

#[test]
fn a_pod_that_is_renewed_runs_on_and_one_that_is_not_ends_and_begins_again_with_the_next_grant() {
    let mut world = World::new();
    let uid = world.run_leased("web:1");
    for _ in 0..4 {
        world.pass(20_000);
        world.renew(uid, false, 0);
    }
    assert_eq!((world.running().len(), world.host.calls.starts), (1, 1));
    world.pass(31_000);
    let report = world.report(uid);
    assert_eq!(
        (report.containers[0].last_exit.as_ref().map(|exit| exit.reason.as_str()), world.running().len()),
        (Some(LEASE_EXPIRED), 0)
    );
    assert!(world.events.iter().any(|event| event.reason == "LeaseExpired"), "{:?}", world.events);
    world.renew(uid, false, 0);
    assert!(world.running().is_empty(), "what has run out is not extended");
    world.renew(uid, true, 0);
    assert_eq!((world.running().len(), world.host.calls.stops), (1, 0), "at once, without back-off");
}

#[test]
fn an_answer_that_comes_too_late_is_none() {
    let mut world = World::new();
    let uid = world.run(0, &leased("web:1"));
    world.renew(uid, true, 30_000);
    assert!(world.running().is_empty());
}

#[test]
fn without_an_agent_a_pod_ends_all_the_same_and_the_next_agent_tells_it() {
    let mut world = World::new();
    let uid = world.run_leased("web:1");
    world.host.forget_agent(world.now);
    world.pass(32_000);
    assert!(world.running().is_empty());
    world.restart_agent();
    world.pass(1_000);
    let report = world.report(uid);
    assert_eq!(report.containers[0].last_exit.as_ref().map(|exit| exit.reason.as_str()), Some(LEASE_EXPIRED));
    assert_eq!(report.message, "it has no lease: waiting for the controller to renew it");
}

#[test]
fn an_agent_that_restarts_finds_the_lease_and_has_it_extended() {
    let mut world = World::new();
    let uid = world.run_leased("web:1");
    world.pass(10_000);
    world.restart_agent();
    world.renew(uid, false, 0);
    world.pass(25_000);
    assert_eq!((world.running().len(), world.host.calls.starts), (1, 1));
}

#[test]
fn what_ends_for_another_reason_is_restarted_while_the_lease_lasts() {
    let mut world = World::new();
    world.behave("crash:1", |behaviour| behaviour.exits_after = Some((Duration::from_secs(2), 1)));
    world.run_leased("crash:1");
    world.pass(5_000);
    assert_eq!(world.host.calls.starts, 2);
}

#[test]
fn after_a_reboot_a_pod_waits_for_a_grant_and_others_do_not() {
    let mut world = World::new();
    let uid = world.run_leased("web:1");
    world.run(1, &simple("other:1", json!({})));
    world.pass(1_000);
    world.host.reboot();
    world.restart_agent();
    world.pass(1_000);
    assert_eq!(world.running().len(), 1);
    world.renew(uid, false, 0);
    assert_eq!(world.running().len(), 1);
    world.renew(uid, true, 0);
    assert_eq!(world.running().len(), 2);
}

#[test]
fn a_host_that_slept_finds_its_leases_run_out() {
    let mut world = World::new();
    world.behave("crash:1", |behaviour| behaviour.exits_after = Some((Duration::from_secs(2), 1)));
    let uid = world.run_leased("crash:1");
    world.tell(super::Event::BootClock { ahead_ms: 60_000 });
    world.pass(10_000);
    assert_eq!(world.host.calls.starts, 1, "{:?}", world.report(uid));
}
