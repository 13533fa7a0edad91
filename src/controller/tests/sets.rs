//! StatefulSets, DaemonSets and ReplicaSets in the core as a whole.

use super::world::{FakeAgent, TICK, World, key, node};
use crate::controller::Event;
use crate::model::*;
use std::time::Duration;

impl World {
    /// The pods of a workload that run or are on their way out, with their nodes: `db-0@n1 db-1@n2`.
    fn names(&self, workload: &str) -> String {
        let wanted = key(workload);
        let pods = self.agents.iter().flat_map(|(node, agent)| agent.pods.values().map(move |pod| (node, pod)));
        let of_workload = pods.filter(|(_, pod)| pod.run.workload == wanted);
        let mut names: Vec<String> = of_workload.map(|(node, pod)| format!("{}@{node}", pod.run.name)).collect();
        names.sort_unstable();
        names.join(" ")
    }

    /// The nodes that run a pod of a workload, each as often as it has one.
    fn places(&self, workload: &str) -> Vec<String> {
        let names = self.names(workload);
        let mut nodes: Vec<String> = names.split(' ').filter_map(|name| Some(name.split_once('@')?.1.to_owned())).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The node of a pod of the database.
    fn home_of(&self, pod: &str) -> String {
        let names = self.names(DB);
        let home = names.split(' ').find_map(|name| name.strip_prefix(pod)?.strip_prefix('@'));
        home.unwrap_or_else(|| panic!("{pod} is not among {names}")).to_owned()
    }

    fn take_down(&mut self, name: &str, down: bool) {
        self.agents.get_mut(&node(name)).unwrap().up = !down;
        if down {
            self.give(Event::AgentLost { node: node(name) });
        } else {
            self.hello(&node(name));
        }
    }
}

const DB: &str = "StatefulSet/db";
const LOGS: &str = "DaemonSet/logs";

fn db(nodes: &[&str]) -> World {
    let mut world = World::new(nodes);
    world.push("stateful db a 3");
    world.seconds(15);
    assert_eq!(world.progress(DB), Progress::Done);
    world
}

/// The set waits for the node that is away, moves nothing meanwhile, and is done when the node is back.
fn check_wait(world: &mut World, before: &str, away: &str) {
    world.seconds(300);
    assert_eq!(world.names(DB), before);
    assert_eq!(world.progress(DB), Progress::Waiting(WaitingOn::Node(node(away))));
    world.take_down(away, false);
    world.seconds(5);
    assert_eq!((world.names(DB).as_str(), world.progress(DB)), (before, Progress::Done));
}

#[test]
fn stateful_pods_have_names_of_their_own_and_come_one_after_the_other() {
    let mut world = World::new(&["n1"]);
    world.push("stateful db a 3");
    let mut most = Vec::new();
    for _ in 0..20 {
        world.run(TICK);
        let names = world.names(DB);
        if most.last() != Some(&names) {
            most.push(names);
        }
    }
    assert_eq!(most, ["db-0@n1", "db-0@n1 db-1@n1", "db-0@n1 db-1@n1 db-2@n1"]);
    world.push("stateful db a 1");
    world.seconds(10);
    assert_eq!((world.names(DB).as_str(), world.progress(DB)), ("db-0@n1", Progress::Done));
}

#[test]
fn a_new_template_never_has_two_pods_of_a_number_and_keeps_their_names() {
    let mut world = db(&["n1", "n2"]);
    world.most_told.clear();
    world.outcomes();
    world.push("stateful db b 3");
    world.seconds(40);
    assert_eq!((world.running(DB).as_str(), world.progress(DB)), ("bbb", Progress::Done));
    assert_eq!(world.most_told[&key(DB)], 3);
    assert_eq!(world.names(DB).replace("n1", "n2"), "db-0@n2 db-1@n2 db-2@n2");
    assert_eq!(world.outcomes(), "planned converged");
}

#[test]
fn a_broken_stateful_release_is_undone_without_anybodys_help() {
    let mut world = db(&["n1"]);
    world.broken.insert('b');
    world.push("stateful db b 3");
    world.seconds(60);
    assert_eq!(world.running(DB), "aab");
    world.push("stateful db a 3");
    world.seconds(30);
    assert_eq!((world.running(DB).as_str(), world.progress(DB)), ("aaa", Progress::Done));
}

#[test]
fn stateful_pods_wait_for_their_node() {
    let mut world = db(&["n1", "n2", "n3", "n4"]);
    let (before, away) = (world.names(DB), world.home_of("db-1"));
    world.take_down(&away, true);
    check_wait(&mut world, &before, &away);
}

#[test]
fn a_number_that_may_run_on_a_node_not_heard_of_is_not_started_by_the_next_controller() {
    let mut world = db(&["n1", "n2", "n3", "n4"]);
    let (before, away) = (world.names(DB), world.home_of("db-2"));
    world.take_down(&away, true);
    world.restart(false);
    world.push("stateful db a 3");
    world.greet();
    check_wait(&mut world, &before, &away);
}

#[test]
fn every_node_has_its_daemon_and_a_new_one_gets_it() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("daemon logs a");
    world.seconds(5);
    assert_eq!((world.places(LOGS), world.progress(LOGS)), (vec!["n1".to_owned(), "n2".to_owned()], Progress::Done));
    world.agents.insert(node("n3"), FakeAgent::new());
    world.hello(&node("n3"));
    world.seconds(5);
    assert_eq!((world.places(LOGS).len(), world.progress(LOGS)), (3, Progress::Done));
    world.most_told.clear();
    world.push("daemon logs b");
    world.seconds(40);
    assert_eq!((world.running(LOGS).as_str(), world.places(LOGS).len()), ("bbb", 3));
    assert_eq!(world.most_told[&key(LOGS)], 3);
}

#[test]
fn a_commit_that_marks_a_node_takes_its_daemon_and_gives_it_back() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("daemon logs a");
    world.seconds(15);
    world.push("daemon logs a\nnode n2 taint=team:NoSchedule");
    world.seconds(15);
    assert_eq!(world.places(LOGS), ["n1"]);
    world.push("daemon logs a");
    world.seconds(15);
    assert_eq!(world.places(LOGS), ["n1", "n2"]);
}

#[test]
fn a_node_that_joined_since_the_last_rollout_is_waited_for_by_the_next_controller() {
    let mut world = World::new(&["n1"]);
    world.push("daemon logs a");
    world.seconds(15);
    world.agents.insert(node("n2"), FakeAgent { up: true, acknowledges: true, ..FakeAgent::default() });
    world.hello(&node("n2"));
    world.push("daemon logs a\nstateful db a 2");
    world.run(TICK);
    let before = world.names(DB);
    world.restart(false);
    world.hello(&node("n1"));
    world.push("daemon logs a\nstateful db a 2");
    world.seconds(10);
    assert!(matches!(world.core.view().health, Health::Holding(_)), "{:?}", world.core.view().health);
    world.seconds(300);
    assert_eq!(world.names(DB), before);
}

#[test]
fn a_lost_node_costs_a_daemon_set_nothing_and_returns_with_its_pod() {
    let mut world = World::new(&["n1", "n2"]);
    world.push("daemon logs a");
    world.seconds(5);
    let uids = world.uids();
    world.take_down("n2", true);
    world.seconds(200);
    assert_eq!((world.places(LOGS).len(), world.progress(LOGS)), (2, Progress::Done));
    assert_eq!(world.core.view().workloads[&key(LOGS)].replicas, 1);
    world.take_down("n2", false);
    world.seconds(5);
    assert_eq!((world.uids(), world.progress(LOGS)), (uids, Progress::Done));
}

#[test]
fn a_replica_set_keeps_what_runs_and_fills_up_with_the_new_template() {
    let mut world = World::new(&["n1"]);
    world.push("replicas web a 3");
    world.seconds(5);
    world.push("replicas web b 3");
    world.run(Duration::from_secs(20));
    assert_eq!(world.running("ReplicaSet/web"), "aaa");
    world.kill_one("ReplicaSet/web");
    world.seconds(10);
    assert_eq!((world.running("ReplicaSet/web").as_str(), world.progress("ReplicaSet/web")), ("aab", Progress::Done));
}
