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
mod json_file;
mod launch;
mod lease;
pub mod process;
mod procfs;
pub mod rootfs;
#[cfg(test)]
pub(crate) mod samples;
mod settings;

pub use launch::*;
pub use settings::{LookUp, NameServer, PodNetwork, Resolver, Seccomp, Security, Terminal};

use crate::model::{BootMoment, Cidr, Exit, Moment, NodeName, ObjectKey, PodUid, Revision, RuntimeKind, TemplateHash};
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

    /// The network that its pods are on, once it was reached; `None` if they share the host's.
    fn bridge(&self) -> Option<Bridge> {
        None
    }

    /// The folder of its images and containers, once it has named one: pods need room on that disk.
    fn data(&self) -> Option<PathBuf> {
        None
    }

    /// Gives the pods' network this range, from the next call on. As long as a container is on a network with another one, that stays,
    /// and [`RuntimeEvent::Warning`] says so. Nothing happens where pods share the host's network.
    fn use_range(&self, _pods: Cidr) {}

    /// Every container with the labels of this cluster and node, running or not, in no particular order.
    fn list(&self) -> Call<'_, Vec<ContainerStatus>>;

    /// Makes the container and starts it (and fetches its image before, as its pull policy says). Returns once it runs. If a
    /// container of this pod, name and attempt exists already, that one is started, or just returned if it runs. The files in
    /// `launch.volumes` are there; a missing mount source is an error. A start that fails leaves no container behind.
    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Call<'a, Started>;

    /// Asks the container to end (SIGTERM, or what its image says), waits for `grace`, then kills it and everything it started.
    /// Returns how it ended, at once if it has ended before. A second call with a shorter grace shortens the first.
    fn stop<'a>(&'a self, id: &'a ContainerId, grace: Duration) -> Call<'a, Exit>;

    /// The leases of these containers run until then, if they have not run out yet. Containers that are gone are passed over.
    fn renew<'a>(&'a self, leases: &'a BTreeMap<ContainerId, BootMoment>) -> Call<'a, ()>;

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

/// The network that the pods of a runtime are on, as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// The host's interface on it: at most 15 characters.
    pub interface: String,
    /// The host's address on it, where pods look names up.
    pub gateway: Option<IpAddr>,
    /// The addresses of its pods.
    pub pods: Option<Cidr>,
    /// Why these are not the addresses that they should be.
    pub trouble: Option<String>,
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
    /// When its lease runs out, if it has one that has not.
    pub lease: Option<BootMoment>,
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
    /// It is being deleted, or its deletion was begun and failed: it cannot be started again, nor read. It may still have its name, and goes
    /// when it is removed.
    Dead,
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
    /// Something that people should know of this node.
    Warning {
        /// In one word.
        reason: &'static str,
        /// What and why.
        message: String,
    },
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
    /// Only lines that were written then or later; to the second.
    pub since: Option<Moment>,
    /// Each line begins with the time when it was written, in RFC 3339, and a space.
    pub timestamps: bool,
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
    /// The image is not there, and may not be fetched (`ErrImageNeverPull`).
    #[error("image {image} is not on this host, and imagePullPolicy Never forbids to fetch it")]
    ImageAbsent {
        /// As the template has it.
        image: String,
    },
    /// The image is not there and could not be fetched (`ErrImagePull`).
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
            RuntimeError::ImageAbsent { .. } => "ErrImageNeverPull",
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
