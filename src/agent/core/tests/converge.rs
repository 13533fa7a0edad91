use super::{World, settings, simple, template};
use crate::agent::core::{Agent, Effect, Event, Ledger};
use crate::agent::runtime::fake::Calls;
use crate::model::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[test]
fn an_assigned_pod_is_started_and_reported_ready() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    let report = world.report(uid);
    assert_eq!((report.phase, report.ready), (PodPhase::Running, true), "{report:?}");
    assert_eq!(world.acknowledged, (Epoch(1), Generation(1)));
    assert!(report.address.is_some());
}

#[test]
fn an_older_generation_or_epoch_changes_nothing() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    let mut older = world.assignment.clone();
    older.run.clear();
    older.stop.insert(uid, StopOrder { uid, reason: StopReason::Pruned, commit: None });
    for (epoch, generation) in [(1, 0), (0, 99)] {
        let assignment = Assignment { epoch: Epoch(epoch), generation: Generation(generation), ..older.clone() };
        world.tell(Event::Assigned(Box::new(assignment)));
        world.pass(60_000);
        assert_eq!(world.acknowledged, (Epoch(1), Generation(1)), "the one in force is what is acknowledged");
        assert_eq!(world.report(uid).phase, PodPhase::Running);
    }
    assert_eq!(world.host.calls, Calls { starts: 1, stops: 0, removes: 0 });
}

#[test]
fn a_pod_in_no_list_keeps_running_and_says_so() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    world.assignment.run.clear();
    world.assign();
    world.pass(600_000);
    assert_eq!(world.running().len(), 1);
    assert!(world.report(uid).message.starts_with("unclaimed"), "{:?}", world.report(uid));
    assert_eq!(world.host.calls.stops, 0);
}

#[test]
fn an_unclaimed_pod_is_still_healed() {
    let mut world = World::new();
    world.run(0, &simple("app:1", json!({})));
    world.assignment.run.clear();
    world.assignment.templates.clear();
    world.assign();
    let id = world.host.containers().next().expect("one").id.clone();
    world.host.crash(&id, 1, world.now);
    world.pass(1_000);
    assert_eq!(world.running().len(), 1);
}

#[test]
fn a_stop_order_stops_with_the_grace_of_the_template_and_frees_the_slot_only_after_removal() {
    let mut world = World::new();
    world.behave("app:1", |behaviour| behaviour.stop_takes = std::time::Duration::from_secs(3));
    let snapshot = template(json!({
        "terminationGracePeriodSeconds": 7, "containers": [{ "name": "web", "image": "app:1" }]
    }));
    let uid = world.run(0, &snapshot);
    world.take_transcript();
    world.order_stop(uid);
    world.pass(2_000);
    let report = world.report(uid);
    assert_eq!((report.phase, report.ready), (PodPhase::Stopping, false));
    world.pass(2_000);
    assert!(world.gone.contains(&uid));
    assert_eq!(world.take_transcript(), "0.2 stop web#0 grace 7s\n3.2 remove web#0\n3.2 forget");
    assert_eq!(world.host.containers().count(), 0);
}

#[test]
fn the_end_of_a_pod_is_repeated_until_the_controller_drops_it() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    world.order_stop(uid);
    world.pass(1_000);
    for _ in 0..2 {
        world.gone.clear();
        world.assign();
        world.pass(100);
        assert!(world.gone.contains(&uid), "asked again, answered again");
    }
    world.gone.clear();
    world.assignment.stop.clear();
    world.assign();
    world.pass(100);
    assert!(world.gone.is_empty());
}

#[test]
fn a_stopped_pod_is_never_started_again_even_if_it_is_assigned() {
    let mut world = World::new();
    let snapshot = simple("app:1", json!({}));
    let uid = world.run(0, &snapshot);
    world.order_stop(uid);
    world.pass(1_000);
    world.assignment.stop.clear();
    world.run(0, &snapshot);
    assert_eq!(world.host.calls.starts, 1);
    assert!(world.gone.contains(&uid));
}

#[test]
fn a_pod_that_is_ordered_to_stop_while_it_starts_is_stopped_once_it_runs() {
    let mut world = World::new();
    world.behave("slow:1", |behaviour| behaviour.start_takes = std::time::Duration::from_secs(5));
    let uid = world.run(0, &simple("slow:1", json!({})));
    assert_eq!(world.report(uid).phase, PodPhase::Starting);
    world.order_stop(uid);
    world.pass(10_000);
    assert!(world.gone.contains(&uid));
    assert_eq!(world.host.containers().count(), 0, "nothing is left behind");
}

#[test]
fn process_pods_get_ports_of_their_own_that_stay_over_restarts() {
    let mut world = World::new();
    let snapshot = template(json!({
        "runtimeClassName": "process",
        "containers": [{ "name": "web", "command": ["web"], "ports": [{ "containerPort": 8080 }, { "containerPort": 9090 }] }]
    }));
    let first = world.run(0, &snapshot);
    let second = world.run(1, &snapshot);
    let given: BTreeSet<u16> = [first, second].iter().flat_map(|uid| world.report(*uid).ports.values().copied()).collect();
    assert_eq!(given.len(), 4, "four different ports: {given:?}");
    let before = world.report(first).ports.clone();
    let id = world.host.containers().next().expect("one").id.clone();
    world.host.crash(&id, 1, world.now);
    world.pass(200);
    world.restart_agent();
    world.pass(200);
    assert_eq!(world.report(first).ports, before);
}

#[test]
fn a_port_that_another_program_has_is_replaced_by_another() {
    let mut world = World::new();
    let snapshot = template(json!({
        "runtimeClassName": "process",
        "containers": [{ "name": "web", "command": ["web"], "ports": [{ "containerPort": 8080 }] }]
    }));
    let uid = super::pod(0, &snapshot).uid;
    world.assignment.templates.insert(snapshot.hash.clone(), Arc::clone(&snapshot));
    world.assignment.run.insert(uid, super::pod(0, &snapshot));
    world.assign();
    let taken = *world.agent.ledger().pods[&uid].ports.get(&8080).expect("given");
    let key = crate::agent::core::ContainerKey { pod: uid, container: "web".to_owned(), attempt: 0 };
    let outcome = Err(crate::agent::runtime::RuntimeError::PortInUse { port: taken });
    world.tell(Event::Started { key, outcome });
    world.pass(100);
    assert_ne!(world.report(uid).ports[&8080], taken);
}

#[test]
fn a_template_that_cannot_be_launched_waits_with_its_reason() {
    let mut world = World::new();
    let env = json!({ "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "a" } } }] });
    let uid = world.run(0, &simple("app:1", env));
    let report = world.report(uid);
    assert_eq!(report.phase, PodPhase::Pending);
    assert_eq!(report.message, "CreateContainerConfigError: ConfigMap \"settings\", which variable A refers to, does not exist");
}

#[test]
fn endpoints_are_acknowledged_once_the_proxy_uses_them_and_older_ones_are_dropped() {
    let mut world = World::new();
    let service = ObjectKey::new(Kind::Service, "shop", "web");
    let set = |version| EndpointSet::empty(service.clone(), version);
    for (version, in_use) in [(3, 3), (2, 3), (4, 4)] {
        world.tell(Event::Endpoints(Box::new(set(version))));
        world.pass(100);
        assert_eq!(world.agent.hello(world.now).endpoints[&service].version, in_use);
    }
}

#[test]
fn a_disk_that_is_full_changes_nothing_that_runs_and_the_ledger_is_tried_again() {
    let mut world = World::new();
    world.host.disk_full = true;
    let uid = world.run(0, &simple("app:1", json!({})));
    assert_eq!(world.report(uid).phase, PodPhase::Running);
    assert!(world.events.iter().any(|event| event.reason == "LedgerNotSaved"), "{:?}", world.events);
    world.host.disk_full = false;
    world.pass(10_000);
    assert!(world.host.ledger().pods.contains_key(&uid));
}

/// What an agent acknowledges that was just assigned the first generation of the first epoch, once this has happened too.
fn acknowledged_after(then: Event, at: u64) -> Option<(Epoch, Generation)> {
    let mut agent = Agent::new(settings(), Ledger { intact: true, ..Ledger::default() }, Moment(0));
    agent.handle(Event::Wake, Moment(0));
    agent.handle(Event::Connected, Moment(1));
    let (run, templates) = (BTreeMap::new(), BTreeMap::new());
    let (epoch, generation) = (Epoch(1), Generation(1));
    let assignment = Assignment { epoch, generation, run, stop: BTreeMap::new(), erase: BTreeSet::new(), templates };
    let at_once = agent.handle(Event::Assigned(Box::new(assignment)), Moment(60_000));
    assert!(at_once.iter().any(|effect| matches!(effect, Effect::SaveLedger(_))), "{at_once:?}");
    assert!(!at_once.iter().any(|effect| matches!(effect, Effect::Report(_))), "{at_once:?}");
    let effects = agent.handle(then, Moment(at));
    let reported = |effect: &Effect| if let Effect::Report(report) = effect { Some(report.assignment) } else { None };
    effects.iter().find_map(reported)
}

#[test]
fn an_assignment_is_acknowledged_once_the_ledger_has_it_or_the_disk_has_refused_it_or_does_not_answer() {
    let it = Some((Epoch(1), Generation(1)));
    let full = || Err("no space left on device".to_owned());
    assert_eq!(acknowledged_after(Event::LedgerSaved(Ok(())), 60_010), it);
    assert_eq!(acknowledged_after(Event::LedgerSaved(full()), 60_010), it);
    assert_eq!(acknowledged_after(Event::Wake, 64_999), None, "it may be written yet");
    assert_eq!(acknowledged_after(Event::Wake, 65_000), it, "the disk hangs");
}

/// A template with a volume of a ConfigMap, whose contents are `text` in this version.
fn configured(text: &str, version: &str) -> Arc<PodSnapshot> {
    let container = json!({ "name": "web", "image": "app:1", "volumeMounts": [{ "name": "conf", "mountPath": "/conf" }] });
    let volumes = json!([{ "name": "conf", "configMap": { "name": "settings" } }]);
    let plain = template(json!({ "containers": [container], "volumes": volumes }));
    let data = BTreeMap::from([("a".to_owned(), text.as_bytes().to_vec())]);
    let config_maps = BTreeMap::from([("settings".to_owned(), data)]);
    let config = ConfigSnapshot { config_maps, version: version.to_owned(), ..ConfigSnapshot::default() };
    Arc::new(PodSnapshot { config: Arc::new(config), ..(*plain).clone() })
}

#[test]
fn a_newer_configuration_of_the_same_template_reaches_running_containers_without_a_restart() {
    let mut world = World::new();
    world.run(0, &configured("one", "v1"));
    world.take_transcript();
    let newer = configured("two", "v2");
    world.assignment.templates.insert(newer.hash.clone(), newer);
    world.assign();
    world.pass(60_000);
    assert!(world.take_transcript().ends_with(" rewrite web#0 a=two"));
    world.assign();
    world.pass(60_000);
    assert_eq!(world.take_transcript(), "", "once is enough");
    assert_eq!(world.host.calls, Calls { starts: 1, stops: 0, removes: 0 });
}

#[test]
fn an_agent_that_restarts_makes_sure_of_the_files_that_it_wrote() {
    let mut world = World::new();
    world.run(0, &configured("one", "v1"));
    world.take_transcript();
    world.restart_agent();
    world.pass(60_000);
    assert!(world.take_transcript().ends_with("rewrite web#0 a=one"));
    assert_eq!(world.host.calls, Calls { starts: 1, stops: 0, removes: 0 });
}
