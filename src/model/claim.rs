//! Volumes that outlive pods: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/>.

use super::Quantity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
