//! What a runtime is told of one container to start.

use super::{ContainerId, Labels, PodNetwork, Security, Terminal};
use crate::model::{BootMoment, Protocol, RuntimeKind, SecretBytes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One container to start, with everything resolved: nothing is left to decide or to look up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLaunch {
    /// Which runtime.
    pub runtime: RuntimeKind,
    /// Who it is.
    pub labels: Labels,
    /// The image, as written or by digest; `None` for a host process.
    pub image: Option<String>,
    /// When to fetch the image.
    pub pull: PullPolicy,
    /// Replaces the image's entry point, if not empty; for a host process the program and its first arguments.
    pub command: Vec<String>,
    /// Replaces the image's command, if not empty; for a host process appended to `command`.
    pub args: Vec<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// The whole environment, in order, with each name once. A runtime adds nothing but what the image says and (for a host
    /// process) `PATH` and `HOME` where they are absent.
    pub env: Vec<(String, EnvValue)>,
    /// Folders and files that must be there before the start. The shell makes them; a runtime only mounts.
    pub volumes: Vec<VolumeContents>,
    /// What appears where.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub limits: Limits,
    /// Its ports.
    pub ports: Vec<LaunchPort>,
    /// The running sandbox whose network, host name and IPC are its own; `None` for a container that is the whole pod, for a sandbox
    /// and for a host process.
    pub sandbox: Option<ContainerId>,
    /// Whether it sees the processes of the other containers of the sandbox.
    pub share_processes: bool,
    /// User, groups and rights.
    pub security: Security,
    /// Names, and where names are looked up. Not for a container in a sandbox: they are that one's.
    pub network: PodNetwork,
    /// Standard input and terminal.
    pub terminal: Terminal,
    /// `imagePullSecrets`, tried in this order before the host's own logins.
    pub logins: Vec<PullSecret>,
    /// What people should know of it though it can be launched, each with a reason in Kubernetes' words.
    pub notes: Vec<(&'static str, String)>,
    /// How much of its log is kept.
    pub log: LogRetention,
    /// How long it may run unless that is renewed; for ever, if there is none.
    pub lease: Option<LaunchLease>,
}

impl ContainerLaunch {
    /// A launch of which nothing is said but who it is: everything else is left to its image, which is not fetched.
    #[must_use]
    pub fn bare(runtime: RuntimeKind, labels: Labels) -> Self {
        Self {
            runtime,
            labels,
            image: None,
            pull: PullPolicy::Never,
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: Vec::new(),
            volumes: Vec::new(),
            mounts: Vec::new(),
            limits: Limits::default(),
            ports: Vec::new(),
            sandbox: None,
            share_processes: false,
            security: Security::default(),
            network: PodNetwork::default(),
            terminal: Terminal::default(),
            logins: Vec::new(),
            notes: Vec::new(),
            log: LogRetention::default(),
            lease: None,
        }
    }
}

/// How long a container may run, whatever becomes of us: its runtime sees to it that something stops it then, and begins to before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchLease {
    /// When it is asked to end.
    pub until: BootMoment,
    /// How long after that it is killed.
    pub grace: Duration,
}

/// `imagePullPolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PullPolicy {
    /// Ask the registry every time.
    Always,
    /// Only if the image is not there.
    IfNotPresent,
    /// Fail if the image is not there.
    Never,
}

/// A Secret of type `kubernetes.io/dockerconfigjson` or `kubernetes.io/dockercfg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSecret {
    /// Its name, for messages.
    pub name: String,
    /// Its only entry.
    pub content: SecretBytes,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// May be seen.
    Plain(String),
    /// Comes from a Secret, wholly or in part.
    Secret(SecretBytes),
}

impl EnvValue {
    /// The bytes. Every call of this is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        match self {
            EnvValue::Plain(text) => text.as_bytes(),
            EnvValue::Secret(bytes) => bytes.expose(),
        }
    }
}

/// A folder on the host that a volume of the pod lives in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeContents {
    /// The folder (for the host's own, the path as written, which may be a file).
    pub folder: PathBuf,
    /// What it is, and so what is made.
    pub kind: VolumeKind,
    /// The group that it is given (`fsGroup`).
    pub group: Option<u32>,
}

/// What a volume's folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// Ours, on tmpfs: exactly these files, by relative path. A change of them appears at once and as a whole.
    Files(BTreeMap<String, VolumeFile>),
    /// The pod's own processes write there (emptyDir): made world-writable like Kubernetes', and never cleared.
    Scratch {
        /// Makes it a tmpfs of its own with so many bytes.
        tmpfs_bytes: Option<u64>,
    },
    /// The same, but it outlives its pods.
    Claim,
    /// The host's own.
    Host {
        /// What must be there, or is made.
        kind: HostPathKind,
        /// The folders of the host that may be mounted: it must lie there after symbolic links were followed.
        allowed: Vec<PathBuf>,
    },
}

/// `hostPath.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPathKind {
    /// Whatever is there.
    Any,
    /// A folder, made if it is missing.
    DirectoryOrCreate,
    /// A folder.
    Directory,
    /// A file, made if it is missing.
    FileOrCreate,
    /// A file.
    File,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeFile {
    /// Mode bits.
    pub mode: u32,
    /// What it holds.
    pub bytes: SecretBytes,
}

/// One bind mount. For a host process it is a symbolic link at `target` below the process' own folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: String,
    /// Whether the container may not write there.
    pub read_only: bool,
    /// Whether mounts made later below it are seen on the other side.
    #[serde(default)]
    pub propagation: Propagation,
}

/// `mountPropagation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// On neither side.
    #[default]
    Private,
    /// The host's in the container.
    HostToContainer,
    /// Either's on the other side.
    Bidirectional,
}

/// What a container may use; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_milli: Option<u64>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Relative weight under contention, from the request: thousandths of a core.
    pub cpu_request_milli: Option<u64>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.cpu_milli.is_none() && self.memory_bytes.is_none()
    }
}

/// One port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchPort {
    /// Its name, may be empty.
    pub name: String,
    /// As the template has it.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Docker: published on the host (`hostPort`). Host process: the port that it was given and listens on.
    pub host_port: Option<u16>,
    /// Docker: the address of the host that it is published on; every one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRetention {
    /// A file is closed and renamed at this size.
    pub file_bytes_max: u64,
    /// So many files are kept, the one being written included.
    pub files_max: u32,
}

impl Default for LogRetention {
    fn default() -> Self {
        Self { file_bytes_max: 10 << 20, files_max: 3 }
    }
}
