//! Rules within a pod.

use super::super::findings::Findings;
use super::super::yaml::escape;
use super::{check_keys, image, settings};
use crate::model::{Container, EnvVar, IntOrString, PodSpec, Probe, Protocol, Quantity, is_device};
use std::collections::BTreeSet;

/// Checks the spec of a pod; `root` leads to it.
pub(super) fn check(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    check_runtime(spec, root, findings);
    check_keys(&spec.node_selector, &format!("{root}/nodeSelector"), findings);
    let mut names = BTreeSet::new();
    for (pointer, container) in containers(spec, root) {
        if !names.insert(&container.name) {
            findings.error(&format!("{pointer}/name"), "is the name of another container", None);
        }
        check_image(spec, container, &pointer, findings);
        check_env(&container.env, &pointer, findings);
        check_probes(container, &pointer, findings);
        check_hooks(container, &pointer, findings);
        check_resources(container, &pointer, findings);
        check_mounts(spec, container, &pointer, findings);
    }
    check_inits(spec, root, findings);
    settings::check(spec, root, containers(spec, root).into_iter(), findings);
    check_ports(spec, root, findings);
    super::placement::check(spec, root, findings);
    check_volumes(spec, root, findings);
}

/// Every container, init containers first, with what leads to it.
fn containers<'a>(spec: &'a PodSpec, root: &str) -> Vec<(String, &'a Container)> {
    let of = |field: &str, containers: &'a [Container]| -> Vec<(String, &'a Container)> {
        containers.iter().enumerate().map(|(index, container)| (format!("{root}/{field}/{index}"), container)).collect()
    };
    [of("initContainers", &spec.init_containers), of("containers", &spec.containers)].concat()
}

/// What a container may not have that runs to its end, and what only a sidecar may:
/// <https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#differences-from-regular-containers>.
fn check_inits(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    for (index, container) in spec.init_containers.iter().enumerate().filter(|(_, container)| !container.is_sidecar()) {
        let has = [
            ("livenessProbe", container.liveness_probe.is_some()),
            ("readinessProbe", container.readiness_probe.is_some()),
            ("startupProbe", container.startup_probe.is_some()),
            ("lifecycle", container.lifecycle.is_some()),
        ];
        for (field, _) in has.into_iter().filter(|(_, has)| *has) {
            let hint = "restartPolicy: Always makes it a sidecar, which may have it".to_owned();
            let pointer = format!("{root}/initContainers/{index}/{field}");
            findings.error(&pointer, "must not be set for an init container, which runs to its end", Some(hint));
        }
    }
    for (index, _) in spec.containers.iter().enumerate().filter(|(_, container)| container.restart_policy.is_some()) {
        let hint = "set restartPolicy of the pod, or move the container to initContainers".to_owned();
        findings.error(&format!("{root}/containers/{index}/restartPolicy"), "is for init containers only", Some(hint));
    }
}

fn check_runtime(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    if spec.is_process() && spec.share_process_namespace {
        let hint = "leave it out: they see all processes of the host".to_owned();
        findings.error(&format!("{root}/shareProcessNamespace"), "has no meaning for host processes", Some(hint));
    }
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
    } else if let Some(image) = &container.image {
        image::check(image, &format!("{pointer}/image"), findings);
    } else {
        let hint = "host processes (runtimeClassName: process) need none".to_owned();
        findings.error(&format!("{pointer}/image"), "is required", Some(hint));
    }
}

fn check_env(env: &[EnvVar], pointer: &str, findings: &mut Findings<'_>) {
    for (index, variable) in env.iter().enumerate() {
        let at = format!("{pointer}/env/{index}");
        if variable.value_from.is_some() && variable.value.as_ref().is_some_and(|value| !value.is_empty()) {
            findings.error(&at, "must have value or valueFrom, not both", None);
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
        if name == "readinessProbe" && probe.termination_grace_period_seconds.is_some() {
            let pointer = format!("{at}/terminationGracePeriodSeconds");
            findings.error(&pointer, "must not be set for a readiness probe, which stops nothing", None);
        }
        check_probe_port(container, probe, &at, findings);
    }
}

fn check_probe_port(container: &Container, probe: &Probe, at: &str, findings: &mut Findings<'_>) {
    let http = probe.http_get.as_ref().map(|action| ("httpGet", &action.port));
    let tcp = probe.tcp_socket.as_ref().map(|action| ("tcpSocket", &action.port));
    for (action, port) in http.into_iter().chain(tcp) {
        check_named_port(container, port, &format!("{at}/{action}/port"), findings);
    }
}

fn check_hooks(container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    let Some(lifecycle) = &container.lifecycle else { return };
    for (name, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        if let Some(http) = hook.as_ref().and_then(|hook| hook.http_get.as_ref()) {
            check_named_port(container, &http.port, &format!("{pointer}/lifecycle/{name}/httpGet/port"), findings);
        }
    }
}

/// A name must be that of a port of its container. A number that is not among the declared ones works where the program listens on
/// it; mostly it is a mistake.
fn check_named_port(container: &Container, port: &IntOrString, pointer: &str, findings: &mut Findings<'_>) {
    match port {
        IntOrString::Text(name) => {
            if !container.ports.iter().any(|port| port.name == *name) {
                let hint = format!("add a port with name: {name} to the container, or write the number");
                findings.error(pointer, "names no port of its container", Some(hint));
            }
        }
        IntOrString::Int(number) => {
            let is_declared = container.ports.iter().any(|port| i64::from(port.container_port) == *number);
            if !container.ports.is_empty() && !is_declared {
                findings.warning(pointer, format!("{number} is not among the ports of its container"), None);
            }
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
            findings.error(&format!("{pointer}/resources/{part}/{}", escape(name)), "must not be negative", None);
        }
    }
    check_devices(container, pointer, findings);
}

/// Devices are given whole and to one pod alone, so a limit is needed, and the request is the same.
/// <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#consuming-extended-resources>
fn check_devices(container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    let resources = &container.resources;
    let devices: BTreeSet<&String> =
        resources.limits.keys().chain(resources.requests.keys()).filter(|name| is_device(name)).collect();
    for name in devices {
        let at = |part: &str| format!("{pointer}/resources/{part}/{}", escape(name));
        let Some(limit) = resources.limits.get(name) else {
            findings.error(&at("limits"), "is required: a device is not shared", None);
            continue;
        };
        if resources.requests.get(name).is_some_and(|request| request != limit) {
            findings.error(&at("requests"), "must be the limit: a device is not shared", None);
        } else if limit.milli() % 1_000 != 0 {
            findings.error(&at("limits"), "must be a whole number: a device is not shared", None);
        } else if *limit > Quantity::default() {
            let hint = "a privileged container sees the devices of its host, where the host allows that".to_owned();
            findings.warning(&at("limits"), format!("no node offers {name} yet: its pods will wait"), Some(hint));
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
    for (pointer, container) in containers(spec, root) {
        let mut names = BTreeSet::new();
        for (inner, port) in container.ports.iter().enumerate() {
            let at = format!("{pointer}/ports/{inner}");
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
