//! What the core is told, and what it answers.

use crate::apply::prune;
use crate::model::{
    Assignment, AuditRecord, BootMoment, ClusterNotes, CurrentObject, Desired, EndpointSet, Epoch, Hello, IngressTable, Moment,
    NetworkSettings, NodeMember, NodeName, NodeNetwork, Object, ObjectKey, PodSnapshot, Renewal, Report, Revision, Roll,
    TemplateHash, Trigger,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a controller is, for as long as it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id, from `identity/`.
    pub cluster_id: String,
    /// The id of this controller process, that claimed the epoch.
    pub instance: String,
    /// The watched repo, credentials removed, for people to read.
    pub repo: String,
    /// The watched branch.
    pub branch: String,
    /// The network of the cluster; `None` if Services have addresses that never leave a host.
    pub network: Option<NetworkSettings>,
}

/// Something that happened. An event wakes the core; what is to be done follows from all that it knows.
#[derive(Debug, Clone)]
pub enum Event {
    /// What the audit branch remembers. Comes once, before everything else; a cluster without a memory sends the default.
    Restored(Box<Restored>),
    /// A revision was read. An unchanged one is a pass that changes nothing.
    Loaded(Box<LoadedRevision>),
    /// The repo could not be fetched or read; what runs stays as it is.
    SyncFailed {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The repo can be read again.
    SyncRecovered,
    /// A host has joined with a token: the core said before that it may ([`Controller::admission`](super::Controller::admission)), and
    /// the use of the token is on disk.
    NodeJoined {
        /// The name that it joined as.
        node: NodeName,
        /// Its key, and the labels that the token gave it.
        member: NodeMember,
        /// The id of the token.
        token: String,
    },
    /// An agent's stream began: who it is, and the echo of its ledger.
    AgentHello {
        /// The node that the stream was accepted for.
        node: NodeName,
        /// Its first word.
        hello: Box<Hello>,
    },
    /// An agent reported.
    AgentReport {
        /// The node.
        node: NodeName,
        /// What changed.
        report: Box<Report>,
    },
    /// An agent said that it is there, and nothing else.
    AgentHeartbeat {
        /// The node.
        node: NodeName,
        /// What its boot clock showed when it sent this; zero of an agent that knows no leases.
        sent: BootMoment,
    },
    /// An agent's stream ended. Its node is not ready once the silence has lasted.
    AgentLost {
        /// The node.
        node: NodeName,
    },
    /// How far the audit branch is.
    AuditState {
        /// Records that are not pushed yet.
        queued: usize,
        /// Why the last push failed.
        error: Option<String>,
    },
    /// This controller claimed a higher epoch, because an agent named one that is as high as its own or higher.
    Reclaimed(Epoch),
    /// A higher epoch was seen: from now on this controller changes nothing.
    StoodDown(Epoch),
    /// The clock on the wall was set, or the host slept: by how much it is ahead of the time that the core is given. Zero until
    /// then.
    ClockSet {
        /// In milliseconds; negative if it is behind.
        ahead_ms: i64,
    },
    /// The time of the last [`Effect::WakeAt`] has come.
    Wake,
}

/// The cluster memory, with the objects that it names read again from git at the commit that each file records.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// `current/_cluster/memory.yaml`; `None` for a new cluster.
    pub notes: Option<ClusterNotes>,
    /// The other files of `current/`.
    pub current: BTreeMap<ObjectKey, CurrentObject>,
    /// The objects themselves. One that can no longer be read is absent.
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
    /// The templates in force and those that still have pods, as far as they can be read.
    pub snapshots: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
}

/// A revision, read.
#[derive(Debug, Clone)]
pub struct LoadedRevision {
    /// Everything that it wants.
    pub desired: Desired,
    /// What set this off.
    pub trigger: Trigger,
    /// The committer of the revision and the verdict on its signature.
    pub actor: String,
    /// The commits between the last applied revision and this one, oldest first.
    pub commits: Vec<Commit>,
}

/// A commit of the watched branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub revision: Revision,
    /// Its first line.
    pub subject: String,
    /// Its trailers, in order.
    pub trailers: Vec<(String, String)>,
    /// For one that approves deletions, the objects that its own tree has: what a later commit deletes is not approved by it.
    pub objects: BTreeSet<ObjectKey>,
}

impl Commit {
    /// Whether it carries an approval of deletions.
    #[must_use]
    pub fn approves_deletions(&self) -> bool {
        !prune::approvals([(&self.revision, self.trailers.as_slice())]).is_empty()
    }
}

/// Something to do. The shell does it as it is, and in order.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Effect {
    /// Tell a node what to run and what to stop. Always the whole; the newest one counts.
    Assign {
        /// The node.
        node: NodeName,
        /// The whole of it.
        assignment: Arc<Assignment>,
    },
    /// Tell a node where a Service leads.
    Endpoints {
        /// The node.
        node: NodeName,
        /// The Service and who is behind it.
        set: Arc<EndpointSet>,
    },
    /// Tell a node what network it is a part of.
    Network {
        /// The node.
        node: NodeName,
        /// The whole of it.
        network: Arc<NodeNetwork>,
    },
    /// From now on let in whom this names, and nobody else; links of others end.
    Trust(Arc<Roll>),
    /// Answer a heartbeat of a node with pods that have a lease.
    Renew {
        /// The node.
        node: NodeName,
        /// Whose lease is renewed.
        renewal: Renewal,
    },
    /// Tell a node what to serve to clients outside of the cluster.
    Ingress {
        /// The node.
        node: NodeName,
        /// The whole of it.
        table: Arc<IngressTable>,
    },
    /// Append a record to the audit branch.
    Record(Box<AuditRecord>),
    /// Send [`Event::Wake`] at this time. Replaces every earlier wish, which otherwise stands.
    WakeAt(Moment),
}
