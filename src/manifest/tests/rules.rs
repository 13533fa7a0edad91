//! What a schema cannot say: fields of one document that contradict each other.

use super::documents::{check, check_container, judge};
use super::*;

/// A set with the fields of its spec beside selector and template, and the expected judgement.
fn check_set(kind: &str, more: &str, expected: &str) {
    let text = format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{more}  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: web, image: 'nginx:1'}}]}}\n"
    );
    check(&text, expected);
}

/// A pod with these lines in its spec is rejected with these errors (without their places), or accepted if there are none.
fn check_pod(spec: &str, errors: &[&str]) {
    let judged = judge(&format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n{spec}"));
    let found: Vec<&str> = judged.lines().filter_map(|line| Some(line.split_once("error: ")?.1)).collect();
    assert_eq!(found, errors, "{judged}\n{spec}");
}

#[test]
fn sets_are_accepted_and_their_contradictions_are_not() {
    check_set("ReplicaSet", "  replicas: 2\n", "Accepted ReplicaSet/web");
    check_set(
        "ReplicaSet",
        "  strategy: {}\n",
        "Rejected ReplicaSet/web\n5:3: error: spec.strategy is not a known field (strategy is a field of DeploymentSpec: is the indentation right?)",
    );
    check_set("StatefulSet", "  serviceName: web\n  podManagementPolicy: Parallel\n", "Accepted StatefulSet/web");
    check_set(
        "StatefulSet",
        "  replicas: 2\n",
        "Accepted StatefulSet/web\n4:1: warning: the StatefulSet has no serviceName (a headless Service gives its pods their names in DNS: write one, and its name here)",
    );
    check_set(
        "StatefulSet",
        "  serviceName: web\n  updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}\n",
        "Rejected StatefulSet/web\n6:36: error: spec.updateStrategy.rollingUpdate must not be there when the type is OnDelete",
    );
    check_set("DaemonSet", "  updateStrategy: {rollingUpdate: {maxSurge: 1}}\n", "Accepted DaemonSet/web");
    check_set(
        "DaemonSet",
        "  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}\n",
        "Rejected DaemonSet/web\n5:20: error: spec.updateStrategy.rollingUpdate must have one of maxSurge and maxUnavailable, not both (with maxSurge the new pod of a node comes first, with maxUnavailable the old one goes first)",
    );
    check_set(
        "DaemonSet",
        "  replicas: 2\n",
        "Rejected DaemonSet/web\n5:3: error: spec.replicas is not a known field (replicas is a field of DeploymentSpec: is the indentation right?)",
    );
}

/// A set of this kind with these annotations, and the expected judgement.
fn check_lease(kind: &str, annotations: &str, expected: &str) {
    let text = format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata:\n  name: web\n  annotations: {{{annotations}}}\nspec:\n  serviceName: web\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: {{containers: [{{name: web, image: 'nginx:1'}}]}}\n"
    );
    let text = if kind == "StatefulSet" { text } else { text.replace("  serviceName: web\n", "") };
    check(&text, expected);
}

#[test]
fn a_lease_is_a_duration_on_a_stateful_set() {
    check_lease("StatefulSet", "driftless.dev/lease: 30s", "Accepted StatefulSet/web");
    check_lease(
        "StatefulSet",
        "driftless.dev/lease: soon",
        "Rejected StatefulSet/web\n5:38: error: metadata.annotations['driftless.dev/lease'] must be a duration, such as 30s or 2m",
    );
    check_lease(
        "StatefulSet",
        "driftless.dev/lease: 5s",
        "Rejected StatefulSet/web\n5:38: error: metadata.annotations['driftless.dev/lease'] must be from 10s (three heartbeats) to 1h",
    );
    check_lease(
        "Deployment",
        "driftless.dev/lease: 30s",
        "Rejected Deployment/web\n5:17: error: metadata.annotations['driftless.dev/lease'] has no effect on a Deployment (it belongs on StatefulSet)",
    );
}

#[test]
fn rules_that_a_schema_cannot_say() {
    for (more, expected) in [
        (
            "        livenessProbe: {}\n",
            "12:9: error: spec.template.spec.containers[0].livenessProbe must have exactly one of httpGet, tcpSocket, exec, grpc",
        ),
        (
            "        readinessProbe: {httpGet: {port: web}}\n",
            "12:42: error: spec.template.spec.containers[0].readinessProbe.httpGet.port names no port of its container \
          (add a port with name: web to the container, or write the number)",
        ),
        (
            "        volumeMounts: [{name: v, mountPath: /v}]\n",
            "12:31: error: spec.template.spec.containers[0].volumeMounts[0].name names no volume of the pod (add a volume with name: v)",
        ),
        (
            "        resources: {requests: {cpu: 2}, limits: {cpu: 1}}\n",
            "12:37: error: spec.template.spec.containers[0].resources.requests.cpu must not exceed the limit",
        ),
        (
            "        env: [{name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n",
            "12:15: error: spec.template.spec.containers[0].env[0] must have value or valueFrom, not both",
        ),
        (
            "      runtimeClassName: gvisor\n",
            "12:25: error: spec.template.spec.runtimeClassName is not a known runtime (write process for host processes, or leave it out for containers)",
        ),
        (
            "      runtimeClassName: process\n",
            "10:9: error: spec.template.spec.containers[0].command is required for a host process (runtimeClassName: process)",
        ),
        (
            "      - {name: main, image: x}\n",
            "12:16: error: spec.template.spec.containers[1].name is the name of another container",
        ),
        (
            "      initContainers: [{name: i, image: x, livenessProbe: {exec: {command: [a]}}}]\n",
            "12:44: error: spec.template.spec.initContainers[0].livenessProbe must not be set for an init container, which runs to its \
          end (restartPolicy: Always makes it a sidecar, which may have it)",
        ),
        (
            "      initContainers: [{name: main, image: x}]\n",
            "10:15: error: spec.template.spec.containers[0].name is the name of another container",
        ),
        (
            "        restartPolicy: Always\n",
            "12:24: error: spec.template.spec.containers[0].restartPolicy is for init containers only (set restartPolicy of the pod, or \
          move the container to initContainers)",
        ),
        (
            "        readinessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 3}\n",
            "12:80: error: spec.template.spec.containers[0].readinessProbe.terminationGracePeriodSeconds must not be set for a \
          readiness probe, which stops nothing",
        ),
        (
            "        lifecycle: {preStop: {httpGet: {port: web}}}\n",
            "12:47: error: spec.template.spec.containers[0].lifecycle.preStop.httpGet.port names no port of its container \
          (add a port with name: web to the container, or write the number)",
        ),
        (
            "      volumes: [{name: v, emptyDir: {}, secret: {secretName: s}}]\n",
            "12:17: error: spec.template.spec.volumes[0] must have at most one of configMap, secret, emptyDir, hostPath, persistentVolumeClaim, projected, downwardAPI",
        ),
    ] {
        check_container(more, expected);
    }
}

#[test]
fn pods_that_end_are_for_a_job() {
    for (more, expected) in [
        (
            "      restartPolicy: Never\n",
            "12:22: error: spec.template.spec.restartPolicy must be Always in a Deployment (pods that end are for a Job)",
        ),
        (
            "      activeDeadlineSeconds: 5\n",
            "12:30: error: spec.template.spec.activeDeadlineSeconds must not be set in a Deployment, whose pods run for ever (pods that end are for a Job)",
        ),
    ] {
        check_container(more, expected);
    }
}

#[test]
fn a_selector_must_match_its_own_template() {
    check(
        &deployment("web", "").replace("labels: {app: web}", "labels: {app: api}"),
        "Rejected Deployment/web
         5:3: error: spec.selector does not match the labels of its own template (every label of the selector must be among spec.template.metadata.labels)",
    );
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let container = |more: &str| format!("  containers: [{{name: a, image: b, {more}}}]\n");
    check_pod(
        &container("securityContext: {privileged: true, allowPrivilegeEscalation: false}"),
        &[
            "spec.containers[0].securityContext.allowPrivilegeEscalation cannot be false in a container that is privileged or has SYS_ADMIN",
        ],
    );
    check_pod(
        &format!("  securityContext: {{runAsNonRoot: true, runAsUser: 0}}\n{}", container("tty: true")),
        &["spec.securityContext.runAsUser must not be 0 where runAsNonRoot is true"],
    );
    check_pod(
        &format!("  securityContext: {{sysctls: [{{name: vm.swappiness, value: '1'}}]}}\n{}", container("tty: true")),
        &["spec.securityContext.sysctls[0].name is a parameter of the whole host (set it on the host)"],
    );
    check_pod(
        &container("securityContext: {seccompProfile: {type: Localhost}}"),
        &["spec.containers[0].securityContext.seccompProfile.localhostProfile is required where the type is Localhost"],
    );
    check_pod(
        &format!("  dnsPolicy: None\n{}", container("tty: true")),
        &["spec.dnsConfig.nameservers is required where dnsPolicy is None"],
    );
    check_pod(
        &container("ports: [{containerPort: 80, hostPort: 80, hostIP: nowhere}]"),
        &["spec.containers[0].ports[0].hostIP must be an IP address"],
    );
    check_pod(&container("ports: [{containerPort: 80, hostPort: 80, hostIP: ''}]"), &[]);
    let mount = "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional, subPath: a, subPathExpr: b}]";
    check_pod(
        &format!("  volumes: [{{name: v, emptyDir: {{}}}}]\n{}", container(mount)),
        &[
            "spec.containers[0].volumeMounts[0].mountPropagation Bidirectional is for privileged containers (HostToContainer needs no rights; the other is securityContext.privileged: true)",
            "spec.containers[0].volumeMounts[0].subPathExpr must not be there beside subPath",
        ],
    );
}

#[test]
fn what_only_containers_can_be_held_to_is_refused_for_host_processes() {
    check_pod(
        "  runtimeClassName: process\n  hostNetwork: true\n  containers: [{name: a, command: [b], securityContext: {capabilities: {drop: [ALL]}}}]\n",
        &[
            "spec.hostNetwork is for containers and not kept for host processes (runtimeClassName: process) (leave it out, or run an image)",
            "spec.containers[0].securityContext.capabilities is for containers and not kept for host processes (runtimeClassName: process) (leave it out, or run an image)",
        ],
    );
    check_pod(
        "  runtimeClassName: process\n  containers: [{name: a, command: [b], securityContext: {allowPrivilegeEscalation: false}}]\n",
        &[],
    );
}
