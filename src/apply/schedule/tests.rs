//! Placement as a person would check it: a cluster as text, a pod, and the answer.

use super::*;
use crate::model::{Allows, Amounts, Grant, Kind, NodeFacts, NodeSpec, ObjectKey, Protocol, RuntimeKind};
use std::collections::BTreeSet;

mod reference;
mod room;
mod rules;

const MIB: u64 = 1 << 20;

fn facts(name: &str, cpu_milli: u64, memory_mib: u64, labels: &[(&str, &str)]) -> NodeFacts {
    let amounts = Amounts { cpu_milli, memory_bytes: memory_mib * MIB };
    NodeFacts {
        name: NodeName::new(name),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        capacity: amounts,
        allocatable: amounts,
        runtimes: BTreeSet::from([RuntimeKind::Docker]),
        leases: BTreeSet::new(),
        allows: Allows::default(),
        os: "linux".into(),
        arch: "amd64".into(),
        kernel: String::new(),
        engine: None,
        agent_version: String::new(),
        address: "127.0.0.1".into(),
        tunnel: Vec::new(),
        ingress: false,
    }
}

fn nodes(all: &[NodeFacts]) -> Nodes {
    let mut nodes = Nodes::default();
    for facts in all {
        nodes.set(facts, &NodeSpec::default(), true);
    }
    nodes
}

fn pod(workload: &str, cpu_milli: u64, memory_mib: u64) -> Request {
    Request {
        amounts: Amounts { cpu_milli, memory_bytes: memory_mib * MIB },
        ..Request::unknown(&ObjectKey::new(Kind::Deployment, "shop", workload))
    }
}

fn port(port: u16, protocol: Protocol) -> HostPort {
    HostPort { port, protocol, address: None }
}

/// Places and reserves `count` pods, and says where they went.
fn place_all(nodes: &mut Nodes, request: &Request, count: usize) -> Vec<String> {
    let mut placed = Vec::new();
    for _ in 0..count {
        match place(request, nodes) {
            Ok(name) => {
                nodes.reserve(&name, request);
                placed.push(name.to_string());
            }
            Err(refusals) => placed.push(refusals.to_string()),
        }
    }
    placed
}

#[test]
fn pods_of_a_workload_spread_before_a_node_gets_a_second_one() {
    let mut nodes = nodes(&[facts("a", 4000, 4096, &[]), facts("b", 4000, 4096, &[]), facts("c", 1000, 4096, &[])]);
    assert_eq!(place_all(&mut nodes, &pod("web", 500, 0), 4), ["a", "b", "c", "a"]);
}

#[test]
fn among_equally_spread_nodes_the_least_allocated_is_taken_and_the_name_breaks_a_tie() {
    let mut nodes = nodes(&[facts("a", 1000, 4096, &[]), facts("b", 1000, 4096, &[]), facts("c", 1000, 4096, &[])]);
    nodes.reserve(&NodeName::new("a"), &pod("other", 500, 0));
    nodes.reserve(&NodeName::new("b"), &pod("other", 100, 0));
    assert_eq!(place_all(&mut nodes, &pod("web", 10, 0), 3), ["c", "b", "a"]);
    assert_eq!(
        place(&pod("new", 0, 0), &mut Nodes::default()).map_err(|no| no.to_string()),
        Err("no node has joined the cluster".into())
    );
}

#[test]
fn the_scarcer_of_cpu_and_memory_says_how_full_a_node_is() {
    let mut nodes = nodes(&[facts("a", 1000, 1000, &[]), facts("b", 1000, 1000, &[])]);
    nodes.reserve(&NodeName::new("a"), &pod("other", 10, 600));
    nodes.reserve(&NodeName::new("b"), &pod("other", 500, 10));
    assert_eq!(place_all(&mut nodes, &pod("web", 10, 10), 1), ["b"]);
}

#[test]
fn every_refusal_is_explained_and_each_node_counts_once() {
    let mut process_only = facts("d", 9000, 9000, &[("disk", "ssd")]);
    process_only.runtimes = BTreeSet::from([RuntimeKind::Process]);
    let all = [
        facts("a", 9000, 100, &[("disk", "ssd")]),
        facts("b", 9000, 100, &[("disk", "ssd")]),
        facts("c", 9000, 9000, &[]),
        process_only,
        facts("e", 100, 9000, &[("disk", "ssd")]),
        facts("f", 9000, 9000, &[("disk", "ssd")]),
        facts("g", 9000, 9000, &[("disk", "ssd")]),
    ];
    let mut nodes = nodes(&all);
    nodes.set_ready(&NodeName::new("f"), false);
    let mut request = pod("web", 500, 500);
    request.node_selector.insert("disk".into(), "ssd".into());
    request.host_ports.insert(port(80, Protocol::Tcp));
    nodes.reserve(&NodeName::new("g"), &Request { workload: ObjectKey::new(Kind::Pod, "shop", "edge"), ..request.clone() });
    let refusals = place(&request, &mut nodes).expect_err("nothing fits");
    insta::assert_snapshot!(refusals, @"0/7 nodes fit: insufficient memory on 2, not ready on 1, no docker runtime on 1, label disk=ssd missing on 1, host port 80 taken on 1, insufficient cpu on 1");
}

#[test]
fn a_released_reservation_leaves_no_trace() {
    let all = [facts("a", 1000, 1000, &[("zone", "x")]), facts("b", 1000, 1000, &[])];
    let mut touched = nodes(&all);
    let mut request = pod("web", 900, 10);
    request.host_ports.insert(port(80, Protocol::Udp));
    let name = NodeName::new("a");
    touched.reserve(&name, &request);
    assert_eq!(place_all(&mut touched.clone(), &request, 2), ["b", "0/2 nodes fit: host port 80 taken on 2"]);
    touched.release(&name, &request);
    touched.set_ready(&name, true);
    assert_eq!(format!("{touched:?}"), format!("{:?}", nodes(&all)));
    touched.release(&name, &request);
    assert_eq!(touched.count(&request.workload, &name), 0, "a release without a reservation does nothing");
}

#[test]
fn a_pod_on_a_node_that_has_not_said_hello_yet_is_counted_once_it_does() {
    let mut nodes = Nodes::default();
    nodes.reserve(&NodeName::new("a"), &pod("web", 800, 10));
    assert_eq!(place_all(&mut nodes, &pod("web", 1, 1), 1), ["0/1 nodes fit: not ready on 1"]);
    nodes.set(&facts("a", 1000, 1000, &[]), &NodeSpec::default(), true);
    assert_eq!(place_all(&mut nodes, &pod("web", 300, 1), 1), ["0/1 nodes fit: insufficient cpu on 1"]);
}

#[test]
fn a_removed_node_takes_its_labels_and_counts_along() {
    let mut nodes = nodes(&[facts("a", 1000, 1000, &[("disk", "ssd")]), facts("b", 1000, 1000, &[])]);
    let request = pod("web", 1, 1);
    nodes.reserve(&NodeName::new("a"), &request);
    nodes.remove(&NodeName::new("a"));
    assert_eq!(nodes.count(&request.workload, &NodeName::new("a")), 0);
    let mut picky = request;
    picky.node_selector.insert("disk".into(), "ssd".into());
    assert_eq!(place_all(&mut nodes, &picky, 1), ["0/1 nodes fit: label disk=ssd missing on 1"]);
}

#[test]
fn labels_that_change_change_where_pods_go() {
    let mut nodes = nodes(&[facts("a", 1000, 1000, &[("disk", "ssd")]), facts("b", 1000, 1000, &[])]);
    let mut picky = pod("web", 1, 1);
    picky.node_selector.insert("disk".into(), "ssd".into());
    assert_eq!(place_all(&mut nodes, &picky, 2), ["a", "a"]);
    nodes.set(&facts("a", 1000, 1000, &[]), &NodeSpec::default(), true);
    nodes.set(&facts("b", 1000, 1000, &[("disk", "ssd")]), &NodeSpec::default(), true);
    assert_eq!(place_all(&mut nodes, &picky, 1), ["b"]);
}

/// The rule without any index: the smallest (pods of the workload, load, name) among the nodes that fit.
fn by_looking_at_all(request: &Request, nodes: &Nodes) -> Option<NodeName> {
    let outlook = outlook::Outlook::default();
    let fitting = nodes.names().filter(|name| filter::refuses(request, nodes, &outlook, name, Sight::All).is_none());
    fitting.min_by_key(|name| (nodes.count(&request.workload, name), nodes.load(name), *name)).cloned()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    #[test]
    fn the_indexes_choose_as_looking_at_every_node_would(
        sizes in proptest::collection::vec((1_u64..8, 0_u8..3), 1..200),
        steps in proptest::collection::vec((0_u8..4, 1_u64..20, 0_u8..3, 1_usize..200, proptest::bool::ANY), 1..20),
    ) {
        let mut nodes = Nodes::default();
        for (index, (cores, zone)) in sizes.iter().enumerate() {
            let zone = zone.to_string();
            nodes.set(&facts(&format!("n{index}"), cores * 100, cores * 100, &[("zone", zone.as_str())]), &NodeSpec::default(), index % 17 != 3);
        }
        let mut reserved: Vec<(NodeName, Request)> = Vec::new();
        for (workload, amount, zone, times, take_back) in steps {
            let mut request = pod(&format!("w{workload}"), amount, amount);
            if zone > 0 {
                request.node_selector.insert("zone".into(), zone.to_string());
            }
            for round in 0..times {
                let expected = by_looking_at_all(&request, &nodes);
                proptest::prop_assert_eq!(place(&request, &mut nodes).ok(), expected.clone());
                let Some(name) = expected else { break };
                nodes.reserve(&name, &request);
                reserved.push((name, request.clone()));
                if take_back && round % 5 == 4 {
                    let (name, request) = reserved.swap_remove(reserved.len() / 2);
                    nodes.release(&name, &request);
                }
            }
        }
    }
}

#[test]
fn a_host_that_does_not_allow_what_a_pod_needs_is_passed_over() {
    let mut careful = facts("a", 9000, 9000, &[]);
    careful.allows = [Grant::HostPath("/srv".into())].into_iter().collect();
    let mut request = pod("web", 10, 10);
    request.needs = [Grant::HostPath("/srv/data".into()), Grant::Privileged].into();
    let refused = place(&request, &mut nodes(&[careful.clone()])).map_err(|no| no.to_string());
    assert_eq!(refused, Err("0/1 nodes fit: privileged not allowed on 1".into()));
    let mut generous = facts("b", 9000, 9000, &[]);
    generous.allows = request.needs.iter().cloned().collect();
    assert_eq!(place(&request, &mut nodes(&[careful, generous])).map(|name| name.to_string()), Ok("b".into()));
}
