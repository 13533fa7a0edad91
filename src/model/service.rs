//! Services, in Kubernetes' shape.

use super::{Cidr, IntOrString, Protocol};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The ports of nodes that Services may have, as Kubernetes has them unless set otherwise.
pub const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// The label of a node whose own addresses have the ports of Services of `type: LoadBalancer`; its value is `true`.
pub const LOAD_BALANCER_LABEL: &str = "driftless.dev/load-balancer";

/// The label of a node that may serve Ingress, and so be handed the keys of certificates; its value is `true`.
pub const INGRESS_LABEL: &str = "driftless.dev/ingress";

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
    /// `None` for a headless Service; an address of the range of Services; absent for one that is allotted.
    #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
    /// From where it is reached.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub kind: ServiceKind,
    /// Of `type: ExternalName`: the name that its own stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_name: Option<String>,
    /// Whether a client stays with its pod.
    #[serde(skip_serializing_if = "is_default")]
    pub session_affinity: SessionAffinity,
    /// For how long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// Whether pods that are not ready are behind it too.
    #[serde(skip_serializing_if = "is_default")]
    pub publish_not_ready_addresses: bool,
    /// Which pods get what comes from within the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub internal_traffic_policy: TrafficPolicy,
    /// Which pods get what comes by ports of nodes.
    #[serde(skip_serializing_if = "is_default")]
    pub external_traffic_policy: TrafficPolicy,
    /// Of `type: LoadBalancer`: whether it has ports on every node too; yes unless written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// Of `type: LoadBalancer`: where clients may come from; anywhere if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_source_ranges: Vec<String>,
}

/// `type` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum ServiceKind {
    /// From within the cluster.
    #[default]
    ClusterIP,
    /// At a port of every node too.
    NodePort,
    /// At its own ports on the nodes that are labelled for it too.
    LoadBalancer,
    /// It is another name for one outside.
    ExternalName,
}

impl ServiceKind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceKind::ClusterIP => "ClusterIP",
            ServiceKind::NodePort => "NodePort",
            ServiceKind::LoadBalancer => "LoadBalancer",
            ServiceKind::ExternalName => "ExternalName",
        }
    }

    /// Whether it is reached from outside of the cluster.
    #[must_use]
    pub fn is_external(self) -> bool {
        matches!(self, ServiceKind::NodePort | ServiceKind::LoadBalancer)
    }
}

/// `sessionAffinity` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SessionAffinity {
    /// Every connection goes where there are fewest.
    #[default]
    None,
    /// A client's connections go to one pod.
    ClientIP,
}

/// `sessionAffinityConfig` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    /// For `ClientIP`.
    #[serde(rename = "clientIP")]
    pub client_ip: ClientIpConfig,
}

/// `sessionAffinityConfig.clientIP` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    /// A client that has been away for so long may get another pod: 3 h unless written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// `internalTrafficPolicy` and `externalTrafficPolicy` of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Any pod.
    #[default]
    Cluster,
    /// Pods of the node that a connection came to.
    Local,
}

/// `timeoutSeconds` unless written.
const STICKY_SECONDS: u32 = 10_800;

impl ServiceSpec {
    /// True if it has no address of its own, but one of each pod.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.cluster_ip.as_deref() == Some("None")
    }

    /// True if it has an address of its own.
    #[must_use]
    pub fn has_address(&self) -> bool {
        !self.is_headless() && self.kind != ServiceKind::ExternalName
    }

    /// The address that is written.
    #[must_use]
    pub fn written_address(&self) -> Option<Ipv4Addr> {
        self.cluster_ip.as_deref()?.parse().ok()
    }

    /// Whether its ports have ports of every node, those without a written one too.
    #[must_use]
    pub fn allots_node_ports(&self) -> bool {
        match self.kind {
            ServiceKind::NodePort => true,
            ServiceKind::LoadBalancer => self.allocate_load_balancer_node_ports != Some(false),
            ServiceKind::ClusterIP | ServiceKind::ExternalName => false,
        }
    }

    /// For how long a client stays with its pod, if it does.
    #[must_use]
    pub fn sticky_for(&self) -> Option<Duration> {
        let seconds = self.session_affinity_config.and_then(|config| config.client_ip.timeout_seconds).unwrap_or(STICKY_SECONDS);
        (self.session_affinity == SessionAffinity::ClientIP).then(|| Duration::from_secs(seconds.into()))
    }

    /// Where clients of its load balancers may come from; anywhere if there is none. What is no range was refused.
    #[must_use]
    pub fn source_ranges(&self) -> Vec<Cidr> {
        self.load_balancer_source_ranges.iter().filter_map(|text| text.trim().parse().ok()).collect()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// The port of every node at which it is reached too; allotted if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// What is spoken there; Ingress minds `kubernetes.io/h2c`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}
