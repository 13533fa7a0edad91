//! User, groups and rights of a container: <https://kubernetes.io/docs/tasks/configure-pod-container/security-context/>.

use super::{LaunchError, LaunchInput, volumes};
use crate::agent::runtime::{Seccomp, Security};
use crate::model::{PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, capability};
use std::collections::BTreeMap;

/// What the container says wins over what the pod says, field by field.
pub(super) fn resolve(input: &LaunchInput<'_>) -> Result<Security, LaunchError> {
    let spec = &input.snapshot.template.spec;
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = input.container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    let non_root = own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false);
    if non_root && user == Some(0) {
        return Err(LaunchError::Root { container: input.container.name.clone() });
    }
    let seccomp = seccomp(own.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref()), input)?;
    let capabilities = own.capabilities.clone().unwrap_or_default();
    Ok(Security {
        user,
        group: own.run_as_group.or(pod.run_as_group),
        groups: groups(&pod),
        non_root,
        privileged: own.privileged == Some(true),
        add: capabilities.add.iter().map(|name| capability(name)).collect(),
        drop: capabilities.drop.iter().map(|name| capability(name)).collect(),
        read_only_root: own.read_only_root_filesystem == Some(true),
        no_new_privileges: is_confined(&own),
        seccomp,
        ..of_pod(spec)
    })
}

/// What belongs to the namespaces of the pod, which its sandbox holds if it has one.
pub(super) fn of_pod(spec: &PodSpec) -> Security {
    let pod = spec.security_context.as_ref().filter(|_| !spec.host_ipc);
    Security {
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
        sysctls: pod.map(|pod| sysctls(pod, |name| !is_of_network(name))).unwrap_or_default(),
        ..Security::default()
    }
}

/// A privileged container gains whatever it likes.
fn is_confined(own: &SecurityContext) -> bool {
    own.allow_privilege_escalation == Some(false) && own.privileged != Some(true)
}

fn groups(pod: &PodSecurityContext) -> Vec<u32> {
    let mut groups = Vec::new();
    for group in pod.supplemental_groups.iter().chain(&pod.fs_group) {
        if !groups.contains(group) {
            groups.push(*group);
        }
    }
    groups
}

fn seccomp(profile: Option<&SeccompProfile>, input: &LaunchInput<'_>) -> Result<Seccomp, LaunchError> {
    let Some(profile) = profile else { return Ok(Seccomp::RuntimeDefault) };
    match (profile.r#type.as_str(), &profile.localhost_profile) {
        ("Unconfined", _) => Ok(Seccomp::Unconfined),
        ("Localhost", Some(file)) => {
            let file = volumes::checked("seccompProfile", file)?;
            Ok(Seccomp::Profile(input.folders.seccomp().join(file)))
        }
        _ => Ok(Seccomp::RuntimeDefault),
    }
}

/// The kernel parameters of a pod that fit, in the spelling with dots.
pub(super) fn sysctls(pod: &PodSecurityContext, fits: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let named = pod.sysctls.iter().map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()));
    named.filter(|(name, _)| fits(name)).collect()
}

/// Whether a kernel parameter belongs to the network namespace; the others that a pod may set belong to the IPC namespace.
pub(super) fn is_of_network(name: &str) -> bool {
    name.starts_with("net.")
}
