//! Who is a member of the cluster, and the way out of a node that a commit removes.

use super::world::{FakeAgent, World, node};
use crate::controller::Event;
use crate::model::*;
use std::collections::BTreeMap;

fn fingerprint(text: &str) -> KeyFingerprint {
    KeyFingerprint(text.to_owned())
}

impl World {
    pub(super) fn join(&mut self, name: &str, key: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let member = NodeMember { key: fingerprint(key), labels };
        self.give(Event::NodeJoined { node: node(name), member, token: "t1".to_owned() });
    }

    fn admission(&self, name: &str, key: &str) -> Result<bool, JoinRefusal> {
        self.core.admission(&node(name), &fingerprint(key))
    }

    fn label(&self, name: &str, label: &str) -> Option<String> {
        self.core.view().nodes[&node(name)].facts.as_ref()?.labels.get(label).cloned()
    }
}

#[test]
fn a_node_that_joins_is_recorded_and_trusted_by_every_later_controller() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 1");
    world.seconds(10);
    assert_eq!(world.admission("n9", "key"), Ok(false), "the name is free");
    world.records.clear();
    world.join("n9", "key", &[]);
    assert_eq!(world.records[0].subject, "node n9 joins the cluster");
    assert!(world.records[0].actor.contains("token t1"));
    assert_eq!(world.admission("n9", "key"), Ok(true));
    assert_eq!(world.admission("n9", "other"), Err(JoinRefusal::NameTaken(node("n9"))));
    world.restart(false);
    assert_eq!(world.roll.judge(&node("n9"), &fingerprint("key")), Ok(()));
    assert_eq!(world.roll.judge(&node("n9"), &fingerprint("other")), Err(JoinRefusal::NameTaken(node("n9"))));
    assert_eq!(world.admission("n9", "key"), Ok(true));
}

#[test]
fn the_name_of_a_node_that_is_there_without_a_certificate_is_not_free() {
    let world = World::new(&["n1"]);
    assert_eq!(world.admission("n1", "key"), Err(JoinRefusal::NameTaken(node("n1"))));
}

#[test]
fn labels_come_from_the_token_and_from_git_and_never_from_the_agent() {
    let mut world = World::new(&["n1"]);
    world.push("node n1 zone=west");
    world.join("n1", "key", &[("tier", "web"), ("zone", "east")]);
    let own = BTreeMap::from([("tier".to_owned(), "db".to_owned()), ("kubernetes.io/os".to_owned(), "linux".to_owned())]);
    world.hello_with(&node("n1"), own);
    assert_eq!(world.label("n1", "tier").as_deref(), Some("web"), "the agent says db");
    assert_eq!(world.label("n1", "zone").as_deref(), Some("west"), "git counts more than the token");
    assert_eq!(world.label("n1", "kubernetes.io/os").as_deref(), Some("linux"));
}

#[test]
fn a_node_that_a_commit_removes_is_struck_off_and_its_pods_run_elsewhere_at_once() {
    let mut world = World::new(&["n1", "n2", "n3"]);
    for name in ["n1", "n2", "n3"] {
        world.join(name, name, &[]);
    }
    world.push("stateful db a 3 claim=own\ndeployment web a 3\ndaemon logs a");
    world.seconds(20);
    let on_n2 = |world: &World| world.core.view().pods.iter().filter(|pod| pod.node == node("n2")).count();
    assert!(on_n2(&world) >= 3, "a pod of each");
    world.push("stateful db a 3 claim=own\ndeployment web a 3\ndaemon logs a\nnode n2 removed");
    assert_eq!(world.roll.judge(&node("n2"), &fingerprint("n2")), Err(JoinRefusal::Removed(node("n2"))));
    assert!(!world.core.view().nodes.contains_key(&node("n2")));
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.seconds(20);
    for workload in ["StatefulSet/db", "Deployment/web", "DaemonSet/logs"] {
        assert_eq!(world.progress(workload), Progress::Done, "{workload}");
    }
    assert_eq!(on_n2(&world), 0);
    let claims = world.core.view().claims.clone();
    assert!(claims.values().all(|claim| claim.node != Some(node("n2"))), "{claims:?}");
    // What it says, over whatever link is left, does not count.
    world.hello(&node("n2"));
    assert!(!world.core.view().nodes.contains_key(&node("n2")));
    world.restart(false);
    assert!(world.roll.keys.keys().all(|name| *name != node("n2")), "the memory does not know it either");
}

#[test]
fn a_name_is_free_again_when_the_annotation_is_gone_and_costs_a_new_token() {
    let mut world = World::new(&["n1"]);
    world.join("n2", "old", &[]);
    world.push("deployment web a 1\nnode n2 removed");
    assert_eq!(world.admission("n2", "old"), Err(JoinRefusal::Removed(node("n2"))));
    world.push("deployment web a 1\nnode n2");
    assert_eq!(world.admission("n2", "old"), Ok(false), "known no more");
    assert_eq!(world.roll.judge(&node("n2"), &fingerprint("old")), Err(JoinRefusal::NoToken(node("n2"))));
    world.join("n2", "new", &[]);
    assert_eq!(world.admission("n2", "new"), Ok(true));
}

#[test]
fn a_controller_that_starts_with_a_removed_node_in_its_memory_gives_it_up() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("stateful db a 2");
    world.seconds(15);
    world.restart(false);
    world.agents.get_mut(&node("n2")).unwrap().up = false;
    world.greet();
    world.push("stateful db a 2\nnode n2 removed");
    world.seconds(90);
    assert_eq!(world.progress("StatefulSet/db"), Progress::Done);
    assert!(world.core.view().pods.iter().all(|pod| pod.node == node("n1")));
}

/// All that an agent could say of a pod.
fn forged(report: PodReport) -> Report {
    let uid = report.uid;
    let usage = PodUsage { cpu_milli: Some(64_000), ..PodUsage::default() };
    let event = PodEvent { pod: Some(uid), warning: true, reason: "Forged".to_owned(), message: "by another node".to_owned() };
    let report = PodReport { phase: PodPhase::Failed, ready: false, ..report };
    Report {
        pods: vec![report],
        gone: vec![uid],
        usage: BTreeMap::from([(uid, usage)]),
        events: vec![event],
        ..Report::default()
    }
}

fn pod_of(world: &World, name: &str) -> PodView {
    world.core.view().pods.iter().find(|pod| pod.node == node(name)).expect("a pod").clone()
}

#[test]
fn a_node_can_say_nothing_of_a_pod_of_another_node() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("deployment web a 2");
    world.seconds(10);
    let before = pod_of(&world, "n1");
    world.report("n2", forged(before.report.clone().expect("a report")));
    assert_eq!(pod_of(&world, "n1"), before);
    assert!(!world.core.view().events.iter().any(|event| event.reason == "Forged"));

    let stolen = world.agents[&node("n1")].pods.clone();
    world.agents.get_mut(&node("n2")).expect("an agent").pods.extend(stolen);
    world.hello(&node("n2"));
    assert_eq!(pod_of(&world, "n1"), before, "nor when it says hello");
}

#[test]
fn a_pod_that_nobody_knows_stays_with_the_node_that_told_of_it_first() {
    let mut world = World::new(&["n1"]);
    world.push("deployment web a 1");
    world.seconds(10);
    world.restart(true);
    world.greet();
    world.push("deployment other a 0");
    world.seconds(60);
    let before = pod_of(&world, "n1");
    assert_eq!(before.told, None, "it is unclaimed");
    world.agents.insert(node("n2"), FakeAgent::new());
    world.hello(&node("n2"));
    world.report("n2", forged(before.report.clone().expect("a report")));
    assert_eq!(pod_of(&world, "n1").report, before.report);
    let stolen = world.agents[&node("n1")].pods.clone();
    world.agents.get_mut(&node("n2")).expect("an agent").pods = stolen;
    world.hello(&node("n2"));
    assert_eq!(pod_of(&world, "n1").report, before.report);
}
