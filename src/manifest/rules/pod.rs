//! Rules within a pod.

use super::super::findings::Findings;
use super::check_keys;
use crate::model::{Container, EnvVar, IntOrString, PodSpec, Probe, Protocol, Quantity};
use std::collections::BTreeSet;

/// Fields of the pod that `fieldRef` can name.
const FIELD_PATHS: [&str; 6] =
    ["metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "status.podIP", "status.hostIP"];

/// Checks the spec of a pod; `root` leads to it.
pub(super) fn check(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    check_runtime(spec, root, findings);
    check_keys(&spec.node_selector, &format!("{root}/nodeSelector"), findings);
    let mut names = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let pointer = format!("{root}/containers/{index}");
        if !names.insert(&container.name) {
            findings.error(&format!("{pointer}/name"), "is the name of another container", None);
        }
        check_image(spec, container, &pointer, findings);
        check_env(&container.env, &pointer, findings);
        check_probes(container, &pointer, findings);
        check_resources(container, &pointer, findings);
        check_mounts(spec, container, &pointer, findings);
    }
    check_ports(spec, root, findings);
    check_volumes(spec, root, findings);
}

fn check_runtime(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    let Some(name) = &spec.runtime_class_name else { return };
    if name != "process" {
        let hint = "write process for host processes, or leave it out for containers".to_owned();
        findings.error(&format!("{root}/runtimeClassName"), "is not a known runtime", Some(hint));
    }
}

fn check_image(spec: &PodSpec, container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    if spec.is_process() {
        if container.command.is_empty() {
            findings.error(&format!("{pointer}/command"), "is required for a host process (runtimeClassName: process)", None);
        }
    } else if container.image.is_none() {
        let hint = "host processes (runtimeClassName: process) need none".to_owned();
        findings.error(&format!("{pointer}/image"), "is required", Some(hint));
    }
}

fn check_env(env: &[EnvVar], pointer: &str, findings: &mut Findings<'_>) {
    for (index, variable) in env.iter().enumerate() {
        let Some(source) = &variable.value_from else { continue };
        let at = format!("{pointer}/env/{index}");
        if variable.value.as_ref().is_some_and(|value| !value.is_empty()) {
            findings.error(&at, "must have value or valueFrom, not both", None);
        }
        if let Some(field) = &source.field_ref {
            let keyed = ["metadata.labels['", "metadata.annotations['"];
            let is_keyed = keyed.iter().any(|start| field.field_path.starts_with(start)) && field.field_path.ends_with("']");
            if !is_keyed && !FIELD_PATHS.contains(&field.field_path.as_str()) {
                let message = format!("must be {} or metadata.labels['…'] or metadata.annotations['…']", FIELD_PATHS.join(", "));
                findings.error(&format!("{at}/valueFrom/fieldRef/fieldPath"), &message, None);
            }
        }
    }
}

fn check_probes(container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    let probes = [
        ("livenessProbe", &container.liveness_probe, true),
        ("readinessProbe", &container.readiness_probe, false),
        ("startupProbe", &container.startup_probe, true),
    ];
    for (name, probe, wants_one_success) in probes {
        let Some(probe) = probe else { continue };
        let at = format!("{pointer}/{name}");
        if wants_one_success && probe.success_threshold != 1 {
            findings.error(&format!("{at}/successThreshold"), "must be 1", None);
        }
        check_probe_port(container, probe, &at, findings);
    }
}

fn check_probe_port(container: &Container, probe: &Probe, at: &str, findings: &mut Findings<'_>) {
    let http = probe.http_get.as_ref().map(|action| ("httpGet", &action.port));
    let tcp = probe.tcp_socket.as_ref().map(|action| ("tcpSocket", &action.port));
    for (action, port) in http.into_iter().chain(tcp) {
        let IntOrString::Text(name) = port else { continue };
        if !container.ports.iter().any(|port| port.name == *name) {
            let hint = format!("add a port with name: {name} to the container, or write the number");
            findings.error(&format!("{at}/{action}/port"), "names no port of its container", Some(hint));
        }
    }
}

fn check_resources(container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    for (name, request) in &container.resources.requests {
        let limit = container.resources.limits.get(name);
        if limit.is_some_and(|limit| limit < request) {
            findings.error(&format!("{pointer}/resources/requests/{name}"), "must not exceed the limit", None);
        }
    }
    for (part, amounts) in [("requests", &container.resources.requests), ("limits", &container.resources.limits)] {
        for (name, _) in amounts.iter().filter(|(_, amount)| **amount < Quantity::default()) {
            findings.error(&format!("{pointer}/resources/{part}/{name}"), "must not be negative", None);
        }
    }
}

fn check_mounts(spec: &PodSpec, container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    let mut paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().enumerate() {
        let at = format!("{pointer}/volumeMounts/{index}");
        if !spec.volumes.iter().any(|volume| volume.name == mount.name) {
            let hint = format!("add a volume with name: {}", mount.name);
            findings.error(&format!("{at}/name"), "names no volume of the pod", Some(hint));
        }
        if !paths.insert(mount.mount_path.trim_end_matches('/')) {
            findings.error(&format!("{at}/mountPath"), "is the place of another mount", None);
        }
    }
}

/// Port names are unique within a container; a host port can be taken once.
fn check_ports(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    let mut host_ports: BTreeSet<(u16, Protocol)> = BTreeSet::new();
    for (outer, container) in spec.containers.iter().enumerate() {
        let mut names = BTreeSet::new();
        for (inner, port) in container.ports.iter().enumerate() {
            let at = format!("{root}/containers/{outer}/ports/{inner}");
            if !port.name.is_empty() && !names.insert(&port.name) {
                findings.error(&format!("{at}/name"), "is the name of another port", None);
            }
            if port.host_port.is_some_and(|host_port| !host_ports.insert((host_port, port.protocol))) {
                findings.error(&format!("{at}/hostPort"), "is taken by another port of the pod", None);
            }
        }
    }
}

fn check_volumes(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        if !names.insert(&volume.name) {
            findings.error(&format!("{root}/volumes/{index}/name"), "is the name of another volume", None);
        }
    }
}
