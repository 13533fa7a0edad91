//! The network of a cluster and what becomes of a lost host, measured on the real thing:
//! `cargo bench --bench network [proxy|ingress|lost|memory]`.
//!
//! Hosts are network namespaces of this machine, as in tests/e2e/fleet; needs root, and wrk, haproxy and dockerd of Debian. What to
//! compare are ratios, all sides of which are taken in one run and in turn. docs/benchmarks.md has ours.

#![expect(unreachable_pub, dead_code, reason = "the end-to-end harness is shared with tests/e2e")]
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

#[path = "../../tests/e2e/harness.rs"]
mod harness;
#[path = "../../tests/e2e/fleet/lab.rs"]
mod lab;

mod agents;
mod haproxy;
mod requests;
mod wrk;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|arg| arg == name);
    if wanted("proxy") {
        requests::through_services();
    }
    if wanted("ingress") {
        requests::through_ingress();
    }
    if wanted("lost") {
        agents::lost_host();
    }
    if wanted("memory") {
        agents::memory("process");
        agents::memory("docker");
    }
}

/// One host process on a host, and its Service.
fn deployment(name: &str, host: &str, command: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: bench}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      runtimeClassName: process\n      \
         nodeSelector: {{kubernetes.io/hostname: {host}}}\n      containers:\n      - name: main\n        command: [sh, -c, 'exec {command}']\n        \
         ports: [{{name: http, containerPort: 8080}}]\n        readinessProbe: {{httpGet: {{port: http}}, periodSeconds: 1}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: bench}}\nspec:\n  selector: {{app: {name}}}\n  \
         ports: [{{port: 8080, targetPort: http}}]\n"
    )
}
