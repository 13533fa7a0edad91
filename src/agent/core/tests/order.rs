//! What starts and stops when: sandboxes, init containers, sidecars, hooks and deadlines.

use super::{World, simple, template};
use crate::agent::runtime::fake::Calls;
use crate::agent::runtime::{ContainerId, Role, RunState};
use crate::model::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn two() -> Arc<PodSnapshot> {
    template(json!({ "containers": [{ "name": "a", "image": "a:1" }, { "name": "b", "image": "b:1" }] }))
}

/// A pod of `web`, with these init containers and whatever else.
fn with_inits(inits: Value, more: Value) -> Arc<PodSnapshot> {
    let mut spec = json!({ "initContainers": inits, "containers": [{ "name": "web", "image": "web:1" }] });
    spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    template(spec)
}

fn init(name: &str) -> Value {
    json!({ "name": name, "image": format!("{name}:1") })
}

fn sidecar(name: &str) -> Value {
    json!({ "name": name, "image": format!("{name}:1"), "restartPolicy": "Always" })
}

impl World {
    /// The running container of that name.
    fn id_of(&self, container: &str) -> ContainerId {
        let running = |status: &&crate::agent::runtime::ContainerStatus| status.state == RunState::Running;
        let found = self.host.containers().filter(running).find(|status| status.labels.container == container);
        found.unwrap_or_else(|| panic!("{container} does not run: {:?}", self.running())).id.clone()
    }

    fn crash(&mut self, container: &str, code: i32) {
        let id = self.id_of(container);
        self.host.crash(&id, code, self.now);
    }

    /// `image` ends by itself after so many seconds.
    fn ends(&mut self, image: &str, after_seconds: u64, code: i32) {
        self.behave(image, |behaviour| behaviour.exits_after = Some((Duration::from_secs(after_seconds), code)));
    }
}

#[test]
fn a_pod_with_several_containers_has_a_sandbox_that_outlives_their_restarts() {
    let mut world = World::new();
    let uid = world.run(0, &two());
    assert_eq!(world.take_transcript(), "0.0 start POD#0\n0.0 start a#0\n0.0 start b#0");
    let report = world.report(uid).clone();
    assert!(report.ready && report.address.is_some(), "{report:?}");
    assert_eq!(report.containers.iter().map(|container| container.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    world.crash("a", 1);
    world.pass(100);
    assert_eq!(world.take_transcript(), "0.2 start a#1", "the other is not touched");
    assert_eq!(world.report(uid).address, report.address);
}

#[test]
fn a_single_container_has_no_sandbox() {
    let mut world = World::new();
    world.run(0, &simple("app:1", json!({})));
    assert_eq!(world.take_transcript(), "0.0 start web#0");
}

#[test]
fn when_the_sandbox_dies_everything_starts_again_in_another() {
    let mut world = World::new();
    world.ends("one:1", 1, 0);
    let uid = world.run(0, &with_inits(json!([init("one"), sidecar("log")]), json!({})));
    world.pass(1_500);
    assert!(world.report(uid).ready, "{:?}", world.report(uid));
    world.take_transcript();
    world.crash("POD", 137);
    world.pass(2_000);
    let starts: Vec<String> =
        world.take_transcript().lines().map(|line| line.split_once(' ').expect("time").1.to_owned()).collect();
    let expected = [
        "stop log#0 grace 30s",
        "stop web#0 grace 30s",
        "start POD#1",
        "remove POD#0",
        "start one#1",
        "start log#1",
        "start web#1",
    ];
    assert_eq!(starts, expected);
    assert!(world.report(uid).ready);
}

#[test]
fn an_agent_that_restarts_adopts_sandbox_and_containers_with_and_without_its_ledger() {
    for lose_ledger in [false, true] {
        let mut world = World::new();
        world.ends("one:1", 1, 0);
        let uid = world.run(0, &with_inits(json!([init("one"), sidecar("log")]), json!({})));
        world.pass(2_000);
        let before = world.host.calls;
        if lose_ledger {
            world.host.lose_ledger();
        }
        world.restart_agent();
        let report = world.report(uid);
        assert_eq!((report.phase, report.containers.len(), report.init_containers.len()), (PodPhase::Running, 1, 2));
        world.assign();
        world.pass(120_000);
        assert!(world.report(uid).ready, "{:?}", world.report(uid));
        assert_eq!(world.host.calls, before, "ledger lost: {lose_ledger}");
    }
}

#[test]
fn a_pod_that_an_older_version_made_without_a_sandbox_runs_on_until_a_container_must_be_started() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    let before = world.host.calls;
    // What that version has made: the same pod, whose template asks for a sandbox now.
    let run = world.assignment.run[&uid].clone();
    let old = world.assignment.templates.remove(&run.hash).expect("a template");
    let mut changed = PodSnapshot::clone(&old);
    changed.template.spec.share_process_namespace = true;
    world.assignment.templates.insert(run.hash.clone(), Arc::new(changed));
    world.assign();
    world.pass(120_000);
    assert_eq!(world.host.calls, before);
    world.take_transcript();
    world.crash("web", 1);
    world.pass(1_000);
    assert_eq!(world.take_transcript().lines().map(|line| &line[6..]).collect::<Vec<_>>(), ["start POD#0", "start web#1"]);
    assert!(world.report(uid).ready);
}

#[test]
fn init_containers_run_one_after_the_other_and_the_containers_after_them() {
    let mut world = World::new();
    world.ends("one:1", 1, 0);
    world.ends("two:1", 1, 0);
    let uid = world.run(0, &with_inits(json!([init("one"), init("two")]), json!({})));
    assert_eq!(world.report(uid).phase, PodPhase::Starting);
    world.pass(3_000);
    assert_eq!(world.take_transcript(), "0.0 start POD#0\n0.0 start one#0\n1.1 start two#0\n2.1 start web#0");
    let report = world.report(uid);
    assert!(report.ready);
    assert!(report.init_containers.iter().all(|container| container.state == ContainerState::Ended), "{report:?}");
    let before = world.host.calls;
    world.crash("web", 1);
    world.pass(1_000);
    assert_eq!(world.host.calls.starts, before.starts + 1, "they have done their work");
}

#[test]
fn an_init_container_that_fails_is_tried_again_and_under_never_the_pod_has_failed() {
    for (policy, phase, starts) in [("Always", PodPhase::CrashLoop, 3), ("Never", PodPhase::Failed, 2)] {
        let mut world = World::new();
        world.ends("one:1", 1, 3);
        let uid = world.run(0, &with_inits(json!([init("one")]), json!({ "restartPolicy": policy })));
        world.pass(5_000);
        assert_eq!(world.report(uid).phase, phase);
        assert_eq!(world.host.calls.starts, starts, "{policy}: the sandbox, and the init container");
        assert!(!world.host.containers().any(|status| status.labels.container == "web"));
    }
}

#[test]
fn a_sidecar_holds_what_follows_until_it_has_started_up_and_is_always_restarted() {
    let mut world = World::new();
    world.behave("log:1", |behaviour| behaviour.ready_after = Some(Duration::from_secs(5)));
    world.ends("web:1", 20, 0);
    let mut log = sidecar("log");
    log["startupProbe"] = json!({ "tcpSocket": { "port": 80 }, "periodSeconds": 1, "failureThreshold": 30 });
    let uid = world.run(0, &with_inits(json!([log]), json!({ "restartPolicy": "OnFailure" })));
    world.pass(10_000);
    assert_eq!(world.take_transcript(), "0.0 start POD#0\n0.0 start log#0\n5.1 start web#0");
    world.crash("log", 0);
    world.pass(500);
    assert_eq!(world.take_transcript(), "10.2 start log#1", "though it ended with success, and the pod restarts on failure");
    world.pass(20_000);
    assert_eq!(world.report(uid).phase, PodPhase::Succeeded, "a sidecar does not keep a pod from completing");
    assert!(world.running().is_empty(), "{:?}", world.running());
}

#[test]
fn sidecars_stop_last_and_in_reverse_order_within_what_is_left_of_the_grace() {
    let mut world = World::new();
    world.behave("web:1", |behaviour| behaviour.stop_takes = Duration::from_secs(4));
    let spec = json!({ "terminationGracePeriodSeconds": 10 });
    let uid = world.run(0, &with_inits(json!([sidecar("first"), sidecar("second")]), spec));
    world.take_transcript();
    world.order_stop(uid);
    world.pass(10_000);
    let lines = world.take_transcript();
    let stops: Vec<&str> = lines.lines().filter(|line| line.contains("stop")).collect();
    let expected =
        ["0.2 stop web#0 grace 10s", "4.2 stop second#0 grace 6s", "4.2 stop first#0 grace 5s", "4.2 stop POD#0 grace 2s"];
    assert_eq!(stops, expected);
    assert!(world.gone.contains(&uid));
    assert_eq!(world.host.containers().count(), 0);
}

#[test]
fn the_hook_before_the_stop_runs_first_and_its_time_counts() {
    let mut world = World::new();
    let hooks = json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 3 } } } });
    let uid = world.run(0, &simple("app:1", hooks));
    world.take_transcript();
    world.order_stop(uid);
    world.pass(10_000);
    assert_eq!(world.take_transcript(), "0.2 PreStop of web#0\n3.2 stop web#0 grace 26s\n3.2 remove web#0\n3.2 forget");
}

#[test]
fn a_hook_before_the_stop_that_takes_too_long_leaves_two_seconds() {
    let mut world = World::new();
    world.behave("app:1", |behaviour| behaviour.hooks_take = Duration::from_secs(1_000));
    let hooks = json!({ "lifecycle": { "preStop": { "exec": { "command": ["drain"] } } } });
    let uid = world.run(0, &simple("app:1", hooks));
    world.take_transcript();
    world.order_stop(uid);
    world.pass(60_000);
    assert!(world.take_transcript().contains("30.2 stop web#0 grace 2s"));
    assert!(world.gone.contains(&uid));
}

#[test]
fn a_container_is_ready_only_after_its_hook_and_the_next_one_waits_for_it() {
    let mut world = World::new();
    world.behave("a:1", |behaviour| behaviour.hooks_take = Duration::from_secs(5));
    let hook = json!({ "postStart": { "exec": { "command": ["warm-up"] } } });
    let uid = world.run(
        0,
        &template(json!({ "containers": [
        { "name": "a", "image": "a:1", "lifecycle": hook }, { "name": "b", "image": "b:1" }
    ] })),
    );
    assert!(!world.report(uid).containers[0].ready);
    world.pass(6_000);
    assert!(world.report(uid).ready);
    assert_eq!(world.take_transcript(), "0.0 start POD#0\n0.0 start a#0\n0.1 PostStart of a#0\n5.1 start b#0");
    let before = world.host.calls;
    world.restart_agent();
    world.pass(60_000);
    assert_eq!(world.host.calls, before);
    assert_eq!(world.take_transcript(), "", "a hook that is done is not run again");
}

#[test]
fn a_hook_after_the_start_that_fails_restarts_the_container() {
    let mut world = World::new();
    world.behave("app:1", |behaviour| behaviour.hooks_fail = Some("the command ended with 1".to_owned()));
    let hooks = json!({ "lifecycle": { "postStart": { "exec": { "command": ["register"] } } } });
    let uid = world.run(0, &simple("app:1", hooks));
    assert_eq!(world.report(uid).phase, PodPhase::CrashLoop);
    assert!(world.events.iter().any(|event| event.reason == "FailedPostStartHook" && event.warning), "{:?}", world.events);
    let exit = world.report(uid).containers[0].last_exit.clone().map(|exit| exit.reason);
    assert_eq!(exit.as_deref(), Some("PostStartHook"));
}

#[test]
fn a_probe_may_have_a_grace_of_its_own() {
    let mut world = World::new();
    world.behave("sick:1", |behaviour| behaviour.sick_after = Some(Duration::from_secs(1)));
    let probe = json!({ "livenessProbe": {
        "tcpSocket": { "port": 80 }, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 5
    } });
    world.run(0, &simple("sick:1", probe));
    world.take_transcript();
    world.pass(1_500);
    assert!(world.take_transcript().contains("stop web#0 grace 5s"));
}

#[test]
fn a_pod_that_is_active_for_too_long_has_failed_and_stays_so_over_a_restart() {
    let mut world = World::new();
    let spec = json!({ "activeDeadlineSeconds": 5, "containers": [{ "name": "web", "image": "app:1" }] });
    let uid = world.run(0, &template(spec));
    assert!(world.report(uid).ready);
    world.pass(5_000);
    for _ in 0..2 {
        let report = world.report(uid);
        assert_eq!((report.phase, report.reason.as_str(), report.ready), (PodPhase::Failed, "DeadlineExceeded", false));
        assert_eq!(world.host.calls, Calls { starts: 1, stops: 1, removes: 0 });
        world.restart_agent();
        world.pass(60_000);
    }
}

#[test]
fn under_never_a_lost_sandbox_is_the_end() {
    let mut world = World::new();
    let spec =
        json!({ "restartPolicy": "Never", "containers": [{ "name": "a", "image": "a:1" }, { "name": "b", "image": "b:1" }] });
    let uid = world.run(0, &template(spec));
    world.crash("POD", 137);
    world.pass(1_000);
    assert_eq!((world.report(uid).phase, world.report(uid).reason.as_str()), (PodPhase::Failed, "SandboxChanged"));
    assert!(world.running().is_empty());
}

#[test]
fn after_a_reboot_the_init_containers_of_host_processes_run_again() {
    let mut world = World::new();
    world.ends("prepare", 1, 0);
    let uid = world.run(
        0,
        &template(json!({
            "runtimeClassName": "process",
            "initContainers": [{ "name": "prepare", "command": ["prepare"] }],
            "containers": [{ "name": "web", "command": ["web"] }]
        })),
    );
    world.pass(2_000);
    assert!(world.report(uid).ready);
    assert!(world.host.containers().all(|status| status.labels.role != Role::Sandbox));
    world.take_transcript();
    world.host.reboot();
    world.restart_agent();
    world.pass(3_000);
    assert_eq!(world.take_transcript().lines().map(|line| &line[4..]).collect::<Vec<_>>(), ["start prepare#1", "start web#1"]);
    assert!(world.report(uid).ready);
}
