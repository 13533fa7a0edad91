//! What a container is given beside its program, its files and its ports: user and rights, names, a terminal.

use crate::model::{DnsConfig, HostAlias};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// User, groups and rights: those of the pod, with the container's own over them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// Its user; the image's if absent.
    pub user: Option<u32>,
    /// Its primary group; what the image says of the user if absent.
    pub group: Option<u32>,
    /// Further groups, that of the pod's volumes (`fsGroup`) among them.
    pub groups: Vec<u32>,
    /// Refuse to start it as root, whatever the image says.
    pub non_root: bool,
    /// Nearly all rights of the host's root.
    pub privileged: bool,
    /// Capabilities given beyond the runtime's own set, without `CAP_`.
    pub add: Vec<String>,
    /// Capabilities taken away; `ALL` for all.
    pub drop: Vec<String>,
    /// Whether its root file system cannot be written.
    pub read_only_root: bool,
    /// Whether no program may gain rights that its parent has not.
    pub no_new_privileges: bool,
    /// Which system calls it may make.
    pub seccomp: Seccomp,
    /// Whether it sees the host's processes.
    pub host_pid: bool,
    /// Whether it shares the host's IPC.
    pub host_ipc: bool,
    /// Kernel parameters of its IPC namespace.
    pub sysctls: BTreeMap<String, String>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seccomp {
    /// Those of the runtime's own profile.
    #[default]
    RuntimeDefault,
    /// All.
    Unconfined,
    /// Those of a profile in this file on the host.
    Profile(PathBuf),
}

/// The network of a pod: settled by the container that owns it, and the same for all that share it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodNetwork {
    /// Whether it is the host's own: nothing else of this is set then, but for `hosts` and `resolver`.
    pub host: bool,
    /// The host name, at most 64 characters.
    pub hostname: String,
    /// The domain that makes it fully qualified, as `/etc/hosts` has it.
    pub domain: Option<String>,
    /// Further lines of `/etc/hosts`.
    pub hosts: Vec<HostAlias>,
    /// Where it looks names up; the runtime's own way if absent.
    pub resolver: Option<Resolver>,
    /// Kernel parameters of the network namespace.
    pub sysctls: BTreeMap<String, String>,
}

/// Where names are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// What comes first.
    pub first: LookUp,
    /// What the template says besides.
    pub config: DnsConfig,
}

/// Where names are looked up before the template has its say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LookUp {
    /// Nowhere.
    #[default]
    Nowhere,
    /// Where the host looks.
    Host,
    /// At the cluster's own server on this node, in these domains and then, in containers, in those of the host.
    Cluster {
        /// Where it is asked.
        server: NameServer,
        /// The domains.
        searches: Vec<String>,
    },
}

/// Where the names of the cluster are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameServer {
    /// At this address of the host.
    At(IpAddr),
    /// At the host's address on the network of its pods.
    Gateway,
}

/// Standard input and terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminal {
    /// Standard input is open, and nobody ever writes to it.
    pub stdin: bool,
    /// It is closed when the first who is attached leaves.
    pub stdin_once: bool,
    /// The streams are a terminal.
    pub tty: bool,
}
