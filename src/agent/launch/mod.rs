//! From a pod and its snapshot to a container launch, pure: everything is resolved here, so that a runtime has nothing to decide.
//!
//! In: what the assignment says of the pod, the template with its frozen configuration, the ports given out, the Services of the
//! namespace. Out: a [`ContainerLaunch`], or every reason why there cannot be one, as a [`LaunchError`]. The rules are Kubernetes';
//! where a host process differs from a container, it says so here: `PORT`, `PORT_<NAME>` and `HOST` are added and win over
//! what the template says, since only they name the port that was given out.

mod env;
mod expand;
mod fields;
mod network;
mod sandbox;
mod security;
#[cfg(test)]
mod tests;
mod volumes;

pub use sandbox::{SandboxInput, needs_sandbox, sandbox};

use super::runtime::{
    ContainerId, ContainerLaunch, Labels, LaunchPort, Limits, LogRetention, NameServer, PullPolicy, PullSecret, Role, Terminal,
    VolumeContents,
};
use crate::model::{
    Container, ContainerPort, Grant, Kind, NodeFacts, NodeName, ObjectKey, PodRun, PodSnapshot, PodUid, RuntimeKind,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where the files of pods live on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// On tmpfs: secrets, configuration, and what is known of running processes. It goes with a reboot, as they do.
    pub run: PathBuf,
    /// On disk: logs, emptyDir volumes, the processes' own folders.
    pub state: PathBuf,
}

impl Folders {
    /// The folder on tmpfs of a pod.
    #[must_use]
    pub fn pod_run(&self, pod: PodUid) -> PathBuf {
        self.run.join("pods").join(pod.to_string())
    }

    /// The folder on disk of a pod.
    #[must_use]
    pub fn pod_state(&self, pod: PodUid) -> PathBuf {
        self.state.join("pods").join(pod.to_string())
    }

    /// The folder of a claim, which outlives the pods that mount it.
    #[must_use]
    pub fn claim(&self, namespace: &str, claim: &str) -> PathBuf {
        self.claims().join(format!("{namespace}_{claim}"))
    }

    /// Whose data a folder of this name in [`Folders::claims`] has.
    #[must_use]
    pub fn claim_named(folder: &str) -> Option<ObjectKey> {
        // Neither part can have the character between them.
        let (namespace, claim) = folder.split_once('_')?;
        Some(ObjectKey::new(Kind::PersistentVolumeClaim, namespace, claim))
    }

    /// Where the data of a claim is while it is being deleted: out of every pod's reach, on the same disk.
    #[must_use]
    pub fn doomed(&self, namespace: &str, claim: &str) -> PathBuf {
        self.doomed_claims().join(format!("{namespace}_{claim}"))
    }

    /// The folder of all that is being deleted.
    #[must_use]
    pub fn doomed_claims(&self) -> PathBuf {
        self.claims().join(".doomed")
    }

    /// Where the host keeps seccomp profiles for `type: Localhost`.
    #[must_use]
    pub fn seccomp(&self) -> PathBuf {
        self.state.join("seccomp")
    }

    /// The folder of the folders of all claims.
    #[must_use]
    pub fn claims(&self) -> PathBuf {
        self.state.join("volumes")
    }
}

/// A Service as a container reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Its name.
    pub name: String,
    /// Where it listens for this container.
    pub host: IpAddr,
    /// Name (may be empty) and port there, in the order of the Service.
    pub ports: Vec<(String, u16)>,
}

/// All that a launch is made of.
#[derive(Debug, Clone)]
pub struct LaunchInput<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// What this node is and allows.
    pub facts: &'a NodeFacts,
    /// Where files go.
    pub folders: &'a Folders,
    /// The pod.
    pub run: &'a PodRun,
    /// Its template and configuration.
    pub snapshot: &'a PodSnapshot,
    /// Which container of it.
    pub container: &'a Container,
    /// What it is to the pod.
    pub role: Role,
    /// Which start.
    pub attempt: u32,
    /// What its image was resolved to, if it was.
    pub image_digest: Option<&'a str>,
    /// Container port → host port, for a process.
    pub ports: &'a BTreeMap<u16, u16>,
    /// The Services of the namespace.
    pub services: &'a [ServiceAddress],
    /// The host's address.
    pub host_address: IpAddr,
    /// The pod's address, if it is known before the start.
    pub pod_address: Option<IpAddr>,
    /// The running sandbox, if the pod has one.
    pub sandbox: Option<&'a ContainerId>,
    /// The names of the cluster.
    pub names: ClusterNames<'a>,
}

/// The names of the cluster, as a pod finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterNames<'a> {
    /// What they end with.
    pub domain: &'a str,
    /// Who answers them; `None` where nobody does.
    pub server: Option<NameServer>,
}

/// Why a container cannot be launched as its template says. It stays so until the template changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// A ConfigMap or Secret that is not optional is missing.
    #[error("{kind} {name:?}, which {user} refers to, does not exist")]
    MissingConfig {
        /// `ConfigMap` or `Secret`
        kind: &'static str,
        /// Its name.
        name: String,
        /// What refers to it.
        user: String,
    },
    /// A key that is not optional is missing.
    #[error("{kind} {name:?} has no key {key:?}, which {user} refers to")]
    MissingKey {
        /// `ConfigMap` or `Secret`
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// What refers to it.
        user: String,
    },
    /// A value cannot be a variable.
    #[error("key {key:?} of {kind} {name:?} cannot be the variable {variable}: it is not text; mount it as a file instead")]
    NotText {
        /// `ConfigMap` or `Secret`
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// The variable.
        variable: String,
    },
    /// A field or an amount of the pod that has no value here.
    #[error("{user}: {path} {why}")]
    Field {
        /// What refers to it.
        user: String,
        /// The field.
        path: String,
        /// Why it has no value.
        why: &'static str,
    },
    /// A Secret's value would be an argument.
    #[error(
        "$({variable}) comes from a Secret and may not be part of the command or its arguments, where every user of the host can \
         read it; let the program read the variable or a mounted file"
    )]
    SecretInArguments {
        /// The variable.
        variable: String,
    },
    /// A mount of a volume that the pod does not have.
    #[error("volumeMounts: the pod has no volume {volume:?}")]
    NoVolume {
        /// The volume.
        volume: String,
    },
    /// A path that leaves its volume.
    #[error("volume {volume:?}: {path:?} leaves the volume")]
    Escapes {
        /// The volume.
        volume: String,
        /// The path.
        path: String,
    },
    /// A host process without a program.
    #[error("container {container:?} has no command: a host process needs one, since it has no image")]
    NoCommand {
        /// The container.
        container: String,
    },
    /// A variable in a path that is not defined.
    #[error("subPathExpr {path:?}: there is no variable {variable}")]
    NoVariable {
        /// The path as written.
        path: String,
        /// The variable.
        variable: String,
    },
    /// It asks for root and forbids it.
    #[error("container {container:?} has runAsNonRoot, and runAsUser 0 is root")]
    Root {
        /// The container.
        container: String,
    },
    /// A host name that the kernel does not take.
    #[error("the host name {hostname} has more than 64 characters; setHostnameAsFQDN needs shorter names")]
    LongHostname {
        /// The name.
        hostname: String,
    },
    /// The host does not allow what the pod needs.
    #[error("{node} does not allow {need}; if it should, start its agent with --allow {need}")]
    NotAllowed {
        /// The node.
        node: NodeName,
        /// What is not allowed.
        need: Grant,
    },
    /// A container without an image.
    #[error("container {container:?} has no image; set one, or `runtimeClassName: process` for a host process")]
    NoImage {
        /// The container.
        container: String,
    },
}

/// Resolves one container of a pod.
///
/// # Errors
/// The first reason why it cannot be launched; it stays until the template changes.
pub fn resolve(input: &LaunchInput<'_>) -> Result<ContainerLaunch, LaunchError> {
    let container = input.container;
    let needs = Grant::needed_by(&input.snapshot.template.spec);
    if let Some(need) = input.facts.allows.first_lacking(&needs) {
        return Err(LaunchError::NotAllowed { node: input.facts.name.clone(), need: need.clone() });
    }
    let process = input.snapshot.template.spec.is_process();
    let (env, notes) = env::resolve(input)?;
    let command = expand::arguments(&container.command, &env)?;
    let args = expand::arguments(&container.args, &env)?;
    if process && command.is_empty() && args.is_empty() {
        return Err(LaunchError::NoCommand { container: container.name.clone() });
    }
    if !process && container.image.is_none() {
        return Err(LaunchError::NoImage { container: container.name.clone() });
    }
    let (volumes, mounts) = volumes::resolve(input, &env)?;
    let who = (container.name.as_str(), input.role);
    Ok(ContainerLaunch {
        runtime: if process { RuntimeKind::Process } else { RuntimeKind::Docker },
        labels: labels(input.cluster, &input.facts.name, input.run, who, input.attempt),
        image: container.image.as_ref().filter(|_| !process).map(|image| pinned(image, input.image_digest)),
        pull: pull_policy(container),
        command,
        args,
        working_dir: container.working_dir.clone(),
        env,
        volumes,
        mounts,
        limits: limits(container),
        ports: if process { given_ports(container, input.ports) } else { published_ports(input) },
        sandbox: input.sandbox.cloned(),
        share_processes: input.snapshot.template.spec.share_process_namespace,
        security: security::resolve(input)?,
        network: network::resolve(&input.snapshot.template.spec, input.run, input.names)?,
        terminal: Terminal { stdin: container.stdin, stdin_once: container.stdin_once, tty: container.tty },
        logins: logins(input),
        notes,
        log: LogRetention::default(),
        lease: None,
    })
}

/// The volumes of a container that hold files of ours: what changes under it when its configuration does.
///
/// # Errors
/// What they refer to is not there any more.
pub fn files(input: &LaunchInput<'_>) -> Result<Vec<VolumeContents>, LaunchError> {
    volumes::files(input)
}

/// What `imagePullSecrets` hold. One that is missing is passed over, as in Kubernetes: the image may be public.
fn logins(input: &LaunchInput<'_>) -> Vec<PullSecret> {
    let names = input.snapshot.template.spec.image_pull_secrets.iter().map(|secret| &secret.name);
    let login = |name: &String| {
        let data = input.snapshot.config.secrets.get(name)?;
        let content = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg"))?;
        Some(PullSecret { name: name.clone(), content: content.clone() })
    };
    names.filter_map(login).collect()
}

/// The labels of one start of a container, given by its name and role.
fn labels(cluster: &str, node: &NodeName, run: &PodRun, (container, role): (&str, Role), attempt: u32) -> Labels {
    Labels {
        cluster: cluster.to_owned(),
        node: node.clone(),
        uid: run.uid,
        pod: run.name.clone(),
        workload: run.workload.clone(),
        slot: run.slot,
        container: container.to_owned(),
        hash: run.hash.clone(),
        revision: run.revision.clone(),
        attempt,
        role,
    }
}

/// Kubernetes' default: `Always` for the tag `latest` or none, else `IfNotPresent`.
fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some(_) => PullPolicy::IfNotPresent,
        None => {
            let image = container.image.as_deref().unwrap_or_default();
            let name = image.rsplit('/').next().unwrap_or(image);
            let floating = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
            if floating { PullPolicy::Always } else { PullPolicy::IfNotPresent }
        }
    }
}

/// The very image: its name, with the digest in place of the tag.
fn pinned(image: &str, digest: Option<&str>) -> String {
    match digest.filter(|_| !image.contains('@')) {
        None => image.to_owned(),
        Some(digest) => {
            // A colon before a slash belongs to the registry's port.
            let name = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(image, |(name, _)| name);
            format!("{name}@{digest}")
        }
    }
}

fn limits(container: &Container) -> Limits {
    let resources = &container.resources;
    Limits {
        cpu_milli: resources.limits.get("cpu").map(|quantity| quantity.milli()),
        memory_bytes: resources.limits.get("memory").map(|quantity| quantity.value()),
        cpu_request_milli: resources.requests.get("cpu").or_else(|| resources.limits.get("cpu")).map(|q| q.milli()),
    }
}

/// The ports of a host process, at those that were given out.
fn given_ports(container: &Container, given: &BTreeMap<u16, u16>) -> Vec<LaunchPort> {
    let given = |port: &ContainerPort| launch_port(port, given.get(&port.container_port).copied());
    container.ports.iter().map(given).collect()
}

/// The ports of a container. Where there is a sandbox, that one publishes them.
fn published_ports(input: &LaunchInput<'_>) -> Vec<LaunchPort> {
    let owns_network = input.sandbox.is_none() && !input.snapshot.template.spec.host_network;
    let published = |port: &ContainerPort| port.host_port.filter(|_| owns_network);
    input.container.ports.iter().map(|port| launch_port(port, published(port))).collect()
}

fn launch_port(port: &ContainerPort, host_port: Option<u16>) -> LaunchPort {
    let host_ip = port.host_ip.as_ref().filter(|_| host_port.is_some()).and_then(|address| address.parse().ok());
    LaunchPort { name: port.name.clone(), container_port: port.container_port, protocol: port.protocol, host_port, host_ip }
}
