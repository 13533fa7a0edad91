//! A million pods on 5,000 nodes: `cargo bench --bench scale [-- NODES PODS]`.
//!
//! Only the choice of the nodes, on one core, for workloads of several sizes; what becomes of it (recording, telling agents) is not
//! in it. docs/benchmarks.md has our figures.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use driftless::apply::schedule::{Nodes, Request, place};
use driftless::model::{Allows, Amounts, Kind, NodeFacts, NodeName, NodeSpec, ObjectKey, RuntimeKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

const GIB: u64 = 1 << 30;

/// Pods of a workload.
const SIZES: [usize; 5] = [50, 200, 1_000, 5_000, 50_000];

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let (nodes, pods) = (numbers.first().copied().unwrap_or(5_000), numbers.get(1).copied().unwrap_or(1_000_000));
    for size in SIZES {
        let mut cluster = cluster(nodes);
        let start = Instant::now();
        for number in 0..pods / size {
            let request = request(number);
            for _ in 0..size {
                let name = place(&request, &mut cluster).unwrap_or_else(|refusals| panic!("{refusals}"));
                cluster.reserve(&name, &request);
            }
        }
        println!("{} workloads of {size} pods on {nodes} nodes: {:.1} s", pods / size, start.elapsed().as_secs_f64());
    }
    println!("at most {} MiB resident", peak_kib() / 1024);
}

/// Nodes of three sizes, which all pods fit on.
fn cluster(count: usize) -> Nodes {
    let mut nodes = Nodes::default();
    for number in 0..count {
        let times = [1, 2, 4][number % 3];
        let amounts = Amounts { cpu_milli: 64_000 * times, memory_bytes: 128 * GIB * times };
        let facts = NodeFacts {
            name: NodeName::new(format!("n{number}")),
            labels: BTreeMap::from([("topology.kubernetes.io/zone".to_owned(), format!("z{}", number % 7))]),
            capacity: amounts,
            allocatable: amounts,
            runtimes: BTreeSet::from([RuntimeKind::Docker]),
            allows: Allows::default(),
            leases: BTreeSet::new(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            kernel: String::new(),
            engine: None,
            agent_version: String::new(),
            address: "127.0.0.1".to_owned(),
            tunnel: Vec::new(),
            ingress: false,
        };
        nodes.set(&facts, &NodeSpec::default(), true);
    }
    nodes
}

/// A pod of a workload; those of one in three ask for more than the others.
fn request(number: usize) -> Request {
    let cpu_milli = [50, 100, 200][number % 3];
    let amounts = Amounts { cpu_milli, memory_bytes: GIB / 16 };
    Request { amounts, ..Request::unknown(&ObjectKey::new(Kind::Deployment, "shop", format!("web-{number}"))) }
}

/// `VmHWM` of proc(5).
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
