//! Volumes and mounts.

use super::{FieldRef, Quantity, ResourceFieldRef};
use serde::{Deserialize, Serialize};

/// `volumes[]`: exactly one source is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// What mounts call it.
    pub name: String,
    /// Keys of a ConfigMap as files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolume>,
    /// Keys of a Secret as files, on tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolume>,
    /// A folder that lives as long as the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// A file or folder of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPath>,
    /// A volume that outlives the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolume>,
    /// Several sources in one folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub projected: Option<Projected>,
    /// Fields of the pod as files.
    #[serde(rename = "downwardAPI", skip_serializing_if = "Option::is_none")]
    pub downward_api: Option<DownwardApi>,
}

/// `volumes[].configMap`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapVolume {
    /// The ConfigMap.
    pub name: String,
    /// Which keys, and as which files; all, if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
    /// Mode bits of the files, 0644 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_mode: Option<u32>,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// `volumes[].secret`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretVolume {
    /// The Secret.
    pub secret_name: String,
    /// Which keys, and as which files; all, if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
    /// Mode bits of the files, 0644 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_mode: Option<u32>,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// `items[]` of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// The file, relative to the mount, without `..`.
    pub path: String,
    /// Its mode bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// `volumes[].emptyDir`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EmptyDir {
    /// `Memory` for tmpfs, empty for disk.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub medium: String,
    /// How much it may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_limit: Option<Quantity>,
}

/// `volumes[].hostPath`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPath {
    /// Where on the host.
    pub path: String,
    /// What must be there, or is made: `DirectoryOrCreate`, `Directory`, `FileOrCreate`, `File`, `Socket`, `CharDevice`,
    /// `BlockDevice`; empty for no check.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub r#type: String,
}

/// `volumes[].persistentVolumeClaim`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimVolume {
    /// The claim, in the pod's namespace.
    pub claim_name: String,
    /// Whether it is mounted read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// `volumes[].projected`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Projected {
    /// What it is put together from; a later source wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<ProjectedSource>,
    /// Mode bits of the files, 0644 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_mode: Option<u32>,
}

/// `sources[]` of a projected volume: exactly one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectedSource {
    /// Keys of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ProjectedObject>,
    /// Keys of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<ProjectedObject>,
    /// Fields of the pod.
    #[serde(rename = "downwardAPI", skip_serializing_if = "Option::is_none")]
    pub downward_api: Option<ProjectedFields>,
}

/// A ConfigMap or Secret of a projected volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectedObject {
    /// Its name.
    pub name: String,
    /// Which keys, and as which files; all, if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// Fields of the pod in a projected volume, whose modes are those of the volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectedFields {
    /// The files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<DownwardFile>,
}

/// `downwardAPI` of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardApi {
    /// The files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<DownwardFile>,
    /// Mode bits of the files, 0644 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_mode: Option<u32>,
}

/// `items[]` of a downwardAPI volume: one of the references is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownwardFile {
    /// The file, relative to the mount, without `..`.
    pub path: String,
    /// A field of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
    /// An amount of a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_field_ref: Option<ResourceFieldRef>,
    /// Its mode bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// `volumeMounts[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// The volume.
    pub name: String,
    /// Where it appears.
    pub mount_path: String,
    /// Only this file or folder of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_path: String,
    /// The same, with `$(NAME)` standing for a variable of the container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_path_expr: String,
    /// `HostToContainer` or `Bidirectional`: whether mounts made later on one side appear on the other; empty for neither.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mount_propagation: String,
    /// Whether it is read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}
