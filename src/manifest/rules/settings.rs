//! What containers are given: rights, names, volumes, fields of their pod.

use super::super::findings::Findings;
use crate::model::{
    Container, DownwardFile, FieldRef, PodSpec, Quantity, ResourceFieldRef, SeccompProfile, SecurityContext, Volume, VolumeMount,
    capability,
};
use std::net::IpAddr;

/// Fields of the pod that a variable can have.
const VARIABLES: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "status.podIP",
    "status.podIPs",
    "status.hostIP",
    "status.hostIPs",
];

/// Fields of the pod that a file can have.
const FILES: [&str; 5] = ["metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations"];

/// Kernel parameters that belong to namespaces of the pod begin with one of these.
const NAMESPACED: [&str; 5] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.", "net."];

/// Checks the settings of a pod and of its containers, each with the pointer to it.
pub(super) fn check<'a>(
    spec: &PodSpec,
    root: &str,
    containers: impl Iterator<Item = (String, &'a Container)>,
    findings: &mut Findings<'_>,
) {
    check_pod(spec, root, findings);
    for (index, volume) in spec.volumes.iter().enumerate() {
        check_volume(spec, volume, &format!("{root}/volumes/{index}"), findings);
    }
    for (pointer, container) in containers {
        check_rights(spec, container, &pointer, findings);
        check_sources(container, &pointer, findings);
        for (index, mount) in container.volume_mounts.iter().enumerate() {
            check_mount(container, mount, &format!("{pointer}/volumeMounts/{index}"), findings);
        }
        for (index, port) in container.ports.iter().enumerate() {
            let at = format!("{pointer}/ports/{index}");
            // An empty address is every address, as if it were not written.
            if port.host_ip.as_ref().is_some_and(|address| !address.is_empty() && address.parse::<IpAddr>().is_err()) {
                findings.error(&format!("{at}/hostIP"), "must be an IP address", None);
            }
            if spec.host_network && port.host_port.is_some_and(|host_port| host_port != port.container_port) {
                findings.error(&format!("{at}/hostPort"), "must be the containerPort where hostNetwork is true", None);
            }
        }
        if spec.is_process() {
            refuse_for_process(spec, container, &pointer, findings);
        }
    }
}

fn check_pod(spec: &PodSpec, root: &str, findings: &mut Findings<'_>) {
    let servers = spec.dns_config.as_ref().map_or(0, |config| config.nameservers.len());
    if spec.dns_policy.as_deref() == Some("None") && servers == 0 {
        findings.error(&format!("{root}/dnsConfig/nameservers"), "is required where dnsPolicy is None", None);
    }
    let aliases = spec.host_aliases.iter().enumerate().map(|(index, alias)| (format!("hostAliases/{index}/ip"), &alias.ip));
    let config = spec.dns_config.iter().flat_map(|config| config.nameservers.iter().enumerate());
    let addresses = aliases.chain(config.map(|(index, server)| (format!("dnsConfig/nameservers/{index}"), server)));
    for (at, address) in addresses.filter(|(_, address)| address.parse::<IpAddr>().is_err()) {
        findings.error(&format!("{root}/{at}"), &format!("must be an IP address, not {address}"), None);
    }
    let Some(context) = &spec.security_context else { return };
    let at = format!("{root}/securityContext");
    check_profile(context.seccomp_profile.as_ref(), &at, findings);
    if context.run_as_non_root == Some(true) && context.run_as_user == Some(0) {
        findings.error(&format!("{at}/runAsUser"), "must not be 0 where runAsNonRoot is true", None);
    }
    for (index, sysctl) in context.sysctls.iter().enumerate() {
        let name = sysctl.name.replace('/', ".");
        let pointer = format!("{at}/sysctls/{index}/name");
        if !NAMESPACED.iter().any(|start| name.starts_with(start)) {
            findings.error(&pointer, "is a parameter of the whole host", Some("set it on the host".to_owned()));
        } else if (spec.host_network && name.starts_with("net.")) || (spec.host_ipc && !name.starts_with("net.")) {
            let hint = "set it on the host, or let the pod have a namespace of its own".to_owned();
            findings.error(&pointer, "would be the host's, whose namespace the pod shares", Some(hint));
        }
    }
}

fn check_rights(spec: &PodSpec, container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    let Some(context) = &container.security_context else { return };
    let at = format!("{pointer}/securityContext");
    check_profile(context.seccomp_profile.as_ref(), &at, findings);
    let pod = spec.security_context.as_ref();
    let non_root = context.run_as_non_root.or_else(|| pod?.run_as_non_root);
    if non_root == Some(true) && context.run_as_user == Some(0) {
        findings.error(&format!("{at}/runAsUser"), "must not be 0 where runAsNonRoot is true", None);
    }
    if context.allow_privilege_escalation == Some(false) && gains_rights(context) {
        let message = "cannot be false in a container that is privileged or has SYS_ADMIN";
        findings.error(&format!("{at}/allowPrivilegeEscalation"), message, None);
    }
}

fn gains_rights(context: &SecurityContext) -> bool {
    let added = context.capabilities.iter().flat_map(|capabilities| &capabilities.add);
    context.privileged == Some(true) || added.map(|name| capability(name)).any(|name| name == "SYS_ADMIN")
}

fn check_profile(profile: Option<&SeccompProfile>, at: &str, findings: &mut Findings<'_>) {
    let Some(profile) = profile else { return };
    let pointer = format!("{at}/seccompProfile/localhostProfile");
    match (profile.r#type == "Localhost", &profile.localhost_profile) {
        (true, None) => findings.error(&pointer, "is required where the type is Localhost", None),
        (false, Some(_)) => findings.error(&pointer, "has no meaning unless the type is Localhost", None),
        (true, Some(_)) | (false, None) => {}
    }
}

fn check_volume(spec: &PodSpec, volume: &Volume, at: &str, findings: &mut Findings<'_>) {
    if let Some(host) = &volume.host_path
        && (!host.path.starts_with('/') || host.path.split('/').any(|part| part == ".."))
    {
        findings.error(&format!("{at}/hostPath/path"), "must be an absolute path without '..'", None);
    }
    if let Some(dir) = &volume.empty_dir
        && dir.size_limit.is_some()
        && dir.medium != "Memory"
    {
        let hint = "write medium: Memory with it, or leave it out".to_owned();
        findings.warning(&format!("{at}/emptyDir/sizeLimit"), "sizeLimit is not kept on disk".to_owned(), Some(hint));
    }
    if let Some(api) = &volume.downward_api {
        check_files(spec, &api.items, &format!("{at}/downwardAPI"), findings);
    }
    for (index, source) in volume.projected.iter().flat_map(|projected| &projected.sources).enumerate() {
        if let Some(api) = &source.downward_api {
            check_files(spec, &api.items, &format!("{at}/projected/sources/{index}/downwardAPI"), findings);
        }
    }
}

fn check_files(spec: &PodSpec, items: &[DownwardFile], at: &str, findings: &mut Findings<'_>) {
    for (index, item) in items.iter().enumerate() {
        let at = format!("{at}/items/{index}");
        if let Some(field) = &item.field_ref {
            check_field(field, &FILES, &at, findings);
        }
        let Some(reference) = &item.resource_field_ref else { continue };
        check_divisor(reference, &at, findings);
        let pointer = format!("{at}/resourceFieldRef/containerName");
        match &reference.container_name {
            None => findings.error(&pointer, "is required in a volume", None),
            Some(name) if spec.all_containers().all(|container| container.name != *name) => {
                // Kubernetes takes it, and the pod waits for ever.
                findings.warning(&pointer, "names no container of the pod".to_owned(), None);
            }
            Some(_) => {}
        }
    }
}

/// Variables that come from the pod itself.
fn check_sources(container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    for (index, variable) in container.env.iter().enumerate() {
        let Some(source) = &variable.value_from else { continue };
        let at = format!("{pointer}/env/{index}/valueFrom");
        if let Some(field) = &source.field_ref {
            check_field(field, &VARIABLES, &at, findings);
        }
        if let Some(reference) = &source.resource_field_ref {
            check_divisor(reference, &at, findings);
        }
    }
}

fn check_field(field: &FieldRef, known: &[&str], at: &str, findings: &mut Findings<'_>) {
    let path = field.field_path.as_str();
    let starts = ["metadata.labels['", "metadata.annotations['"];
    let is_keyed = starts.iter().any(|start| path.starts_with(start)) && path.ends_with("']");
    if !is_keyed && !known.contains(&path) {
        let message = format!("must be {} or metadata.labels['…'] or metadata.annotations['…']", known.join(", "));
        findings.error(&format!("{at}/fieldRef/fieldPath"), &message, None);
    }
}

/// <https://kubernetes.io/docs/concepts/workloads/pods/downward-api/>: cpu in `1` or `1m`, memory in a power of ten or two.
fn check_divisor(reference: &ResourceFieldRef, at: &str, findings: &mut Findings<'_>) {
    let Some(divisor) = reference.divisor else { return };
    let fits = if reference.resource.ends_with(".cpu") {
        [0, 1, 1000].contains(&divisor.milli())
    } else {
        let units = ["0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
        units.iter().any(|unit| Quantity::parse(unit) == Some(divisor))
    };
    if !fits {
        let message = "must be 1 or 1m for cpu, and 1 or one unit such as 1k or 1Mi for memory";
        findings.error(&format!("{at}/resourceFieldRef/divisor"), message, None);
    }
}

fn check_mount(container: &Container, mount: &VolumeMount, at: &str, findings: &mut Findings<'_>) {
    if !mount.sub_path.is_empty() && !mount.sub_path_expr.is_empty() {
        findings.error(&format!("{at}/subPathExpr"), "must not be there beside subPath", None);
    }
    let is_privileged = container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true));
    if mount.mount_propagation == "Bidirectional" && !is_privileged {
        let hint = "HostToContainer needs no rights; the other is securityContext.privileged: true".to_owned();
        findings.error(&format!("{at}/mountPropagation"), "Bidirectional is for privileged containers", Some(hint));
    }
}

/// What an engine does for containers and nobody for host processes.
fn refuse_for_process(spec: &PodSpec, container: &Container, pointer: &str, findings: &mut Findings<'_>) {
    let root = pointer.split("/containers/").next().and_then(|root| root.split("/initContainers/").next()).unwrap_or_default();
    let context = container.security_context.clone().unwrap_or_default();
    let pod = spec.security_context.clone().unwrap_or_default();
    let capabilities = context.capabilities.unwrap_or_default();
    let asked = [
        (spec.host_network, format!("{root}/hostNetwork")),
        (spec.host_pid, format!("{root}/hostPID")),
        (spec.host_ipc, format!("{root}/hostIPC")),
        (spec.hostname.is_some(), format!("{root}/hostname")),
        (spec.subdomain.is_some(), format!("{root}/subdomain")),
        (!spec.host_aliases.is_empty(), format!("{root}/hostAliases")),
        (spec.dns_config.is_some(), format!("{root}/dnsConfig")),
        (pod.run_as_group.is_some(), format!("{root}/securityContext/runAsGroup")),
        (pod.fs_group.is_some(), format!("{root}/securityContext/fsGroup")),
        (!pod.supplemental_groups.is_empty(), format!("{root}/securityContext/supplementalGroups")),
        (pod.seccomp_profile.is_some(), format!("{root}/securityContext/seccompProfile")),
        (!pod.sysctls.is_empty(), format!("{root}/securityContext/sysctls")),
        (context.run_as_group.is_some(), format!("{pointer}/securityContext/runAsGroup")),
        (context.privileged == Some(true), format!("{pointer}/securityContext/privileged")),
        (!capabilities.add.is_empty() || !capabilities.drop.is_empty(), format!("{pointer}/securityContext/capabilities")),
        (context.read_only_root_filesystem == Some(true), format!("{pointer}/securityContext/readOnlyRootFilesystem")),
        (context.seccomp_profile.is_some(), format!("{pointer}/securityContext/seccompProfile")),
        (container.stdin, format!("{pointer}/stdin")),
        (container.tty, format!("{pointer}/tty")),
    ];
    let hint = || Some("leave it out, or run an image".to_owned());
    for (_, at) in asked.into_iter().filter(|(asks, at)| *asks && !findings.has_error_below(at)).collect::<Vec<_>>() {
        findings.error(&at, "is for containers and not kept for host processes (runtimeClassName: process)", hint());
    }
    for (index, mount) in container.volume_mounts.iter().enumerate().filter(|(_, mount)| mount.read_only) {
        let volume = spec.volumes.iter().find(|volume| volume.name == mount.name);
        if volume.is_some_and(|volume| volume.empty_dir.is_some() || volume.host_path.is_some()) {
            let at = format!("{pointer}/volumeMounts/{index}/readOnly");
            findings.error(&at, "cannot be kept for host processes, which see the folder itself", hint());
        }
    }
}
