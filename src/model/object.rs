//! Objects as a revision desires them.

use super::{
    Autoscaler, ClaimSpec, CronJob, DisruptionBudget, IngressSpec, Kind, Meta, NodeSpec, ObjectKey, PodSnapshot, PriorityClass,
    Problem, Revision, SecretBytes, ServiceSpec, UnitName, UnitState, Workload,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that should run: all loaded and held units put together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// The revision being reconciled; `None` before the first.
    pub revision: Option<Revision>,
    /// Every object, by key.
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// What became of each unit.
    pub units: BTreeMap<UnitName, UnitState>,
    /// Problems that belong to no unit, such as one of `driftless.yaml`.
    pub problems: Vec<Problem>,
    /// What `driftless.yaml` says.
    pub policy: Policy,
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Kind, namespace, name.
    pub key: ObjectKey,
    /// Labels and annotations.
    pub meta: Meta,
    /// Where it is written.
    pub source: Source,
    /// The document as written (defaults left out), as JSON. For a Secret, every value is replaced by `<redacted>`.
    pub written: Arc<Value>,
    /// For a Secret, a digest of its contents that is not keyed, for comparing within one process; else empty. Never
    /// printed or stored.
    pub fingerprint: [u8; 32],
    /// What it means.
    pub body: Body,
}

/// Where an object is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its unit.
    pub unit: UnitName,
    /// The commit it was read from: older than the revision if the unit is held.
    pub revision: Revision,
    /// The file, relative to the watched path.
    pub file: String,
    /// The line where the document starts, from 1.
    pub line: u32,
    /// The git object id of the file. Secrets are compared by it in the plan digest.
    pub blob: String,
}

/// What an object means.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// `v1 Namespace`
    Namespace,
    /// `scheduling.k8s.io/v1 PriorityClass`
    PriorityClass(PriorityClass),
    /// `v1 Node`: what git says of a host.
    Node(NodeSpec),
    /// `v1 ConfigMap`: `data` and `binaryData` as bytes.
    ConfigMap(BTreeMap<String, Vec<u8>>),
    /// `v1 Secret`: `data` decoded, with `stringData` over it.
    Secret(BTreeMap<String, SecretBytes>),
    /// `v1 PersistentVolumeClaim`
    Claim(ClaimSpec),
    /// `v1 Service`
    Service(ServiceSpec),
    /// `networking.k8s.io/v1 Ingress`
    Ingress(IngressSpec),
    /// What runs pods.
    Workload(Workload),
    /// `batch/v1 CronJob`
    CronJob(Box<CronJob>),
    /// `autoscaling/v2 HorizontalPodAutoscaler`
    Autoscaler(Autoscaler),
    /// `policy/v1 PodDisruptionBudget`
    Budget(DisruptionBudget),
}

/// One accessor per body: the body, if the object is of its kind.
macro_rules! body_accessor {
    ($(#[$doc:meta])* $name:ident: $variant:ident($type:ty)) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> Option<&$type> {
            if let Body::$variant(body) = &self.body { Some(body) } else { None }
        }
    };
}

impl Object {
    body_accessor! {
        /// The workload, if it is one.
        workload: Workload(Workload)
    }
    body_accessor! {
        /// The service, if it is one.
        service: Service(ServiceSpec)
    }
    body_accessor! {
        /// The CronJob, if it is one.
        cron_job: CronJob(CronJob)
    }
    body_accessor! {
        /// The autoscaler, if it is one.
        autoscaler: Autoscaler(Autoscaler)
    }
    body_accessor! {
        /// The priority class, if it is one.
        priority_class: PriorityClass(PriorityClass)
    }
    body_accessor! {
        /// What git says of a host, if it is that.
        node: Node(NodeSpec)
    }
    body_accessor! {
        /// The volume claim, if it is one.
        claim: Claim(ClaimSpec)
    }
    body_accessor! {
        /// The ingress, if it is one.
        ingress: Ingress(IngressSpec)
    }
    body_accessor! {
        /// The disruption budget, if it is one.
        budget: Budget(DisruptionBudget)
    }

    /// The snapshot of its pods, if it runs any.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<PodSnapshot>> {
        self.workload().map(|workload| &workload.snapshot)
    }

    /// `driftless.dev/drift`.
    #[must_use]
    pub fn drift_policy(&self) -> DriftPolicy {
        match self.meta.annotations.get("driftless.dev/drift").map(String::as_str) {
            Some("report") => DriftPolicy::Report,
            Some("ignore") => DriftPolicy::Ignore,
            _ => DriftPolicy::Correct,
        }
    }
}

impl Desired {
    /// The workloads, in key order.
    pub fn workloads(&self) -> impl Iterator<Item = (&ObjectKey, &Workload)> {
        self.objects.iter().filter_map(|(key, object)| Some((key, object.workload()?)))
    }

    /// The autoscaler of a workload, if there is one.
    #[must_use]
    pub fn autoscaler_of(&self, workload: &ObjectKey) -> Option<&Autoscaler> {
        self.objects
            .values()
            .filter(|object| object.key.kind == Kind::HorizontalPodAutoscaler && object.key.namespace == workload.namespace)
            .filter_map(|object| object.autoscaler())
            .find(|autoscaler| autoscaler.target_name == workload.name && autoscaler.target_kind == workload.kind.as_str())
    }
}

/// What to do about drift of an object (`driftless.dev/drift`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriftPolicy {
    /// Put it right.
    #[default]
    Correct,
    /// Say so only.
    Report,
    /// Say nothing.
    Ignore,
}

/// `driftless.yaml`: what shapes desired, read alike by the controller and by `plan` in CI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// All or nothing: any error holds every unit.
    pub atomic: bool,
    /// Ignore patterns, as in `.gitignore`.
    pub ignore: Vec<String>,
    /// Kinds that are passed over with a warning, as `Kind` or `Kind.group`.
    pub ignore_kinds: Vec<String>,
    /// The brake on deletions.
    pub prune: PrunePolicy,
    /// How long a lost node is waited for.
    pub replace_after: Duration,
    /// What is rendered, and how.
    pub render: RenderPolicy,
}

/// What is rendered, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RenderPolicy {
    /// The folders that are rendered; if empty, every one that no other uses.
    pub entries: Vec<String>,
    /// How charts are rendered, by their folder.
    pub helm: BTreeMap<String, HelmRelease>,
}

/// What `helm install` would be told on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HelmRelease {
    /// The release's name; by default the name of the folder.
    pub release: Option<String>,
    /// The release's namespace; by default `default`.
    pub namespace: Option<String>,
    /// Files of values, relative to the watched path, in order; the chart's own `values.yaml` comes before them.
    pub values: Vec<String>,
    /// Single values, by their path in the values, as with `--set`.
    pub set: BTreeMap<String, String>,
}

/// The brake on deletions, with the design's limits as defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePolicy {
    /// Hold a revision that deletes more than this percentage of the workloads …
    pub max_workload_percent: u32,
    /// … if it is at least so many workloads.
    pub min_workloads: u32,
    /// Hold a revision that deletes more objects than this.
    pub max_objects: u32,
    /// Objects whose deletion is approved, as `Kind/namespace/name` (`Kind/name` for cluster-scoped ones).
    pub approve: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            atomic: false,
            ignore: Vec::new(),
            ignore_kinds: Vec::new(),
            prune: PrunePolicy::default(),
            replace_after: Duration::from_secs(60),
            render: RenderPolicy::default(),
        }
    }
}

impl Default for PrunePolicy {
    fn default() -> Self {
        Self { max_workload_percent: 50, min_workloads: 5, max_objects: 20, approve: Vec::new() }
    }
}
