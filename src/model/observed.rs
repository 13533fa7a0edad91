//! What agents report.

use super::{Epoch, Generation, NetworkEcho, NodeConditions, NodeFacts, ObjectKey, PodUid, Revision, TemplateHash};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The first word of an agent: who it is, and the echo of its ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The host.
    pub facts: NodeFacts,
    /// The epoch and generation of the assignment in force.
    pub assignment: (Epoch, Generation),
    /// The whole state of every pod that it knows.
    pub pods: Vec<PodReport>,
    /// The templates that it need not be sent, each with the version of its configuration.
    pub templates: BTreeMap<TemplateHash, String>,
    /// The endpoints that it uses, by Service.
    pub endpoints: BTreeMap<ObjectKey, UsedEndpoints>,
    /// The volume claims whose data is on this host.
    pub volumes: BTreeSet<ObjectKey>,
    /// The network that it was told.
    pub network: NetworkEcho,
    /// The version of the table of Ingress that it serves; 0 for none.
    pub ingress: u64,
}

/// The endpoints of one Service as a node uses them. A controller of a later reign, which has never seen these sets, learns from it
/// which pods it may not stop yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsedEndpoints {
    /// The version in use: nobody is sent to a pod that only older ones have.
    pub version: u64,
    /// Every pod that somebody may be sent to.
    pub pods: BTreeSet<PodUid>,
}

/// What changed since the last report. Pods are whole values; a pod that is gone is in `gone`, never just absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The assignment in force: the acknowledgement of what was told.
    pub assignment: (Epoch, Generation),
    /// Pods whose state changed.
    pub pods: Vec<PodReport>,
    /// Pods that have ended and been removed: their slot is free.
    pub gone: Vec<PodUid>,
    /// Endpoint versions now in use.
    pub endpoints: BTreeMap<ObjectKey, u64>,
    /// The version of the network that it was told.
    pub network: u64,
    /// The version of the table of Ingress that it serves; 0 for none.
    pub ingress: u64,
    /// Things that happened, for `driftless events`.
    pub events: Vec<PodEvent>,
    /// What pods use, when a sample was taken.
    pub usage: BTreeMap<PodUid, PodUsage>,
    /// What the host uses as a whole, when a sample was taken.
    pub host: Option<HostUsage>,
    /// What is wrong with Services on this node, the whole list, if it changed.
    pub service_problems: Option<Vec<ServiceProblem>>,
    /// What is wrong with this node as a whole, the whole list, if it changed.
    pub node_problems: Option<Vec<NodeProblem>>,
    /// The volume claims whose data is on this host, the whole list, if it changed.
    pub volumes: Option<BTreeSet<ObjectKey>>,
    /// For how long the host may be away from now on, if that was announced; zero takes it back.
    pub away: Option<Duration>,
    /// The state of the host, if it changed.
    pub conditions: Option<NodeConditions>,
}

/// What a pod uses, as its agent measured it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodUsage {
    /// Cpu of all its containers since the sample before, in thousandths of a core; `None` until each of them was sampled twice.
    pub cpu_milli: Option<u64>,
    /// The working set of all its containers, in bytes; `None` if its agent does not tell.
    pub memory_bytes: Option<u64>,
    /// The same of each container and sidecar that runs; empty if its agent does not tell.
    pub containers: BTreeMap<String, ContainerUsage>,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContainerUsage {
    /// Cpu since the sample before, in thousandths of a core; `None` in the first one.
    pub cpu_milli: Option<u64>,
    /// The working set in bytes: memory in use without the page cache that could be dropped at once.
    pub memory_bytes: u64,
}

/// What a host uses as a whole, by pods and by everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostUsage {
    /// Cpu since the sample before, in thousandths of a core; `None` in the first one.
    pub cpu_milli: Option<u64>,
    /// Bytes of memory that a new program could not have.
    pub memory_bytes: u64,
}

/// How often agents sample what pods and hosts use.
pub const SAMPLE_PERIOD: Duration = Duration::from_secs(10);

impl FromIterator<(String, ContainerUsage)> for PodUsage {
    fn from_iter<I: IntoIterator<Item = (String, ContainerUsage)>>(samples: I) -> Self {
        let containers: BTreeMap<String, ContainerUsage> = samples.into_iter().collect();
        let cpu: Option<Vec<u64>> = containers.values().map(|container| container.cpu_milli).collect();
        let memory = containers.values().fold(0, |sum: u64, container| sum.saturating_add(container.memory_bytes));
        let cpu_milli = cpu.map(|cpu| cpu.into_iter().fold(0, u64::saturating_add));
        Self { cpu_milli, memory_bytes: Some(memory), containers }
    }
}

/// Why a Service cannot be reached on a node as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceProblem {
    /// The Service.
    pub service: ObjectKey,
    /// What is wrong and what to do, one sentence.
    pub message: String,
}

/// Why a node cannot do something that every node does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeProblem {
    /// What its event is called: `DNSUnavailable`
    pub reason: String,
    /// What is wrong and what to do, one sentence.
    pub message: String,
}

/// One pod as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReport {
    /// Its uid.
    pub uid: PodUid,
    /// Its name.
    pub name: String,
    /// The workload that it belongs to.
    pub workload: ObjectKey,
    /// Its template.
    pub hash: TemplateHash,
    /// Its slot in the workload.
    pub slot: u32,
    /// The commit that its template was applied from.
    pub revision: Revision,
    /// Where it stands.
    pub phase: PodPhase,
    /// True if every container and sidecar runs and its readiness probe (if any) succeeds.
    pub ready: bool,
    /// How long it has been ready, at the time of the report. Agents report durations, never wall-clock times.
    pub ready_for: Duration,
    /// How long ago it first started.
    pub age: Duration,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// Where each container port is reached at `address`. For a host process, the port that was given out.
    pub ports: BTreeMap<u16, u16>,
    /// Its init containers, sidecars among them, in the order of the template.
    #[serde(default)]
    pub init_containers: Vec<ContainerReport>,
    /// Its containers, in the order of the template.
    pub containers: Vec<ContainerReport>,
    /// Why it failed as a whole, in one word (`DeadlineExceeded`); empty if it did not.
    #[serde(default)]
    pub reason: String,
    /// Why it is not further, as a person reads it; empty if there is nothing to say.
    pub message: String,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Its name in the template.
    pub name: String,
    /// The runtime's id: a container id, or `pid:start time`.
    pub id: String,
    /// The digest that its image tag was resolved to.
    pub image_digest: Option<String>,
    /// What it is doing.
    pub state: ContainerState,
    /// Whether it runs, its hook after the start is done, and its startup probe (if any) has succeeded.
    #[serde(default)]
    pub started: bool,
    /// Whether it is ready.
    pub ready: bool,
    /// How often it was restarted on the spot.
    pub restarts: u32,
    /// How it last ended, if it did.
    pub last_exit: Option<Exit>,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not started yet.
    #[default]
    Waiting,
    /// Running.
    Running,
    /// Ended, and waiting to be started again.
    BackOff,
    /// Ended for good.
    Ended,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + n for a signal n.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `LivenessProbe`, `PostStartHook`
    pub reason: String,
}

/// Where a pod stands. It only moves down this list, but for a crash loop, which returns to `Running`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PodPhase {
    /// Told, not started.
    Pending,
    /// Fetching the image, making the container.
    Starting,
    /// All containers have been started.
    Running,
    /// A container keeps ending and waits to be started again.
    CrashLoop,
    /// The stop was received and is under way.
    Stopping,
    /// All containers ended with 0 and are not started again.
    Succeeded,
    /// A container ended otherwise and is not started again.
    Failed,
}

impl PodPhase {
    /// True if the pod will not run again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, PodPhase::Succeeded | PodPhase::Failed)
    }
}

/// Something that happened to a pod or object, in the manner of Kubernetes' events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEvent {
    /// The pod, if it is about one.
    pub pod: Option<PodUid>,
    /// True for `Warning`, false for `Normal`.
    pub warning: bool,
    /// `Started`, `Unhealthy`, `BackOff`, `Killing` …
    pub reason: String,
    /// One sentence.
    pub message: String,
}
