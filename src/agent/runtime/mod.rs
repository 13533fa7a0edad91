//! What runs containers: one small trait, and its implementations.
//!
//! A runtime performs single steps that the agent's core has decided on. It restarts nothing by itself, pulls nothing that it was
//! not asked to start, and touches only containers that carry the labels of its own cluster and node. Every container that it
//! makes carries [`Labels`], so that an agent without a ledger finds out what runs where and why. All calls may be repeated:
//! starting what already runs, stopping what has stopped and removing what is gone succeed.
//!
//! Deliberately absent: restart policies, back-off, probes and ordering, all of which are the core's.

pub mod docker;
pub mod fake;
pub mod process;
pub mod rootfs;
mod settings;

pub use settings::{PodNetwork, Resolver, Seccomp, Security, Terminal};

use crate::model::{Exit, NodeName, ObjectKey, PodUid, Protocol, Revision, RuntimeKind, SecretBytes, TemplateHash};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a runtime's calls return.
pub type Call<'a, T> = BoxFuture<'a, Result<T, RuntimeError>>;

/// Runs containers. See the module's story for what holds for every implementation.
pub trait Runtime: Send + Sync {
    /// Which runtime this is.
    fn kind(&self) -> RuntimeKind;

    /// The engine and its version, as `docker://20.10.24`, if there is one and it was reached.
    fn engine(&self) -> Option<String>;

    /// The host's address as containers see it, where Services are reached from inside them; `None` if containers share the
    /// host's network and reach a Service at its own address.
    fn gateway(&self) -> Option<IpAddr>;

    /// Every container with the labels of this cluster and node, running or not, in no particular order.
    fn list(&self) -> Call<'_, Vec<ContainerStatus>>;

    /// Makes the container and starts it (and fetches its image before, as its pull policy says). Returns once it runs. If a
    /// container of this pod, name and attempt exists already, that one is started, or just returned if it runs. The files in
    /// `launch.volumes` are there; a missing mount source is an error. A start that fails leaves no container behind.
    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Call<'a, Started>;

    /// Asks the container to end (SIGTERM, or what its image says), waits for `grace`, then kills it and everything it started.
    /// Returns how it ended, at once if it has ended before. A second call with a shorter grace shortens the first.
    fn stop<'a>(&'a self, id: &'a ContainerId, grace: Duration) -> Call<'a, Exit>;

    /// Deletes the container, its log included; kills it if it runs.
    fn remove<'a>(&'a self, id: &'a ContainerId) -> Call<'a, ()>;

    /// Runs a command inside the container (for exec probes) and kills it at the timeout.
    fn exec<'a>(&'a self, id: &'a ContainerId, command: &'a [String], timeout: Duration) -> Call<'a, ExecResult>;

    /// The output of the container (both streams), oldest first. Ends when all is read, or with `follow` when the container ends.
    fn logs<'a>(&'a self, id: &'a ContainerId, options: LogOptions) -> Call<'a, BoxStream<'static, Result<Bytes, RuntimeError>>>;

    /// What the container has used so far.
    fn usage<'a>(&'a self, id: &'a ContainerId) -> Call<'a, Usage>;

    /// What happens to containers of this cluster and node, from the moment of the call. The stream ends only with the runtime;
    /// after a gap it yields [`RuntimeEvent::Resync`], and the receiver lists again.
    fn watch(&self) -> BoxStream<'static, RuntimeEvent>;
}

/// The runtime's own id of a container: Docker's container id, or `pid:start time` of a host process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a container is to its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds the network, the host name and the IPC of a pod with several containers. It is in no template.
    Sandbox,
    /// Runs to its end before the containers start.
    Init,
    /// An init container that goes on beside the containers.
    Sidecar,
    /// One of the containers.
    #[default]
    Main,
}

impl Role {
    /// As the label has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Sandbox => "sandbox",
            Role::Init => "init",
            Role::Sidecar => "sidecar",
            Role::Main => "main",
        }
    }

    /// Reads the label; a container without one was made by a version that knew only this.
    #[must_use]
    pub fn from_label(label: Option<&str>) -> Self {
        let all = [Role::Sandbox, Role::Init, Role::Sidecar];
        all.into_iter().find(|role| label == Some(role.as_str())).unwrap_or_default()
    }
}

/// The name of a pod's sandbox among its containers. No container of a template can have it: theirs are lower case.
pub const SANDBOX: &str = "POD";

/// What a container says about itself, as `driftless.dev/…` labels: enough to adopt it without a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// `driftless.dev/cluster`
    pub cluster: String,
    /// `driftless.dev/node`
    pub node: NodeName,
    /// `driftless.dev/pod-uid`
    pub uid: PodUid,
    /// `driftless.dev/pod`: the pod's name.
    pub pod: String,
    /// `driftless.dev/namespace`, and with `driftless.dev/workload` (`Deployment/web`) the workload.
    pub workload: ObjectKey,
    /// `driftless.dev/slot`
    pub slot: u32,
    /// `driftless.dev/container`: the container's name in the template.
    pub container: String,
    /// `driftless.dev/template-hash`
    pub hash: TemplateHash,
    /// `driftless.dev/revision`: the commit that the template was applied from.
    pub revision: Revision,
    /// `driftless.dev/attempt`: 0 for the first start in this pod, then one more for every restart.
    pub attempt: u32,
    /// `driftless.dev/role`
    #[serde(default)]
    pub role: Role,
}

impl Labels {
    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.workload.namespace
    }

    /// `shop_web-7d4b9c-x2k9f_web`: what people see in `docker ps`.
    #[must_use]
    pub fn container_name(&self) -> String {
        format!("{}_{}_{}", self.workload.namespace, self.pod, self.container)
    }
}

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
    /// Logins of registries, tried in this order before the host's own: contents of `kubernetes.io/dockerconfigjson` and `dockercfg`.
    pub logins: Vec<SecretBytes>,
    /// What people should know of it though it can be launched, each with a reason in Kubernetes' words.
    pub notes: Vec<(&'static str, String)>,
    /// How much of its log is kept.
    pub log: LogRetention,
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

/// What became of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The runtime's id.
    pub id: ContainerId,
    /// Where it is reached; `None` if the network is the sandbox'.
    pub address: Option<IpAddr>,
    /// The digest of the image, if it has one.
    pub image_digest: Option<String>,
}

/// One container as the runtime finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// The runtime's id.
    pub id: ContainerId,
    /// Which runtime.
    pub runtime: RuntimeKind,
    /// Who it is.
    pub labels: Labels,
    /// Whether it runs.
    pub state: RunState,
    /// How long ago it was started; zero if it never was.
    pub age: Duration,
    /// Where it is reached.
    pub address: Option<IpAddr>,
    /// Its ports as launched.
    pub ports: Vec<LaunchPort>,
    /// The digest of the image, if it has one.
    pub image_digest: Option<String>,
}

/// Whether a container runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Made, never started.
    Created,
    /// It runs.
    Running,
    /// It ended so.
    Exited(Exit),
}

/// Something happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// It ended.
    Exited {
        /// Which.
        id: ContainerId,
        /// How.
        exit: Exit,
    },
    /// It was deleted, and not by us.
    Removed {
        /// Which.
        id: ContainerId,
    },
    /// Events may have been missed: list again.
    Resync,
}

/// How a command inside a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// Its exit code; `None` if it was killed at the timeout.
    pub code: Option<i32>,
    /// The beginning of its output, at most 1 KiB, for the probe's message.
    pub output: String,
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Only so many lines from the end.
    pub tail: Option<usize>,
    /// Go on while the container runs.
    pub follow: bool,
}

/// What a container has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Nanoseconds of cpu since its start.
    pub cpu_nanos: u64,
    /// Bytes of memory now.
    pub memory_bytes: u64,
}

/// Why a runtime could not do it. A start that failed is tried again with back-off whatever the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The engine is absent or gone: nothing is known about its containers until it is back.
    #[error("{runtime} is out of reach: {message}", runtime = .runtime.as_str())]
    Unavailable {
        /// Which runtime.
        runtime: RuntimeKind,
        /// What was tried and what came back, and what to do.
        message: String,
    },
    /// The image is not there and could not be fetched (`ErrImagePull`, `ErrImageNeverPull`).
    #[error("image {image}: {message}")]
    Image {
        /// As the template has it.
        image: String,
        /// What the engine said.
        message: String,
    },
    /// The launch itself is at fault: a missing program, a missing mount source, a port in use.
    #[error("{message}")]
    Refused {
        /// What and why.
        message: String,
    },
    /// The launch and its image do not go together (`CreateContainerConfigError`).
    #[error("{message}")]
    Config {
        /// What and why.
        message: String,
    },
    /// There is no such container.
    #[error("there is no container {0}")]
    NotFound(ContainerId),
    /// A port that was given out is another program's. Another one is given.
    #[error("port {port} is in use by another program")]
    PortInUse {
        /// The host port.
        port: u16,
    },
    /// A disk is full.
    #[error("no space left on the disk of {path}")]
    NoSpace {
        /// Where.
        path: String,
    },
    /// This runtime cannot do it.
    #[error("{0} is not supported by this runtime")]
    Unsupported(String),
    /// Anything else.
    #[error("{action}: {message}")]
    Failed {
        /// What was being done.
        action: String,
        /// What came back.
        message: String,
    },
}

impl RuntimeError {
    /// The one-word reason in a container's state, in Kubernetes' words.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            RuntimeError::Image { .. } => "ErrImagePull",
            RuntimeError::Unavailable { .. } => "RuntimeUnavailable",
            RuntimeError::Refused { .. } => "StartError",
            RuntimeError::Config { .. } => "CreateContainerConfigError",
            RuntimeError::PortInUse { .. } => "PortInUse",
            RuntimeError::NotFound(_) => "NotFound",
            RuntimeError::NoSpace { .. } => "NoSpace",
            RuntimeError::Unsupported(_) => "Unsupported",
            RuntimeError::Failed { .. } => "RuntimeError",
        }
    }
}
