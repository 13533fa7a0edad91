//! What one node must run and stop, and where Services lead.

use super::{Cidr, Epoch, Generation, NodeName, ObjectKey, PodSnapshot, PodUid, Protocol, Revision, TemplateHash};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// The whole of what one node must do. A pod in neither list keeps running and is reported as unclaimed: absence never
/// deletes.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The reign that says so; agents refuse an older one.
    pub epoch: Epoch,
    /// Its number; agents refuse an older one within the epoch.
    pub generation: Generation,
    /// Pods to run.
    pub run: BTreeMap<PodUid, PodRun>,
    /// Pods to stop, until their end is acknowledged by `gone`.
    pub stop: BTreeMap<PodUid, StopOrder>,
    /// Volume claims of which the data is to be deleted, until a report does not have them any more.
    pub erase: BTreeSet<ObjectKey>,
    /// Templates of `run`. The wire sends only those that the agent lacks.
    pub templates: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
}

/// One pod to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRun {
    /// Its uid.
    pub uid: PodUid,
    /// Its name, unique in the namespace and over time.
    pub name: String,
    /// The workload.
    pub workload: ObjectKey,
    /// Its slot in the workload.
    pub slot: u32,
    /// Its template.
    pub hash: TemplateHash,
    /// The commit that its template was applied from.
    pub revision: Revision,
    /// What names of images of its template stand for, as written → digest: those that were known when it was placed. The others it
    /// resolves itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
}

/// An explicit, reasoned stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    /// The pod.
    pub uid: PodUid,
    /// Why.
    pub reason: StopReason,
    /// The commit that asked for it, if one did.
    pub commit: Option<Revision>,
}

/// Why a pod is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StopReason {
    /// A newer template takes its place.
    Replaced,
    /// Fewer replicas are wanted.
    ScaledDown,
    /// Its workload was deleted by a commit.
    Pruned,
    /// The rollout that made it was given up.
    RolledBack,
    /// It ended or was lost, and another takes its slot.
    Superseded,
    /// Its Job is over.
    Finished,
    /// It belongs on nodes that its own is not one of any more.
    Misplaced,
    /// A taint of its node that it does not tolerate (any more).
    Evicted,
    /// A pod of higher priority needs its room.
    Preempted,
    /// Its node is being drained.
    Drained,
}

impl StopReason {
    /// True if a pod that is needed after all may be taken back while it was not told to stop. One that has to leave its node may not.
    #[must_use]
    pub fn is_negotiable(self) -> bool {
        !matches!(self, StopReason::Evicted | StopReason::Preempted | StopReason::Drained)
    }
}

/// Where a Service leads: sent as a stream of its own, versioned and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSet {
    /// The Service.
    pub service: ObjectKey,
    /// Grows with every change, within and across epochs.
    pub version: u64,
    /// Its stable address; `None` if headless.
    pub address: Option<Ipv4Addr>,
    /// Its ports.
    pub ports: Vec<EndpointPort>,
    /// Who gets which connection.
    #[serde(default)]
    pub traffic: Traffic,
    /// The pods of a headless Service, in uid order: what its name stands for.
    #[serde(default)]
    pub members: Vec<Member>,
    /// The name outside of the cluster that its own stands for.
    #[serde(default)]
    pub external_name: Option<String>,
    /// True if the Service is gone and the agent should forget it.
    pub removed: bool,
}

impl EndpointSet {
    /// A Service that leads nowhere.
    #[must_use]
    pub fn empty(service: ObjectKey, version: u64) -> Self {
        Self {
            service,
            version,
            address: None,
            ports: Vec::new(),
            traffic: Traffic::default(),
            members: Vec::new(),
            external_name: None,
            removed: false,
        }
    }

    /// The pods that it leads to.
    #[must_use]
    pub fn pods(&self) -> BTreeSet<PodUid> {
        let backends = self.ports.iter().flat_map(|port| port.backends.iter().map(|backend| backend.pod));
        backends.chain(self.members.iter().map(|member| member.pod)).collect()
    }
}

/// One port of a Service and who is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Its name, may be empty.
    pub name: String,
    /// The Service's port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port of every node at which it is reached too.
    #[serde(default)]
    pub node_port: Option<u16>,
    /// The ready pods, in uid order.
    pub backends: Vec<Backend>,
}

/// One pod behind a Service port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backend {
    /// The pod.
    pub pod: PodUid,
    /// Its node. From another one it is reached through the tunnel.
    pub node: NodeName,
    /// Where it is reached on its node.
    pub address: IpAddr,
    /// At which port.
    pub port: u16,
}

/// One pod of a headless Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The pod.
    pub pod: PodUid,
    /// Its node.
    pub node: NodeName,
    /// Its address.
    pub address: IpAddr,
    /// Its name below that of the Service, if it has one.
    pub hostname: Option<String>,
}

/// Who gets which connection of a Service:
/// <https://kubernetes.io/docs/reference/networking/virtual-ips/>.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// A client stays with its pod until it has been away for so long (`sessionAffinity: ClientIP`).
    pub sticky_for: Option<Duration>,
    /// What comes from within goes to pods of the same node only (`internalTrafficPolicy: Local`).
    pub internal_local: bool,
    /// What comes from outside goes to pods of the same node only (`externalTrafficPolicy: Local`).
    pub external_local: bool,
    /// The nodes whose own addresses have its ports (`type: LoadBalancer`).
    pub load_balancers: BTreeSet<NodeName>,
    /// Where clients of the load balancers may come from; anywhere if empty.
    pub source_ranges: Vec<Cidr>,
}
