//! What wakes the core, and what it asks the shell to do.

use super::Ledger;
use crate::agent::net::{ExtraAddress, Interception};
use crate::agent::runtime::{
    ContainerId, ContainerLaunch, ContainerStatus, Labels, RuntimeError, RuntimeEvent, Started, Usage, VolumeContents,
};
use crate::model::{
    Assignment, BootMoment, EndpointSet, Exit, IngressTable, Moment, NodeNetwork, ObjectKey, PodUid, Renewal, Report,
    RuntimeKind, ServiceProblem,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One start of one container: what effects and their outcomes are matched by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerKey {
    /// The pod.
    pub pod: PodUid,
    /// The container's name in the template.
    pub container: String,
    /// Which start of it.
    pub attempt: u32,
}

impl From<&Labels> for ContainerKey {
    fn from(labels: &Labels) -> Self {
        Self { pod: labels.uid, container: labels.container.clone(), attempt: labels.attempt }
    }
}

/// Something happened. Outcomes of effects may come late, twice or never; none of that may start a second copy.
#[derive(Debug, Clone)]
pub enum Event {
    /// The wire is up: a hello was sent. Everything is reported once more.
    Connected,
    /// The wire is down: reports wait.
    Disconnected,
    /// The controller says what to run and what to stop.
    Assigned(Box<Assignment>),
    /// The controller says where a Service leads.
    Endpoints(Box<EndpointSet>),
    /// The controller says what network the nodes make together.
    Network(Arc<NodeNetwork>),
    /// The controller says what to serve to clients outside of the cluster.
    Ingress(Arc<IngressTable>),
    /// The proxy sends nobody any more to backends that are not in this version.
    EndpointsInUse {
        /// The Service.
        service: ObjectKey,
        /// The version.
        version: u64,
    },
    /// What is wrong with Services on this host, the whole list.
    ServiceProblems(Vec<ServiceProblem>),
    /// What is wrong with this host as a whole for one reason, the whole list.
    NodeProblems {
        /// Which reason.
        reason: NodeTrouble,
        /// What is wrong, a sentence each.
        messages: Vec<String>,
    },
    /// The answer to [`Effect::List`].
    Found {
        /// Which runtime.
        runtime: RuntimeKind,
        /// When the listing was asked for: what changed since then is not judged by it.
        asked: Moment,
        /// Every container of ours.
        containers: Vec<ContainerStatus>,
        /// The host's address as its containers see it.
        gateway: Option<IpAddr>,
    },
    /// The other answer to [`Effect::List`]: the runtime is out of reach.
    RuntimeLost {
        /// Which runtime.
        runtime: RuntimeKind,
        /// Why.
        message: String,
    },
    /// The outcome of [`Effect::Start`].
    Started {
        /// Which start.
        key: ContainerKey,
        /// What became of it.
        outcome: Result<Started, RuntimeError>,
    },
    /// The outcome of [`Effect::Stop`].
    Stopped {
        /// Which start.
        key: ContainerKey,
        /// How it ended.
        outcome: Result<Exit, RuntimeError>,
    },
    /// The outcome of [`Effect::Remove`].
    Removed {
        /// Which start.
        key: ContainerKey,
        /// Whether it is gone.
        outcome: Result<(), RuntimeError>,
    },
    /// A runtime noticed something.
    Runtime {
        /// Which runtime.
        runtime: RuntimeKind,
        /// What.
        event: RuntimeEvent,
    },
    /// The outcome of [`Effect::Probe`].
    Probed {
        /// Which start.
        key: ContainerKey,
        /// Which probe.
        kind: ProbeKind,
        /// What came of it.
        outcome: ProbeOutcome,
    },
    /// The outcome of [`Effect::Hook`].
    Hooked {
        /// Which start.
        key: ContainerKey,
        /// Which hook.
        kind: HookKind,
        /// Why it failed; one sentence.
        outcome: Result<(), String>,
    },
    /// The answer to [`Effect::Sample`]; containers that could not be asked are absent.
    Sampled(BTreeMap<ContainerKey, Usage>),
    /// The answer to [`Effect::SampleHost`]: what the host has used since its start, and uses now.
    HostSampled(Usage),
    /// The outcome of [`Effect::Rewrite`].
    Rewritten {
        /// Which start.
        key: ContainerKey,
        /// What went wrong, in one sentence.
        outcome: Result<(), String>,
    },
    /// The outcome of [`Effect::Erase`].
    Erased {
        /// Which volume.
        volume: ObjectKey,
        /// Whether its data is gone; else one sentence.
        outcome: Result<(), String>,
    },
    /// The outcome of [`Effect::SaveLedger`].
    LedgerSaved(Result<(), String>),
    /// How full the disks are.
    Disks(Vec<Disk>),
    /// The host slept, or this is the first event: by how much its boot clock is ahead of the time that the core is given. Zero until then.
    BootClock {
        /// In milliseconds; negative if it is behind.
        ahead_ms: i64,
    },
    /// The controller has answered a heartbeat.
    Renewed(Renewal),
    /// The host will be away for so long from now on; zero takes that back.
    Leave(Duration),
    /// The time of the last [`Effect::WakeAt`] has come.
    Wake,
}

/// How full a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// A folder on it.
    pub path: PathBuf,
    /// What we may still write.
    pub free_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
    /// How many files we may still make.
    pub free_files: u64,
    /// How many it can have; 0 if it does not say.
    pub total_files: u64,
}

/// What the shell must do. Effects are begun in order; those that take time run beside each other. About one container the core
/// asks for one thing at a time.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an effect that is not performed leaves the core waiting for its outcome"]
pub enum Effect {
    /// List a runtime's containers, answered by [`Event::Found`] or [`Event::RuntimeLost`].
    List(RuntimeKind),
    /// Write the volumes, then start the container; answered by [`Event::Started`].
    Start(Box<ContainerLaunch>),
    /// Stop it; answered by [`Event::Stopped`].
    Stop {
        /// Which runtime.
        runtime: RuntimeKind,
        /// Which start.
        key: ContainerKey,
        /// Its id.
        id: ContainerId,
        /// How long it may take to end by itself.
        grace: Duration,
    },
    /// Delete it; answered by [`Event::Removed`].
    Remove {
        /// Which runtime.
        runtime: RuntimeKind,
        /// Which start.
        key: ContainerKey,
        /// Its id.
        id: ContainerId,
    },
    /// Bring the files of a running container's volumes up to date, each volume at once and as a whole; answered by
    /// [`Event::Rewritten`]. What is right already is left alone.
    Rewrite {
        /// Which start.
        key: ContainerKey,
        /// Its volumes.
        volumes: Vec<VolumeContents>,
    },
    /// Delete the folders of a pod that is gone. Nobody waits for it.
    Forget(PodUid),
    /// Delete a volume claim's folder with everything in it; answered by [`Event::Erased`].
    Erase(ObjectKey),
    /// Probe once; answered by [`Event::Probed`].
    Probe(Box<ProbeRequest>),
    /// Run a hook; answered by [`Event::Hooked`].
    Hook(Box<HookRequest>),
    /// Ask what these containers have used; answered by [`Event::Sampled`].
    Sample(Vec<(RuntimeKind, ContainerKey, ContainerId)>),
    /// Ask what the host as a whole has used; answered by [`Event::HostSampled`].
    SampleHost,
    /// The leases of these containers run until then. Nobody waits for it.
    Renew(BTreeMap<(RuntimeKind, ContainerId), BootMoment>),
    /// Send a heartbeat now: its answer is waited for.
    Beat,
    /// Send to the controller.
    Report(Box<Report>),
    /// Hand to the proxy; answered by [`Event::EndpointsInUse`].
    Endpoints {
        /// Where the Service leads.
        set: Arc<EndpointSet>,
        /// Where else it is reached: for containers, at the gateway.
        extra: Vec<ExtraAddress>,
    },
    /// The network that the nodes make together, from now on.
    Network(Arc<NodeNetwork>),
    /// Have the kernel turn what goes to its addresses to the proxy.
    Intercept(Interception),
    /// Answer names at this address of the host too: it is where containers ask.
    AnswerAt(IpAddr),
    /// What to serve to clients outside of the cluster, from now on.
    Ingress(Arc<IngressTable>),
    /// Write the ledger; answered by [`Event::LedgerSaved`].
    SaveLedger(Box<Ledger>),
    /// Send [`Event::Wake`] at this time. The newest one counts; earlier ones are void.
    WakeAt(Moment),
}

/// What may be wrong with a host as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeTrouble {
    /// Names are not answered where they should be.
    Dns,
}

impl NodeTrouble {
    /// What its event is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NodeTrouble::Dns => "DNSUnavailable",
        }
    }
}

/// The three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Holds the others back until it succeeds; its failure restarts.
    Startup,
    /// Its failure restarts.
    Liveness,
    /// Its failure takes the pod out of Services.
    Readiness,
}

impl ProbeKind {
    /// As it is written in Kubernetes' events: `Startup probe failed: …`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// One probe to make, fully resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeRequest {
    /// Which start of which container.
    pub key: ContainerKey,
    /// Which runtime.
    pub runtime: RuntimeKind,
    /// Its id.
    pub id: ContainerId,
    /// Which probe.
    pub kind: ProbeKind,
    /// What to do.
    pub action: ProbeAction,
    /// After this it has failed.
    pub timeout: Duration,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAction {
    /// GET; 200 to 399 succeeds.
    Http(HttpTarget),
    /// A connection succeeds.
    Tcp {
        /// Where to connect.
        host: String,
        /// The port there.
        port: u16,
    },
    /// Exit code 0 succeeds.
    Exec(Vec<String>),
    /// The answer `SERVING` succeeds.
    Grpc {
        /// Where to connect.
        host: String,
        /// The port there.
        port: u16,
        /// The service to ask for; empty for the server as a whole.
        service: String,
    },
    /// It cannot be made; says why.
    Impossible(String),
}

/// What a GET asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where to connect.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Headers to send.
    pub headers: Vec<(String, String)>,
    /// Whether it speaks TLS; its certificate is not verified, as by the kubelet.
    pub https: bool,
}

/// The two hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookKind {
    /// Runs right after the start; until it is done the container has not started, and its failure restarts it.
    PostStart,
    /// Runs before the stop; the grace runs meanwhile, and its failure changes nothing.
    PreStop,
}

impl HookKind {
    /// As Kubernetes' events have it: `FailedPostStartHook`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HookKind::PostStart => "PostStart",
            HookKind::PreStop => "PreStop",
        }
    }
}

/// One hook to run, fully resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRequest {
    /// Which start of which container.
    pub key: ContainerKey,
    /// Which runtime.
    pub runtime: RuntimeKind,
    /// Its id.
    pub id: ContainerId,
    /// Which hook.
    pub kind: HookKind,
    /// What to do.
    pub action: HookAction,
    /// After this it has failed.
    pub timeout: Duration,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAction {
    /// Exit code 0 succeeds.
    Exec(Vec<String>),
    /// GET; any answer succeeds, as with the kubelet.
    Http(HttpTarget),
    /// A pause.
    Sleep(Duration),
    /// It cannot be run; says why.
    Impossible(String),
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It succeeded.
    Success,
    /// It failed; one sentence.
    Failure(String),
    /// It could not be made (not the container's fault), and counts as nothing.
    Unknown(String),
}
