//! A controller that starts with nothing but its identity, the repository and the audit branch, in front of 1,000 agents that run the
//! pods of 50 workloads: `cargo bench --bench restore [-- NODES WORKLOADS]`.
//!
//! The agents are the simulator's: the real cores of both sides, on hosts and links that exist in memory. What is measured is the work
//! of the controller and of all agents on one core, and the simulated time until it acts; what is asserted is that nothing on any host
//! was touched. docs/benchmarks.md has our figures.

#![expect(unreachable_pub, dead_code, reason = "the rooms of the simulator are shared with tests/sim")]
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

#[path = "../tests/sim/audit.rs"]
mod audit;
#[path = "../tests/sim/faults.rs"]
mod faults;
#[path = "../tests/sim/invariants.rs"]
mod invariants;
#[path = "../tests/sim/links.rs"]
mod links;
#[path = "../tests/sim/node.rs"]
mod node;
#[path = "../tests/sim/repo.rs"]
mod repo;
#[path = "../tests/sim/repo_text.rs"]
mod repo_text;
#[path = "../tests/sim/rng.rs"]
mod rng;
#[path = "../tests/sim/world.rs"]
mod world;

use invariants::Patience;
use repo_text::{deployment, job};
use std::time::{Duration, Instant};
use world::World;

/// Pods of each workload.
const REPLICAS: u64 = 20;

/// How finely simulated time is looked at.
const STEP: Duration = Duration::from_millis(100);

fn main() {
    let numbers: Vec<u32> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let (nodes, workloads) = (numbers.first().copied().unwrap_or(1_000), numbers.get(1).copied().unwrap_or(50));
    let mut world = settled(nodes, workloads);
    let pods = world.nodes.values().map(|node| node.host.containers().count()).sum::<usize>();
    let before = calls(&world);
    world.crash_controller(Duration::ZERO);
    let (clock, start) = (Instant::now(), world.now);
    until(&mut world, "it acts and everything is as wanted");
    let (work, simulated) = (clock.elapsed(), world.now.since(start));
    world.run_for(Duration::from_secs(120));
    let touched = calls(&world) - before;
    println!("{nodes} nodes, {workloads} workloads, {pods} containers");
    println!("until it acts and all is as wanted: {simulated:.1?} simulated, {work:.1?} of work on one core");
    println!("calls that changed a host, until two minutes later: {touched}");
    assert_eq!(touched, 0, "a restore touches nothing");
}

/// A cluster in which everything runs as wanted, one Job that has ended among it.
fn settled(nodes: u32, workloads: u32) -> World {
    let mut world = World::new(1, nodes);
    world.checking = false;
    let files: Vec<(String, String)> = (0..workloads)
        .map(|index| (format!("w{index}/w.yaml"), deployment(&format!("w{index}"), REPLICAS, "app:v1", "")))
        .chain([("jobs/job.yaml".to_owned(), job("sum", "job:v1", 4, 2))])
        .collect();
    let changes: Vec<(&str, Option<String>)> = files.iter().map(|(path, text)| (path.as_str(), Some(text.clone()))).collect();
    world.repo.commit("everything", &changes);
    world.start();
    until(&mut world, "everything runs");
    // What happened is recorded.
    world.run_for(Duration::from_secs(60));
    world
}

fn until(world: &mut World, what: &str) {
    for _ in 0..6_000 {
        world.run_for(STEP);
        if world.unsettled(Patience::Done).is_none() {
            return;
        }
    }
    panic!("not within ten simulated minutes: {what}: {:?}", world.unsettled(Patience::Done));
}

/// Calls that changed a host.
fn calls(world: &World) -> u64 {
    world.nodes.values().map(node::Node::changes).sum()
}
