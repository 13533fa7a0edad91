//! What must never happen: a restart for nothing, a deletion by mistake, one team's error in another's way.

use crate::harness::{Cluster, container_ids};
use crate::manifests::web;
use std::fs;

const OTHER: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: other, namespace: shop}
data: {colour: blue}
";

fn running(runtime: &'static str) -> Cluster {
    let mut cluster = Cluster::new(runtime);
    cluster.push("first release", &[("shop/web.yaml", Some(&web(2, "v1"))), ("other/config.yaml", Some(OTHER))]);
    cluster.start();
    cluster.wait_for("the first release is ready", || cluster.ready_pods("shop", "web", 2));
    cluster.wait_for("the first release is audited", || cluster.audited(&["Driftless-Outcome: converged"]));
    cluster
}

#[test]
fn killing_driftless_leaves_every_process_running_with_its_pid() {
    let mut cluster = running("process");
    let before = container_ids(&cluster.ready_pods("shop", "web", 2).expect("pods"));
    cluster.kill();
    cluster.start();
    let after = cluster.wait_for("the pods are adopted", || cluster.ready_pods("shop", "web", 2));
    assert_eq!(before, container_ids(&after));
}

#[test]
fn wiping_the_state_directory_except_identity_restarts_nothing() {
    let mut cluster = running("process");
    let before = container_ids(&cluster.ready_pods("shop", "web", 2).expect("pods"));
    let address = cluster.service("shop", "web").expect("an address");
    cluster.kill();
    for entry in fs::read_dir(cluster.state_dir()).expect("the state directory") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name != "identity") {
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.expect("a wiped entry");
        }
    }
    cluster.start();
    let after = cluster.wait_for("the pods are adopted", || cluster.ready_pods("shop", "web", 2));
    assert_eq!(before, container_ids(&after));
    cluster.wait_for("the Service has its old address", || {
        let now = cluster.service("shop", "web")?;
        if now == address { Ok(()) } else { Err(now.to_string()) }
    });
    cluster.push("web: v2", &[("shop/web.yaml", Some(&web(2, "v2")))]);
    cluster.wait_for("it goes on from there", || {
        cluster.ready_pods("shop", "web", 2)?;
        let answer = cluster.ask("shop", "web")?;
        if answer.contains("api v2") { Ok(()) } else { Err(answer) }
    });
}

#[test]
fn deleting_every_file_deletes_nothing_until_a_commit_approves() {
    let cluster = running("process");
    let before = container_ids(&cluster.ready_pods("shop", "web", 2).expect("pods"));

    let emptied = cluster.push("remove everything", &[("shop/web.yaml", None), ("other/config.yaml", None)]);

    let record = cluster.wait_for("it is recorded as blocked", || cluster.audited(&[&emptied, "Driftless-Outcome: blocked"]));
    assert!(record.contains("Driftless-Allow-Prune"), "the record says how to approve it:\n{record}");
    assert_eq!(before, container_ids(&cluster.ready_pods("shop", "web", 2).expect("still running")));

    cluster.push("yes, really\n\nDriftless-Allow-Prune: all", &[]);

    cluster.wait_for("everything is gone", || {
        let pods = cluster.pods("shop")?;
        if pods.is_empty() { Ok(()) } else { Err(crate::harness::brief(&pods)) }
    });
}

#[test]
fn a_broken_file_holds_its_unit_and_the_others_go_out() {
    let cluster = running("process");
    let before = container_ids(&cluster.ready_pods("shop", "web", 2).expect("pods"));

    cluster.push(
        "a broken web and a good config",
        &[
            ("shop/web.yaml", Some("apiVersion: apps/v1\nkind: Deployment\n  oops: [\n")),
            ("other/config.yaml", Some(&OTHER.replace("blue", "green"))),
        ],
    );

    cluster.wait_for("the problem is shown with its place", || {
        let problems = cluster.get("/driftless/v1/problems")?;
        if problems.contains("shop/web.yaml") { Ok(()) } else { Err(problems) }
    });
    let problems = cluster.get("/driftless/v1/problems").expect("problems");
    assert!(problems.contains("\"line\":3") || problems.contains("\"line\":2"), "the line is named: {problems}");
    cluster.wait_for("the other unit went out", || {
        let config = cluster.json("/api/v1/namespaces/shop/configmaps/other")?;
        if config["data"]["colour"] == "green" { Ok(()) } else { Err(config.to_string()) }
    });
    assert_eq!(before, container_ids(&cluster.ready_pods("shop", "web", 2).expect("still running")));
    cluster.wait_for("it is recorded as held", || cluster.audited(&["Driftless-Outcome: held"]));
}

#[test]
fn a_commit_that_changes_no_object_touches_nothing_and_is_not_recorded() {
    let cluster = running("process");
    let before = container_ids(&cluster.ready_pods("shop", "web", 2).expect("pods"));
    let records = cluster.audit().len();
    let commit = cluster
        .push("a comment", &[("shop/web.yaml", Some(&format!("# a comment\n{}", web(2, "v1")))), ("README.md", Some("words\n"))]);
    cluster.wait_for("the commit is seen", || {
        let status = cluster.get("/driftless/v1/status")?;
        if status.contains(&commit) { Ok(()) } else { Err(status) }
    });
    assert_eq!(before, container_ids(&cluster.ready_pods("shop", "web", 2).expect("pods")));
    assert_eq!(records, cluster.audit().len(), "a pass that changes nothing is not recorded");
}
