//! What a host lets pods do to it beyond a container's own walls: the host's decision, never git's.

use super::{Container, PodSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// One thing that a host may allow (`driftless agent --allow`), and that a pod may need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Grant {
    /// `host-path=/srv/data`: mounting this folder of the host, or what lies below it.
    HostPath(String),
    /// `privileged`
    Privileged,
    /// `host-network`
    HostNetwork,
    /// `host-pid`
    HostPid,
    /// `host-ipc`
    HostIpc,
    /// `capabilities`: more than [`DEFAULT_CAPABILITIES`].
    Capabilities,
    /// `unconfined`: without a seccomp profile.
    Unconfined,
    /// `sysctls`: kernel parameters beyond [`SAFE_SYSCTLS`].
    Sysctls,
    /// `root-process`: a host process that asks for user 0.
    RootProcess,
}

/// The capabilities that the Docker Engine gives to every container: asking for one of them asks for nothing.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Kernel parameters that concern nobody but the pod:
/// <https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls>.
pub const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

impl Grant {
    /// All that a pod needs of its host, by what its template says.
    #[must_use]
    pub fn needed_by(spec: &PodSpec) -> BTreeSet<Grant> {
        let asked = [
            (spec.host_network, Grant::HostNetwork),
            (spec.host_pid, Grant::HostPid),
            (spec.host_ipc, Grant::HostIpc),
            (has_unsafe_sysctl(spec), Grant::Sysctls),
            (spec.is_process() && spec.all_containers().any(|container| is_root(spec, container)), Grant::RootProcess),
            (spec.all_containers().any(|container| is_unconfined(spec, container)), Grant::Unconfined),
            (spec.all_containers().any(is_privileged), Grant::Privileged),
            (spec.all_containers().any(adds_capabilities), Grant::Capabilities),
        ];
        let mut needs: BTreeSet<Grant> = asked.into_iter().filter(|(asks, _)| *asks).map(|(_, grant)| grant).collect();
        let host_paths = spec.volumes.iter().filter_map(|volume| volume.host_path.as_ref());
        needs.extend(host_paths.map(|host| Grant::HostPath(host.path.clone())));
        needs
    }
}

fn has_unsafe_sysctl(spec: &PodSpec) -> bool {
    let sysctls = spec.security_context.iter().flat_map(|context| &context.sysctls);
    sysctls.map(|sysctl| sysctl.name.replace('/', ".")).any(|name| !SAFE_SYSCTLS.contains(&name.as_str()))
}

fn is_root(spec: &PodSpec, container: &Container) -> bool {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
    own.or_else(|| spec.security_context.as_ref()?.run_as_user) == Some(0)
}

fn is_unconfined(spec: &PodSpec, container: &Container) -> bool {
    let own = container.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    let profile = own.or_else(|| spec.security_context.as_ref()?.seccomp_profile.as_ref());
    profile.is_some_and(|profile| profile.r#type == "Unconfined")
}

fn is_privileged(container: &Container) -> bool {
    container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
}

fn adds_capabilities(container: &Container) -> bool {
    let capabilities = container.security_context.as_ref().and_then(|context| context.capabilities.as_ref());
    let added = capabilities.iter().flat_map(|capabilities| &capabilities.add);
    added.map(|name| capability(name)).any(|name| !DEFAULT_CAPABILITIES.contains(&name.as_str()))
}

/// A capability as Kubernetes and Docker name it: `cap_net_admin` → `NET_ADMIN`.
#[must_use]
pub fn capability(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Grant::HostPath(path) => return write!(f, "host-path={path}"),
            Grant::Privileged => "privileged",
            Grant::HostNetwork => "host-network",
            Grant::HostPid => "host-pid",
            Grant::HostIpc => "host-ipc",
            Grant::Capabilities => "capabilities",
            Grant::Unconfined => "unconfined",
            Grant::Sysctls => "sysctls",
            Grant::RootProcess => "root-process",
        })
    }
}

/// A text that names no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not host-path=/SOME/FOLDER, privileged, host-network, host-pid, host-ipc, capabilities, unconfined, sysctls or \
     root-process"
)]
pub struct NoGrant(String);

impl FromStr for Grant {
    type Err = NoGrant;

    fn from_str(text: &str) -> Result<Self, NoGrant> {
        let simple = [
            Grant::Privileged,
            Grant::HostNetwork,
            Grant::HostPid,
            Grant::HostIpc,
            Grant::Capabilities,
            Grant::Unconfined,
            Grant::Sysctls,
            Grant::RootProcess,
        ];
        if let Some(path) = text.strip_prefix("host-path=") {
            let is_plain = path.starts_with('/') && !path.split('/').any(|part| part == "..");
            return if is_plain { Ok(Grant::HostPath(path.to_owned())) } else { Err(NoGrant(text.to_owned())) };
        }
        simple.into_iter().find(|grant| grant.to_string() == text).ok_or_else(|| NoGrant(text.to_owned()))
    }
}

impl TryFrom<String> for Grant {
    type Error = NoGrant;

    fn try_from(text: String) -> Result<Self, NoGrant> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

/// All that a host allows; nothing by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Allows(BTreeSet<Grant>);

impl Allows {
    /// The grants, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// The folders of the host that may be mounted, each with what lies below it.
    pub fn host_paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|grant| if let Grant::HostPath(path) = grant { Some(Path::new(path)) } else { None })
    }

    /// Whether what a pod needs is allowed. A path is compared as it is written; where symbolic links on the host lead is seen at
    /// the launch.
    #[must_use]
    pub fn cover(&self, need: &Grant) -> bool {
        if let Grant::HostPath(path) = need {
            return self.host_paths().any(|allowed| Path::new(path).starts_with(allowed));
        }
        self.0.contains(need)
    }

    /// The first of a pod's needs that is not allowed.
    #[must_use]
    pub fn first_lacking<'a>(&self, needs: &'a BTreeSet<Grant>) -> Option<&'a Grant> {
        needs.iter().find(|need| !self.cover(need))
    }
}

impl FromIterator<Grant> for Allows {
    fn from_iter<T: IntoIterator<Item = Grant>>(grants: T) -> Self {
        Self(grants.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn needs(spec: Value) -> Vec<String> {
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        Grant::needed_by(&spec).iter().map(Grant::to_string).collect()
    }

    fn allows(grants: &[&str]) -> Allows {
        grants.iter().map(|grant| grant.parse::<Grant>().expect("a grant")).collect()
    }

    #[test]
    fn a_pod_that_stays_within_its_walls_needs_nothing() {
        let context =
            json!({ "runAsUser": 0, "privileged": false, "capabilities": { "add": ["CAP_NET_BIND_SERVICE"], "drop": ["ALL"] } });
        let pod = json!({ "sysctls": [{ "name": "net/ipv4/tcp_fin_timeout", "value": "30" }], "seccompProfile": { "type": "RuntimeDefault" } });
        assert_eq!(
            needs(json!({ "containers": [{ "name": "a", "securityContext": context }], "securityContext": pod })),
            [""; 0]
        );
    }

    #[test]
    fn whatever_reaches_out_of_the_walls_is_needed_also_by_an_init_container() {
        let spec = json!({
            "hostNetwork": true, "hostPID": true, "hostIPC": true,
            "securityContext": { "seccompProfile": { "type": "Unconfined" }, "sysctls": [{ "name": "net.core.somaxconn", "value": "1" }] },
            "initContainers": [{ "name": "i", "securityContext": { "privileged": true } }],
            "containers": [{ "name": "a", "securityContext": { "capabilities": { "add": ["sys_admin"] } } }],
            "volumes": [{ "name": "v", "hostPath": { "path": "/etc" } }]
        });
        let all =
            ["host-path=/etc", "privileged", "host-network", "host-pid", "host-ipc", "capabilities", "unconfined", "sysctls"];
        assert_eq!(needs(spec), all);
    }

    #[test]
    fn a_process_needs_to_be_allowed_to_ask_for_root_and_a_container_does_not() {
        let spec = |class: Option<&str>| json!({ "runtimeClassName": class, "securityContext": { "runAsUser": 0 }, "containers": [{ "name": "a" }] });
        assert_eq!(needs(spec(Some("process"))), ["root-process"]);
        assert_eq!(needs(spec(None)), [""; 0]);
    }

    #[test]
    fn a_path_is_allowed_at_and_below_a_folder_and_not_beside_it() {
        let allowed = allows(&["host-path=/srv/data", "host-path=/var/log/"]);
        for (path, expected) in
            [("/srv/data", true), ("/srv/data/a", true), ("/srv/database", false), ("/srv", false), ("/var/log", true)]
        {
            assert_eq!(allowed.cover(&Grant::HostPath(path.to_owned())), expected, "{path}");
        }
        assert!(allows(&["host-path=/"]).cover(&Grant::HostPath("/etc".to_owned())));
    }

    #[test]
    fn a_grant_is_read_as_it_is_written_and_nothing_else_is() {
        for text in [
            "host-path=/srv",
            "privileged",
            "host-network",
            "host-pid",
            "host-ipc",
            "capabilities",
            "unconfined",
            "sysctls",
            "root-process",
        ] {
            assert_eq!(text.parse::<Grant>().map(|grant| grant.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "root", "host-path", "host-path=srv", "host-path=/srv/../etc", "Privileged"] {
            assert!(text.parse::<Grant>().is_err(), "{text}");
        }
    }
}
