//! Services and autoscalers, in Kubernetes' shape.

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

/// A HorizontalPodAutoscaler on cpu: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscaler {
    /// The kind of its target, `Deployment` or `Rollout`.
    pub target_kind: String,
    /// The name of its target, in its namespace.
    pub target_name: String,
    /// Never fewer.
    pub min_replicas: u32,
    /// Never more.
    pub max_replicas: u32,
    /// Wanted average cpu, in percent of the request.
    pub cpu_percent: Option<u32>,
    /// Wanted average cpu per pod, in thousandths of a core.
    pub cpu_average_milli: Option<u64>,
    /// Seconds over which the highest recommendation holds before it scales down (default 300).
    pub scale_down_window_seconds: u32,
    /// Seconds over which the lowest recommendation holds before it scales up (default 0).
    pub scale_up_window_seconds: u32,
}
