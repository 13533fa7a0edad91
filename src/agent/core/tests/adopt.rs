use super::{World, settings, simple, template};
use crate::agent::core::{Agent, Effect, Event, Ledger, SecretLoss, ServiceRecord, WithoutSecrets};
use crate::agent::runtime::RunState;
use crate::agent::runtime::fake::Calls;
use crate::model::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Two ready pods, one with a readiness probe.
fn two_pods(world: &mut World) -> [PodUid; 2] {
    let probe = json!({ "readinessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 5 } });
    let pods = [world.run(0, &simple("app:1", json!({}))), world.run(1, &simple("app:1", probe))];
    assert!(pods.iter().all(|uid| world.report(*uid).ready));
    pods
}

#[test]
fn names_are_answered_where_containers_ask_once_that_is_known() {
    let mut agent = Agent::new(settings(), Ledger::default(), Moment(0));
    let mut found = |gateway: Option<[u8; 4]>| {
        let gateway = gateway.map(IpAddr::from);
        let event = Event::Found { runtime: RuntimeKind::Docker, asked: Moment(0), containers: vec![], gateway };
        let effects = agent.handle(event, Moment(1));
        effects.into_iter().filter(|effect| matches!(effect, Effect::AnswerAt(_))).collect::<Vec<_>>()
    };
    assert_eq!(found(None), []);
    assert_eq!(found(Some([10, 244, 1, 1])), [Effect::AnswerAt([10, 244, 1, 1].into())]);
    assert_eq!(found(Some([10, 244, 1, 1])), []);
    assert_eq!(found(None), [], "what was answered there is answered there still");
}

#[test]
fn connections_that_waited_for_the_next_agent_find_where_they_lead() {
    let cidr = |text: &str| text.parse::<Cidr>().expect("a range");
    let network = NodeNetwork {
        version: 1,
        pods: cidr("10.244.1.0/24"),
        cluster_pods: cidr("10.244.0.0/16"),
        services: cidr("10.96.0.0/16"),
        domain: "cluster.local".to_owned(),
        peers: BTreeMap::new(),
    };
    let set = EndpointSet::empty(ObjectKey::new(Kind::Service, "shop", "web"), 1);
    let record = ServiceRecord { set: Arc::new(set), gateway_ports: BTreeMap::new(), former: None };
    let services = BTreeMap::from([(record.set.service.clone(), record)]);
    let ledger = Ledger { network: Some(Arc::new(network)), services, ..Ledger::default() };
    let effects = Agent::new(settings(), ledger, Moment(0)).handle(Event::Wake, Moment(0));
    let at = |is_it: fn(&Effect) -> bool| effects.iter().position(is_it).expect("it is to be done");
    let intercept = at(|effect| matches!(effect, Effect::Intercept(_)));
    assert!(at(|effect| matches!(effect, Effect::Network(_))) < intercept);
    assert!(at(|effect| matches!(effect, Effect::Endpoints { .. })) < intercept, "it lets in who has waited");
}

#[test]
fn a_restart_of_the_agent_makes_no_changing_call_and_keeps_pods_ready() {
    let mut world = World::new();
    let pods = two_pods(&mut world);
    let before = world.host.calls;
    world.restart_agent();
    assert!(pods.iter().all(|uid| world.report(*uid).ready), "ready in the first word already: {:?}", world.known);
    world.pass(120_000);
    assert!(pods.iter().all(|uid| world.report(*uid).ready));
    assert_eq!(world.host.calls, before);
}

#[test]
fn without_a_ledger_containers_are_adopted_by_their_labels() {
    let mut world = World::new();
    let pods = two_pods(&mut world);
    let before = world.host.calls;
    world.host.lose_ledger();
    world.restart_agent();
    for uid in pods {
        assert_eq!(world.report(uid).phase, PodPhase::Running);
        assert_eq!(world.report(uid).workload.short(), "shop/web");
    }
    world.assign();
    world.pass(120_000);
    assert!(pods.iter().all(|uid| world.report(*uid).ready));
    assert_eq!(world.host.calls, before);
}

#[test]
fn an_agent_without_memory_says_no_hello_before_every_runtime_was_listed() {
    let mut world = World::new();
    two_pods(&mut world);
    world.host.lose_ledger();
    world.host.forget_agent(world.now);
    world.host.set_down(RuntimeKind::Docker, true);
    world.agent = crate::agent::core::Agent::new(super::settings(), world.host.ledger(), world.now);
    world.tell(Event::Wake);
    world.pass(10_000);
    assert!(!world.agent.can_greet(), "its pods would count as gone");
    world.host.set_down(RuntimeKind::Docker, false);
    world.pass(3_000);
    assert!(world.agent.can_greet());
    assert_eq!(world.agent.hello(world.now).pods.len(), 2);
}

/// A disk that was full when `second` came and `stopped` went, and an agent that comes back to it.
fn behind(world: &mut World) -> (PodUid, PodUid) {
    let stopped = world.run(0, &simple("app:1", json!({})));
    world.pass(1_000);
    world.host.disk_full = true;
    let second = world.run(1, &simple("app:2", json!({})));
    world.order_stop(stopped);
    world.pass(1_000);
    assert!(world.gone.contains(&stopped));
    world.host.forget_agent(world.now);
    (stopped, second)
}

fn start(world: &mut World) {
    world.agent = crate::agent::core::Agent::new(super::settings(), world.host.ledger(), world.now);
    world.tell(Event::Wake);
    world.pass(3_000);
}

#[test]
fn an_agent_whose_ledger_is_behind_says_no_hello_before_every_runtime_was_listed() {
    let mut world = World::new();
    let (_, second) = behind(&mut world);
    world.host.set_down(RuntimeKind::Docker, true);
    start(&mut world);
    assert!(!world.agent.can_greet(), "a pod that it does not remember would count as gone");
    world.host.set_down(RuntimeKind::Docker, false);
    world.pass(3_000);
    assert!(world.agent.can_greet());
    assert_eq!(world.agent.hello(world.now).pods.iter().map(|pod| pod.uid).collect::<Vec<_>>(), [second]);
}

#[test]
fn a_pod_that_was_stopped_does_not_come_back_with_a_ledger_that_is_behind() {
    let mut world = World::new();
    behind(&mut world);
    let before = world.host.calls;
    start(&mut world);
    assert_eq!(world.host.calls, before);
    world.host.disk_full = false;
    world.pass(60_000);
    assert!(world.host.ledger().intact, "once it can be written it is the newest again");
    assert_eq!(world.host.calls, before);
}

#[test]
fn a_container_that_ended_while_the_agent_was_away_is_started_again() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    let id = world.host.containers().next().expect("one").id.clone();
    world.host.crash(&id, 9, world.now);
    let _ = world.host.due(world.now);
    world.restart_agent();
    world.pass(200);
    let report = world.report(uid);
    assert_eq!((report.phase, report.containers[0].restarts), (PodPhase::Running, 1));
    assert_eq!(report.containers[0].last_exit.as_ref().map(|exit| exit.code), Some(9));
}

#[test]
fn a_container_that_was_removed_behind_our_back_is_started_again_in_the_same_pod() {
    for lose_events in [false, true] {
        let mut world = World::new();
        let uid = world.run(0, &simple("app:1", json!({})));
        world.host.lose_events = lose_events;
        let id = world.host.containers().next().expect("one").id.clone();
        world.host.vanish(&id, world.now);
        world.pass(61_000);
        let report = world.report(uid);
        assert_eq!((report.phase, report.containers[0].restarts), (PodPhase::Running, 1), "events lost: {lose_events}");
        assert_eq!(world.running().len(), 1);
    }
}

#[test]
fn what_a_failed_removal_left_is_replaced_and_removed_until_it_is_gone() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    let mut dead = world.host.containers().next().expect("one").clone();
    dead.state = RunState::Dead;
    world.host.lose_events = true;
    world.host.vanish(&dead.id, world.now);
    world.take_transcript();
    world.pass(10);
    let found = |world: &mut World| {
        let containers = world.host.containers().cloned().chain([dead.clone()]).collect();
        world.tell(Event::Found { runtime: RuntimeKind::Docker, asked: world.now, containers, gateway: None });
        world.pass(200);
        world.take_transcript()
    };
    assert_eq!(found(&mut world), "0.2 start web#1\n0.2 remove web#0");
    assert_eq!(world.report(uid).containers[0].restarts, 1);
    assert_eq!(found(&mut world), "0.4 remove web#0", "the pod that runs is not concerned");

    world.order_stop(uid);
    world.pass(1_000);
    world.take_transcript();
    assert_eq!(found(&mut world), "1.6 remove web#0", "it brings no pod back");
    assert!(world.gone.contains(&uid));
}

#[test]
fn a_listing_that_is_older_than_a_start_does_not_make_a_second_copy() {
    let mut world = World::new();
    let asked = world.now;
    world.pass(1);
    let uid = world.run(0, &simple("app:1", json!({})));
    let stale = Event::Found { runtime: RuntimeKind::Docker, asked, containers: vec![], gateway: None };
    world.tell(stale);
    world.pass(1_000);
    assert_eq!(world.host.calls.starts, 1);
    assert_eq!(world.report(uid).containers[0].restarts, 0);
}

#[test]
fn a_listing_that_is_older_than_a_removal_does_not_bring_the_pod_back() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    let (asked, containers) = (world.now, world.host.containers().cloned().collect());
    world.order_stop(uid);
    world.pass(1_000);
    world.tell(Event::Found { runtime: RuntimeKind::Docker, asked, containers, gateway: None });
    world.pass(1_000);
    assert!(!world.agent.hello(world.now).pods.iter().any(|pod| pod.uid == uid));
}

#[test]
fn an_engine_that_goes_away_changes_nothing_and_its_pods_are_found_again() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    world.host.set_down(RuntimeKind::Docker, true);
    world.tell(Event::RuntimeLost { runtime: RuntimeKind::Docker, message: "gone".to_owned() });
    let late = world.run(1, &simple("app:1", json!({})));
    world.pass(30_000);
    assert_eq!(world.report(late).message, "the docker runtime is out of reach: the socket is gone");
    assert!(world.report(uid).ready, "nothing is known against it");
    assert_eq!(world.host.calls, Calls { starts: 1, ..Calls::default() });
    world.host.set_down(RuntimeKind::Docker, false);
    world.pass(3_000);
    assert!(world.report(late).ready);
    assert_eq!(world.host.calls, Calls { starts: 2, ..Calls::default() });
}

#[test]
fn a_runtime_that_the_node_lacks_is_said() {
    let mut world = World::new();
    world.agent.hosts.remove(&RuntimeKind::Process);
    let snapshot = template(json!({ "runtimeClassName": "process", "containers": [{ "name": "web", "command": ["web"] }] }));
    let uid = world.run(0, &snapshot);
    assert_eq!(world.report(uid).message, "this node has no process runtime");
}

#[test]
fn after_a_reboot_pods_start_again_but_those_without_their_secrets_wait() {
    let mut world = World::new();
    let pods = two_pods(&mut world);
    world.host.reboot();
    let mut ledger = world.host.ledger();
    let hash = world.report(pods[0]).hash.clone();
    let rest = ledger.templates.remove(&hash).expect("its template");
    let lost = WithoutSecrets { rest, secrets: BTreeSet::from(["words".to_owned()]), loss: SecretLoss::OtherKey };
    ledger.lost_secrets.insert(hash.clone(), lost.clone());
    world.agent = Agent::new(settings(), ledger, world.now);
    world.tell(Event::Wake);
    world.tell(Event::Connected);
    world.pass(1_000);
    assert!(world.report(pods[0]).message.starts_with("its secrets are sealed with another key"), "{:?}", world.report(pods[0]));
    assert!(world.report(pods[1]).ready);
    assert_eq!(world.agent.ledger().lost_secrets, BTreeMap::from([(hash, lost)]), "the right key may come back");
    world.assign();
    assert_eq!(world.agent.ledger().lost_secrets, BTreeMap::new());
    world.pass(1_000);
    assert!(world.report(pods[0]).ready);
}

#[test]
fn a_stop_order_for_a_pod_that_is_not_here_is_answered_only_when_that_is_certain() {
    let mut world = World::new();
    let uid = super::pod(7, &simple("app:1", json!({}))).uid;
    world.host.set_down(RuntimeKind::Docker, true);
    world.host.forget_agent(world.now);
    world.agent = crate::agent::core::Agent::new(super::settings(), world.host.ledger(), world.now);
    world.tell(Event::Wake);
    world.tell(Event::Connected);
    world.order_stop(uid);
    world.pass(5_000);
    assert!(!world.gone.contains(&uid), "it may be on the engine that is out of reach");
    world.host.set_down(RuntimeKind::Docker, false);
    world.pass(5_000);
    assert!(world.gone.contains(&uid));
}

#[test]
fn a_stopped_pod_is_not_gone_before_a_restarted_agent_has_seen_that_nothing_is_left_of_it() {
    let mut world = World::new();
    let uid = world.run(0, &simple("app:1", json!({})));
    let id = world.host.containers().next().expect("a container").id.clone();
    world.host.set_down(RuntimeKind::Docker, true);
    world.host.crash(&id, 137, world.now);
    world.order_stop(uid);
    world.pass(60_000);
    for _ in 0..2 {
        world.restart_agent();
        world.pass(60_000);
        assert!(world.known.contains_key(&uid) && !world.gone.contains(&uid));
    }
    world.take_transcript();
    world.host.set_down(RuntimeKind::Docker, false);
    world.pass(60_000);
    assert!(world.gone.contains(&uid));
    assert_eq!(world.host.containers().count(), 0);
    assert!(!world.take_transcript().contains("start"));
}
