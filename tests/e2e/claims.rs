//! Volumes that outlive their pods.

use crate::harness::{Cluster, git};
use crate::manifests::{process, served, workload};
use serde_json::json;
use std::fs;
use std::path::PathBuf;

/// A StatefulSet whose pods write their version to their volumes, and then serve; `spec` is what else it says.
fn db(release: &str, spec: &str) -> String {
    let mut pod = served(release);
    pod["containers"][0]["command"] = json!(["sh", "-c", "echo $VERSION >> data/log; exec driftless demo-server api"]);
    pod["containers"][0]["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    let claims = "volumeClaimTemplates:\n- metadata: {name: data}\n  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    workload("StatefulSet", "db", &format!("serviceName: db\n{claims}\n{spec}"), &pod)
}

const KEPT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: shop}\ndata: {a: b}\n";

/// What the pods of a number have written.
fn log(cluster: &Cluster, number: u32) -> PathBuf {
    cluster.state_dir().join(format!("agent/volumes/shop_data-db-{number}/log"))
}

/// A cluster on which so many pods of the database have written, and are ready.
fn started(replicas: u32, spec: &str) -> Cluster {
    let mut cluster = Cluster::new("process");
    let db = db("v1", &format!("replicas: {replicas}\n{spec}"));
    cluster.push("first release", &[("shop/db.yaml", Some(&db)), ("shop/kept.yaml", Some(KEPT))]);
    cluster.start();
    cluster.wait_for("the database is ready", || cluster.ready_pods("shop", "db-", replicas as usize));
    cluster
}

fn wait_for_pods(cluster: &Cluster, count: usize) {
    cluster.wait_for(&format!("{count} pods are left"), || {
        let pods = cluster.pods("shop")?;
        if pods.len() == count { Ok(()) } else { Err(format!("{:?}", pods.keys())) }
    });
}

fn wait_until_erased(cluster: &Cluster, number: u32) {
    let folder = log(cluster, number).parent().expect("a folder").to_owned();
    cluster.wait_for("its folder is gone", || if folder.exists() { Err(format!("{folder:?}")) } else { Ok(()) });
}

#[test]
fn what_a_pod_has_written_is_there_for_the_next_one_and_stays_when_the_set_is_deleted() {
    let cluster = started(1, "");
    cluster.push("second release", &[("shop/db.yaml", Some(&db("v2", "")))]);
    cluster.wait_for("the second release writes behind the first", || {
        let text = fs::read_to_string(log(&cluster, 0)).map_err(|error| error.to_string())?;
        if text == "v1\nv2\n" { Ok(()) } else { Err(text) }
    });
    cluster.wait_for("db-0 is ready again", || cluster.ready_pods("shop", "db-0", 1));
    let message = "no database\n\nDriftless-Allow-Prune: all";
    cluster.push(message, &[("shop/db.yaml", None)]);
    wait_for_pods(&cluster, 0);
    assert_eq!(fs::read_to_string(log(&cluster, 0)).expect("the data"), "v1\nv2\n");
    cluster.wait_for("the audit branch remembers where the data is", || {
        let recorded = git(&cluster.repo(), &["ls-tree", "-r", "--name-only", &cluster.audit_branch()]);
        if recorded.contains("current/shop/PersistentVolumeClaim/data-db-0.yaml") { Ok(()) } else { Err(recorded) }
    });
}

#[test]
fn the_data_of_a_number_that_is_too_many_stays_unless_it_is_to_go_with_its_pod() {
    let kept = started(2, "");
    kept.push("one is enough", &[("shop/db.yaml", Some(&db("v1", "replicas: 1")))]);
    wait_for_pods(&kept, 1);
    kept.push("two again", &[("shop/db.yaml", Some(&db("v1", "replicas: 2")))]);
    kept.wait_for("both are ready", || kept.ready_pods("shop", "db-", 2));
    assert_eq!(fs::read_to_string(log(&kept, 1)).expect("the data"), "v1\nv1\n", "it was there for the next pod");

    let goes = "persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}";
    let cluster = started(2, goes);
    cluster.push("one is enough", &[("shop/db.yaml", Some(&db("v1", &format!("replicas: 1\n{goes}"))))]);
    wait_until_erased(&cluster, 1);
    assert_eq!(fs::read_to_string(log(&cluster, 0)).expect("the data"), "v1\n");
}

#[test]
fn a_set_that_takes_its_data_along_is_deleted_only_once_a_commit_approves_it() {
    let cluster = started(1, "persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete}");
    let deleted = cluster.push("no database", &[("shop/db.yaml", None)]);
    let record = cluster.wait_for("it is held back", || cluster.audited(&[&deleted, "Driftless-Outcome: blocked"]));
    assert!(record.contains("StatefulSet shop/db") || record.contains("shop/db"), "{record}");
    cluster.ready_pods("shop", "db-0", 1).expect("still running");
    assert_eq!(fs::read_to_string(log(&cluster, 0)).expect("the data"), "v1\n");
    cluster.push("yes, really\n\nDriftless-Allow-Prune: 1", &[]);
    wait_until_erased(&cluster, 0);
    wait_for_pods(&cluster, 0);
}

/// A claim of its own, and two pods that want it.
const CLAIM: &str = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data-db-0, namespace: shop}\nspec:\n  \
                     accessModes: [ReadWriteOncePod]\n  resources: {requests: {storage: 1Gi}}\n";

fn writers(replicas: u32) -> String {
    let mut container = json!({ "name": "main", "command": ["sh", "-c", "echo v1 >> data/log; exec sleep 100000"] });
    container["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    let mut pod = process(container);
    pod["volumes"] = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-db-0" } }]);
    workload("Deployment", "writer", &format!("replicas: {replicas}\nstrategy: {{type: Recreate}}"), &pod)
}

#[test]
fn a_claim_for_one_pod_has_one_and_its_data_goes_only_once_a_commit_approves_it() {
    let mut cluster = Cluster::new("process");
    cluster.push("two writers", &[("shop/claim.yaml", Some(CLAIM)), ("shop/writer.yaml", Some(&writers(2)))]);
    cluster.start();
    cluster.wait_for("the other waits for the claim", || {
        let problems = cluster.get("/driftless/v1/problems")?;
        if problems.contains("is ReadWriteOncePod, and another pod uses it") { Ok(()) } else { Err(problems) }
    });
    cluster.wait_for("one has written", || match fs::read_to_string(log(&cluster, 0)) {
        Ok(text) if text == "v1\n" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let files = [("shop/claim.yaml", None), ("shop/writer.yaml", None), ("shop/kept.yaml", Some(KEPT))];
    let deleted = cluster.push("neither claim nor writers", &files);
    cluster.wait_for("it is held back", || cluster.audited(&[&deleted, "Driftless-Outcome: blocked"]));
    assert_eq!(fs::read_to_string(log(&cluster, 0)).expect("the data"), "v1\n");
    cluster.push("yes, really\n\nDriftless-Allow-Prune: all", &[]);
    wait_until_erased(&cluster, 0);
    wait_for_pods(&cluster, 0);
}
