//! Volumes that outlive pods: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/>.

use super::{ClaimVolume, Kind, ObjectKey, PodSpec, Quantity};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Stands for the pod's name in the claim of a volume that a claim template makes. No name can hold it.
pub const CLAIM_OF_POD: &str = "$(POD_NAME)";

/// `spec` of a `v1 PersistentVolumeClaim`. A claim is a folder on the node that first runs a pod with it; the pods that mount it
/// run there from then on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimSpec {
    /// `ReadWriteOnce`, `ReadOnlyMany`, `ReadWriteMany` or `ReadWriteOncePod`.
    pub access_modes: Vec<String>,
    /// How much is asked for.
    pub resources: ClaimResources,
    /// Any: there is one kind of volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// `Filesystem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<String>,
}

/// `resources` of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClaimResources {
    /// `storage`
    pub requests: BTreeMap<String, Quantity>,
    /// `storage`
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Quantity>,
}

impl ClaimVolume {
    /// The claim that the pod of this name mounts. The pods of a StatefulSet have one template, and each its own claims.
    #[must_use]
    pub fn claim_of(&self, pod: &str) -> String {
        self.claim_name.replace(CLAIM_OF_POD, pod)
    }
}

impl PodSpec {
    /// The claims that the pod of this name mounts, which are of its namespace.
    #[must_use]
    pub fn claim_keys(&self, namespace: &str, pod: &str) -> BTreeSet<ObjectKey> {
        let volumes = self.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        volumes.map(|volume| ObjectKey::new(Kind::PersistentVolumeClaim, namespace, volume.claim_of(pod))).collect()
    }
}
