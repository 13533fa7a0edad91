//! Volumes that outlive their pods.

use crate::harness::{Cluster, git};
use std::fs;
use std::path::PathBuf;

/// A StatefulSet whose pod writes its version to its volume, and then serves.
fn db(release: &str) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: shop}}
spec:
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      runtimeClassName: process
      terminationGracePeriodSeconds: 5
      containers:
      - name: db
        command: [sh, -c, "echo $VERSION >> data/log; exec driftless demo-server api"]
        env: [{{name: VERSION, value: {release}}}]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1}}
        volumeMounts: [{{name: data, mountPath: /data}}]
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}
"#
    )
}

const KEPT: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: shop}\ndata: {a: b}\n";

fn log(cluster: &Cluster) -> PathBuf {
    cluster.state_dir().join("agent/volumes/shop_data-db-0/log")
}

#[test]
fn what_a_pod_has_written_is_there_for_the_next_one_and_stays_when_the_set_is_deleted() {
    let mut cluster = Cluster::new("process");
    cluster.push("first release", &[("shop/db.yaml", Some(&db("v1"))), ("shop/kept.yaml", Some(KEPT))]);
    cluster.start();
    cluster.wait_for("db-0 is ready", || cluster.ready_pods("shop", "db-0", 1));
    cluster.push("second release", &[("shop/db.yaml", Some(&db("v2")))]);
    cluster.wait_for("the second release writes behind the first", || {
        let text = fs::read_to_string(log(&cluster)).map_err(|error| error.to_string())?;
        if text == "v1\nv2\n" { Ok(()) } else { Err(text) }
    });
    cluster.wait_for("db-0 is ready again", || cluster.ready_pods("shop", "db-0", 1));
    let message = "no database\n\nDriftless-Allow-Prune: all";
    cluster.push(message, &[("shop/db.yaml", None)]);
    cluster.wait_for("the pod is gone", || {
        let pods = cluster.pods("shop")?;
        if pods.is_empty() { Ok(()) } else { Err(format!("{:?}", pods.keys())) }
    });
    assert_eq!(fs::read_to_string(log(&cluster)).expect("the data"), "v1\nv2\n");
    cluster.wait_for("the audit branch remembers where the data is", || {
        let recorded = git(&cluster.repo(), &["ls-tree", "-r", "--name-only", &cluster.audit_branch()]);
        if recorded.contains("current/shop/PersistentVolumeClaim/data-db-0.yaml") { Ok(()) } else { Err(recorded) }
    });
}
