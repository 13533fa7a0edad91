//! Nothing moves in a world that does not change: counted in calls that change a host.

use crate::invariants::Patience;
use crate::node::Node;
use crate::repo::Repo;
use crate::repo_text::{config, deployment, job, pod, rollout};
use crate::world::World;
use driftless::agent::core as agent;
use driftless::controller::{Controller, Effect, Event, Settings};
use driftless::model::{Epoch, NodeName, Trigger};
use std::collections::BTreeMap;
use std::time::Duration;

/// A cluster of two nodes with workloads of several kinds, settled.
fn settled() -> World {
    let mut world = World::new(7, 2);
    world.repo.commit(
        "first release",
        &[
            ("shop/web.yaml", Some(deployment("web", 3, "app:v1", "settings"))),
            ("shop/config.yaml", Some(config("settings", "v1"))),
            ("api/api.yaml", Some(rollout("api", 2, "app:v1", true))),
            ("solo/pod.yaml", Some(pod("solo", "app:v1"))),
        ],
    );
    world.start();
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.unsettled(Patience::Done), None, "{}", world.transcript.join("\n"));
    world
}

/// Starts, stops and removals on all hosts so far, and assignments and records made.
fn changes(world: &World) -> (u64, u64, usize) {
    (world.nodes.values().map(|node| node.changes()).sum(), world.assignments, world.audit.records.len())
}

#[test]
fn passes_over_an_unchanged_repo_make_no_changing_call() {
    let mut world = settled();
    let before = changes(&world);
    for _ in 0..2 {
        world.poll();
        world.run_for(Duration::from_secs(60));
    }
    assert_eq!(before, changes(&world), "{}", world.transcript.join("\n"));
}

#[test]
fn a_commit_that_changes_no_object_makes_no_changing_call_and_no_record() {
    let mut world = settled();
    let before = changes(&world);
    let commented = format!("# a comment\n{}", deployment("web", 3, "app:v1", "settings"));
    world.push("words", &[("README.md", Some("words\n".to_owned())), ("shop/web.yaml", Some(commented))]);
    world.run_for(Duration::from_secs(60));
    assert_eq!(before, changes(&world), "{}", world.transcript.join("\n"));
}

#[test]
fn a_restart_of_every_part_makes_no_changing_call() {
    let mut world = settled();
    let (calls, _, _) = changes(&world);
    world.crash_controller(Duration::from_secs(3));
    world.run_for(Duration::from_secs(60));
    for node in ["n1", "n2"] {
        world.crash_agent(&NodeName::new(node), Duration::from_secs(3));
    }
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.unsettled(Patience::Done), None);
    assert_eq!(calls, changes(&world).0, "{}", world.transcript.join("\n"));
}

#[test]
fn a_controller_and_agents_that_lost_their_disks_make_no_changing_call() {
    let mut world = settled();
    let (calls, _, _) = changes(&world);
    world.crash_controller(Duration::from_secs(3));
    for node in ["n1", "n2"] {
        let name = NodeName::new(node);
        world.crash_agent(&name, Duration::from_secs(2));
        world.nodes.get_mut(&name).expect("a node").host.lose_ledger();
    }
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.unsettled(Patience::Done), None, "{}", world.transcript.join("\n"));
    assert_eq!(calls, changes(&world).0, "{}", world.transcript.join("\n"));
}

#[test]
fn a_controller_with_its_memory_alone_runs_no_finished_job_again() {
    let mut world = settled();
    world.push("a Job", &[("work/sum.yaml", Some(job("sum", "job:v1", 2, 1)))]);
    world.run_for(Duration::from_secs(60));
    let before = changes(&world).0;
    world.crash_controller(Duration::from_secs(3));
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.unsettled(Patience::Done), None);
    assert_eq!(before, changes(&world).0, "{}", world.transcript.join("\n"));
}

/// What another controller, which knows an empty repository and no memory, would tell these agents over two minutes.
fn intrude(world: &mut World, epoch: u64) -> usize {
    let settings = Settings { cluster: "sim".to_owned(), instance: "intruder".to_owned(), ..Settings::default() };
    let mut core = Controller::new(settings, Epoch(epoch), world.now);
    let mut repo = Repo::default();
    repo.commit("nothing", &[("README.md", Some("nothing".to_owned()))]);
    let (loaded, _) = repo.loaded(None, &BTreeMap::new(), Trigger::Startup).expect("a commit");
    let mut events = vec![Event::Restored(Box::default()), Event::Loaded(Box::new(loaded))];
    let greet = |(node, agent): (&NodeName, &Node)| {
        let hello = Box::new(agent.greet(world.now).expect("an agent that is up"));
        Event::AgentHello { node: node.clone(), hello }
    };
    events.extend(world.nodes.iter().map(greet));
    events.extend((0..12).map(|_| Event::Wake));
    let (mut told, mut now) = (0, world.now);
    for event in events {
        for effect in core.handle(event, now) {
            let Effect::Assign { node, assignment } = effect else { continue };
            told += 1;
            let life = world.nodes[&node].life;
            world.tell_agent(&node, life, agent::Event::Assigned(Box::new((*assignment).clone())));
        }
        now = now + Duration::from_secs(10);
    }
    told
}

#[test]
fn a_controller_that_comes_up_empty_or_old_or_beside_a_living_one_stops_nothing() {
    for epoch in [0, 1, 9] {
        let mut world = settled();
        let before = changes(&world).0;
        assert!(intrude(&mut world, epoch) > 0, "it does speak to agents");
        world.run_for(Duration::from_secs(60));
        assert_eq!(before, changes(&world).0, "epoch {epoch}: {}", world.transcript.join("\n"));
    }
}
