//! `current/` on the audit branch: one file per object, which is also the cluster memory.
//!
//! It holds no addresses of pods, restart counts or timestamps, so that it changes only when the world does. The times at which an object
//! was created, a Job began and ended, and a CronJob was due, are no exception: they are what happened.

use super::{Cidr, CronRun, JobRun, KeyFingerprint, MadeBy, Moment, NodeName, ObjectKey, Protocol, Revision, TemplateHash};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// One object as it was applied.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CurrentObject {
    /// The commit that it was applied from.
    pub commit: Option<Revision>,
    /// Where it is written, relative to the watched path.
    pub path: String,
    /// The unit it belongs to.
    pub unit: String,
    /// When it was created, by the clock on the wall; the first versions did not write it.
    #[serde(with = "super::time::rfc3339", skip_serializing_if = "Option::is_none")]
    pub created: Option<Moment>,
    /// The document as written, Secrets redacted.
    pub applied: Value,
    /// For a workload: the template in force, and those still running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<CurrentPods>,
    /// For a Service: its stable address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// For a Service: its ports of every node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_ports: Vec<CurrentNodePort>,
    /// For a CronJob: when it was last due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<CronRun>,
    /// For an object that is not in git: who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// For a volume claim that has its place: where its data is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<CurrentVolume>,
    /// True if the revision no longer has it and the brake holds its deletion.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deletion_blocked: bool,
}

/// A port that every node has for a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CurrentNodePort {
    /// The port of the Service.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port of the nodes.
    pub node_port: u16,
}

/// Where the data of a volume claim is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CurrentVolume {
    /// The node whose disk has it.
    pub node: Option<NodeName>,
    /// The StatefulSet that made the claim, if no file of the repo did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_by: Option<ObjectKey>,
    /// True once it is to be deleted, data and all, and is not gone yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
}

/// The pods of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CurrentPods {
    /// The template wanted.
    pub template_hash: String,
    /// The number wanted.
    pub replicas: u32,
    /// Every template that still has pods: the commit it came from, how many pods, and on which nodes.
    pub sets: BTreeMap<String, CurrentSet>,
    /// StatefulSet: the node of each numbered pod, those on their way out included.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<u32, NodeName>,
    /// StatefulSet: of the numbers whose pod has a lease, after how many seconds without a controller it has stopped by itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub leases: BTreeMap<u32, u64>,
    /// What each image name of the wanted template was resolved to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
    /// The promoted template of a blue/green workload: the one that its active Service leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted: Option<TemplateHash>,
    /// Templates that failed, and are not tried again until they change.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub quarantined: BTreeSet<TemplateHash>,
    /// What the autoscaler last asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaled: Option<u32>,
    /// What became of a Job so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRun>,
}

/// The pods of one template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CurrentSet {
    /// The commit that the template was applied from.
    pub commit: Option<Revision>,
    /// How many pods each node has.
    pub nodes: BTreeMap<NodeName, u32>,
    /// What each image name was resolved to, of a template that is not the wanted one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, String>,
}

/// `current/_cluster/memory.yaml`: what belongs to no object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterNotes {
    /// The cluster's id, from `identity/`.
    pub cluster_id: String,
    /// The last revision that was reconciled.
    pub revision: Option<Revision>,
    /// The epoch, and the instance that claimed it.
    pub epoch: u64,
    /// The instance id of the controller that claimed the epoch.
    pub instance: String,
    /// Every node that has been seen.
    #[serde(deserialize_with = "nodes")]
    pub nodes: BTreeMap<NodeName, NodeNotes>,
    /// Every node that has joined with a token, heard or not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<NodeName, NodeMember>,
}

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeNotes {
    /// Where its pods get their addresses from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Cidr>,
    /// When it was first seen, by the clock on the wall; the first versions did not write it.
    #[serde(with = "super::time::rfc3339", skip_serializing_if = "Option::is_none")]
    pub created: Option<Moment>,
}

/// The first versions wrote the names alone.
fn nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<NodeName, NodeNotes>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Names(BTreeSet<NodeName>),
        Notes(BTreeMap<NodeName, NodeNotes>),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Names(names) => names.into_iter().map(|name| (name, NodeNotes::default())).collect(),
        Written::Notes(notes) => notes,
    })
}

/// Who speaks for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeMember {
    /// The key that it joined with.
    pub key: KeyFingerprint,
    /// The labels that its token gave it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ClusterNotes {
    /// Their file on the audit branch.
    pub const PATH: &'static str = "current/_cluster/memory.yaml";
}
