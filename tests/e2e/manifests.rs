//! The manifests that several tests push. Pods are in flow style, so that they fit wherever a template is.

use crate::journal::Journal;
use serde_json::{Value, json};

/// The image that `docker::import_image` makes.
pub const IMAGE: &str = "driftless-test/busybox:e2e";

/// A workload named `name` in the namespace `shop`, whose pods have the label `app`; `spec` is what else it says, as lines.
pub fn workload(kind: &str, name: &str, spec: &str, pod: &Value) -> String {
    let api_version = match kind {
        "Rollout" => "argoproj.io/v1alpha1",
        "Job" => "batch/v1",
        _ => "apps/v1",
    };
    let selector = if kind == "Job" { String::new() } else { format!("  selector: {{matchLabels: {{app: {name}}}}}\n") };
    let lines: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{selector}{lines}  template:\n    \
         metadata: {{labels: {{app: {name}}}}}\n    spec: {pod}\n"
    )
}

/// The Service of a workload of that name.
pub fn service(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  selector: {{app: {name}}}\n  \
         ports: [{{port: 8080, targetPort: http}}]\n"
    )
}

/// A Deployment with its Service, which rolls one pod at a time.
pub fn web_of(replicas: u32, pod: &Value) -> String {
    let spec = format!("replicas: {replicas}\nstrategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}");
    workload("Deployment", "web", &spec, pod) + &service("web")
}

/// The same with host processes: `replicas` of this binary's demo server.
pub fn web(replicas: u32, release: &str) -> String {
    web_of(replicas, &served(release))
}

/// A host process that answers with its release.
pub fn served(release: &str) -> Value {
    process(json!({
        "name": "web", "command": ["driftless", "demo-server", "api"],
        "env": [{ "name": "VERSION", "value": release }],
        "ports": [{ "name": "http", "containerPort": 8080 }],
        "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 1 }
    }))
}

/// A pod of one host process.
pub fn process(container: Value) -> Value {
    processes(&[container])
}

pub fn processes(containers: &[Value]) -> Value {
    json!({ "runtimeClassName": "process", "terminationGracePeriodSeconds": 5, "containers": containers })
}

/// A host process that runs a script, in which `note` writes to the journal and `$POD` is the pod's name.
pub fn scripted(journal: &Journal, name: &str, script: &str) -> Value {
    json!({
        "name": name, "command": ["sh", "-c", journal.script(script)],
        "env": [{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]
    })
}

/// Runs until it is told to stop, and notes when it starts, when it is about to be ready, and when it stops.
pub fn diarist(journal: &Journal, release: &str) -> Value {
    let script = format!(
        "trap \"note $POD {release} stops; exit 0\" TERM; note $POD {release} starts; sleep 0.3; note $POD {release} serves; \
         touch ready; while true; do sleep 0.05; done"
    );
    let mut container = scripted(journal, "main", &script);
    container["readinessProbe"] = json!({ "exec": { "command": ["test", "-e", "ready"] }, "periodSeconds": 1 });
    container
}

/// A container of the test image that runs a script.
pub fn contained(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/busybox", "sh", "-c", script] })
}
