//! Services, in Kubernetes' shape.

use super::{IntOrString, Protocol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `spec` of a `v1 Service`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Pods with all of these labels are its backends.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// At least one, unless headless.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// `None` for a headless Service; otherwise absent.
    #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
}

impl ServiceSpec {
    /// True if it has no address of its own.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.cluster_ip.as_deref() == Some("None")
    }
}

/// `ports[]` of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Needed where there are several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port of the Service.
    pub port: u16,
    /// The container port behind it, by number or name; `port` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// TCP or UDP.
    pub protocol: Protocol,
}
