use super::{World, simple, template};
use crate::model::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn a_container_that_keeps_ending_is_started_after_0_10_20_40_seconds() {
    let mut world = World::new();
    world.behave("crash:1", |behaviour| behaviour.exits_after = Some((Duration::from_secs(1), 3)));
    let uid = world.run(0, &simple("crash:1", json!({})));
    world.pass(100_000);
    let starts: Vec<String> = world.transcript.iter().filter(|line| line.contains("start")).cloned().collect();
    assert_eq!(starts, ["0.0 start web#0", "1.0 start web#1", "12.1 start web#2", "33.1 start web#3", "74.1 start web#4"]);
    let report = world.report(uid);
    assert_eq!(report.phase, PodPhase::CrashLoop);
    assert_eq!(report.containers[0].last_exit, Some(Exit { code: 3, reason: "Error".to_owned() }));
    assert_eq!(report.message, "back-off 80s restarting failed container web");
}

#[test]
fn the_dead_container_before_the_last_is_removed_and_the_last_kept_for_its_log() {
    let mut world = World::new();
    world.behave("crash:1", |behaviour| behaviour.exits_after = Some((Duration::from_secs(1), 3)));
    let uid = world.run(0, &simple("crash:1", json!({})));
    world.pass(35_000);
    assert_eq!(world.host.containers().count(), 2, "attempts 2 and 3");
    let (_, previous) = world.agent.log_of(uid, None, true).expect("a previous container");
    assert!(previous.0.ends_with("-2"), "{previous}");
}

#[test]
fn restart_policy_on_failure_restarts_failures_and_lets_success_be() {
    for (code, phase, restarts) in [(0, PodPhase::Succeeded, 0), (1, PodPhase::CrashLoop, 1)] {
        let mut world = World::new();
        world.behave("job:1", |behaviour| behaviour.exits_after = Some((Duration::from_secs(1), code)));
        let container = json!([{ "name": "web", "image": "job:1" }]);
        let uid = world.run(0, &template(json!({ "restartPolicy": "OnFailure", "containers": container })));
        world.pass(5_000);
        let report = world.report(uid);
        assert_eq!((report.phase, report.containers[0].restarts), (phase, restarts), "code {code}");
    }
}

#[test]
fn restart_policy_never_ends_the_pod_and_remembers_it_over_a_restart_of_the_agent() {
    let mut world = World::new();
    world.behave("job:1", |behaviour| behaviour.exits_after = Some((Duration::from_secs(1), 1)));
    let container = json!([{ "name": "web", "image": "job:1" }]);
    let uid = world.run(0, &template(json!({ "restartPolicy": "Never", "containers": container })));
    world.pass(5_000);
    assert_eq!(world.report(uid).phase, PodPhase::Failed);
    world.restart_agent();
    world.pass(60_000);
    assert_eq!(world.report(uid).phase, PodPhase::Failed);
    assert_eq!(world.host.calls.starts, 1);
}

#[test]
fn a_start_that_fails_says_why_and_is_tried_again_with_back_off() {
    let mut world = World::new();
    let error = crate::agent::runtime::RuntimeError::Image { image: "no:1".into(), message: "not found".into() };
    world.behave("no:1", |behaviour| behaviour.start_fails = Some(error));
    let uid = world.run(0, &simple("no:1", json!({})));
    assert_eq!(world.report(uid).message, "ErrImagePull: image no:1: not found");
    world.pass(35_000);
    assert_eq!(world.host.calls.starts, 3);
    assert_eq!(world.report(uid).message, "ImagePullBackOff: image no:1: not found");
    world.behave("no:1", |_| {});
    world.pass(60_000);
    assert_eq!(world.report(uid).phase, PodPhase::Running);
    assert_eq!(world.report(uid).containers[0].restarts, 0, "it never ran before");
}

#[test]
fn a_restart_runs_the_image_that_the_first_start_found_or_that_the_controller_says() {
    let image = |world: &World| {
        let digests = world.host.containers().map(|container| container.image_digest.clone().unwrap_or_default());
        digests.collect::<BTreeSet<_>>()
    };
    for (told, expected) in [(None, "old"), (Some("told"), "told")] {
        let mut world = World::new();
        let crash = |behaviour: &mut crate::agent::runtime::fake::Behaviour| {
            behaviour.exits_after = Some((Duration::from_secs(1), 3));
        };
        for name in ["crash:1", "crash@old", "crash@told"] {
            world.behave(name, crash);
        }
        world.host.registry.insert("crash:1".to_owned(), "old".to_owned());
        let snapshot = simple("crash:1", json!({}));
        let mut run = super::pod(0, &snapshot);
        run.images.extend(told.map(|digest| ("crash:1".to_owned(), digest.to_owned())));
        world.assignment.templates.insert(snapshot.hash.clone(), snapshot);
        world.assignment.run.insert(run.uid, run);
        world.assign();
        world.pass(500);
        world.host.registry.insert("crash:1".to_owned(), "new".to_owned());
        world.pass(1_000);
        world.restart_agent();
        world.pass(20_000);
        assert!(world.host.calls.starts > 2);
        assert_eq!(image(&world), BTreeSet::from([expected.to_owned()]));
    }
}

#[test]
fn a_liveness_failure_stops_with_grace_and_starts_again() {
    let mut world = World::new();
    world.behave("sick:1", |behaviour| behaviour.sick_after = Some(Duration::from_secs(5)));
    let probe = json!({ "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 2, "failureThreshold": 2 } });
    let uid = world.run(0, &simple("sick:1", probe));
    world.take_transcript();
    world.pass(9_000);
    assert_eq!(world.take_transcript(), "8.0 stop web#0 grace 30s\n8.0 start web#1");
    let report = world.report(uid);
    assert_eq!(report.containers[0].last_exit, Some(Exit { code: 0, reason: "LivenessProbe".to_owned() }));
    assert!(world.events.iter().any(|event| event.message.starts_with("Liveness probe of container web failed: status 503")));
}

#[test]
fn a_startup_probe_holds_readiness_back_until_it_succeeds() {
    let mut world = World::new();
    world.behave("slow:1", |behaviour| behaviour.ready_after = Some(Duration::from_secs(5)));
    let probes = json!({
        "startupProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 2, "failureThreshold": 10 },
        "readinessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 100 }
    });
    let uid = world.run(0, &simple("slow:1", probes));
    world.pass(5_700);
    assert!(!world.report(uid).ready);
    world.pass(400);
    assert!(world.report(uid).ready, "the startup probe at 6 s passes, and readiness right after it");
}

#[test]
fn a_startup_probe_that_never_succeeds_restarts() {
    let mut world = World::new();
    world.behave("slow:1", |behaviour| behaviour.ready_after = None);
    let probes = json!({ "startupProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 1, "failureThreshold": 3 } });
    let uid = world.run(0, &simple("slow:1", probes));
    world.pass(2_500);
    assert_eq!(world.report(uid).containers[0].restarts, 1);
    let reason = world.report(uid).containers[0].last_exit.clone().map(|exit| exit.reason);
    assert_eq!(reason.as_deref(), Some("StartupProbe"));
}

#[test]
fn readiness_that_is_lost_takes_the_pod_out_and_never_restarts_it() {
    let mut world = World::new();
    let probe = json!({ "readinessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 1, "failureThreshold": 2 } });
    let uid = world.run(0, &simple("app:1", probe));
    assert!(world.report(uid).ready);
    world.behave("app:1", |behaviour| behaviour.ready_after = None);
    world.pass(5_000);
    assert!(!world.report(uid).ready);
    world.behave("app:1", |_| {});
    world.pass(2_000);
    assert!(world.report(uid).ready);
    assert!(world.report(uid).ready_for < Duration::from_secs(2));
    assert_eq!((world.host.calls.starts, world.host.calls.stops), (1, 0));
}
