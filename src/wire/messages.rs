//! What the two sides say, as the rest of the crate speaks of it.

use crate::model::{
    Assignment, BootMoment, EndpointSet, Epoch, Hello, IngressTable, LogSince, NodeName, NodeNetwork, PodUid, Renewal, Report,
};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// From an agent to its controller.
#[derive(Debug, Clone, PartialEq)]
pub enum FromAgent {
    /// The first word: who, and the echo of the ledger.
    Hello(Box<Hello>),
    /// What changed.
    Report(Box<Report>),
    /// Nothing changed, and it lives.
    Heartbeat {
        /// What the agent's boot clock showed just before it was sent.
        sent: BootMoment,
    },
    /// A part of the logs that were asked for.
    LogChunk {
        /// The request.
        id: u64,
        /// Bytes as the container wrote them; the last chunk may be empty.
        data: Bytes,
        /// `Some` in the last chunk: whether the logs were read to their end, or why not.
        end: Option<Result<(), String>>,
    },
}

/// From the controller to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum ToAgent {
    /// The first word.
    Welcome {
        /// The controller's reign.
        epoch: Epoch,
        /// How often the agent must be heard.
        heartbeat: Duration,
    },
    /// The whole of what the node must do. At the agent, `templates` holds only those that travelled with it: what the agent
    /// lacked.
    Assign(Arc<Assignment>),
    /// Where a Service leads.
    Endpoints(Arc<EndpointSet>),
    /// The network that the nodes make together.
    Network(Arc<NodeNetwork>),
    /// Another node wants to open streams to this one and cannot dial it: dial back, or answer at the relay.
    Called {
        /// The node.
        by: NodeName,
        /// The number of its call.
        call: u64,
    },
    /// What to serve to clients outside of the cluster.
    Ingress(Arc<IngressTable>),
    /// The answer to a heartbeat: whose lease is renewed.
    Renewed(Renewal),
    /// Send logs.
    Logs(LogRequest),
    /// Nobody reads the logs of this request any more.
    CancelLogs(u64),
}

impl ToAgent {
    /// The version of the protocol that brought this message: an older agent is not sent it.
    #[must_use]
    pub fn since(&self) -> Version {
        let minor = match self {
            ToAgent::Network(_) | ToAgent::Called { .. } | ToAgent::Ingress(_) | ToAgent::Renewed(_) => 1,
            ToAgent::Welcome { .. } | ToAgent::Assign(_) | ToAgent::Endpoints(_) | ToAgent::Logs(_) | ToAgent::CancelLogs(_) => 0,
        };
        Version { major: 1, minor }
    }
}

/// Logs of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// Names the request on its link.
    pub id: u64,
    /// The pod.
    pub pod: PodUid,
    /// The container; the only or first one if `None`.
    pub container: Option<String>,
    /// The last so many lines; all if `None`.
    pub tail: Option<usize>,
    /// Whether to go on with what is written later.
    pub follow: bool,
    /// The logs of the container before its last restart.
    pub previous: bool,
    /// Only lines that were written later.
    pub since: Option<LogSince>,
    /// Whether each line begins with the time when it was written.
    pub timestamps: bool,
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Differs if peers cannot understand each other.
    pub major: u32,
    /// Grows with every addition.
    pub minor: u32,
}

impl Version {
    /// Whether a peer of this version and one of `other` understand each other: the same major, at most one minor apart.
    #[must_use]
    pub fn understands(self, other: Version) -> bool {
        self.major == other.major && self.minor.abs_diff(other.minor) <= 1
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
