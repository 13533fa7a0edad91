//! The kinds that keep pods running, each in its own order. What is looked at is what the pods themselves wrote down.

use crate::harness::{Cluster, container_ids};
use crate::journal::Journal;
use crate::manifests::{diarist, process, scripted, workload};
use serde_json::Value;

/// A StatefulSet `db` whose pods keep the journal.
fn db(journal: &Journal, release: &str, spec: &str) -> String {
    workload("StatefulSet", "db", &format!("serviceName: db\n{spec}"), &process(diarist(journal, release)))
}

/// A cluster with one manifest, and its journal.
fn started(manifest: impl Fn(&Journal) -> String) -> (Cluster, Journal) {
    let mut cluster = Cluster::new("process");
    let journal = Journal::of(&cluster);
    cluster.push("first release", &[("shop/set.yaml", Some(&manifest(&journal)))]);
    cluster.start();
    (cluster, journal)
}

fn push(cluster: &Cluster, message: &str, manifest: &str) {
    let commit = cluster.push(message, &[("shop/set.yaml", Some(manifest))]);
    cluster.wait_for(message, || cluster.audited(&[&commit, "Driftless-Outcome: converged"]));
}

#[test]
fn pods_of_a_stateful_set_come_when_those_before_them_serve_and_go_in_the_reverse_order() {
    let (cluster, journal) = started(|journal| db(journal, "v1", "replicas: 3"));
    let in_order = ["db-0 v1 starts", "db-0 v1 serves", "db-1 v1 starts", "db-1 v1 serves", "db-2 v1 starts", "db-2 v1 serves"];
    journal.wait_until(&cluster, &in_order);
    let pods = cluster.wait_for("all are ready", || cluster.ready_pods("shop", "db-", 3));
    assert_eq!(pods.keys().collect::<Vec<_>>(), ["db-0", "db-1", "db-2"]);
    journal.clear();
    push(&cluster, "one is enough", &db(&journal, "v1", "replicas: 1"));
    journal.wait_until(&cluster, &["db-2 v1 stops", "db-1 v1 stops"]);
}

#[test]
fn a_stateful_set_is_updated_from_the_highest_number_down_to_its_partition() {
    let spec = |partition: u32| format!("replicas: 3\nupdateStrategy: {{rollingUpdate: {{partition: {partition}}}}}");
    let (cluster, journal) = started(|journal| db(journal, "v1", &spec(2)));
    let before = container_ids(&cluster.wait_for("all are ready", || cluster.ready_pods("shop", "db-", 3)));
    journal.clear();
    push(&cluster, "v2 for the last", &db(&journal, "v2", &spec(2)));
    journal.wait_until(&cluster, &["db-2 v1 stops", "db-2 v2 starts", "db-2 v2 serves"]);
    let now = container_ids(&cluster.wait_for("all are ready", || cluster.ready_pods("shop", "db-", 3)));
    assert_eq!((&now["db-0"], &now["db-1"]), (&before["db-0"], &before["db-1"]), "the partition keeps them");
    journal.clear();
    push(&cluster, "v2 for all", &db(&journal, "v2", &spec(0)));
    let down = ["db-1 v1 stops", "db-1 v2 starts", "db-1 v2 serves", "db-0 v1 stops", "db-0 v2 starts", "db-0 v2 serves"];
    journal.wait_until(&cluster, &down);
}

#[test]
fn pods_of_a_parallel_stateful_set_wait_for_nobody_and_are_counted_from_where_it_says() {
    let (cluster, journal) = started(|journal| {
        let mut never_ready = scripted(journal, "main", "note $POD; sleep 1000");
        never_ready["readinessProbe"] = serde_json::json!({ "exec": { "command": ["false"] } });
        let spec = "serviceName: db\nreplicas: 3\npodManagementPolicy: Parallel\nordinals: {start: 5}";
        workload("StatefulSet", "db", spec, &process(never_ready))
    });
    cluster.wait_for("all three run, and none is ready", || {
        let mut lines = journal.lines();
        lines.sort();
        if lines == ["db-5", "db-6", "db-7"] { Ok(()) } else { Err(lines.join(", ")) }
    });
    cluster.ready_pods("shop", "db-", 3).expect_err("none is ready");
}

/// The lines of the journal without the names of the pods, which are made up.
fn nameless(lines: Vec<String>) -> Vec<String> {
    lines.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

#[test]
fn a_daemon_set_has_one_pod_on_the_node_and_replaces_it_in_its_place() {
    let set = |journal: &Journal, release: &str| workload("DaemonSet", "logs", "", &process(diarist(journal, release)));
    let (cluster, journal) = started(|journal| set(journal, "v1"));
    let first = cluster.wait_for("its pod is ready", || cluster.ready_pods("shop", "logs-", 1));
    let node = cluster.json("/api/v1/nodes").expect("nodes")["items"][0]["metadata"]["name"].clone();
    assert!(first.values().all(|pod| pod["spec"]["nodeName"] == node), "{node}");
    push(&cluster, "v2", &set(&journal, "v2"));
    cluster.wait_for("its pod is ready", || cluster.ready_pods("shop", "logs-", 1));
    assert_eq!(nameless(journal.lines()), ["v1 starts", "v1 serves", "v1 stops", "v2 starts", "v2 serves"]);
}

#[test]
fn a_replica_set_gives_its_template_to_new_pods_only() {
    let set = |journal: &Journal, release: &str, replicas: u32| {
        workload("ReplicaSet", "web", &format!("replicas: {replicas}"), &process(diarist(journal, release)))
    };
    let (cluster, journal) = started(|journal| set(journal, "v1", 2));
    let before = container_ids(&cluster.wait_for("two are ready", || cluster.ready_pods("shop", "web-", 2)));
    push(&cluster, "v2", &set(&journal, "v2", 2));
    assert_eq!(container_ids(&cluster.ready_pods("shop", "web-", 2).expect("the same two")), before);
    journal.clear();
    push(&cluster, "three of them", &set(&journal, "v2", 3));
    let after = container_ids(&cluster.wait_for("three are ready", || cluster.ready_pods("shop", "web-", 3)));
    assert!(before.iter().all(|(pod, id)| after.get(pod) == Some(id)), "{before:?} {after:?}");
    assert_eq!(nameless(journal.lines()), ["v2 starts", "v2 serves"]);
}

#[test]
fn a_bare_pod_ends_as_its_restart_policy_says() {
    let pod = |journal: &Journal, name: &str, policy: &str, script: &str| {
        let mut spec = process(scripted(journal, "main", script));
        spec["restartPolicy"] = policy.into();
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n")
    };
    let (cluster, journal) = started(|journal| {
        pod(journal, "never", "Never", "note $POD; exit 3")
            + &pod(journal, "on-failure", "OnFailure", "note $POD; [ -e tried ] && exit 0; touch tried; exit 3")
    });
    let ended = |pod: &Value| {
        let container = &pod["status"]["containerStatuses"][0];
        let code = container["state"]["terminated"]["exitCode"].clone();
        (pod["status"]["phase"].clone(), container["restartCount"].clone(), code)
    };
    cluster.wait_for("one failed, and one succeeded the second time", || {
        let pods = cluster.pods("shop")?;
        let [never, on_failure] = ["never", "on-failure"].map(|name| pods.get(name).map(ended));
        let expected = [Some(("Failed".into(), 0.into(), 3.into())), Some(("Succeeded".into(), 1.into(), 0.into()))];
        if [never, on_failure] == expected { Ok(()) } else { Err(format!("{pods:?}")) }
    });
    let mut lines = journal.lines();
    lines.sort();
    assert_eq!(lines, ["never", "on-failure", "on-failure"]);
}
