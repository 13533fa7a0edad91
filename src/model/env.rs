//! Where the variables of a container come from.

use super::Quantity;
use serde::{Deserialize, Serialize};

/// `env[]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVar {
    /// The variable.
    pub name: String,
    /// Its literal value; `$(NAME)` is expanded at launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where else it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// `env[].valueFrom`: exactly one is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvVarSource {
    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeySelector>,
    /// A key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeySelector>,
    /// A field of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
    /// An amount of a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_field_ref: Option<ResourceFieldRef>,
}

/// A key of a ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeySelector {
    /// The object.
    pub name: String,
    /// The key.
    pub key: String,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// `fieldRef`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldRef {
    /// `metadata.name`, `metadata.namespace`, `metadata.uid`, `spec.nodeName`, `status.podIP` and its like, `metadata.labels['…']` or
    /// `metadata.annotations['…']`; in a volume also all labels or all annotations.
    pub field_path: String,
}

/// `resourceFieldRef`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceFieldRef {
    /// The container; the own one if absent (in a volume it must be there).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// `limits.cpu`, `limits.memory`, `requests.cpu` or `requests.memory`.
    pub resource: String,
    /// The unit of what is written, rounded up: `1` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divisor: Option<Quantity>,
}

/// `envFrom[]`: exactly one reference is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvFromSource {
    /// Put before every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// A ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ObjectName>,
    /// A Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<ObjectName>,
}

/// A reference by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectName {
    /// The object, in the pod's namespace.
    pub name: String,
    /// Whether it may be missing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}
