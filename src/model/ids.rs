//! Names and identities.
//!
//! Nothing here is random: a pod's uid is a UUIDv5 over what makes it that pod, so a replay of the same history gives
//! the same names, and two reigns (epochs) never give one name to two pods.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The kinds that Driftless acts on. The order is the order in which objects are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `v1 Namespace`
    Namespace,
    /// `scheduling.k8s.io/v1 PriorityClass`
    PriorityClass,
    /// `v1 Node`
    Node,
    /// `v1 ConfigMap`
    ConfigMap,
    /// `v1 Secret`
    Secret,
    /// `v1 PersistentVolumeClaim`
    PersistentVolumeClaim,
    /// `v1 Service`
    Service,
    /// `networking.k8s.io/v1 Ingress`
    Ingress,
    /// `apps/v1 Deployment`
    Deployment,
    /// `argoproj.io/v1alpha1 Rollout`
    Rollout,
    /// `apps/v1 StatefulSet`
    StatefulSet,
    /// `apps/v1 DaemonSet`
    DaemonSet,
    /// `apps/v1 ReplicaSet`
    ReplicaSet,
    /// `batch/v1 Job`
    Job,
    /// `batch/v1 CronJob`
    CronJob,
    /// `v1 Pod`, run as a workload of one
    Pod,
    /// `autoscaling/v2 HorizontalPodAutoscaler`
    HorizontalPodAutoscaler,
    /// `policy/v1 PodDisruptionBudget`
    PodDisruptionBudget,
}

impl Kind {
    /// Every kind, in listing order.
    pub const ALL: [Kind; 18] = [
        Kind::Namespace,
        Kind::PriorityClass,
        Kind::Node,
        Kind::ConfigMap,
        Kind::Secret,
        Kind::PersistentVolumeClaim,
        Kind::Service,
        Kind::Ingress,
        Kind::Deployment,
        Kind::Rollout,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::ReplicaSet,
        Kind::Job,
        Kind::CronJob,
        Kind::Pod,
        Kind::HorizontalPodAutoscaler,
        Kind::PodDisruptionBudget,
    ];

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The `kind:` as Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::PriorityClass => "PriorityClass",
            Kind::Node => "Node",
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
            Kind::PersistentVolumeClaim => "PersistentVolumeClaim",
            Kind::Service => "Service",
            Kind::Ingress => "Ingress",
            Kind::Deployment => "Deployment",
            Kind::Rollout => "Rollout",
            Kind::StatefulSet => "StatefulSet",
            Kind::DaemonSet => "DaemonSet",
            Kind::ReplicaSet => "ReplicaSet",
            Kind::Job => "Job",
            Kind::CronJob => "CronJob",
            Kind::Pod => "Pod",
            Kind::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    /// The `apiVersion:` that we print.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet | Kind::ReplicaSet => "apps/v1",
            Kind::Job | Kind::CronJob => "batch/v1",
            Kind::Rollout => "argoproj.io/v1alpha1",
            Kind::HorizontalPodAutoscaler => "autoscaling/v2",
            Kind::PodDisruptionBudget => "policy/v1",
            Kind::PriorityClass => "scheduling.k8s.io/v1",
            Kind::Ingress => "networking.k8s.io/v1",
            Kind::Namespace
            | Kind::Node
            | Kind::ConfigMap
            | Kind::Secret
            | Kind::PersistentVolumeClaim
            | Kind::Service
            | Kind::Pod => "v1",
        }
    }

    /// The folder name in `current/` on the audit branch: Kubernetes' own kinds by name, others with their group.
    #[must_use]
    pub fn audit_folder(self) -> &'static str {
        if self == Kind::Rollout { "Rollout.argoproj.io" } else { self.as_str() }
    }

    /// True for kinds that run pods.
    #[must_use]
    pub fn is_workload(self) -> bool {
        matches!(
            self,
            Kind::Deployment | Kind::Rollout | Kind::StatefulSet | Kind::DaemonSet | Kind::ReplicaSet | Kind::Job | Kind::Pod
        )
    }

    /// True for kinds that live in a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Kind::Namespace | Kind::PriorityClass | Kind::Node)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What names an object within a cluster. `namespace` is empty for cluster-scoped kinds. Sorted by namespace first,
/// which is how people read a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The namespace, or empty for a cluster-scoped kind.
    pub namespace: String,
    /// The kind.
    pub kind: Kind,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), kind, name: name.into() }
    }

    /// Its file in `current/` on the audit branch: `current/shop/Deployment/web.yaml`.
    #[must_use]
    pub fn audit_path(&self) -> String {
        let scope = if self.namespace.is_empty() { "_cluster" } else { &self.namespace };
        format!("current/{scope}/{}/{}.yaml", self.kind.audit_folder(), self.name)
    }

    /// The object that a file in `current/` is about: the inverse of [`ObjectKey::audit_path`]. `None` for any other file.
    #[must_use]
    pub fn of_audit_path(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("current/")?.strip_suffix(".yaml")?.splitn(3, '/');
        let (scope, folder, name) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = Kind::ALL.into_iter().find(|kind| kind.audit_folder() == folder)?;
        Some(Self::new(kind, if scope == "_cluster" { "" } else { scope }, name))
    }

    /// `shop/web`, or the bare name of a cluster-scoped object.
    #[must_use]
    pub fn short(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.short())
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that is known to be one.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A node's name, unique in the cluster.
    NodeName
}
text_id! {
    /// The full hexadecimal object id of a commit of the watched branch.
    Revision
}
text_id! {
    /// A template hash, `v1` contract: 40 lower-case hexadecimal digits. See `manifest::template_hash`.
    TemplateHash
}
text_id! {
    /// The name of a unit: its folder relative to the watched path, `.` for the files at the root.
    UnitName
}

impl NodeName {
    /// True if it is a DNS label (RFC 1123): what a certificate, and so a node that joins, can have for a name.
    #[must_use]
    pub fn is_label(&self) -> bool {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = (1..=63).contains(&self.0.len()) && self.0.chars().all(|c| is_word(c) || c == '-');
        fits && self.0.starts_with(is_word) && self.0.ends_with(is_word)
    }
}

impl Revision {
    /// The first 8 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl TemplateHash {
    /// The first 6 digits, as they appear in pod names.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..6).unwrap_or(&self.0)
    }
}

/// One controller's reign. Claimed by a compare-and-swap on the audit branch; a higher one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// The number of an assignment to one node within an epoch; agents refuse older ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// What tells two pods of the same workload, template and slot apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The reign that made the pod.
    pub epoch: Epoch,
    /// Counts the pods made in that reign.
    pub counter: u64,
}

/// A pod's uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodUid(pub Uuid);

/// The namespace of all ids that we derive (UUIDv5, RFC 9562 section 5.5).
const ID_SPACE: Uuid = Uuid::from_u128(0x6472_6966_746c_6573_7300_0000_0000_0001);

impl PodUid {
    /// The uid of the pod of `workload` in `slot` with template `hash` and this incarnation. The cluster's id is part of it: two
    /// clusters may run the same manifests on one Engine, whose containers have one space of names.
    #[must_use]
    pub fn derive(cluster: &str, workload: &ObjectKey, slot: u32, hash: &TemplateHash, incarnation: Incarnation) -> Self {
        let text = format!("{cluster}\n{workload}\n{slot}\n{hash}\n{}\n{}", incarnation.epoch.0, incarnation.counter);
        Self(Uuid::new_v5(&ID_SPACE, text.as_bytes()))
    }

    /// Five characters that tell sibling pods apart, from the alphabet that Kubernetes uses for generated names
    /// (no vowels, no 0, 1 and 3, so that no word appears by accident).
    #[must_use]
    pub fn tail(&self) -> String {
        const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        self.0.as_bytes()[8..13].iter().map(|byte| char::from(SAFE[usize::from(*byte) % SAFE.len()])).collect()
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A uid for any other object, derived from its key, for the Kubernetes-shaped API.
#[must_use]
pub fn object_uid(key: &ObjectKey) -> Uuid {
    Uuid::new_v5(&ID_SPACE, key.to_string().as_bytes())
}
