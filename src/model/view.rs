//! What status shows: one frozen picture of everything the controller knows, made after each pass.

use super::{
    AutoscalerView, ChangeCounts, DrainView, Epoch, HostUsage, JobRun, Moment, NodeConditions, NodeFacts, NodeName, NodeSpec,
    Object, ObjectKey, Outcome, PodReport, PodRun, PodSnapshot, PodUid, PodUsage, Problem, Protocol, Revision, StopReason,
    TemplateHash, Trigger, UnitName, UnitState,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// The picture. Cheap to make: objects are shared, not copied.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Grows with every change; the `resourceVersion` of lists.
    pub version: u64,
    /// When it was made.
    pub at: Moment,
    /// The cluster's name.
    pub cluster: String,
    /// The reign.
    pub epoch: Epoch,
    /// The watched repo, credentials removed.
    pub repo: String,
    /// The watched branch.
    pub branch: String,
    /// The revision being reconciled.
    pub revision: Option<Revision>,
    /// Whether the controller acts, and if not, why.
    pub health: Health,
    /// All desired objects (those whose deletion is blocked included).
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// The units.
    pub units: BTreeMap<UnitName, UnitState>,
    /// Workloads, with how far they are.
    pub workloads: BTreeMap<ObjectKey, WorkloadView>,
    /// CronJobs, with their Jobs, which are among `objects` and `workloads`.
    pub crons: BTreeMap<ObjectKey, CronView>,
    /// Pods, assigned and observed.
    pub pods: Vec<PodView>,
    /// The templates of `pods`, by hash: an old replica keeps the one that it was made from. One that is missing here is shown
    /// with what its agent reports alone.
    pub templates: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
    /// When each object was first applied, as far as it is known.
    pub created: BTreeMap<ObjectKey, Moment>,
    /// Nodes.
    pub nodes: BTreeMap<NodeName, NodeView>,
    /// Autoscalers whose target is there, with what they decided.
    pub autoscalers: BTreeMap<ObjectKey, AutoscalerView>,
    /// Disruption budgets, with what they allow now.
    pub budgets: BTreeMap<ObjectKey, BudgetView>,
    /// Volume claims that have a place, those made from templates among them.
    pub claims: BTreeMap<ObjectKey, ClaimView>,
    /// Services, with their address and how many backends.
    pub services: BTreeMap<ObjectKey, ServiceView>,
    /// The addresses of the nodes that serve Ingress.
    pub ingress_addresses: Vec<String>,
    /// The last reconciles, newest first, bounded.
    pub reconciles: Vec<ReconcileView>,
    /// Events, newest last, bounded.
    pub events: Vec<EventView>,
    /// Everything that wants a person's attention, worst first.
    pub problems: Vec<ProblemView>,
    /// Counters for `/metrics`.
    pub counters: Counters,
    /// Audit records that are not pushed yet.
    pub audit_queued: usize,
}

/// Whether the controller acts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Health {
    /// It has not loaded a revision or not heard from its nodes yet, and changes nothing.
    #[default]
    Starting,
    /// It holds, with the reason.
    Holding(String),
    /// It acts.
    Acting,
    /// Another controller has a higher epoch.
    StoodDown(Epoch),
}

/// A workload's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadView {
    /// The number of pods wanted.
    pub replicas: u32,
    /// The wanted template.
    pub hash: TemplateHash,
    /// Pods of the wanted template.
    pub updated: u32,
    /// Ready pods.
    pub ready: u32,
    /// Ready pods that have been so for `minReadySeconds`.
    pub available: u32,
    /// All pods that count.
    pub current: u32,
    /// The rollout.
    pub progress: Progress,
    /// The promoted template of a blue/green workload.
    pub promoted: Option<TemplateHash>,
    /// The autoscaler's number, if one is in charge.
    pub autoscaled: Option<u32>,
    /// What became of a Job so far.
    pub job: Option<JobRun>,
}

/// A CronJob's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CronView {
    /// When the last Job was due.
    pub last: Option<Moment>,
    /// Its Jobs, by the time that they were due.
    pub jobs: Vec<ObjectKey>,
    /// Those that run.
    pub active: Vec<ObjectKey>,
}

/// How a rollout step ended. The same reasons in status, logs and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// All is as wanted.
    Done,
    /// Steps are being taken.
    Progressing(String),
    /// It cannot go on by itself yet.
    Waiting(WaitingOn),
    /// It will not go on without a person.
    Stalled(StalledBy),
}

/// What a rollout waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitingOn {
    /// No node can take a pod: what each said.
    Placement(String),
    /// New pods to become available.
    Availability {
        /// How many are not.
        missing: u32,
    },
    /// Agents to acknowledge that an old pod is out of use.
    Drain,
    /// Old pods to end.
    Stops,
    /// A commit that sets `driftless.dev/promote`.
    Promotion(TemplateHash),
    /// The delay before the old set goes, or before it is promoted by itself.
    Delay(Duration),
    /// The node that the pod is bound to.
    Node(NodeName),
    /// `spec.paused`.
    Unpause,
    /// Pods of a Job to end.
    Completion {
        /// How many succeeded.
        succeeded: u32,
        /// How many must; `None` if one is enough.
        wanted: Option<u32>,
    },
    /// The back-off after a failed pod of a Job.
    Retry {
        /// How many failed.
        failed: u32,
        /// What is left of it.
        left: Duration,
    },
}

/// What a rollout has failed on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StalledBy {
    /// `progressDeadlineSeconds` passed without progress; the last thing that was seen of a pod.
    Deadline(String),
    /// This template failed before and is unchanged.
    Quarantined(TemplateHash),
    /// A Job has failed: `BackoffLimitExceeded` and the like, and a sentence.
    JobFailed(String, String),
    /// Nobody remembers whether a Job has run; it must not run twice.
    Forgotten(String),
}

/// A pod: what was told, and what is reported.
#[derive(Debug, Clone, PartialEq)]
pub struct PodView {
    /// The node.
    pub node: NodeName,
    /// What the agent was told, if it is in an assignment; `None` if unclaimed.
    pub told: Option<PodRun>,
    /// Why it is being stopped, if it is.
    pub stopping: Option<StopReason>,
    /// What the agent says of it; `None` if it has not said anything yet.
    pub report: Option<PodReport>,
    /// When it was first assigned or seen.
    pub since: Moment,
    /// What it uses, and when that was reported, if it was lately.
    pub usage: Option<(PodUsage, Moment)>,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// What its agent says; `None` if it has only been remembered.
    pub facts: Option<NodeFacts>,
    /// Whether its agent is heard.
    pub ready: bool,
    /// When it was last heard.
    pub heard: Option<Moment>,
    /// When it was first seen, by the clock on the wall, if that is known.
    pub created: Option<Moment>,
    /// How many pods it has.
    pub pods: usize,
    /// Its cordon and taints, from git.
    pub marks: NodeSpec,
    /// Until when it is waited for, if it announced its absence.
    pub away_until: Option<Moment>,
    /// What its agent last said of its state.
    pub conditions: NodeConditions,
    /// How far its drain is, if it is being drained and that was looked at.
    pub drain: Option<DrainView>,
    /// What the host uses, and when that was reported, if it was lately.
    pub usage: Option<(HostUsage, Moment)>,
}

/// `status` of a disruption budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetView {
    /// The pods that it counts with.
    pub expected: u32,
    /// Those of its pods that are ready.
    pub healthy: u32,
    /// How many must be.
    pub desired: u32,
    /// How many pods may be taken away now.
    pub allowed: u32,
}

/// A volume claim.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClaimView {
    /// The node whose disk has the data.
    pub node: Option<NodeName>,
    /// The StatefulSet that made it, if no file of the repo did.
    pub made_by: Option<ObjectKey>,
    /// The document, where the revision has none.
    pub written: Option<serde_json::Value>,
    /// True once it is to be deleted, data and all.
    pub deleting: bool,
    /// The pods that use it.
    pub users: Vec<PodUid>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceView {
    /// Its stable address.
    pub address: Option<Ipv4Addr>,
    /// Ready backends of its first port.
    pub backends: usize,
    /// The port of every node for each of its ports that has one.
    pub node_ports: BTreeMap<(u16, Protocol), u16>,
    /// The addresses of the nodes that have its ports.
    pub load_balancers: BTreeSet<String>,
}

/// One reconcile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileView {
    /// The subject of its record.
    pub subject: String,
    /// The text of its record.
    pub body: String,
    /// The revision.
    pub revision: Option<Revision>,
    /// What set it off.
    pub trigger: Trigger,
    /// What became of it.
    pub outcome: Outcome,
    /// How many changes.
    pub changes: ChangeCounts,
    /// The plan's digest.
    pub plan: String,
    /// When it began.
    pub started: Moment,
    /// How long it took.
    pub duration_ms: u64,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// What it is about.
    pub about: ObjectKey,
    /// The pod's name, if it is about a pod.
    pub pod: Option<String>,
    /// The node whose agent says it; `None` if the controller does.
    pub node: Option<NodeName>,
    /// True for `Warning`.
    pub warning: bool,
    /// `Started`, `ScalingReplicaSet`, `Unhealthy` …
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// How often it happened.
    pub count: u32,
    /// When it first happened.
    pub first: Moment,
    /// When it last happened.
    pub last: Moment,
}

/// Something that wants a person's attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// What it is about: a unit, an object, a node, the repo.
    pub about: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The problem of a manifest that it came from.
    pub problem: Option<Problem>,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Passes made.
    pub passes: u64,
    /// Assignments sent because something changed.
    pub assignments: u64,
    /// Audit records made.
    pub records: u64,
    /// Times that a full recompute differed from the incremental result: a bug, counted.
    pub divergences: u64,
    /// Drift corrected.
    pub drift: u64,
}
