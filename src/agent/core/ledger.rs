//! What the agent must not forget over its own restart.

use crate::agent::runtime::{ContainerId, Role};
use crate::model::{
    EndpointSet, Epoch, Exit, Generation, IngressTable, Moment, NodeNetwork, ObjectKey, PodRun, PodSnapshot, PodUid, RuntimeKind,
    StopOrder, TemplateHash,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The agent's memory. Containers carry enough labels to be adopted without it; what only it knows is which assignment is in
/// force, which ports were given out, and the templates. Secret values in the templates are stored apart, on tmpfs or sealed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ledger {
    /// The epoch and generation of the assignment in force.
    pub assignment: (Epoch, Generation),
    /// The pods.
    pub pods: BTreeMap<PodUid, PodRecord>,
    /// The templates that are whole.
    pub templates: BTreeMap<TemplateHash, Arc<PodSnapshot>>,
    /// Templates that are known but for the values of their secrets.
    pub lost_secrets: BTreeMap<TemplateHash, WithoutSecrets>,
    /// Where Services lead, so that they go on leading there when the agent restarts without its controller.
    pub services: BTreeMap<ObjectKey, ServiceRecord>,
    /// The network as it was last told, so that Services on other nodes are reached when the agent restarts without its controller.
    pub network: Option<Arc<NodeNetwork>>,
    /// The port of the proxy to which the kernel turns what goes to addresses of the cluster.
    pub proxy_port: Option<u16>,
    /// What to serve to clients outside of the cluster. Its keys are stored apart, on tmpfs or sealed.
    pub ingress: Option<Arc<IngressTable>>,
    /// The same as it was before its keys could not be read, and without them: kept until a newer one comes.
    pub lost_ingress: Option<Arc<IngressTable>>,
    /// The volume claims whose data is on this host; of the real shell, what it finds on its disk.
    pub volumes: BTreeSet<ObjectKey>,
    /// Whether this was read back whole, and nothing newer could not be written. An agent whose memory is not says hello only once every
    /// runtime was listed, and of the pods that it remembers those count of which something is found there: the others may have been
    /// stopped since.
    pub intact: bool,
}

/// A template of which all is known but the values of its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct WithoutSecrets {
    /// The template, with its ConfigMaps.
    pub rest: Arc<PodSnapshot>,
    /// The names of its Secrets.
    pub secrets: BTreeSet<String>,
    /// Why the values are not there.
    pub loss: SecretLoss,
}

/// Why the values of secrets are not there. In all cases the controller has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretLoss {
    /// They were on tmpfs, and went with a reboot.
    Rebooted,
    /// They are sealed with another key than this agent was given.
    OtherKey,
    /// What is sealed was changed, or belongs elsewhere.
    Damaged,
    /// The disk does not give out what is sealed.
    Unreadable,
}

impl fmt::Display for SecretLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecretLoss::Rebooted => "they were in memory only",
            SecretLoss::OtherKey => "they are sealed with another key",
            SecretLoss::Damaged => "what they are sealed in is damaged, or of another node",
            SecretLoss::Unreadable => "what they are sealed in cannot be read",
        })
    }
}

impl SecretLoss {
    /// What a pod waits for, in one sentence.
    #[must_use]
    pub fn waits(self) -> &'static str {
        match self {
            SecretLoss::Rebooted => {
                "its secrets were kept in memory only and went with a reboot: waiting for the controller to send them again"
            }
            SecretLoss::OtherKey => {
                "its secrets are sealed with another key than the agent was given: waiting for the controller to send them again"
            }
            SecretLoss::Damaged => {
                "the file that its secrets are sealed in is damaged, or of another node: waiting for the controller to send them again"
            }
            SecretLoss::Unreadable => {
                "the file that its secrets are sealed in cannot be read: waiting for the controller to send them again"
            }
        }
    }

    /// What the administrator of the host can do; nothing where it is as it was asked for.
    #[must_use]
    pub fn hint(self) -> Option<&'static str> {
        match self {
            SecretLoss::Rebooted => None,
            SecretLoss::OtherKey => Some(
                "start the agent with the key that they were sealed with, or let it reach its controller: it then seals them anew",
            ),
            SecretLoss::Damaged | SecretLoss::Unreadable => {
                Some("check the disk, and let the agent reach its controller: it then seals them anew")
            }
        }
    }
}

/// One Service of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The newest endpoints.
    pub set: Arc<EndpointSet>,
    /// For each port of the Service, the port of the gateway at which containers reach it, where they cannot reach its address; and to
    /// which the kernel turns its datagrams.
    pub gateway_ports: BTreeMap<u16, u16>,
    /// The loopback address that it had before its cluster got a range for Services: pods that were started then still use it.
    #[serde(default)]
    pub former: Option<Ipv4Addr>,
}

/// One pod of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// What it runs.
    pub run: PodRun,
    /// The order to stop it, once received.
    pub stop: Option<StopOrder>,
    /// Which runtime has its containers, once that is known.
    pub runtime: Option<RuntimeKind>,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// The host port of each container port, for a process pod.
    pub ports: BTreeMap<u16, u16>,
    /// Its containers: the sandbox, then the init containers and the containers in the order of the template.
    pub containers: Vec<ContainerRecord>,
    /// When it came to this node; versions without deadlines did not write it.
    #[serde(default)]
    pub accepted: Option<Moment>,
    /// Whether its init containers have done their work.
    #[serde(default)]
    pub initialized: bool,
    /// Why it has failed as a whole.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// Why a pod has failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `DeadlineExceeded`
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// One container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Its name.
    pub name: String,
    /// The number of the current start.
    pub attempt: u32,
    /// The runtime's id, once it was started.
    pub id: Option<ContainerId>,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// True if it is not started again.
    pub ended: bool,
    /// Whether it was ready: an agent that restarts takes no pod out of its Services for it.
    pub ready: bool,
    /// What it is to the pod.
    #[serde(default)]
    pub role: Role,
    /// Whether the hook after its start is done. Versions that had no hooks did not write it.
    #[serde(default = "yes")]
    pub hooked: bool,
}

fn yes() -> bool {
    true
}
