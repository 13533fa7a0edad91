//! Pods, in Kubernetes' shape: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>.
//!
//! Reading one of these types supposes that the schemas in `schemas/` have accepted the value.

use super::{
    Affinity, EnvFromSource, EnvVar, Lifecycle, ObjectName, PodSecurityContext, Probe, Quantity, SecretBytes, SecurityContext,
    TemplateHash, Toleration, TopologySpread, Volume, VolumeMount,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `metadata` as far as we act on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// `metadata.labels`
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A pod template: what `spec.template` of a workload says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// Labels and annotations that its pods get.
    pub metadata: Meta,
    /// What its pods run.
    pub spec: PodSpec,
}

/// `spec` of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// `process` for host processes; absent for containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Run one after the other before the containers; with `restartPolicy: Always` beside them (sidecars).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// At least one.
    pub containers: Vec<Container>,
    /// What they mount.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Labels that the node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Seconds between the stop signal and the kill.
    pub termination_grace_period_seconds: u64,
    /// What to do when a container ends.
    pub restart_policy: RestartPolicy,
    /// Whether Services of the namespace appear in the environment.
    pub enable_service_links: bool,
    /// Secrets of type `kubernetes.io/dockerconfigjson` with logins of registries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<ObjectName>,
    /// Users, groups and rights of all its containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
    /// Whether it uses the host's network.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Whether it sees the host's processes.
    #[serde(rename = "hostPID", skip_serializing_if = "std::ops::Not::not")]
    pub host_pid: bool,
    /// Whether it shares the host's IPC.
    #[serde(rename = "hostIPC", skip_serializing_if = "std::ops::Not::not")]
    pub host_ipc: bool,
    /// Whether its containers see each other's processes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub share_process_namespace: bool,
    /// Its host name; the pod's name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The headless Service that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// Whether its host name is the fully qualified one.
    #[serde(rename = "setHostnameAsFQDN", skip_serializing_if = "std::ops::Not::not")]
    pub set_hostname_as_fqdn: bool,
    /// Further lines of its `/etc/hosts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// Where it looks names up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<DnsConfig>,
    /// `ClusterFirst`, `ClusterFirstWithHostNet`, `Default` or `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_policy: Option<String>,
    /// Seconds after which it is stopped and has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<u64>,
    /// The node that it runs on, without asking the scheduler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Which nodes it wants or avoids, for their labels or for the pods there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How evenly it and its like are spread.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpread>,
    /// Taints that do not keep it away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Its PriorityClass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}

impl Default for PodSpec {
    fn default() -> Self {
        Self {
            runtime_class_name: None,
            containers: Vec::new(),
            volumes: Vec::new(),
            node_selector: BTreeMap::new(),
            termination_grace_period_seconds: 30,
            restart_policy: RestartPolicy::Always,
            enable_service_links: true,
            init_containers: Vec::new(),
            image_pull_secrets: Vec::new(),
            security_context: None,
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_process_namespace: false,
            hostname: None,
            subdomain: None,
            set_hostname_as_fqdn: false,
            host_aliases: Vec::new(),
            dns_config: None,
            dns_policy: None,
            active_deadline_seconds: None,
            node_name: None,
            affinity: None,
            topology_spread_constraints: Vec::new(),
            tolerations: Vec::new(),
            priority_class_name: None,
        }
    }
}

impl PodSpec {
    /// True if its containers are host processes.
    #[must_use]
    pub fn is_process(&self) -> bool {
        self.runtime_class_name.as_deref() == Some("process")
    }

    /// Its init containers and its containers, in the order in which they start.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(&self.containers)
    }

    /// The containers that go on once it is initialized: its sidecars, then its containers.
    pub fn lasting_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().filter(|container| container.is_sidecar()).chain(&self.containers)
    }

    /// What it needs of a node (a limit without a request counts as the request): its containers and sidecars together, or an init
    /// container together with the sidecars before it, whichever is more:
    /// <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>.
    #[must_use]
    pub fn requests(&self) -> Amounts {
        let (mut sidecars, mut starting) = (Amounts::default(), Amounts::default());
        for container in &self.init_containers {
            let with = sidecars.plus(container.requests());
            starting = starting.max_of_each(with);
            if container.is_sidecar() {
                sidecars = with;
            }
        }
        let running = self.containers.iter().fold(sidecars, |sum, container| sum.plus(container.requests()));
        running.max_of_each(starting)
    }

    /// The devices that its containers ask for, in some number.
    #[must_use]
    pub fn devices(&self) -> BTreeSet<String> {
        let limits = self.all_containers().flat_map(|container| &container.resources.limits);
        let asked = limits.filter(|(name, amount)| is_device(name) && **amount > Quantity::default());
        asked.map(|(name, _)| name.clone()).collect()
    }
}

/// Whether a resource is a device: its name has a domain.
#[must_use]
pub fn is_device(resource: &str) -> bool {
    resource.contains('/')
}

/// An amount of cpu and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

impl Amounts {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    fn max_of_each(self, other: Self) -> Self {
        Self { cpu_milli: self.cpu_milli.max(other.cpu_milli), memory_bytes: self.memory_bytes.max(other.memory_bytes) }
    }
}

/// `restartPolicy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Whenever it ends.
    #[default]
    Always,
    /// When it ends with a code other than 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// One container (or host process) of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Unique in the pod.
    pub name: String,
    /// Absent only for host processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `Always`, `IfNotPresent` or `Never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Replaces the image's entry point; for a host process, the program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Replaces the image's command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Named variables; they win over `env_from`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Whole ConfigMaps and Secrets as variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<EnvFromSource>,
    /// Ports that it listens on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// Requests and limits.
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Restarts it when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// Takes it out of Services while it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// Holds the other probes back until it has succeeded once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_probe: Option<Probe>,
    /// Where volumes appear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// What runs after its start and before its stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Its user, group and rights; they win over those of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// Whether its standard input is open.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin: bool,
    /// Whether it is closed when the first who is attached leaves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin_once: bool,
    /// Whether its streams are a terminal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// `Always` makes an init container a sidecar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
}

impl Container {
    /// Whether this init container runs beside the containers instead of before them.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == Some(RestartPolicy::Always)
    }

    /// What it asks for; a limit without a request counts as the request.
    #[must_use]
    pub fn requests(&self) -> Amounts {
        let resources = &self.resources;
        let amount =
            |name: &str| resources.requests.get(name).or_else(|| resources.limits.get(name)).copied().unwrap_or_default();
        Amounts { cpu_milli: amount("cpu").milli(), memory_bytes: amount("memory").value() }
    }
}

/// `ports[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// What Services and probes may call it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port that the container listens on. A host process is given another one in `PORT`.
    pub container_port: u16,
    /// Published on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// The host's address that it is published on; every one if absent.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// `hostAliases[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// `dnsConfig`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsConfig {
    /// Servers, before those of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Domains to search, after those of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<DnsOption>,
}

/// `dnsConfig.options[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsOption {
    /// `ndots`
    pub name: String,
    /// `2`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// `protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
}

/// `resources`; the keys are `cpu`, `memory` and names of devices.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, Quantity>,
    /// What the runtime enforces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

impl Resources {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// A number or a text, as Kubernetes' IntOrString.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A name or a percentage.
    Text(String),
}

impl IntOrString {
    /// True for 0 and 0 %.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match self {
            IntOrString::Int(count) => *count == 0,
            IntOrString::Text(text) => text.trim_end_matches('%').chars().all(|digit| digit == '0'),
        }
    }
}

impl Default for IntOrString {
    fn default() -> Self {
        IntOrString::Int(0)
    }
}

/// The contents of the ConfigMaps and Secrets that a template refers to, frozen when the template was hashed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigSnapshot {
    /// By ConfigMap name; a missing optional one is absent.
    pub config_maps: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// By Secret name; a missing optional one is absent.
    pub secrets: BTreeMap<String, BTreeMap<String, SecretBytes>>,
    /// Names these contents: a keyed digest, so that it reveals nothing. Where a template keeps its hash over a change of them
    /// (`driftless.dev/config-update: in-place`), running pods take the newer one.
    pub version: String,
}

/// A template and the configuration that it was hashed with: all that a pod of it needs to start. Replicas of an old
/// template keep their old snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSnapshot {
    /// The template hash over both.
    pub hash: TemplateHash,
    /// The template, as Kubernetes shapes it.
    pub template: PodTemplate,
    /// What it refers to.
    pub config: Arc<ConfigSnapshot>,
}
