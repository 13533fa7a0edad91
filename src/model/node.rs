//! Nodes: the hosts that agents speak for.

use super::{Allows, Amounts, NodeName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// What an agent says about its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Labels from git or the join token; `kubernetes.io/hostname`, `kubernetes.io/os` and `kubernetes.io/arch` are added.
    pub labels: BTreeMap<String, String>,
    /// What the host has.
    pub capacity: Amounts,
    /// What pods may request of it: capacity minus a reserve.
    pub allocatable: Amounts,
    /// Which runtimes it offers.
    pub runtimes: BTreeSet<RuntimeKind>,
    /// With which of them pods can have a lease: where something beside the pod stops it, the agent alive or not.
    #[serde(default)]
    pub leases: BTreeSet<RuntimeKind>,
    /// What it lets pods do to the host.
    #[serde(default)]
    pub allows: Allows,
    /// `linux`
    pub os: String,
    /// `amd64`, `arm64`: as Kubernetes and Go name them.
    pub arch: String,
    /// The kernel's release.
    pub kernel: String,
    /// The container engine and its version, as `docker://20.10.24`, if there is one.
    pub engine: Option<String>,
    /// The version of the agent.
    pub agent_version: String,
    /// The address that the node's host processes listen on.
    pub address: String,
    /// Where other nodes may dial its tunnel.
    #[serde(default)]
    pub tunnel: Vec<SocketAddr>,
    /// Whether it serves Ingress.
    #[serde(default)]
    pub ingress: bool,
}

impl NodeFacts {
    /// Where the host is found by others, as far as is known: where they dial its tunnel, else where its own processes listen.
    #[must_use]
    pub fn found_at(&self) -> String {
        self.tunnel.first().map_or_else(|| self.address.clone(), |dialled| dialled.ip().to_string())
    }
}

/// What an agent says of the state of its host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeConditions {
    /// Why no new pods should come for want of room on its disks; `None` if there is enough.
    pub disk_pressure: Option<String>,
}

/// The runtimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Docker Engine (or Podman's socket).
    Docker,
    /// Supervised host processes.
    Process,
}

impl RuntimeKind {
    /// `docker` or `process`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RuntimeKind::Docker => "docker",
            RuntimeKind::Process => "process",
        }
    }
}
