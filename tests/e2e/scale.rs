//! Autoscalers on the real thing: processes that are busy are joined by others, and left alone again when they are not.

use crate::harness::Cluster;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// A look every 15 s at samples that are taken every 10 s, of pods that must have been ready for 15 s.
const PATIENCE: Duration = Duration::from_secs(150);

/// What a pod does while the file is there, and what it asks for.
struct Work {
    busy: &'static str,
    idle: &'static str,
    requests: &'static str,
    metric: &'static str,
}

/// All of a core that it can get, of which a fifth of 100m is wanted.
const CPU: Work = Work {
    busy: "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done",
    idle: "sleep 0.5",
    requests: "{cpu: 100m}",
    metric: "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 20}}}",
};

/// 64 MB, which the shell gives back.
const MEMORY: Work = Work {
    busy: "[ -n \"$held\" ] || held=$(head -c 64000000 /dev/zero | tr '\\0' x); sleep 0.5",
    idle: "held=; sleep 0.5",
    requests: "{memory: 16Mi}",
    metric: "{type: ContainerResource, containerResource: {name: memory, container: web, target: {type: AverageValue, averageValue: 30Mi}}}",
};

/// A Deployment without a number, and its autoscaler.
fn manifest(work: &Work, flag: &str) -> String {
    let Work { busy, idle, requests, metric } = work;
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      runtimeClassName: process
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        command: [sh, -c]
        args:
        - |
          while true; do
            if [ -e {flag} ]; then {busy}; else {idle}; fi
          done
        resources: {{requests: {requests}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: web, namespace: shop}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}
  minReplicas: 1
  maxReplicas: 3
  metrics:
  - {metric}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 0}}}}
"#
    )
}

/// Pods that work are joined by others until there are three; once they rest, one is left.
fn scales_out_and_in(work: &Work, resource: &str) {
    let mut cluster = Cluster::new("process");
    // Where processes have a uid of their own, they must be able to see the file.
    fs::set_permissions(cluster.dir.path(), fs::Permissions::from_mode(0o755)).expect("a folder that all can read");
    let flag: PathBuf = cluster.dir.path().join("busy");
    fs::write(&flag, "").expect("a file");
    cluster.push("web: autoscaled", &[("shop/web.yaml", Some(&manifest(work, &flag.to_string_lossy())))]);
    cluster.start();
    cluster.wait_for("one pod runs", || cluster.ready_pods("shop", "web", 1));

    cluster.wait_within(PATIENCE, "busy pods are joined by others", || cluster.ready_pods("shop", "web", 3));
    cluster.wait_for("the record says why", || cluster.audited(&["by its autoscaler", resource, "Driftless-Trigger: scale"]));
    let status = cluster.json("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web").expect("an autoscaler");
    assert_eq!(status["status"]["desiredReplicas"], 3, "{status:#}");

    fs::remove_file(&flag).expect("no file");
    cluster.wait_within(PATIENCE, "idle pods are taken away", || cluster.ready_pods("shop", "web", 1));
}

#[test]
fn pods_that_burn_cpu_are_scaled_out_and_in_again_when_they_stop() {
    scales_out_and_in(&CPU, "cpu: ");
}

#[test]
fn pods_that_hold_memory_are_scaled_out_and_in_again_when_they_give_it_back() {
    scales_out_and_in(&MEMORY, "memory of container web: ");
}
