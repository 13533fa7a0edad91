//! Making room: who has to go, and who does not.

use super::rules::{cluster, written};
use super::*;
use crate::model::{Moment, PodUid};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A pod of a text: `web@a 5 cpu=300 budget leaving port=80`: workload, node, priority.
struct Placed {
    node: NodeName,
    name: String,
    resident: Resident,
}

fn placed(index: usize, line: &str) -> Placed {
    let mut words = line.split_whitespace();
    let (name, node) = words.next().and_then(|word| word.split_once('@')).expect("a name and a node");
    let priority = words.next().and_then(|word| word.parse().ok()).expect("a priority");
    let (mut leaving, mut budgets, mut cpu, mut ports) = (false, Vec::new(), 0, Vec::new());
    for word in words {
        match word.split_once('=') {
            None if word == "leaving" => leaving = true,
            None => budgets.push(ObjectKey::new(Kind::PodDisruptionBudget, "shop", word)),
            Some(("cpu", milli)) => cpu = milli.parse().expect("a number"),
            Some((_, port)) => ports.push(json!({"containerPort": 1, "hostPort": port.parse::<u16>().expect("a port")})),
        }
    }
    let mut request = written(name, json!({"containers": [{"name": "main", "ports": ports}]}));
    request.amounts.cpu_milli = cpu;
    let uid = PodUid(Uuid::from_u128(index as u128));
    let since = Moment(index as u64);
    let resident = Resident { uid, request: Arc::new(request), priority, leaving, since, budgets };
    Placed { node: NodeName::new(node), name: name.to_owned(), resident }
}

/// Where the pod goes and who leaves for it: `a: web db`, or why nobody's leaving helps.
fn check(nodes_text: &str, pods: &[&str], pod: &str, expected: &str) {
    let mut nodes = cluster(nodes_text);
    let pods: Vec<Placed> = pods.iter().enumerate().map(|(index, line)| placed(index, line)).collect();
    for pod in &pods {
        nodes.reserve(&pod.node, &pod.resident.request);
    }
    let wanted = placed(99, pod).resident;
    let refusals = place(&wanted.request, &mut nodes).expect_err("there is no room yet");
    let before = format!("{:?}", nodes.names().map(|name| nodes.get(name)).collect::<Vec<_>>());
    let residents =
        |name: &NodeName| pods.iter().filter(|pod| pod.node == *name).map(|pod| pod.resident.clone()).collect::<Vec<Resident>>();
    let one = ObjectKey::new(Kind::PodDisruptionBudget, "shop", "one");
    let allowed = BTreeMap::from([(one, 1)]);
    let found = preempt(&wanted.request, wanted.priority, &mut nodes, &residents, &allowed);
    let after = format!("{:?}", nodes.names().map(|name| nodes.get(name)).collect::<Vec<_>>());
    assert_eq!(before, after, "thinking pods away leaves no trace");
    let said = found.map_or_else(
        || refusals.to_string(),
        |found| {
            let name =
                |uid: &PodUid| pods.iter().find(|pod| pod.resident.uid == *uid).map(|pod| pod.name.clone()).expect("known");
            format!("{}: {}", found.node, found.victims.iter().map(name).collect::<Vec<_>>().join(" "))
        },
    );
    assert_eq!(said, expected);
}

#[test]
fn the_lowest_and_fewest_pods_make_room() {
    check("a cpu=1000", &["x@a 1 cpu=400", "y@a 2 cpu=400", "z@a 3 cpu=200"], "new@a 9 cpu=400", "a: x");
    check("a cpu=1000\n b cpu=1000", &["x@a 5 cpu=900", "y@b 4 cpu=900"], "new@- 9 cpu=500", "b: y");
    check("a cpu=1000\n b cpu=1000", &["x@a 4 cpu=900", "y@b 4 cpu=450", "z@b 4 cpu=450"], "new@- 9 cpu=900", "a: x");
}

#[test]
fn an_equal_or_higher_pod_stays_and_so_does_one_whose_going_would_not_help() {
    let refused = "0/1 nodes fit: insufficient cpu on 1";
    check("a cpu=1000", &["x@a 9 cpu=900"], "new@a 9 cpu=500", refused);
    check("a cpu=1000", &["x@a 1 cpu=900"], "new@a 9 cpu=1100", refused);
    check("a cpu=1000", &["x@a 1 cpu=100", "y@a 10 cpu=900"], "new@a 9 cpu=500", refused);
    check("a cpu=1000 cordoned", &["x@a 1 cpu=900"], "new@a 9 cpu=500", "0/1 nodes fit: unschedulable on 1");
}

#[test]
fn a_pod_that_leaves_anyway_costs_nobody() {
    check("a cpu=1000\n b cpu=1000", &["x@a 1 cpu=900", "y@b 20 cpu=900 leaving"], "new@- 9 cpu=500", "b: ");
}

#[test]
fn a_budget_is_overdrawn_only_where_nothing_else_helps() {
    check("a cpu=1000\n b cpu=1000", &["x@a 1 cpu=900 none", "y@b 5 cpu=900"], "new@- 9 cpu=500", "b: y");
    check("a cpu=1000", &["x@a 1 cpu=500 none", "y@a 5 cpu=500"], "new@a 9 cpu=500", "a: y");
    check("a cpu=1000", &["x@a 1 cpu=900 none"], "new@a 9 cpu=500", "a: x");
    check("a cpu=1000\n b cpu=1000", &["x@a 1 cpu=500 one", "y@a 1 cpu=500 one", "z@b 5 cpu=1000"], "new@- 9 cpu=900", "b: z");
}

#[test]
fn a_host_port_is_room_too() {
    check("a", &["x@a 1 port=80", "y@a 1"], "new@a 9 port=80", "a: x");
}

#[test]
fn who_keeps_the_pod_away_can_make_room_as_well() {
    let mut nodes = cluster("a\n");
    let shy = written(
        "db",
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]}}}),
    );
    nodes.reserve(&NodeName::new("a"), &shy);
    let web = written("web", json!({}));
    assert!(place(&web, &mut nodes).is_err());
    let resident = Resident {
        uid: PodUid(Uuid::from_u128(1)),
        request: Arc::new(shy),
        priority: 0,
        leaving: false,
        since: Moment(0),
        budgets: Vec::new(),
    };
    let found = preempt(&web, 1, &mut nodes, &|_| vec![resident.clone()], &BTreeMap::new());
    assert_eq!(found.map(|found| found.victims.len()), Some(1));
}
