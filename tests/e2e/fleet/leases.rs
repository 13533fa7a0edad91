//! Pods that stop themselves when their host is cut off.

use super::lab::Lab;
use super::node_of;
use crate::journal::Journal;
use crate::manifests::{diarist, process, workload};
use serde_json::json;
use std::time::Duration;

/// A lease of 10 s, a grace of 5 s and the margin, the time after which a lost node is given up, and the start.
const REPLACED: Duration = Duration::from_secs(150);

/// What names the pods of the set.
const SERVICE: &str =
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {clusterIP: None, selector: {app: db}}\n";

/// A StatefulSet of one pod with a lease, which is never on the host of the controller.
fn set(journal: &Journal) -> String {
    let mut pod = process(diarist(journal, "v1"));
    pod["affinity"] = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["h1"] }] } ] } } });
    let set = workload("StatefulSet", "db", "replicas: 1\nserviceName: db", &pod);
    set.replacen("namespace: shop}", "namespace: shop, annotations: {driftless.dev/lease: 10s}}", 1) + SERVICE
}

/// The number of the host of the only pod, which is ready.
fn home(lab: &Lab) -> usize {
    let pods = lab.wait_within(REPLACED, "the set is ready", || lab.cluster.ready_pods("shop", "db", 1));
    let node = pods.values().map(node_of).next().expect("a pod");
    node.trim_start_matches('h').parse().expect("a number")
}

/// Waits until the pod has written so many lines, of which the last is this one.
fn wait_for_line(lab: &Lab, journal: &Journal, count: usize, last: &str) {
    lab.wait_within(REPLACED, "the journal goes on", || {
        let lines = journal.lines();
        let is_there = lines.len() == count && lines.last().is_some_and(|line| line == last);
        if is_there { Ok(()) } else { Err(format!("{count} lines ending with {last:?} are wanted: {lines:#?}")) }
    });
}

#[test]
fn a_pod_with_a_lease_stops_itself_on_a_host_that_is_cut_off_and_only_then_runs_elsewhere() {
    let mut lab = Lab::new(3, "process");
    let journal = Journal::of(&lab.cluster);
    let (set, policy) = (set(&journal), "replaceAfter: 20s\n".to_owned());
    lab.cluster.push("first release", &[("shop/db.yaml", Some(&set)), ("driftless.yaml", Some(&policy))]);
    lab.start();
    let first = home(&lab);
    lab.cut(first);
    wait_for_line(&lab, &journal, 3, "db-0 v1 stops");
    wait_for_line(&lab, &journal, 5, "db-0 v1 serves");
    lab.mend(first);
    lab.wait_for("every node is ready", || lab.ready_nodes(3));
    let second = home(&lab);
    assert_ne!(first, second);
    assert_eq!(journal.lines().len(), 5, "the old one did not come back: {:#?}", journal.lines());

    // The same without an agent on the host.
    lab.kill_agent(second);
    lab.cut(second);
    wait_for_line(&lab, &journal, 6, "db-0 v1 stops");
    wait_for_line(&lab, &journal, 8, "db-0 v1 serves");
    lab.mend(second);
    lab.start_agent(second);
    lab.wait_for("every node is ready", || lab.ready_nodes(3));
    assert_ne!(home(&lab), second);
    let expected = ["starts", "serves", "stops"].map(|word| format!("db-0 v1 {word}"));
    let lines = journal.lines();
    let in_order = lines.iter().zip(expected.iter().cycle()).all(|(line, expected)| line == expected);
    assert!(in_order && lines.len() == 8, "never two at once: {lines:#?}{}", lab.logs());
}
